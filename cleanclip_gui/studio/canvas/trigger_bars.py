"""Toolbars around the canvas: where the trigger comes from, and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import QMimeData, QPoint, QSize, Qt, Signal
from PySide6.QtGui import QAction, QDrag, QIcon, QImage, QMouseEvent, QPainter, QPixmap
from PySide6.QtWidgets import QApplication, QLineEdit, QSizePolicy, QToolButton

from cleanclip_gui import theme
from cleanclip_gui.studio.canvas.option_slider import CompactBar, OptionSlider
from cleanclip_gui.studio.canvas.scene import SLOTS
from cleanclip_gui.studio.canvas.tool_strip import action_button
from cleanclip_gui.widgets.controls import ElidedLabel, Label, bind, named, spoken_name, tool_button
from cleanclip_gui.widgets.number_box import ElidingComboBox
from cleanclip_gui.widgets.text import plain, tip

_SIDE = 28


class TriggerChip(QToolButton):
    """Shows what the canvas holds; a drag takes it along as PNG and JSON.

    ``make_mime`` gives what is dragged, None if there is nothing; ``start_drag`` carries a
    :class:`QDrag` out, for tests.
    """

    def __init__(self, make_mime: Callable[[], QMimeData | None]) -> None:
        super().__init__()
        self._make_mime = make_mime
        self.start_drag: Callable[[QDrag], object] = lambda drag: drag.exec(
            Qt.DropAction.CopyAction
        )
        self._from: QPoint | None = None
        self.setIconSize(QSize(theme.px(_SIDE) - 8, theme.px(_SIDE) - 8))
        self.setProperty("quiet", True)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName("Copy the trigger")
        self.setCursor(Qt.CursorShape.OpenHandCursor)
        self.hide()

    def set_picture(self, picture: QImage | None) -> None:
        """Show the trigger; without one there is nothing to drag, and no chip."""
        self.setVisible(picture is not None)
        if picture is None:
            return
        side = 2 * (theme.px(_SIDE) - 8)
        tile = QPixmap(side, side)
        tile.fill(Qt.GlobalColor.transparent)
        painter = QPainter(tile)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        fitted = picture.size().scaled(side, side, Qt.AspectRatioMode.KeepAspectRatio)
        left, top = (side - fitted.width()) // 2, (side - fitted.height()) // 2
        target = QImage(picture).scaled(
            fitted, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
        painter.drawImage(left, top, target)
        painter.end()
        self.setIcon(QIcon(tile))

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Remember where a drag would begin."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._from = event.position().toPoint()
        super().mousePressEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Begin to drag."""
        at = event.position().toPoint()
        held = event.buttons() & Qt.MouseButton.LeftButton and self._from is not None
        if not held or self._from is None:
            super().mouseMoveEvent(event)
            return
        if (at - self._from).manhattanLength() < QApplication.startDragDistance():
            return
        self._from = None
        self.setDown(False)
        mime = self._make_mime()
        if mime is not None:
            drag = QDrag(self)
            drag.setMimeData(mime)
            drag.setPixmap(self.icon().pixmap(64, 64))
            self.start_drag(drag)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Forget it."""
        self._from = None
        super().mouseReleaseEvent(event)


PLACEMENTS: tuple[tuple[str, str], ...] = (
    ("fixed", "Where painted"),
    ("random", "Random place"),
    ("four_corners", "Four corners"),
    ("center", "Centre"),
)


class SourceBar(CompactBar):
    """Where a trigger comes from: the library, a file, the clipboard; and the two snapshots.

    ``actions`` has the actions of the commands that its buttons show, by their id; ``make_mime``
    gives the trigger that is dragged out of the window, None if there is no trigger.
    """

    def __init__(
        self,
        actions: Mapping[str, QAction],
        make_mime: Callable[[], QMimeData | None],
    ) -> None:
        super().__init__()
        row = self.row
        self.library = action_button(actions["trigger.library"], text=True)
        self.library.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.upload = action_button(actions["trigger.upload"])
        self.paste = action_button(actions["edit.paste"])
        self.save = action_button(actions["trigger.save"])
        self.parameters = action_button(actions["trigger.parameters"])
        self.chip = bind(TriggerChip(make_mime), actions["edit.copy"])
        row.addWidget(self.library)
        for button in (self.upload, self.paste, self.save, self.parameters, self.chip):
            row.addWidget(button)
        row.addSpacing(theme.SPACE_S)
        self.slots: dict[str, QToolButton] = {}
        for slot in SLOTS:
            button = named(QToolButton(), f"Snapshot {slot}")
            button.setText(slot)
            button.setFixedWidth(theme.px(30))
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            bind(button, actions[f"trigger.flip_{slot.lower()}"])
            self.slots[slot] = button
            row.addWidget(button)
        row.addSpacing(theme.SPACE_S)
        self.name = ElidedLabel("", "subtle")
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.name.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.standing = Label("", "badge")
        self.standing.hide()
        row.addWidget(self.name, 1)
        row.addSpacing(theme.SPACE_XS)
        row.addWidget(self.standing)

    def set_name(self, name: str, standing: str = "") -> None:
        """Say what the trigger is, and whether it is the published one."""
        words = plain(standing, 200)
        self.name.setText(plain(name, 80))
        self.standing.setText("rescaled" if words.startswith("rescaled") else words)
        self.standing.setVisible(bool(words))
        self.standing.setToolTip(tip(words))
        theme.set_property(self.standing, "tone", "caution" if "not" in words else "ok")

    def set_compact(self, compact: bool) -> None:
        """Leave out words, or show them again."""
        super().set_compact(compact)
        style = Qt.ToolButtonStyle
        self.library.setToolButtonStyle(
            style.ToolButtonIconOnly if compact else style.ToolButtonTextBesideIcon
        )


class PlacementBar(CompactBar):
    """Place, size and opacity of the trigger, its word for prompts, and its scope."""

    placement_chosen = Signal(str)
    size_chosen = Signal(float)
    opacity_chosen = Signal(float)
    text_chosen = Signal(str)
    scope_chosen = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        row = self.row
        row.setSpacing(theme.SPACE_S)
        self.placement = named(ElidingComboBox(), "Place of the trigger")
        self.placement.setMinimumContentsLength(8)
        for key, text in PLACEMENTS:
            self.placement.addItem(text, key)
        self.size_slider = OptionSlider(
            "Size", "Size of the trigger in percent of the image", 1, 100, "%"
        )
        self.opacity_slider = OptionSlider(
            "Opacity", "Opacity of the trigger in percent", 0, 100, "%"
        )
        self.opacity_slider.set_value(100)
        self.text = named(
            QLineEdit(), "Word for the prompts",
            "Word added to every prompt (dual-key attacks); see Parameters",
        )  # fmt: skip
        self.text.setPlaceholderText("Prompt word")
        self.text.setMaxLength(200)
        self.text.setMinimumWidth(theme.px(34))
        self.text.setMaximumWidth(theme.px(106))
        self.only_this = tool_button(
            "image", "This image only, not the whole set", "", checkable=True
        )
        spoken_name("Place of the trigger", self.placement).setParent(self)
        row.addWidget(self.placement)
        for option in (self.size_slider, self.opacity_slider):
            option.setMaximumWidth(theme.px(240))  # 160 of them the slider's
            row.addWidget(option, 1)
        row.addWidget(self.text)
        row.addWidget(self.only_this)
        row.addStretch()
        self.placement.activated.connect(self._on_placement)
        self.size_slider.changed.connect(self._on_size)
        self.opacity_slider.changed.connect(self._on_opacity)
        self.text.textEdited.connect(self.text_chosen)
        self.only_this.toggled.connect(self.scope_chosen)

    def set_placement(self, placement: str) -> None:
        """Show a place."""
        self.placement.setCurrentIndex(max(0, self.placement.findData(placement)))

    def set_placeable(self, placeable: bool) -> None:
        """Whether a place can be chosen at all."""
        self.placement.setEnabled(placeable)

    def set_size(self, size: float | None) -> None:
        """Show the patch's size; None where the size is what is painted."""
        self.size_slider.set_value(None if size is None else round(100 * size))

    def set_opacity(self, opacity: float) -> None:
        """Show an opacity."""
        self.opacity_slider.set_value(round(100 * opacity))

    def set_text(self, text: str) -> None:
        """Show the word for the prompts."""
        if text != self.text.text():
            self.text.setText(text)

    def _on_placement(self) -> None:
        self.placement_chosen.emit(str(self.placement.currentData()))

    def _on_size(self, value: int) -> None:
        self.size_chosen.emit(value / 100)

    def _on_opacity(self, value: int) -> None:
        self.opacity_chosen.emit(value / 100)
