"""Triggers on disk: the picture as PNG, everything else as JSON beside it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_core.atomic import Content, replace_files
from ml_core.reading.errors import InputError
from ml_core.triggers.make import from_image
from ml_core.triggers.record import Kind, Noise, Placement, Trigger

SCHEMA = "cleanclip-gui/trigger"
VERSION = 1
MAX_JSON_BYTES = 64 * 1024


class _TriggerFile(BaseModel):
    """What the JSON may hold; anything else is refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, serialize_by_alias=True
    )

    schema_name: Literal["cleanclip-gui/trigger"] = Field(alias="schema")
    version: Literal[1]
    name: str = Field(max_length=200)
    pixels_sha256: str | None = Field(pattern="^[0-9a-f]{64}$")
    kind: Kind
    size: float = Field(gt=0, le=1)
    opacity: float = Field(ge=0, le=1)
    placement: Placement
    x: float
    y: float
    rotation: float
    canvas: Literal["model"]
    ratio: float = Field(ge=0, le=1)
    noise: Noise
    seed: int = Field(ge=0, le=2**62 - 1)


def save_trigger(trigger: Trigger, path: str | Path) -> tuple[Path | None, Path]:
    """Write a trigger as ``<path>.png`` and ``<path>.json``, each renamed into place when whole.

    Parameters
    ----------
    trigger
        What to save.
    path
        Where to; a suffix ``.png`` or ``.json`` is dropped.

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
    record = _TriggerFile.model_validate(
        {
            "schema": SCHEMA,
            "version": VERSION,
            "name": trigger.name[:200],
            "pixels_sha256": trigger.pixels_sha256,
            **trigger.parameters(),
        }
    )
    png = None
    text = record.model_dump_json(indent=2) + "\n"
    files: dict[Path, Content] = {_with(stem, ".json"): text.encode()}
    if trigger.pixels is not None:
        png = _with(stem, ".png")
        buffer = io.BytesIO()
        Image.fromarray(trigger.pixels, "RGBA").save(buffer, "PNG")
        files = {png: buffer.getvalue(), **files}
    try:
        replace_files(files)
    except OSError as error:
        raise InputError(
            f"The trigger {stem.name} cannot be saved in {stem.parent}: {error.strerror}.",
            "usage",
            details=str(error),
        ) from error
    return png, _with(stem, ".json")


def load_trigger(path: str | Path) -> Trigger:
    """Read a saved trigger from its PNG or JSON, or a picture without a JSON as an upload.

    Raises
    ------
    InputError
        If a file is missing or damaged, a field is unknown or out of range, or the picture is not
        the one that was saved.
    """
    path = Path(path)
    is_json = path.suffix.lower() == ".json"
    json_path = path if is_json else _with(_stem(path), ".json")
    if not is_json and not json_path.exists():
        from ml_core.reading.images import read_image

        return from_image(read_image(path), name=path.stem)
    record = _read_json(json_path)
    pixels = None
    if record.pixels_sha256 is not None:
        pixels = _read_pixels(_with(_stem(json_path), ".png") if is_json else path)
    fields = record.model_dump(exclude={"schema_name", "version", "pixels_sha256"})
    trigger = Trigger(pixels=pixels, **fields)
    if trigger.pixels_sha256 != record.pixels_sha256:
        raise InputError(
            f"The picture beside {json_path.name} is not the one that was saved with it; "
            "restore it, or delete the JSON to use the picture as an upload.",
            "damaged",
            details=f"saved {record.pixels_sha256}\nfound {trigger.pixels_sha256}",
        )
    return trigger


def _stem(path: Path) -> Path:
    """Drop a picture's or JSON's suffix, but no other dot of the name."""
    known = {".png", ".json", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"}
    return path.with_suffix("") if path.suffix.lower() in known else path


def _with(stem: Path, suffix: str) -> Path:
    """Append a suffix."""
    return stem.with_name(stem.name + suffix)


def _read_json(path: Path) -> _TriggerFile:
    """Read and check the JSON."""
    if not path.is_file():
        raise InputError(f"The trigger file {path.name} does not exist.", "usage")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"The trigger file {path.name} cannot be read: {error.strerror}.", "usage"
        ) from error
    if len(data) > MAX_JSON_BYTES:
        raise InputError(f"{path.name} is too long for a trigger file.", "damaged")
    try:
        return _TriggerFile.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path.name} is not a trigger file of this version"
            + (f": its field {where!r} is wrong." if where else "; save the trigger again."),
            "damaged",
            details=str(error),
        ) from error


def _read_pixels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Read the picture beside a JSON."""
    from ml_core.reading.images import read_image

    return np.asarray(read_image(path).convert("RGBA"))
