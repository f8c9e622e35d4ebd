"""Published triggers by their ids, and whether a trigger is still one of them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ml_core.reading.arrays import MAX_BYTES
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular
from ml_core.triggers.descriptions import COMMON_FIELDS, FIELDS
from ml_core.triggers.library import ATTACKS, LIBRARY, PublishedTrigger, dual_key
from ml_core.triggers.pattern_file import read_pattern_file
from ml_core.triggers.record import Trigger

PUBLISHED = "published"
RESCALED = "rescaled, not the published trigger"
OTHER_FILE = "the published kind, but not the published file"
UNVERIFIED = "the published kind; its file cannot be verified"
YOURS = "yours"


def published(id: str, size: int = 224, file: str | Path | None = None) -> Trigger:
    """Build a published trigger for a model input of `size` pixels.

    Parameters
    ----------
    id
        As in `LIBRARY`, e.g. ``"T4"``.
    size
        At a size that is not among its own the trigger of the first one is given; it is scaled
        with the canvas then, and `standing` says so.
    file
        The attack's own file, for those that need one.

    Raises
    ------
    InputError
        If there is no such trigger, or its file is missing or of another kind.
    """
    entry = find(id)
    native = size if size in entry.sizes else (entry.sizes or (size,))[0]
    trigger = entry.make(native)
    if file is None:
        if entry.needs_file and not entry.without_file:
            raise InputError(
                f"{entry.id} ({entry.name}) is the content of {entry.needs_file}; give that file.",
                "usage",
            )
        return trigger
    if not entry.needs_file:
        raise InputError(f"{entry.id} ({entry.name}) needs no file; leave it out.", "usage")
    return _from_file(entry, trigger, Path(file), native)


def find(id: str) -> PublishedTrigger:
    """The entry of an id, in any case.

    Raises
    ------
    InputError
        If no trigger has this id.
    """
    for entry in LIBRARY:
        if entry.id.lower() == id.lower():
            return entry
    known = ", ".join(entry.id for entry in LIBRARY)
    raise InputError(f"There is no published trigger {id!r}; choose one of {known}.", "usage")


def entry_of(trigger: Trigger) -> PublishedTrigger | None:
    """The entry that a trigger is, rescaled or with another file included."""
    matches = _matches(trigger)
    return matches[0][0] if matches else None


def standing(trigger: Trigger, input_size: int) -> str:
    """What may be said of a trigger on a model with this input size.

    Returns
    -------
    str
        ``PUBLISHED``, ``RESCALED``, ``OTHER_FILE``, ``UNVERIFIED`` or ``YOURS``.
    """
    matches = _matches(trigger)
    if not matches:
        return YOURS
    if not any(size in (0, input_size) for _, size in matches):
        return RESCALED
    entry = matches[0][0]
    if not entry.needs_file:
        return PUBLISHED
    if not trigger.source_sha256:
        return OTHER_FILE
    if not entry.file_sha256 or (entry.sizes and input_size != entry.sizes[0]):
        return UNVERIFIED if _covers(trigger, input_size) else RESCALED
    return PUBLISHED if _has_file(trigger, entry) else OTHER_FILE


def _has_file(trigger: Trigger, entry: PublishedTrigger) -> bool:
    """Whether its content is that of the entry's file, or of its file and its mask."""
    digest = trigger.arrays_sha256 if entry.mask_file else trigger.source_sha256
    return (digest or "").startswith(entry.file_sha256)


def _covers(trigger: Trigger, input_size: int) -> bool:
    """Whether a pattern over the whole canvas has that canvas's size, so that it is not scaled."""
    content = trigger.pixels if trigger.array is None else trigger.array
    if trigger.kind != "blended" or content is None:
        return True
    side = 256 if trigger.canvas == "resize_256" else input_size
    return content.shape[:2] == (side, side)


def _matches(trigger: Trigger) -> list[tuple[PublishedTrigger, int]]:
    """Entries and sizes (0 for any) whose parameters a trigger has.

    Files are not compared, but for one with a mask: any pattern with a mask has its parameters.
    """
    own, of_file = _essence(trigger), _essence(trigger, any_content=True)
    return [
        (entry, size if entry.sizes else 0)
        for entry in ATTACKS
        if not entry.mask_file or _has_file(trigger, entry)
        for size in entry.sizes or (224,)
        if own in _essences(entry.id, size)
        or (entry.needs_file and trigger.source_sha256 and of_file in _essences(entry.id, size))
    ]


@cache
def _essences(id: str, size: int) -> list[tuple[Any, ...]]:
    """What decides an entry, without and with its file."""
    entry = find(id)
    trigger = entry.make(size)
    if not entry.needs_file:
        return [_essence(trigger)]
    if entry.id == "T14":
        return [_essence(trigger), _essence(dual_key(np.zeros((44, 44, 4), np.uint8), ""), True)]
    return [_essence(trigger, any_content=True)]


def _essence(trigger: Trigger, any_content: bool = False) -> tuple[Any, ...]:
    """What decides a trigger: the fields that mean something to its kind, and its content."""
    fields = [*COMMON_FIELDS, *FIELDS[trigger.kind]]
    if trigger.placement != "fixed":
        fields = [field for field in fields if field not in ("x", "y")]
    if not trigger.text:
        fields.remove("text_place")
    values = trigger.parameters()
    facts = tuple(
        (field, round(values[field], 9) if isinstance(values[field], float) else values[field])
        for field in fields
    )
    content = None
    if not any_content:
        content = (trigger.pixels_sha256, trigger.arrays_sha256)
    parts = tuple(_essence(part) for part in trigger.parts)
    return (trigger.kind, facts, content if any(content or ()) else None, parts)


def _from_file(entry: PublishedTrigger, trigger: Trigger, file: Path, size: int) -> Trigger:
    """Put a file's content in the place of an entry's."""
    mask = file.with_name(entry.mask_file) if entry.mask_file else None
    if mask is not None and not mask.exists():
        raise InputError(
            f"{entry.id} ({entry.name}) also needs its mask: put {mask.name} beside {file.name}.",
            "usage",
        )
    given = read_pattern_file(file, mask)
    wrong = InputError(
        f"{file.name} does not hold what {entry.id} ({entry.name}) is made of: "
        f"{entry.needs_file}; choose that file.",
        "usage",
    )
    if entry.id == "T14":
        if given.pixels is None:
            raise wrong
        return dual_key(_shrunk(given.pixels, int(size * 0.2)), given.source_sha256)
    if (given.kind == "wanet") != (trigger.kind == "wanet"):
        raise wrong
    content: dict[str, Any] = {"source_sha256": given.source_sha256, "name": entry.name}
    if trigger.kind == "wanet":
        if given.absolute != trigger.absolute:
            raise wrong
        return replace(trigger, array=given.array, **content)
    if trigger.kind == "patch" and given.pixels is not None:
        height, width = given.pixels.shape[:2]
        return replace(
            trigger, pixels=given.pixels, size=min(1, max(height, width) / size), **content
        )
    return replace(trigger, pixels=given.pixels, array=given.array, mask=given.mask, **content)


def _shrunk(pixels: np.ndarray[Any, np.dtype[np.uint8]], side: int) -> Any:
    """Pillow's own resize to a square, as the code does it."""
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).convert("RGB").resize((side, side)).convert("RGBA"))


def import_trigger(
    path: str | Path, mask: str | Path | None = None, *, side: int | None = None
) -> Trigger:
    """Read a trigger from a picture or an array file of the published attacks.

    Understood are a pattern ([h, w], [h, w, 3], [3, h, w], RGBA, also with leading ones), a
    warping grid ([h, w, 2]: WaNet's noise, or places from -1 to 1), a pattern with its mask
    (``mask`` 1 where the trigger is) and BadEncoder's and DECREE's ``t`` with ``tm`` (x tm + t).
    Bytes, and floats up to 255, become fractions. A file that is known by its SHA-256 to be the
    content of a published attack becomes that trigger. What a file does not say (weight, canvas) is
    set as the papers do it for such a content, and can be changed.

    Parameters
    ----------
    path
        ``.png``, ``.jpg``, ``.webp``, ..., or ``.npy``, ``.npz``, ``.pt``, ``.pth``,
        ``.safetensors``.
    mask
        A second file with the mask.
    side
        As `from_image` has it.

    Raises
    ------
    InputError
        If a file cannot be read, or holds no trigger.
    """
    path = Path(path)
    if mask is None:
        known = _recognised(path)
        if known is not None:
            return known
    return read_pattern_file(path, mask, side=side)


def _recognised(path: Path) -> Trigger | None:
    """The published trigger that a file is the content of, if its SHA-256 is known."""
    starts = {start: entry for entry in ATTACKS for start in entry.file_sha256}
    file, size = open_regular(path)
    with file:
        if size > MAX_BYTES:
            return None
        digest = hashlib.sha256(file.read(MAX_BYTES)).hexdigest()
    for start, entry in starts.items():
        if digest.startswith(start):
            return published(entry.id, (entry.sizes or (224,))[0], path)
    return None
