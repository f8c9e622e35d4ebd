"""What a reader of an image set hands over: pictures by number, and their labels."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.pictures import Source, file_sizes
from ml_core.reading.errors import InputError
from ml_core.reading.images import picture_bytes, read_image
from ml_core.reading.regular_file import open_regular


@dataclass(frozen=True, eq=False)
class FoundSet:
    """A set before the user's classes are looked at.

    Attributes
    ----------
    name
        For the screen.
    source
        N pictures.
    labels
        int64 [N], positions in ``class_names``; None of an unlabelled set.
    class_names
        The set's own.
    notes, left_out
        What was left out, and how many.
    unlabelled
        N of a set without labels.
    """

    name: str
    source: Source
    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    left_out: int = 0
    unlabelled: int = 0

    @property
    def n(self) -> int:
        return self.unlabelled if self.labels is None else len(self.labels)


@dataclass(frozen=True, eq=False)
class FileSource:
    """One file a picture."""

    a_file_each: ClassVar[bool] = True

    files: tuple[Path, ...]
    names: tuple[str, ...]
    decode: Callable[[Path], Image.Image] = read_image

    def name(self, number: int) -> str:
        """Path below the set's folder."""
        return self.names[number]

    def read(self, number: int, least: int | None = None) -> Image.Image:
        if self.decode is read_image:
            return read_image(self.files[number], least=least)
        return self.decode(self.files[number])

    def raw(self, number: int) -> bytes:
        return picture_bytes(self.files[number])

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return file_sizes([self.files[number] for number in numbers.tolist()])


class Slices:
    """A file that is read in places, by any thread or process: it is opened for each read.

    So no file stays open, however many a set has, and none shares its position.
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


class RawSource:
    """Pictures as plain bytes in records of one length, one file after another.

    Parameters
    ----------
    parts
        Files of whole records.
    record
        Bytes of a record.
    decode
        Turns the bytes of a record into uint8 [h, w, 3].
    """

    a_file_each = False

    def __init__(
        self,
        parts: tuple[Slices, ...],
        record: int,
        decode: Callable[[bytes], NDArray[np.uint8]],
    ) -> None:
        self.files = tuple(part.path for part in parts)
        self._parts = parts
        self._record = record
        self._decode = decode
        self._ends = np.cumsum([part.size // record for part in parts])

    def name(self, number: int) -> str:
        """File, and number of the picture in it."""
        part, place = self._place(number)
        return f"{part.path.name}, picture {place + 1}"

    def read(self, number: int, least: int | None = None) -> Image.Image:
        return Image.fromarray(self._decode(self.raw(number)))

    def raw(self, number: int) -> bytes:
        """Bytes of a record, label and all."""
        part, place = self._place(number)
        return part.read(place * self._record, self._record)

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """All records are of one length."""
        return np.full(len(numbers), self._record, np.int64)

    def _place(self, number: int) -> tuple[Slices, int]:
        """File and position in it."""
        at = int(np.searchsorted(self._ends, number, side="right"))
        return self._parts[at], number - (int(self._ends[at - 1]) if at else 0)


def records(parts: tuple[Slices, ...], record: int, what: str) -> int:
    """Count the records of files that must hold whole ones.

    Raises
    ------
    InputError
        ``damaged`` naming the file whose size does not fit.
    """
    for part in parts:
        if part.size == 0 or part.size % record:
            raise InputError(
                f"{part.path.name} has {part.size} bytes, which are no whole number of {what} "
                f"pictures of {record} bytes; it is cut short or another file.",
                "damaged",
            )
    return sum(part.size // record for part in parts)


def check_labels(labels: NDArray[np.int64], classes: int, name: str) -> NDArray[np.int64]:
    """Refuse labels outside of the classes.

    Raises
    ------
    InputError
        ``damaged`` with the first bad one.
    """
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(bad):
        raise InputError(
            f"{name}: picture {int(bad[0]) + 1} has the label {int(labels[bad[0]])}, and there are "
            f"{classes} classes; the file is damaged or another one.",
            "damaged",
        )
    return labels
