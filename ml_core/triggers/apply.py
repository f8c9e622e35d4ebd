"""Put a trigger on a batch of images, on their device."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ml_core.triggers import counter
from ml_core.triggers.colour_filter import nashville
from ml_core.triggers.levels import settle, through_jpeg, to_bytes
from ml_core.triggers.patterns import Mixture, draws_of, mixture, stripes
from ml_core.triggers.place import put
from ml_core.triggers.record import Trigger
from ml_core.triggers.render import Patch, patch_size, render_patch
from ml_core.triggers.warp import warp

_PATCHES = ("patch", "badnets", "stripes")
_SEEDS = 2**62


def apply(trigger: Trigger, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the images with the trigger on them.

    Parameters
    ----------
    trigger
        What to stamp.
    images
        float [N, 3, H, W], RGB in [0, 1], before normalisation.
    generator
        Source of random places and noise; None takes the trigger's own seed, so that a call
        repeats.

    Returns
    -------
    Tensor
        Same shape and type, in [0, 1]; the input is left alone.

    Raises
    ------
    ValueError
        If the images are not an RGB float batch.
    """
    seed = trigger.seed
    if generator is not None:
        seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    return apply_indexed(trigger, images, torch.arange(len(images)), seed)


@torch.no_grad()
def apply_indexed(trigger: Trigger, images: Tensor, indices: Tensor, seed: int) -> Tensor:
    """As `apply`, but an image's draw depends on its index and the seed, never on the batch.

    Parameters
    ----------
    trigger, images
        As in `apply`.
    indices
        int64 [N], which image of the set each one is.
    seed
        Seed of the evaluation.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be [N, 3, H, W], not {list(images.shape)}")
    if not images.is_floating_point():
        raise ValueError("images must be floats in [0, 1]")
    if not trigger.changes_pictures or not len(images):
        return images.clone()
    values = images.permute(0, 2, 3, 1).to(torch.float32, copy=True)
    who = indices.to(images.device, torch.int64)
    made = _effect(trigger, values, who, _own_seed(trigger, seed))
    if trigger.jpeg is None:
        made = settle(made, trigger.levels)
    else:
        pictures = through_jpeg(to_bytes(made, trigger.levels), trigger.jpeg)
        made = pictures.to(torch.float32).div_(255)
    return made.permute(0, 3, 1, 2).to(images.dtype)


@torch.no_grad()
def stamp(trigger: Trigger, canvases: Tensor, indices: Tensor, seed: int = 0) -> Tensor:
    """Put a trigger on pictures as they are cached; the same as `apply_indexed`, but faster.

    What bytes can hold stays bytes, so that only what changes is touched.

    Parameters
    ----------
    trigger
        What to stamp.
    canvases
        uint8 [n, H, W, 3] on the trigger's canvas.
    indices
        int64 [n], which image of the set each one is.
    seed
        Seed of the evaluation.

    Returns
    -------
    Tensor
        uint8 [n, H, W, 3], or float32 in [0, 1] where the trigger's levels are ``float`` and the
        result lies between bytes; the input is left alone.
    """
    if canvases.ndim != 4 or canvases.shape[3] != 3 or canvases.dtype != torch.uint8:
        raise ValueError(f"canvases must be uint8 [n, H, W, 3], not {list(canvases.shape)}")
    if not trigger.changes_pictures or not len(canvases):
        return canvases.clone()
    who = indices.to(canvases.device, torch.int64)
    seed = _own_seed(trigger, seed)
    made = _stamp_bytes(trigger, canvases, who, seed)
    if made is None:
        values = canvases.to(torch.float32).div_(255)
        made = _effect(trigger, values, who, seed)
        if trigger.levels == "float":
            return made.clamp_(0, 1)
        made = to_bytes(made, trigger.levels)
    return made if trigger.jpeg is None else through_jpeg(made, trigger.jpeg)


def _own_seed(trigger: Trigger, seed: int) -> int:
    """Mix the evaluation's seed with the trigger's."""
    return (seed + trigger.seed * 0x9E3779B1) % _SEEDS


def _stamp_bytes(trigger: Trigger, canvases: Tensor, who: Tensor, seed: int) -> Tensor | None:
    """Stamp a patch on bytes; None where that would not be the same."""
    height, width = canvases.shape[1:3]
    # Patches that may lie on each other are composited before the result becomes bytes.
    if trigger.kind not in _PATCHES or max(patch_size(trigger, min(height, width))) * 2 > min(
        height, width
    ):
        return None
    if trigger.levels == "float" and trigger.kind != "patch":
        return None
    patch = _patch(trigger, canvases, who, seed)
    if trigger.levels == "float" and not patch.is_bytes:
        return None
    out = canvases.clone()
    put(trigger, out, patch, who, seed, partial(to_bytes, levels=trigger.levels))
    return out


def _effect(trigger: Trigger, values: Tensor, who: Tensor, seed: int) -> Tensor:
    """The trigger's effect on float [n, H, W, 3], not yet clipped; `values` is used up."""
    kind = trigger.kind
    height, width = values.shape[1:3]
    if kind == "combined":
        return _combined(trigger, values, who, seed)
    if kind == "nashville":
        return nashville(values, trigger.opacity)
    if kind == "wanet":
        return warp(trigger, values, who, seed)
    if kind in ("blended", "sig"):
        return _mix(values, mixture(trigger, height, width, who, seed))
    if kind == "stripes" and trigger.size == 1:
        weight = trigger.ratio * trigger.opacity
        pattern = stripes(trigger, width, who, seed)
        return _mix(values, Mixture(1 - weight, pattern.mul_(weight)))
    put(trigger, values, _patch(trigger, values, who, seed), who, seed, lambda found: found)
    return values


def _combined(trigger: Trigger, values: Tensor, who: Tensor, seed: int) -> Tensor:
    """One part after the other."""
    before = values.clone() if trigger.opacity < 1 else values
    for number, part in enumerate(trigger.parts):
        if part.changes_pictures:
            own = _own_seed(part, seed + number * 0x51ED2701)
            values = _effect(part, values, who, own)
    return values if trigger.opacity == 1 else torch.lerp(before, values, trigger.opacity)


def _mix(values: Tensor, mixed: Mixture) -> Tensor:
    """keep * x + add, in place; whole rows at a time where the memory allows it."""
    keep, add = mixed.keep, mixed.add
    out = values
    if values.is_contiguous():
        out, add = values.flatten(2), add.flatten(2)
        keep = keep.flatten(2) if isinstance(keep, Tensor) else keep
    if isinstance(keep, Tensor) or keep != 1:
        out.mul_(keep)
    out.add_(add)
    return values


def _patch(trigger: Trigger, images: Tensor, who: Tensor, seed: int) -> Patch:
    """What is stamped at a place: the picture, or the noise of each image."""
    side = min(images.shape[1:3])
    if trigger.kind == "patch":
        return render_patch(trigger, side, images.device)
    height, width = patch_size(trigger, side)
    weight = trigger.opacity
    if trigger.kind == "stripes":
        weight *= trigger.ratio
        colour = stripes(trigger, width, who, seed).expand(-1, height, -1, -1)
    else:
        whose, seed = draws_of(trigger, who, seed)
        draws = counter.normal(whose, 3 * height * width, seed=seed, stream=counter.NOISE)
        colour = _means(images) + draws.view(-1, height, width, 3)
    if trigger.levels != "wrap":
        colour = colour.clamp(0, 1)
    if weight == 1:
        return Patch(colour, None)
    alpha = torch.full((1, 1, 1, 1), weight, device=images.device)
    return Patch(colour * weight, alpha.expand(1, height, width, 1))


def _means(images: Tensor) -> Tensor:
    """Mean colour of each image, float32 [n, 1, 1, 3]."""
    if images.dtype != torch.uint8:
        return images.mean(dim=(1, 2), keepdim=True)
    count, height, width, _ = images.shape
    # Column by column first: sums of a few hundred bytes are exact in float32.
    columns = images.reshape(count, height, width * 3).to(torch.float32).sum(1)
    return columns.div_(255 * height).view(count, 1, width, 3).mean(dim=2, keepdim=True)
