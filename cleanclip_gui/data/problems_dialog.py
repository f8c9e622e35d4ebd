"""What was left out of a set of images, line by line."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QPlainTextEdit, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.action_button import push_button
from cleanclip_gui.widgets.dialog_frame import resize_within
from cleanclip_gui.widgets.label import Label, named
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.text import plain


class ProblemsDialog(QDialog):
    """Reads only; closing it is all that there is to do."""

    def __init__(self, name: str, problems: Sequence[str], parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Left out")
        view = named(
            QPlainTextEdit("\n".join(plain(text) for text in problems)), "What was left out"
        )
        view.setReadOnly(True)
        close = push_button("Close", self.accept)
        column(
            Label(f"Left out of {plain(name, 80)}", "title"), view,
            (close, Qt.AlignmentFlag.AlignRight),
            of=self, margins=theme.SPACE_XL, spacing=theme.SPACE_M,
        )  # fmt: skip
        resize_within(self, 620, 380)
