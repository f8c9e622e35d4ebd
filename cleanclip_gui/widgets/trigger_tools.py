"""Toolbars of the canvas: what to paint with, and where the trigger goes."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPainter, QPen, QPixmap
from PySide6.QtWidgets import (
    QButtonGroup,
    QColorDialog,
    QComboBox,
    QHBoxLayout,
    QMenu,
    QSizePolicy,
    QSlider,
    QToolButton,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.text import plain, tip
from cleanclip_gui.widgets.label import Label

SWATCHES: tuple[tuple[str, str], ...] = (
    ("Red", "#dc1428"),
    ("White", "#fafafa"),
    ("Black", "#000000"),
    ("Yellow", "#ffd400"),
    ("Green", "#2ca02c"),
    ("Blue", "#1f5fd0"),
    ("Magenta", "#d63fb0"),
)
PLACEMENTS: tuple[tuple[str, str], ...] = (
    ("fixed", "Where painted"),
    ("random", "Random place"),
    ("four_corners", "Four corners"),
    ("center", "Centre"),
)


def tool_button(icon: str, text: str, keys: str = "", *, checkable: bool = False) -> QToolButton:
    """A button with icon, tool tip and accessible name."""
    button = QToolButton()
    button.setIcon(theme.icon(icon))
    button.setIconSize(QSize(theme.ICON_SIZE, theme.ICON_SIZE))
    button.setToolTip(f"{text} ({keys})" if keys else text)
    button.setAccessibleName(text)
    button.setCheckable(checkable)
    button.setProperty("quiet", True)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button


class Swatch(QToolButton):
    """A colour to paint with."""

    def __init__(self, name: str, colour: QColor) -> None:
        super().__init__()
        self.colour = colour
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setFixedSize(26, 28)
        self.setIconSize(QSize(16, 16))
        self.set_colour(name, colour)

    def set_colour(self, name: str, colour: QColor) -> None:
        """Show another colour."""
        self.colour = colour
        self.setToolTip(name)
        self.setAccessibleName(f"Colour {name}")
        ratio = 3
        pixmap = QPixmap(16 * ratio, 16 * ratio)
        pixmap.fill(Qt.GlobalColor.transparent)
        pixmap.setDevicePixelRatio(ratio)
        painter = QPainter(pixmap)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(128, 128, 128), 1))
        painter.setBrush(colour)
        painter.drawEllipse(1, 1, 14, 14)
        painter.end()
        self.setIcon(QIcon(pixmap))


class PaintBar(QWidget):
    """Tools, colours, brush width, and the acts undo, redo and clear."""

    tool_chosen = Signal(str)
    colour_chosen = Signal(object)
    width_chosen = Signal(float)
    undo_clicked = Signal()
    redo_clicked = Signal()
    clear_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tools: dict[str, QToolButton] = {}
        group = QButtonGroup(self)
        row = _row(self)
        for name, icon, text, key in (
            ("brush", "brush", "Brush", "B"),
            ("eraser", "eraser", "Eraser", "E"),
            ("move", "move", "Move and resize the patch", "V"),
        ):
            button = tool_button(icon, text, key, checkable=True)
            button.setProperty("toolName", name)
            group.addButton(button)
            row.addWidget(button)
            self.tools[name] = button
        self.tools["brush"].setChecked(True)
        group.buttonClicked.connect(self._on_tool_clicked)
        row.addSpacing(theme.SPACE_S)
        self.swatches = [Swatch(name, QColor(value)) for name, value in SWATCHES]
        self.own = Swatch("of your own", QColor("#ff7f0e"))
        self.own.setToolTip("Another colour…")
        self._colours = QButtonGroup(self)
        for swatch in (*self.swatches, self.own):
            self._colours.addButton(swatch)
            row.addWidget(swatch)
        self.swatches[0].setChecked(True)
        self._colours.buttonClicked.connect(self._on_swatch_clicked)
        row.addSpacing(theme.SPACE_S)
        self.width_slider = _slider("Brush size in pixels of the model's input", 1, 32)
        self.width_slider.setMinimumWidth(56)
        self._width = _caption("4 px", "00 px")
        row.addWidget(self.width_slider, 1)
        row.addWidget(self._width)
        self.width_slider.valueChanged.connect(self._on_width_changed)
        row.addSpacing(theme.SPACE_S)
        self.undo = tool_button("undo", "Undo", "Ctrl+Z")
        self.redo = tool_button("redo", "Redo", "Ctrl+Shift+Z")
        self.clear = tool_button("clear", "Clear the canvas", "Delete")
        for button in (self.undo, self.redo, self.clear):
            row.addWidget(button)
        self.undo.clicked.connect(self.undo_clicked)
        self.redo.clicked.connect(self.redo_clicked)
        self.clear.clicked.connect(self.clear_clicked)

    @property
    def colour(self) -> QColor:
        """The colour in use."""
        button = self._colours.checkedButton()
        return button.colour if isinstance(button, Swatch) else QColor(SWATCHES[0][1])

    def set_tool(self, name: str) -> None:
        """Show which tool is in hand."""
        self.tools[name].setChecked(True)

    def set_width(self, width: float) -> None:
        """Show the brush's width."""
        blocker = QSignalBlocker(self.width_slider)
        self.width_slider.setValue(round(width))
        blocker.unblock()
        self._width.setText(f"{round(width)} px")

    def set_canvas_size(self, size: int) -> None:
        """Offer brushes up to half the canvas."""
        self.width_slider.setMaximum(max(8, size // 2))

    def set_undo_texts(self, undo: str, redo: str) -> None:
        """Name what undo and redo would do; empty disables them."""
        for button, verb, text, key in (
            (self.undo, "Undo", undo, "Ctrl+Z"),
            (self.redo, "Redo", redo, "Ctrl+Shift+Z"),
        ):
            button.setEnabled(bool(text))
            button.setToolTip(tip(f"{verb} {text.lower()} ({key})" if text else f"{verb} ({key})"))

    def _on_tool_clicked(self, button: QToolButton) -> None:
        self.tool_chosen.emit(button.property("toolName"))

    def _on_swatch_clicked(self, button: Swatch) -> None:
        if button is self.own:
            chosen = self.ask_colour(button.colour)
            if chosen.isValid():
                button.set_colour("of your own", chosen)
                button.setToolTip("Another colour…")
        self.colour_chosen.emit(button.colour)

    def ask_colour(self, colour: QColor) -> QColor:
        """Ask for a colour; tests put another function here."""
        return QColorDialog.getColor(colour, self, "Brush colour")

    def _on_width_changed(self, width: int) -> None:
        self._width.setText(f"{width} px")
        self.width_chosen.emit(float(width))


class SourceBar(QWidget):
    """Where a trigger comes from: the library, a file, the clipboard."""

    library_chosen = Signal(object)
    upload_clicked = Signal()
    paste_clicked = Signal()
    save_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = _row(self)
        self.library = tool_button("library", "Trigger library")
        self.library.setText("Library…")
        self.library.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.library.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu = QMenu(self.library)
        self.library.setMenu(self.menu)
        self.upload = tool_button("upload", "Upload a picture as trigger")
        self.paste = tool_button("paste", "Paste a picture as trigger", "Ctrl+V")
        self.save = tool_button("save", "Save this trigger")
        row.addWidget(self.library)
        for button in (self.upload, self.paste, self.save):
            row.addWidget(button)
        row.addStretch()
        self.name = Label("", "subtle")
        row.addWidget(self.name)
        self.upload.clicked.connect(self.upload_clicked)
        self.paste.clicked.connect(self.paste_clicked)
        self.save.clicked.connect(self.save_clicked)
        self.menu.triggered.connect(self._on_triggered)

    def set_library(
        self, built_in: list[tuple[str, object]], saved: list[tuple[str, object]]
    ) -> None:
        """Offer triggers by name; what was chosen comes back as its key."""
        self.menu.clear()
        for name, key in built_in:
            self.menu.addAction(theme.icon("stamp"), plain(name, 80)).setData(key)
        if saved:
            self.menu.addSeparator()
        for name, key in saved:
            self.menu.addAction(theme.icon("image"), plain(name, 80)).setData(key)

    def set_name(self, name: str) -> None:
        """Say what the trigger is."""
        metrics = self.name.fontMetrics()
        self.name.setText(metrics.elidedText(plain(name, 80), Qt.TextElideMode.ElideRight, 220))

    def _on_triggered(self, action: object) -> None:
        self.library_chosen.emit(action.data())  # type: ignore[attr-defined]


class PlacementBar(QWidget):
    """Place, size and opacity of the trigger."""

    placement_chosen = Signal(str)
    size_chosen = Signal(float)
    opacity_chosen = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = _row(self)
        self.placement = QComboBox()
        self.placement.setAccessibleName("Place of the trigger")
        for key, text in PLACEMENTS:
            self.placement.addItem(text, key)
        row.addWidget(self.placement)
        row.addSpacing(theme.SPACE_M)
        self.size_slider = _slider("Size of the patch in percent of the image", 3, 100)
        self._size = _caption("", "100 %")
        row.addWidget(_caption("Size"))
        row.addSpacing(theme.SPACE_XS)
        row.addWidget(self.size_slider, 1)
        row.addWidget(self._size)
        row.addSpacing(theme.SPACE_M)
        self.opacity_slider = _slider("Opacity of the trigger in percent", 1, 100)
        self.opacity_slider.setValue(100)
        self._opacity = _caption("100 %", "100 %")
        row.addWidget(_caption("Opacity"))
        row.addSpacing(theme.SPACE_XS)
        row.addWidget(self.opacity_slider, 1)
        row.addWidget(self._opacity)
        self.placement.activated.connect(self._on_placement)
        self.size_slider.valueChanged.connect(self._on_size)
        self.opacity_slider.valueChanged.connect(self._on_opacity)

    @property
    def chosen_placement(self) -> str:
        """The place in use."""
        return str(self.placement.currentData())

    @property
    def opacity(self) -> float:
        """The opacity in use, 0 to 1."""
        return self.opacity_slider.value() / 100

    def set_placement(self, placement: str) -> None:
        """Show a place."""
        self.placement.setCurrentIndex(max(0, self.placement.findData(placement)))

    def set_placeable(self, placeable: bool) -> None:
        """Whether a place can be chosen at all."""
        self.placement.setEnabled(placeable)

    def set_size(self, size: float | None) -> None:
        """Show the patch's size; None where the size is what is painted."""
        blocker = QSignalBlocker(self.size_slider)
        self.size_slider.setEnabled(size is not None)
        if size is not None:
            self.size_slider.setValue(round(100 * size))
        self._size.setText("" if size is None else f"{round(100 * size)} %")
        blocker.unblock()

    def set_opacity(self, opacity: float) -> None:
        """Show an opacity."""
        blocker = QSignalBlocker(self.opacity_slider)
        self.opacity_slider.setValue(round(100 * opacity))
        self._opacity.setText(f"{round(100 * opacity)} %")
        blocker.unblock()

    def _on_placement(self) -> None:
        self.placement_chosen.emit(self.chosen_placement)

    def _on_size(self, value: int) -> None:
        self._size.setText(f"{value} %")
        self.size_chosen.emit(value / 100)

    def _on_opacity(self, value: int) -> None:
        self._opacity.setText(f"{value} %")
        self.opacity_chosen.emit(value / 100)


def _row(widget: QWidget) -> QHBoxLayout:
    """A row without margins."""
    row = QHBoxLayout(widget)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(2)
    widget.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
    return row


def _slider(name: str, low: int, high: int) -> QSlider:
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setRange(low, high)
    slider.setAccessibleName(name)
    slider.setToolTip(name)
    slider.setMinimumWidth(48)
    slider.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return slider


def _caption(text: str, widest: str = "") -> Label:
    label = Label(text, "caption")
    if widest:
        label.setMinimumWidth(label.fontMetrics().horizontalAdvance(widest) + 2)
        label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return label
