"""The worst pairs of an audit in rows, by one score at a time, with what is left out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QWidget

from cleanclip_gui.widgets.images import rgba_to_image
from cleanclip_gui.widgets.text import count_text, plain, tip
from ml_core.detection.records import SCORE, SCORES, Audit, SuspectPair

CELL_ROLE = Qt.ItemDataRole.UserRole
EVALUATED, EXCLUDED = "evaluated", "excluded"
_PIXMAPS = 600
_Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True, eq=False)
class SuspectCell:
    """What is painted of one pair."""

    pixmap: QPixmap | None
    caption: str
    standing: str
    excluded: bool
    evaluated: bool


class SuspectModel(QAbstractListModel):
    """Rows are pairs; a list is that of a score, of `EVALUATED` or of `EXCLUDED` pairs."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.audit: Audit | None = None
        self.list = SCORES[0].name
        self.rows: list[int] = []
        self.known: Mapping[int, SuspectPair] = {}
        self._excluded: frozenset[int] = frozenset()
        self._places: dict[int, int] = {}
        self._thumbnails: NDArray[np.uint8] = np.empty((0, 1, 1, 3), np.uint8)
        self._pixmaps: OrderedDict[int, QPixmap] = OrderedDict()

    @property
    def score(self) -> str:
        """The score that pairs are shown by."""
        return self.list if self.list in SCORE else SCORES[0].name

    def set_audit(self, audit: Audit, thumbnails: NDArray[np.uint8]) -> None:
        """Show another audit; ``thumbnails`` uint8 [m, s, s, 3] of its pairs, in order."""
        self.beginResetModel()
        self.audit = audit
        self.known = {pair.index: pair for pair in audit.pairs}
        self._places = {pair.index: place for place, pair in enumerate(audit.pairs)}
        self._thumbnails = thumbnails
        self._pixmaps.clear()
        self._excluded = frozenset()
        self._take_rows()
        self.endResetModel()

    def set_list(self, name: str) -> None:
        """Show the worst by a score, or one of the other lists."""
        self.beginResetModel()
        self.list = name  # type: ignore[assignment]
        self._take_rows()
        self.endResetModel()

    def set_excluded(self, excluded: Collection[int]) -> None:
        """Mark pairs as left out; the list of them keeps its rows until it is chosen again."""
        self._excluded = frozenset(excluded)
        if self.rows:
            self.dataChanged.emit(self.index(0), self.index(len(self.rows) - 1), [CELL_ROLE])

    def count(self, name: str) -> int:
        """How many pairs a list holds."""
        return len(self._rows_of(name))

    def pair(self, row: int) -> SuspectPair:
        """The pair of a row."""
        return self.known[self.rows[row]]

    def pixmap(self, index: int) -> QPixmap | None:
        """Picture of a pair."""
        place = self._places.get(index, -1)
        if not 0 <= place < len(self._thumbnails):
            return None
        if index not in self._pixmaps:
            image = rgba_to_image(np.asarray(self._thumbnails[place]))
            self._pixmaps[index] = QPixmap.fromImage(image)
            if len(self._pixmaps) > _PIXMAPS:
                self._pixmaps.popitem(last=False)
        self._pixmaps.move_to_end(index)
        return self._pixmaps[index]

    def rowCount(self, parent: _Index | None = None) -> int:  # noqa: N802
        """Pairs in the list."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What the delegate paints, what a screen reader says, and the tool tip."""
        if not index.isValid():
            return None
        pair = self.pair(index.row())
        if role == CELL_ROLE:
            at = pair.standings[self.score]
            return SuspectCell(
                self.pixmap(pair.index),
                plain(pair.caption, 120),
                f"{count_text(at.rank)}.  {at.value:.4g}",
                pair.index in self._excluded,
                pair.evaluated,
            )
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return self._sentence(pair)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(self._sentence(pair))
        return None

    def _sentence(self, pair: SuspectPair) -> str:
        """One pair in words."""
        at = pair.standings[self.score]
        parts = [
            plain(pair.name, 120),
            f"caption {plain(pair.caption, 300)}",
            f"{SCORE[self.score].title} {at.value:.4g}, rank {at.rank}, share {at.share:.2g}",
        ]
        parts += ["also an evaluation picture"] if pair.evaluated else []
        parts += ["excluded"] if pair.index in self._excluded else []
        return "; ".join(parts)

    def _take_rows(self) -> None:
        self.rows = self._rows_of(self.list)

    def _rows_of(self, name: str) -> list[int]:
        if self.audit is None:
            return []
        if name in self.audit.worst:
            return [index for index in self.audit.worst[name] if index in self.known]
        score = SCORES[0].name
        chosen = [
            pair
            for pair in self.known.values()
            if (pair.evaluated if name == EVALUATED else pair.index in self._excluded)
        ]
        return [p.index for p in sorted(chosen, key=lambda pair: pair.standings[score].rank)]
