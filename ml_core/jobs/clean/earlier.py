"""What an earlier run left in a folder where a run begins.

A run never removes another job's result unasked. It removes an earlier result of its own job only
once the new one is complete. Until then the old files lie in a folder beside it, and come back if
the run fails.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ml_core.cleaning.progress import decisive
from ml_core.cleaning.recipes import fitted_warmup
from ml_core.cleaning.state import earlier_state
from ml_core.jobs.journal import read_json
from ml_core.jobs.proofs import HOLDOUTS_FILE, REBOUND_FILE
from ml_core.jobs.specs import (
    CLEANED_FILE,
    EVENTS_FILE,
    HEAD_FILE,
    RESULT_FILE,
    SPEC_FILE,
    STATE_FILE,
    STEPS_FOLDER,
    CleanSpec,
    read_spec,
)
from ml_core.reading.errors import InputError
from ml_core.reading.inspect import whole_file
from ml_core.reading.tokenizer_file import name_beside
from ml_core.reports.measurement_files import MADE, MEASUREMENTS_FOLDER
from ml_core.triggers.files import load_trigger

EARLIER_FOLDER = "earlier-result"
_STATES = (STATE_FILE, earlier_state(Path(STATE_FILE)).as_posix())
_RUN_FILES = (
    *_STATES,
    RESULT_FILE,
    REBOUND_FILE,
    HOLDOUTS_FILE,
    CLEANED_FILE,
    HEAD_FILE,
    "adapter.safetensors",  # of older versions
    "vector.safetensors",
    name_beside(Path(CLEANED_FILE)).name,
)
_FOLDERS = (STEPS_FOLDER, MEASUREMENTS_FOLDER, Path(STATE_FILE).parent.name)
# Where and how a job is computed, which makes it no other one.
_MACHINE = ("output_dir", "device", "threads", "processes", "keep_steps")


def check_own_folders(folder: Path) -> None:
    """Refuse a run's folder, perhaps a stranger's, whose own folders are links to elsewhere.

    Raises
    ------
    InputError
        What the run takes away and writes there would be another folder's.
    """
    for name in (*_FOLDERS, EARLIER_FOLDER, *(f"{EARLIER_FOLDER}/{name}" for name in _FOLDERS)):
        if (folder / name).is_symlink():
            raise InputError(
                f"{name} in the folder {folder.name} is a link to another folder, where the run "
                "would write and delete files; take the link away."
            )


def check_place(spec: CleanSpec, source_sha256: str | None = None) -> None:
    """Refuse a folder that holds what another job made: its result, state, weights or measurements.

    ``source_sha256`` is the checkpoint's, where it is known.

    Raises
    ------
    InputError
        With the folder, and what to do.
    """
    folder, needed = Path(spec.output_dir), _source_files(spec)
    if all(path.resolve() in needed for path in _files_of_run(folder) if os.path.lexists(path)):
        return
    result = read_json(folder / RESULT_FILE)
    others = source_sha256 is not None and result.get("source_sha256") not in (None, source_sha256)
    if others or not same_job(spec, folder / SPEC_FILE, *_MACHINE):
        what = "the result" if result else "files"
        raise InputError(
            f"{folder} holds {what} of another job; choose another folder, or replace what is "
            "there with --overwrite."
        )


def same_job(job: CleanSpec, path: Path, *ignored: str) -> bool:
    """Whether a spec on disk is the job's, but for what the machine's speed set.

    A run keeps a copy of its trigger, and its spec names that one. ``ignored`` names more fields.
    """
    try:
        there = read_spec(path)
    except InputError:
        return False
    changes: dict[str, Any] = {name: getattr(job, name) for name in ("speed", "recipe", *ignored)}
    if there.trigger is not None and _digest(there.trigger) == _digest(job.trigger):
        changes["trigger"] = job.trigger
    recipe = there.recipe
    if job.minutes is not None:
        budget = {"pairs": job.recipe.pairs, "epochs": job.recipe.epochs}
        warmup = job.recipe.warmup_steps
        if recipe.warmup_steps == fitted_warmup(warmup, recipe.total_steps):
            budget["warmup_steps"] = warmup
        recipe = recipe.model_copy(update=budget)
    if decisive(job.recipe.model_dump()) != decisive(recipe.model_dump()):
        return False
    return job == there.model_copy(update=changes)


def _digest(trigger: str | None) -> str | None:
    """Digest of a trigger file's content; None if it is not a trigger."""
    try:
        return None if trigger is None else load_trigger(Path(trigger)).digest
    except InputError:
        return None


def set_aside(spec: CleanSpec, *, journal: bool) -> bool:
    """Move the result of an earlier run aside, or take away what a run without result left.

    Otherwise the old files would be taken for this run's. Files that this run starts from stay.

    Parameters
    ----------
    spec
        The job that begins.
    journal
        Whether the journal is the earlier run's.

    Returns
    -------
    bool
        Whether there was a result.

    Raises
    ------
    OSError
        If a file cannot be moved.
    """
    folder = Path(spec.output_dir)
    needed = _source_files(spec)
    there = (folder / RESULT_FILE).exists()
    about = [folder / SPEC_FILE] * there + [folder / EVENTS_FILE] * journal
    for path in [*_files_of_run(folder), *about]:
        if path.resolve() in needed:
            continue
        if there:
            _move(path, folder / EARLIER_FOLDER / path.relative_to(folder))
        else:
            path.unlink(missing_ok=True)
    _clear_folders(folder)
    return there


def bring_back(folder: Path) -> None:
    """Put a result back that lies aside: the run in its place came to nothing.

    A state that this run saved stays where it is, to go on from.

    Raises
    ------
    OSError
        If a file cannot be moved; the rest of them comes back another time.
    """
    aside = folder / EARLIER_FOLDER
    if not aside.is_dir() or aside.is_symlink():
        return
    states = [folder / name for name in _STATES]
    newer = any(path.exists() for path in states)
    with suppress(InputError):  # killed before it wrote its job, a run has made nothing
        stays = _source_files(read_spec(folder / SPEC_FILE)) | {path.resolve() for path in states}
        for path in _files_of_run(folder):
            if path.resolve() not in stays:
                path.unlink(missing_ok=True)
    for path in [*_files_of_run(aside), aside / SPEC_FILE, aside / EVENTS_FILE]:
        place = folder / path.relative_to(aside)
        if place not in states or not newer:
            _move(path, place)
    _clear_folders(folder)
    shutil.rmtree(aside)


def forget_earlier(folder: Path) -> None:
    """Delete the result that lies aside, as the new one is there."""
    aside = folder / EARLIER_FOLDER
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)


def _source_files(spec: CleanSpec) -> set[Path]:
    """The checkpoints that a run starts from, which an earlier run may have made."""
    given = (spec.checkpoint, spec.donor, spec.reference)
    return {whole_file(path).resolve() for path in given if path is not None}


def _files_of_run(folder: Path) -> Iterator[Path]:
    """The files that a run may have made in a folder; a link instead of a measurement, too."""
    yield from (folder / name for name in _RUN_FILES)
    yield from (folder / STEPS_FOLDER).glob("step-[0-9]*.safetensors")
    for measurement in (folder / MEASUREMENTS_FOLDER).glob("*"):
        if measurement.is_symlink():
            yield measurement
        elif measurement.is_dir():
            yield from (measurement / name for name in MADE)


def _move(path: Path, place: Path) -> None:
    """Move a file, if it is there."""
    if os.path.lexists(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)


def _clear_folders(folder: Path) -> None:
    """Remove the measurement folders that are empty now."""
    for measurement in (folder / MEASUREMENTS_FOLDER).glob("*"):
        with suppress(OSError):  # it holds something
            measurement.rmdir()
