"""What stands in tables: their columns, labels, and texts and paths that take little memory."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ml_core.data.labels import MAX_CLASSES
from ml_core.reading.errors import InputError
from ml_core.reading.tables import iter_rows, listed, read_columns


class PackedTexts(Sequence[str]):
    """Texts that were appended, by number; any comes back unchanged, also undecodable names."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._data = bytearray()
        self._ends = array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add one at the end."""
        self._data += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._data))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> PackedTexts: ...
    def __getitem__(self, index: int | slice) -> str | PackedTexts:
        if isinstance(index, slice):
            return PackedTexts(self[i] for i in range(*index.indices(len(self))))
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        return self._data[self._ends[place] : self._ends[place + 1]].decode(
            "utf-8", "surrogatepass"
        )

    def take(self, numbers: NDArray[np.int64]) -> PackedTexts:
        """Some of them, in a new order."""
        return PackedTexts(self[number] for number in numbers.tolist())

    def digest(self) -> str:
        """SHA-256 over the texts and where each ends."""
        total = hashlib.sha256(memoryview(self._ends).cast("B"))
        total.update(self._data)
        return total.hexdigest()

    @property
    def nbytes(self) -> int:
        return len(self._data) + 8 * len(self._ends)


class PackedPaths(Sequence[Path]):
    """Paths below one folder."""

    def __init__(self, root: Path, below: PackedTexts) -> None:
        self.root, self.below = root, below

    def __len__(self) -> int:
        return len(self.below)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> PackedPaths: ...
    def __getitem__(self, index: int | slice) -> Path | PackedPaths:
        if isinstance(index, slice):
            return PackedPaths(self.root, self.below[index])
        return self.root / self.below[index]

    def take(self, numbers: NDArray[np.int64]) -> PackedPaths:
        """Some of them, in a new order."""
        return PackedPaths(self.root, self.below.take(numbers))


IMAGE_COLUMNS = (
    "image", "path", "image_path", "filepath", "file_path", "filename", "file_name", "file",
    "img", "image_file", "images", "jpg", "png",
)  # fmt: skip
LABEL_COLUMNS = (
    "label", "class", "target", "label_name", "class_name", "category", "label_index", "labels",
    "class_index",
)  # fmt: skip
CAPTION_COLUMNS = (
    "caption", "title", "text", "captions", "description", "sentence", "alt_text", "alt",
)  # fmt: skip
_MAX_LABEL_CHARACTERS = 16 << 20


def find_column(columns: Sequence[str], preferred: str | None, usual: Sequence[str]) -> str | None:
    """The wanted column, or the first usual one whatever its case; else None."""
    if preferred is not None and preferred in columns:
        return preferred
    by_lower = {column.lower(): column for column in reversed(columns)}
    return next((by_lower[name] for name in usual if name in by_lower), None)


def require_column(path: Path, columns: Sequence[str], column: str | None, what: str) -> str:
    """Find the image, label or caption column, or say which columns there are.

    A column that was named and is not one of the usual names must be there; where a usual name
    is absent another usual one is taken.

    Raises
    ------
    InputError
        ``usage``, listing the columns.
    """
    usual = {"image": IMAGE_COLUMNS, "label": LABEL_COLUMNS, "caption": CAPTION_COLUMNS}[what]
    if column is not None and column not in columns and column != usual[0]:
        match = None
    else:
        match = find_column(columns, column, usual)
    if match is None:
        raise InputError(
            f"{path.name} has no column {column or usual[0]!r}; choose the {what} column among "
            f"{listed(columns)}.",
            "usage",
        )
    return match


def pair_columns(path: str | Path, image: str, caption: str) -> tuple[str, str]:
    """The columns of a CSV or TSV table of pairs that are taken for the wanted ones.

    Raises
    ------
    InputError
        If the table cannot be read or lacks them; see `require_column`.
    """
    table = table_path(path)
    there = read_columns(table)
    return (
        require_column(table, there, image, "image"),
        require_column(table, there, caption, "caption"),
    )


class Labels:
    """The labels of a table, each kept once, and no more of them than there can be classes."""

    def __init__(self, name: str) -> None:
        self._name, self._left = name, _MAX_LABEL_CHARACTERS
        self._known: dict[str, str] = {}

    def one(self, text: str) -> str:
        """The label as it was seen first.

        Raises
        ------
        InputError
            ``unsupported`` at the 100001st label, or where all have over 16 million characters.
        """
        known = self._known.get(text)
        if known is not None:
            return known
        self._left -= len(text)
        if len(self._known) == MAX_CLASSES or self._left < 0:
            raise InputError(
                f"The label column of {self._name} has too many different texts, or too long ones, "
                "to be classes; choose another column.",
                "unsupported",
            )
        self._known[text] = text
        return text


def count_labels(path: Path, column: str) -> Counter[str]:
    """How often each label stands in the good rows of a table; raises the errors of `Labels`."""
    labels = Labels(path.name)
    rows = iter_rows(path, (column,))
    return Counter(labels.one(row[0].strip()) for _, row in rows if not isinstance(row, str))


def table_path(path: str | Path) -> Path:
    """The table itself, or ``labels.csv`` of a folder."""
    path = Path(path)
    return path / "labels.csv" if path.is_dir() else path
