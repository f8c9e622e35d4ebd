"""Report: what was measured as claims, a bundle of it for a stranger, and the check of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from PySide6.QtCore import Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QPushButton, QStackedWidget, QTabWidget, QWidget

from cleanclip_gui import theme, threads
from cleanclip_gui.commands import Command
from cleanclip_gui.jobs import tasks
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.jobs.runner import DEVICES, is_taken
from cleanclip_gui.report.checks_view import ChecksView
from cleanclip_gui.report.claims_view import ClaimPlace, ClaimsView
from cleanclip_gui.report.dialogs import VerifyDialog, WriteDialog
from cleanclip_gui.report.drafting import Drafting
from cleanclip_gui.report.missing import Missing, MissingList, missing
from cleanclip_gui.report.parts import (
    PartsList,
    ReportPart,
    cleaned_spec,
    known_reference,
    reference_spec,
    suspect_spec,
)
from cleanclip_gui.report.preview import Preview
from cleanclip_gui.station import AtWork, Context, Page, Scene
from cleanclip_gui.widgets.columns import Columns, Needs, Room
from cleanclip_gui.widgets.controls import BusyRow, Label, Note, bind, named, push_button
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import above_foot, card, column, page, row, scrolling
from cleanclip_gui.widgets.name_filters import CHECKPOINTS
from cleanclip_gui.widgets.prompts import failing, show_on_desktop
from cleanclip_gui.widgets.text import bytes_text, count_text, plain, plural
from ml_core.atomic import replace_files
from ml_core.events import Done, Event, Finding
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.jobs.specs import CLEANED_FILE
from ml_core.jobs.table import JOBS
from ml_core.jobs.verify import VerifySpec
from ml_core.paths import cache_dir
from ml_core.reading.errors import InputError
from ml_core.reports.open_bundle import open_bundle
from ml_core.reports.record import EVIDENCE_FILE, PDF_FILE
from ml_core.reports.verify.checks import Check
from ml_core.reports.write_bundle import FOLDER_SUFFIX, REPORT_FILE, ZIP_SUFFIX
from ml_core.signing import load_key, new_key, sign_path, trusted_keys


def job_file() -> Path:
    """A new file for the spec of a job."""
    return cache_dir() / "report" / f"{uuid4().hex}.json"


def progress_of(task: JobTask) -> tuple[float | None, str]:
    """Share of the present stage, None where it is not known, and words for it."""
    progress = task.progress
    share = progress.done / progress.total if progress is not None and progress.total > 1 else None
    if not task.is_running:
        return None, ""
    if task.is_cancelling:
        return share, "Cancelling"
    if progress is None:
        return None, "Starting"
    words = JOBS[task.kind].words(progress.stage)
    if progress.done < progress.total and 1 < progress.total < 1_000_000:  # else bytes
        words += f", {count_text(progress.done)} of {count_text(progress.total)}"
    return share, words


ROOM = Room(left=Needs(290, 320), middle=Needs(380, 560))
EMPTY, DRAFT, CHECKS = range(3)
_ALONE = "bundle"
"""Takes no device: with the bundle alone no model is loaded."""
_TAKEN = "Another job is running on this device; this can start when it has ended."
_FOLDERS, _ZIPS = f"Evidence folder (*{FOLDER_SUFFIX})", f"Evidence in one file (*{ZIP_SUFFIX})"
_BUNDLES = f"Evidence ({EVIDENCE_FILE} *{ZIP_SUFFIX})"
_LEAD = (
    "Your measurements stay on this machine until you hand them over. A report presents them to "
    "somebody who does not trust you: each claim has its figures and its interval. A bundle also "
    "holds every answer of the model that a claim stands on."
)
_HOW = (
    ("Measure", "Open a checkpoint, try a trigger in Studio, scan it, clean it, test the result. "
     "What can be claimed appears here by itself."),
    ("Write", "A bundle holds the report as a page, the record, every answer and the hashes of "
     "all files. Weights and pictures go in only if you want it."),
    ("Verify", "Whoever gets the bundle checks it with “cleanclip verify”, or drops it on this "
     "window: the arithmetic with the bundle alone, the rest with checkpoint and pictures."),
)  # fmt: skip
_LIMITS = "A report says what was measured. It proves no model harmless."
_NOTHING = (
    "Nothing is kept of this checkpoint yet that a stranger could check. The list on the left says "
    "what is missing."
)
_DRAFTING = "Adding up what was measured…"
_NEEDS_PARTS = "Needs a measurement that was kept: Report says what is missing."


class ReportStation(Page):
    """What goes in and what is missing on the left; on the right the claims, or a verification."""

    id = "report"
    title = "&Report"
    question = "Evidence that others can check."
    icon = "report"

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.drafting = Drafting(context.session, context.settings, parent=self)
        self.measuring, self.writing, self.verifying = (
            JobTask(kind, context.new_runner, self) for kind in ("measurement", "report", "verify")
        )
        self.write_dialog: WriteDialog | None = None
        self.verify_dialog: VerifyDialog | None = None
        self._to_measure: list[MeasurementSpec] = []
        self._signer: tuple[str, str] | None = None  # of the bundle that is being written
        self._written: Path | None = None
        self._verified: Path | None = None
        self._signing = False
        context.actions.add(self.commands())
        self._make_parts()
        self._lay_out()
        self._connect()
        self._refresh()

    # What the window asks of a station

    def commands(self) -> tuple[Command, ...]:
        """What can be done with a report."""
        commands = (
            Command(
                "report.write", "&Write bundle…", "Rep&ort", self.write,
                "Write the evidence into a folder or one file, in the background.", "save",
                "Ctrl+Shift+J", 0, self._can_write, needs=_NEEDS_PARTS,
            ),
            Command(
                "report.browse", "&Open the report in the browser", "Rep&ort", self.browse,
                "Show the report as it would be written now, with its charts.", "open", "", 0,
                lambda: self.drafting.draft is not None, needs=_NEEDS_PARTS,
            ),
            Command(
                "report.measure", "&Measure and keep", "Rep&ort", self.measure,
                "Measure the open checkpoint in fp32 on the pictures in use, with the trigger in "
                "use, and keep every answer. Also its cleaned copy, if Studio shows it or no "
                "trigger was measured on it.", "target", "", 1, self._can_measure,
                needs="Needs a checkpoint and pictures, and no other job at work.",
            ),
            Command(
                "report.measure_reference", "Measure a &reference", "Rep&ort",
                self.measure_reference,
                "Measure a clean checkpoint in the same way, to compare with.", "compare", "", 1,
                self._can_measure,
                needs="Needs a checkpoint and pictures, and no other job at work.",
            ),
            Command(
                "report.verify", "&Verify a bundle…", "Rep&ort", self.choose_bundle,
                "Check a bundle that somebody else made; nothing in it is run.", "search",
                "Ctrl+Shift+V", 2, lambda: not self.verifying.is_running,
                needs="A bundle is being checked.",
            ),
            Command(
                "report.verify_files", "Check it against &files…", "Rep&ort", self.ask_for_files,
                "Check the same bundle with its checkpoints and pictures.", "search", "", 2,
                lambda: self._verified is not None and not self.verifying.is_running,
                needs="Needs a bundle that was checked.",
            ),
            Command(
                "report.cancel", "&Cancel the report's job", "Rep&ort", self.cancel,
                "End what is being measured, written or checked.", "cancel", "", 3,
                lambda: any(work.is_running for work in self._works()),
                needs="Nothing is at work.",
            ),
        )  # fmt: skip
        return tuple(replace(command, repeats=False) for command in commands)

    def at_work(self) -> tuple[AtWork, ...]:
        """Measurements, bundles that are being written, and verifications."""
        tasks = (
            (self.measuring, "A measurement is going on.", "Nothing of it is kept."),
            (self.writing, "A bundle is being written.", "No half bundle is left."),
            (self.verifying, "A bundle is being checked.", "The bundle stays as it is."),
        )
        return tuple(
            AtWork(what, kept, task.cancel) for task, what, kept in tasks if task.is_running
        )

    def take_file(self, path: Path) -> bool:
        """Verify a bundle: its folder, its zip or its record."""
        bundle = bundle_at(path)
        if bundle is None:
            return False
        self.verify(bundle)
        return True

    def scene(self) -> Scene:
        """The report as it would be written now."""
        return Scene() if self.drafting.draft is None else Scene(self.preview.page)

    # What the user does

    def write(self) -> None:
        """Ask what the bundle is to hold."""
        if not self._can_write():
            return
        try:
            keys = [key for key in trusted_keys() if key.own]
        except InputError as error:
            self.shell.logged.emit(error.sentence)
            keys = []
        self.write_dialog = WriteDialog(keys, self.context.settings.value.author, self.window())
        self.write_dialog.chosen.connect(self._on_write_chosen)
        self.write_dialog.open()

    def browse(self) -> None:
        """Write the page to a temporary folder and open it in the browser."""
        draft = self.drafting.draft
        if draft is None:
            return
        path = cache_dir() / "report" / "draft.html"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_files({path: draft.html})
        except OSError as error:
            self._fail(f"The page cannot be written: {error.strerror or error}.",
                       "Could not open the report")  # fmt: skip
            return
        show_on_desktop(path, self.shell.failed)

    def measure(self) -> None:
        """Measure the suspect and keep it; a cleaned copy, too, of which figures are missing."""
        if not self._can_measure():
            return
        session, device = self.session, self.context.device.wanted
        on_show = session.cleaned if session.role == "cleaned" else None
        with failing(self.shell.failed, "Could not measure"):
            specs = [suspect_spec(session, device)]
            for part in self.drafting.chosen_parts:
                lacks = session.trigger is not None and not part.with_trigger
                is_shown = on_show is not None and on_show.path == str(part.folder / CLEANED_FILE)
                if (lacks or is_shown) and part.has_cleaned and not self._is_result_of(part):
                    specs.append(cleaned_spec(session, part.folder, device))
            self._measure(specs)

    def measure_reference(self) -> None:
        """Measure a clean checkpoint in the same way; asks for one if none is known."""
        if not self._can_measure():
            return
        path = known_reference(self.session)
        if not path:
            path = self.context.prompts.open_file(
                self.window(), "A clean checkpoint to compare with", "", CHECKPOINTS
            )
        if path:
            newest = reversed(self.drafting.chosen_parts)
            run = next((part.folder for part in newest if part.kind == "run"), None)
            with failing(self.shell.failed, "Could not measure"):
                self._measure([reference_spec(self.session, path, run, self.context.device.wanted)])

    def choose_bundle(self) -> None:
        """Ask for a bundle, and check it."""
        chosen = self.context.prompts.open_file(self.window(), "Verify a bundle", "", _BUNDLES)
        if not chosen:
            return
        bundle = bundle_at(Path(chosen))
        if bundle is None:
            self._fail(
                f"{plain(Path(chosen).name, 80)} is no evidence bundle: choose the "
                f"{EVIDENCE_FILE} in its folder, or its zip.", "Could not verify the bundle",
            )  # fmt: skip
            return
        self.verify(bundle)

    def verify(self, bundle: Path) -> None:
        """Check a bundle by itself."""
        self._verify(VerifySpec(bundle=str(bundle)), _ALONE)

    def ask_for_files(self) -> None:
        """Ask for the files that the bundle is about."""
        if self._verified is None or self.verifying.is_running:
            return
        subjects = [
            check.subject for check in self.checks.not_given
            if check.level == 2 and check.subject.startswith("images-")
        ]  # fmt: skip
        images, own = self.session.images, self._verified == self._written
        self.verify_dialog = VerifyDialog(
            str(self._verified), self._files_at_hand(own), subjects, self.context.prompts,
            self.window(), "" if images is None or not own else images.spec.path or "",
        )  # fmt: skip
        self.verify_dialog.chosen.connect(self._on_verify_chosen)
        self.verify_dialog.open()

    def _files_at_hand(self, own: bool) -> Sequence[str]:
        """Suspect, cleaned and reference, as far as open or in a bundle of one's ``own``."""
        session, draft = self.session, self.drafting.draft
        suspect = "" if session.checkpoint is None else session.checkpoint.path
        cleaned = "" if session.cleaned is None else session.cleaned.path
        reference = ""
        if any(map(self._is_result_of, self.drafting.chosen_parts)):
            suspect, cleaned = "", suspect
        if draft is not None and own:
            runs = [part.folder for part in self.drafting.chosen_parts if part.has_cleaned]
            cleaned = cleaned or (str(runs[-1] / CLEANED_FILE) if runs else "")
            known = known_reference(session)
            checkpoints = draft.evidence.checkpoints.values()
            names = [facts.name for facts in checkpoints if facts.role == "reference"]
            reference = known if Path(known).name in names else ""
        return suspect, cleaned, reference

    def _is_result_of(self, part: ReportPart) -> bool:
        """Whether the open checkpoint is what a run made, saved under another name."""
        facts = self.session.checkpoint
        return facts is not None and (part.kind, part.cleaned) == ("run", facts.inspection.sha256)

    def cancel(self) -> None:
        """End what is at work here."""
        self._to_measure.clear()
        for work in self._works():
            work.cancel()

    def _works(self) -> tuple[JobTask, ...]:
        return (self.measuring, self.writing, self.verifying)

    # How it is laid out

    def _make_parts(self) -> None:
        actions = self.context.actions
        self.parts = PartsList()
        self.missing = MissingList(actions)
        self.hint = Note("caption")
        self.write_button = push_button(icon="save", look="primary large")
        self.write_button.setObjectName("report.write_button")
        bind(self.write_button, actions["report.write"], text=True)
        self.verify_button = bind(QPushButton(), actions["report.verify"], text=True)
        self.busy = BusyRow("Progress of the report")
        self.busy_words = Label("", "caption", wrap=True)
        self.claims = ClaimsView()
        self.claims.setObjectName("report.claims")
        self.preview = Preview(bind(QPushButton(), actions["report.browse"], text=True, icon=True))
        self.preview.setObjectName("report.page")
        self.drafting_words = Label("", "caption")
        self.draft_error = Note("error")
        self.nothing = Label(_NOTHING, wrap=True)
        self.written = Label(wrap=True, selectable=True)
        self.open_written = push_button("Open the report", self._on_open_written)
        self.show_written = push_button("Show in folder", self._on_show_written)
        self.verify_written = push_button("Verify it now", self._on_verify_written)
        again = bind(push_button(), actions["report.verify_files"], text=True)
        self.back = push_button("Back to the report", self._show_report)
        self.checks = ChecksView(FoldingRow(again, self.back))
        self.checks.setObjectName("report.checks")
        self.empty_verify = bind(QPushButton(), actions["report.verify"], text=True)

    def _lay_out(self) -> None:
        self.tabs = QTabWidget(documentMode=True)
        self.tabs.tabBar().setDrawBase(False)
        self.tabs.addTab(self.preview, "Page")
        self.tabs.addTab(self.claims, "Claims")
        self.tabs.setCornerWidget(self.drafting_words)
        self.pages = QStackedWidget()
        self.pages.addWidget(scrolling(self._empty_page()))
        self.pages.addWidget(self._draft_page())
        self.pages.addWidget(self.checks)
        self.columns = Columns(self._left_side(), self.pages, None, ROOM)
        row(self.columns, of=self, margins=theme.SPACE_M)

    def _left_side(self) -> QWidget:
        """What goes in and what is missing, scrolling, above the buttons."""
        self.parts_title = Label("What goes into it", "heading")
        inside = page(
            self.parts_title, self.parts, theme.SPACE_S,
            Label("Missing for a full report", "heading"), self.missing, None,
            margins=(theme.SPACE_L, theme.SPACE_L, theme.SPACE_L, theme.SPACE_M),
            spacing=theme.SPACE_M,
        )  # fmt: skip
        return above_foot(
            inside, self.hint, self.busy_words, self.busy, self.write_button, self.verify_button
        )

    def _empty_page(self) -> QWidget:
        how = [(Label(title, "heading"), Label(words, wrap=True)) for title, words in _HOW]
        words = card(
            Label(self.question.removesuffix("."), "title", wrap=True), Label(_LEAD, wrap=True),
            self.nothing,
            *(label for step in how for label in step), Label(_LIMITS, "subtle", wrap=True),
            FoldingRow(self.empty_verify), margins=theme.SPACE_XL,
        )  # fmt: skip
        return page(words, None)

    def _draft_page(self) -> QWidget:
        buttons = row(
            (self.written, 1), self.open_written, self.verify_written, self.show_written,
            spacing=theme.SPACE_S,
        )  # fmt: skip
        self.written_card = named(card(buttons), "The bundle that was written")
        self.written_card.setProperty("tone", "ok")
        self.written_card.hide()
        whole = QWidget()
        column(self.written_card, self.draft_error, (self.tabs, 1), of=whole, spacing=theme.SPACE_M)
        return whole

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Something may have been measured meanwhile."""
        super().showEvent(event)
        self._draft()

    # What follows what happens

    def _connect(self) -> None:
        shell, events = self.shell, self.session.events
        self.drafting.changed.connect(self._refresh)
        self.parts.picked.connect(self.drafting.pick)
        self.missing.requested.connect(self._on_missing_wanted)
        self.claims.place_wanted.connect(self._on_place_wanted)
        self.checks.busy.cancel_clicked.connect(self.verifying.cancel)
        self.busy.cancel_clicked.connect(self._on_cancel_clicked)
        self.measuring.ended.connect(self._on_measured)
        self.writing.ended.connect(self._on_written)
        self.verifying.received.connect(self._on_check)
        self.verifying.progressed.connect(self._on_verifying)
        self.verifying.ended.connect(self._on_verified)
        for work in self._works():
            work.logged.connect(shell.job_logged)
            work.warned.connect(shell.logged)
            work.progressed.connect(self._show_busy)
            work.began.connect(self._refresh)
            shell.closing.connect(work.cancel)
        shell.closing.connect(self._to_measure.clear)
        events.checkpoint.connect(self._on_checkpoint_change)
        for event in (events.run, events.jobs):
            event.connect(self._draft)
        for event in (events.images, events.trigger):
            event.connect(self._show_missing)
        shell.commands_changed.connect(self._show_missing)
        DEVICES.changed.connect(self._refresh, Qt.ConnectionType.QueuedConnection)

    def _on_checkpoint_change(self, *_: object) -> None:
        self.drafting.forget()
        self._written = None
        self.written_card.hide()
        self._draft()

    def _draft(self, *_: object) -> None:
        """Put the report together, now or when the page is next shown."""
        if self.isVisible():
            self.drafting.refresh()
        self._refresh()

    def _refresh(self, *_: object) -> None:
        """Show what there is, what is missing and what can be done."""
        drafting = self.drafting
        self.parts.show_parts(drafting.parts, drafting.chosen, known=self._is_known())
        self._show_missing()
        draft = drafting.draft
        self.claims.show_evidence(None if draft is None else draft.evidence)
        counted = self.claims.count and not drafting.is_stale
        self.tabs.setTabText(1, f"Claims ({self.claims.count})" if counted else "Claims")
        for view in (self.claims, self.preview):
            view.setDisabled(
                drafting.is_stale
            )  # it speaks of other parts than those that are ticked
        self.preview.show_html(None if draft is None else draft.html)
        error = drafting.error
        self.draft_error.setText("" if error is None else plain(error.sentence, 900))
        self.drafting_words.setText(_DRAFTING if drafting.is_busy else "")
        self.nothing.setVisible(self.session.checkpoint is not None and drafting.is_known)
        if self.pages.currentIndex() != CHECKS:
            self._show_report()
        self._show_busy()
        self.back.setEnabled(not self.verifying.is_running)  # nothing else leads here again
        self.shell.commands_changed.emit()

    def _show_missing(self, *_: object) -> None:
        gaps = missing(self.session, self.drafting.chosen_parts) if self._is_known() else None
        self.missing.show_missing(gaps)

    def _is_known(self) -> bool:
        """Whether measurements were searched for; without a checkpoint there are none."""
        return self.drafting.is_known or self.session.checkpoint is None

    def _show_report(self) -> None:
        """Show the report's page: its claims, or how to get some."""
        drafting = self.drafting
        anything = drafting.draft is not None or drafting.error is not None or drafting.is_stale
        later = any(part.later for part in drafting.chosen_parts)
        self.pages.setCurrentIndex(DRAFT if anything or later or self._written else EMPTY)

    def _show_busy(self) -> None:
        """What is being measured or written, above the buttons."""
        work = next((task for task in (self.measuring, self.writing) if task.is_running), None)
        for part in (self.busy, self.busy_words):
            part.setVisible(work is not None or (part is self.busy_words and self._signing))
        if work is not None:
            share, words = progress_of(work)
            self.busy.show_share(share)
            self.busy_words.setText(f"{words}…")
        elif self._signing:
            self.busy_words.setText("Signing…")
        own = any(task.is_running for task in self._works())
        taken = is_taken(self.context.device.wanted) and not own
        self.hint.setText(_TAKEN if taken and self.drafting.chosen else "")

    def _on_missing_wanted(self, gap: Missing) -> None:
        """Do what a line asks for; a run is shown first where its test is asked for."""
        if gap.run is not None:
            self.shell.open("run", str(gap.run))
            self.shell.station_wanted.emit(gap.command.partition(".")[0])
            self.context.actions.refresh()
            run = self.session.run
            if run is None or Path(run.output_dir) != gap.run:
                return  # another one is at work, and on show
        if gap.command in self.context.actions.by_id:
            self.context.actions.run(gap.command)

    def _on_place_wanted(self, place: ClaimPlace) -> None:
        """Show where a claim was measured."""
        folder = self.drafting.folder_of(place.kind, place.id)
        if place.kind == "scan" and folder is not None:
            self.shell.open("scan", str(folder))
        elif place.kind == "run" and folder is not None:
            self.shell.open("run", str(folder))
            self.shell.station_wanted.emit("clean")
        else:
            self.shell.station_wanted.emit("checkpoint" if place.kind == "checkpoint" else "studio")

    # Measuring

    def _can_measure(self) -> bool:
        free = not self.measuring.is_running and not is_taken(self.context.device.wanted)
        return free and self.session.checkpoint is not None and self.session.images is not None

    def _measure(self, specs: Sequence[MeasurementSpec]) -> None:
        """Measure one after the other."""
        self.shell.station_wanted.emit(self.id)
        self._to_measure[:] = specs
        self._measure_next()

    def _measure_next(self) -> None:
        with failing(self.shell.failed, "Could not measure"):
            self.measuring.start(self._to_measure.pop(0), job_file(), self.context.device.wanted)
        self._refresh()

    def _on_measured(self, last: Done) -> None:
        if last.status == "failed":
            self._fail(last.error, "Could not measure", last.details)
        if last.status != "cancelled" and self._to_measure:
            self._measure_next()
        self._draft()

    # Writing

    def _can_write(self) -> bool:
        free = not self.writing.is_running and not is_taken(self.context.device.wanted)
        return free and not self._signing and bool(self.drafting.chosen_parts)

    def _on_write_chosen(
        self, as_zip: bool, fields: dict[str, Any], signer: tuple[str, str] | None
    ) -> None:
        facts = self.session.checkpoint
        stem = Path("report" if facts is None else facts.path).stem
        name = f"{plain(stem, 60)}{FOLDER_SUFFIX}{ZIP_SUFFIX if as_zip else ''}"
        chosen = self.context.prompts.save_file(
            self.window(), "Write the bundle", name, _ZIPS if as_zip else _FOLDERS
        )
        if not chosen:
            return
        self.context.settings.update(author=fields["author"] or "")
        if signer is not None and not signer[0]:
            try:
                key = new_key(fields["author"], signer[1])
            except InputError as error:
                self.shell.failed.emit(error.titled("Could not make the key"))
                return
            self.shell.logged.emit(f"A key was made: {key.short} {plain(key.name, 60)}.")
            signer = key.key_id, signer[1]
        device = self.context.device.wanted
        spec = self.drafting.spec(chosen).model_copy(update={**fields, "device": device})
        self._signer = signer
        with failing(self.shell.failed, "Could not write the bundle"):
            self.writing.start(spec, job_file(), device)
        self._refresh()

    def _on_written(self, last: Done) -> None:
        if last.status == "failed":
            self._fail(last.error, "Could not write the bundle", last.details)
        elif last.status == "finished":
            had_focus = self.busy.cancel.hasFocus()
            place = Path(str(last.result.get("path", "")))
            self._written = place
            size, files = last.result.get("bytes", 0), last.result.get("files", 0)
            message = f"Written: {plain(place.name, 120)}, {plural(files, 'file')}, "
            self._show_written_text(f"{message}{bytes_text(size)}.")
            if had_focus:
                self.verify_written.setFocus()
            if self._signer is not None:
                self._sign(place, *self._signer)
        self._signer = None
        self._refresh()

    def _sign(self, place: Path, key_id: str, passphrase: str) -> None:
        """Sign a bundle in the background; the passphrase is written nowhere."""
        self._signing = True

        def work(control: tasks.TaskControl) -> str:
            key = load_key(key_id, lambda name: passphrase)
            sign_path(place, key, cancelled=control.cancelled)
            return f"{key.public.short} {key.public.name}".rstrip()

        tasks.run(
            work, self._on_signed, self._on_sign_failed, slot="sign", closing_ms=threads.CLOSING_MS
        )

    def _on_signed(self, who: str) -> None:
        self._signing = False
        self._show_written_text(f"{self.written.text()} Signed with {plain(who, 120)}.")
        self._refresh()

    def _on_sign_failed(self, error: InputError) -> None:
        self._signing = False
        self._show_written_text(f"{self.written.text()} It is not signed.")
        self.shell.failed.emit(error.titled("Could not sign the bundle"))
        self._refresh()

    def _show_written_text(self, words: str) -> None:
        self.written.setText(words)
        self.open_written.setVisible(self._page_of_written() is not None)
        self.written_card.show()
        self.shell.logged.emit(words)

    def _page_of_written(self) -> Path | None:
        """The report in the bundle that was written: as PDF if it was asked for; none in a zip."""
        pages = (
            [] if self._written is None else [self._written / PDF_FILE, self._written / REPORT_FILE]
        )
        return next((page for page in pages if page.is_file()), None)

    def _on_open_written(self) -> None:
        if (page := self._page_of_written()) is not None:
            show_on_desktop(page, self.shell.failed)

    def _on_show_written(self) -> None:
        if self._written is not None:
            show_on_desktop(self._written.parent, self.shell.failed)

    def _on_verify_written(self) -> None:
        if self._written is not None:
            self.verify(self._written)

    def _on_cancel_clicked(self) -> None:
        self._to_measure.clear()
        self.measuring.cancel()
        self.writing.cancel()

    # Verifying

    def _on_verify_chosen(self, spec: VerifySpec) -> None:
        device = self.context.device.wanted
        self._verify(spec.model_copy(update={"device": device}), device)

    def _verify(self, spec: VerifySpec, device: str) -> None:
        self.shell.station_wanted.emit(self.id)
        if self.verifying.is_running:
            self._fail("Another bundle is being checked; wait for it or cancel it first.",
                       "Could not verify the bundle")  # fmt: skip
            return
        with failing(self.shell.failed, "Could not verify the bundle"):
            self.verifying.start(spec, job_file(), device)
            self._verified = Path(spec.bundle)
            self.checks.begin(self._verified.name)
            self._on_verifying()
            self.pages.setCurrentIndex(CHECKS)
            self._refresh()

    def _on_check(self, event: Event) -> None:
        if isinstance(event, Finding):
            self.checks.add_check(Check(**event.values))

    def _on_verifying(self) -> None:
        self.checks.show_progress(*progress_of(self.verifying))

    def _on_verified(self, last: Done) -> None:
        if last.status == "finished":
            self.checks.end(last.result)
        elif last.status == "failed":
            self.checks.fail("The check did not finish", last.error)
        else:
            self.checks.fail("Cancelled", "")
        self._refresh()

    def _fail(self, sentence: str, title: str, details: str = "") -> None:
        self.shell.failed.emit(InputError(sentence, details=details).titled(title))


def bundle_at(path: Path) -> Path | None:
    """The bundle that a path means: its folder, its zip, or the record in its folder.

    It is None for anything else. Only the list of files is read from a zip.
    """
    if path.name == EVIDENCE_FILE and path.is_file():
        return path.parent
    if path.is_dir():
        return path if (path / EVIDENCE_FILE).is_file() else None
    if path.suffix.lower() != ZIP_SUFFIX or not path.is_file():
        return None
    if path.name.lower().endswith(f"{FOLDER_SUFFIX}{ZIP_SUFFIX}"):
        return path  # the check says what is wrong with it
    try:
        open_bundle(path).close()
    except InputError:
        return None
    return path
