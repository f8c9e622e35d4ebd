"""Questions to the user, in one place, so that tests can answer them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QMessageBox, QWidget


def _open_file(parent: QWidget, title: str, folder: str, name_filter: str) -> str:
    return QFileDialog.getOpenFileName(parent, title, folder, name_filter)[0]


def _open_folder(parent: QWidget, title: str, folder: str) -> str:
    return QFileDialog.getExistingDirectory(parent, title, folder)


def _confirm(parent: QWidget, title: str, text: str, yes: str, no: str) -> bool:
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle(title)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setText(text)
    accept = box.addButton(yes, QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton(no, QMessageBox.ButtonRole.RejectRole))
    box.exec()
    return box.clickedButton() is accept


@dataclass
class Prompts:
    """Each returns the answer; an empty string or False when the user backs out."""

    open_file: Callable[[QWidget, str, str, str], str] = _open_file
    open_folder: Callable[[QWidget, str, str], str] = _open_folder
    confirm: Callable[[QWidget, str, str, str, str], bool] = _confirm
