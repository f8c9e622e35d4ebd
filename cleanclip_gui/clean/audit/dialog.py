"""The audit's page: how to look, the worst pairs as a gallery, and what is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QItemSelectionModel, Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QComboBox, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.audit.gallery import (
    EVALUATED,
    EXCLUDED,
    SuspectDetails,
    SuspectModel,
    SuspectView,
)
from cleanclip_gui.clean.job import new_folder
from cleanclip_gui.jobs.job_dialog import JobDialog, JobDialogs
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.jobs.runner import NewRunner, new_runner
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.controls import Label, named, push_button, text_field
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.form import Form
from cleanclip_gui.widgets.layout import card, column, row, scrolling
from cleanclip_gui.widgets.name_filters import CAPTION_PAIRS, EXCLUSIONS
from cleanclip_gui.widgets.number_box import NumberBox, fill
from cleanclip_gui.widgets.prompts import Prompts, failing
from cleanclip_gui.widgets.text import count_text, fitting, plain, plural
from cleanclip_gui.widgets.undo import UndoStack, UndoStep
from ml_core.data.detect import detect
from ml_core.data.exclusions import read_exclusions
from ml_core.data.specs import PairSpec
from ml_core.detection.exclude import exclude
from ml_core.detection.records import FEWEST_FOLDS, FIVE_POISONS, SCORES, Audit, read_audit
from ml_core.jobs.audit import AUDIT_FILE, EXCLUSIONS_FILE, THUMBNAILS_FILE, AuditSpec
from ml_core.jobs.specs import SPEC_FILE, read_spec_file
from ml_core.paths import data_dir
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_file

_TABLE = "table"
_DEMO_PAIRS = 4096
_MOST = 100_000_000
_FEWEST = 64


class AuditSetup(QWidget):
    """What an audit is asked; ``failed`` carries the InputError of a reference without pairs."""

    failed = Signal(object)

    def __init__(self, prompts: Prompts, pairs: PairSpec) -> None:
        super().__init__()
        self._prompts, self._pairs = prompts, pairs
        references = ((None, "Other pairs in this set"), (_TABLE, "Pairs known to be clean…"))
        self.reference = fill(named(QComboBox(), "Compare with"), references)
        self.reference.setToolTip(
            "Where neighbours are searched: within the set, or among pairs that you trust. A "
            "planted pair has no planted neighbours among trusted ones."
        )
        self.reference.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.reference.setMinimumContentsLength(24)
        self.n = NumberBox("int", 0, _MOST, title="How many pairs", value=0)
        self.n.setSpecialValueText("All")
        self.n.setStepType(NumberBox.StepType.DefaultStepType)
        self.n.setSingleStep(1000)
        self.n.setToolTip("A random sample of the pairs; All takes every one.")
        if pairs.kind == "demo":
            self.n.setValue(_DEMO_PAIRS)
        self.form = Form(AuditSpec, "k", "chunk_size")
        fields = FoldingRow(
            (Label("Compare with", "field", buddy=self.reference), self.reference),
            (Label("Pairs", "field", buddy=self.n), self.n), self.form,
        )  # fmt: skip
        row(fields, of=self)
        self.reference.activated.connect(self._on_reference_activated)
        self.form.boxes["k"].valueChanged.connect(self._on_neighbours_changed)

    def values(self) -> dict[str, Any]:
        """The fields, by the names that they have in an `AuditSpec`."""
        return {"reference": self.reference.currentData(), **self.form.values()}

    def show_spec(self, spec: AuditSpec) -> None:
        """Show the numbers of an audit that was made before."""
        self.n.setValue(spec.pairs.n or 0)
        self.form.set_values(k=spec.k, chunk_size=spec.chunk_size)

    def take(self, path: str) -> None:
        """Compare with the pairs at a path, whose columns are called as the set's.

        Raises
        ------
        InputError
            If there are none.
        """
        spec = PairSpec(
            kind=detect(path),
            path=path,
            image_column=self._pairs.image_column,
            caption_column=self._pairs.caption_column,
        )
        self.reference.insertItem(0, plain(Path(path).name, 60), spec)
        self.reference.setCurrentIndex(0)

    def _on_neighbours_changed(self, k: float) -> None:
        self.form.boxes["chunk_size"].setMinimum(max(_FEWEST, FEWEST_FOLDS * k))

    def _on_reference_activated(self, place: int) -> None:
        if self.reference.itemData(place) != _TABLE:
            return
        self.reference.setCurrentIndex(self.reference.findText("Other pairs in this set"))
        path = self._prompts.open_file(self, "Pairs known to be clean", "", CAPTION_PAIRS)
        with failing(self.failed, "Could not open the clean pairs"):
            if path:
                self.take(path)


_LARGEST = 1024  # pixels on a side of a thumbnail


def read_result(folder: Path) -> tuple[Audit, NDArray[np.uint8]]:
    """What an audit left in its folder: the record, and its pairs' pictures, read when shown.

    Raises
    ------
    InputError
        If a file is missing or not what it should be.
    """
    try:
        audit = read_audit(folder / AUDIT_FILE)
        pictures = _mapped(folder / THUMBNAILS_FILE)
    except (OSError, ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise InputError(
            "The audit's files cannot be read; run it again.", "damaged", str(error)
        ) from error
    sides = pictures.shape[1:] if pictures.ndim == 4 else (0, 0, 0)
    if (
        len(pictures) != len(audit.pairs)
        or sides[2] != 3
        or not 0 < min(sides) <= max(sides) <= _LARGEST
    ):
        raise InputError("The audit's pictures do not match its record; run it again.", "damaged")
    return audit, pictures


def _mapped(path: Path) -> NDArray[np.uint8]:
    """The array in a file, mapped: only the parts in use are read. `np.load` opens a path itself.

    Raises
    ------
    OSError, ValueError
        If there is no such file, or it holds no uint8.
    """
    with open_file(path, inside=path.parent) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("another version of the format")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype != np.uint8 or by_columns:
            raise ValueError("no pictures")
        return np.memmap(file, np.uint8, "r", file.tell(), shape)


def read_saved(folder: Path) -> tuple[Audit, NDArray[np.uint8], AuditSpec]:
    """Read the result and the settings of an audit that was made earlier.

    Raises
    ------
    InputError
        If the folder holds none, or a file is not what it should be.
    """
    if not (folder / AUDIT_FILE).is_file():
        raise InputError(
            f"“{folder.name}” is not the folder of an audit: it holds no {AUDIT_FILE}; choose the "
            "folder that an audit wrote."
        )
    return *read_result(folder), read_spec_file(folder / SPEC_FILE, AuditSpec)


def marks_of(folder: Path, audit: Audit) -> frozenset[int]:
    """Pairs of an audit that were excluded when it was saved last.

    Raises
    ------
    InputError
        If its exclusions file cannot be read.
    """
    path = folder / EXCLUSIONS_FILE
    if not path.exists():
        return frozenset()
    out = {pair.identity for pair in read_exclusions(path).pairs}
    return frozenset(pair.index for pair in audit.pairs if pair.member in out)


_EMPTY = "Start the audit: the most suspicious pairs are shown here, the worst first."
_DETAILS = 376


def audits_dir() -> Path:
    """Where audits are kept."""
    return data_dir() / "audits"


class AuditDialog(JobDialog):
    """Audits some pairs and marks those to leave out, which are in :attr:`excluded`.

    ``used`` carries the path of an exclusions file that was written, and the `PairSpec` that it
    is of.

    Parameters
    ----------
    task
        Runs the audit.
    session
        Knows the open checkpoint, the evaluation images and the device.
    path, checkpoint
        The checkpoint that embeds the pairs, and its name.
    pairs
        What is audited.
    """

    cancelled_words = "Cancelled. Finished embeddings are reused by the next audit."

    def __init__(
        self,
        task: JobTask,
        session: Session,
        path: str,
        checkpoint: str,
        pairs: PairSpec,
        prompts: Prompts,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(
            task, "Audit training pairs", "Start the audit", "Progress of the audit", parent
        )
        self.pairs, self._path = pairs, path
        self._session, self._prompts = session, prompts
        self.folder: Path | None = None
        self.excluded: frozenset[int] = frozenset()
        self.saved: frozenset[int] = frozenset()
        self.stack = UndoStack(parent=self)
        self.model = SuspectModel(self)
        self.view = SuspectView(self.model)
        self.view.empty_text = _EMPTY
        self.details = SuspectDetails()
        self.setup = AuditSetup(prompts, pairs)
        self.lists = named(QComboBox(), "Show the worst by")
        self.lists.setMinimumContentsLength(26)
        self.exclude = push_button(
            "Exclude", partial(self.mark_chosen, True), icon="cancel",
            tip="Exclude the selected pairs from training (Delete).",
        )  # fmt: skip
        self.include = push_button(
            "Include", partial(self.mark_chosen, False), icon="check",
            tip="Include the selected pairs again (Insert).",
        )  # fmt: skip
        self.undo = push_button("Undo", self.stack.undo, icon="undo")
        self.redo = push_button("Redo", self.stack.redo, icon="redo")
        self.count = Label("", "subtle")
        self.save = push_button("Save exclusions…", self.save_exclusions, icon="save")
        self.notes = text_field("Limits of these numbers")
        self.notes.setMinimumHeight(theme.px(44))
        self.notes.setMaximumHeight(theme.px(92))
        name = Path(pairs.path).name if pairs.path else "Clean pairs of the demo"
        self._lay_out(checkpoint, name)
        self._connect()
        self.finish(1220, 720, self.save)
        self.notes.hide()
        self.details.show_pair(None, None, SCORES[0].name)
        self._refresh()

    @property
    def is_open(self) -> bool:
        """Whether the checkpoint that embeds the pairs is the one that is open."""
        facts = self._session.checkpoint
        return facts is not None and Path(facts.path) == Path(self._path)

    def begin(self) -> None:
        """Audit the pairs, if marks that are not saved may go."""
        if self.is_open and not self.may_lose_marks("Start again", "Start again"):
            return
        super().begin()

    def launch(self) -> None:
        """Audit the pairs in a folder of their own."""
        facts = self._session.checkpoint
        if facts is None or not self.is_open:
            raise InputError(f"That checkpoint is no longer open. {self._to_start_again()}")
        folder = new_folder(audits_dir(), "audit")
        images, device = self._session.images, self._session.device
        spec = AuditSpec(
            checkpoint=facts.path,
            donor=facts.donor or None,
            pairs=self.pairs.model_copy(update={"n": self.setup.n.number or self.pairs.n}),
            images=() if images is None else (images.spec,),
            **self.setup.values(),
            output_dir=str(folder),
            device=device,
        )
        self.task.start(spec, folder / SPEC_FILE, device)
        self.folder = folder

    def show_result(self, result: Mapping[str, Any]) -> None:
        """Show what the audit wrote."""
        if self.folder is not None:
            self.show_audit(*read_result(self.folder), self.folder)

    def show_audit(self, audit: Audit, thumbnails: NDArray[np.uint8], folder: Path) -> None:
        """Show the audit in a folder; ``thumbnails`` uint8 [m, s, s, 3] of its worst pairs."""
        self.folder = folder
        self.set_busy(False)
        self.stack.clear()
        self.excluded = self.saved = frozenset()
        self.model.set_audit(audit, thumbnails)
        overlap = sum(audit.overlap.values())
        lists = [(score.name, f"Worst by {score.title}") for score in audit.scores]
        lists += [(EVALUATED, "Also evaluation pictures")] if overlap else []
        fill(self.lists, [*lists, (EXCLUDED, "Excluded")])
        among = audit.facts.get("neighbours_among", 0)
        words = f"{plural(audit.n, 'pair')} scored, with neighbours among {count_text(int(among))}."
        if audit.unread:
            words += f" {plural(audit.unread, 'picture')} could not be read."
        if overlap:
            words += f" {plural(overlap, 'pair')} also among the evaluation pictures."
        self.show_state(words, "warning" if overlap else "subtle")
        self.notes.setPlainText("\n".join(f"• {plain(n, 900)}" for n in audit.notes[1:]))
        self.notes.setVisible(len(audit.notes) > 1)
        self._on_list_chosen()
        self.view.setFocus()

    def show_marks(self, excluded: frozenset[int]) -> None:
        """What was left out when the audit on show was saved."""
        self.saved = excluded
        self.set_excluded(excluded)

    def save_exclusions(self) -> None:
        """Write what is left out to a file of the user's choice."""
        audit, folder, pairs = self.model.audit, self.folder, self.pairs
        if audit is None or folder is None:
            return
        start = str(folder / EXCLUSIONS_FILE)
        chosen = self._prompts.save_file(self, "Save exclusions", start, EXCLUSIONS)
        if not chosen:
            return
        path = Path(chosen)
        try:
            marks = audit, sorted(self.excluded), self.model.score
            exclusions = exclude(path, *marks, Path(pairs.exclude) if pairs.exclude else None)
            if path.absolute() != (folder / EXCLUSIONS_FILE).absolute():
                exclude(folder / EXCLUSIONS_FILE, *marks)  # for when the audit is opened again
        except InputError as error:
            self.show_state(error.sentence, "error")
            return
        self.saved = self.excluded
        named = plural(len(exclusions.pairs), "pair")
        words = f"{plain(path.name, 80)} names {named}; runs on this set leave them out."
        self.show_state(words, "success")
        self._refresh()
        self.pairs = pairs.model_copy(update={"exclude": str(path)})
        self.used.emit((str(path), pairs))

    def may_lose_marks(self, title: str = "Close", yes: str = "Close it") -> bool:
        """Ask whether marks that are not saved may go; nothing is asked if there are none."""
        if not self.unsaved:
            return True
        out = plural(len(self.excluded), "pair")
        question = f"{out} excluded, but not saved. Continue without saving?"
        return self._prompts.confirm(self, title, question, yes, "Stay")

    @property
    def unsaved(self) -> bool:
        """Whether something was marked since the last save."""
        return self.excluded != self.saved

    def mark(self, indices: Iterable[int], out: bool) -> None:
        """Leave pairs out, or take them in again; can be undone."""
        marked = frozenset(indices)
        after = self.excluded | marked if out else self.excluded - marked
        if after != self.excluded:
            undo, redo = (partial(self.set_excluded, marks) for marks in (self.excluded, after))
            redo()
            self.stack.push(UndoStep("Exclude" if out else "Include", undo, redo))

    def set_excluded(self, excluded: frozenset[int]) -> None:
        """Show what is left out; called by the undo stack."""
        self.excluded = excluded
        self.model.set_excluded(excluded)
        self._refresh()

    def chosen(self) -> list[int]:
        """Selected pairs."""
        return [self.model.rows[row] for row in self.view.chosen_rows()]

    def reject(self) -> None:
        """Close, by a button, Escape or the window's cross, if marks may go."""
        if self.may_lose_marks():
            self.done(0)

    def done(self, result: int) -> None:
        """Follow the open checkpoint no longer."""
        self._session.events.checkpoint.disconnect(self._on_checkpoint_change)
        super().done(result)

    def set_busy(self, busy: bool) -> None:
        """Lock also the set-up; say why no audit can begin."""
        super().set_busy(busy)
        self.setup.setEnabled(not busy and self.is_open)
        self.start.setEnabled(not busy and self.is_open)
        self.start.setToolTip("" if self.is_open else self._to_start_again())

    def _to_start_again(self) -> str:
        return f"Open {plain(Path(self._path).name, 60)} to audit again."

    def _lay_out(self, checkpoint: str, pairs_name: str) -> None:
        margins = (theme.SPACE_M, theme.SPACE_S, theme.SPACE_M, theme.SPACE_S)
        warning = card(Label(FIVE_POISONS, wrap=True), margins=margins)
        warning.setProperty("tone", "caution")
        seen_by = Label(fitting(plain(f"as {checkpoint} sees them", 90)), "subtle", wrap=True)
        seen_by.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        title = Label(fitting(plain(pairs_name, 80)), "title", wrap=True)
        head = FoldingRow(self.lists, (self.exclude, self.include), (self.undo, self.redo))
        left = column(head, (self.view, 1), self.notes, spacing=theme.SPACE_S)
        beside = scrolling(self.details)
        beside.setFixedWidth(theme.px(_DETAILS))
        column(
            row((title, 1), (seen_by, 1), spacing=theme.SPACE_L), warning,
            row((self.setup, 1), self.start, spacing=theme.SPACE_M), self.busy, self.state,
            (row((left, 1), beside, spacing=theme.SPACE_M), 1),
            row(self.count, None, self.close_button, self.save, spacing=theme.SPACE_S),
            of=self, margins=theme.SPACE_L, spacing=theme.SPACE_S,
        )  # fmt: skip

    def _connect(self) -> None:
        self.setup.failed.connect(lambda error: self.show_state(error.sentence, "error"))
        self._session.events.checkpoint.connect(self._on_checkpoint_change)
        self.lists.currentIndexChanged.connect(self._on_list_chosen)
        self.stack.changed.connect(self._refresh)
        self.view.delegate_.marked.connect(self._on_marked)
        self.view.selectionModel().selectionChanged.connect(self._refresh)
        self.view.selectionModel().currentChanged.connect(self._on_current_changed)
        self.details.standings.row_chosen.connect(self._on_score_chosen)
        for keys, act in (
            (QKeySequence.StandardKey.Undo, self.stack.undo),
            (QKeySequence.StandardKey.Redo, self.stack.redo),
        ):
            QShortcut(QKeySequence(keys), self).activated.connect(act)
        for key, out in ((Qt.Key.Key_Delete, True), (Qt.Key.Key_Insert, False)):
            shortcut = QShortcut(QKeySequence(key), self.view)
            shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
            shortcut.activated.connect(partial(self.mark_chosen, out))

    def _refresh(self, *_: object) -> None:
        chosen = set(self.chosen())
        self.exclude.setEnabled(bool(chosen - self.excluded))
        self.include.setEnabled(bool(chosen & self.excluded))
        self.undo.setEnabled(self.stack.can_undo())
        self.redo.setEnabled(self.stack.can_redo())
        self.save.setEnabled(self.model.audit is not None and self.unsaved)
        self.lists.setEnabled(self.model.audit is not None)
        out = plural(len(self.excluded), "pair")
        unsaved = ", not saved yet" if self.unsaved else ""
        self.count.setText(f"{out} excluded{unsaved}" if self.model.audit is not None else "")

    def _on_list_chosen(self, *_: object) -> None:
        name = self.lists.currentData()
        if name is None or self.model.audit is None:
            return
        self.model.set_list(name)
        self.view.empty_text = "No pairs in this list."
        score = self.model.score
        spreads = {spread.score: spread for spread in self.model.audit.distributions}
        self.details.show_score(score, spreads.get(score))
        if self.model.rows:
            first = self.model.index(0)
            select = QItemSelectionModel.SelectionFlag.ClearAndSelect
            self.view.selectionModel().setCurrentIndex(first, select)
            self.view.scrollToTop()
        self._on_current_changed()
        self._refresh()

    def _on_current_changed(self, *_: object) -> None:
        row = self.view.currentIndex().row()
        if not 0 <= row < len(self.model.rows):
            self.details.show_pair(None, None, self.model.score)
            return
        pair = self.model.pair(row)
        self.details.show_pair(pair, self.model.pixmap(pair.index), self.model.score)

    def _on_score_chosen(self, number: int) -> None:
        """A score that is clicked in the table is the one to sort by; the pair stays chosen."""
        audit = self.model.audit
        if audit is None or number < 0 or not self.details.standings.hasFocus():
            return
        name, row = audit.scores[number].name, self.view.currentIndex().row()
        pair = self.model.rows[row] if 0 <= row < len(self.model.rows) else -1
        self.lists.setCurrentIndex(self.lists.findData(name))
        if pair in self.model.rows:
            self.view.setCurrentIndex(self.model.index(self.model.rows.index(pair)))

    def _on_checkpoint_change(self, _: object) -> None:
        self.set_busy(self.task.is_running)

    def mark_chosen(self, out: bool, *_: object) -> None:
        """Take the selected pairs out of the training set, or in again."""
        self.mark(self.chosen(), out)

    def _on_marked(self, row: int) -> None:
        index = self.model.rows[row]
        self.mark([index], out=index not in self.excluded)


class AuditDialogs(JobDialogs[AuditDialog]):
    """Opens the page for the pairs in use, or for an audit that was made before.

    Parameters
    ----------
    pairs
        Returns the pairs in use; None where the method takes labelled images.
    """

    def __init__(
        self,
        session: Session,
        prompts: Prompts,
        pairs: Callable[[], PairSpec | None],
        parent: QWidget,
        make_runner: NewRunner = new_runner,
    ) -> None:
        super().__init__("the audit", self._page, parent)
        self._session, self._prompts, self._parent = session, prompts, parent
        self._pairs, self._make_runner = pairs, make_runner

    def _page(self, dialog: AuditDialog | None) -> AuditDialog | None:
        """Return a page for the pairs in use, unless it is open or holds marks to keep."""
        facts = self._session.checkpoint
        try:
            pairs = self._pairs()
        except InputError as error:
            raise error.titled("Could not open the training pairs") from None
        if facts is None:
            raise InputError("Open a checkpoint first: the audit uses its embeddings of the pairs.")
        if pairs is None:
            raise InputError(
                "This method trains on labelled images; choose a method that trains on pairs."
            )
        if dialog is not None:
            same = same_pairs(pairs, dialog.pairs) and dialog.is_open
            if same or not self.may_lose_marks():
                return None
        return self._dialog(facts.path, facts.inspection.name, pairs)

    def choose(self) -> None:
        """Ask for the folder of an audit that was made before, and show it."""
        parent = self._parent.window()
        chosen = self._prompts.open_folder(parent, "Open an audit", str(audits_dir()))
        if chosen:
            self.open_saved(Path(chosen))

    def open_saved(self, folder: Path) -> None:
        """Show an audit that was made before, with what was excluded by it."""
        try:
            if self.is_running:
                raise InputError("An audit is running; open another one when it has finished.")
            audit, thumbnails, spec = read_saved(folder)
            excluded = marks_of(folder, audit)
        except InputError as error:
            self.failed.emit(error.titled("Could not open the audit"))
            return
        if self.dialog is not None and not self.may_lose_marks():
            self.dialog.raise_()
            return
        pairs = spec.pairs.model_copy(update={"n": None})
        dialog = self._dialog(spec.checkpoint, Path(spec.checkpoint).name, pairs)
        self.show(dialog)
        dialog.setup.show_spec(spec)
        dialog.show_audit(audit, thumbnails, folder)
        dialog.show_marks(excluded)

    def may_lose_marks(self, title: str = "Close", yes: str = "Close it") -> bool:
        """Ask whether marks that are not saved may go; nothing is asked if there are none."""
        return self.dialog is None or self.dialog.may_lose_marks(title, yes)

    def _dialog(self, path: str, name: str, pairs: PairSpec) -> AuditDialog:
        """Return a page for some pairs, as the checkpoint at a path sees them."""
        task = JobTask("audit", self._make_runner)
        return AuditDialog(
            task, self._session, path, name, pairs, self._prompts, self._parent.window()
        )


def same_pairs(first: PairSpec | None, second: PairSpec | None) -> bool:
    """Whether both name the same pairs; exclusions do not count."""
    whole = [pairs and pairs.model_copy(update={"exclude": None}) for pairs in (first, second)]
    return whole[0] == whole[1]
