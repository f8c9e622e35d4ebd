"""Small pictures on which a trigger works, without and with it."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.evaluation.evaluate import see_one
from ml_core.jobs.remeasure import OpenedAgain
from ml_core.reading.errors import InputError
from ml_core.reports.rows import Rows

MOST = 24
_SIDE = 112


def flipped(rows: Rows, target: int | None, most: int, seed: int = 0) -> NDArray[np.int64]:
    """Pictures that the trigger changes (to the target, where there is one), drawn by a seed.

    Returns
    -------
    NDArray[int64]
        [m], positions in the set, ascending, m up to ``most``.
    """
    if rows.triggered_top is None:
        return np.zeros(0, np.int64)
    hit = rows.clean_top[:, 0] != rows.triggered_top[:, 0]
    if target is not None:
        hit &= rows.triggered_top[:, 0] == target
    found = rows.indices[hit]
    rng = np.random.Generator(np.random.PCG64(seed))
    chosen = rng.permutation(len(found))[:most]
    return np.sort(found[chosen])


def pictures_of(opened: OpenedAgain, index: int) -> tuple[bytes, bytes] | None:
    """A picture as the model sees it without and with the trigger, as PNG; None if it cannot be."""
    bench = opened.bench
    try:
        seen = see_one(bench.canvases, opened.model, bench.trigger, index, bench.seed)
    except InputError:
        return None
    if seen.triggered_image is None:
        return None
    return _png(seen.clean_image), _png(seen.triggered_image)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(pixels)
    if max(image.size) > _SIDE:
        image = image.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()
