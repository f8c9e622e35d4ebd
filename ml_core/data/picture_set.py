"""What image sets and pair sets have in common: pictures by number, and what is wrong with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.known_files import CONTENT
from ml_core.data.order import WINDOW
from ml_core.data.pictures import DRAFT, Pictures, key_of, summary
from ml_core.data.watch import Watch, unwatched, watched
from ml_core.reading.clip_config import CLIP_FIT, Fit
from ml_core.reading.errors import InputError
from ml_core.reading.resize import Canvases


@dataclass(frozen=True, eq=False, kw_only=True)
class PictureSet:
    """Pictures, drawn on demand.

    A picture whose data is damaged can only be found when it is decoded: `canvas` draws it black
    and notes it in `broken` (index -> sentence). Whoever counts or trains must drop the indices in
    `broken` after each call of `canvas` (or `CanvasCache.get`); they are never used.

    Attributes
    ----------
    name
        Its name for the screen.
    key
        SHA-256 over pictures, order, and the labels or captions.
    lasting_key
        Like ``key``, but the same at every opening of unchanged files. For a very large set it is
        made of names, sizes and times, even if `key` knows the content meanwhile.
    images_key
        SHA-256 over pictures, order and fit alone: names the cached canvases.
    notes
        What was left out when the set was opened.
    left_out
        How many pictures or rows were left out then.
    fit
        How `canvas` makes a picture square.
    draft
        Whether `canvas` decodes large JPEGs at a reduced size: faster and a little different, for
        training alone; whatever is measured is decoded exactly.
    blocks
        int64, sizes of consecutive runs of pictures that are stored together, see
        :func:`ml_core.data.order.epoch_order`; None where random access is cheap.
    window
        Pictures that an epoch's order may mix at a time, given ``blocks``.
    """

    name: str
    key: str
    lasting_key: str
    images_key: str
    notes: tuple[str, ...]
    left_out: int
    pictures: Pictures
    fit: Fit = CLIP_FIT
    draft: bool = False
    blocks: NDArray[np.int64] | None = None
    window: int = WINDOW

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
        """What was left out, with rows and names; grows as pictures are decoded."""
        broken = [sentence for _, sentence in sorted(self.broken.items())]
        notes = self.notes
        if broken:
            notes += (summary("Not used, a damaged picture", broken),)
        odd = [sentence for _, sentence in sorted(getattr(self.pictures, "odd", {}).items())]
        if odd:
            notes += (summary("Used, an odd picture", odd),)
        return notes

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
        numbers = np.asarray(indices, np.int64).reshape(-1)
        return self.pictures.draw(numbers, size, self.fit, draft=self.draft)

    def picture(self, index: int) -> Image.Image:
        """One picture as its file has it, RGB or RGBA.

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

    def drafted(self) -> Self:
        """The same pictures to train on, with canvases of their own, see ``draft``."""
        if self.draft:
            return self
        return replace(self, draft=True, images_key=key_of(self.images_key, "draft", DRAFT))


def hashed(pictures: Pictures, name: str, watch: Watch = unwatched) -> tuple[str, str]:
    """The pictures' key, and what is the same at every opening, see `PictureSet`.

    Raises
    ------
    InputError
        ``usage`` if a file vanished since it was listed.
    """
    try:
        key = pictures.key(watch)
        return key, str(getattr(pictures, "lasting_key", key))
    except OSError as error:
        raise InputError(
            f"A picture of {name} vanished or cannot be read; check the files and open it again.",
            "usage",
            details=str(error),
        ) from error


def shared(first: PictureSet, second: PictureSet, watch: Watch = unwatched) -> int:
    """How many pictures of ``first`` stand in ``second`` too, see `shared_numbers`."""
    return len(shared_numbers(first, second, watch))


def shared_numbers(
    first: PictureSet, second: PictureSet, watch: Watch = unwatched
) -> NDArray[np.int64]:
    """Which pictures of ``first`` stand in ``second`` too, whatever they are called there.

    Two pictures are the same if their bytes are; a picture that was saved anew is another one. If
    sizes are known without reading, only pictures of a size that both sets have are read. ``watch``
    is called with how far it is, and may end it.

    Returns
    -------
    numpy.ndarray
        int64 [m], ascending.
    """
    return shared_by_each([first], second, watch)[0]


def shared_by_each(
    parts: Sequence[PictureSet], second: PictureSet, watch: Watch = unwatched
) -> list[NDArray[np.int64]]:
    """`shared_numbers` of several sets with one that is large, which is read once."""
    known = [part.pictures.sizes() for part in parts]
    sizes = [own for own in known if own is not None]
    sizes_seen = np.concatenate(sizes) if len(sizes) == len(known) else None
    seen = {digest for _, digest in _digests(second.pictures, sizes_seen, watch)}
    others = second.pictures.sizes()
    return [
        np.array(
            [n for n, digest in _digests(part.pictures, others, watch) if digest in seen], np.int64
        )
        for part in parts
    ]


def _digests(
    pictures: Pictures, sizes: NDArray[np.int64] | None, watch: Watch
) -> Iterator[tuple[int, bytes]]:
    """Number and SHA-256 of the pictures of one of the sizes (None: any); unreadable have none."""
    numbers = of_sizes(pictures, sizes).tolist()
    for index in watched(numbers, watch, "Comparing pictures", len(numbers)):
        with suppress(InputError):
            yield index, hashlib.sha256(pictures.raw(index)).digest()


def of_sizes(pictures: Pictures, sizes: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Ascending numbers of the pictures that may have one of the sizes in bytes (None: any)."""
    own = pictures.sizes()
    if own is None or sizes is None:
        return np.arange(len(pictures))
    return np.flatnonzero((own >= 0) & np.isin(own, sizes))
