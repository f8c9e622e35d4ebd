"""Two checkpoints compared: a heat strip for each encoder, and every tensor in a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractItemView, QFrame, QWidget

from cleanclip_gui import theme
from cleanclip_gui.jobs import tasks
from cleanclip_gui.theme import look
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.controls import BusyRow, Label
from cleanclip_gui.widgets.layout import card, column
from cleanclip_gui.widgets.painted import Cells, Place, blend
from cleanclip_gui.widgets.rows_table import Cell, Row, RowsTable
from cleanclip_gui.widgets.text import change_text, count_text, plain, plural
from ml_core.reading import InputError, Inspection, examine

if TYPE_CHECKING:
    from ml_core.checkpoints.compare import LayerChange, State, TensorChange


class HeatStrip(Cells):
    """A cell a layer, the warmer the more it has changed."""

    def __init__(self, title: str) -> None:
        super().__init__(f"{title}: change of each layer", (600, 34))
        self._layers: list[LayerChange] = []
        self._top = 0.0
        self._most = ""

    @property
    def shape(self) -> tuple[int, int]:
        """One row."""
        return (1, len(self._layers)) if self._layers else (0, 0)

    def words(self, place: Place) -> str:
        return words(self._layers[place[1]])

    def describe(self) -> str:
        return self._most if self.at is None else f"{self.words(self.at)}. {self._most}"

    def set_layers(self, layers: Sequence[LayerChange], top: float) -> None:
        """Show other layers; ``top`` is the change that gets the warmest colour."""
        self._layers, self._top, self.at = list(layers), top, None
        worst = max(
            self._layers,
            key=lambda layer: (math.isnan(layer.relative), layer.relative),
            default=None,
        )
        self._most = "" if worst is None else f"Most: {words(worst)}"
        self.setAccessibleDescription(self._most)
        self.update()

    def colour(self, number: int) -> QColor:
        """Colour of a cell: the root of its share of the top, so that small changes show."""
        layer = self._layers[number]
        if math.isnan(layer.relative):  # became NaN: nothing is further away
            share = 1.0
        else:
            share = min(1.0, layer.relative / self._top) if self._top > 0 else 0.0
        if layer.changed == 0:
            return theme.colour("sunken")
        part = 0.15 + 0.85 * math.sqrt(share)
        return blend(part, look.triggered_colour(), theme.colour("surface"))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the cells; the one pointed at has a frame."""
        painter = QPainter(self)
        for number in range(len(self._layers)):
            cell = self.cell((0, number))
            if cell.width() > 4:
                cell.adjust(0, 0, -1, 0)
            painter.fillRect(cell, self.colour(number))
            if self.at == (0, number):
                painter.setPen(QPen(theme.colour("text"), 2))
                painter.drawRect(cell.adjusted(1, 1, -1, -1))
        if self.at is None:
            self.paint_focus(painter)


def words(layer: LayerChange) -> str:
    """A layer and how much it has changed."""
    changed = f"{layer.changed} of {layer.tensors} tensors differ"
    if layer.changed == 0:
        changed = "equal"
    return f"{plain(layer.name, 80)}: {change_text(layer.relative)} ({changed})"


_COLUMNS = (("Tensor", ""), ("State", ""), ("Relative change", ""))
_CHANGE = 2
_STATES: dict[State, str] = {
    "equal": "equal",
    "changed": "changed",
    "other shape": "another shape",
    "only first": "only in this file",
    "only second": "only in the other",
}
_HINT = "Point at a cell, or use the arrow keys, to read a layer."


def _row(number: int, change: TensorChange) -> Row:
    """Sorted by change: first what has none, last what became NaN."""
    relative = change.relative
    text = "" if math.isnan(relative) and not change.not_finite else change_text(relative)
    size = -1.0 if math.isnan(relative) else relative
    return Row(
        number,
        (
            Cell(plain(change.name, 300), change.name.lower()),
            Cell(_STATES[change.state], change.state),
            Cell(text, (math.inf, 1) if change.not_finite else (size, 0)),
        ),
    )


class ComparisonView(QWidget):
    """Words, strips and table. Call :meth:`compare`; ``failed`` carries an InputError."""

    failed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.changes: list[TensorChange] = []
        self._ticket = Ticket.closed()
        self.title = Label("", "heading", wrap=True)
        self.words = Label("", "subtle", wrap=True)
        self.busy = BusyRow("Progress of the comparison", self.cancel)
        self.image = HeatStrip("Image encoder")
        self.text = HeatStrip("Text encoder and the rest")
        self.read_out = Label(_HINT, "caption", wrap=True)
        self.strips = self._strips_card()
        self.table = RowsTable("Tensors of both checkpoints", _COLUMNS, numbers=(_CHANGE,))
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.setTextElideMode(Qt.TextElideMode.ElideLeft)
        self.table.set_widths((110, 170))
        column(
            self.title, self.words, self.busy, self.strips, (self.table, 1),
            of=self, margins=(0, theme.SPACE_M, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip
        for strip in (self.image, self.text):
            strip.pointed.connect(self.read_out.setText)

    def _strips_card(self) -> QFrame:
        """Both strips with their titles and the read-out."""
        self._image_title = Label("Image encoder", "caption")
        return card(
            self._image_title, self.image, Label("Text encoder and the rest", "caption"),
            self.text, self.read_out, spacing=theme.SPACE_XS,
        )  # fmt: skip

    def compare(self, inspection: Inspection, path: Path) -> None:
        """Compare an inspected file with the one at ``path``, which is examined first."""
        self.begin(path.name, len(inspection.tensors))

        def work(control: tasks.TaskControl) -> Iterator[list[Any]]:
            from ml_core.checkpoints.compare import compare_checkpoints

            other = examine(path, control.cancelled)
            if other.refused:
                raise other.refusal()
            yield from tasks.batches(compare_checkpoints(inspection, other, control.cancelled))

        self._ticket = tasks.run(work, self.add, self._on_failed, on_done=self.end, slot="other")

    def cancel(self) -> None:
        """Stop reading; what was compared stays on show."""
        self.forget()
        self.stop("Cancelled; the tensors below were compared.")

    def forget(self) -> None:
        """Compare no further, as another file is opened."""
        self._ticket.cancel()

    def begin(self, other: str, total: int) -> None:
        """Compare with a file of ``total`` tensors at least."""
        self.changes = []
        self.table.rows.set_rows(())
        self.title.setText(plain(f"Compared with {other}", 200))
        self.words.setText("Reading both files…")
        self.busy.bar.setRange(0, max(1, total))
        self.busy.bar.setValue(0)
        self.busy.show()
        self.strips.hide()

    def add(self, changes: Sequence[TensorChange]) -> None:
        """Show what was compared since."""
        rows = [_row(n, change) for n, change in enumerate(changes, start=len(self.changes))]
        self.changes += changes
        self.table.rows.add_rows(rows)
        self.busy.bar.setValue(min(self.busy.bar.maximum(), len(self.changes)))
        self._count()

    def end(self) -> None:
        """Show where the two differ, now that everything was compared."""
        from ml_core.checkpoints.compare import by_layer

        self.busy.hide()
        header = self.table.horizontalHeader()
        column, order = header.sortIndicatorSection(), header.sortIndicatorOrder()
        if column < 0:
            column, order = _CHANGE, Qt.SortOrder.DescendingOrder
        self.table.sortByColumn(column, order)
        self._count()
        layers = by_layer(self.changes)
        top = max(filter(math.isfinite, (layer.relative for layer in layers)), default=0.0)
        image = [layer for layer in layers if layer.name.startswith("visual")]
        self.image.set_layers(image, top)
        self.text.set_layers([layer for layer in layers if layer not in image], top)
        for widget in (self.image, self._image_title):
            widget.setVisible(bool(image))
        single = "single tensors may change more"
        largest = f"Largest layer change: {change_text(top)} ({single}). " if top else ""
        self.read_out.setText(f"{largest}{_HINT}")
        self.strips.setVisible(bool(layers))

    def stop(self, words: str) -> None:
        """Show that the comparison ended early."""
        self.busy.hide()
        self.words.setText(words)

    def _on_failed(self, error: InputError) -> None:
        self.stop("The comparison did not finish.")
        self.failed.emit(error.titled("Could not compare the checkpoints"))

    def _count(self) -> None:
        counts = Counter(change.state for change in self.changes)
        parts = [f"{count_text(counts['equal'])} equal", f"{count_text(counts['changed'])} changed"]
        parts += [
            f"{count_text(counts[state])} {_STATES[state]}"
            for state in _STATES
            if state not in ("equal", "changed") and counts[state]
        ]
        self.words.setText(f"{plural(len(self.changes), 'tensor')}: {', '.join(parts)}.")
