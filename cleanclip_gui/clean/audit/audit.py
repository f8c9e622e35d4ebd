"""Opens the audit of the training pairs of the Clean station, and the files of earlier ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui.clean.audit.audit_files import marks_of, read_saved
from cleanclip_gui.clean.audit.dialog import AuditDialog, audits_dir
from cleanclip_gui.clean.audit.setup import AuditWish
from cleanclip_gui.jobs.job_dialog import JobDialogs
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.jobs.runner import NewRunner, new_runner
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.data.specs import PairSpec
from ml_core.reading.errors import InputError


class AuditDialogs(JobDialogs[AuditDialog]):
    """Opens the page for the pairs in use, or for an audit that was made before.

    ``excluded(str, object)`` is the path of an exclusions file that was saved, and the `PairSpec`
    that it is of.

    Parameters
    ----------
    pairs
        Returns the pairs in use; None where the method takes labelled images.
    """

    excluded = Signal(str, object)
    subject = "the audit"

    def __init__(
        self,
        session: Session,
        prompts: Prompts,
        pairs: Callable[[], PairSpec | None],
        parent: QWidget,
        make_runner: NewRunner = new_runner,
    ) -> None:
        super().__init__(parent)
        self._session, self._prompts = session, prompts
        self._pairs, self._make_runner = pairs, make_runner

    def new_dialog(self) -> AuditDialog | None:
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
        dialog = self.dialog
        if dialog is not None:
            same = same_pairs(pairs, dialog.pairs) and dialog.is_open and dialog.can_start
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
        dialog.setup.show_wish(AuditWish(spec.pairs.n, None, spec.k, spec.chunk_size))
        dialog.show_audit(audit, thumbnails, folder)
        dialog.show_marks(excluded)
        if not dialog.is_open:
            dialog.keep_from_starting()

    def may_lose_marks(self, title: str = "Close", yes: str = "Close it") -> bool:
        """Ask whether marks that are not saved may go; nothing is asked if there are none."""
        return self.dialog is None or self.dialog.may_lose_marks(title, yes)

    def _dialog(self, path: str, name: str, pairs: PairSpec) -> AuditDialog:
        """Return a page for some pairs, as the checkpoint at a path sees them."""
        task = JobTask("audit", self._make_runner)
        dialog = AuditDialog(
            task, self._session, path, name, pairs, self._prompts, self._parent.window()
        )
        dialog.exclusions_saved.connect(self.excluded)
        return dialog


def same_pairs(first: PairSpec | None, second: PairSpec | None) -> bool:
    """Whether both name the same pairs, whatever is excluded."""
    whole = [pairs and pairs.model_copy(update={"exclude": None}) for pairs in (first, second)]
    return whole[0] == whole[1]
