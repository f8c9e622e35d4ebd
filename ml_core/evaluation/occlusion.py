"""What a class loses when a patch of the picture is covered: asks the model, looks at no layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ml_core.evaluation.patch_places import patch_sides, places
from ml_core.reading.errors import CancelledError, InputError

if TYPE_CHECKING:
    from ml_core.model import ClipModel


@dataclass(frozen=True, eq=False)
class OcclusionStep:
    """How far an occlusion is; ``maps`` float32 [N, g, g] comes with the last step."""

    done: int
    total: int
    maps: Tensor | None = None


def occlusion(
    model: ClipModel,
    images: Tensor,
    direction: Tensor,
    *,
    side: int | None = None,
    stride: int | None = None,
    batch: int = 64,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[OcclusionStep]:
    """Cover the picture patch by patch and see what the class's logit loses (Zeiler and Fergus
    2014, section 4.2).

    A covered patch holds the model's mean colour, which its normalisation turns to 0. A cell of
    the map is the mean loss over the patches that cover it: positive where the picture speaks for
    the class, negative where it speaks against it.

    Parameters
    ----------
    model
        Only ``encode_images`` is asked.
    images
        float [N, 3, S, S] in [0, 1].
    direction
        float32 [D] or [N, D]: text embedding of the class.
    side, stride
        Of the patches, in pixels; None takes `patch_sides`.
    batch
        Most pictures to encode at a time.
    cancelled
        Asked before each batch.

    Yields
    ------
    OcclusionStep
        After each batch. The maps have cells of the greatest common size of side, stride and
        picture, so that they lose nothing.

    Raises
    ------
    InputError
        If the patches do not fit the picture.
    """
    size = images.shape[-1]
    usual = patch_sides(size)
    side = usual[0] if side is None else side
    stride = (usual[1] if side == usual[0] else max(1, side // 2)) if stride is None else stride
    if not 1 <= side <= size or not 1 <= stride <= side:
        raise InputError(
            f"Patches of {side} px every {stride} px do not cover a picture of {size} px; choose "
            f"a side of 1 to {size} and a stride of at most the side."
        )
    images = images.to(model.device, torch.float32)
    toward = direction.to(model.device, torch.float32).expand(len(images), -1)
    starts = places(size, side, stride)
    corners = [(n, top, left) for n in range(len(images)) for top in starts for left in starts]
    fill = images.new_tensor(model.preprocess.mean).view(3, 1, 1)
    whole = _logits(model, images, toward)
    sums = torch.zeros(len(images), size, size, dtype=torch.float64)
    counts = torch.zeros_like(sums)
    for first in range(0, len(corners), batch):
        if cancelled():
            raise CancelledError
        some = corners[first : first + batch]
        who = torch.tensor([n for n, _, _ in some], device=images.device)
        covered = images[who]
        for row, (_, top, left) in enumerate(some):
            covered[row, :, top : top + side, left : left + side] = fill
        losses = (whole[who] - _logits(model, covered, toward[who])).double().cpu()
        for loss, (n, top, left) in zip(losses, some, strict=True):
            sums[n, top : top + side, left : left + side] += loss
            counts[n, top : top + side, left : left + side] += 1
        done = first + len(some)
        maps = None
        if done == len(corners):
            maps = _cells((sums / counts).float(), starts, side)
        yield OcclusionStep(done, len(corners), maps)


def _logits(model: ClipModel, images: Tensor, direction: Tensor) -> Tensor:
    """Logit scale times cosine, [N]."""
    return model.logit_scale * (model.encode_images(images) * direction).sum(dim=-1)


def _cells(maps: Tensor, starts: list[int], side: int) -> Tensor:
    """One value for each square of pixels that all patches cover alike."""
    size = maps.shape[-1]
    edges = sorted({0, size, *starts, *(start + side for start in starts)})
    step = gcd(*edges)
    return maps[:, ::step, ::step].clone()
