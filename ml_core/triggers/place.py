"""Where a patch goes, and putting it there for a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ml_core.triggers import counter
from ml_core.triggers.record import Trigger
from ml_core.triggers.render import Patch

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
    draws = counter.uniform(who, 2, seed=seed, stream=counter.PLACE)
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
    """Composite at a place of each picture's own."""
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
    """Picture and patch by the patch's alpha, as float brightness of its own memory."""
    assert patch.alpha is not None
    if place.dtype == torch.uint8:
        place = place.to(torch.float32).div_(255)
    return place * (1 - patch.alpha) + patch.colour


def _round_half_up(value: float) -> int:
    """Round so that neighbouring places stay apart; the half is nudged for float error."""
    return int((value + 0.5 + 1e-6) // 1)
