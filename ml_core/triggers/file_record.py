"""What the JSON of a trigger file may hold; anything else is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile, short
from ml_core.reading.plain import plain
from ml_core.triggers.checks import MAX_PARTS, MAX_TEXT, RANGES
from ml_core.triggers.kinds import Canvas, Kind, Levels, Mix, Noise, Placement, TextPlace, Where
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
    """As `read_record`, of bytes; ``name`` is for the sentence."""
    return _record_of(_FILE.parse(raw, name), name)


def _record_of(found: dict[str, Any], name: str) -> TriggerFile:
    """Check what was read."""
    try:
        if found.get("version") == 1:
            found = _from_first(_FirstVersion.model_validate_json(json.dumps(found)))
        # Strict JSON, in which a list may stand for a tuple.
        return TriggerFile.model_validate_json(json.dumps(found))
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
    said = old.model_dump(by_alias=True)
    return defaults | said | {"version": VERSION, "arrays_sha256": None}
