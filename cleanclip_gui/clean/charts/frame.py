"""What every chart of the station is: a card with a plot, an empty state, and a menu to save it.

pyqtgraph is imported when the first chart is drawn, so that the window opens without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QPoint, QPointF, QSize, Qt, Signal
from PySide6.QtGui import QAccessible, QGuiApplication, QWheelEvent
from PySide6.QtWidgets import QFrame, QMenu, QSizePolicy, QStackedWidget, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import ElidedLabel, Label, tool_button
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.pictures import give_role
from cleanclip_gui.widgets.prompts import Prompts, failing, save_chart

if TYPE_CHECKING:
    import pyqtgraph as pg


class ChartFrame(QFrame):
    """A chart's card. Those who draw in it override what raises NotImplementedError.

    ``failed`` carries an InputError of a file that could not be written. ``head`` is the row of
    the title, ``under_head`` the place below it, where a legend may stand.
    """

    failed = Signal(object)

    def __init__(self, title: str, empty: str, prompts: Prompts) -> None:
        super().__init__()
        self.setProperty("card", True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(title)
        self.setAccessibleDescription("empty")
        give_role(self, QAccessible.Role.Chart)
        self._prompts = prompts
        self._title_text = title
        self.plot: pg.PlotWidget | None = None
        self._own_view = True  # nobody has zoomed or moved it
        self._proxy: Any = None
        heading, self.place = ElidedLabel(title, "heading"), ElidedLabel("", "caption")
        heading.least, self.place.least = 200, 0  # the name goes last
        self.head_row = row(heading, self.place, None, spacing=theme.SPACE_M)
        self.reset_button = tool_button("fit", "Show the whole chart again (double click)")
        self.reset_button.hide()
        self.reset_button.clicked.connect(self.reset_view)
        self.export_button = tool_button("save", "Copy or save the chart")
        self.export_button.hide()
        self.export_button.clicked.connect(self._on_export_clicked)
        top = row((self.head_row, 1), spacing=theme.SPACE_XS)
        for button in (self.reset_button, self.export_button):
            button.setProperty("small", True)
            button.setFixedSize(theme.px(24), theme.px(24))
            top.addWidget(button)
        self.under_head = column(spacing=theme.SPACE_XS)
        self.empty_text = Label(empty, "subtle", wrap=True)
        self.empty_text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.empty_text)
        self.stack.currentChanged.connect(self._show_buttons)
        column(
            top, self.under_head, (self.stack, 1), of=self,
            margins=(theme.SPACE_L, theme.SPACE_M, theme.SPACE_M, theme.SPACE_S),
            spacing=theme.SPACE_S,
        )  # fmt: skip
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(partial(self._show_menu, self))

    # What a chart must know

    def has_data(self) -> bool:
        """Whether there is anything to draw."""
        raise NotImplementedError

    def csv(self) -> str:
        """Every number of the chart."""
        raise NotImplementedError

    def reset_view(self) -> None:
        """Show everything again after zooming."""
        raise NotImplementedError

    def furnish(self, plot: pg.PlotWidget) -> None:
        """Put in a new plot what is always there."""
        raise NotImplementedError

    def dress(self) -> None:
        """Put on the colours of the theme."""
        raise NotImplementedError

    def point_at(self, place: QPointF | None) -> None:
        """The mouse is at a place in the plot's own units, or has left it."""
        raise NotImplementedError

    # What can be done with it

    def prepare(self) -> None:
        """Import pyqtgraph and make the plot before there is anything to draw."""
        self._build()

    def copy(self) -> None:
        """Put a picture of the chart on the clipboard."""
        with self._without_buttons():
            QGuiApplication.clipboard().setPixmap(self.grab())

    def save(self, path: Path) -> None:
        """Write PNG, SVG or CSV, by the suffix; CSV holds every point, also those not drawn.

        Raises
        ------
        InputError
            If the suffix is not supported or the file cannot be written.
        """
        with self._without_buttons():
            save_chart(self, self.csv, path)

    def set_own_view(self, own: bool) -> None:
        """Let the chart choose what it shows, or leave it as the user has zoomed or moved it."""
        self._own_view = own
        self._show_buttons()

    def _show_buttons(self, *_: object) -> None:
        drawn = self.stack.currentIndex() > 0
        self.export_button.setVisible(drawn)
        self.reset_button.setVisible(drawn and not self._own_view)

    @contextmanager
    def _without_buttons(self) -> Iterator[None]:
        """They do not belong into a picture of the chart."""
        self.export_button.hide()
        self.reset_button.hide()
        try:
            yield
        finally:
            self._show_buttons()

    def _on_export_clicked(self) -> None:
        self._show_menu(self.export_button, self.export_button.rect().bottomLeft())

    def menu(self) -> QMenu:
        """A new context menu; the caller shows it."""
        menu = QMenu(self)
        drawn = self.has_data()
        for text, slot in (
            ("&Copy", self.copy),
            ("Save &PNG…", partial(self.save_as, ".png")),
            ("Save S&VG…", partial(self.save_as, ".svg")),
            ("Save C&SV…", partial(self.save_as, ".csv")),
        ):
            menu.addAction(text, slot).setEnabled(drawn)
        menu.addSeparator()
        menu.addAction("&Reset view", self.reset_view).setEnabled(drawn)
        return menu

    def sizeHint(self) -> QSize:  # noqa: N802
        """A comfortable size."""
        return QSize(theme.px(420), theme.px(220))

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow the theme."""
        super().changeEvent(event)
        changes = (QEvent.Type.PaletteChange, QEvent.Type.FontChange)
        if event.type() in changes and self.plot is not None:
            self.dress()

    def eventFilter(self, watched: Any, event: QEvent) -> bool:  # noqa: N802
        """Leave with the mouse, reset on a double click, take the focus on a click.

        The wheel scrolls the page that the chart is on, and zooms only with Ctrl.
        """
        if isinstance(event, QWheelEvent):
            if not event.modifiers() & Qt.KeyboardModifier.ControlModifier:
                event.ignore()  # for the page, and not for the plot
                return True
        elif event.type() == QEvent.Type.Leave:
            self.point_at(None)
        elif event.type() == QEvent.Type.MouseButtonDblClick:
            self.reset_view()
            return True
        elif event.type() == QEvent.Type.MouseButtonPress:
            self.setFocus(Qt.FocusReason.MouseFocusReason)
        return super().eventFilter(watched, event)

    def _build(self) -> None:
        """Make the plot, once."""
        if self.plot is not None:
            return
        import pyqtgraph as pg

        plot = pg.PlotWidget()
        plot.setFrameShape(QFrame.Shape.NoFrame)
        # On a page that scrolls it is as high as it must be: its own size is more than fits.
        plot.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        for part in (plot, plot.viewport()):
            part.setAccessibleName(f"{self._title_text}, plot")
        plot.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        plot.customContextMenuRequested.connect(partial(self._show_menu, plot))
        plot.getPlotItem().setContentsMargins(0, 4, 4, 0)
        plot.getViewBox().sigRangeChangedManually.connect(self._on_view_moved)
        self.furnish(plot)
        self._proxy = pg.SignalProxy(
            plot.scene().sigMouseMoved, rateLimit=60, slot=self.follow_mouse
        )
        plot.viewport().installEventFilter(self)
        self.plot = plot
        self.stack.addWidget(plot)
        self.dress()

    def _dress_axes(self) -> None:
        """Background, axes and grid in the colours of the theme."""
        plot = self.plot
        if plot is None:
            return
        plot.setBackground(theme.colour("surface"))
        font, pixels = theme.figure_font(theme.FONT_POINTS), self.fontInfo().pixelSize()
        font.setPixelSize(round(0.87 * pixels))
        for name in ("left", "bottom"):
            axis = plot.getAxis(name)
            axis.setPen(theme.colour("border"))
            axis.setTextPen(theme.colour("muted"))
            axis.setTickFont(font)
            axis.setStyle(tickLength=0, tickTextOffset=6, maxTickLevel=0)
        plot.getAxis("left").setWidth(round(3.6 * pixels))
        plot.getAxis("left").setPen(theme.colour("surface"))
        plot.getAxis("left").setGrid(48)
        plot.getAxis("left").setTickPen(theme.colour("border_strong"))

    def follow_mouse(self, arguments: tuple[Any, ...]) -> None:
        """The mouse is at a place in the scene, the first of ``arguments``."""
        if (plot := self.plot) is not None:
            box = plot.getViewBox()
            inside = box.sceneBoundingRect().contains(arguments[0])
            self.point_at(box.mapSceneToView(arguments[0]) if inside else None)

    def _show_menu(self, origin: QWidget, position: QPoint) -> None:
        """Show the menu at a place in ``origin``."""
        menu = self.menu()
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(origin.mapToGlobal(position))

    def save_as(self, suffix: str) -> None:
        """Ask where to, and write the chart as the suffix says."""
        name = f"{self._title_text.lower().replace(' ', '-')}{suffix}"
        chosen = self._prompts.save_file(self, "Save chart", name, f"*{suffix}")
        if not chosen:
            return
        with failing(self.failed, "Could not save the chart"):
            self.save(Path(chosen))

    def _on_view_moved(self, *_: object) -> None:
        self.set_own_view(False)
