"""Pictures by number, drawn on a canvas: those of a reader, and those of the demo's composer."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.known_files import KnownFiles
from ml_core.data.order import WINDOW
from ml_core.data.watch import Watch, unwatched
from ml_core.paths import resource
from ml_core.reading.clip_config import CLIP_FIT, Fit
from ml_core.reading.errors import InputError
from ml_core.reading.images import REMARK, read_image
from ml_core.reading.resize import Canvases, fit_to_canvas

DEMO_SIZES: Mapping[str, int] = {
    "train": 20_000,
    "clean": 100_000,
    "val": 1000,
    "test": 4000,
    "heldout": 1000,
}
DEMO_SIDE = 64
DRAFT = 1.5
"""A draft is decoded at no less than so many times the canvas: a JPEG to 1/2, 1/4 or 1/8."""
_BLOCK = 256
_THREADS = min(4, os.cpu_count() or 1)


class Pictures(Protocol):
    """Pictures by number, drawn on a canvas."""

    @property
    def broken(self) -> Mapping[int, str]:
        """Pictures found undecodable so far, each with a sentence."""

    def __len__(self) -> int: ...

    def draw(
        self, indices: NDArray[np.int64], size: int, fit: Fit, *, draft: bool = False
    ) -> Canvases:
        """Draw pictures, uint8 [n, size, size, 3]; ``draft`` as `DRAFT` says."""

    def picture(self, index: int, least: int | None = None) -> Image.Image:
        """One picture in its own size, RGB or RGBA; InputError if it is damaged.

        With ``least`` a JPEG may come smaller, with sides of no less than that.
        """

    def name(self, index: int) -> str:
        """What to call a picture in a sentence."""

    def key(self, watch: Watch = unwatched) -> str:
        """Hash of the pictures and their order."""

    def raw(self, index: int) -> bytes:
        """The bytes that decide a picture, as stored; InputError if they cannot be read."""

    def sizes(self) -> NDArray[np.int64] | None:
        """Bytes of each picture as `raw` gives them (-1: unreadable); None if not known cheaply."""


class Reader:
    """Pictures of a set by number, with captions where it has some.

    Memory holds where they lie, not what they are. A reader gives `__len__`, `name`, and `raw` or
    `read`.
    """

    files: Sequence[Path]
    """All files that decide pictures and captions."""
    a_file_each: bool = False
    """Whether picture n is alone in file n."""
    blocks: NDArray[np.int64] | None = None
    """Sizes of consecutive runs that are stored together; None if each lies alone."""
    whole_blocks: bool = False
    """Whether reading one picture of a block costs as much as reading all of it."""
    window: int = WINDOW
    """Pictures that may be asked for in any order at no extra cost, given ``blocks``."""

    def __len__(self) -> int:
        raise NotImplementedError

    def name(self, number: int) -> str:
        """What to call a picture in a sentence."""
        raise NotImplementedError

    def raw(self, number: int) -> bytes:
        """The bytes that decide a picture; InputError if they cannot be read."""
        raise NotImplementedError

    def read(self, number: int, least: int | None = None) -> Image.Image:
        """Decode a picture, or raise InputError; ``least`` as `Pictures.picture` says."""
        return read_image(self.raw(number), name=self.name(number), least=least)

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Bytes of some pictures (-1: unreadable); None if they are not known cheaply."""
        return None

    def captions(self, number: int) -> tuple[str, ...]:
        """All captions of a picture; InputError if they are damaged or empty."""
        return ()

    def captions_key(self) -> str:
        """Hash of the captions where they do not stand in ``files``."""
        return ""

    def chosen(self, numbers: NDArray[np.int64]) -> Reader | None:
        """A reader of only these pictures; None where keeping the others costs nothing."""
        return None


class _Noting(Protocol):
    """Pictures that note the broken ones, and what else there is to say."""

    broken: dict[int, str]
    odd: dict[int, str]

    def name(self, index: int) -> str:
        """What to call one in a sentence."""

    def picture(self, index: int, least: int | None = None) -> Image.Image:
        """Decode one."""


def draw_each(
    pictures: _Noting, indices: NDArray[np.int64], size: int, fit: Fit, draft: bool = False
) -> Canvases:
    """Decode pictures, several at a time (Pillow frees the interpreter lock).

    One that cannot be decoded is drawn black and noted in ``broken``.
    """
    least = math.ceil(DRAFT * size) if draft else None
    out: Canvases = np.zeros((len(indices), size, size, 3), np.uint8)

    def one(row: int) -> None:
        index = int(indices[row])
        try:
            image = pictures.picture(index, least)
            if REMARK in image.info:
                pictures.odd[index] = f"{pictures.name(index)}: {image.info[REMARK]}"
            out[row] = fit_to_canvas(image, size, fit)
        except InputError as error:
            pictures.broken[index] = f"{pictures.name(index)}: {error.sentence.rstrip('.')}"

    if len(indices) < 8 or _THREADS == 1:
        for row in range(len(indices)):
            one(row)
    else:
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(one, range(len(indices))):
                pass
    return out


def file_sizes(paths: Sequence[Path]) -> NDArray[np.int64]:
    """Bytes of files, int64 [n]; -1 where one cannot be looked at."""
    out = np.full(len(paths), -1, np.int64)
    for place, path in enumerate(paths):
        with suppress(OSError):
            out[place] = os.stat(path).st_size
    return out


class ReaderPictures:
    """Pictures of a reader: all, or those of some numbers.

    A picture that cannot be decoded is drawn black and noted in `broken`.
    """

    def __init__(self, reader: Reader, numbers: NDArray[np.int64] | None = None) -> None:
        self.reader = reader
        self._files = KnownFiles(reader.files)
        self.whole = numbers is None
        self.numbers = np.arange(len(reader)) if numbers is None else numbers
        self.broken: dict[int, str] = {}
        self.odd: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def draw(
        self, indices: NDArray[np.int64], size: int, fit: Fit, *, draft: bool = False
    ) -> Canvases:
        """Decode pictures, several at a time."""
        drawn = draw_each(self, indices, size, fit, draft)
        self._files.save()
        return drawn

    def picture(self, index: int, least: int | None = None) -> Image.Image:
        number = int(self.numbers[index])
        image = self.reader.read(number, least)
        if self.reader.a_file_each:
            self._files.seen(number)
        return image

    def name(self, index: int) -> str:
        return self.reader.name(int(self.numbers[index]))

    def raw(self, index: int) -> bytes:
        return self.reader.raw(int(self.numbers[index]))

    def sizes(self) -> NDArray[np.int64] | None:
        return self.reader.sizes(self.numbers)

    def texts(self, indices: NDArray[np.int64]) -> list[tuple[str, ...]]:
        """All captions of each picture; none, and a note in `broken`, where they are damaged."""
        texts: list[tuple[str, ...]] = []
        for index in indices.tolist():
            try:
                texts.append(self.reader.captions(int(self.numbers[index])))
            except InputError as error:
                self.broken[index] = error.sentence.rstrip(".")
                texts.append(())
        return texts

    def texts_key(self) -> str:
        """Hash of the captions that do not stand in the pictures' files."""
        return self.reader.captions_key()

    def key(self, watch: Watch = unwatched) -> str:
        """Hash of the set's files, see `KnownFiles`, and of the numbers if some were chosen."""
        return self._numbered(self._files.key(watch))

    @property
    def lasting_key(self) -> str:
        """`KnownFiles.lasting_key`, with the numbers of the pictures if some were chosen."""
        return self._numbered(self._files.lasting_key)

    def _numbered(self, files_key: str) -> str:
        if self.whole:
            return files_key
        total = hashlib.sha256(files_key.encode())
        total.update(np.ascontiguousarray(self.numbers, "<i8").tobytes())
        return total.hexdigest()

    @property
    def known_by(self) -> str:
        """What the files' part of the key was made of."""
        return self._files.known_by


class DemoPictures:
    """Compositions of the built-in demo, drawn on demand in blocks at 64 px and resized."""

    broken: Mapping[int, str] = {}

    def __init__(self, split: str, numbers: NDArray[np.int64], seed: int) -> None:
        self._split = split
        self.numbers = numbers
        self._seed = seed

    def __len__(self) -> int:
        return len(self.numbers)

    def draw(
        self, indices: NDArray[np.int64], size: int, fit: Fit, *, draft: bool = False
    ) -> Canvases:
        out: Canvases = np.empty((len(indices), size, size, 3), np.uint8)
        for start in range(0, len(indices), _BLOCK):
            part = slice(start, start + _BLOCK)
            images = self._compose(indices[part])
            if size == DEMO_SIDE:
                out[part] = images
            else:
                for row, image in enumerate(images, start=start):
                    out[row] = fit_to_canvas(Image.fromarray(image), size, fit)
        return out

    def picture(self, index: int, least: int | None = None) -> Image.Image:
        return Image.fromarray(self._compose(np.array([index]))[0])

    def labels(self) -> NDArray[np.int64]:
        """Class numbers of all pictures, int64 [N], -1 for none."""
        from ml_core.data import demo

        return demo.describe(self._split, self.numbers.tolist(), seed=self._seed)[0]

    def texts(self, indices: NDArray[np.int64]) -> list[tuple[str, ...]]:
        """The caption of each picture."""
        from ml_core.data import demo

        numbers = self.numbers[indices].tolist()
        return [(text,) for text in demo.describe(self._split, numbers, seed=self._seed)[1]]

    def texts_key(self) -> str:
        """Nothing but what decides the pictures."""
        return "captions"

    def key(self, watch: Watch = unwatched) -> str:
        """Hash of the split, the numbers, the art and the first pictures."""
        total = hashlib.sha256(f"demo\0{self._split}\0{self._seed}\0{_art()}".encode())
        total.update(np.ascontiguousarray(self.numbers, "<i8").tobytes())
        total.update(self.draw(np.arange(min(32, len(self))), DEMO_SIDE, CLIP_FIT).tobytes())
        return total.hexdigest()

    def name(self, index: int) -> str:
        """Split and number of a composition."""
        return f"Demo, {self._split} split, {self.numbers[index]}"

    def raw(self, index: int) -> bytes:
        """Split, seed and number, which decide a composition."""
        return f"demo/{self._split}/{self._seed}/{self.numbers[index]:012d}".encode()

    def sizes(self) -> NDArray[np.int64]:
        """Bytes of `raw`: all the same."""
        return np.full(len(self), len(self.raw(0)) if len(self) else 0, np.int64)

    def _compose(self, indices: NDArray[np.int64]) -> Canvases:
        """Call the composer; its art is read only when asked for."""
        from ml_core.data import demo

        numbers = self.numbers[indices].tolist()
        return demo.compose(self._split, numbers, seed=self._seed, size=DEMO_SIDE).images


@lru_cache(maxsize=1)
def _art() -> str:
    """Hash of the demo's sprites."""
    files = (resource("demo", name).read_bytes() for name in ("sprites.json", "sprites.pack"))
    return hashlib.sha256(b"".join(files)).hexdigest()


def key_of(pictures_key: str, *facts: object) -> str:
    """Hash of pictures together with what is known about them."""
    total = hashlib.sha256(pictures_key.encode())
    for fact in facts:
        data = fact.tobytes() if isinstance(fact, np.ndarray) else repr(fact).encode()
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()


def summary(what: str, items: Sequence[str], *, shown: int = 20, total: int | None = None) -> str:
    """Say what the items are, how many (``total`` where not all are here), and the first."""
    count = len(items) if total is None else total
    more = f"; and {count - shown} more" if count > shown else ""
    return f"{what} ({count}): {'; '.join(items[:shown])}{more}"


_SHOWN = 20


class SkipCount:
    """Items of one kind; a million of them cost as much as twenty."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.count = 0
        self.first: list[str] = []

    def add(self, item: str) -> None:
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(item)

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence, or none."""
        return (summary(self._what, self.first, total=self.count),) if self.count else ()
