"""What stands above the pages of the Clean station: the set-up's button, tabs, newest log line."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QResizeEvent
from PySide6.QtWidgets import QTabBar, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.action_button import action_tool
from cleanclip_gui.widgets.label import ElidedLabel
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.tab_titles import fit_titles

_LEAST_LOG = 120  # pixels; less tells nothing
_CHOSEN = 8  # pixels by which the tab that is chosen is wider than its hint


class PageHead(QWidget):
    """Tabs for this run, for all runs and for their comparison.

    Parameters
    ----------
    setup
        Opens and closes the set-up.
    """

    def __init__(self, setup: QAction, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setup_button = action_tool(setup)
        self.tabs = QTabBar()
        self.tabs.setAccessibleName("Pages of the Clean station")
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(False)
        self.tabs.setUsesScrollButtons(False)
        for _ in range(3):
            self.tabs.addTab("")
        self.log_line = ElidedLabel("", "caption")
        self.log_line.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row(self.setup_button, self.tabs, (self.log_line, 1), of=self, spacing=theme.SPACE_S)
        self.show_waiting(0)

    def show_waiting(self, count: int, *, paused: bool = False) -> None:
        """Say on the tab how many runs wait, and whether for the user."""
        how = "paused" if paused else "waiting"
        queue = ("Queue and history", "Queue")
        if count:
            queue = (f"{queue[0]}, {count} {how}", f"{queue[1]}, {count} {how}")
        self._titles = (("This run", "This run"), queue, ("Compare runs", "Compare"))
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Take the long titles if there is room for them."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        gaps = 2 * theme.SPACE_S
        room = self.width() - self.setup_button.sizeHint().width() - gaps - theme.px(_CHOSEN)
        fit_titles(self.tabs, self._titles, room)
        taken = self.tabs.sizeHint().width() + theme.px(_CHOSEN)
        self.tabs.setMinimumWidth(taken)
        self.log_line.setVisible(room - taken >= theme.px(_LEAST_LOG))
