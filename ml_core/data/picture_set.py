"""What image sets and pair sets have in common: pictures by number, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.known_files import CONTENT
from ml_core.data.pictures import Pictures, key_of, summary
from ml_core.reading.clip_config import CLIP_FIT, Fit
from ml_core.reading.errors import InputError
from ml_core.reading.square import Canvases


@dataclass(frozen=True, eq=False, kw_only=True)
class PictureSet:
    """Pictures, drawn on demand.

    A picture whose data is damaged can only be found when it is decoded: `canvas` draws it black
    and notes it in `broken` (index -> sentence). Whoever counts or trains must drop the indices in
    `broken` after each call of `canvas` (or `CanvasCache.get`); they are never used.

    Attributes
    ----------
    name
        For the screen.
    key
        SHA-256 over pictures, order, and the labels or captions.
    images_key
        SHA-256 over pictures, order and fit alone: names the cached canvases.
    notes
        What was left out when the set was opened.
    left_out
        How many pictures or rows were left out then.
    fit
        How `canvas` makes a picture square.
    """

    name: str
    key: str
    images_key: str
    notes: tuple[str, ...]
    left_out: int
    pictures: Pictures
    fit: Fit = CLIP_FIT

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def known_by(self) -> str:
        """What `key` knows the pictures by: their content, or, of very large sets, less."""
        return str(getattr(self.pictures, "known_by", CONTENT))

    @property
    def broken(self) -> Mapping[int, str]:
        """Pictures found undecodable so far, index -> sentence."""
        return self.pictures.broken

    @property
    def problems(self) -> tuple[str, ...]:
        """What was left out, with rows and names; grows as broken pictures are found."""
        broken = [sentence for _, sentence in sorted(self.broken.items())]
        found = (summary("Not used, a damaged picture", broken),) if broken else ()
        return self.notes + found

    def canvas(self, indices: Sequence[int] | NDArray[np.int64], size: int) -> Canvases:
        """Draw pictures.

        Parameters
        ----------
        indices
            int [n], each in 0..N-1.
        size
            Side in pixels.

        Returns
        -------
        numpy.ndarray
            uint8 [n, size, size, 3]; black where a picture is broken.
        """
        return self.pictures.draw(np.asarray(indices, np.int64).reshape(-1), size, self.fit)

    def picture(self, index: int) -> Image.Image:
        """One picture as it is in its file, RGB or RGBA.

        Raises
        ------
        InputError
            If it is damaged.
        """
        return self.pictures.picture(index)

    def fitted(self, fit: Fit) -> Self:
        """The same pictures, made square as a checkpoint's preprocessing asks."""
        if fit == self.fit:
            return self
        return replace(self, fit=fit, images_key=key_of(self.images_key, fit))


def hashed(pictures: Pictures, name: str) -> str:
    """The pictures' key.

    Raises
    ------
    InputError
        ``usage`` if a file vanished since it was listed.
    """
    try:
        return pictures.key()
    except OSError as error:
        raise InputError(
            f"A picture of {name} vanished or cannot be read; check the files and open it again.",
            "usage",
            details=str(error),
        ) from error


def shared(first: PictureSet, second: PictureSet) -> int:
    """How many pictures stand in both sets."""
    return len(first.pictures.members() & second.pictures.members())
