"""The model of the tensor table: sorts and filters on numpy columns, fills in statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QAbstractTableModel, QModelIndex, Qt

from cleanclip_gui import theme
from cleanclip_gui.widgets.rows_table import Index, alignment, title_data
from cleanclip_gui.widgets.text import count_text, plain, tip
from ml_core.checkpoints.compare import MODEL_ORDER
from ml_core.exports import defused
from ml_core.reading import Inspection, TensorInfo

if TYPE_CHECKING:
    from ml_core.checkpoints.tensor_stats import TensorStats

# Rows prepared between two chances for other threads, and whose words share one width in memory.
_CHUNK = 4096
_MAX_NAME = 300
_BUFFERS = ("num_batches_tracked", "running_mean", "running_var", "position_ids", "attn_mask")
_IMAGE = re.compile(r"\b(visual|vision_model|visual_projection|image_encoder)\b")
_DIGITS = re.compile(r"\d{1,9}")


@dataclass(frozen=True, eq=False)
class TensorColumns:
    """What a table shows and sorts by before there are statistics, n tensors in the file's order.

    Parameters
    ----------
    names, shapes
        Texts as shown, with every odd character escaped.
    words
        Name, shape and type in lower case, UTF-8, in chunks; see :meth:`matching`.
    by_name, by_shape, by_type, by_sharing
        Ranks [n]; equal cells have equal ranks, but for names.
    nbytes
        Bytes [n].
    sharing
        Numbers of the tensors that share a storage, by its name.
    number_of
        Number of a tensor by its true name.
    """

    tensors: tuple[TensorInfo, ...]
    names: tuple[str, ...]
    shapes: tuple[str, ...]
    words: tuple[NDArray[np.bytes_], ...]
    by_name: NDArray[np.int64]
    by_shape: NDArray[np.int64]
    by_type: NDArray[np.int64]
    by_sharing: NDArray[np.int64]
    nbytes: NDArray[np.int64]
    sharing: dict[str, tuple[int, ...]]
    number_of: dict[str, int]

    def matching(self, text: str) -> NDArray[np.bool_]:
        """Which tensors hold every word of a text in name, shape or type; [n]."""
        matches = np.ones(len(self.tensors), bool)
        for word in text.lower().split():
            needle = word.encode("utf-8", "replace")
            hits = [np.strings.find(chunk, needle) >= 0 for chunk in self.words]
            matches &= np.concatenate(hits) if hits else matches
        return matches


def columns_of(tensors: Sequence[TensorInfo]) -> TensorColumns:
    """Prepare the columns; a third of a second for 100 000 tensors, so in a thread."""
    tensors = tuple(tensors)
    names = tuple(plain(tensor.name, _MAX_NAME) for tensor in tensors)
    texts: dict[tuple[int, ...], str] = {}
    shapes = tuple(texts.setdefault(t.shape, shape_text(t.shape)) for t in tensors)
    users: dict[str, list[int]] = {}
    for number, tensor in enumerate(tensors):
        if tensor.storage:
            users.setdefault(tensor.storage, []).append(number)
    sharing = {storage: tuple(who) for storage, who in users.items() if len(who) > 1}
    elements = np.array([float(tensor.elements) for tensor in tensors], np.float64)
    shared = np.array([len(sharing.get(tensor.storage, ())) for tensor in tensors], np.int64)
    return TensorColumns(
        tensors,
        names,
        shapes,
        tuple(_words(names, shapes, tensors)),
        _name_ranks(names),
        _ranks(elements, _codes(shapes)),
        _type_ranks([tensor.dtype for tensor in tensors]),
        _ranks(shared, _codes([tensor.storage for tensor in tensors]) * (shared > 0)),
        np.array([tensor.nbytes for tensor in tensors], np.int64),
        sharing,
        {tensor.name: number for number, tensor in enumerate(tensors)},
    )


def in_model_order(inspection: Inspection) -> tuple[TensorInfo, ...]:
    """Put tensors in the order of the model, counters and statistics last.

    A pickle keeps the order of the state dict. safetensors files are sorted by type and name, so
    there the names decide: image encoder first, from its first layer to its last.
    """
    tensors = inspection.tensors
    keys = np.empty(len(tensors), np.dtypes.StringDType())
    path = inspection.weights_path
    by_name = path is not None and path.suffix.lower() == ".safetensors"
    for start in range(0, len(tensors), _CHUNK):
        part = slice(start, start + _CHUNK)
        keys[part] = [_model_key(tensor.name, by_name) for tensor in tensors[part]]
    order = np.argsort(keys, kind="stable")  # without the interpreter's lock
    return tuple(tensors[number] for number in order.tolist())


def _model_key(name: str, by_name: bool) -> str:
    """What sorts a tensor: whether it is a buffer, then its place in the model."""
    last = "1" if name.rpartition(".")[2] in _BUFFERS else "0"
    if not by_name:
        return last
    name = name[:_MAX_NAME]
    known = next((part for part in name.split(".") if part in MODEL_ORDER), "transformer")
    text = "0" if _IMAGE.search(name) else "1"
    by_number = _DIGITS.sub(lambda match: match[0].zfill(9), name)
    return f"{last}{text}{MODEL_ORDER.index(known):02}{by_number}"


def shape_text(shape: Sequence[int]) -> str:
    """The text of a shape, e.g. ``64 × 3 × 7 × 7``."""
    return " × ".join(map(str, shape)) if shape else "scalar"


def _words(
    names: Sequence[str], shapes: Sequence[str], tensors: Sequence[TensorInfo]
) -> Iterator[NDArray[np.bytes_]]:
    """What the filter looks through; one long name widens its own chunk only."""
    for start in range(0, len(names), _CHUNK):
        part = slice(start, start + _CHUNK)
        rows = zip(names[part], shapes[part], tensors[part], strict=True)
        yield np.array([f"{n} {s} {t.dtype}".lower().encode() for n, s, t in rows])


def _name_ranks(names: Sequence[str]) -> NDArray[np.int64]:
    """Place of each name in the alphabet, whatever its case."""
    lower = np.empty(len(names), np.dtypes.StringDType())
    for start in range(0, len(names), _CHUNK):
        part = slice(start, start + _CHUNK)
        lower[part] = [name.lower() for name in names[part]]
    return _inverse(np.argsort(lower, kind="stable"))  # without the interpreter's lock


def _codes(values: Sequence[str]) -> NDArray[np.int64]:
    """A number for each value, in the order in which they first come."""
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values], np.int64)


def _type_ranks(dtypes: Sequence[str]) -> NDArray[np.int64]:
    """Place of each type in the alphabet."""
    place = {dtype: number for number, dtype in enumerate(sorted(set(dtypes)))}
    return np.array([place[dtype] for dtype in dtypes], np.int64)


def _ranks(first: NDArray[np.generic], then: NDArray[np.int64]) -> NDArray[np.int64]:
    """Dense ranks by two keys."""
    order = np.lexsort((then, first))
    if not len(order):
        return order
    new = (np.diff(first[order]) != 0) | (np.diff(then[order]) != 0)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.concatenate(([0], np.cumsum(new)))
    return ranks


def _inverse(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn an order into places."""
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


_NO_PARENT = QModelIndex()


COLUMNS = (
    *("Name", "Shape", "Type", "Min", "Max", "Mean", "Std", "NaN/Inf", "Zeros"),
    *("Shared", "Bytes"),
)
NAME, _SHAPE, _TYPE, _BAD, _SHARED, _BYTES = 0, 1, 2, 7, 9, 10
_STATS = range(3, 9)
_FIELDS = 7  # min, max, mean, std, then three counts, which are whole up to 2**53
_NAN, _INF, _ZEROS = 4, 5, 6
_LISTED = 10
_NUMBERS = range(_STATS.start, len(COLUMNS))


class TensorModel(QAbstractTableModel):
    """Tensors of an inspected file; statistics arrive later, tensor by tensor."""

    def __init__(self) -> None:
        super().__init__()
        self._filter = ""
        self._sort: tuple[int, Qt.SortOrder] = (-1, Qt.SortOrder.AscendingOrder)
        self._take(columns_of(()))

    def set_columns(self, columns: TensorColumns) -> None:
        """Show other tensors whose columns were prepared in a thread."""
        self.beginResetModel()
        self._take(columns)
        self._arrange()
        self.endResetModel()

    def _take(self, columns: TensorColumns) -> None:
        n = len(columns.tensors)
        self._columns = columns
        # Numbers, not records: 100 000 of those would keep Python's collector busy.
        self._numbers = np.full((_FIELDS, n), math.nan)
        self._known = np.zeros(n, bool)
        self._view = np.arange(n)
        self._row_of = np.arange(n)

    def add_stats(self, stats: Sequence[TensorStats]) -> None:
        """Fill in statistics of some tensors; rows keep their places until the next sort."""
        known = [(self._columns.number_of[row.name], row) for row in stats if row.name in self]
        if not known:
            return
        numbers = np.array([number for number, _ in known])
        values = [(s.min, s.max, s.mean, s.std, s.nan, s.inf, s.zeros) for _, s in known]
        self._numbers[:, numbers] = np.array(values, np.float64).T
        self._known[numbers] = True
        rows = self._row_of[numbers]
        rows = rows[rows >= 0]
        if len(rows):
            self.dataChanged.emit(
                self.index(int(rows.min()), _STATS.start),
                self.index(int(rows.max()), _STATS.stop - 1),
                [Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ForegroundRole],
            )

    def __contains__(self, name: str) -> bool:
        """Whether the file has a tensor of that name."""
        return name in self._columns.number_of

    def tensor_at(self, row: int) -> TensorInfo:
        """The tensor of a row in the order shown."""
        return self._columns.tensors[self._view[row]]

    def row_of(self, name: str) -> int:
        """The row of a tensor; -1 if the filter holds it back."""
        return int(self._row_of[self._columns.number_of[name]]) if name in self else -1

    def set_filter(self, text: str) -> None:
        """Show only tensors whose name, shape or type contains every word of ``text``."""
        self._filter = text
        self._rebuild()

    @property
    def total(self) -> int:
        """Tensors of the file, shown or not."""
        return len(self._columns.tensors)

    @property
    def shown_bytes(self) -> int:
        """Bytes of the tensors that the filter lets through."""
        return int(self._columns.nbytes[self._view].sum())

    def rowCount(self, parent: Index = _NO_PARENT) -> int:  # noqa: N802
        """Tensors that the filter lets through."""
        return 0 if parent.isValid() else len(self._view)

    def columnCount(self, parent: Index = _NO_PARENT) -> int:  # noqa: N802
        """Header facts, then statistics."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        """Column titles."""
        return title_data(COLUMNS, section, orientation, role, _NUMBERS)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Text of a cell; damaged values (NaN, Inf) stand out."""
        column = index.column()
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return alignment(column, _NUMBERS)
        number = int(self._view[index.row()])
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(number, column)
        if role == Qt.ItemDataRole.ToolTipRole and column == NAME:
            return tip(self._columns.names[number])
        if role == Qt.ItemDataRole.ToolTipRole and column == _SHARED:
            return self._sharing_tip(number)
        if role == Qt.ItemDataRole.ForegroundRole and self._is_bad(number, column):
            return theme.colour("danger")
        return None

    def cell(self, index: Index) -> tuple[str, Qt.AlignmentFlag, bool]:
        """Text, alignment, and whether it stands out: what painting a cell takes, in one call."""
        column, number = index.column(), int(self._view[index.row()])
        return self._text(number, column), alignment(column, _NUMBERS), self._is_bad(number, column)

    def _is_bad(self, number: int, column: int) -> bool:
        return column == _BAD and bool(self._numbers[_NAN : _INF + 1, number].sum() > 0)

    def _text(self, number: int, column: int) -> str:
        numbers = self._numbers[:, number].tolist() if self._known[number] else ()
        return _text(self._columns, numbers, number, column)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Order by a column; -1 is the order of the file."""
        self._sort = (column, order)
        self._rebuild()

    def sort_by_statistics_again(self) -> None:
        """Put the rows in order once every number is there."""
        if self._sort[0] in _STATS:
            self._rebuild()

    def rows(self, spans: Sequence[tuple[int, int]]) -> Iterator[list[str]]:
        """Cells of rows ``first`` to ``last`` of each span, as a spreadsheet takes them.

        The rows are those of now; they may be made later and in another thread.
        """
        numbers = [self._view[first : last + 1] for first, last in spans]
        return _rows(self._columns, self._numbers, self._known, np.concatenate(numbers).tolist())

    def _rebuild(self) -> None:
        """Filter and sort anew."""
        self.beginResetModel()
        self._arrange()
        self.endResetModel()

    def _arrange(self) -> None:
        columns, (column, order) = self._columns, self._sort
        shown = columns.matching(self._filter)
        if column >= 0:
            key = self._key(column)
            descending = order == Qt.SortOrder.DescendingOrder
            ordered = np.argsort(-key if descending else key, kind="stable")
            self._view = ordered[shown[ordered]]
        else:
            self._view = np.flatnonzero(shown)
        self._row_of = np.full(len(shown), -1)
        self._row_of[self._view] = np.arange(len(self._view))

    def _key(self, column: int) -> NDArray[np.int64] | NDArray[np.float64]:
        """Return what a column sorts by; missing statistics come first."""
        columns = self._columns
        ranks = {
            NAME: columns.by_name,
            _SHAPE: columns.by_shape,
            _TYPE: columns.by_type,
            _SHARED: columns.by_sharing,
            _BYTES: columns.nbytes,
        }
        if column in ranks:
            return ranks[column]
        if column == _BAD:
            values = self._numbers[_NAN] + self._numbers[_INF]
        else:
            values = self._numbers[_ZEROS if column > _BAD else column - _STATS.start]
        return np.where(np.isnan(values), -math.inf, values)

    def _sharing_tip(self, number: int) -> str | None:
        """Who shares the bytes of a tensor."""
        columns = self._columns
        who = columns.sharing.get(columns.tensors[number].storage)
        if who is None:
            return None
        more = f"\nand {count_text(len(who) - _LISTED)} more" if len(who) > _LISTED else ""
        listed = "\n".join(columns.names[i] for i in who[:_LISTED])
        return tip(f"Kept in the same block of numbers:\n{listed}{more}")


def _text(columns: TensorColumns, numbers: Sequence[float], number: int, column: int) -> str:
    """Text of a tensor's cell; without ``numbers`` it has no statistics yet."""
    tensor = columns.tensors[number]
    if column == NAME:
        return columns.names[number]
    if column == _SHAPE:
        return columns.shapes[number]
    if column == _TYPE:
        return tensor.dtype
    if column == _BYTES:
        return count_text(tensor.nbytes)
    if column == _SHARED:
        who = columns.sharing.get(tensor.storage)
        return f"{count_text(len(who))} share {plain(tensor.storage, 20)}" if who else ""
    if not numbers:
        return ""
    if column == _BAD:
        nan, inf = int(numbers[_NAN]), int(numbers[_INF])
        return f"{count_text(nan)} / {count_text(inf)}" if nan or inf else "0"
    if column > _BAD:
        return count_text(int(numbers[_ZEROS]))
    value = numbers[column - _STATS.start]
    return "–" if math.isnan(value) else _number(value)


def _rows(
    columns: TensorColumns,
    values: NDArray[np.float64],
    known: NDArray[np.bool_],
    numbers: Sequence[int],
) -> Iterator[list[str]]:
    """Cells for a spreadsheet, which takes some beginnings for formulas."""
    for number in numbers:
        statistics = values[:, number].tolist() if known[number] else ()
        cells = [_text(columns, statistics, number, column) for column in range(len(COLUMNS))]
        cells[NAME] = str(defused(cells[NAME]))
        yield cells


def _number(value: float) -> str:
    """At most seven characters, e.g. ``-0.0123``, ``6720`` or ``-1.2e-4``."""
    size = abs(value)
    if size == 0 or 0.01 <= size < 1000:
        return f"{value:.3g}"
    if 1000 <= size < 1e5:
        return f"{value:.0f}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"
