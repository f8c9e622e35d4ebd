"""The pictures that a trigger acts on, and what the model then sees of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.data.canvas import CanvasCache
from ml_core.evaluation.canvases import CanvasSource, read_canvases, to_uint8
from ml_core.reading.clip_config import CLIP_FIT, Fit
from ml_core.reading.errors import InputError
from ml_core.triggers.canvases import canvas_fit, canvas_side, model_pictures, stamp_picture
from ml_core.triggers.record import Trigger

Pictures = NDArray[np.uint8]


def own_canvases(
    source: CanvasSource, trigger: Trigger | None, size: int, seed: int
) -> CanvasSource | None:
    """Pictures for a trigger whose canvas is not the model's; None where it is.

    Parameters
    ----------
    source
        Pictures on the model's canvas.
    trigger
        Its ``canvas`` decides.
    size
        Side of the model's input in pixels.
    seed
        Of the evaluation.

    Returns
    -------
    CanvasSource or None
        Of a trigger on the original pictures: these with the trigger on them, on the model's
        canvas.

    Raises
    ------
    InputError
        If the source has nothing but the model's canvases.
    """
    if trigger is None or trigger.canvas == "model":
        return None
    if not isinstance(source, CanvasCache):
        raise InputError(
            f"The trigger {trigger.name or 'without name'} acts on another canvas than the "
            "model's, and these images have no other.",
            "unsupported",
        )
    if trigger.canvas == "original":
        return StampedOriginals(source, trigger, size, seed)
    return source.at(canvas_fit(trigger, source.source.fit), canvas_side(trigger, size))


class StampedOriginals:
    """Original pictures with the trigger on them, made square one by one as the source does."""

    def __init__(self, source: CanvasCache, trigger: Trigger, size: int, seed: int) -> None:
        self._source = source
        self._trigger = trigger
        self._size = size
        self._seed = seed
        self.broken: dict[int, str] = {}

    def get(self, indices: NDArray[np.int64]) -> Pictures:
        """uint8 [n, S, S, 3]; black where `broken` has the index."""
        out: Pictures = np.zeros((len(indices), self._size, self._size, 3), np.uint8)
        for row, index in enumerate(indices.tolist()):
            try:
                picture = self._source.picture(index)
            except InputError as error:
                self.broken[index] = error.sentence
                continue
            fit = self._source.source.fit
            out[row] = stamp_picture(self._trigger, picture, index, self._seed, self._size, fit)
        return out


def to_pictures(images: Pictures, device: torch.device) -> Tensor:
    """Turn uint8 [n, H, W, 3] into uint8 [n, 3, H, W], channels last, on the device."""
    return _moved(images, device).permute(0, 3, 1, 2)


def stamped(
    trigger: Trigger | None,
    canvases: Pictures,
    indices: NDArray[np.int64],
    seed: int,
    size: int,
    device: torch.device,
    fit: Fit = CLIP_FIT,
) -> Tensor:
    """What the model sees of triggered pictures.

    Parameters
    ----------
    trigger
        What to stamp; None leaves the pictures alone, for a control on the same canvas.
    canvases
        uint8 [n, H, W, 3], on the trigger's canvas (of the ``original`` one: stamped already).
    indices
        int64 [n], positions in the set, to which random draws belong.
    seed
        Of the evaluation.
    size
        Side of the model's input in pixels.
    device
        Where to stamp.
    fit
        How the model makes pictures square.

    Returns
    -------
    Tensor
        [n, 3, size, size], uint8 or float in [0, 1], before normalisation.
    """
    if trigger is not None and trigger.canvas == "original":
        return to_pictures(canvases, device)
    moved = _moved(canvases, device)
    return model_pictures(trigger, moved, torch.from_numpy(indices), seed, size, fit)


def triggered_pictures(
    source: CanvasSource,
    trigger: Trigger,
    indices: NDArray[np.int64],
    seed: int,
    size: int,
    device: torch.device,
    fit: Fit = CLIP_FIT,
) -> Pictures:
    """Pictures of the set with the trigger on them, as an evaluation with that seed sees them.

    The parameters are those of :func:`stamped`; ``source`` has the pictures on the model's canvas.

    Returns
    -------
    Pictures
        uint8 [n, size, size, 3]; black where a picture cannot be read.
    """
    own = own_canvases(source, trigger, size, seed)
    read, kept = read_canvases(source if own is None else own, indices)
    out: Pictures = np.zeros((len(indices), size, size, 3), np.uint8)
    if len(kept):
        seen = stamped(trigger, read, kept, seed, size, device, fit)
        out[np.isin(indices, kept)] = as_uint8(seen)
    return out


def _moved(images: Pictures, device: torch.device) -> Tensor:
    """The same numbers on the device."""
    array = images if images.flags.writeable else images.copy()
    return torch.from_numpy(array).to(device, non_blocking=True)


def as_uint8(pictures: Tensor) -> Pictures:
    """Turn [n, 3, S, S], uint8 or float in [0, 1], into uint8 [n, S, S, 3], rounded."""
    if pictures.dtype == torch.uint8:
        found: Pictures = pictures.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return found
    return to_uint8(pictures)
