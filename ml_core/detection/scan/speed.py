"""How a search computes here: in which arithmetic, and how many pictures at a time.

On the CPU it follows from the processor and the model alone, never from a measured time: with the
same seed a scan gives the same result, however busy the machine is. A GPU has the race that an
evaluation has.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from ml_core.detection.scan.sides import Side
from ml_core.evaluation.speed import AGREEMENT, Precision, speed_of, use_way
from ml_core.evaluation.stamping import Pictures, to_pictures
from ml_core.ranks import Ranks
from ml_core.reading.errors import CancelledError

_COMPARED = 64
_SAMPLE, _ENCODES = 256, 8000
_TIMED = 3
# Pixels that go through a processor at once: sixteen pictures at 224, there and back.
_PIXELS = 16 * 224**2
_LARGEST = 64


@dataclass(frozen=True)
class Rates:
    """Pictures a second through an encoder, alone and there and back."""

    forward: float
    both: float


def settle(one: Side, pictures: Pictures, cancelled: Callable[[], bool]) -> Precision:
    """Let a model compute as fast as it can without another answer; the chosen precision.

    Parameters
    ----------
    one
        The model, in fp32 as it was opened.
    pictures
        uint8 [n, S, S, 3], on which both must agree.
    cancelled
        Asked before each pass.
    """
    model = one.model
    if model.device.type != "cpu":
        speed = speed_of(
            model, pictures[:_SAMPLE], one.classifier, encodes=_ENCODES, cancelled=cancelled
        )
        use_way(model, speed.precision, speed.layout)
        return speed.precision
    # A ViT is no faster in bfloat16 where both were measured.
    if not (model.convolutional and multiplies_bf16()):
        return "fp32"
    if cancelled():
        raise CancelledError
    shown = pictures[:_COMPARED]
    expected = one.predict(shown)
    use_way(model, "bf16", model.layout)
    if float((one.predict(shown) == expected).mean()) < AGREEMENT:
        use_way(model, "fp32", model.layout)
        return "fp32"
    return "bf16"


def multiplies_bf16() -> bool:
    """Whether the processor has instructions for bfloat16: elsewhere it is emulated, slowly."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def rates(one: Side, pictures: Pictures, cancelled: Callable[[], bool]) -> Rates:
    """Time three batches, alone and there and back; the best of each counts."""
    model = one.model
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

    return Rates(timed(model.encode_images), timed(partial(there_and_back, one)))


def there_and_back(one: Side, pictures: torch.Tensor) -> torch.Tensor:
    """The gradient of the embeddings' sum at some pictures float [n, 3, S, S], same shape."""
    shown = pictures.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(one.model.embed_images(shown).sum(), shown)
    return gradient


def together(size: int, device: torch.device, count: int, pictures: int) -> int:
    """How many of ``count`` searches, each with so many pictures, go through a model at once."""
    if device.type == "cuda":
        return count
    return max(1, min(count, _PIXELS // (pictures * size**2)))


def batch_of(size: int, device: torch.device) -> int:
    """Pictures of a size that are encoded at once."""
    return together(size, device, 256 if device.type == "cuda" else _LARGEST, 1)


def in_turns(own: torch.Tensor, count: int, ranks: Ranks, device: torch.device) -> torch.Tensor:
    """Rows that processes did in turns (r, r + world, ...), in their order, in all of them."""
    if ranks.world == 1:
        return own
    gathered = ranks.gather(own.to(device), ranks.sizes(len(own), device)).cpu()
    order = torch.cat([torch.arange(count)[rank :: ranks.world] for rank in range(ranks.world)])
    return gathered[order.argsort()]
