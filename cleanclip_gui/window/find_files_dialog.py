"""Asks where the files of a session are, and makes sure that they are the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.jobs import tasks
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.dialog_frame import frame, primary_button, resize_within
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.name_filters import ALL, CHECKPOINTS
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain, plural
from ml_core.data.specs import ImageSpec
from ml_core.reading.errors import InputError
from ml_core.reports.sessions.record import FileFacts, SavedSession
from ml_core.reports.sessions.same_file import check_same, mark_of

Why = Literal["missing", "changed", "unasked", "nowhere"]
_TELLS = {
    "missing": "It is no longer there: {}",
    "changed": "It has changed since the session was saved.",
    "unasked": "The session says that it is here: {}",
    "nowhere": "The bundle does not say where it is.",
}
_MAY_CHANGE = ("class list", "evaluation images", "run", "scan")


@dataclass(frozen=True)
class FileToFind:
    """A file that cannot be opened from its place unasked, and why."""

    path: str
    what: str
    facts: FileFacts
    why: Why


def files_to_find(session: SavedSession, is_own: bool) -> tuple[FileToFind, ...]:
    """Files of a session that are not where they were, or not as they were.

    Nothing that a session of another machine names is looked at: all its files are to be found.
    """
    found = []
    for path, what in session.outside.items():
        facts = session.files.get(path, FileFacts())
        why: Why | None = None
        if not is_own:
            why = "unasked" if Path(path).is_absolute() else "nowhere"
        elif not Path(path).exists():
            why = "missing"
        elif facts.mark and facts.mark != mark_of(path, facts.inside):
            why = "changed" if facts.digest or what not in _MAY_CHANGE else None
        if why is not None:
            found.append(FileToFind(path, what, facts, why))
    return tuple(found)


class FindFilesDialog(QDialog):
    """Lists the files that are to be found, each with buttons to choose it or leave it out.

    What is chosen is compared by its hash with what the session was saved with. ``answered(dict)``
    carries the new place of each path, empty for what is left out. Once one was found in another
    folder, the others are looked for in the same way from there.

    Parameters
    ----------
    name
        Of the session.
    session
        What it names.
    files
        Those to be found.
    prompts
        Ask for files.
    """

    answered = Signal(object)

    def __init__(
        self,
        name: str,
        session: SavedSession,
        files: Sequence[FileToFind],
        prompts: Prompts,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Find the files of the session")
        self._asked = False
        self.rows = [_Row(one, session, prompts) for one in files]
        is_foreign = any(one.why in ("unasked", "nowhere") for one in files)
        lead = (
            "It was saved on another machine, or changed since: nothing that it names is opened "
            "before you say so. "
            if is_foreign
            else ""
        )
        lead += "Each file must have the hash of the one that was open."
        listed = QWidget()
        column = QVBoxLayout(listed)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.SPACE_S)
        for row in self.rows:
            column.addWidget(row)
            row.settled.connect(self._on_settled)
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(listed)
        self.state = Label("", "subtle", wrap=True)
        self.open_button = primary_button("Open session")
        self.open_button.clicked.connect(self._on_open_clicked)
        self.rest = QPushButton("Leave out the rest")
        self.rest.clicked.connect(self._on_rest_clicked)
        frame(
            self,
            f"Where are the files of {plain(name, 60)}?",
            [Label(lead, "subtle", wrap=True), scroll, self.state],
            self.open_button,
            aside=self.rest,
        )
        resize_within(self, 760, 520)
        self._follow()
        for row in self.rows:
            if row.file.why == "changed":
                row.check(row.file.path)

    def done(self, code: int) -> None:
        """Let no check arrive any more."""
        for row in self.rows:
            row.cancel()
        super().done(code)

    @Slot()
    def _on_settled(self) -> None:
        """A row was found, refused or left out."""
        row = self.sender()
        if isinstance(row, _Row) and row.place and row.place != row.file.path:
            self._asked = True
            self._look_beside(row)
        self._follow()
        if not self._asked and all(one.place for one in self.rows):
            self._on_open_clicked()  # all are as they were, though their times say otherwise

    def _look_beside(self, found: _Row) -> None:
        """Look for the others where they would be if all moved together."""
        old, new = Path(found.file.path).parts, Path(found.place).parts
        same = 0
        while same < min(len(old), len(new)) - 1 and old[-1 - same] == new[-1 - same]:
            same += 1
        if not same:
            return
        before, after = old[: len(old) - same], new[: len(new) - same]
        for row in self.rows:
            parts = Path(row.file.path).parts
            if row.is_open and not row.is_checking and parts[: len(before)] == before:
                place = Path(*after, *parts[len(before) :])
                if place.exists():
                    row.check(str(place))

    def _follow(self) -> None:
        left = sum(row.is_open for row in self.rows)
        self.open_button.setEnabled(not left)
        self.rest.setVisible(bool(left))
        out = sum(row.is_left_out for row in self.rows)
        words = f"{plural(left, 'file')} still to be found." if left else ""
        if not left and out:
            words = f"{plural(out, 'file')} left out; the rest opens."
        self.state.setText(words)

    @Slot()
    def _on_rest_clicked(self) -> None:
        self._asked = True
        for row in self.rows:
            if row.is_open:
                row.leave_out()

    @Slot()
    def _on_open_clicked(self) -> None:
        self.answered.emit({row.file.path: row.place for row in self.rows})
        self.accept()


class _Row(QFrame):
    """One file: what it is, what is known of it, and what can be done about it.

    ``settled`` when it was found, refused or left out. ``place`` is where it is, once it is found.
    """

    settled = Signal()

    def __init__(self, file: FileToFind, session: SavedSession, prompts: Prompts) -> None:
        super().__init__()
        self.file, self.place = file, ""
        self.is_left_out = False
        self._prompts = prompts
        self._images: ImageSpec | None = session.images
        self._label_set = session.label_set
        self._ticket: Ticket | None = None
        self._at = ""
        self.setProperty("card", True)
        self.name = plain(Path(file.path).name or file.path, 80)
        title = Label(f"{file.what.capitalize()}: {self.name}", "heading", wrap=True)
        self.state = Label("", "subtle", wrap=True)
        self.here = QPushButton("Open it from there")
        self.choose = QPushButton("Choose…")
        self.out = QPushButton("Leave out")
        for button, words in (
            (self.here, f"Open {self.name} from where the session says"),
            (self.choose, f"Choose {self.name}"),
            (self.out, f"Leave out {self.name}"),
        ):
            button.setAccessibleName(words)
        self.here.setVisible(file.why == "unasked")
        self.here.clicked.connect(self._on_here_clicked)
        self.choose.clicked.connect(self._on_choose_clicked)
        self.out.clicked.connect(self.leave_out)
        texts = QVBoxLayout()
        texts.setSpacing(theme.SPACE_XS)
        texts.addWidget(title)
        texts.addWidget(self.state)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(*(theme.SPACE_M,) * 4)
        layout.setSpacing(theme.SPACE_S)
        layout.addLayout(texts, 1)
        for button in (self.here, self.choose, self.out):
            layout.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        self._say(_TELLS[file.why].format(plain(file.path, 300)))

    @property
    def is_open(self) -> bool:
        """Whether it was neither found nor left out."""
        return not self.place and not self.is_left_out

    @property
    def is_checking(self) -> bool:
        """Whether its hash is being computed."""
        return self._ticket is not None and self._ticket.is_open

    def check(self, path: str) -> None:
        """Compare a file with the session's."""
        self.place, self.is_left_out, self._at = "", False, path
        self._say(f"Computing the hash of {plain(path, 300)}…")
        self._ticket = tasks.run(
            partial(
                _compare, Path(path), self.name, self.file.facts, self._images, self._label_set
            ),
            self._on_same,
            self._on_refused,
            slot="check",
        )
        self.settled.emit()

    @Slot()
    def leave_out(self) -> None:
        """Open the session without it."""
        self.cancel()
        self.place, self.is_left_out = "", True
        self._say("Left out.")
        self.settled.emit()

    def cancel(self) -> None:
        """Let no check arrive any more."""
        if self._ticket is not None:
            self._ticket.cancel()

    def _on_same(self, _: object) -> None:
        self.place = self._at
        self._say(f"Found, and the same: {plain(self._at, 300)}", "success")
        self.settled.emit()

    def _on_refused(self, error: InputError) -> None:
        self._say(plain(error.sentence, 1000), "error")
        self.settled.emit()

    def _say(self, words: str, role: str = "subtle") -> None:
        theme.set_property(self.state, "role", role)
        self.state.setText(words)

    @Slot()
    def _on_here_clicked(self) -> None:
        self.check(self.file.path)

    @Slot()
    def _on_choose_clicked(self) -> None:
        title = f"Where is {self.name}?"
        facts, kind = self.file.facts, self._images.kind if self._images is not None else ""
        is_folder = facts.known_by in ("inside", "names") or (
            self.file.what == "evaluation images" and kind == "folder"
        )
        is_folder = is_folder or (facts.known_by == "weights" and "." not in self.name)
        if is_folder:
            path = self._prompts.open_folder(self, title, "")
        else:
            kinds = CHECKPOINTS if facts.known_by == "weights" else ALL
            path = self._prompts.open_file(self, title, "", kinds)
        if path:
            self.check(path)


def _compare(
    path: Path,
    name: str,
    facts: FileFacts,
    images: ImageSpec | None,
    label_set: str,
    control: tasks.Control,
) -> None:
    check_same(path, name, facts, images, label_set, control.cancelled)
