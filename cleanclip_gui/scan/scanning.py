"""The scan at work: writes its spec, runs its process, and tells how far it is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from cleanclip_gui.jobs.children import WaitingChild
from cleanclip_gui.jobs.launching import launch
from cleanclip_gui.jobs.runner import JobRunner, scan_runner
from cleanclip_gui.scan.live_scan import LiveScan
from ml_core.events import Done, Event, Message, Progress
from ml_core.jobs.overall import Overall, Plan, scan_plan
from ml_core.jobs.scan_spec import SCAN_FILE, STAGES_FOLDER, ScanSpec
from ml_core.paths import data_dir

# Not the name of a cleaning job, which the Clean station takes up.
SPEC_FILE = "scan-spec.json"
_NOT_OF_RESULT = {"stages", "output_dir", "processes", "threads", "label_set", "anyway"}


def scans_dir() -> Path:
    """Where scans are kept."""
    return data_dir() / "scans"


def folder_of(spec: ScanSpec, sha256: str, classes: tuple[str, ...]) -> Path:
    """Where a scan lies: a name by all that decides its result, so that one goes on with another.

    Parameters
    ----------
    spec
        Its ``output_dir`` and ``label_set`` do not count; size and time of its reference do.
    sha256
        Of the checkpoint.
    classes
        Names of the classes in use.
    """
    said = spec.model_dump(mode="json", exclude=_NOT_OF_RESULT)
    stamp: list[int] = []
    if spec.reference is not None:
        with suppress(OSError):  # it is gone, which the scan will say
            facts = os.stat(spec.reference)
            stamp = [facts.st_size, facts.st_mtime_ns]
    told = json.dumps([said, sha256, classes, *stamp], sort_keys=True)
    digest = hashlib.sha256(told.encode())
    return scans_dir() / f"scan-{digest.hexdigest()[:16]}"


def stages_done(folder: Path) -> int:
    """Stages that a scan which was cancelled there has finished; 0 where it has a result."""
    if (folder / SCAN_FILE).exists():
        return 0
    return sum(1 for _ in (folder / STAGES_FOLDER).glob("*.json"))


class Scanning(QObject):
    """One process at a time.

    ``began`` and ``ended(Done)`` are of the process, ``told(parts)`` names what of :attr:`live` is
    another one, ``progressed`` that :attr:`fraction` and :attr:`seconds_left` are; ``logged(str)``
    is a line for the log.
    """

    began = Signal()
    told = Signal(object)
    progressed = Signal()
    ended = Signal(object)
    logged = Signal(str)

    def __init__(
        self,
        new_runner: Callable[..., JobRunner] = scan_runner,
        new_child: Callable[[], WaitingChild | None] = lambda: None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._new_runner, self._new_child = new_runner, new_child
        self._child: WaitingChild | None = None
        self._overall = Overall(Plan(()))
        self.runner: JobRunner | None = None
        self.spec: ScanSpec | None = None
        self.live = LiveScan()
        self.is_cancelling = False

    @property
    def is_running(self) -> bool:
        """Whether a process is at work."""
        return self.runner is not None

    @property
    def folder(self) -> Path | None:
        """Of the scan at work, or the last one."""
        return None if self.spec is None else Path(self.spec.output_dir)

    @property
    def fraction(self) -> float:
        """Share of the whole that is done, 0 to 1."""
        return self._overall.fraction

    @property
    def seconds_left(self) -> float | None:
        """Until it is done; None while that is not known."""
        return self._overall.seconds_left

    def prepare(self) -> None:
        """Have a process load its libraries: a scan is likely to be started soon."""
        if self.runner is None and (self._child is None or not self._child.is_waiting):
            self.let_go()
            self._child = self._new_child()

    @Slot()
    def let_go(self) -> None:
        """End the process that waits for a scan, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def start(self, spec: ScanSpec, device: str) -> None:
        """Write the spec into its folder, and run it on a device.

        Raises
        ------
        InputError
            If the folder cannot be written, or another job runs on the device.
        """
        child = {} if self._child is None else {"child": self._child}
        self.runner = launch(
            self._new_runner, spec, Path(spec.output_dir) / SPEC_FILE, self._on_event,
            self._on_ended, self.logged, device=device, **child,
        )  # fmt: skip
        self._child = None  # the runner's
        self.spec, self.is_cancelling = spec, False
        self._overall = Overall(scan_plan(spec))
        self.live = LiveScan(spec.runs, spec.starts)
        self.began.emit()

    @Slot()
    def cancel(self) -> None:
        """End it at once; finished stages stay."""
        if self.runner is not None:
            self.is_cancelling = True
            self.runner.cancel()
            self.progressed.emit()

    @Slot(object)
    def _on_event(self, event: Event) -> None:
        if self.runner is None:
            return
        self.runner.mark_running()
        if isinstance(event, Message):
            self.logged.emit(event.text)
        parts = self.live.take(event)
        if isinstance(event, Progress):
            self._overall.take(event)
        elif "sizes" in parts and self.spec is not None:
            self._overall.expect(scan_plan(self.spec, self.live.stages, **self.live.sizes))
        if "stages" in parts:
            self.progressed.emit()
        if parts:
            self.told.emit(parts)

    @Slot(object)
    def _on_ended(self, last: Done) -> None:
        runner, self.runner = self.runner, None
        self.is_cancelling = False
        if isinstance(runner, QObject):
            runner.deleteLater()
        self.ended.emit(last)
