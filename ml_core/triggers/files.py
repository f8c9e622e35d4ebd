"""Triggers on disk: the picture as PNG, arrays as safetensors, everything else as JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_core.atomic import Content, replace_files
from ml_core.reading.arrays import ARRAY_SUFFIXES, read_safetensors
from ml_core.reading.errors import InputError, plain
from ml_core.reading.json_file import JsonFile, short
from ml_core.triggers.checks import (
    MAX_PARTS,
    MAX_TEXT,
    RANGES,
    Canvas,
    Kind,
    Levels,
    Mix,
    Noise,
    Placement,
    TextPlace,
    Where,
)
from ml_core.triggers.published import import_trigger
from ml_core.triggers.record import Trigger

SCHEMA = "cleanclip-gui/trigger"
VERSION = 2
_FILE = JsonFile("a trigger file", "save the trigger again", max_bytes=64 * 1024)
_SHA256 = "^[0-9a-f]{64}$"
_CONFIG = ConfigDict(
    frozen=True, extra="forbid", strict=True, allow_inf_nan=False, serialize_by_alias=True
)


def _number(name: str) -> Any:
    """A number in its range."""
    low, high, _ = RANGES[name]
    return Field(ge=low, le=high)


class PartRecord(BaseModel):
    """A trigger's parameters, and the SHA-256 of its picture and arrays."""

    model_config = _CONFIG

    name: str = Field(max_length=200)
    pixels_sha256: str | None = Field(pattern=_SHA256)
    arrays_sha256: str | None = Field(pattern=_SHA256)
    kind: Kind
    size: float = _number("size")
    opacity: float = _number("opacity")
    placement: Placement
    x: float
    y: float
    spare: int = _number("spare")
    rotation: float
    mirrored: bool
    canvas: Canvas
    levels: Levels
    jpeg: int | None = Field(ge=1, le=100)
    ratio: float = _number("ratio")
    where: Where
    stripe: int = _number("stripe")
    amplitude: float = _number("amplitude")
    frequency: float = _number("frequency")
    span: float = _number("span")
    mix: Mix
    grid_size: int = _number("grid_size")
    strength: float = _number("strength")
    grid_rescale: float = _number("grid_rescale")
    absolute: bool
    noise: Noise
    seed: int = _number("seed")
    text: str = Field(max_length=MAX_TEXT)
    text_place: TextPlace
    source_sha256: str = Field(pattern="^([0-9a-f]{64})?$")

    def parameters(self) -> dict[str, Any]:
        """Fields of `Trigger`."""
        away = {"schema_name", "version", "pixels_sha256", "arrays_sha256", "parts"}
        return self.model_dump(exclude=away)


class TriggerFile(PartRecord):
    """The whole file."""

    schema_name: Literal["cleanclip-gui/trigger"] = Field(alias="schema")
    version: Literal[2]
    parts: tuple[PartRecord, ...] = Field(default=(), max_length=MAX_PARTS)


class _FirstVersion(BaseModel):
    """What version 1 wrote."""

    model_config = _CONFIG

    schema_name: Literal["cleanclip-gui/trigger"] = Field(alias="schema")
    version: Literal[1]
    name: str = Field(max_length=200)
    pixels_sha256: str | None = Field(pattern=_SHA256)
    kind: Literal["patch", "badnets", "blended"]
    size: float = _number("size")
    opacity: float = _number("opacity")
    placement: Placement
    x: float
    y: float
    rotation: float
    canvas: Literal["model"]
    ratio: float = _number("ratio")
    noise: Noise
    seed: int = _number("seed")


def read_record(path: Path) -> TriggerFile:
    """Read and check a trigger's JSON, of this version or the first.

    Raises
    ------
    InputError
        ``usage`` if there is no file, ``damaged`` with the first field that is wrong.
    """
    return _record_of(_FILE.read(path), plain(path.name))


def parse_record(raw: bytes, name: str) -> TriggerFile:
    """As `read_record`, but from bytes; ``name`` goes into error sentences."""
    return _record_of(_FILE.parse(raw, name), name)


def _record_of(fields: dict[str, Any], name: str) -> TriggerFile:
    """Check what was read."""
    try:
        if fields.get("version") == 1:
            fields = _from_first(_FirstVersion.model_validate_json(json.dumps(fields)))
        # Strict JSON, in which a list may stand for a tuple.
        return TriggerFile.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = short(".".join(str(part) for part in first["loc"]), 60)
        raise InputError(
            f"{name} is not a trigger file of this version"
            + (f": its field {where!r} is wrong." if where else "; save the trigger again."),
            "damaged",
            details=str(error)[:4000],
        ) from error


def _from_first(old: _FirstVersion) -> dict[str, Any]:
    """What a file of version 1 says, in the words of this one."""
    defaults = Trigger(kind="badnets").parameters()
    fields = old.model_dump(by_alias=True)
    return defaults | fields | {"version": VERSION, "arrays_sha256": None}


_SUFFIXES = {".png", ".json", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", *ARRAY_SUFFIXES}


def save_trigger(trigger: Trigger, path: str | Path) -> tuple[Path | None, Path]:
    """Write a trigger as ``<path>.png``, ``.safetensors`` and ``.json``, each whole or not at all.

    Parameters
    ----------
    trigger
        What to save.
    path
        Where to write; a known suffix such as ``.png`` or ``.json`` is dropped.

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
    record = TriggerFile.model_validate(
        {"schema": SCHEMA, "version": VERSION, **_fields_of(trigger)}
    )
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
    """Write a run's trigger into its folder, beside the trigger that an earlier run left there.

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


def has_record(path: Path) -> bool:
    """Whether a file is a saved trigger's; one alone becomes a trigger as `from_image` has it."""
    return path.suffix.lower() == ".json" or _with(_stem(path), ".json").exists()


def load_trigger(path: str | Path, *, side: int | None = None) -> Trigger:
    """Read a saved trigger from any of its files, or a picture or array without JSON as an upload.

    Files of version 1 are read as well.

    Parameters
    ----------
    side
        Of an upload, as `from_image` has it.

    Raises
    ------
    InputError
        If a file is missing or damaged, a field is unknown or out of range, or a picture or array
        is not the one that was saved.
    """
    path = Path(path)
    is_json = path.suffix.lower() == ".json"
    if not has_record(path):
        return import_trigger(path, side=side)
    json_path = path if is_json else _with(_stem(path), ".json")
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
        Arrays of its safetensors file, empty where it has none.
    name
        Name of the JSON, for sentences.

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
    trigger = _trigger_of(record, arrays, "", pixels)
    parts = (trigger, *trigger.parts)
    for part, fields in zip(parts, (record, *record.parts), strict=True):
        _check_same(name, "picture", fields.pixels_sha256, part.pixels_sha256)
        _check_same(name, "array", fields.arrays_sha256, part.arrays_sha256)
    return trigger


def _fields_of(trigger: Trigger) -> dict[str, Any]:
    """What the JSON says of a trigger or a part."""
    fields: dict[str, Any] = {
        "name": trigger.name[:200],
        "pixels_sha256": trigger.pixels_sha256,
        "arrays_sha256": trigger.arrays_sha256,
        **trigger.parameters(),
    }
    if trigger.parts:
        fields["parts"] = tuple(_fields_of(part) for part in trigger.parts)
    return fields


def _arrays_of(trigger: Trigger) -> dict[str, NDArray[Any]]:
    """Arrays by their names in the file; the pictures of parts are among them."""
    arrays: dict[str, NDArray[Any] | None] = {"array": trigger.array, "mask": trigger.mask}
    for number, part in enumerate(trigger.parts):
        arrays |= {
            f"parts.{number}.pixels": part.pixels,
            f"parts.{number}.array": part.array,
            f"parts.{number}.mask": part.mask,
        }
    return {name: values for name, values in arrays.items() if values is not None}


def _needs(record: TriggerFile) -> bool:
    """Whether a safetensors file lies beside the JSON."""
    parts = record.parts
    return bool(record.arrays_sha256) or any(p.arrays_sha256 or p.pixels_sha256 for p in parts)


def _trigger_of(
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
            _trigger_of(part, arrays, f"parts.{number}.", None)
            for number, part in enumerate(getattr(record, "parts", ()))
        ),
        **record.parameters(),
    )


def _check_same(name: str, what: str, saved: str | None, computed: str | None) -> None:
    """Refuse what was changed after it was saved."""
    if saved == computed:
        return
    raise InputError(
        f"The {what} beside {name} is not the one that was saved with it; "
        f"restore it, or delete the JSON to use the {what} as an upload.",
        "damaged",
        details=f"saved {saved}\nfound {computed}",
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
