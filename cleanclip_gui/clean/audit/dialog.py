"""The audit's page: how to look, the worst pairs as a gallery, and what is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QItemSelectionModel, Qt, Signal, Slot
from PySide6.QtGui import QKeySequence, QShortcut, QUndoCommand, QUndoStack
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QFrame,
    QHBoxLayout,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.clean.audit.details import SuspectDetails
from cleanclip_gui.clean.audit.gallery import SuspectView
from cleanclip_gui.clean.audit.model import EVALUATED, EXCLUDED, SuspectModel
from cleanclip_gui.clean.audit.setup import AuditSetup
from cleanclip_gui.widgets.busy_row import BusyRow
from cleanclip_gui.widgets.dialog_frame import resize_within
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import count_text, fitting, left_text, plain, plural
from ml_core.data.specs import PairSpec
from ml_core.detection.records import FIVE_POISONS, SCORES, Audit
from ml_core.events import Progress
from ml_core.reading.errors import InputError

_STAGES = {
    "open": "Opening the checkpoint and the pairs…",
    "overlap": "Looking for evaluation images among the pairs…",
    "reference": "Embedding the clean reference",
    "embed": "Embedding and scoring",
    "pictures": "Writing the worst…",
}
_EMPTY = "Start the audit: the most suspicious pairs are shown here, the worst first."
_DETAILS = 376


class AuditDialog(QDialog):
    """Shows what it is told; ``start_clicked``, ``cancel_clicked``, ``save_clicked``,
    ``close_asked`` and ``closed`` are the user's. What is left out is in :attr:`excluded`."""

    start_clicked = Signal()
    cancel_clicked = Signal()
    save_clicked = Signal()
    close_asked = Signal()
    closed = Signal()

    def __init__(
        self,
        checkpoint: str,
        pairs_name: str,
        pairs: PairSpec,
        prompts: Prompts,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Audit training pairs")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.excluded: frozenset[int] = frozenset()
        self.saved: frozenset[int] = frozenset()
        self._barred = ""
        self.stack = QUndoStack(self)
        self.model = SuspectModel(self)
        self.view = SuspectView(self.model)
        self.view.empty_text = _EMPTY
        self.details = SuspectDetails()
        self.setup = AuditSetup(prompts, pairs)
        self.start = QPushButton("Start the audit")
        self.start.setProperty("primary", True)
        self.busy = BusyRow("Progress of the audit")
        self.state = Label("", "subtle", wrap=True)
        self.lists = QComboBox()
        self.lists.setAccessibleName("Show the worst by")
        self.lists.setMinimumContentsLength(26)
        self.exclude = QPushButton(theme.icon("cancel"), "Exclude")
        self.exclude.setToolTip("Exclude the selected pairs from training (Delete).")
        self.include = QPushButton(theme.icon("check"), "Include")
        self.include.setToolTip("Include the selected pairs again (Insert).")
        self.undo = QPushButton(theme.icon("undo"), "Undo")
        self.redo = QPushButton(theme.icon("redo"), "Redo")
        self.count = Label("", "subtle")
        self.save = QPushButton(theme.icon("save"), "Save exclusions…")
        self.close_button = QPushButton("Close")
        self.notes = QPlainTextEdit()
        self.notes.setReadOnly(True)
        self.notes.setTabChangesFocus(True)
        self.notes.setAccessibleName("Limits of these numbers")
        self.notes.setMinimumHeight(theme.px(44))
        self.notes.setMaximumHeight(theme.px(92))
        self._lay_out(checkpoint, pairs_name)
        self._connect()
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(button in (self.start, self.save))
        resize_within(self, 1220, 720)
        self.busy.hide()
        self.notes.hide()
        self.details.show_pair(None, None, SCORES[0].name)
        self.show_state("")
        self._refresh()

    def show_running(self) -> None:
        """The audit has begun."""
        self._set_busy(True)
        self.busy.bar.setRange(0, 1000)
        self.busy.bar.setValue(0)
        self.show_state(_STAGES["open"])

    def show_progress(
        self, progress: Progress, fraction: float, seconds_left: float | None
    ) -> None:
        """How far a stage is, and of the whole audit its share and the time left."""
        words = _STAGES.get(progress.stage, progress.stage)
        total = progress.total if progress.stage in ("embed", "reference") else 0
        self.busy.bar.setValue(round(1000 * fraction))
        if total:
            words = f"{words}: {plural(progress.done, 'pair')} of {plural(total, 'pair')}"
            words += f", {progress.rate:.0f} a second" if progress.rate else ""
        if left := left_text(seconds_left):
            words = f"{words.removesuffix('…')}, {left}"
        if self.busy.cancel.isEnabled():
            self.show_state(words)

    def show_cancelling(self) -> None:
        """The user gave up; the process has still to end."""
        self.busy.cancel.setEnabled(False)
        self.show_state("Cancelling…")

    def show_ended(self, words: str, *, error: bool = False) -> None:
        """It ended without a result; what was shown before stays."""
        self._set_busy(False)
        self.show_state(words, "error" if error else "subtle")

    def show_audit(self, audit: Audit, thumbnails: NDArray[np.uint8]) -> None:
        """Show the worst; ``thumbnails`` uint8 [m, s, s, 3] of the audit's pairs."""
        self._set_busy(False)
        self.stack.clear()
        self.excluded = self.saved = frozenset()
        self.model.set_audit(audit, thumbnails)
        overlap = sum(audit.overlap.values())
        self.lists.blockSignals(True)
        self.lists.clear()
        for score in SCORES:
            self.lists.addItem(f"Worst by {score.title}", score.name)
        if overlap:
            self.lists.addItem("Also evaluation pictures", EVALUATED)
        self.lists.addItem("Excluded", EXCLUDED)
        self.lists.blockSignals(False)
        among = audit.facts.get("neighbours_among", 0)
        words = f"{plural(audit.n, 'pair')} scored, with neighbours among {count_text(int(among))}."
        if audit.unread:
            words += f" {plural(audit.unread, 'picture')} could not be read."
        if overlap:
            words += f" {plural(overlap, 'pair')} also among the evaluation images."
        self.show_state(words, "warning" if overlap else "subtle")
        self.notes.setPlainText("\n".join(f"• {plain(n, 900)}" for n in audit.notes[1:]))
        self.notes.setVisible(len(audit.notes) > 1)
        self._on_list_chosen()
        self.view.setFocus()

    def show_marks(self, excluded: frozenset[int]) -> None:
        """What was left out when the audit on show was saved."""
        self.saved = excluded
        self.set_excluded(excluded)

    def keep_from_starting(self, reason: str) -> None:
        """The checkpoint that embeds the pairs is not open: none can be looked at anew."""
        self._barred = reason
        self._set_busy(False)

    @property
    def can_start(self) -> bool:
        """Whether the checkpoint that embeds the pairs is open."""
        return not self._barred

    def show_saved(self, sentence: str) -> None:
        """What is left out now is on disk."""
        self.saved = self.excluded
        self.show_state(sentence, "success")
        self._refresh()

    @property
    def unsaved(self) -> bool:
        """Whether something was marked since the last save."""
        return self.excluded != self.saved

    def mark(self, indices: Iterable[int], out: bool) -> None:
        """Leave pairs out, or take them in again; can be undone."""
        wanted = frozenset(indices)
        after = self.excluded | wanted if out else self.excluded - wanted
        if after != self.excluded:
            self.stack.push(
                _Mark(self.set_excluded, self.excluded, after, "Exclude" if out else "Include")
            )

    def set_excluded(self, excluded: frozenset[int]) -> None:
        """Show what is left out; called by the undo stack."""
        self.excluded = excluded
        self.model.set_excluded(excluded)
        self._refresh()

    def chosen(self) -> list[int]:
        """Selected pairs."""
        return [self.model.rows[row] for row in self.view.chosen_rows()]

    def show_state(self, words: str, role: str = "subtle") -> None:
        """Say how it stands; nothing hides the line."""
        theme.set_property(self.state, "role", role)
        self.state.setText(plain(words, 1000))
        self.state.setVisible(bool(words))

    def reject(self) -> None:
        """Escape and the window's cross ask as Close does."""
        self.close_asked.emit()

    def done(self, result: int) -> None:
        """Closed for good."""
        self.closed.emit()
        super().done(result)

    def _lay_out(self, checkpoint: str, pairs_name: str) -> None:
        card = QFrame()
        card.setProperty("card", True)
        card.setProperty("tone", "caution")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(theme.SPACE_M, theme.SPACE_S, theme.SPACE_M, theme.SPACE_S)
        inside.addWidget(Label(FIVE_POISONS, wrap=True))
        title = QHBoxLayout()
        title.setSpacing(theme.SPACE_L)
        seen_by = Label(fitting(plain(f"as {checkpoint} sees them", 90)), "subtle", wrap=True)
        seen_by.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        title.addWidget(Label(fitting(plain(pairs_name, 80)), "title", wrap=True), 1)
        title.addWidget(seen_by, 1)
        first = QHBoxLayout()
        first.setSpacing(theme.SPACE_M)
        first.addWidget(self.setup, 1)
        first.addWidget(self.start)
        head = FoldingRow(self.lists, (self.exclude, self.include), (self.undo, self.redo))
        left = QVBoxLayout()
        left.setSpacing(theme.SPACE_S)
        left.addWidget(head)
        left.addWidget(self.view, 1)
        left.addWidget(self.notes)
        body = QHBoxLayout()
        body.setSpacing(theme.SPACE_M)
        body.addLayout(left, 1)
        beside = QScrollArea()
        beside.setWidgetResizable(True)
        beside.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        beside.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        beside.setFixedWidth(theme.px(_DETAILS))
        beside.setWidget(self.details)
        body.addWidget(beside)
        foot = QHBoxLayout()
        foot.setSpacing(theme.SPACE_S)
        foot.addWidget(self.count)
        foot.addStretch(1)
        foot.addWidget(self.close_button)
        foot.addWidget(self.save)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*(theme.SPACE_L,) * 4)
        layout.setSpacing(theme.SPACE_S)
        layout.addLayout(title)
        layout.addWidget(card)
        layout.addLayout(first)
        layout.addWidget(self.busy)
        layout.addWidget(self.state)
        layout.addLayout(body, 1)
        layout.addLayout(foot)

    def _connect(self) -> None:
        self.start.clicked.connect(self.start_clicked)
        self.setup.failed.connect(self._on_setup_failed)
        self.busy.cancel_clicked.connect(self.cancel_clicked)
        self.save.clicked.connect(self.save_clicked)
        self.close_button.clicked.connect(self.reject)
        self.lists.currentIndexChanged.connect(self._on_list_chosen)
        self.exclude.clicked.connect(self._on_exclude_clicked)
        self.include.clicked.connect(self._on_include_clicked)
        self.undo.clicked.connect(self.stack.undo)
        self.redo.clicked.connect(self.stack.redo)
        self.stack.canUndoChanged.connect(self._refresh)
        self.stack.canRedoChanged.connect(self._refresh)
        self.view.delegate_.marked.connect(self._on_marked)
        self.view.selectionModel().selectionChanged.connect(self._refresh)
        self.view.selectionModel().currentChanged.connect(self._on_current_changed)
        self.details.standings.row_chosen.connect(self._on_score_chosen)
        for keys, act in (
            (QKeySequence.StandardKey.Undo, self.stack.undo),
            (QKeySequence.StandardKey.Redo, self.stack.redo),
        ):
            QShortcut(QKeySequence(keys), self).activated.connect(act)
        for key, slot in (
            (Qt.Key.Key_Delete, self._on_exclude_clicked),
            (Qt.Key.Key_Insert, self._on_include_clicked),
        ):
            shortcut = QShortcut(QKeySequence(key), self.view)
            shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
            shortcut.activated.connect(slot)

    @Slot()
    def _refresh(self, *_: object) -> None:
        chosen = set(self.chosen())
        self.exclude.setEnabled(bool(chosen - self.excluded))
        self.include.setEnabled(bool(chosen & self.excluded))
        self.undo.setEnabled(self.stack.canUndo())
        self.redo.setEnabled(self.stack.canRedo())
        self.save.setEnabled(self.model.audit is not None and self.unsaved)
        self.lists.setEnabled(self.model.audit is not None)
        out = plural(len(self.excluded), "pair")
        unsaved = ", not saved yet" if self.unsaved else ""
        self.count.setText(f"{out} excluded{unsaved}" if self.model.audit is not None else "")

    def _set_busy(self, busy: bool) -> None:
        self.busy.setVisible(busy)
        self.busy.cancel.setEnabled(True)
        self.setup.setEnabled(not busy and not self._barred)
        self.start.setEnabled(not busy and not self._barred)
        self.start.setToolTip(self._barred)

    @Slot()
    def _on_list_chosen(self, *_: object) -> None:
        name = self.lists.currentData()
        if name is None or self.model.audit is None:
            return
        self.model.set_list(name)
        self.view.empty_text = "No pairs in this list."
        score = self.model.score
        spreads = {found.score: found for found in self.model.audit.distributions}
        self.details.show_score(score, spreads.get(score))
        if self.model.rows:
            first = self.model.index(0)
            select = QItemSelectionModel.SelectionFlag.ClearAndSelect
            self.view.selectionModel().setCurrentIndex(first, select)
            self.view.scrollToTop()
        self._on_current_changed()
        self._refresh()

    @Slot()
    def _on_current_changed(self, *_: object) -> None:
        row = self.view.currentIndex().row()
        if not 0 <= row < len(self.model.rows):
            self.details.show_pair(None, None, self.model.score)
            return
        pair = self.model.pair(row)
        self.details.show_pair(pair, self.model.pixmap(pair.index), self.model.score)

    @Slot(int)
    def _on_score_chosen(self, number: int) -> None:
        """A score that is clicked in the table is the one to sort by; the pair stays chosen."""
        if number < 0 or not self.details.standings.hasFocus():
            return
        name, row = SCORES[number].name, self.view.currentIndex().row()
        kept = self.model.rows[row] if 0 <= row < len(self.model.rows) else -1
        self.lists.setCurrentIndex(self.lists.findData(name))
        if kept in self.model.rows:
            self.view.setCurrentIndex(self.model.index(self.model.rows.index(kept)))

    @Slot(object)
    def _on_setup_failed(self, error: InputError) -> None:
        self.show_state(error.sentence, "error")

    @Slot()
    def _on_exclude_clicked(self) -> None:
        self.mark(self.chosen(), out=True)

    @Slot()
    def _on_include_clicked(self) -> None:
        self.mark(self.chosen(), out=False)

    @Slot(int)
    def _on_marked(self, row: int) -> None:
        index = self.model.rows[row]
        self.mark([index], out=index not in self.excluded)


class _Mark(QUndoCommand):
    """Leaves pairs out, or takes them in; ``show`` shows what is left out."""

    def __init__(
        self,
        show: Callable[[frozenset[int]], None],
        before: frozenset[int],
        after: frozenset[int],
        text: str,
    ) -> None:
        super().__init__(text)
        self._show, self._before, self._after = show, before, after

    def undo(self) -> None:
        self._show(self._before)

    def redo(self) -> None:
        self._show(self._after)
