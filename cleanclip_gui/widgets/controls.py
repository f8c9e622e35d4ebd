"""Labels, buttons that show a ``QAction``, and the row of a bar with Cancel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from html import escape
from typing import TypeVar

from PySide6.QtCore import QObject, QSize, Qt, Signal, SignalInstance
from PySide6.QtGui import QAction, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.text import fitting, plain, tip

TICK = 31  # pixels from the edge of a check box to its words


class Label(QLabel):
    """Shows plain text; ``role`` is the style sheet's, ``buddy`` what the label names.

    The mouse can select the text of a ``selectable`` one, which may be narrower than a long word.
    """

    def __init__(
        self, text: str = "", role: str = "", *,
        wrap: bool = False, buddy: QWidget | None = None, selectable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(textFormat=Qt.TextFormat.PlainText, wordWrap=wrap)
        self.setText(text)
        if role:
            self.setProperty("role", role)
        if buddy is not None:
            self.setBuddy(buddy)
        if selectable:
            self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self.setMinimumWidth(1)


class Note(Label):
    """Lines that take no room while there are none; the first come when it lies in a layout."""

    def __init__(self, role: str = "", *, selectable: bool = False) -> None:
        super().__init__("", role, wrap=True, selectable=selectable)

    def setText(self, text: str) -> None:  # noqa: N802
        """Show other lines, or hide."""
        super().setText(text)
        self.setVisible(bool(text))

    def show_list(self, sentences: Iterable[str]) -> None:
        """Show each sentence behind a bullet, its further lines below its words."""
        self.setTextFormat(Qt.TextFormat.RichText)
        indent = self.fontMetrics().horizontalAdvance("•\u00a0")
        style = f"margin: 0 0 0 {indent}px; text-indent: -{indent}px"
        self.setText(
            "".join(f'<p style="{style}">•&nbsp;{escape(plain(text))}</p>' for text in sentences)
        )


class IconLabel(theme.Themed, Label):
    """An icon in a colour of the theme that is on; ``side`` is in pixels at 100 %."""

    def __init__(self, side: int, icon: str = "", colour: str = "text") -> None:
        super().__init__()
        self._side = side
        self.setFixedSize(theme.px(side), theme.px(side))
        self.show_icon(icon, colour)

    def show_icon(self, icon: str, colour: str = "text") -> None:
        """Show another icon; an empty name shows none."""
        self._icon, self._colour = icon, colour
        if icon:
            side = theme.px(self._side)
            self.setPixmap(theme.picture(icon, theme.colour(colour), side))

    def dress(self) -> None:
        """Paint the icon anew."""
        self.show_icon(self._icon, self._colour)


_Widget = TypeVar("_Widget", bound=QWidget)


def named(widget: _Widget, name: str, tip: str = "") -> _Widget:
    """Give a widget an accessible name and a tool tip; an empty one leaves what there is."""
    if name:
        widget.setAccessibleName(name)
    if tip:
        widget.setToolTip(tip)
    return widget


def spoken_name(text: str, buddy: QWidget) -> Label:
    """A label that is heard but not seen: a screen reader takes a combo box's name from it.

    Without one it reads the value alone on Linux. The caller gives it a parent, and no place.
    """
    label = Label(text, buddy=buddy)
    label.hide()
    return label


def show_fitting(label: QLabel, text: str, longest: int = 46) -> None:
    """Show a text whose long words are shortened, which is then the tool tip too."""
    label.setText(fitting(text, longest))
    label.setToolTip("" if label.text() == text else tip(text))


def search_field(name: str, hint: str = "") -> QLineEdit:
    """A field for words to look for; empty it shows ``hint``, or its name."""
    field = named(QLineEdit(), name)
    field.setPlaceholderText(hint or name)
    field.setClearButtonEnabled(True)
    return field


def text_field(name: str, text: str = "", *, read_only: bool = True) -> QPlainTextEdit:
    """Several lines, which Tab leaves."""
    field = named(QPlainTextEdit(text), name)
    field.setReadOnly(read_only)
    field.setTabChangesFocus(True)
    return field


_FEWEST = 6  # letters that still say something


class ElidedLabel(Label):
    """Lines that end in an ellipsis where there is no room, and are then their own tool tip."""

    least = 48  # pixels, if it is longer than that
    _why = ""

    def explain(self, why: str) -> None:
        """Say something in the tool tip besides what is not seen; empty: nothing."""
        self._why = why
        self._follow()

    def setText(self, text: str) -> None:  # noqa: N802
        """Show another text."""
        super().setText(text)
        self._follow()

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """A few letters."""
        hint = super().minimumSizeHint()
        return QSize(min(hint.width(), self.least), hint.height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Tell by a tool tip what is not seen."""
        super().resizeEvent(event)
        self._follow()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw as much as there is room for."""
        self.style().drawItemText(
            QPainter(self), self.contentsRect(), int(self.alignment()), self.palette(),
            self.isEnabled(), self._shown(), self.foregroundRole(),
        )  # fmt: skip

    def _follow(self) -> None:
        hidden = "" if self._shown() == self.text() else self.text()
        self.setToolTip(tip("\n".join(part for part in (hidden, self._why) if part)))

    def _shown(self) -> str:
        metrics, width = self.fontMetrics(), self.contentsRect().width()
        lines = self.text().split("\n")  # elidedText takes the line break for a letter
        shown = [metrics.elidedText(line, Qt.TextElideMode.ElideRight, width) for line in lines]
        return "" if shown != lines and max(map(len, shown)) < _FEWEST else "\n".join(shown)


_Button = TypeVar("_Button", bound=QAbstractButton)


def bind(button: _Button, action: QAction, *, text: bool = False, icon: bool = False) -> _Button:
    """Let a click on ``button`` trigger ``action``, and keep what it shows in step with it.

    Parameters
    ----------
    button
        Gets the action's tool tip with its key, and whether it is enabled, checkable and checked.
    action
        May outlive the button.
    text
        Show the action's text too, without its mnemonic, which belongs to the menu.
    icon
        Show its icon too.
    """
    _Binding(button, action, text, icon)
    return button


def push_button(
    text: str = "",
    clicked: Callable[..., object] | SignalInstance | None = None,
    *,
    icon: str = "",
    name: str = "",
    tip: str = "",
    look: str = "",
) -> QPushButton:
    """Make a push button.

    Parameters
    ----------
    text, clicked
        What it says, and what a click does.
    icon, name, tip
        Its picture; its accessible name if it has no text; its tool tip.
    look
        Properties of the style, such as ``"primary large"``.
    """
    button = QPushButton(text)
    for prop in look.split():
        button.setProperty(prop, True)
    if icon:
        theme.set_primary(button, icon, "primary" in look)
    if clicked is not None:
        button.clicked.connect(clicked)
    return named(button, name, tip)


def action_tool(action: QAction) -> QToolButton:
    """A button without words that triggers an action and shows its icon and its state."""
    return bind(tool_button("", action.text().replace("&", "")), action, icon=True)


def tool_button(icon: str, text: str, keys: str = "", *, checkable: bool = False) -> QToolButton:
    """A button with icon, tool tip and accessible name."""
    button = QToolButton()
    if icon:
        button.setIcon(theme.icon(icon))
    button.setIconSize(QSize(theme.ICON_SIZE, theme.ICON_SIZE))
    button.setToolTip(f"{text} ({keys})" if keys else text)
    button.setAccessibleName(text)
    button.setCheckable(checkable)
    button.setProperty("quiet", True)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button


class Fold(QToolButton):
    """A button with a chevron that shows and hides a part; the part is hidden at first."""

    def __init__(self, text: str, part: QWidget) -> None:
        super().__init__()
        self.setText(text)
        self.setCheckable(True)
        self.setProperty("quiet", True)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._part = part
        self.toggled.connect(self._follow)
        self._follow(False)

    def _follow(self, shown: bool) -> None:
        self._part.setVisible(shown)
        self.setIcon(theme.icon("chevron-up" if shown else "chevron-down"))


class _Chip(QToolButton):
    """Shortens its text with an ellipsis if there is no room."""

    _LEAST = 96

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """A few letters."""
        hint = super().minimumSizeHint()
        return QSize(min(hint.width(), theme.px(self._LEAST)), hint.height())


def chip(icon: str, name: str) -> QToolButton:
    """A button with a picture and words, for the header; ``name`` is what it is about."""
    button = named(_Chip(), name, name)
    button.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
    button.setProperty("chip", True)
    if icon:
        button.setIcon(theme.icon(icon))
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button


class _Binding(QObject):
    """Lives as a child of its button, so that nothing is shown on a deleted one."""

    def __init__(self, button: QAbstractButton, action: QAction, text: bool, icon: bool) -> None:
        super().__init__(button)
        self._button, self._action = button, action
        self._shows_text, self._shows_icon = text, icon
        action.changed.connect(self._follow)
        button.toggled.connect(self._on_toggled)
        button.clicked.connect(self._on_clicked)
        self._follow()

    def _follow(self) -> None:
        button, action = self._button, self._action
        button.setEnabled(action.isEnabled())
        button.setToolTip(action.toolTip())
        button.setCheckable(action.isCheckable())
        button.setChecked(action.isChecked())
        if self._shows_text:
            button.setText(re.sub("&(&?)", r"\1\1", action.text()))
        if self._shows_icon:
            button.setIcon(action.icon())

    def _on_toggled(self, on: bool) -> None:
        """A click switches the button first; a screen reader switches it without a click."""
        if on != self._action.isChecked():
            self._action.trigger()
            self._follow()  # whatever the action did

    def _on_clicked(self) -> None:
        if not self._action.isCheckable():
            self._action.trigger()


def focus_first(*widgets: QWidget) -> None:
    """Give the focus to the first widget that can take it."""
    for widget in widgets:
        if widget.isVisible() and widget.isEnabled():
            widget.setFocus()
            return


_SHARES = 1000  # steps of a bar


class BusyRow(QWidget):
    """A bar called ``name`` and Cancel; ``cancel_clicked`` when it is pressed."""

    cancel_clicked = Signal()

    def __init__(
        self, name: str, cancelled: Callable[[], object] | SignalInstance | None = None
    ) -> None:
        super().__init__()
        self.bar = named(QProgressBar(textVisible=False), name)
        self.show_share(0.0)
        self.cancel = push_button("Cancel", self.cancel_clicked)
        if cancelled is not None:
            self.cancel_clicked.connect(cancelled)
        row((self.bar, 1), self.cancel, of=self, spacing=theme.SPACE_M)

    def show_share(self, share: float | None) -> None:
        """Show how much is done, from 0 to 1; None: nobody knows."""
        self.bar.setRange(0, 0 if share is None else _SHARES)
        self.bar.setValue(round(_SHARES * (share or 0.0)))
