"""The main window: rail, header with the data bar, stations, status bar and log."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, cast

import shiboken6
from pydantic import TypeAdapter
from PySide6.QtCore import QByteArray, QEvent, QObject, QSize, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import (
    QAction,
    QCloseEvent,
    QDesktopServices,
    QDragEnterEvent,
    QDropEvent,
    QResizeEvent,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QDockWidget,
    QFrame,
    QLineEdit,
    QMainWindow,
    QMenu,
    QPushButton,
    QScrollArea,
    QScrollBar,
    QSizePolicy,
    QStackedWidget,
    QWidget,
)

import ml_core
from cleanclip_gui import theme, threads
from cleanclip_gui.commands import MENUS, Command
from cleanclip_gui.inference.questions import Failed
from cleanclip_gui.session import RunState, ShownCheckpoint
from cleanclip_gui.session.records import Answer, Tone, is_live
from cleanclip_gui.station import AtWork, Context, Part, Station
from cleanclip_gui.talk.desk import TalkDesk
from cleanclip_gui.talk.script import shipped
from cleanclip_gui.widgets.controls import ElidedLabel, chip
from cleanclip_gui.widgets.layout import column, is_untouched, reveal, row
from cleanclip_gui.widgets.name_filters import holds_checkpoints, is_checkpoint, local_paths
from cleanclip_gui.widgets.text import left_text, plain, tip, used_text
from cleanclip_gui.window.command_palette import CommandPalette
from cleanclip_gui.window.crash import ErrorDialog, LogBridge, log_file
from cleanclip_gui.window.help_dialog import AboutDialog, HelpDialog, keys_page
from cleanclip_gui.window.preferences_dialog import PreferencesDialog, prefer
from cleanclip_gui.window.rail import Rail
from cleanclip_gui.window.session_files import SessionFiles
from cleanclip_gui.window.session_keeper import SessionKeeper
from cleanclip_gui.window.status_bar import LogPane, StatusBar
from cleanclip_gui.window.welcome import WelcomePage
from ml_core.cleaning.catalogue import method_title
from ml_core.data.specs import ImageSpec
from ml_core.jobs.demo import demo_target
from ml_core.paths import resource
from ml_core.reading import InputError
from ml_core.reports.sessions.folder import is_session

_SEEN = 12  # pixels that show around what has the focus
_ANSWER = 250  # pixels of the answer that say enough


class FocusKeeper(QObject):
    """Hands the focus of a button that was disabled or hidden to what is nearest to it.

    Qt takes the next widget of the tab order, which may be at the other end of the window. What
    lies in the same part of the page is mostly what takes the button's place: Cancel beside Start,
    or the result. A focus that a program or a user moves is left alone.

    What has the focus is scrolled into sight, and again when the page grows around it, unless the
    user has scrolled meanwhile. Qt scrolls once, and one scroll area alone.

    Parameters
    ----------
    app
        Whose focus it is.
    pages
        The focus is not carried from one of them to another: who turns the page goes elsewhere.
    """

    def __init__(self, app: QApplication, pages: QWidget) -> None:
        super().__init__(pages)
        self._pages = pages
        self._lost: QWidget | None = None
        self._soon = QTimer(self, singleShot=True, interval=0)  # its successor is shown first
        self._soon.timeout.connect(self._hand_on)
        self._scrolled: dict[QScrollBar, int] = {}  # to where, for what has the focus
        self._laid_out = QTimer(self, singleShot=True, interval=0)
        self._laid_out.timeout.connect(self._keep_in_sight)
        for area in pages.window().findChildren(QScrollArea):
            area.verticalScrollBar().rangeChanged.connect(self._laid_out.start)
        app.focusChanged.connect(self._on_focus_changed)

    def _on_focus_changed(self, before: QWidget | None, now: QWidget | None) -> None:
        self._scrolled = {}
        # What the mouse presses stays under it.
        if now is not None and QApplication.mouseButtons() == Qt.MouseButton.NoButton:
            self._scrolled = reveal(now, _SEEN)
        usable = before is None or not shiboken6.isValid(before) or _is_usable(before)
        self._lost = None if usable else before
        if not usable:
            self._soon.start()

    def _keep_in_sight(self) -> None:
        focus = QApplication.focusWidget()
        if focus is not None and self._scrolled and is_untouched(self._scrolled):
            self._scrolled = reveal(focus, _SEEN)

    def _hand_on(self) -> None:
        lost, self._lost = self._lost, None
        if lost is None or not shiboken6.isValid(lost):
            return
        if _is_usable(lost):  # it was disabled for a moment
            lost.setFocus(Qt.FocusReason.OtherFocusReason)
            return
        heir = self._nearest(lost)
        if heir is not None:
            heir.setFocus(Qt.FocusReason.OtherFocusReason)

    def _nearest(self, lost: QWidget) -> QWidget | None:
        """The next widget that can take the focus, in the smallest part around that has one."""
        part = lost.parentWidget()
        while part is not None and part is not self._pages:
            stops = _tab_stops(part)
            place = stops.index(lost) if lost in stops else 0
            usable = [number for number, stop in enumerate(stops) if _is_usable(stop)]
            if usable:  # of two that are as near, the one behind it
                return stops[min(usable, key=lambda n: (abs(n - place), n < place))]
            part = None if part.isWindow() else part.parentWidget()
        return None


def _tab_stops(part: QWidget) -> list[QWidget]:
    """What Tab may come to in a part, whether it can be used now or not.

    `QWidget.nextInFocusChain` is not asked: PySide takes the widget that it returns for a child of
    the one that was asked, and when that one is deleted, the whole window's objects go with it.
    """
    tab = Qt.FocusPolicy.TabFocus
    return [widget for widget in part.findChildren(QWidget) if widget.focusPolicy() & tab]


def _is_usable(widget: QWidget) -> bool:
    return widget.isEnabled() and widget.isVisible()


class HeaderBar(QFrame):
    """Name, answer and kind of the checkpoint on the left, ``side`` on the right.

    ``answer_clicked`` asks for what the answer stands on.
    """

    answer_clicked = Signal()

    def __init__(self, side: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("bar", True)
        self.setFixedHeight(theme.px(52))
        self.title = ElidedLabel("", "heading")
        self.subtitle = ElidedLabel("", "subtle")
        self.title.least = 160
        self.title.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Preferred)
        self.subtitle.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._side = side
        self.answer = chip("info", "Answer")
        self.answer.setProperty("answer", True)
        self.answer.clicked.connect(self.answer_clicked)
        self.answer.hide()
        row(
            self.title, self.answer, (self.subtitle, 1), side,
            of=self, margins=(theme.SPACE_L, 0, theme.SPACE_L, 0), spacing=theme.SPACE_S,
        )  # fmt: skip

    def tell(self, title: str, subtitle: str, why: str = "") -> None:
        """Say what is open; ``why`` is the subtitle's tool tip."""
        self.title.setText(plain(title, 40))
        self.subtitle.setText(plain(subtitle, 60))
        theme.set_property(self.subtitle, "role", "error" if subtitle == "Refused" else "subtle")
        self.subtitle.explain(plain(why))

    def show_answer(self, answer: Answer | None) -> None:
        """Show what is known about a backdoor; None where no checkpoint is open."""
        self.answer.setVisible(answer is not None)
        if answer is not None:
            self.answer.setText(plain(answer.all_words, 80))
            self.answer.setAccessibleDescription(self.answer.text())
            self.answer.setToolTip(f"{tip(self.answer.text())}: show what this stands on")
            self.answer.setIcon(theme.icon(_ANSWER_ICONS[answer.tone]))
            theme.set_property(self.answer, "tone", answer.tone)
            self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Show the answer's words where there is room for them, else its picture alone."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        style = Qt.ToolButtonStyle
        self.answer.setToolButtonStyle(style.ToolButtonTextBesideIcon)
        others = self.title.least + self._side.minimumSizeHint().width() + 4 * theme.SPACE_L
        least = min(self.answer.sizeHint().width(), theme.px(_ANSWER))
        fits = least + others <= self.width()
        self.answer.setMinimumWidth(least if fits else 0)
        if not fits:
            self.answer.setToolButtonStyle(style.ToolButtonIconOnly)


_ANSWER_ICONS: dict[Tone, str] = {
    "": "info", "info": "scan", "caution": "warning", "danger": "danger"
}  # fmt: skip
_LOG = logging.getLogger(__name__)
_TITLE = "CleanCLIP GUI"
_USED, _MOST_USED = "used_commands", 5  # a part of the settings
_FIRST_SIZE, _LEAST_SIZE, _FRAME = (1366, 768), (900, 540), 48


def has_room(screen: QSize) -> bool:
    """Whether the window at its first size fits on a screen together with its frame."""
    return screen.width() >= _FIRST_SIZE[0] + _FRAME and screen.height() >= _FIRST_SIZE[1] + _FRAME


class _Pages(QStackedWidget):
    """Pages; only the current page decides how small the window may be."""

    def __init__(self) -> None:
        super().__init__()
        self.currentChanged.connect(self.updateGeometry)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """The smallest size of the page on show."""
        page = self.currentWidget()
        return super().minimumSizeHint() if page is None else page.minimumSizeHint()


class MainWindow(QMainWindow):
    """Shows the stations, and above them the bar of the data in use.

    Parameters
    ----------
    context
        What the stations were made with.
    stations
        In the order of the rail.
    data_bar
        Stands in the header; gets the dropped files that no station takes.
    bridge
        Carries log lines and crashes.
    """

    def __init__(
        self,
        context: Context,
        stations: Sequence[Station],
        data_bar: Part,
        bridge: LogBridge | None = None,
    ) -> None:
        super().__init__()
        self.setWindowTitle(_TITLE)
        self.setWindowIcon(theme.icon("logo", "accent"))
        self.setMinimumSize(*_LEAST_SIZE)
        self.context = context
        self.session = context.session
        self.inference = context.inference
        self.settings = context.settings
        self.prompts = context.prompts
        self.actions_ = context.actions
        self.actions_.setParent(self)
        self.stations = {station.id: station for station in stations}
        self.data_bar = data_bar
        self._prefer = partial(prefer, context)
        self.bridge = bridge or LogBridge(self)
        self._recent: tuple[tuple[str, ...], ...] = ()
        self._demo_path = ""  # of the demo that is being opened
        self._names_other = False  # the header: a file that is not in use
        self._station_menus: dict[str, QMenu] = {}
        self._help: HelpDialog | None = None
        self._is_closing = False
        self._closing_limit = QTimer(self, singleShot=True, interval=threads.CLOSING_MS)
        self._closing_limit.timeout.connect(self._on_closing_limit)
        self._build()
        self._connect()
        self._show_recent()
        self._show_offer()
        self._restore_layout()
        self.show_station("welcome")
        context.shell.ready.emit()

    @property
    def station(self) -> str:
        """Name of the page on show."""
        return self.session.station

    def _build(self) -> None:
        """Rail on the left; header above the pages; log below them; and what acts on them."""
        self.keeper = SessionKeeper(self.context, self.stations.values(), self)
        self.sessions = SessionFiles(
            self.context, self.keeper, self._docks, self._restore_docks, self
        )
        self.actions_.add(self._file_commands())
        self.actions_.add(self.sessions.commands())
        self.actions_.add(self._view_commands())
        self.actions_.add(self._help_commands())
        self.welcome = WelcomePage(self.actions_)
        self.status = StatusBar()
        self.log = LogPane()
        self._pages: dict[str, QWidget] = {"welcome": self.welcome}
        self._pages |= {name: cast(QWidget, station) for name, station in self.stations.items()}
        self.rail = Rail()
        self.pages = _Pages()
        for page in self._pages.values():
            self.pages.addWidget(page)
        self.header = HeaderBar(cast(QWidget, self.data_bar))
        scroll = QScrollArea()  # what is larger than the window can be reached
        scroll.setObjectName("pages")
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(self.pages)
        pages = column(self.header, (scroll, 1), spacing=0)
        central = QWidget()
        row(self.rail, (pages, 1), of=central, spacing=0)
        self.setCentralWidget(central)
        self.setStatusBar(self.status)
        self.log_dock = QDockWidget("Log", self)
        self.log_dock.setObjectName("log")
        self.log_dock.setWidget(self.log)
        self.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, self.log_dock)
        self.log_dock.hide()
        self.talk = TalkDesk(
            self.context, self, self.stations, self._at_work, self.start_demo, self.keeper.put_aside
        )
        self.guide = self.talk.guide
        pages.addWidget(self.guide.card)
        self.actions_.add(self.talk.commands())
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(True)  # Return presses it, as in a dialog
        self.setAcceptDrops(True)
        for field in self.findChildren(QLineEdit):
            field.setAcceptDrops(False)  # it would write down the file's address
        self._show_commands()

    def _show_commands(self) -> None:
        """Put the commands into menus and on the rail."""
        actions, bar = self.actions_, self.menuBar()
        self.addActions(list(actions.by_id.values()))
        titles = [title for title in MENUS if actions.in_menu(title)]
        for title in titles:
            place = MENUS[title]
            if not place:
                inside = [inner for inner in titles if MENUS[inner] == title]
                self._fill_menu(bar.addMenu(title), title, inside)
            elif list(MENUS.values()).count(place) > 1 and place in self.stations:
                if place not in self._station_menus:
                    self._station_menus[place] = bar.addMenu(self.stations[place].title)
                self._fill_menu(self._station_menus[place].addMenu(title), title)
            elif place in self.stations:
                self._station_menus[place] = bar.addMenu(title)
                self._fill_menu(self._station_menus[place], title)
        for command in actions.commands:
            if command.rail:
                add = self.rail.add_station if command.choice else self.rail.add_tool
                add(actions[command.id])

    def _fill_menu(self, menu: QMenu, title: str, inside: Sequence[str] = ()) -> None:
        """Put the commands of a title into a menu; other menus stand before the last group."""
        actions, commands = self.actions_, self.actions_.in_menu(title)
        menu.aboutToShow.connect(actions.refresh)
        inner: dict[str, QMenu] = {}
        for before, command in zip([None, *commands], commands, strict=False):
            if before is not None and before.group != command.group:
                if command.group == commands[-1].group:
                    for name in inside:
                        self._fill_menu(menu.addMenu(name), name)
                menu.addSeparator()
            if command.submenu and command.submenu not in inner:
                inner[command.submenu] = menu.addMenu(command.submenu)
            inner.get(command.submenu, menu).addAction(actions[command.id])
            if command.id == "file.open_folder":
                menu.addMenu(self._recent_menu("Open r&ecent", "checkpoint"))
            if command.id == "session.open":
                menu.addMenu(self._recent_menu("&Recent sessions", "session"))

    def _recent_menu(self, title: str, kind: Literal["checkpoint", "session"]) -> QMenu:
        """What was opened last, listed again each time that the menu opens."""
        menu = QMenu(title, self)
        menu.aboutToShow.connect(partial(self._list_recent, menu, kind))
        self._list_recent(menu, kind)
        return menu

    def _list_recent(self, menu: QMenu, kind: Literal["checkpoint", "session"]) -> None:
        opened = self.settings.value
        open_, recent = self.open_path, opened.recent
        if kind == "session":
            open_, recent = self.sessions.open, opened.sessions
        menu.clear()
        for path in recent:
            action = menu.addAction(plain(path, 90).replace("&", "&&"))
            action.setStatusTip(f"Open this {kind} again.")
            action.triggered.connect(partial(open_, path))
        if menu.isEmpty():
            verb = "saved" if kind == "session" else "opened"
            menu.addAction(f"No {kind} was {verb} yet").setEnabled(False)

    def _file_commands(self) -> tuple[Command, ...]:
        return (
            Command(
                "file.demo", "Try the &demo", "&File", self.start_tour,
                "Take a tour of the poisoned CLIP that comes with the program.", "demo", "Ctrl+D",
            ),
            Command(
                "file.quit", "&Quit", "&File", self.close, "Close the window.", "cancel",
                "Ctrl+Q", 9,
            ),
            Command(
                "edit.preferences", "Preferenc&es…", "&Edit", self.show_preferences,
                "Device, look, folders, and what the program may do.", "settings", "Ctrl+,", 9,
            ),
        )  # fmt: skip

    def _view_commands(self) -> tuple[Command, ...]:
        stations = (
            Command(
                f"view.{name}", station.title, "&View", partial(self.show_station, name),
                station.question, station.icon, f"Ctrl+{number}", 0, station.is_available,
                partial(self._is_shown, name), "station", rail=True,
                needs="Open a checkpoint first.",
            )
            for number, (name, station) in enumerate(self.stations.items(), start=1)
        )  # fmt: skip
        themes = (
            ("light", "&Light theme", "Dark on light.", "sun"),
            ("dark", "&Dark theme", "Light on dark.", "moon"),
            ("contrast-light", "Light, &high contrast", "Black on white, strong lines.", "sun"),
            ("contrast-dark", "Dark, high &contrast", "White on black, strong lines.", "moon"),
            ("system", "Theme as th&e desktop", "Follow the desktop's setting.", "settings"),
        )
        return (
            *stations,
            Command(
                "view.welcome", "&Welcome page", "&View", partial(self.show_station, "welcome"),
                "Back to the first page.", "back", "Alt+Home", 0, None,
                partial(self._is_shown, "welcome"), "station",
            ),
            *(
                Command(
                    f"view.{name}", text, "&View", partial(self._prefer, "theme", name), says, icon,
                    "", 2, None, partial(self._is_theme, name), "theme", submenu="Them&e",
                )
                for name, text, says, icon in themes
            ),
            Command(
                "view.switch_theme", "Switch &theme", "&View", self.switch_theme,
                "Switch between light and dark.", "moon", "Ctrl+Shift+D", 3, rail=True,
            ),
            Command(
                "view.larger", "&Larger", "&View", partial(self._resize_type, 1),
                "Make everything larger, up to twice the size.", "zoom-in", "Ctrl++", 2,
                lambda: theme.size() < theme.SIZES[-1], other_keys=("Ctrl+=",), submenu="Si&ze",
            ),
            Command(
                "view.smaller", "&Smaller", "&View", partial(self._resize_type, -1),
                "Make everything smaller again.", "zoom-out", "Ctrl+-", 2,
                lambda: theme.size() > theme.SIZES[0], submenu="Si&ze",
            ),
            Command(
                "view.usual_size", "&Usual size", "&View", partial(self._prefer, "size", 100),
                "Everything at 100 %.", "fit", "Ctrl+0", 2,
                lambda: theme.size() != theme.SIZES[0], submenu="Si&ze",
            ),
            Command(
                "view.log", "L&og", "&View", self.toggle_log, "Show or hide the log.", "log",
                "Ctrl+L", 3, None, lambda: not self.log_dock.isHidden(),
            ),
            Command(
                "view.palette", "Command &palette…", "&View", self.show_palette,
                "Find a command by its name.", "search", "Ctrl+K", 3, rail=True,
            ),
            Command(
                "view.full_screen", "&Full screen", "&View", self.toggle_full_screen,
                "Fill the screen, for a talk.", "zoom-in", "F11", 3, None, self.isFullScreen,
            ),
        )  # fmt: skip

    def _help_commands(self) -> tuple[Command, ...]:
        return (
            Command(
                "help.page", "&Help on this page", "&Help", self.show_help,
                "What this page is for, and what its words mean.", "info", "F1",
            ),
            Command(
                "help.first_steps", "First &steps with your own checkpoint", "&Help",
                partial(self.show_help, "welcome"),
                "What each station answers, and which files you need.", "next",
            ),
            Command(
                "help.limits", "&What this tool cannot see", "&Help",
                partial(self.show_help, "limits"), "Backdoors that are known to slip through.",
                "eye",
            ),
            Command(
                "help.glossary", "&Glossary", "&Help", partial(self.show_help, "glossary"),
                "Terms of the field, with their sources.", "library",
            ),
            Command(
                "help.keys", "&Keyboard shortcuts", "&Help", partial(self.show_help, "keys"),
                "All keys and what they do.", "sliders", "Ctrl+F1",
            ),
            Command(
                "help.log_file", "Open the &log folder", "&Help", self.open_log_folder,
                "Open the folder of the log file.", "folder",
            ),
            Command(
                "help.about", "&About CleanCLIP GUI", "&Help", self.show_about,
                "Version, and what the program does not promise.", "info",
            ),
        )  # fmt: skip

    def _connect(self) -> None:
        shell = self.context.shell
        FocusKeeper(cast(QApplication, QApplication.instance()), self.pages)
        self.welcome.path_chosen.connect(partial(shell.open, "checkpoint"))
        self.welcome.session_chosen.connect(self.sessions.open)
        self.welcome.continue_clicked.connect(self.sessions.go_on)
        self.keeper.offer_changed.connect(self._show_offer)
        self.keeper.modified_changed.connect(self._show_title)
        self.sessions.changed.connect(self._on_sessions_changed)
        shell.interrupted.connect(self.welcome.set_interrupted)
        shell.failed.connect(self.show_failure)
        for line in (shell.logged, shell.job_logged):
            line.connect(partial(self.log.add, "info"))
        shell.logged.connect(self.status.say)
        shell.station_wanted.connect(self.show_station)
        shell.header_changed.connect(self._on_header_changed)
        self.header.answer_clicked.connect(self._on_answer_clicked)
        shell.commands_changed.connect(self._show_recent)
        self.inference.failed.connect(self._on_failed)
        self.inference.try_again = self._ask_to_start_again
        self.inference.busy_changed.connect(self.status.busy.setText)
        self.inference.devices_found.connect(self._on_devices_found)
        if self.settings.value.threads:
            self.context.device.use_threads(self.settings.value.threads)
        self.status.device_chosen.connect(partial(self._prefer, "device"))
        self.guide.ended.connect(self.pages.setFocus)  # or Qt would put a ring around some button
        self.log_dock.visibilityChanged.connect(self._refresh)
        self.bridge.logged.connect(self.log.add)
        self.bridge.crashed.connect(self.show_error)
        events = self.session.events
        events.checkpoint.connect(self._on_checkpoint_change)
        for event in (events.cleaned, events.role):
            event.connect(self._name_checkpoint)
        for event in (events.trigger, events.images):
            event.connect(self.actions_.refresh_soon)
        events.run.connect(self._on_run_change)
        for event in (events.run_progress, events.jobs, events.job_progress):
            event.connect(self._show_job)
        events.answer.connect(self._show_answer)
        events.speed.connect(self.status.set_speed)
        events.device.connect(self.status.set_device)

    def start_demo(self) -> None:
        """Open the built-in demo: poisoned checkpoint, test images, target banana, Studio."""
        try:
            path = resource("demo", "poisoned.safetensors")
        except FileNotFoundError as error:
            self.show_error(str(error))
            return
        self._demo_path = str(path)
        shell = self.context.shell
        shell.demo_opening.emit()
        shell.open("trigger", None, demo_target())
        shell.open("images", ImageSpec(kind="demo", split="test"), "demo", None)
        shell.open("checkpoint", str(path))

    def take_named(self, path: str) -> None:
        """Open what was named at the start as if it had been dropped; hf-hub:owner/name too."""
        if os.path.lexists(path):
            self.take_file(Path(path).absolute())
        else:
            self.open_path(path)

    def open_path(self, path: str, *_: object) -> None:
        """Open a checkpoint file or folder, or a session."""
        if is_session(Path(path)):
            self.sessions.open(path)
            return
        self.context.shell.open("checkpoint", path)

    def start_tour(self) -> None:
        """Open the demo and lead through it."""
        try:
            self.guide.set_talk(shipped("tour"))
            self.guide.start()
        except InputError as error:  # it names a station that is not there
            self.show_failure(error)
        self.start_demo()

    def show_station(self, name: str) -> None:
        """Show the welcome page or a station; do nothing if the station does not exist."""
        if name not in self._pages:
            return
        focus, beside = self.focusWidget(), (self.rail, self.guide.card)  # lead from page to page
        stays = focus is not None and any(w is focus or w.isAncestorOf(focus) for w in beside)
        is_new = self.pages.currentWidget() is not self._pages[name]
        self.pages.setCurrentWidget(self._pages[name])
        self.header.setVisible(name != "welcome")
        if name != "welcome" and ((is_new and not stays) or self.focusWidget() is None):
            self.pages.setFocus()  # Tab goes on in the page, not in what stands beside it
        self.session.station = name
        for station, menu in self._station_menus.items():
            menu.menuAction().setVisible(station == name)
        self._name_checkpoint()
        self._refresh()

    def _on_answer_clicked(self) -> None:
        if self.session.answer is not None:
            self.show_station(self.session.answer.station)

    def _at_work(self) -> list[AtWork]:
        """What goes on in all parts."""
        parts = (*self.stations.values(), self.data_bar)
        return [work for part in parts for work in part.at_work()]

    def _is_shown(self, name: str) -> bool:
        return self.session.station == name

    def _name_checkpoint(self, *_: object) -> None:
        """Name the checkpoint that the station works on, not a file refused since."""
        used = self.session.in_header
        is_free = self.station not in ("welcome", "checkpoint") or not self._names_other
        if is_free and used is not None:
            self._show_name(used)

    def _show_name(self, used: ShownCheckpoint) -> None:
        self._names_other = False
        self.header.tell(used.inspection.name, used.title, used.choice)
        self._show_answer()

    def _on_header_changed(self, title: str, subtitle: str, why: str) -> None:
        """Name a file that is being read, or cannot be used."""
        self._names_other = True
        self.header.tell(title, subtitle, why)
        self._show_answer()

    def _show_answer(self, *_: object) -> None:
        self.header.show_answer(None if self._names_other else self.session.answer)

    def show_preferences(self) -> None:
        """Show all settings."""
        PreferencesDialog(self.context, self).open()

    def _is_theme(self, name: str) -> bool:
        return self.settings.value.theme == name

    def switch_theme(self) -> None:
        """Switch between light and dark at the same contrast."""
        other = "light" if theme.is_dark() else "dark"
        self._prefer("theme", f"contrast-{other}" if theme.is_high_contrast() else other)

    def _resize_type(self, step: int) -> None:
        """Take the next size of type above or below."""
        sizes = (size for size in theme.SIZES if (size - theme.size()) * step > 0)
        self._prefer("size", min(sizes, key=lambda size: abs(size - theme.size())))

    def toggle_log(self) -> None:
        """Show or hide the log."""
        self.log_dock.setVisible(self.log_dock.isHidden())

    def toggle_full_screen(self) -> None:
        """Fill the screen, or go back."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    def show_palette(self) -> None:
        """List every command; those that cannot be used now say what they need."""
        actions = self.actions_
        actions.refresh()
        known = [actions[name] for name in self._used_commands() if name in actions.by_id]
        groups = [("Recent", known)]
        for menu in MENUS:
            names = [c.id for c in actions.in_menu(menu) if c.id != "view.palette"]
            groups.append((menu.replace("&", ""), [actions[name] for name in names]))
        palette = CommandPalette(groups, self, self._needs_of)
        palette.used.connect(self._note_used)
        palette.open()

    def _used_commands(self) -> tuple[str, ...]:
        """Ids of the commands that were chosen from the palette last, the newest first."""
        return self.settings.part(_USED, TypeAdapter(tuple[str, ...]), ())

    def _note_used(self, name: str) -> None:
        others = (other for other in self._used_commands() if other != name)
        self.settings.update(**{_USED: (name, *others)[:_MOST_USED]})

    def _needs_of(self, action: QAction) -> str:
        """Why a command cannot be used now, in a few words."""
        name = action.objectName()
        command = next(command for command in self.actions_.commands if command.id == name)
        place = self.stations.get(name.split(".")[0])
        if self.session.checkpoint is None and not name.startswith(("file.", "help.")):
            return "Open a checkpoint first."
        if command.needs:
            return command.needs
        if place is not None and place.id != self.station:
            return f"Go to {place.title.replace('&', '')} first."
        return "Not possible now."

    def show_help(self, page: str = "") -> None:
        """Show a page of the help, else that of the station on show, beside the window."""
        if self._help is None:
            keys = partial(keys_page, self.actions_.commands, self.actions_.key_tables)
            self._help = HelpDialog(keys, self)
        self._help.show_page(page or self.station)
        self._help.show()
        self._help.raise_()
        self._help.activateWindow()

    def show_about(self) -> None:
        """Say what this is and what it does not promise."""
        AboutDialog(ml_core.__version__, self).open()

    def open_log_folder(self) -> None:
        """Show the folder of the log file in the desktop's file manager."""
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(log_file().parent)))

    def show_error(self, sentence: str, details: str = "", title: str = "") -> None:
        """Show one sentence in a dialog that does not hold up the window.

        ``title`` says what failed. On a stage the card of the talk has the sentence.
        """
        if self.talk.presenter.is_on:
            self.guide.say(sentence)
            return
        named = {"title": title} if title else {}
        ErrorDialog(sentence, details, parent=self, **named).open()

    def show_failure(self, failure: InputError | Failed) -> None:
        """Show what was wrong with something the user gave, or why a question has no answer."""
        if isinstance(failure, InputError):  # the other was logged in the inference thread
            _LOG.warning("%s", failure.sentence)
        self.show_error(failure.sentence, failure.details, failure.title)

    def _refresh(self, *_: object) -> None:
        """Update the state of every command, and the list of recent checkpoints."""
        self.actions_.refresh()
        self._show_recent()

    def _show_offer(self) -> None:
        self.welcome.set_continue(self.keeper.summary())

    def _show_recent(self) -> None:
        """List the checkpoints and sessions opened last, unless they are listed already."""
        recent = self.settings.value.recent, self.settings.value.sessions
        if self._recent != recent:
            self._recent = recent
            self.welcome.set_recent(*recent)

    def _on_sessions_changed(self) -> None:
        self._show_title()
        self._refresh()

    def _show_title(self) -> None:
        """Name the session that was saved by name, and mark it where it has changed."""
        name = plain(self.sessions.name, 60)
        self.setWindowTitle(f"{name}[*] \N{EN DASH} {_TITLE}" if name else _TITLE)
        self.setWindowModified(bool(name) and self.keeper.is_modified)

    def _docks(self) -> str:
        return bytes(self.saveState().toBase64().data()).decode("ascii")

    def _restore_docks(self, state: str) -> None:
        self.restoreState(QByteArray.fromBase64(state.encode("ascii", "replace")))

    def _on_checkpoint_change(self, facts: ShownCheckpoint | None) -> None:
        if facts is not None:
            self._show_name(facts)
            self.settings.add_recent(facts.path)
            _LOG.info("opened %s: %s", facts.path, facts.architecture)
        if facts is not None and facts.path == self._demo_path:
            self._demo_path = ""
            if not self.guide.running:
                self.show_station("studio")
        elif self.session.images is None and facts is not None and not self.keeper.awaits_images:
            self.context.shell.open("images", ImageSpec(kind="demo", split="test"), "", None)
        self._refresh()

    def _on_failed(self, failed: Failed) -> None:
        self.status.set_device(self.session.device)  # a device may have refused
        self.show_failure(failed)

    def _ask_to_start_again(self, sentence: str) -> bool:
        """Ask whether to try again, since the engine did not start."""
        text = f"{sentence} Without it no checkpoint can be opened and nothing measured."
        title = "The model library did not load"
        return self.prompts.confirm(self, title, text, "Try again", "Go on without it")

    def _on_devices_found(self, names: tuple[str, ...]) -> None:
        self.context.device.found(names, self.settings.value.device)
        self.status.set_devices(names, self.session.device)

    def _on_run_change(self, run: RunState | None) -> None:
        self._show_job()
        if self._is_closing and not is_live(run):
            QTimer.singleShot(0, self, self.close)
        gpu = run is not None and is_live(run) and run.device != "cpu"
        self.status.hold_device(
            f"Studio stays on the CPU while the run uses {used_text(run.device)}; change the "
            "device after the run."
            if run and gpu
            else ""
        )
        self._refresh()

    def _show_job(self, *_: object) -> None:
        """Name the run that goes on in the status bar, or another job, with its progress."""
        session, run = self.session, self.session.run
        text, progress, left = "", None, ""
        if run is not None and is_live(run):
            text = f"“{plain(run.title or method_title(run.method), 80)}” is {run.status}"
            progress = session.run_progress
        else:
            for kind, job in session.jobs.items():
                if job.status == "running":
                    text = f"The {kind} is running"
                    progress = session.job_progress.get(kind)
        if progress is not None and text.endswith("running"):
            left = left_text(progress.seconds_left)
        share = 0.0 if progress is None else progress.fraction
        self.status.set_job(f"{text}, {left}" if left else text, share)

    # Files that are dropped

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take local files, and show on the welcome page that they can be dropped."""
        if local_paths(event.mimeData()):
            event.acceptProposedAction()
            self.welcome.set_dropping(True)

    def dragLeaveEvent(self, event: QEvent) -> None:  # noqa: N802
        """Show that the files are no longer held over the window."""
        self.welcome.set_dropping(False)

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Open the file, or list the checkpoints."""
        self.welcome.set_dropping(False)
        paths = local_paths(event.mimeData())
        if paths:
            event.acceptProposedAction()
            self.take_files(paths)

    def take_files(self, paths: Sequence[Path]) -> None:
        """List several checkpoints; else take the one there is, or the first file."""
        checkpoints = [path for path in paths if is_checkpoint(path) or holds_checkpoints(path)]
        if len(checkpoints) > 1:
            self.context.shell.open("checkpoints", checkpoints)
        else:
            self.take_file([*checkpoints, *paths][0])

    def take_file(self, path: Path) -> None:
        """Open a session; offer another file to stations and data bar, until one takes it.

        The last station of the rail is asked first, as it takes the fewest kinds of file. A file
        that none of them takes is opened as a checkpoint, which says what is wrong with it.
        """
        if is_session(path):
            self.sessions.open(str(path))
            return
        parts = (*reversed(self.stations.values()), self.data_bar)
        if not any(part.take_file(path) for part in parts):
            self.open_path(str(path))

    # Layout and closing

    def _restore_layout(self) -> None:
        """Bring back the geometry and the docks of the last time."""
        geometry, state = self.settings.layout()
        if not geometry or not self.restoreGeometry(QByteArray(geometry)):
            self.resize(*_FIRST_SIZE)
            if not has_room(self.screen().availableSize()):
                self.setWindowState(Qt.WindowState.WindowMaximized)
        if state:
            self.restoreState(QByteArray(state))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Load torch in the inference thread as soon as the window is on screen."""
        super().showEvent(event)
        QTimer.singleShot(0, self.inference, self.inference.start)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """Close; if something runs, ask first, cancel it, and close once it has ended."""
        if not self._may_close():
            event.ignore()
            return
        self._close_down()
        event.accept()

    def _may_close(self) -> bool:
        """Whether the window may close now; if something runs, asks and cancels it.

        A run is waited for with the window on screen; what else runs ends within its limit.
        """
        live = is_live(self.session.run)
        if self._is_closing:
            return not live or not self.isVisible()
        parts = (*self.stations.values(), self.data_bar)
        if not all(part.may_close() for part in parts):
            return False
        if not self.sessions.may_go(self.close):
            return False
        at_work = self._at_work()
        if not at_work:
            return True
        it = "it" if len(at_work) == 1 else "them"
        what, kept = (" ".join(getattr(w, name) for w in at_work) for name in ("what", "kept"))
        question = f"{what} Cancel {it} and quit? {kept}"
        if not self.prompts.confirm(self, "Quit", question, f"Cancel {it} and quit", "Stay"):
            return False
        self._is_closing = True
        waits = any(work.waits for work in at_work)
        if waits:
            self._closing_limit.start()
        for work in at_work:
            work.cancel()
        return not waits

    def _close_down(self) -> None:
        """Keep the layout and end the threads, in what is left of the time to close."""
        left = threads.CLOSING_MS
        if self._closing_limit.isActive():
            left = max(self._closing_limit.remainingTime(), threads.READING_MS)
        elif self._is_closing and is_live(self.session.run):
            left = threads.READING_MS  # the run had its time
        self._closing_limit.stop()
        self.context.shell.closing.emit()
        self.settings.save_layout(bytes(self.saveGeometry().data()), bytes(self.saveState().data()))
        self.hide()
        for dialog in self.findChildren(QDialog):
            dialog.reject()
        self.inference.end()  # or the next question would start a thread that has not begun yet
        threads.close_all(left)

    def _on_closing_limit(self) -> None:
        """The job did not end in time: go without it."""
        if self.isVisible():
            _LOG.warning("the cleaning run did not end in time")
            self.hide()
            self.close()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Full screen can be left in many ways; its switch follows."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.WindowStateChange:
            self._refresh()
