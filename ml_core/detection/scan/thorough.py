"""Every class by successive halving: few steps for all, more for those that look promising.

An overlay is searched for each class on both models; after each round the classes with the larger
margin of the suspect over the reference stay (Jamieson and Talwalkar, AISTATS 2016).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import torch
from torch import Tensor

from ml_core.detection.scan.cost import HALVING, halving
from ml_core.detection.scan.overlays import (
    OverlaySettings,
    invert_overlays,
    overlay_row,
)
from ml_core.detection.scan.records import Thorough
from ml_core.detection.scan.sides import Sides

_TOGETHER = 9  # classes in a batch


def thorough(
    sides: Sides, settings: OverlaySettings, seed: int
) -> Generator[tuple[int, int], None, tuple[Thorough, dict[int, Tensor]]]:
    """Search every class.

    Yields
    ------
    tuple of int
        Steps done and all of them, in steps of one class on one model.

    Returns
    -------
    tuple of (Thorough, dict)
        Rows of the classes of the last round, and the suspect's weights by class.

    Raises
    ------
    ValueError
        Without a reference.
    """
    if sides.reference is None:
        raise ValueError("classes are judged beside a reference")
    left = list(range(len(sides.class_names)))
    sizes = halving(len(left))
    total = 2 * sum(steps * count for steps, count in zip(HALVING, sizes, strict=True))
    done = 0
    weights: list[dict[int, Tensor]] = [{}, {}]
    for steps, keep in zip(HALVING, (*sizes[1:], 0), strict=True):
        margins: dict[int, float] = {}
        for first in range(0, len(left), _TOGETHER):
            part = left[first : first + _TOGETHER]
            losses = []
            for number, one in enumerate(sides.both):
                begun = [weights[number][c] for c in part if c in weights[number]]
                search = invert_overlays(
                    one, sides.search, part, replace(settings, steps=steps), seed,
                    torch.stack(begun) if begun else None,
                )  # fmt: skip
                while True:
                    try:
                        step = next(search)
                    except StopIteration as end:
                        weights[number] |= dict(zip(part, end.value, strict=True))
                        break
                    done += len(part)
                    yield done, total
                losses.append(step.losses)
            margins |= {
                c: beside - own for c, own, beside in zip(part, losses[0], losses[1], strict=True)
            }
        if keep:
            left = sorted(left, key=lambda c: -margins[c])[:keep]
    rows = [overlay_row(sides, c, weights[0][c], weights[1][c]) for c in left]
    rows.sort(key=lambda row: -row.gap)
    return Thorough(rows=tuple(rows), classes=len(sides.class_names)), weights[0]
