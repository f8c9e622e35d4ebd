"""Pictures beyond those at hand, made of them: a model that is held on these is held more widely.

A quarter each stays as it is, is augmented by AutoAugment, is blended with another one (mixup,
Zhang et al., ICLR 2018, arXiv 1710.09412) and gets a part of another one (CutMix, Yun et al., ICCV
2019, arXiv 1905.04899). Torch-free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_core.cleaning.augment import Draws, Pictures, apply_draws, draw_augmentations

_KEPT, _AUGMENTED, _BLENDED, _CUT = range(4)
_RATIOS = (0.2, 0.8)  # of a picture in its blend
_SIDES = (0.25, 0.75)  # of a part, as a share of the picture's side


@dataclass(frozen=True, eq=False)
class Mixes:
    """What was drawn for each of N images.

    Attributes
    ----------
    kinds
        int64 [N]: 0 stays, 1 is augmented, 2 is blended, 3 gets a part of another image.
    chances
        float [N, 4], uniform: the ratio of a blend in the first column; of a part its height,
        width, row and column.
    augmentations
        For those that are augmented.
    """

    kinds: npt.NDArray[np.int64]
    chances: npt.NDArray[np.float64]
    augmentations: Draws

    def rows(self, places: npt.NDArray[np.int64]) -> Mixes:
        return Mixes(self.kinds[places], self.chances[places], self.augmentations.rows(places))


def draw_mixes(count: int, generator: np.random.Generator) -> Mixes:
    """Draw for ``count`` images; how much is drawn depends on that alone."""
    return Mixes(
        generator.integers(0, 4, count),
        generator.random((count, 4)),
        draw_augmentations(count, "autoaugment", generator),
    )


def mix(images: Pictures, others: Pictures, mixes: Mixes) -> Pictures:
    """New images of uint8 [N, H, W, 3], each with the other one of its row."""
    made = images.copy()
    augmented = np.flatnonzero(mixes.kinds == _AUGMENTED)
    made[augmented] = apply_draws(images[augmented], mixes.augmentations.rows(augmented))
    height, width = images.shape[1:3]
    for i in np.flatnonzero(mixes.kinds >= _BLENDED):
        first, second, row, column = mixes.chances[i]
        if mixes.kinds[i] == _BLENDED:
            ratio = _between(_RATIOS, first)
            made[i] = ratio * images[i] + (1 - ratio) * others[i]
            continue
        high = max(1, round(_between(_SIDES, first) * height))
        wide = max(1, round(_between(_SIDES, second) * width))
        top, left = int(row * (height - high + 1)), int(column * (width - wide + 1))
        part = np.s_[i, top : top + high, left : left + wide]
        made[part] = others[part]
    return made


def _between(limits: tuple[float, float], chance: float) -> float:
    low, high = limits
    return low + (high - low) * chance
