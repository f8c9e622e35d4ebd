"""A trigger's pixels at the size and angle in which they are stamped, and their places."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ml_core.cache import ResultCache
from ml_core.triggers.record import Trigger


@dataclass(frozen=True, eq=False)
class Patch:
    """Premultiplied colour, float32 [n or 1, h, w, 3], and alpha, [1, h, w, 1 or 3].

    Alpha is None where the patch is opaque all over.
    """

    colour: Tensor
    alpha: Tensor | None
    is_bytes: bool = False  # opaque, and every value is k / 255


_patches: ResultCache[tuple[str, int, str], Patch] = ResultCache(16)


def patch_size(trigger: Trigger, side: int) -> tuple[int, int]:
    """Height and width in pixels on a canvas whose shorter side is `side`, before rotation."""
    longer = max(1, round(trigger.size * side))
    source = trigger.pixels if trigger.pixels is not None else trigger.array
    if source is None:
        return longer, longer
    height, width = source.shape[:2]
    scale = longer / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def render_patch(trigger: Trigger, side: int, device: torch.device) -> Patch:
    """Scale, mirror and rotate a picture for a canvas of `side` pixels; opacity included.

    At the native size without rotation the pixels are untouched, at multiples of 90 degrees they
    only change places; otherwise they are resampled once, antialiased, with premultiplied alpha.
    The last few results are kept.
    """
    key = (trigger.digest, side, str(device))
    return _patches.get(key, lambda: _render(trigger, side, device))


def render_canvas(trigger: Trigger, height: int, width: int) -> Patch:
    """A picture or array at the size of a whole canvas, mirrored and resampled as need be.

    Opacity is left to the caller.
    """
    return _patch(_resized(_layers(trigger), (height, width)), trigger)


def _render(trigger: Trigger, side: int, device: torch.device) -> Patch:
    """Do the work of `render_patch`."""
    layers = _resized(_layers(trigger), patch_size(trigger, side))
    layers = _rotate(layers, trigger.rotation)
    return _patch(layers.mul_(trigger.opacity).to(device), trigger)


def _layers(trigger: Trigger) -> Tensor:
    """Premultiplied colour, then one alpha a colour: float32 [6, h, w], mirrored if it is asked."""
    if trigger.pixels is not None:
        rgba = torch.from_numpy(np.array(trigger.pixels)).permute(2, 0, 1).to(torch.float32) / 255
        colour, alpha = rgba[:3], rgba[3:].expand(3, -1, -1)
    else:
        assert trigger.array is not None
        colour = torch.from_numpy(np.array(trigger.array)).permute(2, 0, 1)
        alpha = torch.ones_like(colour)
        if trigger.mask is not None:
            mask = torch.from_numpy(np.array(trigger.mask)).permute(2, 0, 1)
            alpha = mask.expand(3, -1, -1)
    layers = torch.cat([colour * alpha, alpha])
    return layers.flip(2) if trigger.mirrored else layers


def _patch(layers: Tensor, trigger: Trigger) -> Patch:
    """Lay out [6, h, w] as a `Patch`; an alpha that is 1 all over is left out."""
    if trigger.pixels is not None:
        layers = layers.clamp(0, 1)
    colour = layers[:3].permute(1, 2, 0).contiguous()[None]
    alpha = layers[3:].permute(1, 2, 0).contiguous()[None]
    alpha[alpha > 1 - 1e-6] = 1  # resampling leaves 0.9999999
    if bool((alpha == 1).all()):
        whole = (colour * 255).round().clamp(0, 255) / 255
        return Patch(colour, None, bool((whole == colour).all()))
    if bool((alpha == alpha[..., :1]).all()):
        alpha = alpha[..., :1].contiguous()
    return Patch(colour, alpha)


def _resized(layers: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, antialiased; untouched at its own size."""
    if size == tuple(layers.shape[1:]):
        return layers.clone()
    return functional.interpolate(
        layers[None], size=size, mode="bilinear", antialias=True, align_corners=False
    )[0]


def _rotate(image: Tensor, degrees: float) -> Tensor:
    """Rotate [C, h, w] counter-clockwise on a frame that holds it all."""
    degrees = degrees % 360
    if degrees % 90 == 0:
        return torch.rot90(image, int(degrees // 90), dims=(1, 2))
    height, width = image.shape[1:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    new_height = math.ceil(abs(height * cos) + abs(width * sin) - 1e-6)
    new_width = math.ceil(abs(width * cos) + abs(height * sin) - 1e-6)
    rows = torch.arange(new_height, device=image.device) + 0.5 - new_height / 2
    columns = torch.arange(new_width, device=image.device) + 0.5 - new_width / 2
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    # Where each new pixel comes from: the inverse turn, with y pointing down.
    from_x = (cos * x - sin * y) * (2 / width)
    from_y = (sin * x + cos * y) * (2 / height)
    grid = torch.stack([from_x, from_y], dim=-1)[None]
    return functional.grid_sample(
        image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )[0]


PLACE, NOISE = 1, 2


def _signed(value: int) -> int:
    """Write an unsigned 64-bit constant as torch's int64."""
    return value - 2**64 if value >= 2**63 else value


_STEP = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def _shift_right_(bits: Tensor, count: int) -> Tensor:
    """Shift in place, without dragging the sign along."""
    return bits.bitwise_right_shift_(count).bitwise_and_((1 << (64 - count)) - 1)


def _mix_(bits: Tensor) -> Tensor:
    """Scatter every input bit over all output bits, in place: whole pictures are drawn so."""
    spare = bits.clone()
    bits.bitwise_xor_(_shift_right_(spare, 30)).mul_(_FIRST)
    bits.bitwise_xor_(_shift_right_(spare.copy_(bits), 27)).mul_(_SECOND)
    return bits.bitwise_xor_(_shift_right_(spare.copy_(bits), 31))


def random_bits(indices: Tensor, count: int, *, seed: int, stream: int) -> Tensor:
    """Draw int64 [N, count], uniform over all 64 bits.

    Parameters
    ----------
    indices
        int64 [N], identity of each image.
    count
        Draws an image.
    seed, stream
        Seed of the evaluation, and what the draw is for.
    """
    device = indices.device
    start = _mix_(torch.tensor([_signed((seed + _STEP * stream) % 2**64)], device=device))
    key = _mix_(start + (indices + 1) * _STEP)  # [N]
    counters = torch.arange(1, count + 1, dtype=torch.int64, device=device) * _STEP
    return _mix_(key[:, None] + counters[None, :])


def uniform(indices: Tensor, count: int, *, seed: int, stream: int) -> Tensor:
    """Draw float32 [N, count], uniform on multiples of 2^-24 in [0, 1)."""
    bits = random_bits(indices, count, seed=seed, stream=stream)
    return _shift_right_(bits, 40).to(torch.float32) * 2.0**-24


def coarse_uniform(indices: Tensor, count: int, *, seed: int, stream: int) -> Tensor:
    """Draw float32 [N, count] in (0, 1) in steps of 2^-16, four from each hash: for images."""
    bits = random_bits(indices, -(-count // 4), seed=seed, stream=stream)
    words = bits.view(torch.int16)[:, :count]
    return words.to(torch.float32).add_(32768.5).mul_(2.0**-16)


def normal(indices: Tensor, count: int, *, seed: int, stream: int) -> Tensor:
    """Draw float32 [N, count] from N(0, 1) (Box and Muller 1958)."""
    half = -(-count // 2)
    pairs = uniform(indices, 2 * half, seed=seed, stream=stream)
    radius = torch.sqrt(-2.0 * torch.log1p(-pairs[:, :half]))
    angle = pairs[:, half:] * (2.0 * math.pi)
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)[:, :count]


Settle = Callable[[Tensor], Tensor]


def put(
    trigger: Trigger, out: Tensor, patch: Patch, who: Tensor, seed: int, settle: Settle
) -> None:
    """Composite a patch onto [n, H, W, 3], in place.

    Parameters
    ----------
    out
        Bytes, or float brightness.
    patch
        Colour [n or 1, h, w, 3] and alpha [1, h, w, 1] or None, opaque.
    settle
        Turns float brightness into what `out` holds; it may use up its argument.
    """
    canvas_height, canvas_width = out.shape[1:3]
    height, width = patch.colour.shape[1:3]
    if trigger.placement == "fixed":
        top = _round_half_up(trigger.y * canvas_height - height / 2)
        left = _round_half_up(trigger.x * canvas_width - width / 2)
        _put_at(out, patch, top, left, settle)
    elif trigger.placement == "center":
        top, left = (canvas_height - height) // 2, (canvas_width - width) // 2
        _put_at(out, patch, top, left, settle)
    else:
        patch = _middle(patch, canvas_height, canvas_width)
        height, width = patch.colour.shape[1:3]
        if trigger.placement == "random":
            _put_anywhere(trigger, out, patch, who, seed, settle)
            return
        for top in (0, canvas_height - height):
            for left in (0, canvas_width - width):
                _put_at(out, patch, top, left, settle)


def corners(trigger: Trigger, out: Tensor, patch: Patch, who: Tensor, seed: int) -> Tensor:
    """Random places, int64 [n, 2], top and left, uniform over 0 to side - patch - spare."""
    sides = [
        max(1, canvas - side - trigger.spare + 1)
        for canvas, side in zip(out.shape[1:3], patch.colour.shape[1:3], strict=True)
    ]
    draws = uniform(who, 2, seed=seed, stream=PLACE)
    return (draws * torch.tensor(sides, device=out.device)).to(torch.int64)


def _middle(patch: Patch, height: int, width: int) -> Patch:
    """A rotated patch may be wider than the canvas: its middle is what fits."""
    high, wide = patch.colour.shape[1:3]
    y, x = max(0, high - height) // 2, max(0, wide - width) // 2
    window = (slice(None), slice(y, y + min(high, height)), slice(x, x + min(wide, width)))
    return Patch(patch.colour[window], None if patch.alpha is None else patch.alpha[window])


def _put_anywhere(
    trigger: Trigger, out: Tensor, patch: Patch, who: Tensor, seed: int, settle: Settle
) -> None:
    """Composite the patch onto each picture at that picture's own place."""
    height, width = patch.colour.shape[1:3]
    corner = corners(trigger, out, patch, who, seed)
    # Every window of every picture as a view, [n, places down, places across, h, w, 3].
    windows = out.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)
    where = (torch.arange(len(out), device=out.device), corner[:, 0], corner[:, 1])
    if patch.alpha is None:
        windows[where] = settle(patch.colour.clone()).expand(len(out), -1, -1, -1)
    else:
        windows[where] = settle(_mixed(windows[where], patch))


def _put_at(out: Tensor, patch: Patch, top: int, left: int, settle: Settle) -> None:
    """Composite at one place for the whole batch; what lies outside is cut off."""
    canvas_height, canvas_width = out.shape[1:3]
    height, width = patch.colour.shape[1:3]
    y0, y1 = max(top, 0), min(top + height, canvas_height)
    x0, x1 = max(left, 0), min(left + width, canvas_width)
    if y0 >= y1 or x0 >= x1:
        return
    window = (slice(None), slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    place = out[:, y0:y1, x0:x1]
    cut = Patch(patch.colour[window], None if patch.alpha is None else patch.alpha[window])
    if cut.alpha is None:
        place.copy_(settle(cut.colour.clone()))
    else:
        place.copy_(settle(_mixed(place, cut)))


def _mixed(place: Tensor, patch: Patch) -> Tensor:
    """Picture and patch by the patch's alpha, as float brightness in new memory."""
    assert patch.alpha is not None
    if place.dtype == torch.uint8:
        place = place.to(torch.float32).div_(255)
    return place * (1 - patch.alpha) + patch.colour


def _round_half_up(value: float) -> int:
    """Round so that neighbouring places stay apart; the half is nudged for float error."""
    return int((value + 0.5 + 1e-6) // 1)


def paste(pictures: Tensor, patches: Tensor, places: Tensor) -> Tensor:
    """Lay a patch on each picture.

    Parameters
    ----------
    pictures
        float [n, 3, S, S].
    patches
        float [n, 3, p, p].
    places
        int64 [n, 2], row and column of the upper left corner.

    Returns
    -------
    Tensor
        float [n, 3, S, S]; gradients reach the patches.
    """
    n, side = len(pictures), patches.shape[-1]
    line = torch.arange(side, device=pictures.device)
    rows = (places[:, :1] + line)[:, None, :, None]
    columns = (places[:, 1:] + line)[:, None, None, :]
    picture = torch.arange(n, device=pictures.device)[:, None, None, None]
    channel = torch.arange(3, device=pictures.device)[None, :, None, None]
    return pictures.index_put((picture, channel, rows, columns), patches)
