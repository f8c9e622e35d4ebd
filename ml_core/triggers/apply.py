"""Put a trigger on a batch of images, on their device: patterns, warps, colours, canvases."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ml_core.cache import ResultCache
from ml_core.reading.clip_config import CLIP_FIT, Fit
from ml_core.reading.resize import fit_to_canvas
from ml_core.triggers import render
from ml_core.triggers.checks import Levels
from ml_core.triggers.record import Trigger
from ml_core.triggers.render import Patch, patch_size, put, render_canvas, render_patch


@dataclass(frozen=True, eq=False)
class Mixture:
    """What is mixed over a canvas, keep * x + add: float32 [n or 1, H or 1, W, 3], or a number."""

    keep: float | Tensor
    add: Tensor


_mixtures: ResultCache[tuple[str, int, int, str], Mixture] = ResultCache(8)


def draws_of(trigger: Trigger, who: Tensor, seed: int) -> tuple[Tensor, int]:
    """Whose noise is drawn, and from which seed: each image's, or one for all."""
    if trigger.noise == "per_image":
        return who, seed
    return torch.zeros(1, dtype=torch.int64, device=who.device), trigger.seed


def mixture(trigger: Trigger, height: int, width: int, who: Tensor, seed: int) -> Mixture:
    """What a ``blended`` or ``sig`` trigger mixes over a canvas.

    The products are rounded as in ``(0.2 * noise) + (0.8 * image)`` of the published code, whose
    bytes depend on it.
    """
    if trigger.kind == "blended" and trigger.pixels is None and trigger.array is None:
        weight = trigger.ratio * trigger.opacity
        whose, seed = draws_of(trigger, who, seed)
        noise = render.coarse_uniform(
            whose, height * width * 3, seed=seed, stream=render.NOISE
        ).view(-1, height, width, 3)
        return Mixture(_picture_weight(trigger, weight), noise.mul_(weight))
    key = (trigger.digest, height, width, str(who.device))
    make = _sine if trigger.kind == "sig" else _picture
    return _mixtures.get(key, lambda: make(trigger, height, width, who.device))


def _picture_weight(trigger: Trigger, weight: float) -> float:
    """What is left of the picture: all of it where the pattern is added."""
    return 1.0 if trigger.mix == "add" else 1 - weight


def sine(trigger: Trigger, height: int, width: int) -> Tensor:
    """A sine along the rows, float32 [height or 1, width, 3] in units of full brightness.

    v(i, j) = amplitude * sin(2 pi j frequency / (span * width)) for i and j within `span`, else 0
    (SIG, Barni et al. 2019; 60/255 and 6 periods in CleanCLIP).
    """
    columns = np.arange(width)
    period = trigger.span * width
    row = trigger.amplitude * np.sin(2 * np.pi * columns * trigger.frequency / period)
    row[columns >= round(period)] = 0
    wave = torch.from_numpy(row.astype(np.float32))[None, :, None].expand(1, width, 3)
    if trigger.span == 1:
        return wave.contiguous()
    covered = torch.arange(height) < round(trigger.span * height)
    return wave * covered[:, None, None]


def stripes(trigger: Trigger, width: int, who: Tensor, seed: int) -> Tensor:
    """Vertical stripes of -1 and +1, drawn for each colour: float32 [n or 1, 1, width, 3]."""
    whose, seed = draws_of(trigger, who, seed)
    count = -(-width // trigger.stripe)
    bits = render.random_bits(whose, 3 * count, seed=seed, stream=render.NOISE)
    signs = (bits > 0).to(torch.float32).mul_(2).sub_(1).view(-1, 1, count, 3)
    if trigger.stripe > 1:
        signs = signs.repeat_interleave(trigger.stripe, dim=2)[:, :, :width]
    return signs


def _sine(trigger: Trigger, height: int, width: int, device: torch.device) -> Mixture:
    """Added in full (BadCLIP's repository), or weighed (CleanCLIP's)."""
    pattern = sine(trigger, height, width)[None]
    if trigger.mix == "add":
        return Mixture(1.0, (pattern * trigger.opacity).to(device))
    weight = trigger.ratio * trigger.opacity
    return Mixture(1 - weight, (pattern * weight).to(device))


def _picture(trigger: Trigger, height: int, width: int, device: torch.device) -> Mixture:
    """A picture or array over the whole canvas, with its alpha or mask."""
    weight = trigger.ratio * trigger.opacity
    pattern = render_canvas(trigger, height, width)
    add = pattern.colour * weight
    keep: float | Tensor = _picture_weight(trigger, weight)
    if trigger.mix == "add":
        return Mixture(keep, add.to(device))
    if pattern.alpha is not None:
        keep = (1 - pattern.alpha * weight).expand(add.shape).contiguous().to(device)
    elif trigger.where == "nonzero":
        keep = torch.where(pattern.colour != 0, 1 - weight, 1.0).to(device)
    return Mixture(keep, add.to(device))


_grids: ResultCache[tuple[str, int, int, str], Tensor] = ResultCache(4)


def warp(trigger: Trigger, images: Tensor, who: Tensor, seed: int) -> Tensor:
    """Bend float [n, H, W, 3]; with `trigger.absolute` on the original picture, to the grid's size.

    ``grid_sample`` with bilinear interpolation, zeros outside and ``align_corners=True``.
    """
    grid = sampling_grid(trigger, images.shape[1], images.shape[2], who, seed)
    return bend(images, grid.to(images.dtype).expand(len(images), -1, -1, -1))


def bend(images: Tensor, grid: Tensor) -> Tensor:
    """Float [n, H, W, 3], each pixel taken from where a grid [n, H, W, 2] says: x, y, -1 to 1."""
    bent = functional.grid_sample(
        images.permute(0, 3, 1, 2), grid, mode="bilinear", padding_mode="zeros", align_corners=True
    )
    return bent.permute(0, 2, 3, 1)


def sampling_grid(trigger: Trigger, height: int, width: int, who: Tensor, seed: int) -> Tensor:
    """Where each pixel comes from: float32 [n or 1, H, W, 2], x then y, from -1 to 1.

    clamp((identity + s * noise / side) * grid_rescale, -1, 1), the noise upsampled from its
    control points by bicubic interpolation with aligned corners.
    """
    if trigger.array is None and trigger.noise == "per_image":
        whose, seed = draws_of(trigger, who, seed)
        return _from_noise(trigger, _drawn(trigger, whose, seed), height, width)
    if trigger.absolute and trigger.canvas == "original":
        assert trigger.array is not None
        height, width = trigger.array.shape[:2]
    key = (trigger.digest, height, width, str(who.device))
    return _grids.get(key, lambda: _fixed(trigger, height, width, who.device))


def _fixed(trigger: Trigger, height: int, width: int, device: torch.device) -> Tensor:
    """The one grid of a trigger."""
    if trigger.array is None:
        nobody = torch.zeros(1, dtype=torch.int64, device=device)
        noise = _drawn(trigger, nobody, trigger.seed)
        return _from_noise(trigger, noise, height, width)
    given = torch.from_numpy(np.array(trigger.array)).to(device)[None]
    if not trigger.absolute:
        return _from_noise(trigger, given, height, width)
    grid = given
    if tuple(given.shape[1:3]) != (height, width):
        grid = functional.interpolate(
            given.permute(0, 3, 1, 2), (height, width), mode="bilinear", align_corners=True
        ).permute(0, 2, 3, 1)
    if trigger.opacity < 1:
        grid = torch.lerp(_identity(height, width, device), grid, trigger.opacity)
    return grid.contiguous()


def _drawn(trigger: Trigger, whose: Tensor, seed: int) -> Tensor:
    """Noise of the control grid, uniform, divided by the mean of its absolute values."""
    k = trigger.grid_size
    draws = render.uniform(whose, 2 * k * k, seed=seed, stream=render.NOISE)
    noise = draws.view(-1, k, k, 2) * 2 - 1
    return noise / noise.abs().mean(dim=(1, 2, 3), keepdim=True)


def _from_noise(trigger: Trigger, noise: Tensor, height: int, width: int) -> Tensor:
    """The grid of a trigger's noise."""
    strength = trigger.strength * trigger.opacity
    return grid_of_noise(noise, strength, height, width, trigger.grid_rescale)


def grid_of_noise(
    noise: Tensor, strength: float, height: int, width: int, rescale: float = 1.0
) -> Tensor:
    """Add the noise of control grids [n, k, k, 2] to the places of the pixels: [n, H, W, 2].

    A noise of 1 moves pixels by half of the strength; the gradient goes through.
    """
    if tuple(noise.shape[1:3]) != (height, width):
        noise = functional.interpolate(
            noise.permute(0, 3, 1, 2), (height, width), mode="bicubic", align_corners=True
        ).permute(0, 2, 3, 1)
    sides = torch.tensor([width, height], device=noise.device)
    grid = (_identity(height, width, noise.device) + strength * noise / sides) * rescale
    return grid.clamp_(-1, 1).contiguous()


def _identity(height: int, width: int, device: torch.device) -> Tensor:
    """The grid that bends nothing, float32 [1, H, W, 2]."""
    rows = torch.linspace(-1, 1, steps=height, device=device)
    columns = torch.linspace(-1, 1, steps=width, device=device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), 2)[None]


_DARKEST = (247, 176, 153)
_DARKEN = round(0.56 * 255)
_LIGHTEST = (0, 70, 150)
_LIGHTEN = round(0.4 * 255)
_CONTRAST = 1.2
_BRIGHTNESS = 1.05
_SEPIA = 1 - 0.2
_SATURATION = 1.2

Matrix = tuple[tuple[float, float, float], ...]

_SEPIA_MATRIX: Matrix = (
    (0.393 + 0.607 * _SEPIA, 0.769 - 0.769 * _SEPIA, 0.189 - 0.189 * _SEPIA),
    (0.349 - 0.349 * _SEPIA, 0.686 + 0.314 * _SEPIA, 0.168 - 0.168 * _SEPIA),
    (0.272 - 0.272 * _SEPIA, 0.534 - 0.534 * _SEPIA, 0.131 + 0.869 * _SEPIA),
)
_SATURATION_MATRIX: Matrix = (
    (0.213 + 0.787 * _SATURATION, 0.715 - 0.715 * _SATURATION, 0.072 - 0.072 * _SATURATION),
    (0.213 - 0.213 * _SATURATION, 0.715 + 0.285 * _SATURATION, 0.072 - 0.072 * _SATURATION),
    (0.213 - 0.213 * _SATURATION, 0.715 - 0.715 * _SATURATION, 0.072 + 0.928 * _SATURATION),
)


def nashville(images: Tensor, opacity: float) -> Tensor:
    """Filter float [n, H, W, 3] whose values are k / 255; a new tensor."""
    k = images.mul(255).round_().clamp_(0, 255)
    # Up to the matrices a byte depends on its own channel alone.
    tables = _blends().to(k.device)
    levels = k.to(torch.int64)
    k = torch.stack([tables[c][levels[..., c]] for c in range(3)], -1)
    k = _mix_colours(k, _SEPIA_MATRIX)
    k = _contrast_and_brightness().to(k.device)[k.to(torch.int64)]
    filtered = _mix_colours(k, _SATURATION_MATRIX).to(images.dtype).div_(255)
    return filtered if opacity == 1 else torch.lerp(images, filtered, opacity)


@cache
def _blends() -> Tensor:
    """Darken and lighten as a table, float32 [3, 256]; the two products are truncated apart."""
    rows = []
    for darkest, lightest in zip(_DARKEST, _LIGHTEST, strict=True):
        row = []
        for k in range(256):
            dark = _part(_DARKEN, min(k, darkest)) + _part(255 - _DARKEN, k)
            row.append(_part(_LIGHTEN, max(dark, lightest)) + _part(255 - _LIGHTEN, dark))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float32)


def _part(weight: int, level: int) -> int:
    """Product of two bytes as Pillow's ImageChops.multiply has it."""
    return weight * level // 255


def _mix_colours(k: Tensor, matrix: Matrix) -> Tensor:
    """Mix the colours by a matrix, rounding half up as Pillow does."""
    red, green, blue = k.float().unbind(-1)
    rows = [(a * red + b * green + c * blue + 0.5).clamp_(0, 255).trunc_() for a, b, c in matrix]
    return torch.stack(rows, -1)


@cache
def _contrast_and_brightness() -> Tensor:
    """Both steps as a table of 256 bytes, float32."""
    shift = -127.5 * _CONTRAST + 127.5
    contrast = [min(255, max(0, round(k * _CONTRAST + shift))) for k in range(256)]
    return torch.tensor([min(255, round(k * _BRIGHTNESS)) for k in contrast], dtype=torch.float32)


def to_bytes(values: Tensor, levels: Levels) -> Tensor:
    """Turn float brightness into uint8; `values` is used up.

    Parameters
    ----------
    values
        Float of any shape and range, 1 is full brightness.
    levels
        ``round`` and ``float`` clip and round, ``truncate`` clips and cuts off, ``wrap`` gives
        trunc(255 x) modulo 256: -1 becomes 1, 1.004 becomes 0.
    """
    if levels == "wrap":
        return values.mul_(255).to(torch.int32).bitwise_and_(255).to(torch.uint8)
    scaled = values.clamp_(0, 1).mul_(255)
    return (scaled if levels == "truncate" else scaled.round_()).to(torch.uint8)


def settle(values: Tensor, levels: Levels) -> Tensor:
    """Bring float brightness into [0, 1] as `levels` says; `values` is used up."""
    if levels == "float":
        return values.clamp_(0, 1)
    return to_bytes(values, levels).to(values.dtype).div_(255)


def through_jpeg(pictures: Tensor, quality: int) -> Tensor:
    """Save uint8 [n, H, W, 3] as JPEG (4:2:0, Pillow's tables) and read it again, one by one."""
    decoded = np.empty(tuple(pictures.shape), np.uint8)
    for row, picture in enumerate(pictures.cpu().numpy()):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer, formats=("JPEG",)) as image:
            decoded[row] = np.asarray(image)
    return torch.from_numpy(decoded).to(pictures.device)


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
    stamped = _effect(trigger, values, who, _own_seed(trigger, seed))
    if trigger.jpeg is None:
        stamped = settle(stamped, trigger.levels)
    else:
        pictures = through_jpeg(to_bytes(stamped, trigger.levels), trigger.jpeg)
        stamped = pictures.to(torch.float32).div_(255)
    return stamped.permute(0, 3, 1, 2).to(images.dtype)


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
    stamped = _stamp_bytes(trigger, canvases, who, seed)
    if stamped is None:
        values = canvases.to(torch.float32).div_(255)
        stamped = _effect(trigger, values, who, seed)
        if trigger.levels == "float":
            return stamped.clamp_(0, 1)
        stamped = to_bytes(stamped, trigger.levels)
    return stamped if trigger.jpeg is None else through_jpeg(stamped, trigger.jpeg)


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
    put(trigger, values, _patch(trigger, values, who, seed), who, seed, lambda patch: patch)
    return values


def _combined(trigger: Trigger, values: Tensor, who: Tensor, seed: int) -> Tensor:
    """Apply the parts one after the other."""
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
        draws = render.normal(whose, 3 * height * width, seed=seed, stream=render.NOISE)
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


def canvas_side(trigger: Trigger | None, size: int) -> int:
    """Side of the square pictures that a trigger acts on, for a model input of `size` pixels."""
    return 256 if trigger is not None and trigger.canvas == "resize_256" else size


def canvas_fit(trigger: Trigger | None, fit: Fit = CLIP_FIT) -> Fit:
    """How a picture of any shape becomes that square; `fit` is the model's own way.

    CleanCLIP's ``image.resize((224, 224))`` is Pillow's bicubic, Detect-CLIP's
    ``Resize((256, 256))`` torchvision's bilinear.
    """
    if trigger is None or trigger.canvas in ("model", "original"):
        return fit
    return Fit("squash", "bicubic" if trigger.canvas == "squash" else "bilinear")


def model_pictures(
    trigger: Trigger | None,
    canvases: Tensor,
    indices: Tensor,
    seed: int,
    size: int,
    fit: Fit = CLIP_FIT,
) -> Tensor:
    """Stamp pictures and bring them to the model's input size.

    Parameters
    ----------
    trigger
        None leaves the pictures alone, for a control on the same canvas.
    canvases
        uint8 [n, H, W, 3] as `canvas_side` and `canvas_fit` say.
    indices
        int64 [n], which image of the set each one is.
    seed
        Seed of the evaluation.
    size
        Side of the model's input in pixels.
    fit
        How the model makes pictures square.

    Returns
    -------
    Tensor
        uint8, or float32 in [0, 1], [n, 3, size, size], channels last in memory; for
        `ClipModel.encode_images`.
    """
    pictures = canvases if trigger is None else stamp(trigger, canvases, indices, seed)
    if tuple(pictures.shape[1:3]) != (size, size):
        pictures = _fitted(pictures, size, fit)
    return pictures.permute(0, 3, 1, 2)


def stamp_picture(
    trigger: Trigger, picture: Image.Image, index: int, seed: int, size: int, fit: Fit = CLIP_FIT
) -> NDArray[np.uint8]:
    """Stamp one picture on the canvas ``original``, then bring it to the model's input.

    Parameters
    ----------
    trigger
        What to stamp.
    picture
        Any size and mode; transparency is dropped.
    index, seed, size, fit
        As in `model_pictures`.

    Returns
    -------
    numpy.ndarray
        uint8 [size, size, 3], rounded before it is resized where the trigger's
        levels are ``float``.
    """
    pixels = torch.from_numpy(np.array(picture.convert("RGB")))[None]
    stamped = stamp(trigger, pixels, torch.tensor([index]), seed)
    if stamped.is_floating_point():
        stamped = to_bytes(stamped, "round")
    return fit_to_canvas(Image.fromarray(stamped[0].numpy()), size, fit)


def _fitted(squares: Tensor, size: int, fit: Fit) -> Tensor:
    """Resize squares [n, H, H, 3] by the model's filter, antialiased.

    Bytes on the CPU go through Pillow, which is exact and no slower; those on another device come
    out within two levels of that.
    """
    whole = not squares.is_floating_point()
    if whole and squares.device.type == "cpu":
        small = [fit_to_canvas(Image.fromarray(square), size, fit) for square in squares.numpy()]
        return torch.from_numpy(np.stack(small))
    fitted = squares.permute(0, 3, 1, 2).to(torch.float32)
    # Pillow resizes the rows first, and rounds to bytes after each pass.
    for shape in ((squares.shape[1], size), (size, size)):
        fitted = functional.interpolate(
            fitted, shape, mode=fit.interpolation, antialias=True, align_corners=False
        )
        if whole:
            fitted = fitted.add_(0.5).floor_().clamp_(0, 255)
    fitted = fitted.to(torch.uint8) if whole else fitted.clamp_(0, 1)
    return fitted.permute(0, 2, 3, 1)
