"""Session records as the window gets them, made without a model or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cleanclip_gui.session import ImagesState, ShownCheckpoint
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.records import Evaluation
from ml_core.reading import Inspection

DEMO_TEST = ImageSpec(kind="demo", split="test")


def facts(
    path: Path | str = "m.safetensors", *, sha256: str = "", **fields: Any
) -> ShownCheckpoint:
    """An open checkpoint of the demo's architecture; ``fields`` are other ones of the record."""
    path = Path(path)
    found = Inspection(path, path.name, 7, sha256, "safetensors", "loads", "ok")
    made = ShownCheckpoint(
        str(path), found, "ResNet 64 px, width 24", "metadata", (), 64, 12, of_demo=True
    )
    return replace(made, **fields)


def images(
    n: int | None = None,
    labels: Sequence[int] | None = None,
    class_names: Sequence[str] = ("apple", "banana"),
    **fields: Any,
) -> ImagesState:
    """Images in use, ``n`` of the first class or those with ``labels``; one prompt template."""
    found = np.zeros(n or 0, np.int64) if labels is None else np.array(labels, np.int64)
    made = ImagesState(DEMO_TEST, "demo", "key", len(found), found, tuple(class_names), ("a {}",))
    return replace(made, **fields)


def evaluation(**fields: Any) -> Evaluation:
    """A measurement of 100 images that aims at the class "banana"."""
    return replace(
        Evaluation(n=100, n_total=100, n_excl=98, target=1, target_name="banana"), **fields
    )
