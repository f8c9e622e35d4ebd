"""The bar above the canvas: where the trigger comes from, and what can be done to it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QMimeData, QPoint, QSize, Qt
from PySide6.QtGui import QDrag, QIcon, QImage, QMouseEvent, QPainter, QPixmap
from PySide6.QtWidgets import QApplication, QMenu, QSizePolicy, QToolButton

from cleanclip_gui import theme
from cleanclip_gui.commands import Actions
from cleanclip_gui.studio.canvas.fitting_bar import FittingBar
from cleanclip_gui.studio.canvas.scene import SLOTS
from cleanclip_gui.widgets.controls import action_tool, bind, named, tool_button
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.text import plain, tip

_MENU = (
    ("trigger.demo", "edit.paste", "edit.copy"),
    ("trigger.save", "trigger.save_as"),
    ("trigger.mirror", "trigger.mirror_down", "trigger.rotate", "edit.clear"),
    ("trigger.flip_b", "trigger.plant"),
)


class TriggerChip(QToolButton):
    """What the canvas holds; it opens a menu, and a drag takes the trigger along as PNG and JSON.

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
        self.setIconSize(QSize(theme.ICON_SIZE, theme.ICON_SIZE))
        self.setProperty("chip", True)
        self.setProperty("menu", True)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)

    def show_trigger(self, name: str, standing: str, picture: QImage | None) -> None:
        """Show a trigger: its name, whether it is the published one, and how it looks."""
        short = "rescaled" if standing.startswith("rescaled") else standing
        shown, words = (
            ", ".join(part for part in (plain(name, 80), plain(state, 200)) if part)
            for state in (short, standing)
        )
        drag = "" if picture is None else " Drag it out to copy it as a file."
        self.setText(shown.replace("&", "&&"))
        named(self, f"Trigger: {words}", tip(f"{words}.{drag}"))
        self.setIcon(theme.icon("stamp") if picture is None else _tile(picture))

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """A few letters; the style ends a longer name in an ellipsis."""
        hint = super().minimumSizeHint()
        return QSize(min(hint.width(), theme.px(96)), hint.height())

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Remember where a drag would begin; the menu waits for the release."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._from = event.position().toPoint()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Begin to drag."""
        if self._from is None:
            return
        way = event.position().toPoint() - self._from
        if way.manhattanLength() < QApplication.startDragDistance():
            return
        self._from = None
        mime = self._make_mime()
        if mime is not None:
            drag = QDrag(self)
            drag.setMimeData(mime)
            drag.setPixmap(self.icon().pixmap(64, 64))
            self.start_drag(drag)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Open the menu, unless it was a drag."""
        if self._from is not None:
            self._from = None
            self.showMenu()


def _tile(picture: QImage) -> QIcon:
    """The trigger in a square, with a rim as the other icons have."""
    side, inside = 4 * theme.ICON_SIZE, round(3.2 * theme.ICON_SIZE)
    tile = QPixmap(side, side)
    tile.fill(Qt.GlobalColor.transparent)
    painter = QPainter(tile)
    fitted = picture.scaled(
        inside, inside,
        Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation,
    )  # fmt: skip
    painter.drawImage((side - fitted.width()) // 2, (side - fitted.height()) // 2, fitted)
    painter.end()
    return QIcon(tile)


class TriggerBar(FittingBar):
    """Where a trigger comes from, its parameters and its menu; the two snapshots; undo and redo.

    ``actions`` has the commands that its buttons show; ``make_mime`` gives the trigger that is
    dragged out of the window, None if there is no trigger.
    """

    def __init__(self, actions: Actions, make_mime: Callable[[], QMimeData | None]) -> None:
        super().__init__()
        self.library = bind(
            tool_button("", "Library"), actions["trigger.library"], text=True, icon=True
        )
        self.upload = action_tool(actions["trigger.upload"])
        self.parameters = action_tool(actions["trigger.parameters"])
        self.chip = TriggerChip(make_mime)
        menu = QMenu(self.chip)
        menu.aboutToShow.connect(actions.refresh)
        for group in _MENU:
            menu.addSeparator()
            menu.addActions([actions[name] for name in group])
        self.chip.setMenu(menu)
        self.slots: dict[str, QToolButton] = {}
        for slot in SLOTS:
            button = bind(tool_button("", ""), actions[f"trigger.flip_{slot.lower()}"])
            named(button, f"Snapshot {slot}").setText(slot)
            button.hide()
            self.slots[slot] = button
        row(
            self.library, self.upload, self.parameters, theme.SPACE_S, self.chip, (None, 1),
            *self.slots.values(), theme.SPACE_S, action_tool(actions["edit.undo"]),
            action_tool(actions["edit.redo"]), of=self, spacing=2,
        )  # fmt: skip

    def show_trigger(self, name: str, standing: str, picture: QImage | None) -> None:
        """Say what the trigger is."""
        self.chip.show_trigger(name, standing, picture)
        self.fit()

    def show_slots(self, both: bool) -> None:
        """Offer the two snapshots, once there are two."""
        for button in self.slots.values():
            button.setVisible(both)
        self.fit()

    def needed_width(self) -> int:
        """Room for the trigger's whole name, which is worth more than the library's."""
        chip = self.chip
        return super().needed_width() + chip.sizeHint().width() - chip.minimumSizeHint().width()

    def set_compact(self, compact: bool) -> None:
        """Leave out the library's name."""
        style = Qt.ToolButtonStyle
        self.library.setToolButtonStyle(
            style.ToolButtonIconOnly if compact else style.ToolButtonTextBesideIcon
        )
