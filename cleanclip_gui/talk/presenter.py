"""Presentation mode: what an audience sees, and the remote control that steers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QLineEdit,
    QMainWindow,
    QPlainTextEdit,
    QTextEdit,
    QWidget,
)

from cleanclip_gui.session import Session
from cleanclip_gui.session.records import is_live
from cleanclip_gui.station import Context, OnStage, Scene
from cleanclip_gui.talk.guide import Guide
from cleanclip_gui.talk.script import Recorded, measured, of_result
from cleanclip_gui.talk.stage import Large, Loan, Stage
from cleanclip_gui.widgets.text import NOT_MEASURED, percent, plain
from ml_core.detection.scan.records import TITLES

_ARROW = "\N{RIGHTWARDS ARROW}"


def facts(session: Session, station: str, recorded: Recorded | None = None) -> tuple[Large, Large]:
    """The large words at the left and at the right, from the session or a recording."""
    if recorded is not None:
        return (
            Large(recorded.figure, f"recorded earlier: {recorded.made}"),
            Large("Recorded", "a result of an earlier run, not live"),
        )
    if station == "checkpoint":
        return _file(session), Large("")
    if station == "scan":
        examining = session.jobs.get("examination")
        return _of_job(session, "scan" if examining is None else "examination"), Large("")
    if station in ("clean", "report"):
        return _of_cleaning(session)
    return _prediction(session), _rate(session)


def _file(session: Session) -> Large:
    shown = session.checkpoint
    if shown is None:
        return Large("A downloaded file", "it is being read, and nothing of it is run")
    return Large(plain(shown.inspection.name, 60), plain(shown.title, 80))


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


def _rate(session: Session) -> Large:
    """The attack success rate; clean accuracy as long as there is no trigger."""
    evaluation = measured(session)
    if evaluation is None and session.evaluation is not None:
        return Large("ASR \N{HORIZONTAL ELLIPSIS}", "attack success rate: being measured")
    if evaluation is None or evaluation.asr_excl is None:
        return _accuracy(session)
    n = f"estimate, n = {evaluation.n_excl}" if evaluation.partial else f"n = {evaluation.n_excl}"
    of = "after cleaning" if session.role == "cleaned" else "attack success rate"
    return Large(f"ASR {_short(evaluation.asr_excl)}", f"{of}, {n}", evaluation.asr_excl >= 0.5)


def _accuracy(session: Session) -> Large:
    evaluation = measured(session)
    if evaluation is None or evaluation.ca is None:
        return Large("")
    return Large(f"CA {_short(evaluation.ca)}", f"clean accuracy, n = {evaluation.n}")


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
        return Large(f"Cleaning{far}", "in the background, live"), _rate(session)
    return _accuracy(session), _rate(session)


def _of_job(session: Session, kind: str) -> Large:
    job = session.jobs.get(kind)
    if job is None:
        return Large("Is there a trigger?", "nobody has named one")
    if job.status == "running":
        progress = session.job_progress.get(kind)
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


Act = Literal["next", "back", "blank", "show", "leave"]
_K = Qt.Key
KEYS: dict[Qt.Key, Act] = {
    _K.Key_PageDown: "next",
    _K.Key_Right: "next",
    _K.Key_Space: "next",
    _K.Key_PageUp: "back",
    _K.Key_Left: "back",
    _K.Key_Period: "blank",
    _K.Key_B: "blank",
    _K.Key_F5: "show",
    _K.Key_Escape: "leave",
}
"""What remote controls send: page keys or arrows; F5 and Escape in turn; a dot or B."""
_LEFT_ALONE = Qt.KeyboardModifier.KeypadModifier
_WATCHED = (
    QEvent.Type.KeyPress,
    QEvent.Type.ShortcutOverride,
    QEvent.Type.MouseButtonPress,
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

    It lets them through in text fields, spin boxes, popups and dialogs, and Space on a button
    other than ``next_button``. ``any_key`` takes every key, while the screen is blank.
    """

    pressed = Signal(str)

    def __init__(self, next_button: QAbstractButton, parent: QObject) -> None:
        super().__init__(parent)
        self._next = next_button
        self._is_on = self.any_key = False

    def set_on(self, on: bool) -> None:
        """Begin or end to take keys."""
        app = QApplication.instance()
        if on == self._is_on or app is None:
            return
        self._is_on, self.any_key = on, False
        if on:
            app.installEventFilter(self)
        else:
            app.removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Take a key of the talk; a shortcut of the same key must not act beside it."""
        kind = event.type()
        if kind not in _WATCHED or not isinstance(watched, QWidget):
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
        if key == _K.Key_Space and is_button:
            return ""
        return KEYS.get(key, "")

    def _take_click(self, watched: QWidget) -> bool:
        if self.any_key and not isinstance(watched.window(), QDialog):
            self.pressed.emit("blank")
            return True
        return False


_REFRESH_MS = 100


class Presenter(QObject):
    """Presents the talk of a guide on a stage that covers the window: full screen, or as it is.

    All comes back once it has ended, also when a step fails. ``changed``: it began, ended, or
    changed between full screen and window.

    Parameters
    ----------
    stations
        By their ids; those that have a scene for an audience are asked for it.
    """

    changed = Signal()

    def __init__(
        self, context: Context, window: QMainWindow, guide: Guide, stations: Mapping[str, object]
    ) -> None:
        super().__init__(window)
        self._session = context.session
        self._window, self._guide, self._stations = window, guide, stations
        self._state_before = Qt.WindowState.WindowNoState
        self._card: Loan | None = None
        self.is_on = False
        self.stage = Stage(window)
        self.keys = KeyFilter(guide.card.next, self)
        self.keys.pressed.connect(self._on_pressed)
        guide.ended.connect(self.leave)
        guide.failed.connect(self.leave)
        guide.changed.connect(self.refresh)
        # What stations show changes with each stroke, epoch and patch: they are asked now and then.
        self._ticks = QTimer(self, interval=_REFRESH_MS)
        self._ticks.timeout.connect(self.refresh)

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
            self.is_on = True
            self._card = Loan(self._guide.card, self.stage.card_place)
            self.stage.show()
            self._window.installEventFilter(self)
            self.keys.set_on(True)
            self._guide.set_on_stage(True)
            self._ticks.start()
        if full_screen:
            self._window.setWindowState(self._window.windowState() | _FULL)
        else:
            self._leave_full_screen()
        self._fit()
        self.refresh()
        self._guide.focus()
        self.changed.emit()

    def leave(self) -> None:
        """End it, and show the window again."""
        if not self.is_on:
            return
        self.is_on = False
        self._ticks.stop()
        self.keys.set_on(False)
        self._window.removeEventFilter(self)
        self.stage.set_blank(False)
        self.stage.give_back()
        self.stage.hide()
        self._guide.card.set_pixel_size(0)
        if self._card is not None:
            self._card.end()
        self._guide.set_on_stage(False)
        self._guide.card.setVisible(self._guide.running)
        self._leave_full_screen()
        self.changed.emit()

    def set_blank(self, on: bool) -> None:
        """Make the screen black, or show the stage again."""
        self.keys.any_key = on
        self.stage.set_blank(on)

    def refresh(self) -> None:
        """Show what the station of the step shows now."""
        guide, session = self._guide, self._session
        step = guide.step
        if not self.is_on or step is None:
            return
        if guide.on_title:
            file = _file(session) if session.checkpoint else Large("")
            self.stage.show_scene(
                Scene(), Large(plain(guide.talk.title, 80), file.words), Large("")
            )
            return
        name = step.scene if step.scene and session.station == step.station else session.station
        station = self._stations.get(name)
        live = isinstance(station, OnStage) and guide.recorded is None
        scene = station.scene() if live and isinstance(station, OnStage) else Scene()
        self.stage.show_scene(scene, *facts(session, name, guide.recorded))

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
        elif act == "show":
            self.enter(full_screen=True)
        elif self._window.isFullScreen():
            self._leave_full_screen()
            self.changed.emit()
        else:
            self._guide.end()

    def _fit(self) -> None:
        """The stage, and the type of the card, are as large as the window."""
        self.stage.cover(self._window)
        self._guide.card.set_pixel_size(self.stage.type_pixels)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Follow the size of the window."""
        if event.type() == QEvent.Type.Resize:
            self._fit()
        return False


_FULL = Qt.WindowState.WindowFullScreen
