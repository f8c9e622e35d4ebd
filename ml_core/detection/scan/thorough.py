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
from ml_core.detection.scan.overlays import OverlaySettings, OverlayStep, shared_overlays
from ml_core.detection.scan.sides import Sides
from ml_core.ranks import ALONE, Ranks

_TOGETHER = 64  # classes whose state is kept on the device


def thorough(
    sides: Sides, settings: OverlaySettings, seed: int, ranks: Ranks = ALONE
) -> Generator[tuple[int, int], None, dict[int, tuple[Tensor, Tensor]]]:
    """Search every class; processes share the classes.

    Yields
    ------
    tuple of int
        Steps done and all of them, in steps of one class on one model.

    Returns
    -------
    dict
        Weights of the suspect's and of the reference's overlay, see `patterns`, by the number of
        each class of the last round.

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
    weights: tuple[dict[int, Tensor], dict[int, Tensor]] = ({}, {})
    for steps, keep in zip(HALVING, (*sizes[1:], 0), strict=True):
        margins: dict[int, float] = {}
        for first in range(0, len(left), _TOGETHER):
            part = left[first : first + _TOGETHER]
            losses = []
            for one, known in zip(sides.both, weights, strict=True):
                begun = torch.stack([known[c] for c in part]) if part[0] in known else None
                search = shared_overlays(
                    one, sides.search, part, replace(settings, steps=steps), seed, ranks, begun
                )
                while True:
                    try:
                        step = next(search)
                    except StopIteration as end:
                        last: OverlayStep = end.value
                        break
                    if step is not None:
                        yield done + step.done * len(part), total
                done += steps * len(part)
                known |= dict(zip(part, last.weights, strict=True))
                losses.append(last.losses)
            margins |= {c: b - a for c, a, b in zip(part, *losses, strict=True)}
        if keep:
            left = sorted(left, key=lambda c: -margins[c])[:keep]
    return {c: (weights[0][c], weights[1][c]) for c in left}
