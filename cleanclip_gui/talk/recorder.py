"""Writes down what one does as the steps of a talk, whose words are to be filled in."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from cleanclip_gui.commands import Actions
from cleanclip_gui.session import Session
from cleanclip_gui.talk.knowledge import FIGURES, holds
from cleanclip_gui.talk.script import MAY_RUN
from cleanclip_gui.widgets.text import plain

_MOST = 60
_READY = {
    "trigger.demo": "trigger",
    "scan.start": "scan_ended",
    "clean.start": "run_ended",
    "clean.try": "cleaned",
}
"""What Next waits for after a command; any other is done when its step is shown."""


class Recorder:
    """Follows stations that are visited and commands that a step may run, and what these come to.

    What a scan or a cleaning came to is the step's recorded result, for a talk without the time.
    """

    def __init__(self, session: Session, actions: Actions) -> None:
        self._session, self._actions = session, actions
        self.is_on = False
        self.steps: list[dict[str, Any]] = []
        session.events.scan.connect(self._on_scan_change)
        session.events.run.connect(self._on_run_change)
        session.events.station.connect(self._on_station_change)
        actions.ran.connect(self._on_ran)

    def start(self) -> None:
        """Begin at the station on show."""
        self.is_on, self.steps = True, []
        self._on_station_change(self._session.station)

    def stop(self) -> list[dict[str, Any]]:
        """End it, and return the steps."""
        self.is_on = False
        return self.steps

    def _on_station_change(self, station: str, *_: object) -> None:
        if self.is_on and station != "welcome" and len(self.steps) < _MOST:
            command = next(c for c in self._actions.commands if c.id == f"view.{station}")
            title = command.text.replace("&", "")
            self.steps.append({"title": title, "station": station, "text": "", "notes": ""})

    def _on_ran(self, name: str) -> None:
        """A command belongs to the station on show; a second one there is another step."""
        if not self.is_on or name not in MAY_RUN or len(self.steps) >= _MOST:
            return
        text = next(c.text for c in self._actions.commands if c.id == name)
        text = text.replace("&", "").rstrip("…")[:40]
        last = self.steps[-1] if self.steps else {}
        station = self._session.station
        if not last or {"run", "prepare"} & last.keys() or last["station"] != station:
            self.steps.append({"title": text, "station": station, "text": "", "notes": ""})
        self.steps[-1]["title"] = text
        if name in _READY:
            self.steps[-1] |= {"run": name, "run_text": text, "ready": _READY[name]}
        else:
            self.steps[-1]["prepare"] = name

    def _on_scan_change(self, *_: object) -> None:
        if holds("scan_verdict", self._session):
            verdict, target = self._figure("scan_verdict"), self._figure("scan_target")
            pulled = f" The patch turns pictures into “{target}”." if target else ""
            self._keep("scan.start", verdict, f"The scan said: {verdict}.{pulled}")

    def _on_run_change(self, *_: object) -> None:
        if holds("run_ended", self._session):
            ca, asr = (
                f"{self._figure(f'{rate}_before')} → {self._figure(f'{rate}_after')}"
                for rate in ("ca", "asr")
            )
            self._keep("clean.start", f"ASR {asr}", f"ASR {asr}, clean accuracy {ca}.")

    def _figure(self, name: str) -> str:
        return FIGURES[name](self._session)

    def _keep(self, command: str, figure: str, text: str) -> None:
        step = next((one for one in reversed(self.steps) if one.get("run") == command), None)
        facts = self._session.checkpoint
        if self.is_on and step is not None and facts is not None:
            made = f"{plain(Path(facts.path).name, 80)}, {datetime.now():%Y-%m-%d}"
            step["recorded"] = {"figure": plain(figure, 40), "text": text, "made": made}
