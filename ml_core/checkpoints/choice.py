"""Choices of how a checkpoint is opened; those from the loader doctor are kept for next time.

They belong to a file's SHA-256 and lie in the user's data folder, never beside the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from ml_core.atomic import replace_files
from ml_core.checkpoints.architecture import Architecture
from ml_core.paths import data_dir
from ml_core.reading import InputError, damaged
from ml_core.reading.clip_config import check_model_config
from ml_core.reading.json_file import JsonFile, short
from ml_core.records import Record

CHOICE_KEY = "choice"


@dataclass(frozen=True)
class Choice:
    """Settings to use instead of what the file says or what was assumed; None keeps those.

    Parameters
    ----------
    quick_gelu
        QuickGELU (True) or GELU.
    mean, std
        Of each channel, for pixels in [0, 1].
    image_size
        Side of the input in pixels.
    image_heads, text_heads
        Attention heads of the image encoder (of a ResNet, of its pooling) and the text encoder.
    logit_scale
        Factor on cosine similarities.
    evidence
        Whole sentence: what the choice rests on.
    """

    quick_gelu: bool | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    image_size: int | None = None
    image_heads: int | None = None
    text_heads: int | None = None
    logit_scale: float | None = None
    evidence: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The choice as JSON values, without the settings that stay as they are."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "")}


def chosen(architecture: Architecture, choice: Choice) -> Architecture:
    """The architecture with the choice in place of what the file says or what was assumed.

    Raises
    ------
    InputError
        If the settings do not fit the model.
    """
    config: dict[str, Any] = dict(architecture.config)
    vision, text = dict(config["vision_cfg"]), dict(config["text_cfg"])
    preprocess = architecture.preprocess
    if choice.quick_gelu is not None:
        config["quick_gelu"] = choice.quick_gelu
    if choice.image_size is not None:
        vision["image_size"] = choice.image_size
        preprocess = replace(preprocess, size=choice.image_size)
    if choice.image_heads is not None:
        vision["head_width"] = features(vision) // choice.image_heads
    if choice.text_heads is not None:
        text["heads"] = choice.text_heads
    if choice.mean is not None and choice.std is not None:
        preprocess = replace(preprocess, mean=choice.mean, std=choice.std)
    checked = check_model_config({**config, "vision_cfg": vision, "text_cfg": text}, "The choice")
    assumptions = architecture.assumptions
    if choice.evidence:
        assumptions = (*assumptions, choice.evidence)
    return replace(architecture, config=checked, preprocess=preprocess, assumptions=assumptions)


def features(vision: Mapping[str, Any]) -> int:
    """Features that the image encoder's attention heads divide; in a ResNet, the pooling's."""
    return int(vision["width"]) * (32 if isinstance(vision["layers"], list) else 1)


def image_heads(vision: Mapping[str, Any]) -> int | None:
    """Attention heads of a checked ``vision_cfg``; None where a name decides the encoder."""
    if "timm_model_name" in vision:
        return None
    return features(vision) // int(vision["head_width"])


FILE = "loader_choices.json"
_FILE = JsonFile(
    "a table of remembered choices", "correct it or remove the file", max_bytes=4 << 20
)
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_TITLES = {
    "quick_gelu": "activation",
    "mean": "mean and std",
    "image_size": "resolution",
    "image_heads": "heads of the image encoder",
    "text_heads": "heads of the text encoder",
    "logit_scale": "logit scale",
}


_Mean = Annotated[float, Field(ge=-10, le=10)]
_Std = Annotated[float, Field(ge=1e-4, le=10)]


@dataclass(frozen=True)
class Remembered:
    """A choice, its file and the day it was made (``2026-11-26``)."""

    sha256: str
    name: str
    day: str
    choice: Choice

    @property
    def sentence(self) -> str:
        """The sentence that stays with every result."""
        fields = self.choice.to_dict()
        what = [title for key, title in _TITLES.items() if key in fields]
        listed = ", ".join(what[:-1]) + " and " * (len(what) > 1) + what[-1]
        return (
            f"Opened with the {listed} as chosen by the loader doctor on {self.day}, whatever "
            "the file says."
        )

    def to_dict(self) -> dict[str, Any]:
        return {"day": self.day, "name": self.name, **self.choice.to_dict()}


class _Stored(Record):
    """One entry of the user's file."""

    day: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    name: str = Field(max_length=300)
    quick_gelu: bool | None = None
    mean: tuple[_Mean, _Mean, _Mean] | None = None
    std: tuple[_Std, _Std, _Std] | None = None
    image_size: int | None = Field(default=None, ge=1, le=4096)
    image_heads: int | None = Field(default=None, ge=1, le=4096)
    text_heads: int | None = Field(default=None, ge=1, le=4096)
    logit_scale: float | None = Field(default=None, gt=0, le=1e6)
    evidence: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _check_chosen(self) -> _Stored:
        if not self.model_fields_set & _TITLES.keys():
            raise ValueError("it chooses nothing")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together")
        return self


def remembered_file() -> Path:
    """Where the choices are, whether there are any or not."""
    return data_dir() / FILE


def remembered(sha256: str) -> Remembered | None:
    """The choice for a file, or None.

    Raises
    ------
    InputError
        ``damaged`` if the user's file of choices cannot be used.
    """
    entry = _read().get(sha256)
    if entry is None:
        return None
    values = entry.model_dump(exclude={"day", "name"})
    return Remembered(sha256, entry.name, entry.day, Choice(**values))


def choice_of(record: Mapping[str, Any]) -> Choice:
    """A choice from what `Choice.to_dict` or `Remembered.to_dict` gave, perhaps a stranger's.

    Raises
    ------
    InputError
        ``damaged`` if it is not a choice.
    """
    item = {"day": "2000-01-01", "name": "", **record}
    stored = _FILE.check(item, _Stored, "The loader's settings")
    return Choice(**stored.model_dump(exclude={"day", "name"}))


def remember(sha256: str, name: str, choice: Choice) -> Remembered:
    """Save a choice for every later opening of a file; it replaces an older one.

    Parameters
    ----------
    sha256, name
        SHA-256 and name of the file.

    Raises
    ------
    InputError
        If the user's file of choices is damaged (it is left as it is) or cannot be written.
    """
    entry = Remembered(sha256, name[:300], f"{datetime.now(UTC):%Y-%m-%d}", choice)
    _write({**_read(), sha256: _Stored.model_validate(entry.to_dict())})
    return entry


def forget(sha256: str) -> bool:
    """Delete the choice for a file, and return whether there was one.

    Raises
    ------
    InputError
        As `remember` does.
    """
    entries = dict(_read())
    if entries.pop(sha256, None) is None:
        return False
    _write(entries)
    return True


def with_remembered(
    architecture: Architecture, sha256: str
) -> tuple[Architecture, Remembered | None]:
    """The architecture with the choice for this file; its assumptions name the choice.

    A choice that cannot be read or does not fit is not used, and the assumptions say so.
    """
    try:
        entry = remembered(sha256)
        if entry is None:
            return architecture, None
        changed = chosen(architecture, entry.choice)
    except InputError as error:
        caution = f"The remembered settings were not used: {error.sentence}"
        return replace(architecture, assumptions=(*architecture.assumptions, caution)), None
    return replace(changed, assumptions=(entry.sentence, *changed.assumptions)), entry


def _read() -> dict[str, _Stored]:
    """All choices by SHA-256; none if there is no file."""
    path = remembered_file()
    if not path.exists():
        return {}
    items = _FILE.read(path).get("choices")
    if not isinstance(items, Mapping):
        raise damaged(f"{path} has no table of choices; correct it or remove it.")
    return {key: _stored(key, item, path) for key, item in items.items()}


def _stored(key: str, item: Any, path: Path) -> _Stored:
    """One entry, checked."""
    if not _SHA256.match(key):
        raise damaged(f"{path}: {short(key, 80)} is no SHA-256; correct it or remove the file.")
    return _FILE.check(item, _Stored, f"The choice for {key[:16]}… in {path}")


def _write(entries: Mapping[str, _Stored]) -> None:
    path = remembered_file()
    choices = {key: item.model_dump(exclude_defaults=True) for key, item in entries.items()}
    try:
        replace_files({path: (json.dumps({"choices": choices}, indent=1) + "\n").encode()})
    except OSError as error:
        raise InputError(f"{path} cannot be saved: {error.strerror}; free some space.") from error
