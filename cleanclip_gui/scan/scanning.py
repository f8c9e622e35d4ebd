"""The scan at work: where it lies, its process, and what it has found so far."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from cleanclip_gui.jobs.job_task import NO_PLAN, JobTask
from cleanclip_gui.jobs.runner import NewRunner, WaitingChild, new_runner
from cleanclip_gui.scan.live_scan import LiveScan
from cleanclip_gui.widgets.text import count_text, duration_text
from ml_core.events import Done, Event, Progress
from ml_core.jobs.overall import scan_plan
from ml_core.jobs.scan import SCAN_FILE, STAGES_FOLDER, ScanSpec
from ml_core.paths import cache_dir, data_dir
from ml_core.reading.errors import InputError

# Not the name of a cleaning job, which the Clean station takes up.
SPEC_FILE = "scan-spec.json"
_NOT_OF_RESULT = {"stages", "output_dir", "threads", "label_set", "anyway"}


def scans_dir() -> Path:
    """Where scans are kept."""
    return data_dir() / "scans"


def folder_of(spec: ScanSpec, sha256: str, classes: tuple[str, ...]) -> Path:
    """The folder of a scan, named by all that decides its result, so that an equal scan goes on.

    Parameters
    ----------
    spec
        Its ``output_dir`` and ``label_set`` do not count; size and time of its reference do.
    sha256
        SHA-256 of the checkpoint.
    classes
        Names of the classes in use.
    """
    settings = spec.model_dump(mode="json", exclude=_NOT_OF_RESULT)
    stamp: list[int] = []
    if spec.reference is not None:
        with suppress(OSError):  # it is gone, which the scan will say
            facts = os.stat(spec.reference)
            stamp = [facts.st_size, facts.st_mtime_ns]
    text = json.dumps([settings, sha256, classes, *stamp], sort_keys=True)
    digest = hashlib.sha256(text.encode())
    return scans_dir() / f"scan-{digest.hexdigest()[:16]}"


def stages_done(folder: Path) -> int:
    """Number of stages that a cancelled scan in this folder finished; 0 if it has a result."""
    if (folder / SCAN_FILE).exists():
        return 0
    return sum(1 for _ in (folder / STAGES_FOLDER).glob("*.json"))


class Scanning(JobTask):
    """Runs a scan; ``updated(parts)`` names what of :attr:`live` has changed.

    Parameters
    ----------
    new_child
        Starts a process that waits for a scan; None where there can be none.
    """

    updated = Signal(object)

    def __init__(
        self,
        make_runner: NewRunner = new_runner,
        new_child: Callable[[str], WaitingChild | None] = lambda kind: None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__("scan", make_runner, parent)
        self._new_child = new_child
        self._child: WaitingChild | None = None
        self.spec: ScanSpec | None = None
        self.live = LiveScan()

    @property
    def folder(self) -> Path | None:
        """The folder of the scan at work, or of the last one."""
        return None if self.spec is None else Path(self.spec.output_dir)

    def prepare(self) -> None:
        """Have a process load its libraries: a scan is likely to be started soon."""
        if self.runner is None and (self._child is None or not self._child.is_waiting):
            self.let_go()
            self._child = self._new_child("scan")

    def let_go(self) -> None:
        """End the process that waits for a scan, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def scan(self, spec: ScanSpec, device: str) -> None:
        """Write a scan into its folder and start it; see :meth:`JobTask.start`."""
        path, before = Path(spec.output_dir) / SPEC_FILE, (self.spec, self.live, self._child)
        child, self._child = self._child, None  # the runner's
        self.spec, self.live = spec, LiveScan(spec.runs, spec.starts)
        try:
            self.start(spec, path, device, child=child)
        except InputError:
            self.spec, self.live, self._child = before
            raise

    def take(self, event: Event) -> None:
        """Take in what was found, and what it means for the stages to come."""
        parts = self.live.take(event)
        if "sizes" in parts and self.spec is not None and not isinstance(event, Progress):
            self.overall.expect(scan_plan(self.spec, self.live.stages, **self.live.sizes))
        super().take(event)
        if "stages" in parts and not isinstance(event, Progress):
            self.progressed.emit()
        if parts:
            self.updated.emit(parts)


MEASURING = "Opening the models and timing three batches…"


class Estimating(JobTask):
    """Measures one scan; ``changed``: it began, it ended, or :attr:`text` changed."""

    changed = Signal()

    def __init__(self, make_runner: NewRunner = new_runner, parent: QObject | None = None) -> None:
        super().__init__("scan", make_runner, parent)
        self._holds = False  # whether what is measured is still what is set
        self.text = ""
        self.failed = False
        self.ended.connect(self._on_estimated)

    def estimate(self, spec: ScanSpec, device: str) -> None:
        """Measure a scan; ``spec`` names a folder of the cache. See :meth:`JobTask.start`."""
        self.start(spec, estimate_folder() / SPEC_FILE, device, NO_PLAN, estimate=True)
        self._holds = True
        self._show_text(MEASURING)

    def forget(self) -> None:
        """Drop the estimate, or end it: another scan is set, to which it does not apply."""
        self._holds = False
        self.cancel()
        if self.text and not self.is_running:
            self._show_text("")

    def _on_estimated(self, last: Done) -> None:
        if not self._holds or last.status == "cancelled":
            self._show_text("")
        elif last.status == "failed":
            self._show_text(last.error, failed=True)
        else:
            self._show_text(estimate_text(last.result))

    def _show_text(self, text: str, *, failed: bool = False) -> None:
        self.text, self.failed = text, failed
        self.changed.emit()


def estimate_folder() -> Path:
    """Where the spec of an estimate is written, and taken away again."""
    return cache_dir() / "scan-estimate"


def estimate_text(costs: Mapping[str, Any]) -> str:
    """What was measured, as a sentence."""
    forward, both = (count_text(round(costs[name])) for name in ("forward", "both"))
    return (
        f"About {duration_text(costs['seconds'])} at most: {forward} pictures forward, {both} "
        "there and back."
    )
