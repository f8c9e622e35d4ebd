"""The frame of a dialog that asks for something: a title, its parts, and the buttons below."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtWidgets import QDialog, QFormLayout, QLayout, QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label, push_button
from cleanclip_gui.widgets.layout import column, row

_FRAME = QSize(16, 48)  # of the desktop, around a dialog
_FITTED_AT = (QEvent.Type.LayoutRequest, QEvent.Type.Show, QEvent.Type.Resize)


class ClosingDialog(QDialog):
    """A dialog under a title that is deleted when it closes."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)


class FittedDialog(ClosingDialog):
    """A dialog as high as its parts at its width, also when they change.

    A layout alone underestimates the height of wrapped text.
    """

    def event(self, event: QEvent) -> bool:
        """Take the height that the parts need by now."""
        if event.type() not in _FITTED_AT:  # one of the others deletes the dialog
            return super().event(event)
        done, layout = super().event(event), self.layout()
        if layout is not None:
            self.setFixedHeight(layout.totalHeightForWidth(self.width()))
            room = self.screen().availableGeometry()
            below = self.frameGeometry().bottom() - room.bottom()
            if below > 0:  # it has grown
                self.move(self.x(), max(self.y() - below, room.top()))
        return done


def resize_within(dialog: QWidget, width: int, height: int) -> None:
    """Take a size in pixels at 100 %, or as much of it as the screen has."""
    room = dialog.screen().availableSize() - _FRAME
    dialog.resize(QSize(theme.px(width), theme.px(height)).boundedTo(room))


def primary_button(text: str, clicked: Callable[[], object]) -> QPushButton:
    """The button that does what the dialog is for; Enter presses it."""
    button = push_button(text, clicked, look="primary")
    button.setDefault(True)
    return button


def field_form() -> QFormLayout:
    """Labels and fields in two columns."""
    form = QFormLayout(horizontalSpacing=theme.SPACE_L, verticalSpacing=theme.SPACE_S)
    return form


def frame(
    dialog: QDialog,
    title: str,
    parts: Sequence[QWidget | QLayout | None],
    ok: QPushButton,
    otherwise: str = "Cancel",
    aside: QPushButton | None = None,
) -> None:
    """Lay a dialog out: title, parts, and a row with ``ok`` and one that rejects.

    A part None is a stretch; ``aside`` is a button at the other end of the row.
    """
    cancel = push_button(otherwise, dialog.reject)
    buttons = row(*([] if aside is None else [aside]), None, cancel, ok)
    column(
        Label(title, "title"), *parts, buttons, of=dialog,
        margins=theme.SPACE_XL, spacing=theme.SPACE_M,
    )  # fmt: skip
