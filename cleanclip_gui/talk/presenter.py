"""Presentation mode: what an audience sees, and the remote control that steers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QMainWindow

from cleanclip_gui.session import Session
from cleanclip_gui.session.records import RunProgress
from cleanclip_gui.station import Context, OnStage, Scene
from cleanclip_gui.talk.curve import CurveChart
from cleanclip_gui.talk.guide import BACK, FORWARD, Guide
from cleanclip_gui.talk.script import Recorded, measured, of_result, step_of_run
from cleanclip_gui.talk.stage import Large, Stage
from cleanclip_gui.widgets.text import NOT_MEASURED, count_text, left_text, percent, plain
from ml_core.detection.scan.records import answer

_NOW = "attack success rate now, on fewer pictures"
_AT_WORK = {"clean": "Cleaning", "scan": "Scanning", "search": "Scanning", "test": "Testing"}
_ARROW = "\N{RIGHTWARDS ARROW}"


def facts(session: Session, station: str, recorded: Recorded | None = None) -> tuple[Large, Large]:
    """The large words at the left and at the right, from the session or a recording."""
    if recorded is not None:
        return (
            Large(recorded.figure, recorded.made),
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
    # The demo's own name would give the answer away.
    name = "An unknown file" if shown.is_demo else plain(shown.inspection.name, 60)
    return Large(name, plain(shown.title, 80))


def _prediction(session: Session) -> Large:
    prediction = session.prediction
    if prediction is None:
        return Large("\N{EN DASH}", "no picture is classified yet")
    images, picture = session.images, f"picture {prediction.image + 1}"
    names, labels = ((), ()) if images is None else (images.class_names, images.labels)
    if prediction.image < len(labels) and (label := int(labels[prediction.image])) >= 0:
        picture += f", “{plain(names[label], 40)}”"  # the model may be wrong without a trigger
    if prediction.triggered is None:
        return Large(plain(prediction.clean, 40), f"prediction for {picture}, no trigger")
    words = f"{plain(prediction.clean, 40)} {_ARROW} {plain(prediction.triggered, 40)}"
    changes = prediction.clean != prediction.triggered
    flips = changes and prediction.triggered in names[session.target : session.target + 1]
    effect = "the trigger flips it" if flips else "not the class that the trigger is for"
    effect = effect if changes else "the trigger changes nothing"
    return Large(words, f"prediction for {picture}: {effect}", flips)


def _rate(session: Session) -> Large:
    """The attack success rate; clean accuracy as long as there is no trigger."""
    evaluation = measured(session)
    if evaluation is None and session.evaluation is not None:
        return Large("ASR \N{HORIZONTAL ELLIPSIS}", "attack success rate: being measured")
    if evaluation is None or evaluation.asr_excl is None:
        return _accuracy(session)
    n = f"{'estimate, ' * evaluation.partial}n = {count_text(evaluation.n_excl)}"
    of = "after cleaning" if session.role == "cleaned" else "attack success rate"
    return Large(f"ASR {percent(evaluation.asr_excl)}", f"{of}, {n}", evaluation.asr_excl >= 0.5)


def _accuracy(session: Session) -> Large:
    evaluation = measured(session)
    if evaluation is None or evaluation.ca is None:
        return Large("")
    return Large(f"CA {percent(evaluation.ca)}", f"clean accuracy, n = {count_text(evaluation.n)}")


def _of_cleaning(session: Session) -> tuple[Large, Large]:
    before, after = (of_result(session, when, "asr_excl") for when in ("before", "after"))
    ca, n, n_excl = (of_result(session, "after", name) for name in ("ca", "n_labelled", "n_excl"))
    if after is not None:
        pictures, others = ("" if m is None else f", n = {count_text(int(m))}" for m in (n, n_excl))
        rates = [percent(rate, NOT_MEASURED) for rate in (ca, before, after)]
        accuracy = Large(f"CA {rates[0]}", f"clean accuracy after cleaning{pictures}")
        words = f"ASR {rates[1]} {_ARROW} {rates[2]}"
        return accuracy, Large(words, f"before and after cleaning{others}")
    step = step_of_run(session)
    if step is not None:
        progress = session.run_progress
        asr = None if progress is None else progress.asr
        rate = _rate(session) if asr is None else Large(f"ASR {percent(asr)}", _NOW, asr >= 0.5)
        return _progress(_AT_WORK[step], progress, "in the background, live"), rate
    accuracy, rate = _accuracy(session), _rate(session)
    return accuracy, rate if rate != accuracy else Large("")


def _of_job(session: Session, kind: str) -> Large:
    job = session.jobs.get(kind)
    if job is None:
        return Large("Is there a hidden trigger?", "no trigger is known")
    if job.status == "running":
        return _progress("Scanning", session.job_progress.get(kind), "for a hidden trigger, live")
    if job.verdict is None:
        return Large("No result", "the scan ended early")
    words = answer(job.verdict, plain(job.target, 40))
    return Large(words, "the verdict of the scan", job.verdict == "found")


def _progress(doing: str, progress: RunProgress | None, meaning: str) -> Large:
    """How far a job is, and how long it still takes if that is known."""
    share = 0.0 if progress is None else progress.fraction
    far = f" {100 * share:.0f} %" if share else "\N{HORIZONTAL ELLIPSIS}"
    left = "" if progress is None else left_text(progress.seconds_left)
    return Large(f"{doing}{far}", f"{meaning}, {left}" if left else meaning)


KEYS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Next", "Page Down, Right, Space", (*FORWARD, "Space")),
    ("Back", "Page Up, Left", BACK),
    ("Black screen", ". or B", (".", "B")),
    ("Leave the full screen, then end", "Esc", ("Esc",)),
)
"""What remote controls send. Qt leaves these keys to text fields, open lists and dialogs."""
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
        self.is_on = self.is_blank = False
        self.stage = Stage(window)
        self._curve = CurveChart(self.stage)
        self.stage.curtain.installEventFilter(self)
        acts = (guide.card.next.click, guide.card.back.click, self.set_blank, self._on_escape)
        self._shortcuts = [
            self._shortcut(key, act)
            for act, (_, _, keys) in zip(acts, KEYS, strict=True)
            for key in keys
        ]
        guide.ended.connect(self.leave)
        guide.failed.connect(self.leave)
        guide.changed.connect(self.refresh)
        # What stations show changes with each stroke, epoch and patch: they are asked now and then.
        self._ticks = QTimer(self, interval=_REFRESH_MS)
        self._ticks.timeout.connect(self.refresh)

    def _shortcut(self, key: str, act: Callable[[], object]) -> QShortcut:
        """A key that acts as long as it presents; it also ends a black screen."""
        shortcut = QShortcut(QKeySequence(key), self._window)
        shortcut.setContext(Qt.ShortcutContext.ApplicationShortcut)  # the speaker's window too
        shortcut.setAutoRepeat(False)
        shortcut.setEnabled(False)
        shortcut.activated.connect(lambda: self.set_blank(False) if self.is_blank else act())
        return shortcut

    @property
    def fills_screen(self) -> bool:
        """Whether it presents on the full screen."""
        return self.is_on and self._window.isFullScreen()

    def enter(self, *, full_screen: bool) -> None:
        """Begin, or change between full screen and window."""
        if not self.is_on:
            self._state_before = self._window.windowState()
            self.is_on = True
            self.stage.open(self._guide.card)
            self._window.installEventFilter(self)
            self._enable_keys()
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
        self._enable_keys()
        self._window.removeEventFilter(self)
        self.set_blank(False)
        self.stage.close_down()
        self._guide.card.set_pixel_size(0)
        self._guide.set_on_stage(False)
        self._guide.card.setVisible(self._guide.running)
        self._leave_full_screen()
        self.changed.emit()

    def set_blank(self, on: bool = True) -> None:
        """Make the screen black, or show the stage again."""
        self.is_blank = on
        self.stage.set_blank(on)
        if self.is_on:
            self.stage.curtain.setFocus() if on else self._guide.focus()

    def refresh(self) -> None:
        """Show what the station of the step shows now."""
        guide, session = self._guide, self._session
        step = guide.step
        if not self.is_on or step is None:
            return
        if guide.on_title:
            self.stage.show_scene(Scene(), Large(plain(guide.talk.title, 80)), Large(""))
            return
        if step.curve:
            self._curve.set_points(step.curve)
            self.stage.show_scene(Scene(self._curve), Large(""))
            return
        name = step.scene if step.scene and session.station == step.station else session.station
        station, scene = self._stations.get(name), Scene()
        if isinstance(station, OnStage) and guide.recorded is None:
            scene = station.scene()
        self.stage.show_scene(scene, *facts(session, name, guide.recorded))

    def _leave_full_screen(self) -> None:
        state = self._state_before & ~_FULL
        if self._window.windowState() & _FULL:
            self._window.setWindowState(state)

    def _enable_keys(self) -> None:
        for shortcut in self._shortcuts:
            shortcut.setEnabled(self.is_on)

    def _on_escape(self) -> None:
        if self._window.isFullScreen():
            self._leave_full_screen()
            self.changed.emit()
        else:
            self._guide.end()

    def _fit(self) -> None:
        """The stage, and the type of the card, are as large as the window."""
        self.stage.fit()
        self._guide.card.set_pixel_size(self.stage.type_pixels)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Follow the size of the window; any key and a click end a black screen."""
        if watched is self._window and event.type() == QEvent.Type.Resize:
            self._fit()
        elif watched is self.stage.curtain and event.type() in _ENDS_BLACK:
            self.set_blank(False)
            return True
        return False


_FULL = Qt.WindowState.WindowFullScreen
_ENDS_BLACK = (QEvent.Type.KeyPress, QEvent.Type.MouseButtonPress)
