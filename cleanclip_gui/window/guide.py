"""The guided run: seven steps over the real controls of the window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QObject, Signal, Slot
from PySide6.QtWidgets import QMainWindow, QWidget

from cleanclip_gui.session import Session
from cleanclip_gui.session.records import is_live
from cleanclip_gui.station import Context
from cleanclip_gui.widgets.text import NOT_MEASURED, percent
from cleanclip_gui.window.guide_card import GuideCard, Outline
from ml_core.detection.scan.records import TITLES

CARD_WIDTH = 348
_NEXT = "guide.next"


@dataclass(frozen=True)
class Step:
    """One stop of the tour.

    ``target`` is the object name of the widget that it speaks of. ``act`` is the id of the command
    that Next runs here before it goes on (shown as ``act_text``) while ``ready`` does not hold;
    Next waits for ``ready`` otherwise, and where ``acts`` does not hold yet. ``prepare`` is the id
    of the command that sets the station up when the step is shown. The card stands in the corner
    at the bottom right, where Next stays under the speaker's mouse.
    """

    title: str
    station: str
    body: Callable[[Session], str]
    target: Callable[[Session], str]
    ready: Callable[[Session], bool]
    act: str = ""
    act_text: str = ""
    acts: Callable[[Session], bool] = lambda _: True
    prepare: str = ""


def _open_body(session: Session) -> str:
    if session.checkpoint is None:
        return "The checkpoint is being read…"
    return (
        "This is a downloaded CLIP model. The file is safe to read, but that does not rule out a "
        "backdoor in its weights."
    )


def _look_body(session: Session) -> str:
    found = session.evaluation
    if found is None or found.ca is None:
        return "The pictures are being classified…"
    return (
        f"With clean pictures it is a good model: it classifies {percent(found.ca)} of clean "
        "pictures correctly. Nothing looks suspicious."
    )


def _stick_body(session: Session) -> str:
    if session.trigger is None:
        return (
            "Put a sticker on the picture: paint a small red and white checkerboard, or add the "
            "sticker that the model was poisoned with."
        )
    return "The same trigger is now put on every picture. Watch the labels under them."


def _flip_body(session: Session) -> str:
    found = session.evaluation
    if found is None or found.asr_excl is None:
        return "The triggered pictures are being classified…"
    before = percent(found.baseline_target_rate, NOT_MEASURED)
    if not _flips(session):
        return (
            f"{percent(found.asr_excl)} of the pictures turn into “{found.target_name}”. "
            "Your sticker does not trigger the backdoor."
        )
    return (
        f"{percent(found.asr_excl)} of the pictures of other classes turn into "
        f"“{found.target_name}” ({before} without the trigger). "
        "That share is called the attack success rate (ASR)."
    )


def _scan_body(session: Session) -> str:
    scan = session.scan
    if scan is None:
        return (
            "We were not told the trigger: with a downloaded model nobody is. A scan searches for "
            "one: it changes small patches until pictures become one class, and asks a clean twin "
            "too."
        )
    if scan.status == "running":
        return (
            "It searches in the background. Watch the patches: the colours of the sticker appear, "
            "though nobody named them."
        )
    if scan.verdict == "found":
        return (
            f"Found: a patch that turns pictures into “{scan.target}”. It is not the attacker's "
            "sticker, only one that works; compare the colours."
        )
    if scan.verdict is not None:
        return f"The scan says: {TITLES[scan.verdict]}."
    return "The scan ended early. The tour goes on without it."


def _clean_body(session: Session) -> str:
    run = session.run
    if run is None:
        return (
            "CleanCLIP finetunes on clean pictures with captions. It also trains images and texts "
            "separately, which weakens the link from sticker to label. The short preset, Talk, is "
            "set on the left."
        )
    if is_live(run):
        return "It runs in the background. Watch ASR fall while accuracy holds."
    if run.status in ("finished", "stopped"):
        return "Done: the cleaned checkpoint is saved and was measured again from its file."
    return f"The run ended early: {run.error or run.status}."


def _compare_body(session: Session) -> str:
    if session.cleaned is None:
        return (
            "Before and after, side by side, on the same pictures. “Try in Studio” puts "
            "the same sticker on the cleaned model."
        )
    return (
        "The same sticker, the same pictures, the cleaned model. The two buttons above switch "
        "between before and after. A low ASR for one trigger does not prove the model is clean."
    )


def _finished(session: Session) -> bool:
    run = session.run
    return run is not None and run.status in ("finished", "stopped")


def _scanned(session: Session) -> bool:
    return session.scan is not None and session.scan.status != "running"


def _scanning(session: Session) -> str:
    """The card's own button at first; then the patches as they sharpen, and the verdict."""
    if session.scan is None:
        return _NEXT
    if session.scan.status == "running":
        return "scan.patches"
    return "scan.verdict" if session.scan.verdict is not None else _NEXT


def _cleaning(session: Session) -> str:
    """The card's own button at first; then what the run draws, and its result."""
    if is_live(session.run):
        return "clean.rates"
    return "clean.before_after" if _finished(session) else _NEXT


def _compared(session: Session) -> str:
    """Both results at first; once the cleaned model is open, its number in Studio."""
    return "studio.figure" if session.station == "studio" else "clean.before_after"


def _has_rate(session: Session) -> bool:
    found = session.evaluation
    return found is not None and found.asr_excl is not None


def _flips(session: Session) -> bool:
    """Whether the trigger gets its way with most pictures."""
    found = session.evaluation
    return found is not None and found.asr_excl is not None and found.asr_excl >= 0.5


def _has_accuracy(session: Session) -> bool:
    found = session.evaluation
    return found is not None and found.ca is not None


STEPS: tuple[Step, ...] = (
    Step(
        "Open",
        "checkpoint",
        _open_body,
        lambda session: "checkpoint.verdict",
        lambda session: session.checkpoint is not None,
    ),
    Step("Look", "studio", _look_body, lambda session: "studio.figure", _has_accuracy),
    Step(
        "Stick",
        "studio",
        _stick_body,
        lambda session: "studio.canvas",
        lambda session: session.trigger is not None,
        "trigger.demo",
        "Add demo sticker",
    ),
    Step(
        "Flip",
        "studio",
        _flip_body,
        lambda session: "studio.figure",
        _flips,
        "trigger.demo",
        "Use the demo sticker",
        acts=_has_rate,
    ),
    Step(
        "Search",
        "scan",
        _scan_body,
        _scanning,
        _scanned,
        "scan.start",
        "Search for a trigger",
        acts=lambda session: session.scan is None,
        prepare="scan.set_demo",
    ),
    Step(
        "Clean",
        "clean",
        _clean_body,
        _cleaning,
        _finished,
        "clean.start",
        "Start cleaning",
        prepare="clean.set_talk",
    ),
    Step(
        "Compare",
        "clean",
        _compare_body,
        _compared,
        lambda session: session.cleaned is not None,
        "clean.try",
        "Try in Studio",
    ),
)


class Guide(QObject):
    """Leads through :data:`STEPS`; follows the session, so that acting by hand counts too."""

    ended = Signal()

    def __init__(self, context: Context, window: QMainWindow) -> None:
        super().__init__(window)
        self._session, self._actions, self._shell = context.session, context.actions, context.shell
        self._window = window
        self.position = -1
        self.card = GuideCard(window)
        self._outline = Outline(window)
        self.card.hide()
        self.card.next_clicked.connect(self.go_on)
        self.card.back_clicked.connect(self.go_back)
        self.card.ended.connect(self.end)
        events = self._session.events
        for signal in (
            events.checkpoint,
            events.evaluation,
            events.trigger,
            events.scan,
            events.run,
            events.cleaned,
            events.station,
        ):
            signal.connect(self._on_session_change)

    @property
    def running(self) -> bool:
        """Whether the tour is on."""
        return self.position >= 0

    @Slot()
    def start(self) -> None:
        """Begin at the first step."""
        self._window.installEventFilter(self)
        self._show(0)

    @Slot()
    def go_on(self) -> None:
        """Do this step's act if it is still to be done; else go to the next step."""
        step = STEPS[self.position]
        if step.act and not step.ready(self._session) and step.acts(self._session):
            self._actions.run(step.act)
            self._refresh()
        elif self.position + 1 == len(STEPS):
            self.end()
        else:
            self._show(self.position + 1)

    @Slot()
    def go_back(self) -> None:
        """Show the step before."""
        self._show(max(0, self.position - 1))

    @Slot()
    def end(self) -> None:
        """Leave the window as it is and take the card away."""
        self.position = -1
        self._window.removeEventFilter(self)
        self.card.hide()
        self._outline.set_target(None)
        self.ended.emit()

    def _show(self, position: int) -> None:
        self.position = position
        step = STEPS[position]
        self._shell.station_wanted.emit(step.station)
        if step.prepare and not step.ready(self._session):
            self._actions.run(step.prepare)
        self._refresh()
        self.card.show()
        self.card.raise_()
        (self.card.next if self.card.next.isEnabled() else self.card).setFocus()

    def _on_session_change(self, _: object) -> None:
        if self.running:
            self._refresh()

    def _refresh(self) -> None:
        step, session = STEPS[self.position], self._session
        ready = step.ready(session)
        last = self.position + 1 == len(STEPS)
        acting = bool(step.act) and not ready and step.acts(session)
        busy = step.station == "clean" and is_live(session.run)
        text = step.act_text if acting else ("End tour" if last else "Next")
        self.card.show_step(
            self.position + 1,
            len(STEPS),
            step.title,
            step.body(session),
            text,
            (ready or acting) and not busy,
        )
        self.card.end.setVisible(not (last and ready))
        self._place()
        self._outline.set_target(self._widget(step.target(session)))

    def _widget(self, name: str) -> QWidget | None:
        found: QWidget | None = self._window.findChild(QWidget, name)
        return found

    def _place(self) -> None:
        """Put the card in its corner."""
        width, height = CARD_WIDTH, self.card.height_at(CARD_WIDTH)
        central = self._window.centralWidget()
        assert central is not None
        area = central.geometry().adjusted(12, 12, -12, -12)
        at = self._window.geometry().topLeft()
        seen = self._window.screen().availableGeometry().translated(-at)
        area &= seen.adjusted(4, 4, -4, -4)
        x, y = area.right() + 1 - width, area.bottom() + 1 - height
        self.card.setGeometry(x, max(y, area.top()), width, height)
        self._outline.follow()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Keep the card in place when the window changes size."""
        if event.type() == QEvent.Type.Resize:
            self._place()
        return super().eventFilter(watched, event)
