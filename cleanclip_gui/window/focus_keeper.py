"""Where the focus goes when what has it can no longer be used."""

from __future__ import annotations

import shiboken6
from PySide6.QtCore import QObject, Qt, QTimer
from PySide6.QtWidgets import QApplication, QWidget


class FocusKeeper(QObject):
    """Hands the focus of a button that was disabled or hidden to what is nearest to it.

    Qt takes the next widget of the tab order, which may be at the other end of the window. What
    lies in the same part of the page is mostly what takes the button's place: Cancel beside Start,
    or the result. A focus that a program or a user moves is left alone.

    Parameters
    ----------
    app
        Whose focus it is.
    pages
        The focus is not carried from one of them to another: who turns the page goes elsewhere.
    """

    def __init__(self, app: QApplication, pages: QWidget) -> None:
        super().__init__(pages)
        self._pages = pages
        self._lost: QWidget | None = None
        self._soon = QTimer(self, singleShot=True, interval=0)  # its successor is shown first
        self._soon.timeout.connect(self._hand_on)
        app.focusChanged.connect(self._on_focus_changed)

    def _on_focus_changed(self, before: QWidget | None, _: QWidget | None) -> None:
        usable = before is None or not shiboken6.isValid(before) or _is_usable(before)
        self._lost = None if usable else before
        if not usable:
            self._soon.start()

    def _hand_on(self) -> None:
        lost, self._lost = self._lost, None
        if lost is None or not shiboken6.isValid(lost):
            return
        if _is_usable(lost):  # it was disabled for a moment
            lost.setFocus(Qt.FocusReason.OtherFocusReason)
            return
        heir = self._nearest(lost)
        if heir is not None:
            heir.setFocus(Qt.FocusReason.OtherFocusReason)

    def _nearest(self, lost: QWidget) -> QWidget | None:
        """What can have the focus in the smallest part around it that has any, by the tab order."""
        part = lost.parentWidget()
        while part is not None and part is not self._pages:
            stops = _tab_stops(part)
            place = stops.index(lost) if lost in stops else 0
            usable = [number for number, stop in enumerate(stops) if _is_usable(stop)]
            if usable:  # of two that are as near, the one behind it
                return stops[min(usable, key=lambda n: (abs(n - place), n < place))]
            part = None if part.isWindow() else part.parentWidget()
        return None


def _tab_stops(part: QWidget) -> list[QWidget]:
    """What Tab may come to in a part, in this order, whether it can be used now or not."""
    stops: list[QWidget] = []
    widget = part.nextInFocusChain()
    while widget is not None and widget is not part:
        if part.isAncestorOf(widget) and widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
            stops.append(widget)
        widget = widget.nextInFocusChain()
    return stops


def _is_usable(widget: QWidget) -> bool:
    return widget.isEnabled() and widget.isVisible()
