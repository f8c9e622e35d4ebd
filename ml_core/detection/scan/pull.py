"""Which class draws pictures that do not show it: a shortlist for nothing.

A poisoned caption repeats its class thousands of times, and the whole model leans towards it. The
mean cosine of clean pictures to each class, suspect minus reference, puts the target first; but the
margin over clean models is thin, so it orders candidates and never judges.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from ml_core.detection.scan.records import Pull, PullRow
from ml_core.detection.scan.sides import Side, Sides

_MAD_TO_SIGMA = 1.4826


def pull_of(one: Side, sides: Sides) -> Generator[int, None, NDArray[np.float64]]:
    """Mean cosine of the pictures searched on to each class they are not of: float64 [C].

    Yields
    ------
    int
        Pictures of each batch, after it.
    """
    rows = yield from one.embed_steps(sides.search)
    cosines = (rows @ one.classifier.float().T).double().cpu().numpy()
    others = np.stack([sides.others(c, "search") for c in range(len(sides.class_names))], 1)
    counted = others.sum(0)
    found: NDArray[np.float64] = (cosines * others).sum(0) / np.maximum(counted, 1)
    return found


def pull(sides: Sides, means: list[NDArray[np.float64]]) -> Pull:
    """Rank the classes by the means of `pull_of`, of the suspect and of the reference if any."""
    difference = means[0] - means[1] if len(means) > 1 else means[0]
    middle = float(np.median(difference))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(difference - middle)))
    rows = [
        PullRow(
            target=name,
            suspect=float(means[0][c]),
            reference=float(means[1][c]) if len(means) > 1 else None,
            z=float((difference[c] - middle) / max(spread, 1e-9)),
        )
        for c, name in enumerate(sides.class_names)
    ]
    return Pull(
        rows=tuple(sorted(rows, key=lambda row: -row.difference)), pictures=len(sides.search)
    )
