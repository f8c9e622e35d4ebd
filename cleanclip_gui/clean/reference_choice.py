"""The clean checkpoint that some methods compare with or mix in."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.dropped_files import local_paths
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.name_filters import CHECKPOINTS
from cleanclip_gui.widgets.path_edit import PathEdit
from cleanclip_gui.widgets.prompts import Prompts

HELP = (
    "A checkpoint of the same architecture that you know to be clean, such as the vendor's own. "
    "Drop a file here."
)


class ReferenceChoice(QWidget):
    """A path with a button; a checkpoint can be dropped on it."""

    changed = Signal()

    def __init__(self, prompts: Prompts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAcceptDrops(True)
        self.edit = PathEdit("Clean reference checkpoint", "Checkpoint file or folder")
        self.browse = self.edit.browse(
            "open", "Choose the clean reference",
            lambda path: prompts.open_file(self, "Clean reference checkpoint", path, CHECKPOINTS),
        )  # fmt: skip
        column(
            Label("Clean reference", buddy=self.edit),
            row((self.edit, 1), self.browse, spacing=theme.SPACE_XS),
            Label(HELP, "caption", wrap=True), of=self, spacing=theme.SPACE_XS,
        )  # fmt: skip
        self.edit.textChanged.connect(self.changed)

    def path(self) -> str:
        """What is named, absolute; empty if nothing is."""
        path = self.edit.path()
        return str(Path(path).absolute()) if path else ""

    def set_path(self, path: str) -> None:
        """Name another one."""
        self.edit.setText(path)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take whatever file or folder comes; what it is shows when it is opened."""
        if self.isVisible() and local_paths(event.mimeData()):
            event.acceptProposedAction()
        else:
            event.ignore()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Name what was dropped."""
        if not self.isVisible():
            event.ignore()
            return
        for path in local_paths(event.mimeData())[:1]:
            event.acceptProposedAction()
            self.set_path(str(path))
