"""How a search computes here: in which arithmetic, and how many pictures at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from ml_core.detection.scan.sides import Side
from ml_core.evaluation.race import race
from ml_core.evaluation.speed import Precision, Speed, has_bf16, use_speed
from ml_core.evaluation.stamping import Pictures, to_pictures
from ml_core.model import ClipModel
from ml_core.reading.errors import CancelledError

_SECONDS = 2.0
_TRIED = 16
# Pixels whose activations a processor keeps for the way back: sixteen pictures at 224.
_PIXELS = 16 * 224**2

Way = tuple[Precision, str]


def fit_gradients(
    one: Side, pictures: Pictures, speed: Speed, cancelled: Callable[[], bool]
) -> tuple[Speed, float]:
    """Time a pass there and back in fp32 and, where answers agree in it, in bf16.

    Parameters
    ----------
    one
        The model; its parameters need no gradient.
    pictures
        uint8 [n, S, S, 3], some of those that are searched on.
    speed
        What encoding chose; its arithmetic is one of the two that are tried.
    cancelled
        Asked before each pass.

    Returns
    -------
    tuple of (Speed, float)
        To encode with while searching, and pictures a second there and back.
    """
    model = one.model
    shown = to_pictures(pictures[:_TRIED], model.device).float().div_(255)
    names: list[Precision] = ["fp32"]
    if speed.precision == "bf16" and has_bf16(model.device):
        names.append("bf16")

    def passes(way: Way) -> float:
        if cancelled():
            raise CancelledError
        with searching(model, replace(speed, precision=way[0], layout=way[1])):
            begin = time.perf_counter()
            there_and_back(one, shown)
            return time.perf_counter() - begin

    found = race(
        [(name, speed.layout) for name in names],
        passes,
        _SECONDS,
        is_half=lambda way: way[0] == "bf16",
        emulates=model.device.type == "cpu",
        sure=lambda number, _way: number == 0,
    )
    best = min(found.seconds, key=lambda way: found.seconds[way])
    return replace(speed, precision=best[0], layout=best[1]), len(shown) / found.seconds[best]


def there_and_back(one: Side, pictures: torch.Tensor) -> torch.Tensor:
    """The gradient of the embeddings' sum at some pictures float [n, 3, S, S], same shape."""
    shown = pictures.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(one.model.embed_images(shown).sum(), shown)
    if gradient.device.type == "cuda":
        torch.cuda.synchronize(gradient.device)
    return gradient


@contextmanager
def searching(model: ClipModel, speed: Speed) -> Iterator[None]:
    """Let a model compute as a search does, then as it did before."""
    before = replace(speed, precision=model.precision, layout=model.layout)
    use_speed(model, speed)
    try:
        yield
    finally:
        use_speed(model, before)


def together(one: Side, count: int, pictures: int) -> int:
    """How many of ``count`` searches, each with so many pictures, go through the model at once."""
    if one.model.device.type == "cuda":
        return count
    return max(1, min(count, _PIXELS // (pictures * one.model.image_size**2)))
