"""What somebody without eyes or without a mouse misses: names, roles, and where the focus is."""

from __future__ import annotations

from itertools import pairwise

from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QAccessible, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractScrollArea,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QGraphicsView,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMenuBar,
    QPlainTextEdit,
    QProgressBar,
    QScrollArea,
    QScrollBar,
    QTabBar,
    QTableView,
    QTextEdit,
    QTreeView,
    QWidget,
)

from tests.keyboard import heard_name

Role = QAccessible.Role
FITTING: tuple[tuple[type, tuple[Role, ...]], ...] = (
    (QAbstractButton, (Role.Button, Role.CheckBox, Role.RadioButton, Role.ButtonMenu,
                       Role.PushButton, Role.ButtonDropDown)),
    (QComboBox, (Role.ComboBox,)),
    (QAbstractSpinBox, (Role.SpinBox,)),
    (QAbstractSlider, (Role.Slider, Role.ScrollBar)),
    (QLineEdit, (Role.EditableText,)),
    (QTextEdit, (Role.EditableText, Role.Document)),
    (QPlainTextEdit, (Role.EditableText, Role.Document)),
    (QTabBar, (Role.PageTabList,)),
    (QTreeView, (Role.Tree, Role.Table, Role.List)),
    (QTableView, (Role.Table,)),
    (QAbstractItemView, (Role.List, Role.Table, Role.Tree)),
    (QProgressBar, (Role.ProgressBar,)),
    (QScrollArea, (Role.Client, Role.Pane, Role.Grouping)),  # for the keys that scroll
)  # fmt: skip
SHAPELESS = (Role.NoRole, Role.Client, Role.Pane, Role.Border, Role.Grouping)
_INNER = (QComboBox, QAbstractSpinBox, QLineEdit, QAbstractItemView, QTabBar)


def named(widget: QWidget) -> str:
    """Enough to find a widget in the source."""
    inside = type(widget.parent()).__name__
    return f"{type(widget).__name__} “{heard_name(widget)}” {widget.objectName()} in {inside}"


def parts(root: QWidget) -> list[QWidget]:
    """What shows, without what Qt's own widgets are made of."""
    return [
        widget
        for widget in (root, *root.findChildren(QWidget))
        if widget.isVisible()
        and widget.window() is root.window()
        and not widget.objectName().startswith("qt_")
        and not isinstance(widget.parent(), _INNER)
        and not isinstance(widget, (QHeaderView, QScrollBar, QMenuBar))
        and not is_viewport(widget)
    ]


def is_viewport(widget: QWidget) -> bool:
    """Whether it is only what scrolls in another widget."""
    parent = widget.parentWidget()
    return isinstance(parent, QAbstractScrollArea) and widget is parent.viewport()


def takes_focus(widget: QWidget) -> bool:
    """Whether the keyboard comes to it."""
    if widget.focusProxy() is not None or not widget.isEnabled():
        return False
    return bool(widget.focusPolicy() & Qt.FocusPolicy.TabFocus)


def name_faults(root: QWidget) -> list[str]:
    """A sentence for each part that works or shows something and is not told as what it is."""
    found = []
    for widget in parts(root):
        face = QAccessible.queryAccessibleInterface(widget)
        if face is None:
            found.append(f"{named(widget)}: no interface")
            continue
        fitting = next((roles for kind, roles in FITTING if isinstance(widget, kind)), None)
        own = takes_focus(widget) or paints(widget)
        works = own or (fitting is not None and not isinstance(widget, QScrollArea))
        if works and not heard_name(widget):
            found.append(f"{named(widget)}: no name")
        if (fitting is not None and face.role() not in fitting) or (
            fitting is None and own and face.role() in SHAPELESS
        ):
            found.append(f"{named(widget)}: role {face.role().name}")
        if fitting is None and own and not says(widget):
            found.append(f"{named(widget)}: says nothing of what it shows")
        found += state_faults(widget)
        found += header_faults(widget)
        if isinstance(widget, QTabBar):
            found += [
                f"{named(widget)}: tab {number} has no name"
                for number in range(widget.count())
                if not (widget.tabText(number) or widget.accessibleTabName(number))
            ]
    return found


def paints(widget: QWidget) -> bool:
    """Whether it draws a picture of its own, rather than a frame or words."""
    if widget.testAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents):
        return False  # an ornament
    own = any("paintEvent" in vars(kind) for kind in type(widget).__mro__
              if kind.__module__.startswith("cleanclip_gui"))  # fmt: skip
    return own and not isinstance(widget, (QLabel, QComboBox)) and holds_nothing(widget)


def holds_nothing(widget: QWidget) -> bool:
    """Whether it has no parts that speak for themselves."""
    if isinstance(widget, QAbstractScrollArea):
        return isinstance(widget, QGraphicsView) or widget.viewport().layout() is None
    return widget.layout() is None


def says(widget: QWidget) -> str:
    """The text or value of what a painted widget shows."""
    face = QAccessible.queryAccessibleInterface(widget)
    value, words = QAccessible.Text.Value, QAccessible.Text.Description
    return face.text(value) or face.text(words) or widget.accessibleDescription()


def state_faults(widget: QWidget) -> list[str]:
    """Whether what is told of a part's state is so."""
    told = QAccessible.queryAccessibleInterface(widget).state()
    found = []
    if bool(told.disabled) == widget.isEnabled():
        found.append(f"{named(widget)}: disabled is told wrong")
    if isinstance(widget, QAbstractButton) and widget.isCheckable():
        if bool(told.checked) != widget.isChecked():
            found.append(f"{named(widget)}: checked is told wrong")
        if not told.checkable:
            found.append(f"{named(widget)}: checkable is not told")
    return found


def header_faults(widget: QWidget) -> list[str]:
    """Columns of a table with several that have no name."""
    if not isinstance(widget, (QTableView, QTreeView)) or widget.model() is None:
        return []
    model, head = widget.model(), Qt.Orientation.Horizontal
    columns = [c for c in range(model.columnCount()) if not widget.isColumnHidden(c)]
    if len(columns) < 2:
        return []
    roles = (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole)
    return [
        f"{named(widget)}: column {column} has no name"
        for column in columns
        if not any(str(model.headerData(column, head, role) or "").strip() for role in roles)
    ]


def area(widget: QWidget) -> QRect:
    """The part of the window that it takes."""
    return QRect(widget.mapTo(widget.window(), QPoint(0, 0)), widget.size())


def seen_area(widget: QWidget) -> QRect:
    """The part of that which is not scrolled or cut away."""
    seen, parent = area(widget), widget.parentWidget()
    while parent is not None and parent.window() is widget.window():
        seen &= area(parent)
        if parent.isWindow():
            break
        parent = parent.parentWidget()
    return seen


def focus_faults(root: QWidget, most: int = 250) -> list[str]:
    """Go once round by Tab: each stop is in sight, shows that it has the focus, and is left again.

    The window must be active.
    """
    flash = QApplication.cursorFlashTime()
    QApplication.setCursorFlashTime(0)
    try:
        return _round_faults(root, most)
    finally:
        QApplication.setCursorFlashTime(flash)


def _round_faults(root: QWidget, most: int) -> list[str]:
    found, stops = [], []
    for _ in range(most):
        before = QApplication.focusWidget()
        send_tab(root)
        widget = QApplication.focusWidget()
        if widget is not None and widget is before and is_alone(widget):
            if not stops:
                found += _stop_faults(widget)
            break
        if widget is None or widget is before:
            found.append(f"{'nothing' if widget is None else named(widget)}: Tab does not go on")
            break
        if widget in stops:
            break
        stops.append(widget)
        found += _stop_faults(widget)
    else:
        found.append(f"{named(root)}: Tab does not come round")
    found += order_faults(stops)
    return found


def is_alone(widget: QWidget) -> bool:
    """Whether nothing else in its window takes the focus."""
    return [one for one in parts(widget.window()) if takes_focus(one)] == [widget]


def chain(root: QWidget) -> list[QWidget]:
    """The widgets of a window as Tab goes through them."""
    found, widget = [root], root.nextInFocusChain()
    while widget is not root:
        found.append(widget)
        widget = widget.nextInFocusChain()
    return found


def send_tab(root: QWidget, *, back: bool = False) -> None:
    """Press Tab, or Shift+Tab, in a window."""
    key = Qt.Key.Key_Backtab if back else Qt.Key.Key_Tab
    QTest.keyClick(root.window().windowHandle(), key)


def _stop_faults(widget: QWidget) -> list[str]:
    QApplication.processEvents()  # what scrolls does so a turn later
    found = []
    whole, seen = area(widget), seen_area(widget)
    least = min(whole.width(), 16), min(whole.height(), 12)
    if seen.width() < least[0] or seen.height() < least[1]:
        found.append(f"{named(widget)}: has the focus out of sight")
    elif not changes_with_focus(widget):
        found.append(f"{named(widget)}: looks the same with and without the focus")
    return found


def changes_with_focus(widget: QWidget) -> bool:
    """Whether other pixels are drawn at it while it has the focus."""
    around = seen_area(widget).adjusted(-3, -3, 3, 3)
    window = widget.window()
    with_focus = picture(window, around)
    widget.clearFocus()
    without = picture(window, around)
    widget.setFocus(Qt.FocusReason.TabFocusReason)
    return with_focus != without


def picture(window: QWidget, part: QRect) -> QImage:
    """The pixels of a part of a window."""
    return window.grab(part).toImage()


def order_faults(stops: list[QWidget]) -> list[str]:
    """Neighbours in one layout's parent that Tab takes from below to above."""
    found: list[str] = []
    if not stops:
        return found
    places = {id(widget): number for number, widget in enumerate(chain(stops[0].window()))}
    for one, other in pairwise(stops):
        comes_round = places[id(other)] < places[id(one)]
        if comes_round or one.parentWidget() is not other.parentWidget():
            continue
        above = area(other).bottom() < area(one).top()
        overlaps = area(other).left() <= area(one).right() and (
            area(one).left() <= area(other).right()
        )
        left = area(other).right() < area(one).left() and (
            area(other).top() <= area(one).bottom() and area(one).top() <= area(other).bottom()
        )
        if (above and overlaps) or left:
            found.append(f"{named(other)}: comes after {named(one)}, and stands before it")
    return found
