"""Labelled pictures as pairs: the caption is a prompt with the name of the class. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ml_core.data.images import ImageSet
from ml_core.data.labels import fill
from ml_core.reading.resize import Canvases

Indices = NDArray[np.int64]


class PromptPairs:
    """The labelled pictures of a set with prompts for captions; an epoch takes the next template.

    Blocks of pictures that are stored together are not kept: those without a label are left out.
    """

    blocks: Indices | None = None

    def __init__(self, images: ImageSet, templates: Sequence[str]) -> None:
        self._images, self._templates = images, tuple(templates)
        self._chosen = np.flatnonzero(images.labels >= 0)
        self._places = {int(number): place for place, number in enumerate(self._chosen)}
        self.window = images.window

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def broken(self) -> Mapping[int, str]:
        """Undecodable pictures found so far."""
        found = self._images.broken
        return {self._places[i]: said for i, said in found.items() if i in self._places}

    def captions(self, indices: Indices, epoch: int = 0) -> list[str]:
        """A prompt for each of some pictures; neighbours have different templates."""
        numbers = np.asarray(indices, np.int64)
        labels = self._images.labels[self._chosen[numbers]]
        return [
            fill(
                self._templates[(number + epoch) % len(self._templates)],
                self._images.class_names[label],
            )
            for number, label in zip(numbers.tolist(), labels.tolist(), strict=True)
        ]

    def canvas(self, indices: Indices, size: int) -> Canvases:
        """Pictures, uint8 [n, size, size, 3]."""
        return self._images.canvas(self._chosen[np.asarray(indices, np.int64)], size)
