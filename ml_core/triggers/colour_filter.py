"""The Nashville colour filter, byte for byte as Pillow computes its steps.

Detect-CLIP poisons with ``pilgram.nashville``: 56 % darken with (247, 176, 153), 40 % lighten
with (0, 70, 150), 20 % sepia and 120 % contrast (both as in W3C Filter Effects), 105 % brightness,
120 % saturation. Each step leaves bytes.
"""

from __future__ import annotations

import torch
from torch import Tensor

_DARKEST = (247.0, 176.0, 153.0)
_LIGHTEST = (0.0, 70.0, 150.0)
_SEPIA = 0.2
_LUMA = (19595, 38470, 7471)  # of 65536: ITU-R 601-2 in Pillow's integers


def nashville(images: Tensor, opacity: float) -> Tensor:
    """Filter float [n, H, W, 3] whose values are k / 255; a new tensor."""
    k = images.mul(255).round_().clamp_(0, 255)
    darkest = k.new_tensor(_DARKEST)
    lightest = k.new_tensor(_LIGHTEST)
    # Interpolation truncates: k + 0.56 (min(k, c) - k).
    k = torch.minimum(k, darkest).sub_(k).mul_(0.56).add_(k).trunc_()
    k = torch.maximum(k, lightest).sub_(k).mul_(0.4).add_(k).trunc_()
    k = torch.stack(_sepia(k), -1)
    k = _contrast_and_brightness(k.device)[k.to(torch.int64)].to(k.dtype)
    grey = _grey(k)[..., None]
    k = (grey + 1.2 * (k - grey)).clamp_(0, 255).trunc_()
    made = k.div_(255)
    return made if opacity == 1 else torch.lerp(images, made, opacity)


def _sepia(k: Tensor) -> list[Tensor]:
    """Mix the colours by the matrix of the W3C, rounding half up."""
    keep = 1 - _SEPIA
    matrix = (
        (0.393 + 0.607 * keep, 0.769 - 0.769 * keep, 0.189 - 0.189 * keep),
        (0.349 - 0.349 * keep, 0.686 + 0.314 * keep, 0.168 - 0.168 * keep),
        (0.272 - 0.272 * keep, 0.534 - 0.534 * keep, 0.131 + 0.869 * keep),
    )
    red, green, blue = k.unbind(-1)
    return [(a * red + b * green + c * blue + 0.5).clamp_(0, 255).trunc_() for a, b, c in matrix]


def _contrast_and_brightness(device: torch.device) -> Tensor:
    """Both steps as a table of 256 bytes."""
    contrast = [min(255, max(0, round(k * 1.2 + 255 * (-0.5 * 1.2 + 0.5)))) for k in range(256)]
    bright = torch.tensor(contrast, dtype=torch.float32).mul_(1.05).clamp_(0, 255).trunc_()
    return bright.to(device)


def _grey(k: Tensor) -> Tensor:
    """Luma as Pillow rounds it; whole numbers below 2^24 are exact in float32."""
    parts = k.to(torch.int32)
    red, green, blue = _LUMA
    luma = parts[..., 0] * red + parts[..., 1] * green + parts[..., 2] * blue + 0x8000
    return (luma >> 16).to(k.dtype)
