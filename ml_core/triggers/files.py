"""Triggers on disk: the picture as PNG, arrays as safetensors, everything else as JSON."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.atomic import Content, replace_files
from ml_core.reading.arrays import ARRAY_SUFFIXES, read_safetensors
from ml_core.reading.errors import InputError
from ml_core.triggers.file_record import (
    SCHEMA,
    VERSION,
    PartRecord,
    TriggerFile,
    parse_record,
    read_record,
)
from ml_core.triggers.import_arrays import import_trigger
from ml_core.triggers.record import Trigger

_SUFFIXES = {".png", ".json", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", *ARRAY_SUFFIXES}


def save_trigger(trigger: Trigger, path: str | Path) -> tuple[Path | None, Path]:
    """Write a trigger as ``<path>.png``, ``.safetensors`` and ``.json``, each whole or not at all.

    Parameters
    ----------
    trigger
        What to save.
    path
        Where to; a known suffix such as ``.png`` or ``.json`` is dropped.

    Returns
    -------
    tuple[Path | None, Path]
        Picture (None if the trigger has none, as noise) and JSON.

    Raises
    ------
    InputError
        If the files cannot be written; what was there before is kept.
    """
    stem = _stem(Path(path))
    record = TriggerFile.model_validate({"schema": SCHEMA, "version": VERSION, **_said(trigger)})
    png = None
    files: dict[Path, Content] = {}
    if trigger.pixels is not None:
        png = _with(stem, ".png")
        buffer = io.BytesIO()
        Image.fromarray(trigger.pixels, "RGBA").save(buffer, "PNG")
        files[png] = buffer.getvalue()
    arrays = _arrays_of(trigger)
    if arrays:
        from safetensors.numpy import save

        files[_with(stem, ".safetensors")] = save(arrays)
    # The JSON comes last: it says what the others must be.
    files[_with(stem, ".json")] = (record.model_dump_json(indent=2) + "\n").encode()
    try:
        replace_files(files)
    except OSError as error:
        raise InputError(
            f"The trigger {stem.name} cannot be saved in {stem.parent}: {error.strerror}.",
            "usage",
            details=str(error),
        ) from error
    return png, _with(stem, ".json")


def save_own_trigger(trigger: Trigger, folder: Path) -> Path:
    """Write a run's trigger into its folder, beside another one that an earlier run left there.

    Returns
    -------
    Path
        The JSON, ``trigger.json`` where no other has that name.

    Raises
    ------
    InputError
        If the files cannot be written.
    """
    try:
        taken = load_trigger(folder / "trigger.json").digest != trigger.digest
    except InputError:  # there is none, or it is damaged
        taken = False
    stem = f"trigger-{trigger.digest[:8]}" if taken else "trigger"
    return save_trigger(trigger, folder / stem)[1]


def load_trigger(path: str | Path) -> Trigger:
    """Read a saved trigger from any of its files, or a picture or array without JSON as an upload.

    Files of version 1 are read as well.

    Raises
    ------
    InputError
        If a file is missing or damaged, a field is unknown or out of range, or a picture or array
        is not the one that was saved.
    """
    path = Path(path)
    is_json = path.suffix.lower() == ".json"
    json_path = path if is_json else _with(_stem(path), ".json")
    if not is_json and not json_path.exists():
        return import_trigger(path)
    record = read_record(json_path)
    stem = _stem(json_path)
    pixels = None
    if record.pixels_sha256 is not None:
        is_array = path.suffix.lower() in ARRAY_SUFFIXES
        pixels = _read_pixels(_with(stem, ".png") if is_json or is_array else path)
    arrays: dict[str, NDArray[Any]] = {}
    if _needs(record):
        arrays = read_safetensors(_with(stem, ".safetensors")).arrays
    return _checked(record, arrays, pixels, json_path.name)


def trigger_of(
    raw: bytes, pixels: NDArray[np.uint8] | None, arrays: dict[str, NDArray[Any]], name: str
) -> Trigger:
    """The trigger of a JSON and what lies beside it, wherever that came from.

    Parameters
    ----------
    raw
        The JSON.
    pixels
        uint8 [h, w, 4] of its picture, None where it has none.
    arrays
        Of its safetensors file, empty where it has none.
    name
        Of the JSON, for sentences.

    Raises
    ------
    InputError
        As `load_trigger`.
    """
    return _checked(parse_record(raw, name), arrays, pixels, name)


def _checked(
    record: TriggerFile,
    arrays: dict[str, NDArray[Any]],
    pixels: NDArray[np.uint8] | None,
    name: str,
) -> Trigger:
    """Build a trigger, and refuse what was changed after it was saved."""
    trigger = _made(record, arrays, "", pixels)
    parts = (trigger, *trigger.parts)
    for made, said in zip(parts, (record, *record.parts), strict=True):
        _check_same(name, "picture", said.pixels_sha256, made.pixels_sha256)
        _check_same(name, "array", said.arrays_sha256, made.arrays_sha256)
    return trigger


def _said(trigger: Trigger) -> dict[str, Any]:
    """What the JSON says of a trigger or a part."""
    said: dict[str, Any] = {
        "name": trigger.name[:200],
        "pixels_sha256": trigger.pixels_sha256,
        "arrays_sha256": trigger.arrays_sha256,
        **trigger.parameters(),
    }
    if trigger.parts:
        said["parts"] = tuple(_said(part) for part in trigger.parts)
    return said


def _arrays_of(trigger: Trigger) -> dict[str, NDArray[Any]]:
    """Arrays by their names in the file; the pictures of parts are among them."""
    found: dict[str, NDArray[Any] | None] = {"array": trigger.array, "mask": trigger.mask}
    for number, part in enumerate(trigger.parts):
        found |= {
            f"parts.{number}.pixels": part.pixels,
            f"parts.{number}.array": part.array,
            f"parts.{number}.mask": part.mask,
        }
    return {name: values for name, values in found.items() if values is not None}


def _needs(record: TriggerFile) -> bool:
    """Whether a safetensors file lies beside the JSON."""
    parts = record.parts
    return bool(record.arrays_sha256) or any(p.arrays_sha256 or p.pixels_sha256 for p in parts)


def _made(
    record: PartRecord,
    arrays: dict[str, NDArray[Any]],
    prefix: str,
    pixels: NDArray[np.uint8] | None,
) -> Trigger:
    """Build a trigger or a part from what was read."""
    if prefix:
        pixels = arrays.get(f"{prefix}pixels")
    return Trigger(
        pixels=pixels,
        array=arrays.get(f"{prefix}array"),
        mask=arrays.get(f"{prefix}mask"),
        parts=tuple(
            _made(part, arrays, f"parts.{number}.", None)
            for number, part in enumerate(getattr(record, "parts", ()))
        ),
        **record.parameters(),
    )


def _check_same(name: str, what: str, saved: str | None, found: str | None) -> None:
    """Refuse what was changed after it was saved."""
    if saved == found:
        return
    raise InputError(
        f"The {what} beside {name} is not the one that was saved with it; "
        f"restore it, or delete the JSON to use the {what} as an upload.",
        "damaged",
        details=f"saved {saved}\nfound {found}",
    )


def _stem(path: Path) -> Path:
    """Drop a picture's or JSON's suffix, but no other dot of the name."""
    return path.with_suffix("") if path.suffix.lower() in _SUFFIXES else path


def _with(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)


def _read_pixels(path: Path) -> NDArray[np.uint8]:
    """Read the picture beside a JSON."""
    from ml_core.reading.images import read_image

    return np.asarray(read_image(path).convert("RGBA"))
