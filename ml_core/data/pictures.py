"""Where pictures come from: files, or the demo's composer. Shared by image sets and pair sets."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.known_files import KnownFiles
from ml_core.paths import resource
from ml_core.reading.clip_config import CLIP_FIT, Fit
from ml_core.reading.errors import InputError
from ml_core.reading.images import read_image
from ml_core.reading.square import Canvases, fit_to_canvas

DEMO_SIZES: Mapping[str, int] = {
    "train": 20_000,
    "clean": 100_000,
    "val": 1000,
    "test": 4000,
    "heldout": 1000,
}
DEMO_SIDE = 64
_BLOCK = 256
_THREADS = min(4, os.cpu_count() or 1)


class Pictures(Protocol):
    """Pictures by number, drawn on a canvas."""

    @property
    def broken(self) -> Mapping[int, str]:
        """Pictures found undecodable so far, each with a sentence."""

    def __len__(self) -> int: ...

    def draw(self, indices: NDArray[np.int64], size: int, fit: Fit) -> Canvases:
        """Draw pictures, uint8 [n, size, size, 3]."""

    def picture(self, index: int) -> Image.Image:
        """One picture as it is, RGB or RGBA; InputError if it is damaged."""

    def key(self) -> str:
        """Hash of the pictures and their order."""

    def members(self) -> AbstractSet[object]:
        """What each picture is, whatever set it stands in."""


class Source(Protocol):
    """Pictures of a published set by number, see `ml_core.data.sets.found`.

    One with a true ``a_file_each`` has picture n alone in file n.
    """

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that decide the pictures."""

    def name(self, number: int) -> str:
        """What to call a picture in a sentence."""

    def read(self, number: int) -> Image.Image:
        """Decode a picture; InputError if it is damaged."""


class _Noting(Protocol):
    """Pictures that note the broken ones."""

    broken: dict[int, str]

    def picture(self, index: int) -> Image.Image:
        """Decode one."""


def draw_each(
    pictures: _Noting,
    name: Callable[[int], str],
    indices: NDArray[np.int64],
    size: int,
    fit: Fit,
) -> Canvases:
    """Decode pictures, several at a time (Pillow frees the interpreter lock).

    One that cannot be decoded is drawn black and noted in ``broken``.
    """
    out: Canvases = np.zeros((len(indices), size, size, 3), np.uint8)

    def one(row: int) -> None:
        index = int(indices[row])
        try:
            out[row] = fit_to_canvas(pictures.picture(index), size, fit)
        except InputError as error:
            pictures.broken[index] = f"{name(index)}: {error.sentence.rstrip('.')}"

    if len(indices) < 8 or _THREADS == 1:
        for row in range(len(indices)):
            one(row)
    else:
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(one, range(len(indices))):
                pass
    return out


class FilePictures:
    """Picture files; a file that cannot be decoded is drawn black and noted in `broken`."""

    def __init__(self, paths: Sequence[Path], names: Sequence[str]) -> None:
        self._paths = tuple(paths)
        self._files = KnownFiles(self._paths)
        self._names = tuple(names)  # as the user knows them: relative path, with the row if any
        self.broken: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def draw(self, indices: NDArray[np.int64], size: int, fit: Fit) -> Canvases:
        """Decode files, several at a time."""
        drawn = draw_each(self, self._names.__getitem__, indices, size, fit)
        self._files.save()
        return drawn

    def picture(self, index: int) -> Image.Image:
        """Decode a file."""
        image = read_image(self._paths[index])
        self._files.seen(index)
        return image

    def key(self) -> str:
        """Hash of the files, see `KnownFiles`."""
        return self._files.key()

    @property
    def known_by(self) -> str:
        """What the key was made of."""
        return self._files.known_by

    def members(self) -> AbstractSet[object]:
        """The files."""
        return frozenset(self._paths)


class SourcePictures:
    """Pictures of a published set that were chosen by their numbers."""

    def __init__(self, source: Source, numbers: NDArray[np.int64]) -> None:
        self._source = source
        self._files = KnownFiles(source.files)
        self._numbers = numbers
        self.broken: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def draw(self, indices: NDArray[np.int64], size: int, fit: Fit) -> Canvases:
        """Decode pictures, several at a time."""

        def name(index: int) -> str:
            return self._source.name(int(self._numbers[index]))

        drawn = draw_each(self, name, indices, size, fit)
        self._files.save()
        return drawn

    def picture(self, index: int) -> Image.Image:
        """Decode one."""
        number = int(self._numbers[index])
        image = self._source.read(number)
        if getattr(self._source, "a_file_each", False):
            self._files.seen(number)
        return image

    def key(self) -> str:
        """Hash of the set's files and the numbers."""
        total = hashlib.sha256(self._files.key().encode())
        total.update(np.ascontiguousarray(self._numbers, "<i8").tobytes())
        return total.hexdigest()

    @property
    def known_by(self) -> str:
        """What the files' part of the key was made of."""
        return self._files.known_by

    def members(self) -> AbstractSet[object]:
        """The numbers in the set, which its first file stands for."""
        files = self._source.files
        return {(files[:1], number) for number in self._numbers.tolist()}


class DemoPictures:
    """Compositions of the built-in demo, drawn on demand in blocks at 64 px and resized."""

    broken: Mapping[int, str] = {}

    def __init__(self, split: str, numbers: NDArray[np.int64], seed: int) -> None:
        self._split = split
        self._numbers = numbers
        self._seed = seed

    def __len__(self) -> int:
        return len(self._numbers)

    def draw(self, indices: NDArray[np.int64], size: int, fit: Fit) -> Canvases:
        """Compose pictures."""
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

    def picture(self, index: int) -> Image.Image:
        """Compose one picture."""
        return Image.fromarray(self._compose(np.array([index]))[0])

    def labels(self) -> NDArray[np.int64]:
        """Class numbers of all pictures, int64 [N], -1 for none."""
        from ml_core.data import demo

        return demo.describe(self._split, self._numbers.tolist(), seed=self._seed)[0]

    def captions(self, indices: NDArray[np.int64]) -> list[str]:
        """Captions of the pictures."""
        from ml_core.data import demo

        return list(demo.describe(self._split, self._numbers[indices].tolist(), seed=self._seed)[1])

    def key(self) -> str:
        """Hash of the split, the numbers, the art and the first pictures."""
        total = hashlib.sha256(f"demo\0{self._split}\0{self._seed}\0{_art()}".encode())
        total.update(np.ascontiguousarray(self._numbers, "<i8").tobytes())
        total.update(self.draw(np.arange(min(32, len(self))), DEMO_SIDE, CLIP_FIT).tobytes())
        return total.hexdigest()

    def members(self) -> AbstractSet[object]:
        """The compositions, by split, seed and number."""
        return {(self._split, self._seed, number) for number in self._numbers.tolist()}

    def _compose(self, indices: NDArray[np.int64]) -> Canvases:
        """Call the composer; its art is read only when asked for."""
        from ml_core.data import demo

        numbers = self._numbers[indices].tolist()
        return demo.compose(self._split, numbers, seed=self._seed, size=DEMO_SIDE).images


@lru_cache(maxsize=1)
def _art() -> str:
    """Hash of the demo's sprites."""
    files = (resource("demo", name).read_bytes() for name in ("sprites.json", "sprites.pack"))
    return hashlib.sha256(b"".join(files)).hexdigest()


def printable(text: str) -> str:
    """Text with the undecodable bytes of a file's name written out as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def key_of(pictures_key: str, *facts: object) -> str:
    """Hash of pictures together with what is known about them."""
    total = hashlib.sha256(pictures_key.encode())
    for fact in facts:
        data = fact.tobytes() if isinstance(fact, np.ndarray) else repr(fact).encode()
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()


def summary(what: str, items: Sequence[str], *, shown: int = 20) -> str:
    """Say what the items are, how many, and the first of them."""
    more = f"; and {len(items) - shown} more" if len(items) > shown else ""
    return f"{what} ({len(items)}): {'; '.join(items[:shown])}{more}"
