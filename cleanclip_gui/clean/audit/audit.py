"""Audits the training pairs of the Clean station, in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from cleanclip_gui.clean.audit.dialog import AuditDialog
from cleanclip_gui.clean.audit.setup import AuditWish
from cleanclip_gui.jobs.launching import launch, let_go
from cleanclip_gui.jobs.runner import JobRunner, audit_runner
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.name_filters import EXCLUSIONS
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain, plural
from ml_core.data.exclusions import read_exclusions
from ml_core.data.specs import PairSpec
from ml_core.detection.exclude import exclude
from ml_core.detection.records import Audit, read_audit
from ml_core.events import Done, Progress
from ml_core.jobs.audit_spec import (
    AUDIT_FILE,
    EXCLUSIONS_FILE,
    THUMBNAILS_FILE,
    AuditSpec,
    read_audit_spec,
)
from ml_core.jobs.overall import Overall, Plan, audit_plan
from ml_core.jobs.specs import SPEC_FILE
from ml_core.paths import data_dir
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_file

_LARGEST = 1024  # pixels on a side of a thumbnail


def audits_dir() -> Path:
    """Where audits are kept."""
    return data_dir() / "audits"


class Auditing(QObject):
    """One dialog, one process.

    ``failed`` carries an InputError for the window to show; ``excluded(str, object)`` the path of
    an exclusions file that was saved, and the `PairSpec` that it is of. ``pairs`` is asked for the
    pairs in use when the dialog is opened; None where the method takes labelled images.
    """

    failed = Signal(object)
    excluded = Signal(str, object)

    def __init__(
        self,
        session: Session,
        prompts: Prompts,
        pairs: Callable[[], PairSpec | None],
        parent: QWidget,
        new_runner: Callable[..., JobRunner] = audit_runner,
    ) -> None:
        super().__init__(parent)
        self._session, self._prompts = session, prompts
        self._pairs, self._parent = pairs, parent
        self._new_runner = new_runner
        self.dialog: AuditDialog | None = None
        self.spec: PairSpec | None = None
        self._checkpoint = ""  # that embeds the pairs of the dialog
        self.folder: Path | None = None
        self._audit: Audit | None = None
        self.runner: JobRunner | None = None
        self._overall = Overall(Plan(()))

    @Slot()
    def open(self) -> None:
        """Show the page for the pairs in use."""
        facts = self._session.checkpoint
        try:
            pairs = self._pairs()
        except InputError as error:
            self.failed.emit(error.titled("Could not open the training pairs"))
            return
        if facts is None or pairs is None:
            self.failed.emit(
                InputError(
                    "Open a checkpoint first: the audit uses its embeddings of the pairs."
                    if facts is None
                    else "This method trains on labelled images; choose a method that "
                    "trains on pairs."
                ).titled("Could not open the audit")
            )
            return
        if self.dialog is not None:
            same = same_pairs(pairs, self.spec) and self._is_open() and self.dialog.can_start
            if same or self.is_running or not self.may_lose_marks():
                self.dialog.raise_()
                return
            self.dialog.done(0)
        self._show_dialog(facts.path, facts.inspection.name, pairs)

    @Slot()
    def choose(self) -> None:
        """Ask for the folder of an audit that was made before, and show it."""
        parent = self._parent.window()
        chosen = self._prompts.open_folder(parent, "Open an audit", str(audits_dir()))
        if chosen:
            self.open_saved(Path(chosen))

    def open_saved(self, folder: Path) -> None:
        """Show an audit that was made before, with what was excluded by it."""
        try:
            if self.runner is not None:
                raise InputError("An audit is running; open another one when it has finished.")
            audit, thumbnails, spec = read_saved(folder)
            excluded = marks_of(folder, audit)
        except InputError as error:
            self.failed.emit(error.titled("Could not open the audit"))
            return
        if self.dialog is not None:
            if not self.may_lose_marks():
                self.dialog.raise_()
                return
            self.dialog.done(0)
        pairs = spec.pairs.model_copy(update={"n": None})
        dialog = self._show_dialog(spec.checkpoint, Path(spec.checkpoint).name, pairs)
        dialog.setup.show_wish(AuditWish(spec.pairs.n, None, spec.k, spec.chunk_size))
        self._audit, self.folder = audit, folder
        dialog.show_audit(audit, thumbnails)
        dialog.show_marks(excluded)
        if not self._is_open():
            dialog.keep_from_starting(self._to_look_anew())

    def _is_open(self) -> bool:
        """Whether the checkpoint that the dialog names is the one that is open."""
        facts = self._session.checkpoint
        return facts is not None and Path(facts.path) == Path(self._checkpoint)

    def _to_look_anew(self) -> str:
        """What to do where it is not."""
        return f"Open {plain(Path(self._checkpoint).name, 60)} to audit again."

    def _show_dialog(self, path: str, checkpoint: str, pairs: PairSpec) -> AuditDialog:
        """The page for some pairs, as the checkpoint at a path sees them."""
        self.spec, self._audit, self._checkpoint = pairs, None, path
        name = Path(pairs.path).name if pairs.path else "Clean pairs of the demo"
        dialog = AuditDialog(checkpoint, name, pairs, self._prompts, self._parent.window())
        self.dialog = dialog
        dialog.start_clicked.connect(self.start)
        dialog.cancel_clicked.connect(self.cancel)
        dialog.save_clicked.connect(self.save)
        dialog.close_asked.connect(self._on_close_asked)
        dialog.closed.connect(self._on_closed)
        dialog.show()
        return dialog

    @Slot()
    def start(self) -> None:
        """Look at the pairs."""
        dialog, facts, pairs = self.dialog, self._session.checkpoint, self.spec
        if dialog is None or pairs is None or self.runner is not None:
            return
        if facts is None or not self._is_open():
            why = f"That checkpoint is no longer open. {self._to_look_anew()}"
            dialog.show_ended(why, error=True)
            return
        if not self.may_lose_marks("Start again", "Start again"):
            return
        wish = dialog.setup.chosen()
        images, device = self._session.images, self._session.device
        folder = _new_folder()
        try:
            spec = AuditSpec(
                checkpoint=facts.path,
                donor=facts.donor or None,
                pairs=pairs if wish.n is None else pairs.model_copy(update={"n": wish.n}),
                reference=wish.reference,
                images=() if images is None else (images.spec,),
                k=wish.k,
                chunk_size=wish.chunk_size,
                output_dir=str(folder),
                device=device,
            )
            runner = launch(
                self._new_runner, spec, folder / SPEC_FILE, self._on_event, self._on_ended,
                device=device,
            )  # fmt: skip
        except InputError as error:
            dialog.show_ended(error.sentence, error=True)
            return
        self.runner, self.folder = runner, folder
        self._overall = Overall(audit_plan(spec))
        dialog.show_running()

    @Slot()
    def cancel(self) -> None:
        """End it at once; what was embedded is found again by the next audit."""
        if self.runner is not None:
            self.runner.cancel()
            if self.dialog is not None:
                self.dialog.show_cancelling()

    @Slot()
    def save(self) -> None:
        """Write what is left out to a file of the user's choice."""
        dialog, audit, folder, spec = self.dialog, self._audit, self.folder, self.spec
        if dialog is None or audit is None or folder is None or spec is None:
            return
        start = str(folder / EXCLUSIONS_FILE)
        chosen = self._prompts.save_file(dialog, "Save exclusions", start, EXCLUSIONS)
        if not chosen:
            return
        path = Path(chosen)
        try:
            earlier = Path(spec.exclude) if spec.exclude else None
            said = audit, sorted(dialog.excluded), dialog.model.score
            made = exclude(path, *said, earlier)
            if path.absolute() != (folder / EXCLUSIONS_FILE).absolute():
                exclude(folder / EXCLUSIONS_FILE, *said)  # for when the audit is opened again
        except InputError as error:
            dialog.show_state(error.sentence, "error")
            return
        pairs = plural(len(made.pairs), "pair")
        dialog.show_saved(f"{plain(path.name, 80)} names {pairs}; runs on this set leave them out.")
        self.spec = spec.model_copy(update={"exclude": str(path)})
        self.excluded.emit(str(path), spec)

    def close(self) -> None:
        """Close the dialog, unasked, and cancel what it does."""
        if self.dialog is not None:
            self.dialog.done(0)

    @property
    def is_running(self) -> bool:
        """Whether a process looks at pairs for the dialog."""
        return self.runner is not None

    def may_lose_marks(self, title: str = "Close", yes: str = "Close it") -> bool:
        """Ask whether marks that are not saved may go; nothing is asked if there are none."""
        dialog = self.dialog
        if dialog is None or not dialog.unsaved:
            return True
        out = plural(len(dialog.excluded), "pair")
        question = f"{out} excluded, but not saved. Continue without saving?"
        return self._prompts.confirm(dialog, title, question, yes, "Stay")

    @Slot()
    def _on_close_asked(self) -> None:
        if self.dialog is not None and self.may_lose_marks():
            self.dialog.done(0)

    @Slot()
    def _on_closed(self) -> None:
        if self.runner is not None:
            let_go(self.runner, self._on_event, self._on_ended)
            self.runner = None
        self.dialog = None

    @Slot(object)
    def _on_event(self, event: object) -> None:
        if self.runner is None:  # it was under way when the dialog was closed
            return
        self.runner.mark_running()
        if isinstance(event, Progress) and self.dialog is not None:
            self._overall.take(event)
            whole = self._overall.fraction, self._overall.seconds_left
            self.dialog.show_progress(event, *whole)

    @Slot(object)
    def _on_ended(self, done: Done) -> None:
        was_running, self.runner = self.is_running, None
        dialog, folder = self.dialog, self.folder
        if not was_running or dialog is None or folder is None:
            return
        if done.status == "cancelled":
            dialog.show_ended("Cancelled. Finished embeddings are reused by the next audit.")
        elif done.status != "finished":
            dialog.show_ended(done.error, error=True)
        else:
            try:
                self._audit, thumbnails = read_result(folder)
            except InputError as error:
                dialog.show_ended(error.sentence, error=True)
                return
            dialog.show_audit(self._audit, thumbnails)


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
    """The array in a file, of which only what is looked at is read; `np.load` opens a path itself.

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
            f"{folder.name} is not the folder of an audit: it holds no {AUDIT_FILE}; choose the "
            "folder that one audit made."
        )
    return *read_result(folder), read_audit_spec(folder / SPEC_FILE)


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
    out = {one.identity for one in read_exclusions(path).pairs}
    return frozenset(pair.index for pair in audit.pairs if pair.member in out)


def same_pairs(first: PairSpec | None, second: PairSpec | None) -> bool:
    """Whether both name the same pairs, whatever is excluded."""
    whole = {"exclude": None}
    plain_pair = [one if one is None else one.model_copy(update=whole) for one in (first, second)]
    return plain_pair[0] == plain_pair[1]


def _new_folder() -> Path:
    """A name that is not taken, e.g. ``audit-20261125-141503``."""
    stem = f"audit-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, count = audits_dir() / stem, 1
    while folder.exists():
        count += 1
        folder = audits_dir() / f"{stem}-{count}"
    return folder
