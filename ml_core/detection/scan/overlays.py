"""Triggers for one class at a time: overlays of low frequencies, warps, and large patches.

A full-image trigger (Blended, SIG) is a direction that every picture takes. Free pixels find
natural directions first, on clean models as well; a pattern of few low frequencies finds them less,
and the same search on the reference tells them apart: what counts is what the suspect gives and
neither the reference under the same overlay nor the reference under its own does. A warp (WaNet,
Nguyen and Tran, ICLR 2021) is searched likewise as the shifts of a grid of control points, and a
patch of a sixth of the picture, which leads to natural favourites unless a class is named.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ml_core.detection.scan.patches import SCALE, as_trigger, together
from ml_core.detection.scan.records import (
    FORM_STEPS,
    HALVING,
    MEASURED,
    OVERLAY_PICTURES,
    Form,
    OverlayRow,
    halving,
    newcombe,
)
from ml_core.detection.scan.sides import Side, Sides, batches, generator
from ml_core.evaluation.stamping import Pictures
from ml_core.triggers.apply import bend, grid_of_noise
from ml_core.triggers.record import Trigger
from ml_core.triggers.render import paste

FREQUENCIES = 14
HEIGHT = 0.15  # of full brightness
CONTROL_POINTS, SHIFT = 6, 0.3125  # of a warp: points a side; the most, of half the picture
_STRENGTH = 10.0  # of its trigger, whose noise has the rest
LARGE_AREA = 0.16  # of the picture; after more than 12 steps a clean model answers as well
_BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class OverlaySettings:
    """How triggers of one form are searched: pictures of a class in a step, steps, rate of Adam."""

    form: Form = "overlay"
    pictures: int = OVERLAY_PICTURES
    steps: int = FORM_STEPS["overlay"]
    rate: float = 0.1

    def shape(self, size: int) -> tuple[int, int, int]:
        """Shape of the weights of one trigger for pictures of ``size`` px."""
        if self.form == "overlay":
            return 3, FREQUENCIES, FREQUENCIES
        if self.form == "warp":
            return 2, CONTROL_POINTS, CONTROL_POINTS
        side = round(LARGE_AREA**0.5 * size)
        return 3, side, side


FORMS: dict[Form, OverlaySettings] = {
    "overlay": OverlaySettings(),
    **{form: OverlaySettings(form, steps=FORM_STEPS[form], rate=0.3) for form in ("warp", "patch")},
}


@dataclass(frozen=True, eq=False)
class OverlayStep:
    """Where a search stands: losses [C] and weights [C, ...], see `OverlaySettings.shape`."""

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
    """Search a trigger of one form for each class on one model.

    Parameters
    ----------
    side
        The model; only the weights get a gradient.
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
        Weights float [C, ...] on the CPU; see `overlay_trigger`.
    """
    device, size, form = side.model.device, side.model.image_size, settings.form
    basis = cosines(size).to(device)
    draws = [generator(seed, 2, target) for target in targets]
    if begin is None:
        drawn = [torch.randn(settings.shape(size), generator=draw) for draw in draws]
        begin = torch.stack(drawn) * (1.0 if form == "patch" else settings.rate)
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
            shown = batch.float().div_(255)
            if form == "overlay":
                over = HEIGHT * patterns(weights[part], basis).repeat_interleave(each, 0)
                shown = (shown + over).clamp(0, 1)
            elif form == "warp":
                noise = weights[part].tanh().permute(0, 2, 3, 1)
                grid = grid_of_noise(noise, SHIFT * size, size, size)
                shown = bend(shown.permute(0, 2, 3, 1), grid.repeat_interleave(each, 0))
                shown = shown.permute(0, 3, 1, 2)
            else:
                most = size - weights.shape[-1] + 1
                places = [torch.randint(0, most, (each, 2), generator=draw) for draw in draws[part]]
                patches = weights[part].sigmoid().repeat_interleave(each, 0)
                shown = paste(shown, patches, torch.cat(places).to(device))
            seen = side.model.embed_images(shown)
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


def overlay_trigger(weights: Tensor, size: int, name: str, form: Form = "overlay") -> Trigger:
    """The weights of one class as a trigger.

    Parameters
    ----------
    weights
        Of an overlay [3, F, F], see `patterns`, that is added to the whole picture; of a warp
        [2, k, k], x then y, whose tanh is the noise of its control points; of a patch [3, p, p],
        whose sigmoid is pasted at random places.
    size
        Pixels of the picture.
    name
        Of the class.
    form
        Which of them it is.
    """
    if form == "patch":
        return as_trigger(weights.sigmoid(), size)
    if form == "warp":
        noise = SHIFT * size / _STRENGTH * weights.tanh().permute(1, 2, 0).contiguous()
        return Trigger(
            kind="wanet", name=f"Found warp, {name}", array=noise.numpy(), strength=_STRENGTH,
            grid_size=CONTROL_POINTS,
        )  # fmt: skip
    pattern = patterns(weights[None], cosines(size))[0]
    array = pattern.permute(1, 2, 0).contiguous().numpy()
    return Trigger(
        kind="blended", name=f"Found overlay, {name}", array=array, ratio=HEIGHT, mix="add"
    )


def overlay_row(
    sides: Sides, number: int, searched: Sequence[Tensor], form: Form = "overlay"
) -> OverlayRow:
    """Measure the trigger of one class that was searched on the suspect.

    Parameters
    ----------
    searched
        Its weights, see `overlay_trigger`, and those of the reference's own trigger, beside which
        it is measured on all held-out pictures. Without them it is measured on the first of these,
        to see whether a search on the reference is worth it.

    Raises
    ------
    ValueError
        Without a reference: an overlay alone says nothing.
    """
    if sides.reference is None:
        raise ValueError("overlays are judged beside a reference")
    name = sides.class_names[number]
    trigger, *own = (overlay_trigger(weights, sides.side, name, form) for weights in searched)
    contrast = sides.measure(number, trigger, 0, slice(None if own else MEASURED))
    assert contrast.reference is not None
    row = OverlayRow(
        target=name, form=form, suspect=contrast.suspect, transferred=contrast.reference,
        low=contrast.low, high=contrast.high,
    )  # fmt: skip
    for theirs in own:
        rate = sides.rate(number, sides.reference.predict(sides.held_out, theirs))
        row = row.model_copy(update={"own": rate})
        low, high = newcombe(row.suspect, row.beside)
        row = row.model_copy(update={"low": low, "high": high})
    return row


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
