"""A line for a path, with buttons that choose it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtWidgets import QLineEdit, QToolButton

from cleanclip_gui import theme
from cleanclip_gui.widgets.prompts import Prompts


class PathEdit(QLineEdit):
    """Edits a path; a file that is dropped on it is left to the page.

    Parameters
    ----------
    title
        Accessible name.
    hint
        Shown while the line is empty.
    """

    def __init__(self, title: str = "", hint: str = "") -> None:
        super().__init__()
        self.setAccessibleName(title)
        self.setPlaceholderText(hint)
        self.setAcceptDrops(False)  # it would write down the file's address

    def path(self) -> str:
        """What is typed, without spaces around it, and without what no path can hold."""
        return self.text().replace("\0", "").strip()

    def absolute(self) -> str:
        """The same as an absolute path; empty if nothing is typed."""
        path = self.path()
        return str(Path(path).absolute()) if path else ""

    def browse(self, icon: str, title: str, ask: Callable[[str], str]) -> QToolButton:
        """Return a button whose dialog takes the present path and returns a new one or nothing."""
        button = tool(icon, title)
        button.clicked.connect(lambda: self.choose(ask))
        return button

    def asking(self, prompts: Prompts, title: str, kinds: str = "") -> QToolButton:
        """A button that asks for a file of some kinds, or for a folder."""
        if kinds:
            return self.browse("open", title, lambda at: prompts.open_file(self, title, at, kinds))
        return self.browse("folder", title, lambda at: prompts.open_folder(self, title, at))

    def choose(self, ask: Callable[[str], str]) -> None:
        """Ask for another path; an empty answer changes nothing."""
        if chosen := ask(self.text()):
            self.setText(chosen)


def tool(icon: str, title: str) -> QToolButton:
    """A small button with an icon and a name."""
    button = QToolButton()
    button.setIcon(theme.icon(icon))
    button.setToolTip(title)
    button.setAccessibleName(title)
    return button
