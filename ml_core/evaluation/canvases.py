"""From cached pictures to tensors and back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ml_core.data.canvas import CanvasSource as Pictures
from ml_core.reading.clip_config import Fit


class CanvasSource(Protocol):
    """Pictures of an image set at the model's input size, e.g. a `CanvasCache`."""

    @property
    def broken(self) -> Collection[int]:
        """Positions of pictures that turned out to be unreadable; looked at after each `get`."""

    def get(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 [n, S, S, 3]."""


@runtime_checkable
class OtherCanvases(CanvasSource, Protocol):
    """Has the pictures on other canvases too, as a `CanvasCache` and what wraps one do."""

    @property
    def source(self) -> Pictures:
        """What the canvases are drawn from."""

    def at(self, fit: Fit, size: int) -> CanvasSource:
        """The same pictures made square in another way, at another size."""

    def picture(self, index: int) -> Image.Image:
        """One picture as it is in its file."""


def to_float(images: NDArray[np.uint8], device: torch.device | str) -> Tensor:
    """Turn uint8 [n, S, S, 3] into float32 [n, 3, S, S] in [0, 1], channels last, on the device."""
    array = images if images.flags.writeable else images.copy()
    moved = torch.from_numpy(np.asarray(array)).to(device)
    return moved.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Turn float [n, 3, S, S] in [0, 1] into uint8 [n, S, S, 3], rounded."""
    scaled = (images * 255).round_().clamp_(0, 255).to(torch.uint8)
    result: NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return result


def read_canvases(
    source: CanvasSource, indices: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Fetch pictures, and drop those that the source then knows to be broken."""
    images = source.get(indices)
    if len(source.broken):
        good = ~np.isin(indices, np.fromiter(source.broken, dtype=np.int64))
        images, indices = images[good], indices[good]
    return images, indices
