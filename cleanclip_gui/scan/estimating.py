"""Measures how long a scan would take, before it is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal, Slot

from cleanclip_gui.jobs.launching import launch
from cleanclip_gui.jobs.runner import JobRunner, scan_estimate_runner
from cleanclip_gui.scan.scanning import SPEC_FILE
from cleanclip_gui.widgets.text import count_text, duration_text
from ml_core.events import Done, Event
from ml_core.jobs.scan_spec import ScanSpec
from ml_core.paths import cache_dir

MEASURING = "Opening the models and timing three batches…"


class Estimating(QObject):
    """``changed`` tells that :attr:`text` is another one, or that it began or ended."""

    changed = Signal()

    def __init__(
        self,
        new_runner: Callable[..., JobRunner] = scan_estimate_runner,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._new_runner = new_runner
        self._runner: JobRunner | None = None
        self._holds = False  # whether what is measured is still what is set
        self.text = ""
        self.failed = False

    @property
    def is_running(self) -> bool:
        """Whether it is being measured."""
        return self._runner is not None

    def start(self, spec: ScanSpec, device: str) -> None:
        """Measure a scan; ``spec`` names a folder of the cache.

        Raises
        ------
        InputError
            If the folder cannot be written, or a job runs on the device.
        """
        self._runner = launch(
            self._new_runner, spec, estimate_folder() / SPEC_FILE, self._on_event, self._on_ended,
            device=device,
        )  # fmt: skip
        self._holds = True
        self._say(MEASURING)

    @Slot()
    def cancel(self) -> None:
        """End it at once."""
        if self._runner is not None:
            self._runner.cancel()

    @Slot()
    def forget(self) -> None:
        """Another scan is set: what was measured, or is being measured, says nothing about it."""
        self._holds = False
        self.cancel()
        if self.text and self._runner is None:
            self._say("")

    @Slot(object)
    def _on_event(self, _: Event) -> None:
        if self._runner is not None:
            self._runner.mark_running()

    @Slot(object)
    def _on_ended(self, last: Done) -> None:
        runner, self._runner = self._runner, None
        if isinstance(runner, QObject):
            runner.deleteLater()
        if not self._holds or last.status == "cancelled":
            self._say("")
        elif last.status == "failed":
            self._say(last.error, failed=True)
        else:
            self._say(estimate_text(last.result))

    def _say(self, text: str, *, failed: bool = False) -> None:
        self.text, self.failed = text, failed
        self.changed.emit()


def estimate_folder() -> Path:
    """Where the spec of an estimate is written, and taken away again."""
    return cache_dir() / "scan-estimate"


def estimate_text(found: Mapping[str, Any]) -> str:
    """What was measured, as a sentence."""
    forward, both = (count_text(round(found[name])) for name in ("forward", "both"))
    return (
        f"About {duration_text(found['seconds'])} at most: {forward} pictures forward, {both} "
        "there and back."
    )
