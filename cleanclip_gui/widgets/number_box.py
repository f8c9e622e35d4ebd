"""Boxes for numbers, also in scientific notation, and for choices."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Literal, TypeVar

from PySide6.QtCore import QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QPaintEvent, QValidator, QWheelEvent
from PySide6.QtWidgets import QComboBox, QDoubleSpinBox, QStyle, QStyleOptionComboBox, QStylePainter

from cleanclip_gui.widgets.text import count_text

Kind = Literal["int", "float", "log"]
_TYPING = re.compile(r"[+-]?[\d\s,.\u2009]*(?:[eE][+-]?\d*)?")
_MOST_STEPS = 60  # of a rate at once: twenty decades
_DECIMALS: dict[Kind, int] = {"int": 0, "float": 6, "log": 12}


def number_text(value: float, kind: Kind) -> str:
    """A number as the box shows it: ``40 000``, ``0.5``, ``2.15``, ``1.5e-3``."""
    if kind == "int":
        return count_text(round(value))
    if kind == "float" or value == 0:
        return f"{value:g}"
    exponent = math.floor(math.log10(abs(value)))
    if exponent >= 0:
        return f"{value:.4g}"
    mantissa = f"{value / 10**exponent:.4g}"
    if mantissa == "10":
        mantissa, exponent = "1", exponent + 1
    return f"{mantissa}e{exponent}"


def read_number(text: str) -> float | None:
    """Parse a number with separators between thousands; None if it is not a number."""
    try:
        value = float(re.sub(r"[\s,\u2009]", "", text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class NumberBox(QDoubleSpinBox):
    """Keeps to its range; what was typed beyond it is set to the limit, and said so.

    Parameters
    ----------
    kind
        ``int``, ``float`` or ``log`` (scientific notation, steps 1, 2, 5).
    low, high
        Range, both ends allowed.
    unit
        Follows the number.
    title
        Accessible name.
    value
        To begin with; by default the one nearest to 0.
    tip
        Tool tip.
    """

    corrected = Signal(float, float)

    def __init__(
        self,
        kind: Kind,
        low: float,
        high: float,
        unit: str = "",
        *,
        title: str = "",
        value: float | None = None,
        tip: str = "",
    ) -> None:
        super().__init__()
        self._kind: Kind = kind
        self.setDecimals(_DECIMALS[kind])
        self.setRange(low, high)
        self.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.setKeyboardTracking(False)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._unit = unit
        self.lineEdit().setTextMargins(9, 0, 0, 0)  # as in other fields
        self.valueChanged.connect(self._on_value_changed)
        self.setAccessibleName(title)
        self.setToolTip(tip)
        if value is not None:
            self.setValue(value)
        self._on_value_changed(self.value())

    @property
    def number(self) -> float:
        """The value; of a box for whole numbers an int."""
        return round(self.value()) if self._kind == "int" else self.value()

    def textFromValue(self, value: float) -> str:  # noqa: N802
        """Return the number as shown, without its unit."""
        return number_text(value, self._kind)

    def valueFromText(self, text: str) -> float:  # noqa: N802
        """Return the typed number; the present value if the text is not a number."""
        value = read_number(self._bare(text))
        return self.value() if value is None else value

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Accept numbers in range, let others be finished, refuse other characters."""
        bare = self._bare(text)
        value = read_number(bare)
        if value is not None and self.minimum() <= value <= self.maximum():
            whole = self._kind != "int" or value == round(value)
            state = QValidator.State.Acceptable if whole else QValidator.State.Intermediate
        elif _TYPING.fullmatch(bare):
            state = QValidator.State.Intermediate
        else:
            state = QValidator.State.Invalid
        return state, text, position

    def fixup(self, text: str) -> str:
        """Set a number beyond the range to its limit, and say so."""
        value = read_number(self._bare(text))
        if value is None:
            return self.textFromValue(self.value()) + self.suffix()
        limit = min(max(value, self.minimum()), self.maximum())
        if self._kind == "int":
            limit = round(limit)
        self.corrected.emit(value, limit)
        return self.textFromValue(limit) + self.suffix()

    def stepBy(self, steps: int) -> None:  # noqa: N802
        """Step; a rate goes through 1, 2, 5 of each decade."""
        if self._kind != "log":
            super().stepBy(steps)
            return
        value = max(self.value(), 1e-12)
        for _ in range(min(abs(steps), _MOST_STEPS)):
            value = _neighbour(value, steps > 0)
        self.setValue(value)
        self.selectAll()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Leave the wheel to the page unless the box has the focus."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()

    def range_text(self) -> str:
        """The range in words, e.g. ``2 to 65 536 examples``."""
        ends = (number_text(v, self._kind) for v in (self.minimum(), self.maximum()))
        return f"{' to '.join(ends)} {self._unit}".strip()

    def _on_value_changed(self, value: float) -> None:
        single = value == 1 and self._unit.endswith("s")
        suffix = f" {self._unit[:-1] if single else self._unit}" if self._unit else ""
        if suffix != self.suffix():
            self.setSuffix(suffix)

    def _bare(self, text: str) -> str:
        return text.removesuffix(self.suffix()).strip() if self.suffix() else text.strip()


def _neighbour(value: float, up: bool) -> float:
    """Return the next of 1, 2, 5, 10... above or below."""
    exponent = math.floor(math.log10(value) + 1e-9)
    grid = [m * 10.0**e for e in (exponent - 1, exponent, exponent + 1) for m in (1, 2, 5)]
    if up:
        return min(g for g in grid if g > value * (1 + 1e-9))
    return max(g for g in grid if g < value * (1 - 1e-9))


_Box = TypeVar("_Box", bound=QComboBox)


def fill(box: _Box, entries: Iterable[tuple[object, str]], chosen: object = None) -> _Box:
    """Give a box entries, values with their texts, and select a value; no signal is emitted.

    Entries that it has already stay, so that its list may be open.
    """
    new = list(entries)
    with QSignalBlocker(box):
        if new != [(box.itemData(row), box.itemText(row)) for row in range(box.count())]:
            box.clear()
            for value, text in new:
                box.addItem(text, value)
        box.setCurrentIndex(max(0, box.findData(chosen)))
    return box


class Chooser(QComboBox):
    """A combo box that leaves the wheel to the page: after a choice it still has the focus."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Scroll the page, not the choice."""
        event.ignore()


_USUAL = 24  # letters of an entry


class ElidingComboBox(QComboBox):
    """Wide enough for its entries where there is room; else the one in use ends in an ellipsis."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(4)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Room for the longest entry, but no more than a usual entry needs."""
        hint, letters = super().sizeHint(), self.fontMetrics()
        longest = max((letters.horizontalAdvance(e) for e in self._entries()), default=0)
        least = self.minimumContentsLength() * letters.horizontalAdvance("X")
        usual = min(longest, _USUAL * letters.averageCharWidth())
        return hint + QSize(max(0, usual - least), 0)

    def _entries(self) -> list[str]:
        return [self.itemText(number) for number in range(self.count())]

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint the box as usual, with as much of the entry as there is room for."""
        painter, option = QStylePainter(self), QStyleOptionComboBox()
        self.initStyleOption(option)
        part = QStyle.SubControl.SC_ComboBoxEditField
        control = QStyle.ComplexControl.CC_ComboBox
        field = self.style().subControlRect(control, option, part, self)
        option.currentText = self.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideRight, field.width()
        )
        painter.drawComplexControl(control, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
