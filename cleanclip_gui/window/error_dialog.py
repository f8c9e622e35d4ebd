"""One sentence about what went wrong; details on demand, to copy."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QPlainTextEdit, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.action_button import push_button
from cleanclip_gui.widgets.dialog_frame import resize_within
from cleanclip_gui.widgets.label import Label, named
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import plain


class ErrorDialog(QDialog):
    """Shown with ``open()``; deletes itself when closed."""

    def __init__(
        self,
        sentence: str,
        details: str = "",
        *,
        title: str = "This could not be done",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.sentence = plain(sentence, 1000)
        self._details = plain(details, 50_000, lines=True)

        picture = named(Label(), "Warning")
        picture.setPixmap(theme.icon("warning").pixmap(theme.px(28), theme.px(28)))
        heading = Label(title, "heading")
        self.label = named(Label(self.sentence), "What went wrong")
        self.label.setWordWrap(True)
        self.label.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.details = named(QPlainTextEdit(self._details), "Details")
        self.details.setReadOnly(True)
        self.details.setTabChangesFocus(True)
        self.details.setMinimumHeight(4 * self.details.fontMetrics().lineSpacing())
        self.details.hide()

        self.toggle = push_button("Show details", self._on_toggled, look="quiet")
        self.toggle.setVisible(bool(self._details))
        copy = push_button("Copy", self.copy, icon="copy", name="Copy the message and its details")
        close = push_button("Close", self.accept, look="primary")
        close.setDefault(True)

        layout = column(
            row(
                (picture, Qt.AlignmentFlag.AlignTop),
                (column(heading, self.label, spacing=theme.SPACE_S), 1), spacing=theme.SPACE_L,
            ),
            (self.details, 1), row(self.toggle, None, copy, close),
            of=self, margins=theme.SPACE_XL, spacing=theme.SPACE_L,
        )  # fmt: skip
        self._column = layout
        self.setMinimumWidth(theme.px(520))
        close.setFocus()

    def copy(self) -> None:
        """Put sentence and details on the clipboard."""
        QGuiApplication.clipboard().setText(f"{self.sentence}\n\n{self._details}".strip())

    def _on_toggled(self) -> None:
        shown = not self.details.isVisible()
        self.details.setVisible(shown)
        self.toggle.setText("Hide details" if shown else "Show details")
        self._fit()

    def _fit(self) -> None:
        """As high as the parts want to be and the screen lets them, and all of it on the screen."""
        width = max(self.width(), self.minimumWidth())
        resize_within(self, width, self._column.totalHeightForWidth(width))
        below = self.frameGeometry().bottom() - self.screen().availableGeometry().bottom()
        if below > 0:
            self.move(self.x(), self.y() - below)
