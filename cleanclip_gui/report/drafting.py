"""Puts the report together in the background, whenever what it is made of has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from cleanclip_gui.jobs import tasks
from cleanclip_gui.report.parts import ReportPart, parts_of, usually_chosen
from cleanclip_gui.session import Session
from cleanclip_gui.session.settings import PastResult, SettingsStore
from cleanclip_gui.widgets.text import plain
from ml_core.events import Event, run_to_end
from ml_core.jobs.report import ReportSpec
from ml_core.reading.errors import CancelledError, InputError

if TYPE_CHECKING:
    from ml_core.jobs.report.run import Draft

Make = Callable[[ReportSpec, Callable[[], bool]], "Draft"]


def make_draft(spec: ReportSpec, cancelled: Callable[[], bool]) -> Draft:
    """The draft of a report; imports torch, which is loaded once a checkpoint is open.

    Raises
    ------
    InputError
        If something cannot be read.
    CancelledError
        Once ``cancelled()`` is true.
    """
    from ml_core.jobs.report.run import draft

    def stop(_: Event) -> None:
        if cancelled():
            raise CancelledError

    return run_to_end(draft(spec), stop)


class Drafting(QObject):
    """Keeps the draft up to date; ``changed``: parts, draft, error or knowledge of them changed.

    Attributes
    ----------
    is_known
        Whether the folders were searched. Until then, an empty list does not mean that there are no
        parts.
    is_stale
        Whether the draft has other parts than the chosen ones; a new draft is coming.
    """

    changed = Signal()

    def __init__(
        self,
        session: Session,
        settings: SettingsStore,
        make: Make = make_draft,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session, self._settings, self._make = session, settings, make
        self._picked: dict[Path, bool] = {}
        self._of: tuple[object, ...] | None = None  # what the draft on show is made of
        self.parts: tuple[ReportPart, ...] = ()
        self.chosen: frozenset[Path] = frozenset()
        self.draft: Draft | None = None
        self.error: InputError | None = None
        self.is_busy = self.is_known = self.is_stale = False

    @property
    def chosen_parts(self) -> tuple[ReportPart, ...]:
        """What goes into the report, of each kind in the order of time."""
        return tuple(part for part in reversed(self.parts) if part.folder in self.chosen)

    def refresh(self) -> None:
        """Search for parts, and draft anew if they have changed."""
        facts = self._session.checkpoint
        self.is_busy = True
        tasks.run(
            partial(
                self._look, "" if facts is None else facts.inspection.sha256,
                None if facts is None else plain(Path(facts.path).stem, 60), self._shown(),
                self._settings.results("scan"), dict(self._picked), self._of,
            ),
            self._on_found, self._on_failed, on_done=self._on_done, slot="draft",
        )  # fmt: skip
        self.changed.emit()

    def pick(self, part: ReportPart, chosen: bool) -> None:
        """Take something in, or leave it out."""
        self._picked[part.folder] = chosen
        self.refresh()

    def forget(self) -> None:
        """Forget what was picked: it belonged to the checkpoint before."""
        self._picked.clear()
        self.parts, self.chosen, self.draft, self.error = (), frozenset(), None, None
        self._of = None
        self.is_known = self.is_stale = False

    def spec(self, out: str, parts: Sequence[ReportPart] | None = None) -> ReportSpec:
        """The report of what is chosen."""
        chosen = self.chosen_parts if parts is None else parts
        folders = {
            kind: tuple(str(part.folder) for part in chosen if part.kind == kind)
            for kind in ("run", "scan", "measurement")
        }
        return ReportSpec(
            runs=folders["run"],
            scans=folders["scan"],
            measurements=folders["measurement"],
            out=out,
            author=self._settings.value.author or None,
        )

    def folder_of(self, kind: str, id_: str) -> Path | None:
        """Where the job or scan of that id of the draft lies: ids follow the order given."""
        ready = [part for part in self.chosen_parts if part.kind == kind and not part.later]
        number = id_.rpartition("-")[2]
        at = int(number) - 1 if number.isdigit() else -1
        return ready[at].folder if 0 <= at < len(ready) else None

    def _shown(self) -> tuple[str, ...]:
        run, jobs = self._session.run, self._session.jobs.values()
        return ("" if run is None else run.output_dir, *(job.folder for job in jobs))

    def _look(
        self,
        sha256: str,
        name: str | None,
        shown: tuple[str, ...],
        scans: tuple[PastResult, ...],
        picked: dict[Path, bool],
        before: tuple[object, ...] | None,
        control: tasks.TaskControl,
    ) -> Iterator[object]:
        """Runs in its own thread; touches nothing of the object.

        Yields
        ------
        tuple
            Parts, those that are chosen, and whether the draft is of others; then what a new draft
            is made of, and the draft.
        """
        run = Path(shown[0]) if shown[0] else None
        parts = parts_of(sha256, () if run is None else (run,), scans)
        chosen = {
            part.folder
            for part in parts
            if picked.get(part.folder, part.folder in usually_chosen(parts, shown))
        }
        ready = [part for part in reversed(parts) if part.folder in chosen and not part.later]
        now = (sha256, *(part.stamp for part in ready))
        yield parts, frozenset(chosen), now != before and bool(ready or before)
        if now == before:
            return
        draft = None
        if ready:
            spec = self.spec("draft", ready).model_copy(update={"name": name})
            draft = self._make(spec, control.cancelled)
        yield now, draft

    def _on_found(self, result: Any) -> None:
        if len(result) == 3:
            self.parts, self.chosen, self.is_stale = result
            self.is_known = True
        else:
            (self._of, self.draft), self.error, self.is_stale = result, None, False
        self.changed.emit()

    def _on_failed(self, error: InputError) -> None:
        self._of, self.draft, self.error, self.is_busy = None, None, error, False
        self.is_known, self.is_stale = True, False
        self.changed.emit()

    def _on_done(self) -> None:
        self.is_busy = False
        self.changed.emit()
