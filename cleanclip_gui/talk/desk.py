"""All that belongs to a talk: its commands, and the window with the notes of the speaker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from PySide6.QtCore import QDateTime, QElapsedTimer, QLocale, QObject, Qt, QTimer
from PySide6.QtGui import QGuiApplication, QHideEvent, QShowEvent
from PySide6.QtWidgets import QMainWindow, QWidget

from cleanclip_gui import theme
from cleanclip_gui.commands import Command, KeyTable
from cleanclip_gui.session.records import is_live
from cleanclip_gui.station import AtWork, Context
from cleanclip_gui.talk.guide import Guide
from cleanclip_gui.talk.presenter import KEYS, Presenter
from cleanclip_gui.talk.script import Talk, load, shipped
from cleanclip_gui.widgets.controls import Label, named, push_button
from cleanclip_gui.widgets.layout import column, page, row, scrolling
from cleanclip_gui.widgets.prompts import failing
from ml_core.jobs.demo import demo_target

_TICK_MS = 500


class SpeakerWindow(QWidget):
    """A plain window, on another screen if there is one. ``guide`` is what it follows."""

    def __init__(self, guide: Guide, window: QMainWindow) -> None:
        super().__init__(window, Qt.WindowType.Window)
        self.setWindowTitle("Speaker's notes \N{EN DASH} CleanCLIP GUI")
        self.setObjectName("talk.speaker")
        self._guide, self._of = guide, window
        self._since = QElapsedTimer()
        self.clock, self.elapsed = Label("", "title"), Label("", "title")
        self.step, self.next = Label("", "title", wrap=True), Label("", "heading", wrap=True)
        self.notes = Label("", wrap=True)
        self.notes.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.notes.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
        font = self.notes.font()
        font.setPointSizeF(1.4 * font.pointSizeF())
        self.notes.setFont(font)
        self.back = push_button("Back", guide.card.back.click)
        self.forward = push_button("Next", guide.card.next.click, look="primary")
        self.restart = push_button("Restart the time", self.start_time)
        self._tick = QTimer(self, interval=_TICK_MS)
        self._tick.timeout.connect(self._show_time)
        self._lay_out()
        guide.changed.connect(self._follow)
        guide.ended.connect(self._follow)
        self._follow()

    def _lay_out(self) -> None:
        notes = named(scrolling(page((self.notes, 1), margins=None)), "Notes")
        notes.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # for the keys that scroll
        column(
            row((self.step, 1), self.clock, theme.SPACE_L, self.elapsed), (notes, 1),
            row((self.next, 1), self.restart, self.back, self.forward),
            of=self, margins=theme.SPACE_L,
        )  # fmt: skip
        self.resize(40 * self.fontMetrics().height(), 26 * self.fontMetrics().height())

    def start_time(self) -> None:
        """Count from now."""
        self._since.start()
        self._show_time()

    def place(self) -> None:
        """Stand on a screen where the main window is not, if there is one."""
        mine = self._of.screen()
        others = [screen for screen in QGuiApplication.screens() if screen is not mine]
        if others:
            area = others[0].availableGeometry()
            self.move(area.center() - self.rect().center())

    def _follow(self) -> None:
        """Show the step's notes, and whether Next can be pressed."""
        guide, step, ahead = self._guide, self._guide.step, self._guide.next_step
        card = guide.card
        if step is None:
            self.step.setText("No talk is on")
            for label in (self.notes, self.next):
                label.setText("")
        else:
            self.step.setText(f"{guide.position + 1} of {len(guide.steps)}: {step.title}")
            self.notes.setText(step.notes or "No notes for this step.")
            self.next.setText(f"Next: {ahead.title}" if ahead else "Next: the end")
        self.forward.setText(card.next.text())
        self.forward.setEnabled(step is not None and card.next.isEnabled())
        self.back.setEnabled(step is not None and card.back.isEnabled())

    def _show_time(self) -> None:
        now = QDateTime.currentDateTime().time()
        self.clock.setText(QLocale().toString(now, QLocale.FormatType.ShortFormat))
        seconds = self._since.elapsed() // 1000 if self._since.isValid() else 0
        self.elapsed.setText(time.strftime("%H:%M:%S", time.gmtime(seconds)))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """The time runs while it is seen."""
        if not self._since.isValid():
            self.start_time()
        self._show_time()
        self._tick.start()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """A hidden clock need not tick."""
        self._tick.stop()


class Reset(QObject):
    """Sets the stage again; the checkpoint stays open, and its clean pictures stay measured.

    Parameters
    ----------
    at_work
        What goes on in the stations.
    open_demo
        Opens the built-in demo, where something else is open.
    """

    def __init__(
        self,
        context: Context,
        at_work: Callable[[], Iterable[AtWork]],
        open_demo: Callable[[], object],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._context, self._session, self._shell = context, context.session, context.shell
        self._at_work, self._open_demo = at_work, open_demo
        self._awaits_end = False
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._shell.demo_opening)  # it forgets jobs that ended
        for signal in (self._session.events.run, self._session.events.jobs):
            signal.connect(self._on_session_change)

    def run(self) -> None:
        """Cancel, forget and take the trigger away; all that takes a while ends later, unseen."""
        for work in list(self._at_work()):
            work.cancel()
        shell, session = self._shell, self._session
        self._awaits_end = self._is_at_work()
        facts = session.checkpoint
        if facts is None or not facts.is_demo:
            self._open_demo()
            return
        shell.demo_opening.emit()
        shell.suspect_changing.emit()
        shell.open("role", "suspect")
        shell.open("trigger", None, demo_target())
        images = session.images
        if images is not None:
            shell.open("image", images.first_to_flip(demo_target()))
        self._context.actions.run("view.trigger")

    def _is_at_work(self) -> bool:
        jobs = self._session.jobs.values()
        return is_live(self._session.run) or any(job.status == "running" for job in jobs)

    def _on_session_change(self, *_: object) -> None:
        if self._awaits_end and not self._is_at_work():
            self._awaits_end = False
            self._soon.start()  # all hear of the end first


_MENU = "Tal&k"
_UNUSABLE = "The talk cannot be used"


class TalkDesk(QObject):
    """The guide and what surrounds it: presentation, speaker's window, reset.

    Parameters
    ----------
    window
        Has the commands' widgets; its central widget is there already.
    stations
        By their ids.
    at_work
        What goes on in the stations.
    open_demo
        Opens the built-in demo.
    put_aside
        Gives what opens again all that is open now, if anything is.
    """

    def __init__(
        self,
        context: Context,
        window: QMainWindow,
        stations: Mapping[str, object],
        at_work: Callable[[], Iterable[AtWork]],
        open_demo: Callable[[], object],
        put_aside: Callable[[], Callable[[], object] | None],
    ) -> None:
        super().__init__(window)
        self._put_aside, self._at_work = put_aside, at_work
        self._put_back: Callable[[], object] | None = None
        self._context, self._window, self._open_demo = context, window, open_demo
        self.guide = Guide(context, window)
        self.presenter = Presenter(context, window, self.guide, stations)
        self.resetting = Reset(context, at_work, open_demo, self)
        self.speaker: SpeakerWindow | None = None
        self.guide.ended.connect(context.actions.refresh_soon)
        self.guide.ended.connect(partial(QTimer.singleShot, 0, self, self._open_again))
        self.presenter.changed.connect(context.actions.refresh_soon)
        context.shell.closing.connect(self._on_closing)
        keys = tuple((act, names, "") for act, names, _ in KEYS)
        context.actions.key_tables.append(KeyTable("While presenting", keys))

    def commands(self) -> tuple[Command, ...]:
        """What can be done with a talk."""
        guide, presenter = self.guide, self.presenter
        no_talk = "Start a talk first."
        return (
            Command(
                "talk.present", "&Present on the full screen", _MENU,
                partial(self.present, full_screen=True),
                "Fill the screen for an audience; starts the tour if no talk is on.", "play", "F5",
                0, None, lambda: presenter.fills_screen,
            ),
            Command(
                "talk.present_here", "Present in the &window", _MENU,
                partial(self.present, full_screen=False),
                "Present within the window, for a video call.", "image", "Shift+F5", 0, None,
                lambda: presenter.is_on and not presenter.fills_screen,
            ),
            Command(
                "talk.speaker", "Speaker's &notes", _MENU, self.toggle_speaker,
                "Notes, clock and next step in a window for your own screen.", "log",
                "Ctrl+Shift+F5", 0, None,
                lambda: self.speaker is not None and self.speaker.isVisible(),
            ),
            Command(
                "talk.reset", "&Reset to the first step", _MENU, self.reset,
                "Cancel what runs, take the trigger away, and go to the first step.", "undo",
                "Ctrl+Shift+Home", 1, lambda: guide.running, needs=no_talk,
            ),
            Command(
                "talk.tour", "The &tour", _MENU, partial(self.start_shipped, "tour"),
                "From a file to its report: examined, tried, cleaned.", "demo", "", 2,
            ),
            Command(
                "talk.evidence", "From a suspicion to &evidence", _MENU,
                partial(self.start_shipped, "evidence"),
                "Station by station: a scan, CleanCLIP, and a bundle that others can check.",
                "report", "", 2,
            ),
            Command(
                "talk.open", "&Open a talk…", _MENU, self.choose,
                "Start the talk of a file that you wrote.", "open", "", 2,
            ),
        )  # fmt: skip

    # Starting

    def start(self, position: int = 0) -> None:
        """Begin the talk at a step, with the demo open."""
        facts = self._context.session.checkpoint
        opening = facts is None or not facts.is_demo
        if opening:
            self._put_back = self._put_aside()
        self._context.shell.open("role", "suspect")  # a cleaned copy answers to no sticker
        self.guide.start(position, opening=opening)
        if opening:
            self._open_demo()

    def _may_start(self) -> bool:
        """Ask where something goes on: the talk is slow beside it, and does not show it."""
        facts, what = self._context.session.checkpoint, " ".join(w.what for w in self._at_work())
        question = f"{what} Work goes on beside the talk, which opens the demo and will be slow."
        if facts is not None:
            question += " What is open now comes back afterwards."
        return (
            not what
            or (facts is not None and facts.is_demo)
            or self._context.prompts.confirm(
                self._window, "Start the talk", question, "Start the talk", "Not now"
            )
        )

    def _open_again(self) -> None:
        """Open what the talk took the place of, unless another talk has begun at once."""
        facts, back = self._context.session.checkpoint, self._put_back
        if back is not None and not self.guide.running:
            self._put_back = None
            if facts is not None and facts.is_demo:  # nothing else since
                back()

    def start_talk(self, talk: Talk, position: int = 0) -> None:
        """Begin another talk.

        Raises
        ------
        InputError
            If it names what the window does not have.
        """
        if self._may_start():
            self.guide.set_talk(talk)
            self.start(position)

    def start_shipped(self, name: str) -> None:
        """Begin one of the talks that come with the program."""
        with failing(self._context.shell.failed, _UNUSABLE):
            self.start_talk(shipped(name))

    def choose(self) -> None:
        """Begin the talk of a file."""
        folder = self._context.settings.value.last_folder
        kinds = "Talks (*.json)"
        path = self._context.prompts.open_file(self._window, "Open a talk", folder, kinds)
        if path:
            with failing(self._context.shell.failed, _UNUSABLE):
                self.start_talk(load(Path(path)))

    def present(self, *, full_screen: bool) -> None:
        """Present the talk that is on, or the one chosen last from its first step."""
        presenter = self.presenter
        if presenter.is_on and not full_screen and not presenter.fills_screen:
            self.guide.end()  # its switch is off again
            return
        if not self.guide.running and self._may_start():
            self.start()
        if self.guide.running:
            presenter.enter(full_screen=full_screen)

    def reset(self) -> None:
        """Set the stage again, and go to the first step."""
        self.resetting.run()
        self.guide.start()

    def toggle_speaker(self) -> None:
        """Show the speaker's window, or hide it."""
        if self.speaker is None:
            self.speaker = SpeakerWindow(self.guide, self._window)
            self.speaker.place()
        self.speaker.setVisible(not self.speaker.isVisible())

    def _on_closing(self) -> None:
        """Nothing hidden is remembered as the user's choice, and no clock goes on."""
        self._put_back = None
        if self.guide.running:
            self.guide.end()
        if self.speaker is not None:
            self.speaker.close()
