"""What a reader of image-caption pairs hands over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.pictures import Source, file_sizes, key_of
from ml_core.data.table_files import PackedPaths, PackedTexts
from ml_core.reading.errors import InputError
from ml_core.reading.images import picture_bytes, read_image

MAX_CAPTION = 1 << 16
"""Bytes of a caption; the longest that a CLIP reads has 77 tokens."""
_LOOKED_AT = 64


class CaptionedSource(Source, Protocol):
    """Pictures with captions by number; nothing of them is kept in memory but where they lie."""

    def __len__(self) -> int: ...

    @property
    def blocks(self) -> NDArray[np.int64] | None:
        """Sizes of consecutive runs that are stored together; None if each lies alone."""

    @property
    def whole_blocks(self) -> bool:
        """Whether reading one picture of a block costs as much as reading all of it."""

    @property
    def window(self) -> int:
        """Pictures that may be asked for in any order at no extra cost."""

    def captions(self, number: int) -> tuple[str, ...]:
        """All captions of a picture, at least one; InputError if they are damaged or empty."""

    def captions_key(self) -> str:
        """Hash of the captions where they do not stand in ``files``."""

    def chosen(self, numbers: NDArray[np.int64]) -> CaptionedSource | None:
        """A source of only these pictures; None where keeping the others costs nothing."""


@dataclass(frozen=True, eq=False)
class FoundPairs:
    """A set of pairs before exclusions and the subsample.

    Attributes
    ----------
    name
        For the screen.
    source
        Where pictures and captions come from.
    notes, left_out
        What was left out, and how many pictures or rows.
    """

    name: str
    source: CaptionedSource
    notes: tuple[str, ...] = ()
    left_out: int = 0


def check_captions(source: CaptionedSource, title: str, advice: str) -> None:
    """Refuse pairs of which no caption can be used, as far as some from all over them tell.

    Raises
    ------
    InputError
        With the code and sentence of the first; ``advice`` says what to do.
    """
    numbers = np.unique(np.linspace(0, len(source) - 1, _LOOKED_AT).astype(np.int64)).tolist()
    first: InputError | None = None
    for number in numbers:
        try:
            source.captions(number)
            return
        except InputError as error:
            first = first or error
    assert first is not None
    raise InputError(
        f"None of the captions of {title} that were read ({len(numbers)}) can be used: {advice}. "
        f"The first error: {first.sentence}",
        first.code,
    )


class FilePairs:
    """One file a picture; its captions are in memory, packed.

    Parameters
    ----------
    files
        N pictures.
    names
        What to call each in a sentence.
    texts
        Captions of all pictures, one picture after another.
    ends
        int64 [N], where each picture's captions end in ``texts``; None: one each.
    """

    a_file_each = False  # no file of a training set is hashed while it is read
    blocks: NDArray[np.int64] | None = None
    whole_blocks = False
    window = 1

    def __init__(
        self,
        files: PackedPaths,
        names: Sequence[str],
        texts: PackedTexts,
        ends: NDArray[np.int64] | None = None,
    ) -> None:
        self.files = files
        self._names, self._texts, self._ends = names, texts, ends

    def __len__(self) -> int:
        return len(self.files)

    def name(self, number: int) -> str:
        """Row, or path below the folder."""
        return self._names[number]

    def read(self, number: int, least: int | None = None) -> Image.Image:
        return read_image(self.files[number], least=least)

    def raw(self, number: int) -> bytes:
        return picture_bytes(self.files[number])

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return file_sizes(self.files.take(numbers))

    def captions(self, number: int) -> tuple[str, ...]:
        if self._ends is None:
            return (self._texts[number],)
        start = int(self._ends[number - 1]) if number else 0
        return tuple(self._texts[place] for place in range(start, int(self._ends[number])))

    def captions_key(self) -> str:
        return key_of(self._texts.digest(), *(() if self._ends is None else (self._ends,)))

    def chosen(self, numbers: NDArray[np.int64]) -> FilePairs | None:
        """Only these, so that only their files are looked at."""
        if len(numbers) == len(self):
            return None
        names = PackedTexts(self._names[number] for number in numbers.tolist())
        if self._ends is None:
            return FilePairs(self.files.take(numbers), names, self._texts.take(numbers))
        texts, ends = PackedTexts(), np.empty(len(numbers), np.int64)
        for place, number in enumerate(numbers.tolist()):
            for text in self.captions(number):
                texts.append(text)
            ends[place] = len(texts)
        return FilePairs(self.files.take(numbers), names, texts, ends)


def one_line(raw: bytes) -> str:
    """A caption from bytes, its white space made single blanks.

    Raises
    ------
    ValueError
        With half a sentence: it is empty, too long, not UTF-8, or holds control characters.
    """
    if len(raw) > MAX_CAPTION:
        raise ValueError(f"its caption has over {MAX_CAPTION >> 10} KB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("its caption is not UTF-8 text") from None
    return checked(text)


def checked(text: object) -> str:
    """As `one_line`, of a text from JSON or Parquet."""
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
