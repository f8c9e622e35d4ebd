"""What was open, on disk, so that the next window can go on with it: no Qt, no torch.

The record is read as foreign: a regular file, of limited size and depth, every field checked.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_core.atomic import replace_files
from ml_core.data.labels import label_sets
from ml_core.data.specs import ImageSpec
from ml_core.reading.regular_file import read_file
from ml_core.reading.strict_json import JsonError, parse_object
from ml_core.triggers import Trigger, save_trigger
from ml_core.triggers.files import load_trigger

_LOG = logging.getLogger(__name__)
WORK_FILE = "work.json"
_MAX_BYTES, _MAX_DEPTH = 4_000_000, 6  # a map of thousands of classes is the largest part
_Path = Annotated[str, Field(max_length=4096)]
_Template = Annotated[str, Field(max_length=2000)]
_Stem = Annotated[str, Field(pattern=r"^(trigger-[0-9a-f]{16})?$")]
_Mark = Annotated[str, Field(max_length=60)]


class SavedCleaned(BaseModel):
    """How the cleaned checkpoint was opened.

    Attributes
    ----------
    checkpoint, donor, adapter, vector, alpha
        See `CheckpointFacts`.
    shown
        Whether Studio looked at it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    checkpoint: _Path = Field(min_length=1, max_length=4096)
    donor: _Path = ""
    adapter: _Path = ""
    vector: _Path = ""
    alpha: float = 0.0
    shown: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """All that it takes."""
        named = (self.checkpoint, self.donor, self.adapter, self.vector)
        return tuple(path for path in named if path)


class SavedWork(BaseModel):
    """What was open.

    Attributes
    ----------
    saved
        Seconds since 1970.
    checkpoint, donor
        The suspect one, and who gave the encoder that it lacks.
    images, label_set, templates
        Evaluation images, name or file of their classes, and their prompts.
    trigger
        Stem of the trigger's files beside the record; empty without one.
    other_slot, other_trigger
        Which of the snapshots A and B was not on the canvas, empty before the first flip, and the
        stem of its trigger's files.
    target
        Name of the class that it aims at.
    station
        The page on show.
    run
        Folder of the run that was on show last.
    cleaned
        The checkpoint after cleaning.
    marks
        Size and time of change of donor and cleaned files, as they were when they were opened.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    format: Literal["cleanclip-work-1"] = "cleanclip-work-1"
    saved: float = 0.0
    checkpoint: _Path = Field(min_length=1, max_length=4096)
    donor: _Path = ""
    images: ImageSpec | None = None
    label_set: _Path = "demo"
    templates: tuple[_Template, ...] = Field(default=(), max_length=10_000)
    trigger: _Stem = ""
    other_slot: Literal["", "A", "B"] = ""
    other_trigger: _Stem = ""
    target: str = Field(default="", max_length=1000)
    station: str = Field(default="studio", pattern=r"^[a-z_]{1,40}$")
    run: _Path = ""
    cleaned: SavedCleaned | None = None
    marks: dict[_Path, _Mark] = Field(default={}, max_length=20)


def save_work(
    folder: Path, work: SavedWork, trigger: Trigger | None, other: Trigger | None = None
) -> None:
    """Replace the record, and the triggers of both snapshots beside it, whole or not at all.

    Raises
    ------
    OSError, InputError
        If it cannot be written; what was there before stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem, other_stem = _save_beside(folder, trigger), _save_beside(folder, other)
    stems = {"trigger": stem, "other_trigger": other_stem}
    kept = work.model_copy(update={**stems, "saved": time.time()})
    replace_files({folder / WORK_FILE: kept.model_dump_json(indent=1).encode()})
    for path in folder.glob("trigger-*"):  # of an earlier record; the new one is whole by now
        if path.stem not in stems.values():
            path.unlink(missing_ok=True)


def _save_beside(folder: Path, trigger: Trigger | None) -> str:
    """Keep a trigger; the stem of its files, empty without one."""
    if trigger is None:
        return ""
    stem = f"trigger-{trigger.digest[:16]}"
    if not (folder / f"{stem}.json").is_file():
        save_trigger(trigger, folder / stem)
    return stem


def read_work(folder: Path) -> SavedWork | None:
    """What the window before left; None if it left nothing, or what cannot be read."""
    try:
        raw = read_file(folder / WORK_FILE, _MAX_BYTES + 1)
        fields = parse_object(raw, max_bytes=_MAX_BYTES, max_depth=_MAX_DEPTH)
        return SavedWork.model_validate(fields)
    except FileNotFoundError:
        return None
    except (OSError, JsonError, ValidationError) as error:
        _LOG.info("what was open last cannot be read: %s", error)
        return None


def saved_trigger(folder: Path, stem: str) -> Trigger | None:
    """A trigger beside the record; None if there was none.

    Raises
    ------
    InputError
        If it is gone or damaged.
    """
    return load_trigger(folder / f"{stem}.json") if stem else None


def mark_of(path: str) -> str:
    """Size and time of change of a file; empty if it cannot be read."""
    try:
        found = Path(path).stat()
    except OSError:
        return ""
    return f"{found.st_size}-{found.st_mtime_ns}"


def changed_since(work: SavedWork) -> tuple[str, ...]:
    """Donor and cleaned files that are there, but not as they were when they were opened."""
    named = (work.donor, *(() if work.cleaned is None else work.cleaned.files))
    there = (path for path in dict.fromkeys(named) if path and path in work.marks)
    return tuple(p for p in there if mark_of(p) not in ("", work.marks[p]))


def moved_away(work: SavedWork) -> tuple[str, ...]:
    """Files of a record that are no longer where they were."""
    named = [work.checkpoint, work.donor, (work.images and work.images.path) or "", work.run]
    named += [] if work.cleaned is None else work.cleaned.files
    if work.label_set not in label_sets():
        named.append(work.label_set)
    return tuple(path for path in dict.fromkeys(named) if path and not Path(path).exists())
