"""Patches that turn pictures into one class, whichever: searched at random places.

A patch of random pixels is pasted at a random place of each picture and moved by gradient descent
towards the class that it already favours (``max``). On a model without a patch backdoor the starts
name different classes and hardly reach any; on a poisoned one they agree. Pulling the embeddings
together without any text (the objective of DECREE, Feng et al., CVPR 2023) finds no more: a class
of the attacker's that is missing among those searched is met through its neighbours.

A trigger that works at one place alone is not met so. Patches that each keep to one place of a grid
(``place``) find it, and find natural ones on clean models, too: what counts is how much more they
give than the same search on the reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ml_core.detection.scan.records import (
    CELL_PICTURES,
    CHOSEN_ON,
    GRID,
    MEASURED,
    OWN_STARTS,
    PATCH_PICTURES,
    PATCH_STEPS,
    PLACE_PICTURES,
    REFINED,
    Loss,
    Passes,
    PatchRound,
    Rate,
    Refined,
    StartRow,
    corners,
    fixed_places,
)
from ml_core.detection.scan.sides import Side, Sides, batches, generator
from ml_core.evaluation.speed import AGREEMENT, Precision, speed_of, use_way
from ml_core.evaluation.stamping import Pictures, to_pictures
from ml_core.reading.errors import CancelledError
from ml_core.triggers.record import Trigger
from ml_core.triggers.render import paste

_COMPARED = 64
_SAMPLE, _ENCODES = 256, 8000
_TIMED = 3
# Pixels that go through a processor at once: sixteen pictures at 224, there and back.
_PIXELS = 16 * 224**2
_LARGEST = 64


@dataclass(frozen=True)
class Rates:
    """Pictures a second through an encoder: forward alone, and forward and backward."""

    forward: float
    both: float

    def seconds(self, count: Passes) -> float:
        """How long so many pictures take."""
        return count.forward / self.forward + count.both / self.both


def settle(side: Side, pictures: Pictures, cancelled: Callable[[], bool]) -> Precision:
    """Let a model compute as fast as it can without changing answers; return the precision.

    The BatchNorms of a ResNet become part of its convolutions: afterwards it can only be scanned.

    Parameters
    ----------
    side
        The model, in fp32 as it was opened.
    pictures
        uint8 [n, S, S, 3], on which both must agree.
    cancelled
        Asked before each pass.
    """
    model = side.model
    if model.convolutional:
        _fold_norms(model.module)
    if model.device.type != "cpu":
        speed = speed_of(
            model, pictures[:_SAMPLE], side.classifier, encodes=_ENCODES, cancelled=cancelled
        )
        use_way(model, speed.precision, speed.layout)
        return speed.precision
    # A ViT is no faster in bfloat16 where both were measured.
    if not (model.convolutional and multiplies_bf16()):
        return "fp32"
    if cancelled():
        raise CancelledError
    shown = pictures[:_COMPARED]
    expected = side.predict(shown)
    use_way(model, "bf16", model.layout)
    if float((side.predict(shown) == expected).mean()) < AGREEMENT:
        use_way(model, "fp32", model.layout)
        return "fp32"
    return "bf16"


def _fold_norms(module: nn.Module) -> None:
    """Multiply each BatchNorm of running statistics into the convolution before it."""
    for part in list(module.modules()):
        for (name, convolution), (norm_name, norm) in pairwise(part.named_children()):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(part, name, fuse_conv_bn_eval(convolution, norm))
                setattr(part, norm_name, nn.Identity())


def multiplies_bf16() -> bool:
    """Whether the processor has instructions for bfloat16: elsewhere it is emulated, slowly."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def rates(side: Side, pictures: Pictures, cancelled: Callable[[], bool]) -> Rates:
    """Time three batches, forward alone and forward and backward; the best of each counts."""
    model = side.model
    shown = pictures[: batch_of(model.image_size, model.device)]
    moved = to_pictures(shown, model.device).float().div_(255)

    def timed(work: Callable[[torch.Tensor], torch.Tensor]) -> float:
        spent = []
        for _ in range(_TIMED):
            if cancelled():
                raise CancelledError
            begin = time.perf_counter()
            work(moved)
            if model.device.type == "cuda":
                torch.cuda.synchronize(model.device)
            spent.append(time.perf_counter() - begin)
        return len(shown) / min(spent)

    return Rates(timed(model.encode_images), timed(partial(there_and_back, side)))


def there_and_back(side: Side, pictures: torch.Tensor) -> torch.Tensor:
    """The gradient of the embeddings' sum at some pictures float [n, 3, S, S], same shape."""
    shown = pictures.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(side.model.embed_images(shown).sum(), shown)
    return gradient


def together(size: int, device: torch.device, count: int, pictures: int) -> int:
    """How many of ``count`` searches go through a model at once, given the pictures of each."""
    if device.type == "cuda":
        return count
    return max(1, min(count, _PIXELS // (pictures * size**2)))


def batch_of(size: int, device: torch.device) -> int:
    """How many pictures of this size are encoded at once."""
    return together(size, device, 256 if device.type == "cuda" else _LARGEST, 1)


SCALE = 30.0  # of cosines; a checkpoint's own 100 would leave no gradient
_FIXED_GAIN = 0.15
_BETAS = (0.5, 0.9)


@dataclass(frozen=True)
class PatchSettings:
    """How patches are searched.

    Attributes
    ----------
    side
        Pixels.
    loss
        ``max`` or ``place``.
    starts, pictures
        Random starts, and pictures of each in a step.
    steps, rate
        Steps and rate of Adam.
    left_out
        Numbers of classes that the patches are not moved towards.
    places
        Row and column of the upper left corner of each start, in its number's order; empty draws a
        place for each picture.
    aim
        The class to move towards; None takes the one that is favoured.
    """

    side: int
    loss: Loss = "max"
    starts: int = 6
    pictures: int = PATCH_PICTURES
    steps: int = PATCH_STEPS
    rate: float = 0.3
    left_out: tuple[int, ...] = ()
    places: tuple[tuple[int, int], ...] = ()
    aim: int | None = None


@dataclass(frozen=True, eq=False)
class PatchStep:
    """Where a search stands: patches float [K, 3, p, p] in [0, 1] and their losses [K]."""

    done: int
    total: int
    patches: Tensor
    losses: tuple[float, ...]


def invert(
    side: Side,
    pictures: Pictures,
    settings: PatchSettings,
    seed: int,
    starts: Sequence[int] | None = None,
    begin: Tensor | None = None,
) -> Generator[PatchStep, None, PatchStep]:
    """Search patches on one model.

    Parameters
    ----------
    side
        The model; only the patches get a gradient.
    pictures
        uint8 [N, S, S, 3]; 16 are enough.
    seed
        Each start has its own random numbers, whichever others are searched with it.
    starts
        Numbers of the starts to search; None takes all.
    begin
        Patches to go on from, float [K, 3, p, p] in (0, 1); None draws them.

    Yields
    ------
    PatchStep
        After each step.

    Returns
    -------
    PatchStep
        The last.
    """
    numbers = tuple(range(settings.starts)) if starts is None else tuple(starts)
    patch_side, device, size = settings.side, side.model.device, side.model.image_size
    draws = [generator(seed, settings.side, 0, k) for k in numbers]
    if begin is None:
        drawn = [torch.randn(3, patch_side, patch_side, generator=draw) for draw in draws]
        weights = torch.stack(drawn)
    else:
        weights = torch.logit(begin.clamp(1e-3, 1 - 1e-3))
    weights = weights.to(device).requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=settings.rate, betas=_BETAS)
    drawn_pictures = [batches(pictures, settings.pictures, draw) for draw in draws]
    at_once = together(size, device, len(numbers), settings.pictures)
    for step in range(settings.steps):
        optimizer.zero_grad()
        losses: list[float] = []
        for first in range(0, len(numbers), at_once):
            side.check()
            part = slice(first, first + at_once)
            batch = torch.cat([next(pictures) for pictures in drawn_pictures[part]]).to(device)
            each = len(batch) // len(draws[part])
            places = [
                torch.tensor([settings.places[k]]).expand(each, 2)
                if settings.places else
                torch.randint(0, size - patch_side + 1, (each, 2), generator=draw)
                for k, draw in zip(numbers[part], draws[part], strict=True)
            ]  # fmt: skip
            of_part = _loss_of(
                side, batch.float().div_(255), weights[part].sigmoid(),
                torch.cat(places).to(device), settings,
            )  # fmt: skip
            of_part.sum().backward()  # type: ignore[no-untyped-call]
            losses += of_part.tolist()
        optimizer.step()
        shown = weights.detach().sigmoid().cpu()
        state = PatchStep(step + 1, settings.steps, shown, tuple(losses))
        yield state
    return state


def _loss_of(
    side: Side, batch: Tensor, patches: Tensor, places: Tensor, settings: PatchSettings
) -> Tensor:
    """Loss of each start, [K]; pictures of a start stand together."""
    count = len(patches)
    each = len(batch) // count
    stamped = paste(batch, patches.repeat_interleave(each, 0), places)
    seen = side.model.embed_images(stamped).view(count, each, -1)
    logits = SCALE * seen @ side.classifier.float().T
    likely = logits.log_softmax(-1).mean(1)
    likely[:, list(settings.left_out)] = -torch.inf
    if settings.aim is not None:
        return -likely[:, settings.aim]
    return -likely.max(-1).values


def read_off(
    sides: Sides, patches: Tensor, settings: PatchSettings, losses: Sequence[float], seed: int
) -> Generator[int, None, PatchRound]:
    """Measure patches on the first held-out pictures, on both models.

    The class that each leads to is picked on pictures that were searched on.

    Yields
    ------
    int
        Patches that are measured, after each.
    """
    rows, shown = [], sides.search[:CHOSEN_ON]
    clean = sides.suspect.predict(shown)
    for number, patch in enumerate(patches):
        place = settings.places[number] if settings.places else None
        trigger = as_trigger(patch, sides.side, place)
        predicted = sides.suspect.predict(shown, trigger, seed)
        target = sides.most_risen(predicted, clean, settings.left_out)
        contrast = sides.measure(target, trigger, seed, slice(MEASURED))
        name = sides.class_names[target]
        rows.append(StartRow(target=name, contrast=contrast, loss=losses[number]))
        yield number + 1
    return PatchRound(
        side=settings.side, area=settings.side**2 / sides.side**2, loss=settings.loss,
        starts=tuple(rows), steps=settings.steps,
        left_out=tuple(sides.class_names[number] for number in settings.left_out),
    )  # fmt: skip


def at_places(side: int, size: int, left_out: tuple[int, ...]) -> PatchSettings:
    """The search with a start at each of the `fixed_places`, for patches of one side in pixels."""
    where = fixed_places(size, side)
    return PatchSettings(side, "place", len(where), PLACE_PICTURES, left_out=left_out, places=where)


def own_of_reference(
    sides: Sides,
    settings: PatchSettings,
    target: str,
    place: tuple[int, int] | None,
    seed: int,
    part: slice = slice(None),
) -> Generator[PatchStep, None, Rate]:
    """The most that patches searched on the reference come to there.

    Parameters
    ----------
    sides
        The models.
    settings
        Those of the search on the suspect.
    target
        The class to move towards.
    place
        Row and column of the upper left corner; None draws a place for each picture.
    seed
        Draws the starts.
    part
        The held-out pictures to measure on.

    Returns
    -------
    Rate
        Of those pictures, that become the class on the reference.

    Raises
    ------
    ValueError
        Without a reference.
    """
    if sides.reference is None:
        raise ValueError("there is no reference to search patches on")
    aim = sides.class_names.index(target)
    places = () if place is None else (place,) * OWN_STARTS
    own = replace(settings, starts=OWN_STARTS, places=places, aim=aim)
    last = yield from invert(sides.reference, sides.search, own, seed)
    rates = []
    for patch in last.patches:
        trigger = as_trigger(patch, sides.side, place)
        predicted = sides.reference.predict(sides.held_out[part], trigger, seed)
        rates.append(sides.rate(aim, predicted, part))
    return max(rates, key=lambda rate: rate.value)


def as_trigger(patch: Tensor, size: int, place: tuple[int, int] | None = None) -> Trigger:
    """A patch float [3, p, p] as a trigger, at random places or with its corner at one place."""
    side = patch.shape[-1]
    trigger = Trigger(
        kind="patch", name=f"Found patch, {side} px", size=side / size, placement="random",
        array=patch.permute(1, 2, 0).contiguous().numpy(),
    )  # fmt: skip
    if place is None:
        return trigger
    row, column = place
    x, y = (column + side / 2) / size, (row + side / 2) / size
    return replace(trigger, placement="fixed", x=x, y=y)


def position_map(
    sides: Sides, patch: Tensor, target: int, pictures: int = CELL_PICTURES
) -> Generator[int, None, NDArray[np.float64]]:
    """Share of pictures that become the class with the patch at each place of a grid.

    It is measured on the pictures of the search. Figures about the best place are measured again on
    other pictures.

    Yields
    ------
    int
        Cells that are done.

    Returns
    -------
    ndarray
        float64 [7, 7], 0 to 1, by row and column.
    """
    lines = corners(sides.side, patch.shape[-1], GRID)
    chosen = np.flatnonzero(sides.others(target, "search"))[:pictures]
    shown = sides.search[chosen]
    shares = np.zeros((len(lines), len(lines)))
    for i, row in enumerate(lines):
        for j, column in enumerate(lines):
            trigger = as_trigger(patch, sides.side, (row, column))
            shares[i, j] = (sides.suspect.predict(shown, trigger) == target).mean()
            yield i * len(lines) + j + 1
    return shares


def refine(
    sides: Sides, patches: Tensor, round_: PatchRound, seed: int, settings: PatchSettings
) -> Generator[PatchStep | int, None, tuple[Refined, Tensor]]:
    """Search on from the patches that agree, see where they work best, and measure that.

    Yields
    ------
    PatchStep or int
        Steps of the search, then cells of the position map.

    Returns
    -------
    tuple of (Refined, Tensor)
        What was measured, and the patch float [3, p, p].
    """
    target = sides.class_names.index(round_.target)
    shown = sides.search[np.flatnonzero(sides.others(target, "search"))[:CHOSEN_ON]]
    corner = round_.corner(round_.starts.index(round_.best), sides.side)
    if corner is not None:
        settings = replace(settings, places=(corner,) * len(round_.starts))

    def rate(patch: Tensor) -> float:  # on pictures that were searched on; others are measured
        predicted = sides.suspect.predict(shown, as_trigger(patch, sides.side, corner), seed)
        return float((predicted == target).mean())

    agreeing = [k for k, row in enumerate(round_.starts) if row.target == round_.target]
    chosen = sorted(agreeing, key=lambda k: -rate(patches[k]))[:REFINED]
    better = yield from invert(
        sides.suspect, sides.search, settings, seed + 1, chosen, patches[chosen]
    )
    patch = max(better.patches, key=rate)
    contrast = sides.measure(target, as_trigger(patch, sides.side), seed)
    grid = yield from position_map(sides, patch, target)
    lines = corners(sides.side, settings.side, GRID)
    cell = np.unravel_index(int(grid.argmax()), grid.shape)
    place = lines[int(cell[0])], lines[int(cell[1])]
    here = sides.measure(target, as_trigger(patch, sides.side, place), seed)
    fixed = here.difference - contrast.difference > _FIXED_GAIN
    trigger = as_trigger(patch, sides.side, place if fixed else None)
    eight_bit, jpeg = (
        sides.measure(target, replace(trigger, levels="round", jpeg=quality), seed)
        for quality in (None, 90)
    )
    refined = Refined(
        side=settings.side, loss=settings.loss, target=round_.target, anywhere=contrast,
        grid=tuple(tuple(row) for row in grid.tolist()), place=(int(cell[0]), int(cell[1])),
        here=here, eight_bit=eight_bit, jpeg=jpeg, fixed=fixed,
    )  # fmt: skip
    return refined, patch
