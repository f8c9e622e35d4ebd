"""Published architectures of open_clip, told by the names and shapes of a file's tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ml_core.paths import resource

_SCALES = ("logit_scale", "logit_bias")  # one number in any shape
FILE = "open_clip_shapes.json"


@dataclass(frozen=True)
class Published:
    """One of open_clip's models.

    Parameters
    ----------
    name
        open_clip's.
    config
        Its checked ``model_cfg``.
    preprocess
        What all its published weights have in common of ``preprocess_cfg``.
    """

    name: str
    config: Mapping[str, Any]
    preprocess: Mapping[str, Any]


def digest(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """A name for just these tensors, in any order."""
    lines = [f"{key} {list(shape)}" for key, shape in shapes.items() if key not in _SCALES]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:32]


def find_published(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Published, ...]:
    """open_clip's models with just these tensors; several differ in what shapes do not tell."""
    return tuple(
        Published(entry["name"], entry["config"], entry["preprocess"])
        for entry in _entries().get(digest(shapes), ())
    )


def gelu_alone(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Names of open_clip's CLIPs of OpenAI's kind with just these tensors, if none has QuickGELU.

    Empty if one has, or if open_clip has no such model.
    """
    names: Mapping[str, str] = _file()["gelu"]
    return names.get(digest(shapes), "")


def _entries() -> dict[str, list[dict[str, Any]]]:
    """Models by their tensors."""
    models: dict[str, list[dict[str, Any]]] = _file()["models"]
    return models


@cache
def _file() -> dict[str, Any]:
    """The shipped lists, which `packaging/open_clip/shapes.py` makes."""
    lists: dict[str, Any] = json.loads(resource(FILE).read_bytes())
    return lists
