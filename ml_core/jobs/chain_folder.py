"""A chain as it stands: its folder, its steps so far, and what it came to. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ml_core.detection.scan.records import read_scan
from ml_core.jobs.auto import AUTO_FILE, AutoResult, AutoSpec, AutoStep
from ml_core.jobs.chain import stopped_by_hand
from ml_core.jobs.journal import read_json
from ml_core.jobs.overall import Plan, chain_plans
from ml_core.jobs.scan import SCAN_FILE
from ml_core.jobs.specs import RESULT_FILE, SPEC_FILE, read_spec, read_spec_file
from ml_core.reading.errors import InputError

CHAIN_SPEC = "auto-spec.json"  # not the name of a single run's job


@dataclass(eq=False)
class Chain:
    """A chain: its folder, what it is asked to do, its steps so far, and what it came to."""

    folder: Path
    spec: AutoSpec
    steps: tuple[AutoStep, ...] = ()
    result: AutoResult | None = None

    @property
    def best(self) -> Path | None:
        """The folder of the round that is kept; None without one."""
        return self.folder / self.result.best if self.result and self.result.best else None

    @property
    def is_whole(self) -> bool:
        """Whether all its steps were taken: the hold-outs come last."""
        return any(step.kind == "holdouts" and step.status != "running" for step in self.steps)

    @property
    def running(self) -> AutoStep | None:
        """The step that was begun and has not ended."""
        return next((step for step in self.steps if step.status == "running"), None)

    @property
    def place(self) -> str:
        """Which step is at work, and of how many; more rounds may follow."""
        step = self.running
        if step is None:
            return ""
        last = max(each.round for each in self.steps)
        proofs = {"rebound": 2 * last + 2, "holdouts": 2 * last + 3}
        number = proofs.get(step.kind, 2 * step.round + (step.kind == "scan"))
        least = "at least " if self.may_go_on else ""
        return f"Step {number} of {least}{2 * max(last, 1) + 3}"

    @property
    def may_go_on(self) -> bool:
        """Whether a further round may follow the one at work."""
        last = max((each.round for each in self.steps), default=0)
        proving = self.running is not None and self.running.kind in ("rebound", "holdouts")
        return not proving and max(last, 1) < self.spec.rounds

    def plans(self, facts: Mapping[str, Any] | None = None) -> tuple[Plan, ...]:
        """The plans of the step at work and of those after it, if no further round follows.

        ``facts`` are those of the Finding ``scan`` of a scan at work.
        """
        step, scan, job = self.running, None, None
        ended = [s for s in self.steps if s.kind == "scan" and s.status == "finished"]
        with suppress(InputError):  # its file is gone
            scan = read_scan(self.folder / ended[-1].folder / SCAN_FILE) if ended else None
        with suppress(InputError):  # it is not written yet
            job = read_spec(self.folder / step.folder / SPEC_FILE) if step else None
        with suppress(InputError):  # pictures or settings of the scan are gone
            return () if step is None else chain_plans(self.spec, step, scan, facts, job)
        return ()

    def scanned(self, folder: Path) -> str:
        """What the scan after the round in a folder came to, in a sentence; empty without one."""
        rounds = [s.round for s in self.steps if s.kind == "clean" and s.folder == folder.name]
        for step in self.steps:
            if step.kind == "scan" and step.round in rounds and step.status == "finished":
                return f"{step.title}: {step.sentence.partition('. ')[0].removesuffix('.')}."
        return ""

    @property
    def round_folder(self) -> Path:
        """The folder of the newest round; the chain's before the first one."""
        recorded = [self.folder / step.folder for step in self.steps if step.kind == "clean"]
        there = self.folder.glob("round-*")  # also what a chain that was cut off did not tell
        return max((*reversed(recorded), *there), key=_number, default=self.folder)

    @property
    def was_stopped(self) -> bool:
        """Whether the newest round was stopped by hand, so that it can be kept as it is."""
        return not self.is_whole and stopped_by_hand(read_json(self.round_folder / RESULT_FILE))

    def take(self, step: AutoStep) -> None:
        """Take in a step that begins or ends; a chain that goes on tells the earlier ones again."""
        key = step.kind, step.round, step.folder
        others = (each for each in self.steps if (each.kind, each.round, each.folder) != key)
        self.steps = (*others, step)


def _number(folder: Path) -> int:
    """Number of the round in a folder."""
    number = folder.name.removeprefix("round-").partition("-")[0]
    return int(number) if number.isdecimal() else 0


def is_chain(folder: Path) -> bool:
    """Whether a folder is that of a chain."""
    return any(os.path.isfile(folder / name) for name in (CHAIN_SPEC, AUTO_FILE))


def read_chain(folder: Path) -> Chain:
    """Read a chain as far as it is on disk.

    Raises
    ------
    InputError
        If its job cannot be read.
    """
    try:
        result = AutoResult.model_validate(read_json(folder / AUTO_FILE))
    except ValidationError:
        return Chain(folder, read_spec_file(folder / CHAIN_SPEC, AutoSpec))
    return Chain(folder, result.spec, result.steps, result)
