"""What a running scan has reported so far; without any widget."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from ml_core.detection.scan.records import (
    ClassPull,
    Overlays,
    Patches,
    PatchRound,
    ProbeRow,
    Refined,
    StartRow,
)
from ml_core.events import Event, Finding, Progress
from ml_core.jobs.scan import STAGES, Stage

_LOG = logging.getLogger(__name__)
_MOST_BYTES, _LARGEST_SIDE = 8 << 20, 1024
Part = Literal["stages", "sizes", "pull", "probes", "patches", "best"]
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
        self.sizes: dict[str, int] = {}  # pixels, classes and pictures, as `scan_plan` takes them
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
            self.sizes = {name: int(values[name]) for name in ("side", "search", "held_out")}
            self.sizes["classes"] = len(values["classes"])
            return {"stages", "sizes"}
        if kind == "probe":
            self._add_probe(ProbeRow.model_validate(values))
            return {"probes", "best"}
        if kind == "round":
            self._take_round(values)
            return {"patches", "best"}
        if kind == "patches" and "pictures" in values:
            side, step, steps = (int(values[name]) for name in ("side", "step", "steps"))
            shown = LivePatches(side, step, steps, _pictures(values["pictures"], side))
            if self.progress is not None and self.progress.stage == "refine":
                self.sharpened = shown
            else:
                self.patches = shown
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
                beside_value = max(row.transferred.value, row.own.value)
                self._offer(Best("Overlay", row.target, row.suspect.value, beside_value))
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
        pictures = _pictures(coded, patches.side)
        self.patches = LivePatches(
            patches.side, patches.steps, patches.steps, pictures, patches.starts
        )
        self._offer_round(patches)

    def _offer_round(self, patches: PatchRound) -> None:
        for row in patches.starts:
            beside = row.contrast.reference
            what = f"Patch of {patches.side} px"
            rate = None if beside is None else beside.value
            self._offer(Best(what, row.target, row.contrast.suspect.value, rate))

    def _offer(self, best: Best) -> None:
        if self.best is None or best.difference > self.best.difference:
            self.best = best


def _pictures(coded: object, side: int) -> NDArray[np.uint8]:
    """uint8 [K, p, p, 3] out of base64; ValueError if it is something else."""
    if not isinstance(coded, str) or len(coded) > _MOST_BYTES or not 0 < side <= _LARGEST_SIDE:
        raise ValueError("no patches of a size that is shown")
    raw = np.frombuffer(base64.b64decode(coded, validate=True), np.uint8)
    return raw.reshape(-1, side, side, 3)
