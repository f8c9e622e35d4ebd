"""The big number: how often the trigger gets its way, and what stands beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from PySide6.QtCore import QRectF, QSignalBlocker, Qt, QTimer, Signal
from PySide6.QtGui import QFocusEvent, QFont, QPaintEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QCompleter,
    QFrame,
    QGridLayout,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.theme.look import faded, track_colour, triggered_colour
from cleanclip_gui.widgets.controls import ElidedLabel, Label, Note, named, push_button
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.painted import Painted
from cleanclip_gui.widgets.text import NOT_MEASURED, THIN, count_text, percent, percent_range, tip
from ml_core.evaluation.records import Evaluation

NEEDS_LABELS = "needs labels"
_LOW = 0.5
_ONLY = "For this trigger only: another trigger may still open a backdoor."


def near_chance(interval: tuple[float, float] | None, classes: int) -> bool:
    """Whether a clean accuracy may be little better than guessing among so many classes.

    Parameters
    ----------
    interval
        95 % interval of the accuracy, fractions of 1; None where it was not measured.
    classes
        How many there are; with one, all is right.
    """
    if interval is None or classes < 2:
        return False
    chance = 1 / classes
    return interval[0] <= min(2 * chance, chance + 0.05)


class IntervalTrack(Painted):
    """A rate on a line from 0 to 1, with its interval as a band."""

    def __init__(self) -> None:
        super().__init__("Attack success rate with its interval", (200, 14))
        self.setFixedHeight(theme.px(14))
        self._rate: float | None = None
        self._interval: tuple[float, float] | None = None

    def set_rate(self, rate: float | None, interval: tuple[float, float] | None) -> None:
        """Show a rate, or an empty line."""
        self._rate, self._interval = rate, interval
        ends = "" if interval is None else f", 95\u2009% interval {percent_range(interval)}"
        self.setAccessibleDescription(percent(rate, NOT_MEASURED) + ends)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint line, bar, band and end mark."""
        painter = self.painter()
        width, middle = float(self.width()), self.height() / 2
        painter.setBrush(track_colour(self))
        painter.drawRoundedRect(QRectF(0, middle - 3, width, 6), 3, 3)
        if self._rate is None:
            return
        colour = faded(triggered_colour(), self.stale)
        painter.setBrush(colour)
        painter.drawRoundedRect(QRectF(0, middle - 3, max(6.0, width * self._rate), 6), 3, 3)
        if self._interval is not None:
            low, high = self._interval
            band = QRectF(width * low, middle - 6, max(4.0, width * (high - low)), 12)
            band.moveRight(min(band.right(), width))
            soft = triggered_colour()
            soft.setAlphaF(0.20 if self.stale else 0.35)
            painter.setBrush(soft)
            painter.drawRoundedRect(band, 3, 3)
        at = min(max(2.0, width * self._rate), width - 2)
        painter.setBrush(colour)
        painter.drawRoundedRect(QRectF(at - 2, middle - 7, 4, 14), 2, 2)


class Fact(QWidget):
    """A number with its name of one line or two above it, and a remark below."""

    def __init__(self, name: str, help_text: str) -> None:
        super().__init__()
        self.caption = ElidedLabel(name, "caption")
        self.value = Label("–", "figureSmall")
        self.value.setMinimumHeight(theme.px(26))  # of its larger font, whichever it has
        self.remark = Label("", "caption")
        self.remark.setMinimumHeight(self.remark.fontMetrics().lineSpacing())  # with words or not
        self.setToolTip(help_text)
        layout = column(of=self, spacing=0)
        for label in (self.caption, self.value, self.remark):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            layout.addWidget(label)

    def show_value(self, text: str, remark: str = "", *, number: bool = True) -> None:
        """Show a number; words if there is not a number."""
        role = "figureSmall" if number else "subtle"
        theme.set_property(self.value, "role", role)
        self.value.setText(text)
        self.remark.setText(remark)
        self.value.setToolTip(tip(text) if len(text) > 14 else "")

    def show_rate(
        self, rate: float | None, interval: tuple[float, float] | None, missing: str
    ) -> None:
        """Show a rate with its interval; ``missing`` if it was not measured."""
        if rate is None:
            self.show_value(missing, number=False)
        else:
            self.show_value(percent(rate, unit=THIN), percent_range(interval, "", THIN))

    def set_stale(self, stale: bool) -> None:
        """Grey what is out of date."""
        theme.set_property(self.value, "stale", stale)
        theme.set_property(self.remark, "stale", stale)


class AsrFigure(QFrame):
    """Target chooser, attack success rate, and the numbers that keep it honest."""

    target_chosen = Signal(int)
    role_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("asrFigure")
        self.setProperty("card", True)
        self.stale = False
        self._evaluation: Evaluation | None = None
        self._whole = True
        self.target = _search_box("Target class")
        self.target.activated.connect(self.target_chosen)
        self.role_buttons: dict[str, QPushButton] = {}
        self._group = QButtonGroup(self)
        for role, text in (("suspect", "Before cleaning"), ("cleaned", "After cleaning")):
            button = push_button(text, name=f"Look at the {role} checkpoint")
            button.setCheckable(True)
            button.setProperty("roleName", role)
            self._group.addButton(button)
            self.role_buttons[role] = button
        self._group.buttonToggled.connect(self._on_role_toggled)
        self._roles = FoldingRow(*self.role_buttons.values())
        self._roles.hide()

        self._heading = ElidedLabel("Attack success rate", "heading")  # beside a long status
        self.status = Label("", "badge")
        self.figure = named(Label(NOT_MEASURED, "figure"), "Attack success rate")
        self.track = IntervalTrack()
        self.caption = Label("", "caption", wrap=True)
        self.only = Note("caption")
        self.guessing = Note("warning")
        self.note = Note("warning")
        self.ca = Fact("Clean accuracy", "How often the true label is predicted without trigger.")
        self.poisoned = Fact(
            "Poisoned accuracy",
            "How often the true label is predicted with the trigger, on images of other classes.",
        )
        self.baseline = Fact(
            "Predicted as target\nwithout trigger",
            "How often the target is predicted without the trigger, on the same images.",
        )
        self.pulled = Fact(
            "Gains most",
            "The class whose share of the predictions rises most from clean to triggered.",
        )
        self.pulled.value.setTextFormat(Qt.TextFormat.RichText)
        self.pulled.value.linkActivated.connect(lambda place: self.target_chosen.emit(int(place)))
        self._lay_out()
        self._show(None)

    def _lay_out(self) -> None:
        label = Label("Tar&get", "field")
        label.setBuddy(self.target)
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.SPACE_L)
        grid.setVerticalSpacing(theme.SPACE_S)
        for place, fact in enumerate((self.ca, self.poisoned, self.baseline, self.pulled)):
            grid.addWidget(fact, place // 2, place % 2, Qt.AlignmentFlag.AlignBottom)
            grid.setColumnStretch(place % 2, 1)
        column(
            self._roles, row(label, (self.target, 1), spacing=theme.SPACE_S), theme.SPACE_S,
            row((self._heading, 1), (self.status, Qt.AlignmentFlag.AlignVCenter)), self.figure,
            self.track, self.caption, theme.SPACE_S, grid, self.only, self.note, self.guessing,
            of=self, margins=(theme.SPACE_L, theme.SPACE_M, theme.SPACE_L, theme.SPACE_M),
            spacing=theme.SPACE_XS,
        )  # fmt: skip

    def set_classes(self, names: Sequence[str]) -> None:
        """Offer other classes; equal names carry their index."""
        with QSignalBlocker(self.target):
            counted = Counter(names)
            self.target.clear()
            self.target.addItems(
                [f"{name} (#{i})" if counted[name] > 1 else name for i, name in enumerate(names)]
            )

    def set_target(self, target: int) -> None:
        """Show which class is the target."""
        with QSignalBlocker(self.target):
            self.target.setCurrentIndex(target)

    def set_roles(self, has_cleaned: bool, role: str) -> None:
        """Offer the switch between the checkpoints once there are two."""
        self._roles.setVisible(has_cleaned)
        with QSignalBlocker(self._group):
            for name, button in self.role_buttons.items():
                button.setChecked(name == role)

    def set_evaluation(
        self, evaluation: Evaluation | None, *, stale: bool = False, whole: bool = True
    ) -> None:
        """Show a measurement, or that nothing was measured.

        ``stale``: it is of an older trigger. Not ``whole``: it covers a part of the set, as large
        as the speed allows, so that it stays an estimate even when it is done.
        """
        self._evaluation, self._whole = evaluation, whole
        self._show(evaluation)
        self.set_stale(stale)

    def set_stale(self, stale: bool) -> None:
        """Grey the numbers while newer ones are awaited."""
        if stale != self.stale:
            self.stale = stale
            theme.set_property(self.figure, "stale", stale)
            theme.set_property(self.caption, "stale", stale)
            self.track.set_stale(stale)
            for fact in (self.poisoned, self.pulled, self.baseline, self.ca):
                fact.set_stale(stale)
            self._show_status()

    def _show(self, evaluation: Evaluation | None) -> None:
        self._show_rate(evaluation)
        self._show_facts(evaluation)
        self._show_status()
        self._show_doubts(evaluation)

    def _show_doubts(self, e: Evaluation | None) -> None:
        """What the numbers do not say: of other triggers, or of a model that only guesses."""
        low = e is not None and e.asr_excl is not None and e.asr_excl < _LOW
        self.only.setText(_ONLY if low else "")
        doubt = ""
        if e is not None and near_chance(e.ca_interval, self.target.count()):
            doubt = (
                f"Clean accuracy is close to guessing ({percent(1 / self.target.count())}): the "
                "model does not work on these images and classes, and the other numbers say little."
            )
        self.guessing.setText(doubt)

    def _show_rate(self, e: Evaluation | None) -> None:
        """The figure, its line and its caption."""
        labelled = e is None or e.n_labelled > 0
        rate = None if e is None else (e.asr_excl if labelled else e.asr_all)
        interval = None if e is None else (e.asr_interval if labelled else e.asr_all_interval)
        self._heading.setText("Attack success rate" if labelled else "Target rate, triggered")
        self.figure.setText(percent(rate, NOT_MEASURED, THIN))
        self._fit_figure(rate is not None)
        self.track.set_rate(rate, interval)
        if e is None or rate is None:
            self.caption.setText(f"Paint or choose a trigger to measure it.\n{self._clean_n(e)}")
            return
        n = e.n_excl if labelled else e.n
        of = "of other classes" if labelled else "images, unlabelled"
        lines = [f"n = {count_text(n)} {of}"]
        if labelled:
            lines[0] += f"; all images: {percent(e.asr_all, unit=THIN)}"
        if interval is not None:
            lines.insert(0, f"95{THIN} interval {percent_range(interval, unit=THIN)}")
        self.caption.setText("\n".join(lines))
        self.figure.setAccessibleDescription(f"{self.figure.text()}, {self.caption.text()}")

    def _clean_n(self, e: Evaluation | None) -> str:
        """How many images the clean accuracy is of, where the badge has nothing to speak of."""
        if e is None or e.ca is None:
            return ""
        estimate = "estimate, " if e.partial or not self._whole else ""
        return f"Clean accuracy: {estimate}n = {count_text(e.n)}"

    def _fit_figure(self, number: bool) -> None:
        """Words are smaller than the number, at the same height."""
        theme.set_property(self.figure, "role", "figure" if number else "title")
        self.figure.setFixedHeight(theme.px(62))
        font = QFont(self.figure.font())
        font.setFeature(QFont.Tag("tnum"), 1)
        self.figure.setFont(font)

    def _show_facts(self, e: Evaluation | None) -> None:
        """The four numbers beside it."""
        if e is None:
            for fact in (self.ca, self.poisoned, self.baseline, self.pulled):
                fact.show_value("–", number=False)
            return
        missing = NOT_MEASURED if e.n_labelled else NEEDS_LABELS
        poisoned = e.poisoned_accuracy if e.n_labelled else None
        self.ca.show_rate(e.ca, e.ca_interval, NEEDS_LABELS)
        self.poisoned.show_rate(poisoned, e.poisoned_interval, missing)
        self.baseline.show_rate(e.baseline_target_rate, e.baseline_interval, "–")
        if e.trigger is None:
            self.pulled.show_value(NOT_MEASURED, number=False)
        elif e.most_pulled is None or e.most_pulled_rise < 0.0005:
            self.pulled.show_value("none", number=False)
        else:
            self.pulled.show_value(escape(e.most_pulled), f"+{100 * e.most_pulled_rise:.1f} points")
            place = self.target.findText(e.most_pulled, Qt.MatchFlag.MatchExactly)
            if place not in (-1, self.target.currentIndex()):
                self.pulled.value.setText(f'<a href="{place}">{self.pulled.value.text()}</a>')
                self.pulled.value.setToolTip(f"{tip(e.most_pulled)}: make it the target")

    def _show_status(self) -> None:
        """Say whether the number is final."""
        e = self._evaluation
        text, tone = "", ""  # a final one: the caption says of how many
        if e is not None and e.trigger is not None and self.stale:
            text = "updating…"
        elif e is not None and e.trigger is not None and (e.partial or not self._whole):
            text, tone = "estimate", "info"  # the caption says of how many
        theme.set_property(self.status, "tone", tone)
        self.status.setText(text)
        self.status.setVisible(bool(text))

    def _on_role_toggled(self, button: QPushButton, on: bool) -> None:
        if on:
            self.role_chosen.emit(button.property("roleName"))


class _SearchBox(QComboBox):
    """A combo box in which any part of a name finds it; what is typed replaces the name."""

    def focusInEvent(self, event: QFocusEvent) -> None:  # noqa: N802
        """Select the name once the press that gave the focus is over."""
        super().focusInEvent(event)
        edit = self.lineEdit()
        if edit is not None:
            QTimer.singleShot(0, edit, lambda: edit.selectAll() if edit.hasFocus() else None)

    def restore(self) -> None:
        """Show the class in use again after a search that found none."""
        self.setEditText(self.itemText(self.currentIndex()))


def _search_box(name: str) -> _SearchBox:
    box = named(_SearchBox(), name)
    box.setEditable(True)
    box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(10)
    box.setMaxVisibleItems(18)
    completer, edit = box.completer(), box.lineEdit()
    assert completer is not None  # an editable box has both
    assert edit is not None
    completer.setFilterMode(Qt.MatchFlag.MatchContains)
    completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
    completer.setCompletionMode(QCompleter.CompletionMode.PopupCompletion)
    edit.setPlaceholderText("Search a class")
    edit.editingFinished.connect(box.restore)
    return box
