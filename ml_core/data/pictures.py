"""Where the pictures of image sets and pair sets come from: files, folders, the demo's composer."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.known_files import KnownFiles
from ml_core.data.watch import Watch, unwatched, watched
from ml_core.paths import resource
from ml_core.reading.clip_config import CLIP_FIT, Fit
from ml_core.reading.errors import InputError
from ml_core.reading.images import IMAGE_SUFFIXES, REMARK, picture_bytes, read_image
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


class Source(Protocol):
    """Pictures of a published set by number, see `ml_core.data.sets.found`."""

    @property
    def a_file_each(self) -> bool:
        """Whether picture n is alone in file n."""

    @property
    def files(self) -> Sequence[Path]:
        """All files that decide the pictures."""

    def name(self, number: int) -> str:
        """What to call a picture in a sentence."""

    def read(self, number: int, least: int | None = None) -> Image.Image:
        """Decode a picture; InputError if it is damaged. ``least`` as `Pictures.picture` says."""

    def raw(self, number: int) -> bytes:
        """The bytes that decide a picture; InputError if they cannot be read."""

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Bytes of some pictures (-1: unreadable); None if they are not known cheaply."""


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


class FilePictures:
    """Picture files; a file that cannot be decoded is drawn black and noted in `broken`."""

    def __init__(self, paths: Sequence[Path], names: Sequence[str]) -> None:
        self._paths = paths
        self._files = KnownFiles(self._paths)
        self._names = names  # as the user knows them: relative path, with the row if any
        self.broken: dict[int, str] = {}
        self.odd: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def paths(self) -> Sequence[Path]:
        """The files, in order."""
        return self._paths

    def draw(
        self, indices: NDArray[np.int64], size: int, fit: Fit, *, draft: bool = False
    ) -> Canvases:
        """Decode files, several at a time."""
        drawn = draw_each(self, indices, size, fit, draft)
        self._files.save()
        return drawn

    def picture(self, index: int, least: int | None = None) -> Image.Image:
        image = read_image(self._paths[index], least=least)
        self._files.seen(index)
        return image

    def name(self, index: int) -> str:
        """Path below the set's folder, or row of its table."""
        return self._names[index]

    def raw(self, index: int) -> bytes:
        return picture_bytes(self._paths[index])

    def sizes(self) -> NDArray[np.int64]:
        return file_sizes(self._paths)

    def key(self, watch: Watch = unwatched) -> str:
        """Hash of the files, see `KnownFiles`."""
        return self._files.key(watch)

    @property
    def lasting_key(self) -> str:
        """As of `KnownFiles`."""
        return self._files.lasting_key

    @property
    def known_by(self) -> str:
        """What the key was made of."""
        return self._files.known_by


class SourcePictures:
    """Pictures of a published set that were chosen by their numbers."""

    def __init__(self, source: Source, numbers: NDArray[np.int64]) -> None:
        self._source = source
        self._files = KnownFiles(source.files)
        self._numbers = numbers
        self.broken: dict[int, str] = {}
        self.odd: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def draw(
        self, indices: NDArray[np.int64], size: int, fit: Fit, *, draft: bool = False
    ) -> Canvases:
        """Decode pictures, several at a time."""
        drawn = draw_each(self, indices, size, fit, draft)
        self._files.save()
        return drawn

    def picture(self, index: int, least: int | None = None) -> Image.Image:
        number = int(self._numbers[index])
        image = self._source.read(number, least)
        if self._source.a_file_each:
            self._files.seen(number)
        return image

    def name(self, index: int) -> str:
        """What the set calls it."""
        return self._source.name(int(self._numbers[index]))

    def raw(self, index: int) -> bytes:
        """Its bytes in the set's files."""
        return self._source.raw(int(self._numbers[index]))

    def sizes(self) -> NDArray[np.int64] | None:
        """How many bytes each has there."""
        return self._source.sizes(self._numbers)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Where each stands in the set."""
        return self._numbers

    def key(self, watch: Watch = unwatched) -> str:
        """Hash of the set's files and the numbers."""
        return self._numbered(self._files.key(watch))

    @property
    def lasting_key(self) -> str:
        """As of `KnownFiles`, with the numbers."""
        return self._numbered(self._files.lasting_key)

    def _numbered(self, files_key: str) -> str:
        total = hashlib.sha256(files_key.encode())
        total.update(np.ascontiguousarray(self._numbers, "<i8").tobytes())
        return total.hexdigest()

    @property
    def files(self) -> Sequence[Path]:
        """All files that decide the pictures."""
        return self._source.files

    @property
    def known_by(self) -> str:
        """What the files' part of the key was made of."""
        return self._files.known_by


class DemoPictures:
    """Compositions of the built-in demo, drawn on demand in blocks at 64 px and resized."""

    broken: Mapping[int, str] = {}

    def __init__(self, split: str, numbers: NDArray[np.int64], seed: int) -> None:
        self._split = split
        self._numbers = numbers
        self._seed = seed

    def __len__(self) -> int:
        return len(self._numbers)

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

        return demo.describe(self._split, self._numbers.tolist(), seed=self._seed)[0]

    def texts(self, indices: NDArray[np.int64]) -> list[tuple[str, ...]]:
        """The caption of each picture."""
        from ml_core.data import demo

        numbers = self._numbers[indices].tolist()
        return [(text,) for text in demo.describe(self._split, numbers, seed=self._seed)[1]]

    def texts_key(self) -> str:
        """Nothing but what decides the pictures."""
        return "captions"

    def key(self, watch: Watch = unwatched) -> str:
        """Hash of the split, the numbers, the art and the first pictures."""
        total = hashlib.sha256(f"demo\0{self._split}\0{self._seed}\0{_art()}".encode())
        total.update(np.ascontiguousarray(self._numbers, "<i8").tobytes())
        total.update(self.draw(np.arange(min(32, len(self))), DEMO_SIDE, CLIP_FIT).tobytes())
        return total.hexdigest()

    def name(self, index: int) -> str:
        """Split and number of a composition."""
        return f"Demo, {self._split} split, {self._numbers[index]}"

    def raw(self, index: int) -> bytes:
        """Split, seed and number, which decide a composition."""
        return f"demo/{self._split}/{self._seed}/{self._numbers[index]:012d}".encode()

    def sizes(self) -> NDArray[np.int64]:
        """Bytes of `raw`: all the same."""
        return np.full(len(self), len(self.raw(0)) if len(self) else 0, np.int64)

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


_MAX_FILES = 5_000_000


@dataclass(frozen=True)
class FolderFiles:
    """Files, their paths below the folder, and the class folder of each (None: unlabelled)."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    texts: tuple[str, ...] | None
    problems: tuple[str, ...]
    left_out: int


@dataclass
class _Walked:
    """What a walk has come upon, by the reason to leave it out."""

    files: list[tuple[str, str, str]] = field(default_factory=list)  # path, name, class
    foreign: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def list_folder(folder: Path, watch: Watch = unwatched) -> FolderFiles:
    """List the pictures of a folder, by name, in a fixed order.

    Hidden files are passed over. Files of other kinds, links that lead out of the folder, linked
    and unreadable folders, and pictures that lie beside class folders are left out and named in
    ``problems``.

    Raises
    ------
    InputError
        ``usage`` if the folder is missing or holds no picture.
    """
    if not folder.is_dir():
        raise InputError(f"The folder {folder.name} does not exist or is not a folder.", "usage")
    listing = _walk(os.path.realpath(folder), folder.name, watch)
    if not listing.files:
        raise InputError(
            f"{folder.name} holds no PNG, JPEG, WebP, GIF or BMP picture; choose another folder.",
            "usage",
        )
    labelled = any(label for _, _, label in listing.files)
    loose = [name for _, name, label in listing.files if labelled and not label]
    pictures = [file for file in listing.files if file[2] or not labelled]
    notes = (
        ("Left out, no picture by its name", listing.foreign),
        ("Left out, a link out of the folder or to a folder", listing.links),
        ("Left out, a folder that cannot be read", listing.unreadable),
        ("Left out, a picture beside the class folders", loose),
    )
    return FolderFiles(
        paths=tuple(Path(path) for path, _, _ in pictures),
        names=tuple(name for _, name, _ in pictures),
        texts=tuple(label for _, _, label in pictures) if labelled else None,
        problems=tuple(summary(what, items) for what, items in notes if items),
        left_out=len(listing.links) + len(listing.unreadable) + len(loose),
    )


def _walk(root: str, title: str, watch: Watch) -> _Walked:
    """Sort everything below the root."""
    listing = _Walked()

    def note(error: OSError) -> None:
        listing.unreadable.append(printable(os.path.relpath(error.filename or root, root)))

    for where, folders, files in os.walk(root, onerror=note):
        inside = os.path.relpath(where, root)
        shown = [name for name in folders if not name.startswith(".")]
        linked = {name for name in shown if os.path.islink(os.path.join(where, name))}
        listing.links += [_below(inside, name) for name in sorted(linked)]
        folders[:] = sorted(name for name in shown if name not in linked)
        label = "" if inside == "." else printable(inside.split(os.sep)[0])
        names = sorted(name for name in files if not name.startswith("."))
        for name in watched(names, watch, "Listing files"):
            path = os.path.join(where, name)
            if os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES:
                listing.foreign.append(_below(inside, name))
            elif os.path.islink(path) and not os.path.realpath(path).startswith(root + os.sep):
                listing.links.append(_below(inside, name))
            elif not os.path.isfile(path):
                listing.foreign.append(_below(inside, name))
            else:
                listing.files.append((path, _below(inside, name), label))
        if len(listing.files) > _MAX_FILES:
            raise InputError(f"{title} holds over {_MAX_FILES:,} pictures.", "unsupported")
    return listing


def _below(inside: str, name: str) -> str:
    """Path below the root, for messages."""
    return printable(os.path.normpath(os.path.join(inside, name)))
