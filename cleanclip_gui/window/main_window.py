"""The window: rail, data bar, stations, status bar, log; all of it made of parts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

from PySide6.QtCore import QEvent, Qt, QTimer, QUrl, Signal, Slot
from PySide6.QtGui import (
    QCloseEvent,
    QDesktopServices,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QHBoxLayout,
    QMainWindow,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

import ml_core
from cleanclip_gui import theme
from cleanclip_gui.checkpoint.station import CheckpointPanel
from cleanclip_gui.clean.station import CleanPanel
from cleanclip_gui.data.data_bar import DataBar
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import Failed
from cleanclip_gui.session import CheckpointFacts, RunState, Session
from cleanclip_gui.session.records import is_live
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.studio.station import StudioPanel
from cleanclip_gui.widgets.name_filters import CHECKPOINTS
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import used_text
from cleanclip_gui.window.about import AboutDialog
from cleanclip_gui.window.actions import Actions
from cleanclip_gui.window.closing import Closing
from cleanclip_gui.window.command_palette import CommandPalette
from cleanclip_gui.window.crash import LogBridge, log_file
from cleanclip_gui.window.dropped_files import Drops
from cleanclip_gui.window.error_dialog import ErrorDialog
from cleanclip_gui.window.guide import Guide
from cleanclip_gui.window.header import Header
from cleanclip_gui.window.log_pane import LogPane
from cleanclip_gui.window.rail import Rail
from cleanclip_gui.window.resuming import Resuming
from cleanclip_gui.window.status_bar import StatusBar
from cleanclip_gui.window.welcome import WelcomePage
from ml_core.cleaning.catalogue import method_title
from ml_core.data.specs import ImageSpec
from ml_core.jobs.demo import demo_target
from ml_core.paths import resource
from ml_core.reading import InputError, Inspection

_LOG = logging.getLogger(__name__)


class MainWindow(QMainWindow):
    """Made of an inference handle, a session and settings; each can be handed in by tests.

    ``demo_started`` tells that the built-in demo is being opened, for the guided tour;
    ``station_changed(str)`` that another station is shown.
    """

    demo_started = Signal()
    station_changed = Signal(str)

    def __init__(
        self,
        *,
        session: Session | None = None,
        inference: Inference | None = None,
        settings: SettingsStore | None = None,
        prompts: Prompts | None = None,
        bridge: LogBridge | None = None,
    ) -> None:
        super().__init__()
        self.setWindowTitle("CleanCLIP GUI")
        self.setWindowIcon(theme.icon("logo", "accent"))
        self.setMinimumSize(1080, 680)
        self.session = session or Session()
        self.inference = inference or Inference()
        self.settings = settings or SettingsStore()
        self.prompts = prompts or Prompts()
        self.bridge = bridge or LogBridge(self)
        self.station = "welcome"
        self._pending_demo = False
        self._closing = Closing(self)
        with theme.styled_afterwards():
            self._build()
        self._connect()
        self.welcome.set_recent(self.settings.value.recent)
        self._closing.restore()
        self.show_station("welcome")

    def _build(self) -> None:
        """Rail on the left; header above the pages; log below them; and what acts on them."""
        self.welcome = WelcomePage()
        self.checkpoint = CheckpointPanel(self.session, self.inference)
        self.studio = StudioPanel(self.session, self.inference)
        self.clean = CleanPanel(self.session, self.inference)
        self.data_bar = DataBar(self.session, self.inference, self.prompts)
        self.status = StatusBar()
        self.log = LogPane()
        self._pages = {
            "welcome": self.welcome,
            "checkpoint": self.checkpoint,
            "studio": self.studio,
            "clean": self.clean,
        }
        self.rail = Rail()
        self.pages = QStackedWidget()
        for page in self._pages.values():
            self.pages.addWidget(page)
        self.header = Header(self.data_bar)
        column = QVBoxLayout()
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.header)
        column.addWidget(self.pages, 1)
        central = QWidget()
        whole = QHBoxLayout(central)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self.rail)
        whole.addLayout(column, 1)
        self.setCentralWidget(central)
        self.setStatusBar(self.status)
        self.log_dock = QDockWidget("Log", self)
        self.log_dock.setObjectName("log")
        self.log_dock.setWidget(self.log)
        self.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, self.log_dock)
        self.log_dock.hide()
        self.resuming = Resuming(self)
        self.drops = Drops(self)
        self.guide = Guide(self)
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(True)  # Return presses it, as in a dialog
        self.actions_ = Actions(self)
        self.actions_.fill_rail(self.rail)

    def _connect(self) -> None:
        self.welcome.demo_requested.connect(self.start_tour)
        self.welcome.open_requested.connect(self.choose_checkpoint)
        self.welcome.folder_requested.connect(self.choose_folder)
        self.welcome.path_chosen.connect(self.open_path)
        self.welcome.hub_requested.connect(self.checkpoint.fetching.open)
        self.checkpoint.opening.connect(self._on_opening)
        self.checkpoint.refused.connect(self._on_refused)
        self.checkpoint.actions_.offered.connect(self.actions_.refresh)
        self.checkpoint.failed.connect(self.show_input_error)
        self.checkpoint.told.connect(self.header.tell)
        self.checkpoint.not_opened.connect(self._on_not_opened)
        self.checkpoint.fetching.fetched.connect(self.open_path)
        self.checkpoint.use_prompts(self.prompts)
        self.checkpoint.doctoring.in_use = self.data_bar.in_use
        self.data_bar.failed.connect(self.show_input_error)
        self.studio.failed.connect(self.show_input_error)
        self.studio.history_changed.connect(self.actions_.refresh)
        self.clean.failed.connect(self.show_input_error)
        self.clean.logged.connect(self._on_job_logged)
        self.clean.use_prompts(self.prompts)
        self.clean.changed.connect(self.actions_.refresh)
        self.clean.try_in_studio.connect(self._on_try_in_studio)
        self.clean.run_bar.bar.valueChanged.connect(self._on_job_progress)
        self.inference.failed.connect(self._on_failed)
        self.inference.busy_changed.connect(self.status.set_busy)
        self.inference.devices_found.connect(self._on_devices_found)
        self.status.device_chosen.connect(self._on_device_chosen)
        self.log_dock.visibilityChanged.connect(self._on_data_change)
        self.bridge.logged.connect(self.log.add)
        self.bridge.crashed.connect(self.show_error)
        events = self.session.events
        events.checkpoint.connect(self._on_checkpoint_change)
        events.trigger.connect(self._on_data_change)
        events.images.connect(self._on_data_change)
        events.run.connect(self._on_run_change)
        events.speed.connect(self.status.set_speed)
        events.device.connect(self.status.set_device)

    @Slot()
    def start_demo(self) -> None:
        """Open the built-in demo: poisoned checkpoint, test images, target banana, Studio."""
        try:
            path = resource("demo", "poisoned.safetensors")
        except FileNotFoundError as error:
            self.show_error(str(error))
            return
        self._pending_demo = True
        self.session.start_over(demo_target())
        self.data_bar.load(ImageSpec(kind="demo", split="test"), "demo")
        self.open_path(str(path))
        self.demo_started.emit()

    @Slot(str)
    def open_path(self, path: str) -> None:
        """Examine a checkpoint file or folder and open it if nothing speaks against it."""
        if not Path(path).exists():
            self.settings.forget_recent(path)
            self.welcome.set_recent(self.settings.value.recent)
            self.show_error(f"{path} is no longer there; choose it again.")
            return
        self.checkpoint.open(Path(path).absolute())

    @Slot()
    def choose_checkpoint(self) -> None:
        """Ask for a checkpoint file."""
        folder = self.settings.value.last_folder
        path = self.prompts.open_file(self, "Open checkpoint", folder, CHECKPOINTS)
        if path:
            self.open_path(path)

    @Slot()
    def choose_folder(self) -> None:
        """Ask for an open_clip folder."""
        folder = self.settings.value.last_folder
        path = self.prompts.open_folder(self, "Open open_clip folder", folder)
        if path:
            self.open_path(path)

    @Slot()
    def start_tour(self) -> None:
        """Open the demo and lead through it."""
        self.guide.start()
        self.start_demo()

    def show_station(self, name: str) -> None:
        """Show one of welcome, checkpoint, studio, clean."""
        self.station = name
        self.pages.setCurrentWidget(self._pages[name])
        self.header.setVisible(name != "welcome")
        self._tell_header()
        self.actions_.refresh()
        self.station_changed.emit(name)

    def _tell_header(self, _: object = None) -> None:
        """Name the checkpoint that the station works on, whatever was refused since."""
        in_studio = self.station == "studio"
        used = self.session.shown if in_studio else self.session.checkpoint
        if self.station in ("studio", "clean") and used is not None:
            self.header.tell(used.inspection.name, used.title, used.choice)

    def set_theme(self, name: Any) -> None:
        """Put on light, dark or system, and keep it."""
        self.settings.update(theme=name)
        theme.apply_theme(cast(QApplication, QApplication.instance()), name)
        self.actions_.refresh()

    def switch_theme(self) -> None:
        """From light to dark and back."""
        self.set_theme("light" if theme.is_dark() else "dark")

    def toggle_log(self) -> None:
        """Show or hide the log."""
        self.log_dock.setVisible(self.log_dock.isHidden())

    def toggle_full_screen(self) -> None:
        """Fill the screen, or go back."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    def show_palette(self) -> None:
        """List every command that can be used now."""
        self.actions_.refresh()
        actions = [a for name, a in self.actions_.by_id.items() if name != "view.palette"]
        CommandPalette(actions, self).open()

    def show_about(self) -> None:
        """Say what this is and what it does not promise."""
        AboutDialog(ml_core.__version__, self).open()

    def open_log_folder(self) -> None:
        """Show the folder of the log file in the desktop's file manager."""
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(log_file().parent)))

    @Slot(str, str)
    def show_error(self, sentence: str, details: str = "") -> None:
        """Show one sentence in a dialog that does not hold up the window."""
        ErrorDialog(sentence, details, parent=self).open()

    @Slot(object)
    def show_input_error(self, error: InputError) -> None:
        """Show what was wrong with something the user gave."""
        _LOG.warning("%s", error.sentence)
        self.show_error(error.sentence, error.details)

    @Slot(str)
    def _on_opening(self, path: str) -> None:
        self.header.tell(Path(path).name, "Reading…")
        self.show_station("checkpoint")

    @Slot(object)
    def _on_refused(self, found: Inspection) -> None:
        self.header.tell(found.name, "Refused")
        self._pending_demo = False
        _LOG.warning("%s", found.reasons[0] if found.reasons else f"{found.name} was refused")

    def _on_checkpoint_change(self, facts: CheckpointFacts | None) -> None:
        if facts is not None:
            self.header.tell(facts.inspection.name, facts.title, facts.choice)
            self.settings.add_recent(facts.path)
            self.welcome.set_recent(self.settings.value.recent)
            _LOG.info("opened %s: %s", facts.path, facts.architecture)
        if facts is not None and self._pending_demo:
            self._pending_demo = False
            if not self.guide.running:
                self.show_station("studio")
        elif self.session.images is None and facts is not None:
            self.data_bar.load(ImageSpec(kind="demo", split="test"))
        self.actions_.refresh()

    @Slot(object)
    def _on_failed(self, failed: Failed) -> None:
        self.status.set_device(self.session.device)  # a device may have refused
        self.show_error(failed.sentence, failed.details)
        self._pending_demo = False

    @Slot()
    def _on_not_opened(self) -> None:
        self._pending_demo = False

    @Slot(object)
    def _on_devices_found(self, names: tuple[str, ...]) -> None:
        wanted = self.settings.value.device
        chosen = self.clean.studio_device.settle(wanted if wanted in names else names[0])
        self.status.set_devices(names, chosen)
        self.session.device, self.session.devices = chosen, names
        self.clean.studio_device.move(chosen)

    @Slot(str)
    def _on_device_chosen(self, name: str) -> None:
        self.settings.update(device=name)
        self.clean.studio_device.move(name)

    def _on_run_change(self, run: RunState | None) -> None:
        live = is_live(run)
        words = {"queued": "is waiting", "running": "is running", "paused": "is paused"}
        title = method_title(run.method) if run is not None else ""
        text = f"{title} {words[run.status]}" if run and live else ""
        self.status.set_job(text, self._job_share())
        gpu = run is not None and live and run.device != "cpu"
        self.status.hold_device(
            f"Studio stays on the CPU while the run uses {used_text(run.device)}; choose when it "
            "has ended."
            if run and gpu
            else ""
        )
        self.actions_.refresh()

    @Slot(int)
    def _on_job_progress(self, _: int) -> None:
        if self.status.job.text():
            self.status.set_job(self.status.job.text(), self._job_share())

    def _job_share(self) -> float | None:
        """How far the run's stage is; None while that is unknown."""
        bar = self.clean.run_bar.bar
        return bar.value() / bar.maximum() if bar.maximum() > 0 else None

    @Slot(str)
    def _on_job_logged(self, text: str) -> None:
        self.log.add("info", text)

    @Slot()
    def _on_try_in_studio(self) -> None:
        self.show_station("studio")

    def _on_data_change(self, _: object) -> None:
        self.actions_.refresh()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Load torch in the inference thread as soon as the window is on screen."""
        super().showEvent(event)
        self.status.start()
        QTimer.singleShot(0, self.inference, self.inference.start)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """Go, unless a job runs; see :class:`Closing`."""
        if not self._closing.may_close():
            event.ignore()
            return
        self._closing.finish()
        event.accept()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Full screen can be left in many ways; its switch follows."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.WindowStateChange:
            self.actions_.refresh()
