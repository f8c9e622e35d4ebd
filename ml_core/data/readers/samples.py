"""What a reader hands over: pictures by number, with labels or captions or neither."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.pictures import Reader, file_sizes, key_of
from ml_core.data.table_files import PackedPaths, PackedTexts
from ml_core.reading.errors import InputError
from ml_core.reading.images import picture_bytes, read_image
from ml_core.reading.regular_file import open_regular

MAX_CAPTION = 1 << 16
"""Bytes of a caption; the longest that a CLIP reads has 77 tokens."""
_LOOKED_AT = 64


@dataclass(frozen=True, eq=False)
class Samples:
    """A set before the user's classes, exclusions and sample are looked at.

    ``notes`` say what was left out, and ``left_out`` how many pictures or rows. A published set has
    ``labels``, int64 [N], positions in its own ``class_names``; a folder or a table has the text of
    each label, ``texts``. Unlabelled pictures and pairs have neither.
    """

    name: str
    reader: Reader
    notes: tuple[str, ...] = ()
    left_out: int = 0
    labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()
    texts: tuple[str, ...] | None = None

    @property
    def n(self) -> int:
        return len(self.reader)

    def label_texts(self) -> tuple[str, ...] | None:
        """The text of each picture's label; None for unlabelled pictures."""
        if self.labels is None:
            return self.texts
        return tuple(self.class_names[label] for label in self.labels.tolist())


class FileReader(Reader):
    """One file a picture; captions are in memory, packed.

    Parameters
    ----------
    files
        N pictures.
    names
        What to call each in a sentence: its row, or its path below the folder.
    texts
        Captions of all pictures, one picture after another.
    ends
        int64 [N], where each picture's captions end in ``texts``; None: one each.
    decode
        Reads a file of another format than `read_image` takes.
    """

    def __init__(
        self,
        files: Sequence[Path],
        names: Sequence[str],
        texts: PackedTexts | None = None,
        ends: NDArray[np.int64] | None = None,
        decode: Callable[[Path], Image.Image] | None = None,
    ) -> None:
        self.files = files
        self.a_file_each = texts is None  # no file of a training set is hashed while it is read
        self._names, self._texts, self._ends, self._decode = names, texts, ends, decode

    def __len__(self) -> int:
        return len(self.files)

    def name(self, number: int) -> str:
        return self._names[number]

    def read(self, number: int, least: int | None = None) -> Image.Image:
        if self._decode is not None:
            return self._decode(self.files[number])
        return read_image(self.files[number], least=least)

    def raw(self, number: int) -> bytes:
        return picture_bytes(self.files[number])

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return file_sizes(self._files_of(numbers))

    def captions(self, number: int) -> tuple[str, ...]:
        if self._texts is None:
            return ()
        if self._ends is None:
            return (self._texts[number],)
        start = int(self._ends[number - 1]) if number else 0
        return tuple(self._texts[place] for place in range(start, int(self._ends[number])))

    def captions_key(self) -> str:
        if self._texts is None:
            return ""
        return key_of(self._texts.digest(), *(() if self._ends is None else (self._ends,)))

    def chosen(self, numbers: NDArray[np.int64]) -> FileReader | None:
        """A reader of only these pictures, to read only their files; None if these are all."""
        if len(numbers) == len(self):
            return None
        names = PackedTexts(self._names[number] for number in numbers.tolist())
        files = self._files_of(numbers)
        if self._texts is None or self._ends is None:
            texts = None if self._texts is None else self._texts.take(numbers)
            return FileReader(files, names, texts, decode=self._decode)
        texts, ends = PackedTexts(), np.empty(len(numbers), np.int64)
        for place, number in enumerate(numbers.tolist()):
            for text in self.captions(number):
                texts.append(text)
            ends[place] = len(texts)
        return FileReader(files, names, texts, ends)

    def _files_of(self, numbers: NDArray[np.int64]) -> Sequence[Path]:
        if isinstance(self.files, PackedPaths):  # a million paths cost less packed
            return self.files.take(numbers)
        return [self.files[number] for number in numbers.tolist()]


class Slices:
    """A file that any thread or process may read in parts. It is opened for each read.

    So no file stays open, however many a set has, and no two readers share a position.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        file, self.size = open_regular(path)
        with file:
            self.stamp = _stamp(file)

    def read(self, offset: int, length: int) -> bytes:
        """Read exactly so many bytes.

        Raises
        ------
        InputError
            ``damaged`` if the file is shorter or is not the one that was opened first.
        """
        file, _ = open_regular(self.path)
        with file:
            if _stamp(file) != self.stamp:
                raise InputError(
                    f"{self.path.name} has changed since it was opened; open the set again.",
                    "damaged",
                )
            file.seek(offset)
            data = file.read(length)
        if len(data) != length:
            raise InputError(f"{self.path.name} is cut short; get it again.", "damaged")
        return data


def _stamp(file: BinaryIO) -> tuple[int, ...]:
    """Identity of a file's content: differs for another file, and after a change."""
    facts = os.fstat(file.fileno())
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def check_captions(reader: Reader, title: str, advice: str) -> None:
    """Refuse pairs if not one of a sample from the whole set has a usable caption.

    Raises
    ------
    InputError
        With the code and sentence of the first; ``advice`` says what to do.
    """
    numbers = np.unique(np.linspace(0, len(reader) - 1, _LOOKED_AT).astype(np.int64)).tolist()
    first: InputError | None = None
    for number in numbers:
        try:
            reader.captions(number)
            return
        except InputError as error:
            first = first or error
    assert first is not None
    raise InputError(
        f"None of the captions of {title} that were read ({len(numbers)}) can be used: {advice}. "
        f"The first error: {first.sentence}",
        first.code,
    )


def one_line(raw: bytes) -> str:
    """A caption from bytes, its white space made single blanks.

    Raises
    ------
    ValueError
        If it is empty, too long, not UTF-8, or holds control characters; the message is half a
        sentence.
    """
    if len(raw) > MAX_CAPTION:
        raise ValueError(f"its caption has over {MAX_CAPTION >> 10} KB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("its caption is not UTF-8 text") from None
    return checked(text)


def checked(text: object) -> str:
    """As `one_line`, for a text from JSON or Parquet."""
    if not isinstance(text, str):
        raise ValueError("it has no caption")
    if len(text) > MAX_CAPTION:
        raise ValueError(f"its caption has over {MAX_CAPTION >> 10} KB")
    line = " ".join(text.split())
    if not line:
        raise ValueError("its caption is empty")
    if not line.isprintable() and any(
        ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in line
    ):
        raise ValueError("its caption holds control characters")
    return line


def named_folder(path: Path) -> str:
    """Name of a folder or file for the screen, also of ``.``."""
    return path.name or path.resolve().name
