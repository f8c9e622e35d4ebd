"""The Checkpoint station: what is this file?"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSplitter, QStackedWidget, QTabWidget, QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.code_view import CodeView
from cleanclip_gui.checkpoint.comparison import ComparisonView
from cleanclip_gui.checkpoint.doctor_dialog import DoctorDialog
from cleanclip_gui.checkpoint.examination_inputs import (
    ExaminationInputs,
    measured_on,
    others_chosen,
)
from cleanclip_gui.checkpoint.examination_view import ExaminationView, doing_words
from cleanclip_gui.checkpoint.examining import Examining, examination_of
from cleanclip_gui.checkpoint.facts import FactsColumn, metadata_text
from cleanclip_gui.checkpoint.file_actions import FileWriter, WritingRow
from cleanclip_gui.checkpoint.keys_view import KeysView, NamesView
from cleanclip_gui.checkpoint.known_dialog import KnownDialog
from cleanclip_gui.checkpoint.many_view import ManyView
from cleanclip_gui.checkpoint.parts_dialog import PartsDialog
from cleanclip_gui.checkpoint.signature_card import TrustDialog, can_trust
from cleanclip_gui.checkpoint.tensor_model import TensorColumns, columns_of, in_model_order
from cleanclip_gui.checkpoint.tensor_page import TensorPage
from cleanclip_gui.commands import INSIDE, Command
from cleanclip_gui.data.hub_dialog import HubDialog
from cleanclip_gui.inference.questions import Failed, OpenCheckpoint
from cleanclip_gui.jobs import tasks
from cleanclip_gui.jobs.job_dialog import JobDialogs
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.jobs.runner import is_taken
from cleanclip_gui.jobs.tasks import TaskControl
from cleanclip_gui.session import ShownCheckpoint
from cleanclip_gui.session.records import BEING_CLEANED, JobState, RunProgress
from cleanclip_gui.station import AtWork, Context, Page
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.controls import bind, focus_first, push_button, text_field
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.name_filters import CHECKPOINTS, holds_checkpoints, is_checkpoint
from cleanclip_gui.widgets.picture_grid import PictureCell
from cleanclip_gui.widgets.prompts import failing
from cleanclip_gui.widgets.text import device_text
from ml_core.checkpoints.open import same_weights
from ml_core.detection.scan.records import read_scan
from ml_core.detection.scan.verdict import Sign, signs_of
from ml_core.events import Done, Event, Finding
from ml_core.jobs.auto import AutoSpec
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.examination import (
    EXAMINATION_FILE,
    SCAN_FOLDER,
    STATIONS,
    Advice,
    Examination,
    Kind,
)
from ml_core.jobs.scan import SCAN_FILE, SCAN_SPEC, ScanSpec
from ml_core.jobs.specs import read_spec_file
from ml_core.reading import InputError, Inspection, ask_picklescan, examine
from ml_core.reading.inspect import is_there
from ml_core.reading.inspection import REFUSED, known_part
from ml_core.reading.walk import is_one

if TYPE_CHECKING:
    from ml_core.checkpoints.inspection_record import Assessment
    from ml_core.checkpoints.known import KnownFile
    from ml_core.signing import SignatureFacts


@dataclass(frozen=True, eq=False)
class Assessed:
    """What follows from an inspection; ``has_head``: there is a linear head beside the CLIP."""

    assessment: Assessment
    known: tuple[str, ...]
    has_head: bool


@dataclass(frozen=True, eq=False)
class Learnt:
    """News of a file that is read; each record holds one of the five fields."""

    inspection: Inspection | None = None
    examined: Examination | None = None
    columns: TensorColumns | None = None
    assessed: Assessed | None = None
    signature: SignatureFacts | None = None


def read_facts(path: Path, whole: Inspection | None, control: TaskControl) -> Iterator[Learnt]:
    """What the bytes are, a kept examination, the table of tensors, what it means for a CLIP.

    Last, and only where there is a signature, whose that is. ``whole`` is a file that was examined
    before: if it is unchanged, a part of it is not read again.
    """
    inspection = known_part(whole, path) or examine(path, control.cancelled)
    yield Learnt(inspection=inspection)
    from ml_core.jobs.examination.kept import kept_records, worst_kept

    examined = worst_kept(kept_records(), inspection)
    if examined is not None:
        yield Learnt(examined=examined)
    yield Learnt(columns=columns_of(in_model_order(inspection)))
    yield Learnt(assessed=_assess(inspection))
    from ml_core.signing import check_checkpoint

    signature = check_checkpoint(inspection, cancelled=control.cancelled)
    if signature is not None:
        yield Learnt(signature=signature)


def _assess(inspection: Inspection) -> Assessed:
    """Look at the architecture and at what is known of the file."""
    from ml_core.checkpoints.inspection_record import assess, known_sentences
    from ml_core.checkpoints.layouts import find_layout

    assessment = assess(inspection)
    head = None
    if not inspection.refused:
        with contextlib.suppress(InputError):
            head = find_layout(inspection).head
    return Assessed(assessment, known_sentences(assessment), head is not None)


_LOG = logging.getLogger(__name__)
_KEYS, _NAMES, _COMPARISON = 2, 3, 6
FACTS, EXAMINATION, TABLE = range(3)
_TOOLS = "&Tools"  # a menu in File
_EXAMINED = "examination"  # the kind of the results in the settings
_MOST_PATHS = 1000  # that a session keeps of the table
_MINUTES = "minutes_each"  # of the examinations of a table, among the settings
_GOES_ON = "An examination is going on."
_KEPT = "Its finished steps are kept, and the next examination goes on from them."


class CheckpointStation(Page):
    """Examines a file in the background, then asks the inference thread to load it.

    Call :meth:`open`; the session has the checkpoint once it is loaded.
    """

    id = "checkpoint"
    title = "&Checkpoint"
    question = "What is this file?"
    icon = "checkpoint"

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self._session = context.session
        self._inference = context.inference
        self._settings = context.settings
        self._prompts = context.prompts
        self._make_runner = context.new_runner
        self._device, self._actions = context.device, context.actions
        self._path = ""
        self._reading = Ticket.closed()
        self._asking = Ticket.closed()
        self._checking = Ticket.closed()
        self.inspection: Inspection | None = None
        self.assessment: Assessment | None = None
        self._signature: SignatureFacts | None = None
        self._model: ShownCheckpoint | None = None  # what was built of the file
        self._known_donor = ("", "")  # of the checkpoint that is wanted next
        self._lacks = ""  # the encoder that a donor is needed for
        self._whole: Inspection | None = None  # the file whose part is asked for
        self.examined: Examination | None = None  # of the file on show
        self._opens_demo = False
        self.examining = Examining(context.new_runner, self)
        self._queue: deque[Path] = deque()  # of the table, to be examined
        self._queued = 0  # how many they were at first; 0 without a queue
        self._row: Path | None = None  # which of them is examined now
        self._looking = Ticket.closed()  # whether a folder is one checkpoint
        self.doctors = JobDialogs("the loader doctor", self._doctor_dialog, self)
        self.doctors.failed.connect(self.shell.failed)
        self.doctors.used.connect(self._on_choice_changed)
        self.hub: HubDialog | None = None
        self.parts: PartsDialog | None = None
        self.trust: TrustDialog | None = None

        self.writer = FileWriter(context.prompts, self)
        context.actions.add(self.commands())
        self.writing = WritingRow(self.writer)
        self.facts = FactsColumn(self.writing, context.actions)
        self.verdict = self.facts.verdict
        self.verdict.setObjectName("checkpoint.verdict")
        self.tensors = TensorPage()
        self.keys = KeysView()
        self.names = NamesView()
        self.code = CodeView()
        self.metadata = text_field("Metadata and values")
        self.comparison = ComparisonView()
        self.tabs = QTabWidget(documentMode=True)
        self.tabs.addTab(self.facts.sheet, "Facts")
        self.tabs.addTab(self.tensors, "Tensors")
        self.tabs.addTab(self.keys, "Keys")
        self.tabs.addTab(self.names, "Names")
        self.tabs.addTab(self.code, "Program code")
        self.tabs.addTab(_page(self.metadata), "Metadata")
        self.tabs.addTab(self.comparison, "Comparison")
        self.tabs.tabBar().setAccessibleName("What to look at")
        self.tabs.tabBar().setDrawBase(False)

        split = QSplitter(Qt.Orientation.Horizontal, childrenCollapsible=False)
        split.setHandleWidth(theme.SPACE_M)
        split.addWidget(self.facts)
        self.right = QStackedWidget()  # its room is kept while a file is read
        self.right.addWidget(self.tabs)
        self.right.addWidget(QWidget())
        split.addWidget(self.right)
        split.setStretchFactor(0, 2)
        split.setStretchFactor(1, 5)
        split.setSizes([430, 900])
        self.inputs = ExaminationInputs(context.actions, 2), self.verdict.inputs
        self.examination = ExaminationView(context.actions["file.examine"], self.inputs[0])
        self.pages = QStackedWidget()
        self.pages.addWidget(split)
        self.pages.addWidget(self.examination)
        self.many = ManyView(context.prompts)
        self.many.minutes.setValue(self._settings.part(_MINUTES, TypeAdapter(int), 0))
        self.pages.addWidget(self.many)
        self.back = bind(push_button(icon="back"), context.actions["view.table"], text=True)
        self.answer_again = bind(
            push_button(icon="back"), context.actions["view.examination"], text=True
        )
        column(
            row(self.back, self.answer_again, None, spacing=theme.SPACE_S), (self.pages, 1),
            of=self, margins=theme.SPACE_L, spacing=theme.SPACE_M,
        )  # fmt: skip
        self.answer_again.hide()
        self.back.hide()
        self.shell.commands_changed.connect(self._show_ways_back)
        self.verdict.cancel_clicked.connect(self.cancel)
        self.examination.step_clicked.connect(self._on_step_clicked)
        self.examination.advice_clicked.connect(self._on_advice_clicked)
        self.examination.facts_clicked.connect(self._show_facts)
        self.examination.cancel_clicked.connect(self._cancel_examinations)
        self.examining.began.connect(self._on_examination_began)
        self.examining.received.connect(self._on_examination_event)
        self.examining.progressed.connect(self._on_examination_progress)
        self.examining.logged.connect(self.shell.job_logged)
        self.examining.warned.connect(self.shell.logged)
        self.examining.ended.connect(self._on_examination_ended)
        self.many.open_clicked.connect(self._open_row)
        self.many.examine_clicked.connect(self.examine_all)
        self.many.cancel_clicked.connect(self._cancel_queue)
        self.many.close_clicked.connect(self._close_table)
        self.many.failed.connect(self.shell.failed)
        self.many.minutes.valueChanged.connect(
            lambda n: self._settings.update(**{_MINUTES: round(n)})
        )
        self.pages.currentChanged.connect(self._show_ways_back)
        self.shell.closing.connect(self._cancel_examinations)
        self.shell.demo_opening.connect(self._on_demo_opening)
        self._session.events.answer.connect(self._show_answer)
        for event in (self._session.events.images, self._session.events.scan_reference):
            event.connect(self._show_inputs)
        for inputs in self.inputs:
            inputs.reference_wanted.connect(self._ask_reference)
        self.shell.takes("checkpoint", self.open_path)
        self.shell.takes("donor", self._on_donor_known)
        self.shell.takes("checkpoints", self.check_several)
        self.shell.takes("stamped", self._on_stamped)
        self.writer.failed.connect(self.shell.failed)
        self.comparison.failed.connect(self.shell.failed)
        self.facts.identification.failed.connect(self.shell.failed)
        self.facts.identification.changed.connect(self.shell.commands_changed)
        self.facts.identification.added.connect(self._show_known)
        self.facts.identification.compare_clicked.connect(self.compare_with)
        self.writer.state_changed.connect(self.shell.commands_changed)
        self.shell.commands_changed.emit()

    def is_available(self) -> bool:
        """Whether there is a file to look at, were it a refused one, or a table of several."""
        is_open = self._session.checkpoint is not None or self.inspection is not None
        return is_open or bool(self.many.paths)

    def commands(self) -> tuple[Command, ...]:
        """What can be done with checkpoint files."""
        writer = self.writer
        return (
            Command(
                "file.open", "&Open checkpoint…", "&File", self.choose_file,
                "Check and open a safetensors, PyTorch, ONNX or GGUF file.", "open", "Ctrl+O", 1,
            ),
            Command(
                "file.open_folder", "Open checkpoint &folder…", "&File", self.choose_folder,
                "Check and open an open_clip folder; for any other folder, list what is in it.",
                "folder", "Ctrl+Shift+O", 1,
            ),
            Command(
                "file.several", "Check man&y checkpoints…", "&File", self.choose_several,
                "Get a table of many files, the worst first; open or examine them.", "search", "",
                1,
            ),
            Command(
                "view.table", "Back to the tab&le", "&View", self.show_table,
                "Show the table of many checkpoints again.", "back", "Alt+Up", 1,
                lambda: bool(self.many.paths), needs="Choose several checkpoints, or a folder.",
                submenu=INSIDE,
            ),
            Command(
                "view.examination", "Back to the e&xamination", "&View", self._on_answer_again,
                "Show the answer of the examination again.", "back", "", 1,
                self._is_examined, needs="Examine the checkpoint first.",
                submenu=INSIDE,
            ),
            Command(
                "file.hub", "Open from the &Hub…", "&File", self.choose_repository,
                "Fetch a repository from the Hugging Face Hub, check it and open it.",
                "save", "Ctrl+H", 1,
            ),
            Command(
                "file.examine", "E&xamine", "&File", self.examine,
                "Check what an expert would check, in one answer: file, identity, accuracy, "
                "triggers and weights.", "scan", "Ctrl+Shift+X", 3, self._can_examine,
                needs="Needs an open checkpoint, and no other job at work.",
            ),
            Command(
                "file.examine_clean", "E&xamine and clean", "&Clean",
                partial(self.shell.open, "auto", self._examine),
                "Examine the checkpoint, and clean it as “Clean it” would if a trigger is found.",
                "clean", "", 0, self._can_examine_and_clean,
                needs="Needs a checkpoint and evaluation images, and no other job at work.",
            ),
            Command(
                "file.convert", "&Convert to safetensors…", "&File", writer.convert,
                "Write the model for open_clip, or every tensor, into a file without pickles.",
                "save", "", 3, writer.can_convert,
            ),
            Command(
                "file.compare", "Comp&are with…", "&File", self.compare,
                "Show tensor by tensor where another checkpoint differs.", "compare", "", 3,
                self._can_compare,
            ),
            Command(
                "file.identify", "Find o&ut which CLIP this is", "&File",
                lambda: self.facts.identification.identify(),
                "Compare every tensor with those of the files that this machine knows.",
                "search", "", 3, self._can_identify,
            ),
            Command(
                "file.export", "&Export inspection…", "&File", writer.export,
                "Write what was found in the file as a web page, JSON or SARIF.", "copy",
                "Ctrl+Shift+E", 3, writer.can_export,
            ),
            Command(
                "file.doctor", "Loader docto&r…", "&File", self.doctors.open,
                "Try, on labelled images, settings that the file leaves open or states wrongly.",
                "settings", "Ctrl+Shift+L", 4, lambda: self._model is not None, submenu=_TOOLS,
            ),
            Command(
                "file.part", "Choose &which model…", "&File", self.choose_part,
                "Choose one of the models that the file holds.", "checkpoint", "", 4,
                lambda: self._whole is not None, submenu=_TOOLS,
            ),
            Command(
                "file.donor", "Choose a do&nor…", "&File", self.choose_donor,
                "Choose a complete CLIP that supplies what the file lacks.", "checkpoint", "", 4,
                lambda: bool(self._lacks), submenu=_TOOLS,
            ),
            Command(
                "file.head", "Sa&ve the linear head…", "&File", writer.save_head,
                "Write the linear head that the file holds beside its CLIP.", "save", "", 4,
                writer.can_save_head, submenu=_TOOLS,
            ),
            Command(
                "file.known", "Add to &known files…", "&File", self.add_known,
                "Store what you know about this file under its SHA-256.", "library", "", 4,
                self._can_add_known, submenu=_TOOLS,
            ),
            Command(
                "file.trust", "Trust its signin&g key…", "&File", self.trust_key,
                "Say whose key signed this file; whatever it signs is then shown with their name.",
                "tag", "", 4, lambda: self._signature is not None and can_trust(self._signature),
                submenu=_TOOLS,
            ),
        )  # fmt: skip

    def at_work(self) -> tuple[AtWork, ...]:
        """The examination: reading begins again at the next opening."""
        if not self.examining.is_running:
            return ()
        return (AtWork(_GOES_ON, _KEPT, self._cancel_examinations),)

    def take_file(self, path: Path) -> bool:
        """Open a checkpoint, or list those of a folder, that was dropped on the window."""
        is_mine = is_checkpoint(path) or holds_checkpoints(path)
        if is_mine:
            self.open_path(str(path))
        return is_mine

    def choose_several(self) -> None:
        """Ask for checkpoint files to be listed in a table."""
        folder = self._settings.value.last_folder
        title = "Check many checkpoints"
        paths = self._prompts.open_files(self.window(), title, folder, CHECKPOINTS)
        if paths:
            self.check_several(list(map(Path, paths)))

    def check_several(self, paths: Sequence[Path]) -> None:
        """List files, and what lies in folders, in a table that opens and examines them."""
        self._looking.cancel()
        self._cancel_queue()
        self.many.read(paths)
        self.show_table()
        self.shell.state_changed.emit()

    def show_table(self) -> None:
        """Show the table of many checkpoints."""
        self.pages.setCurrentIndex(TABLE)
        self.shell.station_wanted.emit(self.id)
        self.shell.commands_changed.emit()
        self.many.table.setFocus()

    def _open_row(self, path: str) -> None:
        """Open a file of the table; its key leads back."""
        self.open(path)
        self.back.setFocus()

    def _close_table(self) -> None:
        """Go back to the file that is open, and forget the table."""
        self._cancel_queue()
        self.many.forget()
        self._show_facts()
        if not self.is_available():
            self.shell.station_wanted.emit("welcome")
        self.shell.state_changed.emit()
        self.shell.commands_changed.emit()

    def _show_ways_back(self, *_: object) -> None:
        page = self.pages.currentIndex()
        self.back.setVisible(page != TABLE and bool(self.many.paths))
        self.answer_again.setVisible(page == FACTS and self._is_examined())

    def _is_examined(self) -> bool:
        """Whether an examination of the file is there, or at work."""
        return self.examined is not None or self.examining.is_about(self._path)

    def state(self) -> dict[str, object]:
        """The files and folders of the table."""
        return {"checkpoints": tuple(map(str, self.many.paths[:_MOST_PATHS]))}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Read a session's table anew; where no session is opened, the table stays."""
        if saved["checkpoints"]:
            self.check_several([Path(path) for path in saved["checkpoints"]])
        elif saved["checkpoint"] and self.many.paths:
            self._close_table()

    def choose_part(self) -> None:
        """List the models of the file on show, of which one can be opened."""
        whole = self._whole
        if whole is not None:
            names = whole.members or [part.name for part in whole.parts]
            if self.parts is not None:
                self.parts.reject()
            paths = [Path(f"{whole.path}#{name}") for name in names]
            self.parts = PartsDialog(paths, whole, self.window())
            self.parts.opened.connect(self.open_path)
            self.parts.opened.connect(self.parts.accept)
            self.parts.finished.connect(self._on_parts_finished)
            self.parts.show()

    def _ask_part(self, whole: Inspection | None) -> None:
        """Let the user choose a model of a file, or of an archive or folder, with several."""
        self._whole = whole
        self.shell.commands_changed.emit()
        if whole is not None:
            self.verdict.offer("file.part")
            self.shell.header_changed.emit(whole.name, "Several models", "")
            self.choose_part()

    def _on_parts_finished(self) -> None:
        self.parts = None

    def choose_file(self) -> None:
        """Ask for a checkpoint file."""
        folder = self._settings.value.last_folder
        path = self._prompts.open_file(self.window(), "Open checkpoint", folder, CHECKPOINTS)
        if path:
            self.open_path(path)

    def choose_folder(self) -> None:
        """Ask for an open_clip folder, or one with several checkpoints."""
        folder = self._settings.value.last_folder
        path = self._prompts.open_folder(self.window(), "Open checkpoint folder", folder)
        if path:
            self.open_path(path)

    def choose_repository(self) -> None:
        """Ask for a repository of the Hub, and open what is fetched."""
        if self.hub is not None:
            self.hub.raise_()
            return
        self.hub = HubDialog(self.window(), allowed=self._settings.value.hub)
        self.hub.fetched.connect(self.open)
        self.hub.finished.connect(self._on_hub_finished)
        self.hub.open()

    def _on_hub_finished(self) -> None:
        self.hub = None

    def open_path(self, path: str) -> None:
        """Open a file or folder, list what a folder of several holds, or say that it is gone."""
        if is_there(path):
            target = Path(path).absolute()
            if target.is_dir():
                self._looking = tasks.run(
                    lambda _: is_one(target), partial(self._on_folder_known, target), slot="folder"
                )
            else:
                self.open(target)
            return
        self._settings.forget_recent(path)
        self.shell.failed.emit(
            InputError(f"{path} was moved or deleted; open it from its new place.").titled(
                "Could not open the checkpoint"
            )
        )
        self.shell.commands_changed.emit()

    def _on_folder_known(self, folder: Path, is_one: bool) -> None:
        if is_one:
            self.open(folder)
        else:
            self.check_several([folder])

    def open(self, path: str | Path) -> None:
        """Examine a file or folder and load it if nothing speaks against it."""
        if self._path != str(path):
            self.tensors.table.filter.clear()
        self._forget()
        self._path = str(path)
        target = Path(path)
        self.inspection = self.assessment = self._model = self._signature = None
        self.examined = None
        self.examination.show_pictures(())
        is_examined = self.examining.is_about(self._path)
        if is_examined and self.examining.spec is not None:
            self.examination.begin(target.name, self.examining.spec)
            self.examination.show_steps(self.examining.steps, self.examining.spec)
        self.pages.setCurrentIndex(EXAMINATION if is_examined else FACTS)
        self.facts.begin(target)
        self._offer()
        self._show_tabs(None)
        self.shell.header_changed.emit(target.name, "Reading…", "")
        self.shell.station_wanted.emit(self.id)
        self._reading = tasks.run(
            partial(read_facts, target, self._whole), self._on_learnt, self._on_reading_failed
        )
        self._ask_part(None)

    def cancel(self) -> None:
        """Stop reading the file; nothing of it is opened."""
        if not self._reading.is_open or self.inspection is not None:
            return
        self._forget()
        self.verdict.show_cancelled(Path(self._path).name)
        self.shell.header_changed.emit(Path(self._path).name, "Not read", "")

    def _forget(self) -> None:
        """Ignore results of the present reading from now on."""
        for ticket in (self._looking, self._reading, self._asking, self._checking):
            ticket.cancel()
        self.tensors.clear()
        self.comparison.forget()

    def _on_learnt(self, learnt: Learnt) -> None:
        if learnt.inspection is not None:
            self._take_inspection(learnt.inspection)
        if learnt.examined is not None:
            self._show_past_examination(learnt.examined)
        if learnt.columns is not None:
            self.tensors.table.set_columns(learnt.columns)
        if learnt.assessed is not None:
            self._take_assessment(learnt.assessed)
        if learnt.signature is not None:
            self._take_signature(learnt.signature)

    def _take_inspection(self, inspection: Inspection) -> None:
        """The verdict on the bytes; what the tensors are for follows."""
        self.inspection = inspection
        self.tensors.set_file(inspection)
        self.verdict.show_inspection(inspection)
        self.facts.identification.set_file(inspection)
        self.facts.show_facts(inspection, None, None)
        self._offer()
        self._show_tabs(inspection)
        if inspection.globals or inspection.verdict == "dangerous":
            self._ask_for_second_opinion(inspection)
        if inspection.members:
            self.verdict.show_several(inspection.name, inspection.reasons[0])
            self._ask_part(inspection)
        elif inspection.refused:
            self.shell.header_changed.emit(inspection.name, "Refused", "")
            reasons = inspection.reasons or (f"{inspection.name} was refused",)
            _LOG.warning("%s", reasons[0])

    def _take_assessment(self, assessed: Assessed) -> None:
        """What it means for a CLIP: the whole verdict. Then load the model."""
        self.assessment = assessed.assessment
        self.facts.known.say(" ".join(assessed.known))
        inspection = assessed.assessment.inspection
        if inspection.refused:
            return
        self._offer(has_head=assessed.has_head)
        problem = assessed.assessment.problem
        self.writer.set_model("" if problem is None else problem.sentence)
        keys = assessed.assessment.keys
        differs = keys is not None and not keys.same
        self.keys.set_keys(keys if differs else None)
        self._show_tab(_KEYS, differs)
        if assessed.assessment.problem is None:
            self.verdict.show_assessment(assessed.assessment)
        else:
            self._choose_tab(_KEYS if differs else 0)
        self.facts.show_facts(inspection, assessed.assessment, None)
        architecture = assessed.assessment.architecture or {}
        if "needs_part" in architecture:
            self.verdict.show_incomplete(
                inspection.name, assessed.assessment, architecture["notes"][0], "choose a model"
            )
            self.facts.identification.set_file(None)  # each model is one of its own
            self.tensors.read_values(inspection)
            self._ask_part(inspection)
            return
        (path, donor), self._known_donor = self._known_donor, ("", "")
        self._load(donor if path == self._path else "")

    def _take_signature(self, facts: SignatureFacts | None) -> None:
        self._signature = facts
        self.facts.signature.show_facts(facts)
        self.shell.commands_changed.emit()

    def trust_key(self) -> None:
        """Ask for the public key of who signed the file, and whose it is."""
        if self._signature is None or not can_trust(self._signature):
            return
        folder = self._settings.value.last_folder
        self.trust = TrustDialog(self._signature.key_id, folder, self._prompts, self.window())
        self.trust.trusted.connect(self._on_key_trusted)
        self.trust.finished.connect(self._on_trust_finished)
        self.trust.open()

    def _on_trust_finished(self) -> None:
        self.trust = None

    def _on_key_trusted(self) -> None:
        """Check the signature of the file on show anew, with the key."""
        inspection = self.inspection
        if inspection is None:
            return

        def work(control: tasks.TaskControl) -> SignatureFacts | None:
            from ml_core.signing import check_checkpoint

            return check_checkpoint(inspection, cancelled=control.cancelled)

        self._checking = tasks.run(work, self._take_signature)

    def _on_donor_known(self, path: str, donor: str) -> None:
        self._known_donor = path, donor

    def _on_reading_failed(self, error: InputError) -> None:
        self.verdict.show_problem(Path(self._path).name, error.sentence, error.code)

    def _load(self, donor: str = "") -> None:
        """Build the model of what was examined."""
        question = OpenCheckpoint(self._path, donor=donor, inspection=self.inspection)
        self._inference.ask(question, self._on_opened, partial(self._on_not_opened, question))

    def _on_opened(self, facts: ShownCheckpoint) -> None:
        # The inference thread holds this model now, whatever the cards are about since.
        self.shell.suspect_changing.emit()
        self._session.checkpoint = facts
        if facts.path != self._path:
            return
        self.inspection, self._model = facts.inspection, facts
        self.writer.set_model("", facts.donor)
        state = f"Loaded on {device_text(self._session.device)}."
        if facts.donor:
            state += f" The other encoder comes from {Path(facts.donor).name}."
        self.verdict.set_state(state)
        self._show_answer()
        self._show_inputs()
        self._needs_donor("")
        self.facts.show_facts(facts.inspection, self.assessment, facts)
        self.tensors.read_values(facts.inspection)

    # The examination

    def _can_examine(self) -> bool:
        """Whether there is a file to examine now, or an examination to go back to."""
        is_free = not is_taken(self._device.wanted)
        return bool(self._path) and (is_free or self._is_examined())

    def _can_examine_and_clean(self) -> bool:
        has_data = self._model is not None and self._session.images is not None
        is_free = not is_taken(self._device.wanted)
        return has_data and is_free and self.shell.opens("auto")

    def examine(self) -> None:
        """Examine the file on show; from its facts, show the examination that is there."""
        is_there = self.examined is not None and self.pages.currentIndex() == FACTS
        if is_there or self.examining.is_about(self._path):
            self._show_page()
        else:
            self._examine()

    def _examine(self, auto: AutoSpec | None = None) -> None:
        """Start an examination of the file on show, or say why that is not possible."""
        with failing(self.shell.failed, "Could not examine the file"):
            if self.examining.is_running:
                raise InputError(
                    "Another examination is going on: wait for its end, or cancel it first."
                )
            spec = examination_of(self._path, self._model, self._session, auto)
            self.examining.examine(spec, self._device.wanted)

    def examine_all(self, paths: Sequence[Path]) -> None:
        """Examine checkpoints of the table, one after the other."""
        self._queue, self._queued = deque(paths), len(paths)
        self.many.show_waiting(paths)
        self._examine_next()

    def _examine_next(self) -> None:
        """Examine the next one of the table, unless an examination goes on."""
        if not self._queue or self.examining.is_running:
            return
        self._row = path = self._queue.popleft()
        try:
            spec = examination_of(str(path), None, self._session)
            spec = spec.model_copy(update={"minutes": self.many.minutes.number or None})
            self.many.show_examining(path)
            self.examining.examine(spec, self._device.wanted)
        except InputError as error:
            self._row = None
            self._end_queue(error.sentence)

    def _cancel_examinations(self) -> None:
        """End the examination that goes on, and begin no other."""
        self._queue.clear()
        self.examining.cancel()

    def _cancel_queue(self) -> None:
        """Examine no other file of the table; an examination of the file on show goes on."""
        if self._row is not None:
            self._cancel_examinations()
        elif self._queued:
            self._end_queue("Cancelled.")

    def _end_queue(self, words: str) -> None:
        self._queue.clear()
        self._queued = 0
        self.many.show_examinations_ended(words)

    def _show_page(self) -> None:
        self.pages.setCurrentIndex(EXAMINATION)
        self.shell.station_wanted.emit(self.id)

    def _on_answer_again(self) -> None:
        self._show_page()
        self.examination.facts.setFocus()  # the button that led here is gone

    def _on_examination_began(self) -> None:
        spec = self.examining.spec
        if spec is not None:
            if self._row is None:
                self._show_page()
            if self._path == spec.checkpoint:
                self.examined = None
                self.examination.begin(Path(spec.checkpoint).name, spec)
            self._session.show_job(_EXAMINED, JobState("", "running"))
            self._on_examination_progress()
            self.shell.commands_changed.emit()

    def _on_examination_event(self, event: Event) -> None:
        spec, is_step = self.examining.spec, isinstance(event, Finding) and event.kind == "step"
        if spec is not None and spec.checkpoint == self._path:
            self.shell.open("scan_event", event)
            if is_step:
                self.examination.show_steps(self.examining.steps, spec)

    def _on_examination_progress(self) -> None:
        work = self.examining
        has_plan = not {"clean", "report"} & work.steps.keys()
        stage = "" if work.progress is None else work.progress.stage
        seconds_left = work.seconds_left if has_plan else None
        self._session.show_progress(_EXAMINED, RunProgress(stage, work.fraction, seconds_left))
        words = "Cancelling…" if work.is_cancelling else doing_words(work.progress, seconds_left)
        if work.is_about(self._path):
            self.examination.show_progress(words, work.fraction, has_plan=has_plan)
        if self._row is not None:
            done = self._queued - len(self._queue) - 1
            self.many.show_progress(done, self._queued, work.fraction, f"{self._row.name}. {words}")

    def _on_examination_ended(self, last: Done) -> None:
        """Show the answer, and make its scan and its cleaning known to the other stations."""
        spec = self.examining.spec
        path, self._row = self._row, None
        self._session.show_job(_EXAMINED, None)
        is_shown = spec is not None and spec.checkpoint == self._path
        if spec is not None and last.status == "finished":
            record = Examination.model_validate(last.result)
            if is_shown:
                self._show_examination(record)
            self.many.show_examined(Path(spec.checkpoint), record)
            self.shell.logged.emit(f"{record.name}: {record.headline}")
            if record.looked_at and (path is None or is_shown):
                self.shell.open("scan_made", str(Path(record.folder, SCAN_FOLDER)))
            if record.checkpoint is not None:
                run = Path(record.checkpoint).parent
                for scan in sorted(run.parent.glob(f"scan-*/{SCAN_FILE}")):
                    self.shell.open("scan_made", str(scan.parent))
                self.shell.open("run", str(run))
        else:
            if is_shown:
                self._show_end(last)
            if path is not None and last.status == "failed":
                self.many.show_examined(path, None, last.error or "The examination failed.")
        if self._queued and not self._queue:
            is_cut = last.status in ("cancelled", "stopped")
            self._end_queue("Cancelled: finished steps are kept." if is_cut else "")
        self._examine_next()
        self.shell.commands_changed.emit()

    def _show_examination(self, record: Examination) -> None:
        self.examined, made = record, time.time()
        signs: list[Sign] = []
        with contextlib.suppress(OSError, InputError):
            if record.folder:
                made = Path(record.folder, EXAMINATION_FILE).stat().st_mtime
                signs = signs_of(read_scan(Path(record.folder, SCAN_FOLDER, SCAN_FILE)).stages)
        known_works = any(sign.kind == "probe" and sign.counts for sign in signs)
        self.examination.show_examination(record, made, known_works=known_works)
        self._show_answer()
        self._show_inputs()
        if self.pages.currentIndex() != TABLE:
            self.pages.setCurrentIndex(EXAMINATION)

    def _on_stamped(self, folder: str, cells: Sequence[PictureCell]) -> None:
        """Show what the scan of the examination on show found, on pictures."""
        record = self.examined
        if record is not None and Path(record.folder, SCAN_FOLDER) == Path(folder):
            self.examination.show_pictures(cells)

    def _show_end(self, last: Done) -> None:
        """Show why there is no answer; a reference that may be why is taken back."""
        spec = self.examining.spec
        if spec is not None and spec.reference is not None and last.error_code == "usage":
            self.shell.open("scan_reference", "")
            last = replace(last, error=f"{last.error} No reference is chosen any more.")
        self.examination.show_end(last, self.examining.steps)

    def _show_past_examination(self, record: Examination) -> None:
        """Show the kept examination of a file that was opened; the demo begins with its facts."""
        opens_demo = self._opens_demo and self._path == str(demo_checkpoint())
        self._opens_demo = False
        if not opens_demo and self.examined is None and not self.examining.is_about(self._path):
            self._show_examination(record)
            last = self._settings.last_result("scan", record.sha256)
            scan = str(Path(record.folder, SCAN_FOLDER))
            if record.looked_at and (last is None or last.folder == scan):  # else it is older
                self.shell.open("scan_made", scan)

    def _show_facts(self) -> None:
        """Go from the examination to what is known of the file."""
        self.pages.setCurrentIndex(FACTS)
        self.facts.verticalScrollBar().setValue(0)
        self.verdict.next.setFocus()

    def _on_demo_opening(self) -> None:
        self._opens_demo = True

    def _on_step_clicked(self, kind: Kind) -> None:
        """Show the details of a step where they belong."""
        station, record = STATIONS[kind], self.examined
        if record is None:
            return
        scan = Path(record.folder) / SCAN_FOLDER
        if station in ("scan", "studio"):
            self.shell.open("scan", str(scan))
            if station == "studio":
                self._run_command("scan.try")
        elif station == "checkpoint":
            self._show_facts()
            if kind == "weights":
                with failing(self.shell.failed, "Could not compare the tensors"):
                    reference = read_spec_file(scan / SCAN_SPEC, ScanSpec).reference
                    if reference is not None:
                        self.compare_with(reference)
        else:
            self.shell.station_wanted.emit(station)
            if kind == "clean" and record.checkpoint is not None:
                self.shell.open("run", str(Path(record.checkpoint).parent))

    def _on_advice_clicked(self, advice: Advice) -> None:
        """Do what the examination advises."""
        acts: dict[Advice, Callable[[], object]] = {
            "choose a part": self.choose_part,
            "choose a donor": self.choose_donor,
            "doctor": self.doctors.open,
            "clean": self._clean_it,
            "clean again": self._clean_it,
            "do not load": self._show_facts,
            "get again": self.choose_file,
            "other file": self.choose_file,
            "reference": self._choose_reference,
            "report": partial(self.shell.station_wanted.emit, "report"),
        }
        acts[advice]()

    def _clean_it(self) -> None:
        """Start *Clean it*, or show what it lacks, or how far it is."""
        self.shell.station_wanted.emit("clean")
        self._run_command("clean.it")

    def _choose_reference(self) -> None:
        """Ask for a clean model of the same kind, and examine the file beside it."""
        if self._ask_reference():
            self._examine()

    def _ask_reference(self) -> bool:
        folder = self._settings.value.last_folder
        path = self._prompts.open_file(self, "Choose a clean reference", folder, CHECKPOINTS)
        if path and path == self._path:
            error = same_weights(Path(path).name)
            self.shell.failed.emit(error.titled("Could not use the reference"))
            return False
        if path:
            self.shell.open("scan_reference", path)
        return bool(path)

    def _show_inputs(self, *_: object) -> None:
        """Show what an examination would use, and whether the one on show used something else."""
        for inputs in self.inputs:
            inputs.show_inputs(self._path, self._model, self._session)
        if self.examined is not None and self._model is not None:
            words = measured_on(self.examined, self._path, self._model, self._session)
            self.examination.measured_on.setText(words)
        elif self.examined is None and (spec := self.examining.spec) is not None:
            words = others_chosen(spec, self._path, self._model, self._session).capitalize()
            self.examination.measured_on.setText(words if spec.checkpoint == self._path else "")

    def _run_command(self, name: str) -> None:
        """Do what another station's command does, if there is such a station."""
        if name in self._actions.by_id:
            self._actions.run(name)

    def _show_answer(self, *_: object) -> None:
        """Show what is known about a backdoor in the model on show."""
        answer, model = self._session.answer, self._model
        if answer is not None and model is not None and model is self._session.checkpoint:
            is_first = self.verdict.answer.isHidden()
            self.verdict.show_answer(answer)
            if is_first and self.facts.hasFocus():  # while it was read there was nothing to press
                focus_first(self.verdict.next)
            if (record := self.examined) is not None:
                if BEING_CLEANED in (answer.words, answer.cleaned):
                    self.examination.show_advice(f"{BEING_CLEANED}.", "clean", words="Go to Clean")
                elif answer.cleaned_tone == "info":
                    self.examination.show_advice(f"{answer.cleaned}.", "report")
                else:
                    self.examination.show_advice(record.advice_sentence, record.advice)

    def _on_not_opened(self, question: OpenCheckpoint, failed: Failed) -> None:
        state = "Refused" if failed.code in REFUSED else "Not opened"
        state = "Needs a donor" if failed.lacks else state
        self.shell.header_changed.emit(Path(question.path).name, state, "")
        if question.path != self._path:
            return
        self.writer.set_model(failed.sentence)
        if self.inspection is not None and failed.lacks:
            assessed = self.assessment
            is_sound = assessed is not None and assessed.problem is None
            judged = assessed if assessed is not None and is_sound else self.inspection
            self.verdict.show_incomplete(
                self.inspection.name, judged, failed.sentence, "it needs a donor"
            )
            self._needs_donor(failed.lacks)
        else:
            self.verdict.show_problem(Path(self._path).name, failed.sentence, failed.code)
        if self.inspection is not None:
            self.tensors.read_values(self.inspection)

    def _offer(self, *, has_head: bool = False) -> None:
        """Offer what can be done with the file; nothing while it is being read."""
        inspection = self.inspection
        self.writer.set_file(inspection, has_head=has_head)
        self._needs_donor("")

    def _needs_donor(self, encoder: str) -> None:
        """Note which encoder the file lacks, empty for none, and offer to choose a donor."""
        self._lacks = encoder
        if encoder:
            self.verdict.offer("file.donor")
        self.shell.commands_changed.emit()

    def choose_donor(self) -> None:
        """Ask for a whole CLIP whose encoder the file lacks, and open it with that."""
        if self.inspection is None:
            return
        folder = str(self.inspection.source.parent)
        donor = self._prompts.open_file(self, "Choose a donor", folder, CHECKPOINTS)
        if donor and not self.inspection.refused:
            self.pages.setCurrentIndex(FACTS)
            self.verdict.show_inspection(self.inspection)
            self._load(donor)

    def _doctor_dialog(self, dialog: DoctorDialog | None) -> DoctorDialog | None:
        """Return the loader doctor's page for the model on show, unless it is open."""
        if self._model is None:
            return None
        inspection, donor = self._model.inspection, self._model.donor
        if dialog is not None and dialog.inspection.path == inspection.path:
            return None
        return DoctorDialog(
            JobTask("doctor", self._make_runner), self._session, self._prompts, inspection, donor,
            self.window(),
        )  # fmt: skip

    def _on_choice_changed(self, path: str) -> None:
        """The settings of a file were chosen or forgotten: build its model anew."""
        if self._model is not None and path == self._path:
            self.verdict.set_state("Loading the model…")
            self._load(self._model.donor)

    def _can_add_known(self) -> bool:
        inspection = self.inspection
        return (
            inspection is not None
            and bool(inspection.sha256)
            and (inspection.refused or self._can_identify())
        )

    def add_known(self) -> None:
        """Ask what is known of the file."""
        if self.inspection is None:
            return
        name = "" if self._model is None else self._model.architecture
        dialog = KnownDialog(self.inspection, name, self.window())
        dialog.added.connect(self._on_known_entered)
        dialog.open()

    def _on_known_entered(self, entry: KnownFile) -> None:
        if self._can_identify():
            self.facts.identification.add(entry)
        else:
            self._show_known()

    def _show_known(self) -> None:
        if self.assessment is not None:
            from ml_core.checkpoints.inspection_record import known_sentences

            self.facts.known.say(" ".join(known_sentences(self.assessment)))

    def _ask_for_second_opinion(self, inspection: Inspection) -> None:
        """Let picklescan say its words; they change no verdict."""
        target = inspection.weights_path or inspection.source

        def work(control: tasks.TaskControl) -> str:
            return ask_picklescan(target, control.cancelled)

        say = self.facts.opinion.say
        self._asking = tasks.run(work, say, lambda error: say(error.sentence))

    def _can_compare(self) -> bool:
        return self.inspection is not None and not self.inspection.refused

    def compare(self) -> None:
        """Ask for another checkpoint, and show tensor by tensor where it differs."""
        if self.inspection is None or not self._can_compare():
            return
        folder = str(self.inspection.source.parent)
        path = self._prompts.open_file(self, "Compare with", folder, CHECKPOINTS)
        if path:
            self.compare_with(path)

    def compare_with(self, path: str) -> None:
        """Show tensor by tensor where another checkpoint differs."""
        if self.inspection is not None and self._can_compare():
            self.comparison.compare(self.inspection, Path(path))
            self._show_tab(_COMPARISON, True)
            self.tabs.setCurrentIndex(_COMPARISON)

    def _can_identify(self) -> bool:
        return self._can_compare() and self.facts.identification.can_identify()

    def _show_tabs(self, inspection: Inspection | None) -> None:
        """Fill the pages on the right, and show those that have something to show."""
        self.keys.set_keys(None)
        if inspection is None:
            self.tabs.setCurrentIndex(0)
        self.names.set_names({} if inspection is None else inspection.globals)
        self.code.set_code(() if inspection is None else inspection.embedded_code)
        self.metadata.setPlainText("" if inspection is None else metadata_text(inspection))
        shown = inspection is not None and (
            True,
            bool(inspection.tensors),
            False,  # until they were compared with an architecture
            any(inspection.globals.values()),
            bool(inspection.embedded_code),
            bool(inspection.tensors or inspection.facts),
            False,  # until the user chooses a donor
        )
        for number, there in enumerate(shown or ()):
            self._show_tab(number, there)
        if inspection is not None:
            calls = inspection.refused and any(inspection.globals.values())
            self._choose_tab(_NAMES if calls else self.tabs.currentIndex())
        self.right.setCurrentIndex(int(inspection is None))

    def _show_tab(self, number: int, there: bool) -> None:
        """Show or hide a tab; skip no-op calls, after which Qt does not lay the tabs out."""
        if self.tabs.isTabVisible(number) != there:
            self.tabs.setTabVisible(number, there)

    def _choose_tab(self, number: int) -> None:
        """Show a page, or the first that has a tab: Qt would show the page of a hidden one too."""
        shown = [n for n in range(self.tabs.count()) if self.tabs.isTabVisible(n)]
        if number not in shown and shown:
            number = shown[0]
        self.tabs.setCurrentIndex(number)


def _page(*widgets: QWidget, above: int | None = None) -> QWidget:
    """Widgets one above the other as the page of a tab."""
    page = QWidget()
    column(
        *widgets,
        of=page, margins=(0, theme.SPACE_M if above is None else above, 0, 0),
        spacing=theme.SPACE_M,
    )  # fmt: skip
    return page
