"""Questions to the user, in one place, so that tests can answer them; saving a chart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import (
    QBuffer,
    QIODevice,
    QObject,
    QPoint,
    QStandardPaths,
    Qt,
    QUrl,
    SignalInstance,
)
from PySide6.QtGui import QDesktopServices, QPainter
from PySide6.QtWidgets import (
    QFileDialog,
    QHeaderView,
    QInputDialog,
    QMessageBox,
    QTreeView,
    QWidget,
)

from cleanclip_gui.widgets.name_filters import SAFETENSORS
from cleanclip_gui.widgets.text import plain
from ml_core.exports import save_export
from ml_core.paths import is_shipped
from ml_core.reading.errors import InputError

_WIDE = 900
_ENDING = ".safetensors"


def _open_file(parent: QWidget, title: str, folder: str, name_filter: str) -> str:
    dialog = QFileDialog(parent, title, folder, name_filter)
    dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
    return next(iter(_answer(dialog)), "")


def _open_files(parent: QWidget, title: str, folder: str, name_filter: str) -> list[str]:
    dialog = QFileDialog(parent, title, folder, name_filter)
    dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
    return _answer(dialog)


def _open_folder(parent: QWidget, title: str, folder: str) -> str:
    dialog = QFileDialog(parent, title, folder)
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly)
    return next(iter(_answer(dialog)), "")


def _answer(dialog: QFileDialog) -> list[str]:
    """Show a dialog, and return what was chosen."""
    show_sizes_whole(dialog)
    chosen = dialog.selectedFiles() if dialog.exec() else []
    dialog.deleteLater()
    return chosen


def show_sizes_whole(dialog: QFileDialog) -> None:
    """Let names take what sizes and dates leave in Qt's own dialog; the system's has no columns."""
    tree = dialog.findChild(QTreeView, "treeView")
    if tree is None:
        return
    header = tree.header()
    header.setStretchLastSection(False)
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    dialog.resize(max(_WIDE, dialog.width()), dialog.height())


class _Ending(QObject):
    """Gives a file that is to be saved the ending of the chosen kind."""

    def __init__(self, dialog: QFileDialog) -> None:
        super().__init__(dialog)
        self._dialog = dialog
        dialog.filterSelected.connect(self.follow)
        self.follow(dialog.selectedNameFilter())

    def follow(self, kind: str) -> None:
        """``kind`` is such as ``JSON (*.json)``."""
        ending = kind.rpartition("*")[2].rstrip(")")
        self._dialog.setDefaultSuffix(ending.removeprefix("."))
        for path in self._dialog.selectedFiles():
            self._dialog.selectFile(f"{Path(path).stem}{ending}")


def _save_file(parent: QWidget, title: str, path: str, kinds: str) -> str:
    dialog = QFileDialog(parent, title, str(Path(path).parent), kinds)
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.selectFile(Path(path).name)
    _Ending(dialog)
    return next(iter(_answer(dialog)), "")


def _confirm(parent: QWidget, title: str, text: str, yes: str, no: str) -> bool:
    box = _question(parent, title, text)
    accept = box.addButton(yes, QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton(no, QMessageBox.ButtonRole.RejectRole))
    box.exec()
    return box.clickedButton() is accept


def _save_changes(parent: QWidget, title: str, text: str) -> str:
    box = _question(parent, title, text)
    save = box.addButton("Save", QMessageBox.ButtonRole.AcceptRole)
    discard = box.addButton("Do not save", QMessageBox.ButtonRole.DestructiveRole)
    cancel = box.addButton("Cancel", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(save)
    box.setEscapeButton(cancel)
    box.exec()
    clicked = box.clickedButton()
    return "save" if clicked is save else "discard" if clicked is discard else ""


def _question(parent: QWidget, title: str, text: str) -> QMessageBox:
    box = QMessageBox(QMessageBox.Icon.Question, title, "", parent=parent)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setText(text)
    return box


def _text(parent: QWidget, title: str, label: str, text: str) -> str:
    text, accepted = QInputDialog.getText(parent, title, label, text=text)
    return text if accepted else ""


@dataclass
class Prompts:
    """Asks the user; each method returns the answer, or nothing, "" or False if the user backs out.

    ``save_changes`` answers ``save`` or ``discard``.
    """

    open_file: Callable[[QWidget, str, str, str], str] = _open_file
    open_folder: Callable[[QWidget, str, str], str] = _open_folder
    confirm: Callable[[QWidget, str, str, str, str], bool] = _confirm
    save_file: Callable[[QWidget, str, str, str], str] = _save_file
    open_files: Callable[[QWidget, str, str, str], list[str]] = _open_files
    text: Callable[[QWidget, str, str, str], str] = _text
    save_changes: Callable[[QWidget, str, str], str] = _save_changes


def file_prompts(checkpoints: Callable[[], str]) -> Prompts:
    """Prompts whose file dialogs never begin among the files of the program.

    Where the caller names no folder of the user's, a dialog that opens begins where the last such
    one was answered; the first one, and all that save, in the folder ``checkpoints``.
    """
    last = ""

    def usual() -> str:
        documents = QStandardPaths.StandardLocation.DocumentsLocation
        where = checkpoints() or QStandardPaths.writableLocation(documents)
        return where if Path(where).is_dir() else str(Path.home())

    def is_users(path: str) -> bool:
        return Path(path).is_absolute() and not is_shipped(path)

    def opening(ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(parent: QWidget, title: str, folder: str, *kinds: str) -> Any:
            nonlocal last
            is_named = is_users(folder)
            answer = ask(parent, title, folder if is_named else last or usual(), *kinds)
            if answer and not is_named:
                last = str(Path(answer if isinstance(answer, str) else answer[0]).parent)
            return answer

        return asked

    def save_file(parent: QWidget, title: str, path: str, kinds: str) -> str:
        path = path if is_users(path) else str(Path(usual(), Path(path).name))
        return _save_file(parent, title, path, kinds)

    return Prompts(
        opening(_open_file), opening(_open_folder),
        save_file=save_file, open_files=opening(_open_files),
    )  # fmt: skip


def show_on_desktop(path: Path, failed: SignalInstance) -> None:
    """Open a file with its usual program, or a folder; without one, ``failed`` says where it is."""
    if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(path))):
        error = InputError(f"No program opens it here. It lies at {path}.")
        failed.emit(error.titled(f"Could not show {plain(path.name, 80)}"))


def save_chart(chart: QWidget, csv: Callable[[], str], path: Path) -> None:
    """Write by the suffix of ``path``.

    Raises
    ------
    InputError
        If the suffix is not supported or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".png", ".svg", ".csv"):
        raise InputError(f"{path.name}: choose a name that ends in .png, .svg or .csv.")
    if suffix == ".csv":
        content = csv().encode()
    else:
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        if suffix == ".svg":
            _draw_svg(chart, buffer)
        else:
            chart.grab().save(buffer, "PNG")
        content = bytes(buffer.data().data())
    save_export(path, content)


def _draw_svg(chart: QWidget, buffer: QBuffer) -> None:
    """Draw the widget as SVG."""
    from PySide6.QtSvg import QSvgGenerator

    generator = QSvgGenerator()
    generator.setOutputDevice(buffer)
    generator.setSize(chart.size())
    generator.setViewBox(chart.rect())
    generator.setTitle(chart.accessibleName())
    painter = QPainter(generator)
    chart.render(painter, QPoint())
    painter.end()


@contextmanager
def failing(signal: SignalInstance, title: str) -> Iterator[None]:
    """Send an InputError of the block to a signal, under a title such as "Could not save"."""
    try:
        yield
    except InputError as error:
        signal.emit(error.titled(title))


def ask_safetensors(prompts: Prompts, parent: QWidget, title: str, name: str) -> Path | None:
    """Where to write; ask about replacing a file if the dialog could not, as it got no ending."""
    chosen = prompts.save_file(parent, title, name, SAFETENSORS)
    if not chosen or chosen.lower().endswith(_ENDING):
        return Path(chosen) if chosen else None
    target = Path(f"{chosen}{_ENDING}")
    question = f"{plain(target.name, 80)} exists already. Write over it?"
    if target.exists() and not prompts.confirm(parent, title, question, "Write over it", "Cancel"):
        return None
    return target
