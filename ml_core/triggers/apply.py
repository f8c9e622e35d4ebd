"""Stamp a trigger on a batch of images, on their device."""

from __future__ import annotations

import torch
from torch import Tensor

from ml_core.triggers import counter
from ml_core.triggers.record import Trigger
from ml_core.triggers.render import patch_size, render_patch


def apply(trigger: Trigger, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the images with the trigger on them.

    Parameters
    ----------
    trigger
        What to stamp.
    images
        float [N, 3, S, S], RGB in [0, 1], before normalisation.
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
        If the images are not a square RGB float batch.
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
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images must be [N, 3, S, S], not {list(images.shape)}")
    if not images.is_floating_point():
        raise ValueError("images must be floats in [0, 1]")
    if trigger.opacity == 0 or not len(images):
        return images.clone()
    indices = indices.to(images.device, torch.int64)
    seed = (seed + trigger.seed * 0x9E3779B1) % 2**62
    if trigger.kind == "blended":
        return _blend(trigger, images, indices, seed)
    colour, alpha = _patch(trigger, images, indices, seed)
    return _stamp(trigger, images.clone(), colour, alpha, indices, seed)


def _blend(trigger: Trigger, images: Tensor, indices: Tensor, seed: int) -> Tensor:
    """Mix noise or a picture over the whole canvas."""
    side = images.shape[-1]
    if trigger.pixels is not None:
        patch = render_patch(trigger, side, images.device)
        colour, alpha = patch.colour.to(images.dtype), patch.alpha.to(images.dtype)
        return (images * (1 - trigger.ratio * alpha) + trigger.ratio * colour).clamp_(0, 1)
    weight = trigger.ratio * trigger.opacity
    who, seed = _noise_identity(trigger, indices, seed)
    values = counter.coarse_uniform(who, 3 * side * side, seed=seed, stream=counter.NOISE)
    noise = values.view(-1, 3, side, side).to(images.dtype)
    return torch.lerp(images, noise.expand_as(images), weight)


def _patch(trigger: Trigger, images: Tensor, indices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Premultiplied colour [N or 1, 3, h, w] and alpha [1, 1, h, w]."""
    side = images.shape[-1]
    if trigger.kind == "patch":
        patch = render_patch(trigger, side, images.device)
        return patch.colour[None].to(images.dtype), patch.alpha[None].to(images.dtype)
    height, width = patch_size(trigger, side)
    who, seed = _noise_identity(trigger, indices, seed)
    draws = counter.normal(who, 3 * height * width, seed=seed, stream=counter.NOISE)
    mean = images.mean(dim=(2, 3), keepdim=True)
    noise = (mean + draws.view(-1, 3, height, width).to(images.dtype)).clamp_(0, 1)
    alpha = torch.full((1, 1, height, width), trigger.opacity, device=images.device)
    return noise * trigger.opacity, alpha.to(images.dtype)


def _noise_identity(trigger: Trigger, indices: Tensor, seed: int) -> tuple[Tensor, int]:
    """Whose noise is drawn, and from which seed: each image's, or one for all."""
    if trigger.noise == "per_image":
        return indices, seed
    return torch.zeros(1, dtype=torch.int64, device=indices.device), trigger.seed


def _stamp(
    trigger: Trigger, out: Tensor, colour: Tensor, alpha: Tensor, indices: Tensor, seed: int
) -> Tensor:
    """Composite the patch at its place, in place on `out`."""
    side = out.shape[-1]
    height, width = colour.shape[-2:]
    if trigger.placement == "fixed":
        top = _round_half_up(trigger.y * side - height / 2)
        left = _round_half_up(trigger.x * side - width / 2)
        return _stamp_at(out, colour, alpha, top, left)
    if trigger.placement == "center":
        return _stamp_at(out, colour, alpha, (side - height) // 2, (side - width) // 2)
    # A rotated patch may be wider than the canvas: its middle is what fits.
    skip_y, skip_x = max(0, height - side) // 2, max(0, width - side) // 2
    height, width = min(height, side), min(width, side)
    window = (..., slice(skip_y, skip_y + height), slice(skip_x, skip_x + width))
    colour, alpha = colour[window], alpha[window]
    if trigger.placement == "four_corners":
        for top in (0, side - height):
            for left in (0, side - width):
                _stamp_at(out, colour, alpha, top, left)
        return out
    draws = counter.uniform(indices, 2, seed=seed, stream=counter.PLACE)
    spans = torch.tensor([side - height + 1, side - width + 1], device=out.device)
    corner = (draws * spans).to(torch.int64)  # [N, 2], top and left
    rows = corner[:, :1] + torch.arange(height, device=out.device)  # [N, h]
    columns = corner[:, 1:] + torch.arange(width, device=out.device)  # [N, w]
    batch = torch.arange(len(out), device=out.device)[:, None, None]
    where = (batch, slice(None), rows[:, :, None], columns[:, None, :])
    pixels = out[where]  # [N, h, w, 3]
    pixels = pixels * (1 - alpha).permute(0, 2, 3, 1) + colour.permute(0, 2, 3, 1)
    out[where] = pixels.clamp_(0, 1)
    return out


def _stamp_at(out: Tensor, colour: Tensor, alpha: Tensor, top: int, left: int) -> Tensor:
    """Composite at one place for the whole batch; what lies outside is cut off."""
    side = out.shape[-1]
    height, width = colour.shape[-2:]
    y0, y1 = max(top, 0), min(top + height, side)
    x0, x1 = max(left, 0), min(left + width, side)
    if y0 >= y1 or x0 >= x1:
        return out
    window = (..., slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    place = out[..., y0:y1, x0:x1]
    place.mul_(1 - alpha[window]).add_(colour[window]).clamp_(0, 1)
    return out


def _round_half_up(value: float) -> int:
    """Round so that neighbouring places stay apart; the half is nudged for float error."""
    return int((value + 0.5 + 1e-6) // 1)
