"""*Clean it*: the chain of jobs that one button starts, set up and read from its folder. No Qt."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ml_core.jobs.auto import AUTO_FILE, AutoResult, AutoSpec, AutoStep
from ml_core.jobs.folder_lock import at_work
from ml_core.jobs.journal import read_json
from ml_core.jobs.specs import read_spec_file

TITLE = "Clean it"
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
        best = None if self.result is None else self.result.best
        return None if best is None else self.folder / best

    @property
    def is_whole(self) -> bool:
        """Whether all its steps were taken: the hold-outs come last."""
        last = self.steps[-1] if self.steps else None
        return last is not None and last.kind == "holdouts" and last.status != "running"

    @property
    def was_interrupted(self) -> bool:
        """Whether it can go on, and no process is at work on it."""
        return not self.is_whole and not at_work(self.folder)

    @property
    def round_folder(self) -> Path:
        """The folder of the newest round; the chain's before the first one."""
        rounds = [step.folder for step in self.steps if step.kind == "clean"]
        return self.folder / rounds[-1] if rounds else self.folder

    def take(self, step: AutoStep) -> None:
        """Take in a step that begins or ends; a chain that goes on tells the earlier ones again."""
        known = {(each.kind, each.round, each.folder): each for each in self.steps}
        self.steps = tuple((known | {(step.kind, step.round, step.folder): step}).values())


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
    result = None
    with suppress(ValidationError):
        result = AutoResult.model_validate(read_json(folder / AUTO_FILE))
    if result is None:
        return Chain(folder, read_spec_file(folder / CHAIN_SPEC, AutoSpec))
    return Chain(folder, result.spec, result.steps, result)
