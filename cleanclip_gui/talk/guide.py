"""The guided run: the steps of a talk, on a card below the real controls of the window."""

from __future__ import annotations

import shiboken6
from PySide6.QtCore import QEvent, QObject, QPoint, QRect, Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QFrame, QMainWindow, QScrollBar, QWidget

from cleanclip_gui import theme
from cleanclip_gui.station import Context
from cleanclip_gui.talk.script import Recorded, Step, Talk, check_names, shipped
from cleanclip_gui.widgets.controls import Label, push_button
from cleanclip_gui.widgets.layout import column, is_untouched, reveal, row
from cleanclip_gui.widgets.text import UNBROKEN, plain

_ON_CARD = Qt.ShortcutContext.WidgetWithChildrenShortcut
FORWARD, BACK = ("PgDown", "Right"), ("PgUp", "Left")
"""Keys that turn the steps of a talk."""
_T = QEvent.Type
_LAID_OUT_MS = 200  # pages lay themselves out first, and some go to their top
_EDGE = theme.SPACE_XS
_MOVES = (_T.Resize, _T.Move, _T.Show, _T.Hide, _T.LayoutRequest)


class Outline(QFrame):
    """A frame around a widget in ``parent``; ``moved`` when that, or what it lies in, has moved."""

    moved = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("guideFrame")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.target: QWidget | None = None
        self._watched: list[QWidget] = []
        self.hide()

    def set_target(self, target: QWidget | None) -> None:
        """Frame another widget, or none."""
        for watched in self._watched:
            if shiboken6.isValid(watched):
                watched.removeEventFilter(self)
        self.target, self._watched = target, []
        while target is not None:  # up to the parent: in between something scrolls
            target.installEventFilter(self)
            self._watched.append(target)
            target = None if target is self.parentWidget() else target.parentWidget()
        self.follow()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Follow the target when it or what it lies in moves."""
        if event.type() in _MOVES:
            self.follow()
            self.moved.emit()
        return super().eventFilter(watched, event)

    def follow(self) -> None:
        """Lie on the target, as far as it shows: what is scrolled out of sight gets no frame."""
        target, parent = self.target, self.parentWidget()
        area = QRect() if target is None else target.visibleRegion().boundingRect()
        if target is not None and parent is not None:
            around = area.adjusted(-_EDGE, -_EDGE, _EDGE, _EDGE)  # it hides no letter
            self.setGeometry(around.translated(target.mapTo(parent, QPoint())))
        self.setVisible(not area.isEmpty())


class GuideCard(QFrame):
    """One step of a guided run: what to see, and what can be done; it covers nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("guideCard")
        self.setAccessibleName("Guided run")
        self._count = Label("", "subtle")
        self._title = Label("", "heading")
        self._body = Label("", wrap=True)
        self._body.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.recorded = push_button(
            "Show recorded result", tip="Show what an earlier run came to; nothing is run."
        )
        self.recorded.hide()
        self.back, self.next = push_button("Back"), push_button("Next", look="primary")
        self.next.setObjectName("guide.next")
        self.end = push_button("End tour")
        self.end.setFlat(True)
        text = column(
            row(self._title, self._count, None, spacing=theme.SPACE_M), (self._body, 1),
            spacing=theme.SPACE_XS,
        )  # fmt: skip
        acts = column(None, row(self.end, self.recorded, self.back, self.next))
        row((text, 1), acts, of=self, margins="card", spacing=theme.SPACE_L)

    def set_pixel_size(self, pixels: int) -> None:
        """Write title, text and buttons so large; 0: as large as all else."""
        acts = ((button, 0.8) for button in (self.back, self.recorded, self.next))
        for widget, share in ((self._body, 1), (self._title, 1.2), (self._count, 1), *acts):
            theme.set_pixels(widget, round(share * pixels))
        lines = 2.6 * pixels or 3 * self.fontMetrics().height()
        self._body.setMinimumHeight(round(lines))  # the page above keeps its height

    def show_step(self, count: str, title: str, body: str, next_text: str, can_go_on: bool) -> None:
        """Show a step; ``count`` says which of how many."""
        self._count.setText(count)
        self._title.setText(title)
        self._body.setText(body.replace(" %", UNBROKEN))
        self.next.setText(next_text)
        had_focus = self.next.hasFocus() or self.hasFocus()
        self.next.setEnabled(can_go_on)
        if had_focus:  # Qt would hand it to some button at the other end of the window
            (self.next if can_go_on else self).setFocus()
        self.setAccessibleDescription(f"{title}. {body}")


class Guide(QObject):
    """Leads through a talk; follows the session, so that acting by hand counts too.

    ``ended``: the card is gone. ``changed``: another step, or more of the same step, is on show.
    ``failed``: a step's command raised an error, which goes on to the log and its dialog. The
    window has the card below its pages.
    """

    ended = Signal()
    changed = Signal()
    failed = Signal()

    def __init__(self, context: Context, window: QMainWindow) -> None:
        super().__init__(window)
        self._session, self._actions, self._shell = context.session, context.actions, context.shell
        self._window = window
        self.talk = shipped("tour")
        self.position = -1
        self.on_stage = False  # an audience sees the card, and no frame
        self.on_title = False  # the title of the talk stands before its first step
        self._trouble = ""  # why the step's act could not be done
        self._on_record: set[int] = set()  # steps whose recorded result stands for a live one
        self._begins = False  # in its middle, and waits for the checkpoint
        self._outline = Outline(window)
        self.card = GuideCard()
        self.card.set_pixel_size(0)
        self.card.hide()
        self.card.next.clicked.connect(self.go_on)
        self.card.back.clicked.connect(self.go_back)
        self.card.end.clicked.connect(self.end)
        self.card.recorded.clicked.connect(self.show_recorded)
        self._keys: list[QShortcut] = []  # an arrow would go from button to button
        for button, names in ((self.card.next, FORWARD), (self.card.back, BACK)):
            for key in names:
                self._keys.append(QShortcut(QKeySequence(key), self.card, context=_ON_CARD))
                self._keys[-1].activated.connect(button.click)
        events = self._session.events
        for signal in (
            events.checkpoint, events.evaluation, events.trigger, events.jobs, events.run,
            events.cleaned, events.station, events.run_progress,
        ):  # fmt: skip
            signal.connect(lambda *_: self._refresh())
        self._settled = QTimer(self, singleShot=True, interval=_LAID_OUT_MS)
        self._settled.timeout.connect(self._bring_into_view)
        self._outline.moved.connect(self._on_moved)
        self._scrolled: dict[QScrollBar, int] = {}  # to where, for what is framed
        self._soon = QTimer(self, singleShot=True, interval=0)  # all hear of a checkpoint first
        self._soon.timeout.connect(self._catch_up)
        events.checkpoint.connect(lambda *_: self._soon.start())

    @property
    def running(self) -> bool:
        """Whether a talk is on."""
        return self.position >= 0

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the talk."""
        return self.talk.steps

    @property
    def step(self) -> Step | None:
        """The step on show."""
        return self.steps[self.position] if self.running else None

    @property
    def next_step(self) -> Step | None:
        """The step after it."""
        ahead = self.position + 1
        return self.steps[ahead] if self.running and ahead < len(self.steps) else None

    @property
    def recorded(self) -> Recorded | None:
        """The recorded result that is on show in place of a live one; mostly None."""
        step = self.step
        if step is None or self.position not in self._on_record or step.is_ready(self._session):
            return None
        return step.recorded

    def set_talk(self, talk: Talk) -> None:
        """Lead through another talk from now on; one that goes on is ended.

        Raises
        ------
        InputError
            If it names a station or a widget that the window does not have.
        """
        stations = [command.id.removeprefix("view.") for command in self._actions.commands]
        names = {widget.objectName() for widget in self._window.findChildren(QWidget)}
        check_names(talk, stations, names)
        if self.running:
            self.end()
        self.talk = talk

    def start(self, position: int = 0, *, opening: bool = False) -> None:
        """Begin at a step, with the trigger that the steps before it put on.

        With ``opening``, another checkpoint is being opened, and the guide waits for it.
        """
        self._on_record.clear()
        self.show_step(min(max(position, 0), len(self.steps) - 1))
        self._begins = self.position > 0
        self._show_title()
        if not opening:
            self._catch_up()

    def set_on_stage(self, on: bool) -> None:
        """Show to an audience what it needs to see of the card; the keys do the rest."""
        self.on_stage = on
        for key in self._keys:
            key.setEnabled(not on)
        self._show_title()

    def _show_title(self) -> None:
        """Begin with the title of the talk, where an audience sees it."""
        self.on_title = self.on_stage and self.position == 0
        self._refresh()

    def say(self, trouble: str) -> None:
        """Say in place of the step's words why something could not be done, until it changes."""
        self._trouble = plain(trouble, 600)
        self._refresh()

    def go_on(self) -> None:
        """Do this step's act if it is still to be done; else go to the next step."""
        step, trouble, self._trouble = self.steps[self.position], self._trouble, ""
        if self.on_title:
            self.on_title = False
            self._refresh()
        elif step.acts(self._session) and self.recorded is None:
            if trouble and step.recorded is not None:
                self.show_recorded()  # who has a remote alone cannot press the other button
            elif self._actions[step.run].isEnabled():
                self._run(step.run)
                self.focus()  # Return goes on with the tour, not with what the act brought up
            else:
                needs = next(c.needs for c in self._actions.commands if c.id == step.run)
                self.say(f"“{step.run_text}” cannot be done now. {needs}")
            self._refresh()
        elif self.position + 1 == len(self.steps):
            self.end()
        else:
            self.show_step(self.position + 1)

    def go_back(self) -> None:
        """Show the step before, or the title."""
        if self.position > 0:
            self.show_step(self.position - 1)
        else:
            self._show_title()

    def show_recorded(self) -> None:
        """Show the recorded result of this step in place of the missing live one."""
        self._on_record.add(self.position)
        self._refresh()

    def end(self) -> None:
        """Take the card away and change nothing else."""
        self.position = -1
        self.on_title = False
        self.card.hide()
        self._outline.set_target(None)
        self.ended.emit()

    def show_step(self, position: int) -> None:
        """Go to a step, without what those before it do."""
        step = self.steps[position]
        if self.recorded is not None and step.recorded is not None and position > self.position:
            self._on_record.add(position)  # it is about the same result
        self.position, self.on_title, self._trouble = position, False, ""
        self._shell.station_wanted.emit(step.station)
        if step.prepare and ("always" in step.ready or not step.is_ready(self._session)):
            self._run(step.prepare)
        self._refresh()
        self.card.show()
        self.focus()

    def focus(self) -> None:
        """Put the focus on Next, or on the card where that cannot be pressed."""
        (self.card.next if self.card.next.isEnabled() else self.card).setFocus()

    def _run(self, command: str) -> None:
        try:
            self._actions.run(command)
        except BaseException:
            self.failed.emit()
            raise

    def _catch_up(self) -> None:
        """Do what the steps before this one do at once, where the talk began in its middle."""
        if not self.running or not self._begins or self._session.checkpoint is None:
            return
        self._begins = False
        for step in self.steps[: self.position]:
            if step.run.startswith("trigger.") and step.acts(self._session):
                self._shell.station_wanted.emit(step.station)
                self._run(step.run)
        self.show_step(self.position)  # its station may not have been there before

    def _refresh(self) -> None:
        if not self.running:
            return
        step, session, recorded = self.steps[self.position], self._session, self.recorded
        ready = step.is_ready(session)
        last = self.position + 1 == len(self.steps)
        acting = step.acts(session) and recorded is None
        text = (step.run_text or "Do it") if acting else ("End tour" if last else "Next")
        if acting and self._trouble and step.recorded is not None:
            text = self.card.recorded.text()
        count, title = f"{self.position + 1} of {len(self.steps)}", step.title
        body, can_go_on = self._trouble or step.body(session), ready or acting
        if recorded is not None:
            origin = "" if self.on_stage else f"Recorded earlier ({recorded.made}). "
            body, can_go_on = f"{origin}{recorded.text}", True  # the stage says so in large type
        if self.on_title:  # the stage shows it in large type
            count, title, body, text, can_go_on = "", "", self._trouble, "Begin", True
        self.card.show_step(count, title, body, text, can_go_on)
        self.card.back.setVisible(not self.on_stage)  # a key does it too
        self.card.back.setEnabled(self.position > 0 or (self.on_stage and not self.on_title))
        self.card.recorded.setVisible(step.recorded is not None and not ready and recorded is None)
        self.card.end.setVisible(not self.on_stage and not (last and ready))
        name = "" if self.on_stage else step.framed(session)
        framed = self._widget(name) if name else None
        if framed is not self._outline.target:
            self._scrolled = {}
            self._settled.start()
        self._outline.set_target(framed)
        self.changed.emit()

    def _bring_into_view(self) -> None:
        """Scroll to what is framed, and again when the page grows, unless the user has scrolled."""
        framed = self._outline.target
        if framed is not None and shiboken6.isValid(framed) and is_untouched(self._scrolled):
            self._scrolled = reveal(framed)

    def _on_moved(self) -> None:
        """Look again soon, as the page is laid out many times over."""
        if not self._settled.isActive():
            self._settled.start()

    def _widget(self, name: str) -> QWidget | None:
        widget: QWidget | None = self._window.findChild(QWidget, name)
        return widget
