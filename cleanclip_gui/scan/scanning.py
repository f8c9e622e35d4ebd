"""The scan at work: where it lies, its process, and what it has found so far."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from PySide6.QtCore import QObject, Signal

from cleanclip_gui.jobs.job_task import NO_PLAN, JobTask
from cleanclip_gui.jobs.runner import NewRunner, WaitingChild, new_runner
from cleanclip_gui.widgets.text import count_text, duration_text
from ml_core.detection.scan.records import (
    ClassPull,
    Overlays,
    Patches,
    PatchRound,
    ProbeRow,
    Refined,
    StartRow,
)
from ml_core.detection.scan.verdict import FORM_NAMES
from ml_core.events import Done, Event, Finding, Progress
from ml_core.jobs.overall import planned_scan
from ml_core.jobs.scan import SCAN_FILE, SCAN_SPEC, STAGES, STAGES_FOLDER, ScanSpec, Stage
from ml_core.paths import cache_dir, data_dir
from ml_core.reading.errors import InputError

_LOG = logging.getLogger(__name__)
_MOST_BYTES, _LARGEST_SIDE = 8 << 20, 1024
Part = Literal["stages", "plan", "pull", "probes", "patches", "best"]
Record = TypeVar("Record", bound=BaseModel)


@dataclass(frozen=True, eq=False)
class LivePatches:
    """The patches of one search as they are: uint8 [K, p, p, 3].

    ``rows`` say what they do once that is measured; ``step`` is one of ``steps``.
    """

    side: int
    step: int
    steps: int
    pictures: NDArray[np.uint8]
    rows: tuple[StartRow, ...] = ()


@dataclass(frozen=True)
class Best:
    """The strongest that was measured: what it is, the class, and how often on either model."""

    what: str
    target: str
    suspect: float
    reference: float | None

    @property
    def difference(self) -> float:
        """Suspect minus reference, -1 to 1."""
        return self.suspect - (self.reference or 0.0)


class LiveScan:
    """Takes the events of one scan.

    Parameters
    ----------
    stages
        That will be run, in their order.
    starts
        Patches of each search.
    """

    def __init__(self, stages: Sequence[Stage] = (), starts: int = 6) -> None:
        self.starts = starts
        self.stages: tuple[Stage, ...] = tuple(stages)
        self.finished: set[Stage] = set()
        self.progress: Progress | None = None
        self.pull: ClassPull | None = None
        self.probes: list[ProbeRow] = []
        self.patches: LivePatches | None = None
        self.sharpened: LivePatches | None = None  # the best of them, searched on
        self.refined: Refined | None = None
        self.best: Best | None = None

    @property
    def current(self) -> Stage | None:
        """The stage at work, once the models are open."""
        now = self.progress
        begun = bool(self.finished) or (now is not None and now.stage in self.stages)
        left = [stage for stage in self.stages if stage not in self.finished]
        return left[0] if begun and left else None

    @property
    def at_work(self) -> str:
        """The present stage, as the job's progress names it; empty before the first event."""
        return (self.current or "") if self.progress is None else self.progress.stage

    def take(self, event: Event) -> frozenset[Part]:
        """Take in an event and return which parts it changed; log and skip an unreadable one."""
        if isinstance(event, Progress):
            self.progress = event
            return frozenset({"stages"})
        if not isinstance(event, Finding):
            return frozenset()
        try:
            return frozenset(self._found(event.kind, event.values))
        except (ValidationError, ValueError, TypeError, KeyError, binascii.Error) as error:
            _LOG.warning("an event of the scan cannot be shown: %s", error)
            return frozenset()

    def _found(self, kind: str, values: Mapping[str, Any]) -> set[Part]:
        if kind == "scan":
            self.stages = tuple(stage for stage in STAGES if stage in values["stages"])
            return {"stages", "plan"}
        if kind == "probe":
            self._add_probe(ProbeRow.model_validate(values))
            return {"probes", "best"}
        if kind == "round":
            self._take_round(values)
            return {"patches", "best"}
        if kind == "patches" and "pictures" in values:
            side, step, steps = (int(values[name]) for name in ("side", "step", "steps"))
            pictures = _pictures(values["pictures"], side)
            if len(pictures) > self.starts:
                pictures = pictures[self._best(values["losses"])]
            shown = LivePatches(side, step, steps, pictures)
            if self.progress is not None and self.progress.stage == "refine":
                self.sharpened = shown
            else:
                self.patches, self.sharpened = shown, None
            return {"patches"}
        if kind in STAGES:
            stage: Stage = kind
            self.finished.add(stage)
            self.progress = None  # the next stage has reported nothing yet
            return {"stages", *self._take_stage(stage, values)}
        return set()

    def _take_stage(self, stage: Stage, values: Mapping[str, Any]) -> set[Part]:
        """Take in a stage's final record; for a stage done earlier, nothing else comes."""
        if stage == "pull":
            self.pull = ClassPull.model_validate(values)
            return {"pull"}
        if stage == "probes":
            self.probes = []
            for probe in values["rows"]:
                self._add_probe(ProbeRow.model_validate(probe))
            return {"probes", "best"}
        if stage == "patches":
            patches = Patches.model_validate(values)
            for patch_round in patches.rounds:
                self._offer_round(patch_round)
            self.refined = patches.refined
            if patches.refined is not None:
                contrast, what = patches.refined.best, f"Patch of {patches.refined.side} px"
                beside = contrast.reference
                self._offer(
                    Best(what, patches.refined.target, contrast.suspect.value,
                         None if beside is None else beside.value)
                )  # fmt: skip
            return {"patches", "best"}
        if stage == "overlays":
            for row in Overlays.model_validate(values).rows:
                self._offer(
                    Best(FORM_NAMES[row.form][0], row.target, row.suspect.value, row.beside.value)
                )
            return {"best"}
        return set()

    def _add_probe(self, row: ProbeRow) -> None:
        self.probes.append(row)
        if row.contrast.reference is not None:  # natural favourites move any model
            rates = row.contrast.suspect.value, row.contrast.reference.value
            self._offer(Best(row.name, row.target, *rates))

    def _take_round(self, values: Mapping[str, Any]) -> None:
        """Patches that are measured now."""
        fields = dict(values)
        coded = fields.pop("pictures", "")
        patches = PatchRound.model_validate(fields)
        best = self._best([-row.contrast.difference for row in patches.starts])
        pictures, rows = _pictures(coded, patches.side)[best], [patches.starts[k] for k in best]
        self.patches = LivePatches(
            patches.side, patches.steps, patches.steps, pictures, tuple(rows)
        )
        self._offer_round(patches)

    def _best(self, losses: Sequence[float]) -> list[int]:
        """Which patches are shown, in their order: the best, as many as a usual search has."""
        return sorted(sorted(range(len(losses)), key=lambda k: losses[k])[: self.starts])

    def _offer_round(self, patches: PatchRound) -> None:
        for row in patches.starts:
            contrast = patches.contrast if row == patches.best else row.contrast
            beside = contrast.reference
            what = f"Patch of {patches.side} px"
            rate = None if beside is None else beside.value
            self._offer(Best(what, row.target, contrast.suspect.value, rate))

    def _offer(self, best: Best) -> None:
        if self.best is None or best.difference > self.best.difference:
            self.best = best


def _pictures(coded: object, side: int) -> NDArray[np.uint8]:
    """uint8 [K, p, p, 3] out of base64; ValueError if it is something else."""
    if not isinstance(coded, str) or len(coded) > _MOST_BYTES or not 0 < side <= _LARGEST_SIDE:
        raise ValueError("no patches of a size that is shown")
    raw = np.frombuffer(base64.b64decode(coded, validate=True), np.uint8)
    return raw.reshape(-1, side, side, 3)


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
        path, before = Path(spec.output_dir) / SCAN_SPEC, (self.spec, self.live, self._child)
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
        if "plan" in parts and self.spec is not None and isinstance(event, Finding):
            self.overall.expect(planned_scan(self.spec, event.values))
        super().take(event)
        if "stages" in parts and not isinstance(event, Progress):
            self.progressed.emit()
        if parts:
            self.updated.emit(parts)


MEASURING = "Opening both checkpoints and timing three batches…"


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
        self.start(spec, estimate_folder() / SCAN_SPEC, device, NO_PLAN, estimate=True)
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
        f"About {duration_text(costs['nothing_found'])} if nothing is found, "
        f"{duration_text(costs['seconds'])} at most: {forward} pictures forward, {both} forward "
        "and backward."
    )
