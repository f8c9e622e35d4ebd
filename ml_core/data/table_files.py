"""Picture files named by a table: columns found, rows checked, missing files counted."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ml_core.data.labels import MAX_CLASSES
from ml_core.data.pictures import SkipCount
from ml_core.data.watch import Watch, unwatched, watched
from ml_core.reading.errors import InputError
from ml_core.reading.tables import NOT_UTF8, iter_rows, listed, resolver


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
_KEPT_PATHS = 1 << 16
_PATHS = "its paths are taken from its own folder"
MAX_LABELLED = 2_500_000  # 100 bytes each
_MAX_LABEL_CHARACTERS = 16 << 20


@dataclass(frozen=True)
class TableFiles:
    """Good rows of a table: files, their names for messages, and the text beside each.

    ``texts`` is empty where the texts were handed on as they came.
    """

    paths: PackedPaths
    names: RowNames
    texts: tuple[str, ...]
    problems: tuple[str, ...]
    left_out: int


class RowNames(Sequence[str]):
    """What to call the pictures of a table: row and file, made when asked for."""

    def __init__(self, numbers: array[int], paths: PackedPaths) -> None:
        self._numbers, self._paths = numbers, paths

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return row_name(self._numbers[index], self._paths.below[index])

    def take(self, numbers: NDArray[np.int64]) -> RowNames:
        """Some of them, in a new order."""
        rows = array("q", (self._numbers[number] for number in numbers.tolist()))
        return RowNames(rows, self._paths.take(numbers))


def row_name(number: int, path: str) -> str:
    """A row of a table in a sentence."""
    return f"row {number} ({path[:80]!r})"


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


def read_files(
    path: Path,
    image_column: str,
    text_column: str | None,
    watch: Watch = unwatched,
    take: Callable[[str], None] | None = None,
) -> TableFiles:
    """Read a table's picture files, each inside the table's folder, and the text beside each.

    Parameters
    ----------
    path
        A CSV or TSV.
    image_column, text_column
        Column of the pictures' paths, and of their labels or captions; without the latter the
        texts are empty. Labels have limits, see `Labels`; captions are taken by ``take``.
    watch
        Is told the rows read so far, and may end it.
    take
        Takes the text of each good row instead of ``texts``; a ValueError from it, with half a
        sentence, makes the row a bad one.

    Returns
    -------
    TableFiles
        Bad rows, forbidden paths and missing files are left out and named in ``problems``.

    Raises
    ------
    InputError
        ``usage`` if no row can be used, ``unsupported`` if there are over 2.5 million pictures
        whose texts are not taken, or more labels than classes there can be.
    """
    columns = (image_column,) if text_column is None else (image_column, text_column)
    root = os.path.realpath(path.parent)
    resolve = resolver(root)

    @lru_cache(maxsize=_KEPT_PATHS)  # many rows may name one picture
    def look(name: str) -> str | None:
        file = resolve(name)
        return os.path.relpath(file, root) if os.path.isfile(file) else None

    labels = Labels(path.name)
    below, numbers = PackedTexts(), array("q")
    texts: list[str] = []
    bad, missing = SkipCount("Left out, a bad row"), SkipCount("Left out, a missing picture")
    for number, row in watched(iter_rows(path, columns), watch, "Reading rows"):
        if isinstance(row, str):
            bad.add(row)
            continue
        text = row[1].strip() if text_column is not None else ""
        if text_column is not None and not text:
            bad.add(f"row {number}: the column {text_column!r} is empty")
            continue
        try:
            file = look(row[0])
        except InputError as error:
            bad.add(f"row {number}: {error.sentence.rstrip('.')}")
            continue
        if file is None:
            missing.add(row_name(number, row[0]))
            continue
        try:
            if take is not None:
                take(text)
            else:
                texts.append(labels.one(text))
        except ValueError as error:
            bad.add(f"row {number}: {error}")
            continue
        below.append(file)
        numbers.append(number)
        if take is None and len(numbers) > MAX_LABELLED:
            raise InputError(
                f"{path.name} names over {MAX_LABELLED:,} pictures; split it.", "unsupported"
            )
    problems = bad.notes + missing.notes
    if not numbers:
        first = [
            *((fault, _advice(fault)) for fault in bad.first),
            *((f"{name}: no such file", _PATHS) for name in missing.first),
            ("it has no row below its header", "write a row for each picture"),
        ]
        fault, advice = first[0]
        raise InputError(
            f"No picture of {path.name} can be used ({fault}); {advice}.", "usage",
            details="\n".join(problems),
        )  # fmt: skip
    paths = PackedPaths(Path(root), below)
    return TableFiles(
        paths, RowNames(numbers, paths), tuple(texts), problems, bad.count + missing.count
    )


def _advice(fault: str) -> str:
    """What to do about a bad row."""
    if NOT_UTF8 in fault:
        return "save the table as UTF-8"
    return _PATHS if "The path" in fault else "correct its rows"


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
        number = self._known.get(text)
        if number is not None:
            return number
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
    """How often each label stands in the good rows of a table; errors as `read_files`."""
    labels = Labels(path.name)
    rows = iter_rows(path, (column,))
    return Counter(labels.one(row[0].strip()) for _, row in rows if not isinstance(row, str))


def table_path(path: str | Path) -> Path:
    """The table itself, or ``labels.csv`` of a folder."""
    path = Path(path)
    return path / "labels.csv" if path.is_dir() else path
