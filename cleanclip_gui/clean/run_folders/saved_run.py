"""What a run's folder tells about going on with it: plain functions, no Qt, no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ml_core.events import Done, Event, from_json
from ml_core.jobs.folder_lock import at_work
from ml_core.jobs.journal import read_json
from ml_core.jobs.specs import (
    CLEANED_FILE,
    EVENTS_FILE,
    RESULT_FILE,
    SPEC_FILE,
    STATE_FILE,
    CleanSpec,
    read_spec,
)
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_file
from ml_core.reading.safetensors_header import read_header
from ml_core.reading.strict_json import JsonError, parse_object
from ml_core.triggers import Trigger
from ml_core.triggers.files import load_trigger

_TAIL_BYTES = 65_536


@dataclass(frozen=True)
class SavedRun:
    """A run that can go on after ``step``, the step of its last save.

    ``trigger`` is what the run measures attack success with, or None.
    """

    folder: Path
    spec: CleanSpec
    step: int
    trigger: Trigger | None


def can_resume(folder: Path) -> bool:
    """Whether a run's folder holds a save to go on from."""
    # Unlike Path.is_file, what may not be looked at is not there.
    return os.path.isfile(folder / SPEC_FILE) and os.path.isfile(folder / STATE_FILE)


def read_saved_run(folder: Path) -> SavedRun:
    """Examine the folder of a run.

    Raises
    ------
    InputError
        If it cannot go on, with the reason: no run, no save, finished, moved, still at work,
        or the checkpoint, the trigger or the save is gone or damaged.
    """
    name = folder.name
    if not (folder / SPEC_FILE).is_file():
        raise InputError(
            f"{name} is not the folder of a run: it holds no {SPEC_FILE}; choose the folder that "
            "one run made."
        )
    if not (folder / STATE_FILE).is_file():
        raise InputError(
            f"The run in {name} ended before its first save: there is nothing to resume; start it "
            "again."
        )
    spec = read_spec(folder / SPEC_FILE)
    step = _saved_step(folder / STATE_FILE)
    if read_json(folder / RESULT_FILE).get("status") == "finished":
        raise InputError(f"The run in {name} is finished; open its {CLEANED_FILE} instead.")
    if Path(spec.output_dir).resolve() != folder.resolve():
        raise InputError(
            f"The run in {name} was started in {spec.output_dir}; move it back there to resume it."
        )
    if not Path(spec.checkpoint).exists():
        raise InputError(
            f"The run in {name} cleans {spec.checkpoint}, which is gone; put it back to resume."
        )
    if at_work(folder):
        raise InputError(
            f"Another process is still working on the run in {name}; wait until it has finished."
        )
    trigger = None if spec.trigger is None else load_trigger(spec.trigger)
    return SavedRun(folder, spec, step, trigger)


def was_interrupted(folder: Path) -> bool:
    """Whether a run in a folder was killed: saved, no result, and no last word in its journal."""
    if not can_resume(folder) or (folder / RESULT_FILE).is_file() or at_work(folder):
        return False
    events = journal(folder, _TAIL_BYTES)
    return not (events and isinstance(events[-1], Done))


def _saved_step(state: Path) -> int:
    """Step of a save; read without its tensors."""
    try:
        facts = read_header(state, inside=state.parent.parent).metadata["facts"]
        step = parse_object(facts.encode("utf-8", "surrogatepass"), half_characters=True)["step"]
    except (KeyError, JsonError) as error:
        raise InputError(
            f"The saved state {state.name} is damaged; start it again.", "damaged", str(error)
        ) from error
    if type(step) is not int or not 0 <= step < 2**53:
        raise InputError(f"The saved state {state.name} is damaged; start it again.", "damaged")
    return step


def journal(folder: Path, limit: int) -> list[Event]:
    """The journal's last ``limit`` bytes as events; a line cut by a kill is left out."""
    try:
        with open_file(folder / EVENTS_FILE, inside=folder) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - limit))
            lines = file.read(limit).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    events: list[Event] = []
    for line in lines:
        try:
            events.append(from_json(line))
        except ValueError:
            continue
    return events
