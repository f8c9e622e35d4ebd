"""Presentation mode: what an audience sees, and the remote control that steers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QEvent, QObject, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QFrame,
    QLineEdit,
    QMainWindow,
    QPlainTextEdit,
    QTextEdit,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.session import Session
from cleanclip_gui.session.records import JobState, RunProgress, is_live
from cleanclip_gui.station import Context
from cleanclip_gui.talk.guide import Guide
from cleanclip_gui.talk.script import Recorded, measured, of_result
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.text import NOT_MEASURED, percent, plain
from ml_core.detection.scan.records import TITLES

_ARROW = "\N{RIGHTWARDS ARROW}"


@dataclass(frozen=True)
class Large:
    """A few words in large type, what they are, and whether they are bad news."""

    words: str
    meaning: str
    alarming: bool = False


def facts(session: Session, recorded: Recorded | None = None) -> tuple[Large, Large]:
    """What stands at the left and at the right of the band, from the session or a recording."""
    if recorded is not None:
        return (
            Large("Recorded", "a result of an earlier run, not live"),
            Large(recorded.figure, f"recorded earlier: {recorded.made}"),
        )
    if session.station == "clean":
        return _of_cleaning(session)
    if job := session.jobs.get(session.station):
        return _of_job(job, session.job_progress.get(session.station)), _asr(session)
    return _prediction(session), _asr(session)


def _prediction(session: Session) -> Large:
    prediction = session.prediction
    if prediction is None:
        return Large("\N{EN DASH}", "no picture is classified yet")
    picture = f"picture {prediction.image + 1}"
    if prediction.triggered is None:
        return Large(plain(prediction.clean, 40), f"prediction for {picture}, no trigger")
    words = f"{plain(prediction.clean, 40)} {_ARROW} {plain(prediction.triggered, 40)}"
    flips = prediction.clean != prediction.triggered
    effect = "the trigger flips it" if flips else "the trigger changes nothing"
    return Large(words, f"prediction for {picture}: {effect}", flips)


def _asr(session: Session) -> Large:
    evaluation = measured(session)
    if evaluation is None and session.evaluation is not None:
        return Large("ASR \N{HORIZONTAL ELLIPSIS}", "attack success rate: being measured")
    if evaluation is None or evaluation.asr_excl is None:
        return Large(f"ASR {NOT_MEASURED}", "attack success rate: no trigger was measured")
    n = f"estimate, n = {evaluation.n_excl}" if evaluation.partial else f"n = {evaluation.n_excl}"
    of = "after cleaning" if session.role == "cleaned" else "attack success rate"
    meaning = f"{of}, {n}"
    return Large(f"ASR {_short(evaluation.asr_excl)}", meaning, evaluation.asr_excl >= 0.5)


def _of_cleaning(session: Session) -> tuple[Large, Large]:
    before, after = (of_result(session, when, "asr_excl") for when in ("before", "after"))
    ca = of_result(session, "after", "ca")
    if after is not None:
        was = NOT_MEASURED if before is None else _short(before)
        accuracy = Large(
            f"CA {NOT_MEASURED if ca is None else _short(ca)}", "clean accuracy after cleaning"
        )
        return accuracy, Large(f"ASR {was} {_ARROW} {_short(after)}", "before and after cleaning")
    if is_live(session.run):
        share = 0.0 if session.run_progress is None else session.run_progress.fraction
        far = f" {100 * share:.0f} %" if share else "\N{HORIZONTAL ELLIPSIS}"
        return Large(f"Cleaning{far}", "in the background, live"), _asr(session)
    return _prediction(session), _asr(session)


def _of_job(job: JobState, progress: RunProgress | None) -> Large:
    if job.status == "running":
        share = 0.0 if progress is None else progress.fraction
        return Large(f"Searching {100 * share:.0f} %", "for a trigger that nobody named, live")
    if job.verdict == "found":
        return Large(f"Found: {plain(job.target, 40)}", "target class of a found trigger", True)
    if job.verdict is None:
        return Large("No result", "the scan ended early")
    return Large(TITLES[job.verdict], "the verdict of the scan")


def _short(rate: float) -> str:
    """Per cent without decimals, but never a false 0 or 100."""
    if 0.005 <= rate < 0.995 or rate in (0.0, 1.0):
        return f"{100 * rate:.0f} %"
    return percent(rate)


class _LargeText(QWidget):
    """Paints words as large as they fit, and below them what they are."""

    def __init__(self, name: str, align: Qt.AlignmentFlag) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self._align = align | Qt.AlignmentFlag.AlignVCenter
        self.large = Large("", "")

    def show_large(self, large: Large) -> None:
        """Show other words."""
        if large != self.large:
            self.large = large
            self.setAccessibleDescription(f"{large.words}, {large.meaning}")
            self.update()

    def _fitting(self, text: str, pixels: float, least: float, bold: bool) -> QFont:
        """A font no larger than so many pixels, in which the text fits the width."""
        font = theme.figure_font(10, bold=bold)
        font.setPixelSize(max(1, round(pixels)))
        wide = QFontMetricsF(font).horizontalAdvance(text)
        if wide > self.width() > 0:
            font.setPixelSize(max(1, round(max(least, pixels * self.width() / wide))))
        return font

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Two thirds for the words, a quarter for their meaning."""
        painter, height = QPainter(self), self.height()
        for text, top, share, bold, colour in (
            (self.large.words, 0.0, 0.7, True, "danger" if self.large.alarming else "text"),
            (self.large.meaning, 0.7, 0.3, False, "muted"),
        ):
            area = QRectF(0, top * height, self.width(), share * height)
            font = self._fitting(text, 0.78 * share * height, 0.34 * share * height, bold)
            painter.setFont(font)
            painter.setPen(theme.colour(colour))
            elided = QFontMetricsF(font).elidedText(text, Qt.TextElideMode.ElideRight, self.width())
            painter.drawText(area, int(self._align), elided)


class Band(QFrame):
    """Shows :func:`facts`, as high as an eighth of the window."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("talk.band")
        self.setProperty("bar", True)
        self.setAccessibleName("For the audience")
        self.left = _LargeText("Prediction", Qt.AlignmentFlag.AlignLeft)
        self.right = _LargeText("Attack success rate", Qt.AlignmentFlag.AlignRight)
        row(
            (self.left, 1), (self.right, 1),
            of=self, margins=(theme.SPACE_L, theme.SPACE_XS, theme.SPACE_L, theme.SPACE_XS),
            spacing=theme.SPACE_L,
        )  # fmt: skip

    def fit(self, height: int) -> None:
        """Be as high as a window of that height allows; type grows with it."""
        self.setFixedHeight(max(3 * self.fontMetrics().height(), height // 8))

    def show_facts(self, left: Large, right: Large) -> None:
        """Show other facts."""
        self.left.show_large(left)
        self.right.show_large(right)


Act = Literal["next", "back", "first", "blank", "show", "leave"]
_K = Qt.Key
KEYS: dict[Qt.Key, Act] = {
    _K.Key_PageDown: "next",
    _K.Key_Right: "next",
    _K.Key_Space: "next",
    _K.Key_Return: "next",
    _K.Key_Enter: "next",
    _K.Key_PageUp: "back",
    _K.Key_Left: "back",
    _K.Key_Home: "first",
    _K.Key_Period: "blank",
    _K.Key_B: "blank",
    _K.Key_F5: "show",
    _K.Key_Escape: "leave",
}
"""What remote controls send: page keys, arrows or Return; F5 and Escape in turn; a dot or B."""
_PRESSES = (_K.Key_Space, _K.Key_Return, _K.Key_Enter)
_BY_KEYBOARD = (
    Qt.FocusReason.TabFocusReason,
    Qt.FocusReason.BacktabFocusReason,
    Qt.FocusReason.ShortcutFocusReason,
)
_LEFT_ALONE = Qt.KeyboardModifier.KeypadModifier
_WATCHED = (
    QEvent.Type.KeyPress,
    QEvent.Type.ShortcutOverride,
    QEvent.Type.MouseButtonPress,
    QEvent.Type.FocusIn,
)


def is_typing(widget: QWidget | None) -> bool:
    """Whether keys are text, or a number, where the focus is."""
    if isinstance(widget, QLineEdit | QTextEdit | QPlainTextEdit):
        return not widget.isReadOnly()
    if isinstance(widget, QComboBox):
        return widget.isEditable()
    return isinstance(widget, QAbstractSpinBox)


class KeyFilter(QObject):
    """While on, takes the keys of :data:`KEYS` before any widget; then emits ``pressed(act)``.

    It lets them through in text fields, spin boxes, popups and dialogs, and Space and Return on a
    button that was reached by the keyboard. ``any_key`` takes every key, while the screen is
    blank.

    Parameters
    ----------
    next_button
        Next on the card: Space and Return press it anyway.
    """

    pressed = Signal(str)

    def __init__(self, next_button: QAbstractButton, parent: QObject) -> None:
        super().__init__(parent)
        self._next = next_button
        self._is_on = self._by_keyboard = False
        self.any_key = False

    def set_on(self, on: bool) -> None:
        """Begin or end to take keys."""
        app = QApplication.instance()
        if on == self._is_on or app is None:
            return
        self._is_on, self.any_key, self._by_keyboard = on, False, False
        if on:
            app.installEventFilter(self)
        else:
            app.removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Take a key of the talk; a shortcut of the same key must not act beside it."""
        kind = event.type()
        if kind not in _WATCHED or not isinstance(watched, QWidget):
            return False
        if kind == QEvent.Type.FocusIn:
            self._by_keyboard = event.reason() in _BY_KEYBOARD  # type: ignore[attr-defined]
            return False
        if kind == QEvent.Type.MouseButtonPress:
            return self._take_click(watched)
        assert isinstance(event, QKeyEvent)
        act = self._act_of(event)
        if not act:
            return False
        event.accept()
        if kind == QEvent.Type.KeyPress and not event.isAutoRepeat():
            self.pressed.emit(act)
        return True

    def _act_of(self, event: QKeyEvent) -> str:
        """What a key does to the talk here; empty: it is not the talk's."""
        focus = QApplication.focusWidget()
        elsewhere = (
            QApplication.activePopupWidget() is not None
            or QApplication.activeModalWidget() is not None
            or (focus is not None and isinstance(focus.window(), QDialog))
        )
        if elsewhere or is_typing(focus):
            return ""
        if self.any_key:
            return "blank"
        if event.modifiers() & ~_LEFT_ALONE:
            return ""
        key = Qt.Key(event.key())
        is_button = isinstance(focus, QAbstractButton) and focus is not self._next
        if key in _PRESSES and is_button and self._by_keyboard:
            return ""
        return KEYS.get(key, "")

    def _take_click(self, watched: QWidget) -> bool:
        if self.any_key and not isinstance(watched.window(), QDialog):
            self.pressed.emit("blank")
            return True
        return False


_LINES = 52  # heights of the window in lines of the card, at which its type begins to grow


class _Curtain(QWidget):
    """Black over the whole window."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.setAccessibleName("Blank screen; any key shows the window again")
        self.setCursor(Qt.CursorShape.BlankCursor)
        self.hide()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Black, whatever the theme."""
        QPainter(self).fillRect(self.rect(), QColor(0, 0, 0))


class Presenter(QObject):
    """Presents the talk of a guide: full screen, or in the window.

    Everything that it hides comes back once it has ended, also when a step fails. ``changed``: it
    began, ended, or changed between full screen and window.

    Parameters
    ----------
    hidden
        Parts of the window that an audience need not see.
    """

    changed = Signal()

    def __init__(
        self, context: Context, window: QMainWindow, guide: Guide, hidden: Sequence[QWidget]
    ) -> None:
        super().__init__(window)
        self._session = context.session
        self._window, self._guide, self._hidden = window, guide, hidden
        self._shown_before: list[QWidget] = []
        self._state_before = Qt.WindowState.WindowNoState
        self.is_on = False
        self.band = Band()
        self.band.hide()
        self._curtain = _Curtain(window)
        self.keys = KeyFilter(guide.card.next, self)
        self.keys.pressed.connect(self._on_pressed)
        guide.ended.connect(self.leave)
        guide.failed.connect(self.leave)
        guide.changed.connect(self._show_facts)
        events = self._session.events
        for signal in (
            events.evaluation, events.prediction, events.station, events.run, events.run_progress,
            events.jobs, events.job_progress, events.role,
        ):  # fmt: skip
            signal.connect(self._on_session_change)

    @property
    def is_blank(self) -> bool:
        """Whether the screen is black."""
        return self.keys.any_key

    @property
    def fills_screen(self) -> bool:
        """Whether it presents on the full screen."""
        return self.is_on and self._window.isFullScreen()

    def enter(self, *, full_screen: bool) -> None:
        """Begin, or change between full screen and window."""
        if not self.is_on:
            self._state_before = self._window.windowState()
            self._shown_before = [part for part in self._hidden if not part.isHidden()]
            self.is_on = True
            for part in self._shown_before:
                part.hide()
            self.band.show()
            self._window.installEventFilter(self)
            self.keys.set_on(True)
        if full_screen:
            self._window.setWindowState(self._window.windowState() | _FULL)
        else:
            self._leave_full_screen()
        self._fit()
        self._show_facts()
        self._guide.focus()
        self.changed.emit()

    def leave(self) -> None:
        """End it, and show what was hidden."""
        if not self.is_on:
            return
        self.is_on = False
        self.keys.set_on(False)
        self._window.removeEventFilter(self)
        for own in (self._curtain, self.band):
            own.hide()
        self._guide.card.set_pixel_size(0)
        self._leave_full_screen()
        for part in self._shown_before:
            part.show()
        self._shown_before = []
        self.changed.emit()

    def set_blank(self, on: bool) -> None:
        """Make the screen black, or show the window again."""
        self.keys.any_key = on
        self._curtain.setGeometry(self._window.rect())
        self._curtain.setVisible(on)
        self._curtain.raise_()

    def _leave_full_screen(self) -> None:
        state = self._state_before & ~_FULL
        if self._window.windowState() & _FULL:
            self._window.setWindowState(state)

    def _on_pressed(self, act: str) -> None:
        """Do what a key of the remote says."""
        card = self._guide.card
        if act == "blank":
            self.set_blank(not self.is_blank)
        elif act == "next":
            card.next.click()
        elif act == "back":
            card.back.click()
        elif act == "first":
            self._guide.show_step(0)
        elif act == "show":
            self.enter(full_screen=True)
        elif self._window.isFullScreen():
            self._leave_full_screen()
            self.changed.emit()
        else:
            self._guide.end()

    def _on_session_change(self, *_: object) -> None:
        self._show_facts()

    def _show_facts(self) -> None:
        if self.is_on:
            self.band.show_facts(*facts(self._session, self._guide.recorded))

    def _fit(self) -> None:
        """Type of the band and of the card grows with the window."""
        height = self._window.height()
        self.band.fit(height)
        usual = self._window.fontInfo().pixelSize()
        self._guide.card.set_pixel_size(max(usual, height // _LINES))
        self._guide.place()
        self._curtain.setGeometry(self._window.rect())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Follow the size of the window."""
        if event.type() == QEvent.Type.Resize:
            self._fit()
        return False


_FULL = Qt.WindowState.WindowFullScreen
