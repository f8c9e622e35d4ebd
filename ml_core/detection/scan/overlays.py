"""Overlays over the whole picture, of low frequencies alone, for shortlisted or all classes.

A full-image trigger (Blended, SIG) is a direction that every picture takes. Free pixels find
natural directions first, on clean models as well; a pattern of few low frequencies finds them less,
and the same search on the reference tells them apart: what counts is what the suspect gives and
neither the reference under the same overlay nor the reference under its own does.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ml_core.detection.scan.patches import SCALE, together
from ml_core.detection.scan.records import (
    HALVING,
    OVERLAY_PICTURES,
    OVERLAY_STEPS,
    OverlayRow,
    Rate,
    halving,
    newcombe,
)
from ml_core.detection.scan.sides import Side, Sides, batches, generator
from ml_core.evaluation.stamping import Pictures
from ml_core.triggers.record import Trigger

FREQUENCIES = 14
HEIGHT = 0.15  # of full brightness
_BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class OverlaySettings:
    """How overlays are searched: pictures of a class in a step, steps and rate of Adam."""

    pictures: int = OVERLAY_PICTURES
    steps: int = OVERLAY_STEPS
    rate: float = 0.1


@dataclass(frozen=True, eq=False)
class OverlayStep:
    """Where a search stands: losses [C] and weights [C, 3, F, F], see `patterns`."""

    done: int
    total: int
    losses: tuple[float, ...]
    weights: Tensor


def cosines(size: int, count: int = FREQUENCIES) -> Tensor:
    """The first ``count`` vectors of the discrete cosine transform (type II): [size, count].

    Each has values in [-1, 1].
    """
    place = (torch.arange(size) + 0.5)[:, None]
    return torch.cos(math.pi / size * place * torch.arange(count)[None, :])


def patterns(weights: Tensor, basis: Tensor) -> Tensor:
    """Patterns float [C, 3, S, S] in [-1, 1] of weights [C, 3, F, F]."""
    return torch.tanh(basis @ weights @ basis.T)


def invert_overlays(
    side: Side,
    pictures: Pictures,
    targets: Sequence[int],
    settings: OverlaySettings,
    seed: int,
    begin: Tensor | None = None,
) -> Generator[OverlayStep, None, Tensor]:
    """Search an overlay for each class on one model.

    Parameters
    ----------
    side
        The model; only the patterns get a gradient.
    pictures
        uint8 [N, S, S, 3].
    targets
        Numbers of the classes.
    seed
        Each class has its own random numbers, whichever other classes are searched with it.
    begin
        Weights to go on from.

    Yields
    ------
    OverlayStep
        After each step.

    Returns
    -------
    Tensor
        Weights float [C, 3, F, F] on the CPU; see `patterns`.
    """
    device, size = side.model.device, side.model.image_size
    basis = cosines(size).to(device)
    draws = [generator(seed, 2, target) for target in targets]
    if begin is None:
        drawn = [torch.randn(3, FREQUENCIES, FREQUENCIES, generator=draw) for draw in draws]
        begin = torch.stack(drawn) * 0.1
    weights = begin.to(device).clone().requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=settings.rate, betas=_BETAS)
    drawn_pictures = [batches(pictures, settings.pictures, draw) for draw in draws]
    aims = torch.tensor(targets, device=device)
    at_once = together(size, device, len(targets), settings.pictures)
    for step in range(settings.steps):
        optimizer.zero_grad()
        losses: list[float] = []
        for first in range(0, len(targets), at_once):
            side.check()
            part = slice(first, first + at_once)
            batch = torch.cat([next(pictures) for pictures in drawn_pictures[part]]).to(device)
            each = len(batch) // len(draws[part])
            over = HEIGHT * patterns(weights[part], basis).repeat_interleave(each, 0)
            seen = side.model.embed_images((batch.float().div_(255) + over).clamp(0, 1))
            logits = SCALE * seen @ side.classifier.float().T
            loss = torch.nn.functional.cross_entropy(
                logits, aims[part].repeat_interleave(each), reduction="none"
            )
            loss = loss.view(-1, each).mean(1)
            loss.sum().backward()  # type: ignore[no-untyped-call]
            losses += loss.tolist()
        optimizer.step()
        yield OverlayStep(step + 1, settings.steps, tuple(losses), weights.detach().cpu())
    return weights.detach().cpu()


def overlay_trigger(weights: Tensor, size: int, name: str) -> Trigger:
    """Weights [3, F, F] of one class as a trigger that is added to the whole picture."""
    pattern = patterns(weights[None], cosines(size))[0]
    array = pattern.permute(1, 2, 0).contiguous().numpy()
    return Trigger(
        kind="blended", name=f"Found overlay, {name}", array=array, ratio=HEIGHT, mix="add"
    )


def overlay_row(sides: Sides, number: int, suspect: Tensor, reference: Tensor) -> OverlayRow:
    """Measure the overlays of one class that were searched on either model, on held-out pictures.

    Raises
    ------
    ValueError
        Without a reference: an overlay alone says nothing.
    """
    if sides.reference is None:
        raise ValueError("overlays are judged beside a reference")
    name = sides.class_names[number]
    contrast = sides.measure(number, overlay_trigger(suspect, sides.side, name), 0)
    assert contrast.reference is not None
    others = sides.others(number)
    own = sides.reference.predict(sides.held_out, overlay_trigger(reference, sides.side, name))
    rate = Rate(hits=int((own[others] == number).sum()), n=int(others.sum()))
    low, high = newcombe(contrast.suspect, max(contrast.reference, rate, key=lambda r: r.value))
    return OverlayRow(
        target=name, suspect=contrast.suspect, transferred=contrast.reference, own=rate, low=low,
        high=high,
    )  # fmt: skip


_TOGETHER = 64  # classes whose state is kept on the device


def thorough(
    sides: Sides, settings: OverlaySettings, seed: int
) -> Generator[tuple[int, int], None, dict[int, tuple[Tensor, Tensor]]]:
    """Search every class.

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
            for side, known in zip(sides.both, weights, strict=True):
                begun = torch.stack([known[c] for c in part]) if part[0] in known else None
                for step in invert_overlays(
                    side, sides.search, part, replace(settings, steps=steps), seed, begun
                ):
                    yield done + step.done * len(part), total
                done += steps * len(part)
                known |= dict(zip(part, step.weights, strict=True))
                losses.append(step.losses)
            margins |= {c: b - a for c, a, b in zip(part, *losses, strict=True)}
        if keep:
            left = sorted(left, key=lambda c: -margins[c])[:keep]
    return {c: (weights[0][c], weights[1][c]) for c in left}
