"""Scan: search for a trigger that nobody named, watch it, and hand over what was found."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QGridLayout, QListWidget, QListWidgetItem, QStackedWidget, QWidget

from cleanclip_gui import theme
from cleanclip_gui.commands import Command
from cleanclip_gui.data.hub_dialog import HubDialog
from cleanclip_gui.jobs.runner import DEVICES, is_taken
from cleanclip_gui.scan.live_view import HELP, LiveView, stage_title
from cleanclip_gui.scan.result_view import ResultView
from cleanclip_gui.scan.scanning import Estimating, LiveScan, Scanning, estimate_folder, scans_dir
from cleanclip_gui.scan.setup import NONE, OWN, ScanReference, ScanSetup
from cleanclip_gui.scan.stamping import Stamped, Stamping
from cleanclip_gui.scan.tables import csv_rows
from cleanclip_gui.session.records import JobState, RunProgress, is_live
from cleanclip_gui.station import AtWork, Context, Page, Scene
from cleanclip_gui.widgets.columns import Columns, Needs, Room
from cleanclip_gui.widgets.controls import Label, Note, bind, focus_first, named, push_button
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import card, column, page, row, scrolling
from cleanclip_gui.widgets.picture_grid import PictureCell, PictureGrid
from cleanclip_gui.widgets.prompts import failing, save_chart
from cleanclip_gui.widgets.rows_table import Index
from cleanclip_gui.widgets.text import day_and_time, plain
from ml_core.data.demo import compose
from ml_core.detection.scan.records import Scan, read_patches, read_scan, scan_json
from ml_core.events import Done, Event, Finding
from ml_core.exports import save_export, to_csv
from ml_core.jobs.scan import PATCHES_FILE, SCAN_FILE, ScanSpec, Stage
from ml_core.reading.errors import InputError
from ml_core.reading.inspect import is_there
from ml_core.triggers import Trigger
from ml_core.triggers.files import load_trigger

_TITLES = 185  # pixels


class PlannedStages(QWidget):
    """The planned stages, a line for each: its title, and what it does."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, accessibleName="Stages that will be run")
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setHorizontalSpacing(theme.SPACE_M)
        layout.setVerticalSpacing(theme.SPACE_S)
        layout.setColumnStretch(1, 1)
        self.rows: dict[Stage, tuple[Label, Label]] = {}
        for y, (stage, sentence) in enumerate(HELP.items()):
            title = Label(stage_title(stage), wrap=True)
            both = self.rows[stage] = title, Label(sentence, "subtle", wrap=True)
            both[0].setFixedWidth(theme.px(_TITLES))
            for x, label in enumerate(both):
                layout.addWidget(label, y, x, Qt.AlignmentFlag.AlignTop)

    def show_stages(self, stages: Collection[Stage]) -> None:
        """Show these, and no others."""
        for stage, both in self.rows.items():
            for label in both:
                label.setVisible(stage in stages)


ROOM = Room(left=Needs(280, 320), middle=Needs(380, 560))
READY, LIVE, RESULT = range(3)
_START, _AGAIN = "&Start the scan", "&Scan again"
_KINDS = "PNG (*.png);;SVG (*.svg);;CSV (*.csv);;JSON (*.json)"
_MOST_SHOWN, _ITEM = 6, 30
_MOST_SCANS = 1000  # of a session
_TAKEN = "Another job is running on this device; the scan can start when it has ended."
_UNUSED_MS = 60_000
_GOES_ON = "A scan is going on."
_KEPT = "Its finished stages are kept, and the next scan goes on from them."
_LEAD = (
    "A scan searches for triggers that nobody told you of: it changes patches, soft overlays and "
    "warps until pictures become one class, and compares with a clean reference where there is one."
)
_LIMITS = (
    "The result says what was searched, how hard, and what was found. It proves no model harmless: "
    "tones, sentences and triggers that depend on the picture are not searched. A scan looks at a "
    "model, not at single pictures that a deployed model receives."
)
_EXAMPLE, _PICTURE = 96, 1  # pixels of a picture, and the number of the drawing
_ANYWAY = "A scan would run all its stages and then say “Cannot say”."
_NOT_OPEN = "Open {} to see the found trigger on pictures."


class ScanStation(Page):
    """Set-up on the left with Start below it; on the right what is found, or was."""

    id = "scan"
    title = "Sc&an"
    question = "Is there a hidden trigger?"
    icon = "scan"

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.acts = QWidget()  # Start, and what it means
        reference = ScanReference(
            context.prompts,
            lambda *about, **kind: HubDialog(*about, allowed=context.settings.value.hub, **kind),
        )
        self.setup = ScanSetup(reference, self.acts)
        self.scanning = Scanning(context.new_runner, context.waiting_child, self)
        self.estimating = Estimating(context.new_runner, self)
        self.stamping = Stamping(context.session, context.inference, self)
        # A process that waits for a scan is kept so long when the page is left.
        self._unused = QTimer(self, singleShot=True, interval=_UNUSED_MS)
        self._folder: Path | None = None  # of the result on show
        self._trigger: Trigger | None = None
        self._scans: tuple[str, ...] = ()  # of the session
        self._awaited = ""  # the checkpoint of a session that is being opened
        self._elsewhere = LiveScan()  # the scan of an examination
        context.actions.add(self.commands())
        self._make_parts()
        self._lay_out()
        self._connect()
        self._on_checkpoint_change()

    # What the window asks of a station

    def commands(self) -> tuple[Command, ...]:
        """What can be done with a scan and what it found."""
        needs = "Needs a scan that found a trigger."
        commands = (
            Command(
                "scan.start", _START, "&Scan", self.start,
                "Search the open checkpoint for a trigger, in the background.", "play",
                "Ctrl+Shift+F", 0, self._can_start,
                needs="Needs a checkpoint and 144 pictures, and no job at work.",
            ),
            Command(
                "scan.cleaned", "Scan the clea&ned copy", "&Scan",
                partial(self.start, cleaned=True),
                "Search the cleaned checkpoint of the run that Clean shows, as Scan is set.",
                "redo", "", 0, lambda: self._can_start() and self._cleaned() is not None,
                needs="Clean this checkpoint first, or show such a run in Clean.",
            ),
            Command(
                "scan.estimate", "Esti&mate the scan", "&Scan", self.estimate,
                "Time a few batches and say how long the scan would take; searches nothing.", "",
                "", 0, self._can_start,
                needs="Needs a checkpoint and 144 pictures, and no job at work.",
            ),
            Command(
                "scan.cancel", "&Cancel the scan", "&Scan", self.scanning.cancel,
                "End it at once; finished stages are kept.", "cancel", "Ctrl+Shift+K", 0,
                lambda: self.scanning.is_running, needs="No scan is running.",
            ),
            Command(
                "scan.open", "&Open a scan…", "&Scan", self.choose,
                "Show the result of an earlier scan.", "folder", "", 1,
                lambda: not self.scanning.is_running, needs="A scan is running.",
            ),
            Command(
                "scan.export", "&Export the scan…", "&Scan", self.export,
                "Save the page as PNG or SVG, its numbers as CSV, or the record as JSON.", "save",
                "", 1, lambda: self._shown_scan() is not None, needs="Needs the result of a scan.",
            ),
            Command(
                "scan.try", "&Try in Studio", "&Scan", partial(self._hand_over, "studio"),
                "Put the found trigger on pictures in Studio.", "studio", "Ctrl+Shift+Y", 2,
                self._can_hand_over, needs=needs,
            ),
            Command(
                "scan.clean", "Clean &with it", "&Scan", partial(self._hand_over, "clean"),
                "Take the found trigger and its class to Clean: methods that need a trigger train "
                "against it, all others and the proofs measure it.", "clean", "Ctrl+Shift+W", 2,
                self._can_hand_over, needs=needs,
            ),
        )  # fmt: skip
        return tuple(replace(command, repeats=False) for command in commands)

    def at_work(self) -> tuple[AtWork, ...]:
        """The scan."""
        if not self.scanning.is_running:
            return ()
        return (AtWork(_GOES_ON, _KEPT, self.scanning.cancel),)

    def take_file(self, path: Path) -> bool:
        """Show the result of an earlier scan."""
        file = path / SCAN_FILE if path.is_dir() else path
        if file.name != SCAN_FILE or not file.is_file():
            return False
        self.shell.station_wanted.emit(self.id)
        self.open_folder(file.parent)
        return True

    def scene(self) -> Scene:
        """The patches as they are searched and refined; then the best, and what it does."""
        if self.scanning.is_running or "examination" in self.session.jobs:
            patches = self.live.patches.for_audience(2)
            return Scene(patches[self.scanning.live.starts :] or patches)
        if self._shown_scan() is None:
            return Scene()
        best, stamped = self.result.patches.for_audience(2)[:1], self.result.stamped
        return Scene(best, stamped.for_audience(2))

    def state(self) -> dict[str, object]:
        """Folders of the session's finished scans, the newest last."""
        return {"scans": self._scans[-_MOST_SCANS:]}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take over a session's scans; the newest is shown once the checkpoint is open."""
        self._scans = tuple(saved["scans"])
        self._awaited = saved["checkpoint"] if self._scans else ""

    # What the user does

    def start(self, *, cleaned: bool = False) -> None:
        """Begin a scan with the settings, or continue the cancelled one.

        Parameters
        ----------
        cleaned
            Whether to search what the run on show made, in place of the open checkpoint.
        """
        if self._can_start():
            self.shell.station_wanted.emit(self.id)
            with failing(self.shell.failed, "Could not start the scan"):
                other = self._cleaned() if cleaned else None
                if cleaned and other is None:
                    raise InputError("The cleaned checkpoint is gone; run the cleaning again.")
                self._begin(self.setup.spec(self.session, self.context.device.wanted, other))

    def _begin(self, spec: ScanSpec) -> None:
        self.scanning.scan(self.setup.write_classes(spec, self.session), spec.device)
        self.live.busy.cancel.setFocus()

    def _cleaned(self) -> tuple[str, str] | None:
        """File and SHA-256 of what the run on show made of the open checkpoint."""
        run, facts = self.session.run, self.session.checkpoint
        if run is None or is_live(run) or facts is None:
            return None
        file, of, source = (
            str(run.result.get(key) or "")
            for key in ("checkpoint", "checkpoint_sha256", "source_sha256")
        )
        there = of and source == facts.inspection.sha256 and is_there(file)
        return (file, of) if there else None

    def estimate(self) -> None:
        """Measure how long the scan that is set would take."""
        if not self._can_start():
            return
        self.shell.station_wanted.emit(self.id)
        device = self.context.device.wanted
        with failing(self.shell.failed, "Could not estimate the scan"):
            spec = self.setup.spec(self.session, device)
            spec = spec.model_copy(update={"output_dir": str(estimate_folder())})
            self.estimating.estimate(self.setup.write_classes(spec, self.session), device)

    def choose(self) -> None:
        """Ask for the folder of an earlier scan."""
        path = self.context.prompts.open_folder(self.window(), "Open a scan", str(scans_dir()))
        if path:
            self.shell.station_wanted.emit(self.id)
            self.open_folder(Path(path))

    def open_folder(self, folder: Path) -> None:
        """Show the scan in a folder, or say why it cannot be."""
        if self.scanning.is_running:
            sentence = "A scan is running; open an earlier scan when it has ended."
            self.shell.failed.emit(InputError(sentence).titled("Could not open the scan"))
            return
        try:
            scan = read_scan(folder / SCAN_FILE)
        except InputError as error:
            self.context.settings.forget_result(self.id, str(folder))
            self._list_scans()
            self.shell.failed.emit(error.titled("Could not open the scan"))
            return
        self._show_result(folder, scan)

    def _on_scan_wanted(self, folder: str) -> None:
        self.shell.station_wanted.emit(self.id)
        if not self.scanning.is_running:
            self.open_folder(Path(folder))

    def _on_scan_made(self, folder: str) -> None:
        """List a scan that was made elsewhere, and show it if it is of the open checkpoint."""
        with failing(self.shell.failed, "Could not read the scan"):
            scan, facts = read_scan(Path(folder) / SCAN_FILE), self.session.checkpoint
            is_open = facts is not None and facts.inspection.sha256 == (scan.suspect.sha256 or "-")
            if is_open and not self.scanning.is_running:
                self._show_result(Path(folder), scan)
            else:
                self.context.settings.add_scan(Path(folder), scan)
                self._list_scans()

    def _show_known(self) -> None:
        """Show the newest scan of the file in place of the introduction, which a talk needs."""
        facts, is_ready = self.session.checkpoint, self.pages.currentIndex() == READY
        if facts is None or facts.is_demo or self.ended.text() or not is_ready:
            return
        past = self.context.settings.last_result(self.id, facts.inspection.sha256)
        if past is None or not is_there(str(Path(past.folder) / SCAN_FILE)):
            return
        try:
            scan = read_scan(Path(past.folder) / SCAN_FILE)
        except InputError as error:
            self.context.settings.forget_result(self.id, past.folder)
            self._list_scans()
            self.shell.logged.emit(error.sentence)
            return
        self._show_result(Path(past.folder), scan, was_asked_for=False)

    def _on_scan_event(self, event: Event) -> None:
        """Follow a scan that another station makes, for an audience."""
        if isinstance(event, Finding) and event.kind == "scan":
            self._elsewhere = LiveScan()
        if not self.scanning.is_running:
            self.live.follow(self._elsewhere, self._elsewhere.take(event))

    def _on_reference_wanted(self, path: str) -> None:
        if not self.scanning.is_running:
            self._show_page(READY)
            self.setup.reference.choose(OWN if path else NONE, path)

    def export(self) -> None:
        """Ask where to, and write by the ending of the name."""
        scan = self._shown_scan()
        if scan is None:
            return
        name = f"scan-{Path(plain(scan.suspect.name, 60)).stem or 'result'}.png"
        chosen = self.context.prompts.save_file(self.window(), "Export the scan", name, _KINDS)
        if not chosen:
            return
        path = Path(chosen)
        with failing(self.shell.failed, "Could not save the file"):
            if path.suffix.lower() == ".json":
                save_export(path, scan_json(scan))
            else:
                self.result.show_details()
                save_chart(self.result, partial(to_csv, csv_rows(scan)), path)
            self.shell.logged.emit(f"Saved {plain(path.name, 80)}.")

    def _hand_over(self, station: str) -> None:
        scan = self._shown_scan()
        if scan is not None and scan.found is not None and self._trigger is not None:
            self._use(self._trigger, scan.found.target, station)

    def _try_probe(self, _: Index) -> None:
        """Put a known trigger of the table on Studio's canvas."""
        from ml_core.detection.scan.probes import probes_at

        scan, number = self._shown_scan(), self.result.probes.table.chosen
        if scan is not None and scan.stages.probes is not None and self._can_measure():
            row = scan.stages.probes.rows[number]
            known = {probe.id: probe.trigger for probe in probes_at(scan.side)}
            if row.id in known:
                self._use(known[row.id], row.target, "studio")

    def _use(self, trigger: Trigger, class_name: str, station: str) -> None:
        """Hand a trigger and its class to another station."""
        target = self._number_of(class_name)
        if target is None:
            self.shell.failed.emit(
                InputError(
                    f"The trigger leads to “{plain(class_name, 80)}”, which the classes in use "
                    "lack; choose the label set that the scan was made with."
                ).titled("Could not use the trigger")
            )
            return
        scan, held = self._shown_scan(), self.session.cleaned
        scanned, cleaned = scan and scan.suspect.sha256, held and held.inspection.sha256
        self.shell.open("role", "cleaned" if scanned and scanned == cleaned else "suspect")
        self.shell.open("trigger", trigger, target)
        self.shell.station_wanted.emit(station)

    # How it is laid out

    def _make_parts(self) -> None:
        actions = self.context.actions
        start = push_button(icon="play", look="primary large")
        self.start_button = bind(start, actions["scan.start"], text=True)
        self.start_button.setObjectName("scan.start_button")
        self.estimate_button = bind(push_button("Estimate"), actions["scan.estimate"])
        self.warning = Note("warning")
        self.doctor_button = push_button("Loader doctor…")
        if "file.doctor" in actions.by_id:
            bind(self.doctor_button, actions["file.doctor"], text=True)
        self.cancel_estimate = push_button(
            "Cancel", self.estimating.cancel, name="Cancel the estimate"
        )
        self.hint = Note("caption")
        self.estimate_label = Note("caption")
        self.earlier_title = Label("Scans of this checkpoint", "field", wrap=True)
        self.earlier = named(QListWidget(), "Scans of this checkpoint")
        self.earlier.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.earlier_title.setBuddy(self.earlier)
        attempt = push_button(icon="studio", look="primary")
        self.try_button = bind(attempt, actions["scan.try"], text=True)
        self.clean_button = bind(push_button(), actions["scan.clean"], text=True, icon=True)
        self.export_button = bind(push_button(), actions["scan.export"], text=True, icon=True)
        self.compare_button = push_button(
            "Choose a reference…", self.setup.reference.kind.showPopup
        )
        report = partial(self.shell.station_wanted.emit, "report")
        self.report_button = push_button("Write the report", report, icon="report")
        self._acts = (
            self.try_button, self.clean_button, self.report_button, self.compare_button,
            self.export_button,
        )  # fmt: skip
        self.live = LiveView()
        self.result = ResultView(FoldingRow(*self._acts))
        self.result.probes.table.activated.connect(self._try_probe)
        self.result.setObjectName("scan.result")
        self.ended = Note()
        self.planned = PlannedStages()
        self.examples = PictureGrid("Examples of what is searched", _EXAMPLE, 1, abreast=2)
        self.open_button = bind(push_button(), actions["scan.open"], text=True, icon=True)

    def _lay_out(self) -> None:
        self.pages = QStackedWidget()
        self._scrolls = [scrolling(w) for w in (self._ready_page(), self.live, self.result)]
        for scroll in self._scrolls:
            self.pages.addWidget(scroll)
        self.columns = Columns(
            self._left_side(), self.pages, None, ROOM, self.context.settings, self.id
        )
        row(self.columns, of=self, margins=theme.SPACE_M)

    def _left_side(self) -> QWidget:
        """The reference with Start below it, options and earlier scans."""
        column(
            self.start_button, self.hint, self.warning, row(self.doctor_button, None),
            row(self.estimate_button, self.cancel_estimate, None), self.estimate_label,
            of=self.acts, spacing=theme.SPACE_S,
        )  # fmt: skip
        below = column(
            self.earlier_title, self.earlier,
            margins=(theme.SPACE_L, 0, theme.SPACE_L, theme.SPACE_M), spacing=theme.SPACE_XS,
        )  # fmt: skip
        return card(scrolling(page(self.setup, below, None, spacing=0)), margins=1)

    def _ready_page(self) -> QWidget:
        about = card(
            self.ended, Label(self.question, "title", wrap=True), Label(_LEAD, wrap=True),
            self.examples, Label("What will be done, in this order", "heading", wrap=True),
            self.planned, Label(_LIMITS, "subtle", wrap=True),
            (self.open_button, Qt.AlignmentFlag.AlignLeft),
            margins=theme.SPACE_XL,
        )  # fmt: skip
        return page(about, None)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Fits a small laptop."""
        return QSize(1200, 700)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """A scan may be started soon: have its process load torch meanwhile."""
        super().showEvent(event)
        if not self.examples.cells:
            self.examples.show_cells(example_cells())
        self._list_scans()  # Clean it makes some too
        self._show_known()
        self._unused.stop()
        self._prepare()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """The process that waits is ended, unless the page is soon shown again."""
        super().hideEvent(event)
        self._unused.start()

    def _prepare(self) -> None:
        if self.isVisible() and self.pages.currentIndex() == READY and self._can_start():
            self.scanning.prepare()

    # What follows the scan and the session

    def _connect(self) -> None:
        scanning, shell = self.scanning, self.shell
        scanning.began.connect(self._on_began)
        scanning.updated.connect(self._on_updated)
        scanning.progressed.connect(self._on_progressed)
        scanning.ended.connect(self._on_ended)
        scanning.logged.connect(shell.job_logged)
        scanning.warned.connect(shell.logged)
        self.estimating.changed.connect(self._refresh)
        self.live.busy.cancel_clicked.connect(scanning.cancel)
        self.setup.changed.connect(self._on_setup_change)
        self.stamping.shown.connect(self._on_stamped)
        self.earlier.itemActivated.connect(self._on_earlier_activated)
        self.earlier.itemClicked.connect(self._on_earlier_activated)
        shell.demo_opening.connect(self._forget)
        shell.takes("scan", self._on_scan_wanted)
        shell.takes("scan_made", self._on_scan_made)
        shell.takes("scan_event", self._on_scan_event)
        shell.takes("scan_reference", self._on_reference_wanted)
        shell.closing.connect(self.stamping.forget)
        shell.closing.connect(scanning.cancel)
        shell.closing.connect(scanning.let_go)
        self._unused.timeout.connect(scanning.let_go)
        shell.closing.connect(self.estimating.cancel)
        DEVICES.changed.connect(self._refresh, Qt.ConnectionType.QueuedConnection)
        events = self.session.events
        events.checkpoint.connect(self._on_checkpoint_change)
        events.images.connect(self._on_images_change)
        events.evaluation.connect(self._warn)
        events.reference.connect(self._offer_references)
        events.trusted.connect(self._offer_references)

    def _warn(self, *_: object) -> None:
        """Say what speaks against a scan before it begins."""
        warning = "" if self.scanning.is_running else self.setup.warning(self.session)
        self.warning.setText(warning)
        can_help = "file.doctor" in self.context.actions.by_id
        self.doctor_button.setVisible(bool(warning) and can_help)

    def _refresh(self, *_: object) -> None:
        """Say what is missing or what starting means, and what can be done."""
        device, estimating = self.context.device.wanted, self.estimating
        reference = self.setup.reference
        self.session.scan_reference = "" if reference.problem() else reference.path()
        hint = self.setup.missing(self.session)
        if not hint and not self.scanning.is_running and not estimating.is_running:
            hint = _TAKEN if is_taken(device) else self.setup.hint(self.session, device)
        self._warn()
        self.hint.setText("" if self.scanning.is_running else hint)
        self.planned.show_stages(self.setup.chosen_stages())
        self.setup.setEnabled(not self.scanning.is_running)
        theme.set_property(self.estimate_label, "role", "error" if estimating.failed else "caption")
        self.estimate_label.setText(
            "" if self.scanning.is_running else plain(estimating.text, 1000)
        )
        self.estimate_button.setVisible(not estimating.is_running)
        self.cancel_estimate.setVisible(estimating.is_running)
        scan, facts = self._shown_scan(), self.session.checkpoint
        again = bool(scan and facts and scan.suspect.sha256 == facts.inspection.sha256)
        self.context.actions["scan.start"].setText(_AGAIN if again else _START)
        theme.set_primary(self.start_button, "play", not again)
        self._prepare()
        self.shell.commands_changed.emit()

    def _on_setup_change(self) -> None:
        self.estimating.forget()
        self._refresh()

    def _can_start(self) -> bool:
        free = not self.scanning.is_running and not is_taken(self.context.device.wanted)
        return free and not self.setup.missing(self.session)

    def _can_hand_over(self) -> bool:
        has_trigger = self._trigger is not None and self._shown_scan() is not None
        return has_trigger and self._can_measure()

    def _can_measure(self) -> bool:
        return self.session.checkpoint is not None and self.session.images is not None

    def _shown_scan(self) -> Scan | None:
        """The scan whose result is on show."""
        return self.result.scan if self.pages.currentIndex() == RESULT else None

    def _number_of(self, class_name: str) -> int | None:
        """Number of a class among those in use; None where they lack it."""
        names = () if self.session.images is None else self.session.images.class_names
        return names.index(class_name) if class_name in names else None

    def _on_began(self) -> None:
        self.stamping.forget()
        spec, facts = self.scanning.spec, self.session.checkpoint
        name = "" if facts is None else facts.inspection.name
        is_copy = facts is not None and spec is not None and spec.checkpoint != facts.path
        self.live.begin(self.scanning.live, f"The cleaned copy of {name}" if is_copy else name)
        self._show_page(LIVE)
        self.session.show_job(self.id, JobState(str(self.scanning.folder), "running"))
        self._refresh()

    def _on_updated(self, parts: frozenset[str]) -> None:
        self.live.follow(self.scanning.live, parts)

    def _on_progressed(self) -> None:
        scanning = self.scanning
        progress = RunProgress(scanning.live.at_work, scanning.fraction, scanning.seconds_left)
        self.session.show_progress(self.id, progress)
        self.live.show_progress(
            scanning.fraction, scanning.seconds_left, scanning.live, ending=scanning.is_cancelling
        )

    def _on_ended(self, last: Done) -> None:
        folder, failed = self.scanning.folder, last.status == "failed"
        focus = self.window().focusWidget()
        had_focus = focus is not None and self.live.isAncestorOf(focus)
        if last.status == "finished" and folder is not None:
            try:
                self._show_result(folder, read_scan(folder / SCAN_FILE))
            except InputError as error:
                failed, last = True, replace(last, error=error.sentence)
        if last.status != "finished" or failed:
            words = (
                "The scan was cancelled; started again with these settings, it goes on from there."
            )
            self._show_end(last.error if failed else words, error=failed)
            self._show_page(READY)
            status: Literal["failed", "cancelled"] = "failed" if failed else "cancelled"
            self.session.show_job(self.id, JobState(str(folder), status))
        self._refresh()
        if had_focus:
            self._focus_result()
        spec = self.scanning.spec
        if spec is not None and last.error_code == "unfit" and self._scans_anyway(last.error):
            with failing(self.shell.failed, "Could not start the scan"):
                self._begin(spec.model_copy(update={"anyway": True}))

    def _scans_anyway(self, why: str) -> bool:
        """Ask whether to search a model that a scan cannot judge."""
        question = f"{plain(why, 600)}\n\n{_ANYWAY}"
        return self.context.prompts.confirm(
            self.window(), "Scan", question, "Scan anyway", "Do not scan"
        )

    def _show_end(self, words: str, *, error: bool = False) -> None:
        """Say how the last scan ended, above the page without a result."""
        theme.set_property(self.ended, "role", "error" if error else "subtle")
        self.ended.setText(plain(words, 1000))

    def _show_result(self, folder: Path, scan: Scan, *, was_asked_for: bool = True) -> None:
        """Show a scan; one that nobody asked for is no part of the session."""
        patches: list[NDArray[np.float32]] = []
        stage, focus = scan.stages.patches, self.window().focusWidget()
        self._folder, self._trigger = folder, None
        try:
            if stage is not None and stage.rounds:
                patches = read_patches(folder / PATCHES_FILE, len(stage.rounds))
            if scan.found is not None:
                self._trigger = load_trigger(folder / scan.found.file)
        except (InputError, OSError) as error:
            sentence = error.sentence if isinstance(error, InputError) else str(error.strerror)
            self.shell.logged.emit(sentence)
        self._show_end("")
        facts, (_, cleaned) = self.session.checkpoint, self._cleaned() or ("", "")
        own = "" if facts is None else facts.inspection.sha256
        which = "Cleaned copy" if scan.suspect.sha256 == cleaned else plain(scan.suspect.name, 60)
        self.result.show_scan(scan, patches, "" if scan.suspect.sha256 == own else f"{which}: ")
        for button in (self.try_button, self.clean_button):
            button.setVisible(self._trigger is not None)
        self.report_button.setVisible(self._trigger is None)
        self.compare_button.setVisible(scan.reference is None)
        self.context.settings.add_scan(folder, scan)
        target = self._number_of(scan.found.target) if scan.found is not None else None
        untouched = was_asked_for and self.session.trigger is None and not self.session.target
        if target is not None and untouched and scan.suspect.sha256 == own:
            self.shell.open("target", target)  # Studio begins with it
        self._show_page(RESULT)
        self._list_scans()
        judged = scan.judgement
        if was_asked_for:
            self._scans = (*(path for path in self._scans if path != str(folder)), str(folder))
        shown = JobState(str(folder), "finished", judged.verdict, judged.target)
        self.session.show_job(self.id, shown)
        self.shell.state_changed.emit()
        self._stamp()
        self._refresh()
        if focus and self.isAncestorOf(focus) and not focus.isVisible():  # or it would scroll
            self._focus_result()

    def _focus_result(self) -> None:
        self.context.actions.refresh()
        focus_first(*self._acts, self.start_button)

    def _show_page(self, number: int) -> None:
        self.pages.setCurrentIndex(number)
        self._scrolls[number].verticalScrollBar().setValue(0)

    def _stamp(self) -> None:
        """Show the found trigger on pictures, if the scanned checkpoint is open."""
        scan, trigger = self.result.scan, self._trigger
        self.stamping.forget()
        if scan is None or scan.found is None or trigger is None:
            return
        target = self._number_of(scan.found.target)
        facts = self.session.checkpoint
        is_open = facts is not None and facts.inspection.sha256 == (scan.suspect.sha256 or "-")
        if not is_open or target is None:
            name = plain(scan.suspect.name, 80)
            self.result.show_stamped(None, "" if is_open else _NOT_OPEN.format(name))
            return
        self.stamping.ask(trigger, target)

    def _on_stamped(self, stamped: Stamped | None) -> None:
        if self.result.scan is not None:
            self.result.show_stamped(stamped, "")
            self.shell.open("stamped", str(self._folder), self.result.stamped.cells)

    def _list_scans(self) -> None:
        """List earlier scans of the open checkpoint, or of all checkpoints if none is open."""
        facts = self.session.checkpoint
        digest = "" if facts is None else facts.inspection.sha256
        _, cleaned = self._cleaned() or ("", "")
        self.earlier.clear()
        of_it = [
            past
            for past in self.context.settings.results(self.id)
            if not digest or past.sha256 in (digest, cleaned or digest)
        ][:_MOST_SHOWN]
        for past in of_it:
            whose = "Cleaned: " if digest not in ("", past.sha256) else ""
            item = QListWidgetItem(f"{day_and_time(past.made)} · {whose}{plain(past.brief, 60)}")
            item.setData(Qt.ItemDataRole.UserRole, past.folder)
            item.setToolTip(plain(past.folder, 300))
            item.setSizeHint(QSize(0, theme.px(_ITEM)))  # as wide as the list, and no wider
            self.earlier.addItem(item)
            item.setSelected(self._shown_scan() is not None and Path(past.folder) == self._folder)
        self.earlier_title.setText("Scans" if facts is None else "Scans of this checkpoint")
        self.earlier.setFixedHeight(theme.px(_ITEM) * max(len(of_it), 1) + 4)
        for widget in (self.earlier_title, self.earlier):
            widget.setVisible(bool(of_it))

    def _on_earlier_activated(self, item: QListWidgetItem) -> None:
        if not self.scanning.is_running:
            self.open_folder(Path(str(item.data(Qt.ItemDataRole.UserRole))))

    def _on_checkpoint_change(self, *_: object) -> None:
        """Offer the references of the new checkpoint; another checkpoint's result goes."""
        facts = self.session.checkpoint
        self.estimating.forget()
        self._offer_references()
        self._list_scans()
        if self.pages.currentIndex() == RESULT:
            scan = self.result.scan
            other = scan is not None and facts is not None
            if other and scan is not None and facts is not None:
                other = (scan.suspect.sha256 or "-") != facts.inspection.sha256
            if other:
                self._forget()
            else:
                self._stamp()
        self._refresh()
        if facts is not None:
            awaited, self._awaited = self._awaited, ""
            if facts.path == awaited:
                self._on_scan_wanted(self._scans[-1])
            self._show_end("")  # it was of the checkpoint before
            self._show_known()

    def _forget(self) -> None:
        """Remove the result on show, or the words on how the last scan ended."""
        if self.scanning.is_running:
            return
        self.stamping.forget()
        self._show_end("")
        self._show_page(READY)
        self.live.patches.show_cells(())
        self.session.show_job(self.id, None)

    def _on_images_change(self, *_: object) -> None:
        self.estimating.forget()
        if self.pages.currentIndex() == RESULT:
            self._stamp()
        self._refresh()

    def _offer_references(self, *_: object) -> None:
        session = self.session
        studio = "" if session.reference is None else session.reference.path
        self.setup.reference.offer(session.checkpoint, studio, session.trusted)


def example_cells() -> list[PictureCell]:
    """The same picture without and with a trigger of each form that is searched."""
    (picture,) = compose("test", [_PICTURE]).images
    side, (rows, columns) = len(picture), np.indices(picture.shape[:2])
    draw = np.random.default_rng(0)
    patched = picture.copy()
    patched[8:20, 8:20] = draw.integers(0, 256, (12, 12, 3))
    wave = np.sin(2 * np.pi * (3 * columns + 2 * rows) / side)
    overlaid = (picture + 45 * wave[..., None]).clip(0, 255).astype(np.uint8)
    across = (columns + 5 * np.sin(2 * np.pi * rows / 40)).astype(int) % side
    down = (rows + 5 * np.sin(2 * np.pi * columns / 32)).astype(int) % side
    changed = {"A patch": patched, "An overlay": overlaid, "A warp": picture[down, across]}
    return [PictureCell((picture, after), (words,)) for words, after in changed.items()]
