"""The Nashville colour filter, byte for byte as pilgram 1.2 and 2.0 compute it.

Detect-CLIP poisons with ``pilgram.nashville``: 56 % darken with (247, 176, 153), 40 % lighten
with (0, 70, 150), 20 % sepia, 120 % contrast, 105 % brightness, 120 % saturation, the last four as
in W3C Filter Effects. Each step leaves bytes.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

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
    k = _mix(k, _SEPIA_MATRIX)
    k = _contrast_and_brightness().to(k.device)[k.to(torch.int64)]
    made = _mix(k, _SATURATION_MATRIX).to(images.dtype).div_(255)
    return made if opacity == 1 else torch.lerp(images, made, opacity)


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


def _mix(k: Tensor, matrix: Matrix) -> Tensor:
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
