"""What a result says of how it was trained, in words; imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_BATCH_NORM = {"train": "BatchNorm: batch statistics", "frozen": "BatchNorm: stored statistics"}


def training_words(result: Mapping[str, Any]) -> tuple[str, ...]:
    """How BatchNorm worked, where there is any, and gradient caching, where it was used.

    Parameters
    ----------
    result
        What ``result.json`` holds.
    """
    words = [_BATCH_NORM[mode]] if (mode := result.get("batch_norm")) in _BATCH_NORM else []
    chunk = result.get("cache_chunk") or 0
    if 0 < chunk < (result.get("recipe") or {}).get("batch_size", math.inf):
        words.append(f"gradient caching, {chunk} examples at a time")
    return tuple(words)
