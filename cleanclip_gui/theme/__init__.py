"""Colours, type, spacing and icons of the window, light and dark; switched at run time.

Widgets take colours from their palette, from :func:`colour` or from :func:`series_colours`,
never from a literal. Looks are asked for with object names and dynamic properties that the one
application style sheet knows (:mod:`cleanclip_gui.theme.stylesheet`):

* ``QPushButton``: ``primary=True``, ``danger=True``, ``quiet=True`` (no frame)
* ``QToolButton``: ``quiet=True``
* ``QLabel``: ``role`` of ``title``, ``heading``, ``subtle``, ``caption``, ``figure`` (the big
  number), ``figureSmall``, ``error``, ``warning``, ``success``, ``badge``; ``stale=True`` greys it
* ``QFrame``: ``card=True`` (a white sheet with a hairline), ``tone`` of ``ok``, ``caution``,
  ``danger``, ``info`` (a tinted card), ``rule=True`` (a hairline)

After a switch every widget gets ``PaletteChange``; painted widgets just repaint.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

from PySide6.QtCore import QEvent, QObject, Qt, Slot
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication, QWidget

from cleanclip_gui.theme.icons import icon, picture
from cleanclip_gui.theme.stylesheet import stylesheet
from ml_core.paths import resource

ThemeName = Literal["light", "dark", "system"]

ACCENT = "#1f6fa8"
# Spacing in pixels: within a group, between controls, between groups, page margins.
SPACE_XS, SPACE_S, SPACE_M, SPACE_L, SPACE_XL, SPACE_XXL = 4, 8, 12, 16, 24, 32
ICON_SIZE = 18
FONT_FAMILY = "Inter"
FONT_POINTS = 10.0

LIGHT: dict[str, str] = {
    "window": "#f4f6f8",
    "surface": "#ffffff",
    "surface_alt": "#f8fafb",
    "sunken": "#e9edf1",
    "border": "#dbe1e7",
    "border_strong": "#c2cbd4",
    "field": "#848e98",
    "focus": ACCENT,
    "text": "#1a2129",
    "muted": "#56626e",
    "disabled": "#9aa4ae",
    "accent": ACCENT,
    "accent_hover": "#1a6196",
    "accent_pressed": "#154f7b",
    "accent_text": "#1a6196",
    "accent_soft": "#e2eef7",
    "on_accent": "#ffffff",
    "danger": "#b3261e",
    "danger_soft": "#fbe9e7",
    "warning": "#8a5200",
    "warning_soft": "#fdf1dc",
    "success": "#1a7340",
    "success_soft": "#e3f3e9",
}
DARK: dict[str, str] = {
    "window": "#15191e",
    "surface": "#1e2329",
    "surface_alt": "#232930",
    "sunken": "#101317",
    "border": "#323a43",
    "border_strong": "#4a545f",
    "field": "#6b7682",
    "focus": "#3a8fcd",
    "text": "#e7ebef",
    "muted": "#a0abb6",
    "disabled": "#66717c",
    "accent": ACCENT,
    "accent_hover": "#2a7fbd",
    "accent_pressed": "#195c8c",
    "accent_text": "#7cbdec",
    "accent_soft": "#1b3448",
    "on_accent": "#ffffff",
    "danger": "#ff9186",
    "danger_soft": "#3d2423",
    "warning": "#f3b75e",
    "warning_soft": "#3a2f1c",
    "success": "#74d39b",
    "success_soft": "#1c3527",
}
_SERIES_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000")
_SERIES_DARK = ("#56b4e9", "#e69f00", "#f0e442", "#cc79a7", "#2fbf94")


class _State(QObject):
    """Which theme is on; follows the desktop while ``choice`` is system."""

    def __init__(self) -> None:
        super().__init__()
        self.choice: ThemeName = "light"
        self.dark = False
        self.font_loaded = False
        self.connected = False

    @Slot()
    def _on_scheme_changed(self) -> None:
        app = QApplication.instance()
        if self.choice == "system" and isinstance(app, QApplication):
            _paint(app, _desktop_is_dark(app))


_state = _State()


def tokens(dark: bool | None = None) -> dict[str, str]:
    """Named colours of a theme as ``#rrggbb``; of the one that is on when ``dark`` is None."""
    return DARK if (_state.dark if dark is None else dark) else LIGHT


def colour(name: str) -> QColor:
    """One named colour of the theme that is on, e.g. ``colour("accent_text")``."""
    return QColor(tokens()[name])


def is_dark() -> bool:
    """Whether the dark theme is on."""
    return _state.dark


def series_colours(dark: bool | None = None) -> tuple[str, ...]:
    """Five chart colours that colour-blind viewers can tell apart (Okabe and Ito).

    Use a dash pattern or a marker as well: never colour alone.
    """
    return _SERIES_DARK if (_state.dark if dark is None else dark) else _SERIES_LIGHT


def load_fonts() -> str:
    """Register the shipped font, once, and return its family."""
    if not _state.font_loaded:
        for name in ("Inter-Regular.ttf", "Inter-SemiBold.ttf"):
            QFontDatabase.addApplicationFont(str(resource("fonts", name)))
        _state.font_loaded = True
    return FONT_FAMILY


def figure_font(points: float, *, bold: bool = False) -> QFont:
    """Font with digits of equal width, for numbers that change in place."""
    font = QFont(load_fonts())
    font.setPointSizeF(points)
    font.setWeight(QFont.Weight.DemiBold if bold else QFont.Weight.Normal)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


def apply_theme(app: QApplication, name: ThemeName) -> None:
    """Put on a theme; works at any time. ``system`` follows the desktop's setting."""
    if app.style().name().lower() != "fusion":
        app.setStyle("Fusion")
    hints = app.styleHints()
    if not _state.connected:
        hints.colorSchemeChanged.connect(_state._on_scheme_changed)
        font = QFont(load_fonts())
        font.setPointSizeF(FONT_POINTS)
        app.setFont(font)
        _state.connected = True
    _state.choice = name
    if name == "system":
        hints.unsetColorScheme()
        _paint(app, _desktop_is_dark(app))
        return
    scheme = Qt.ColorScheme.Dark if name == "dark" else Qt.ColorScheme.Light
    hints.setColorScheme(scheme)
    _paint(app, name == "dark")


def palette(dark: bool) -> QPalette:
    """The palette of a theme, every role in use set for the active and disabled groups."""
    named = tokens(dark)
    role, group = QPalette.ColorRole, QPalette.ColorGroup
    result = QPalette()
    for key, value in (
        (role.Window, "window"),
        (role.WindowText, "text"),
        (role.Base, "surface"),
        (role.AlternateBase, "surface_alt"),
        (role.Text, "text"),
        (role.PlaceholderText, "muted"),
        (role.Button, "surface"),
        (role.ButtonText, "text"),
        (role.BrightText, "on_accent"),
        (role.ToolTipBase, "surface"),
        (role.ToolTipText, "text"),
        (role.Highlight, "accent"),
        (role.HighlightedText, "on_accent"),
        (role.Accent, "accent"),
        (role.Link, "accent_text"),
        (role.LinkVisited, "accent_text"),
        (role.Light, "surface"),
        (role.Midlight, "surface_alt"),
        (role.Mid, "border"),
        (role.Dark, "border_strong"),
        (role.Shadow, "border_strong"),
    ):
        result.setColor(key, QColor(named[value]))
    for key in (role.WindowText, role.Text, role.ButtonText):
        result.setColor(group.Disabled, key, QColor(named["disabled"]))
    result.setColor(group.Disabled, role.Highlight, QColor(named["border_strong"]))
    return result


def set_property(widget: QWidget, name: str, value: object) -> None:
    """Set a dynamic property that the style sheet looks at, and let it look again."""
    if widget.property(name) == value:
        return
    widget.setProperty(name, value)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


@contextmanager
def styled_afterwards() -> Iterator[None]:
    """Build many widgets in here; they get the style sheet at the end, once.

    Under a style sheet, Qt styles a whole subtree again each time that it gets another parent:
    a window whose parts are laid out from the inside takes half as long without.
    """
    app = cast(QApplication, QApplication.instance())
    sheet = app.styleSheet()
    app.setStyleSheet("")
    try:
        yield
    finally:
        app.setStyleSheet(sheet)


def _desktop_is_dark(app: QApplication) -> bool:
    """Return what the desktop says; light where it says nothing."""
    return app.styleHints().colorScheme() == Qt.ColorScheme.Dark


class _Restyler(QObject):
    """Styles what is hidden when it is shown."""

    def put_off(self, app: QApplication) -> None:
        """Take the old style from what does not show, so that Qt gives no new one to it now."""
        style = app.style()
        for widget in app.allWidgets():
            if widget.isVisible() or not widget.testAttribute(_POLISHED):
                continue
            style.unpolish(widget)
            widget.setAttribute(_POLISHED, False)
            parent = widget.parentWidget()
            if widget.isWindow() or parent is None or parent.isVisible():
                widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Style a widget that is shown, and all that is in it."""
        if event.type() == QEvent.Type.Show and isinstance(watched, QWidget):
            watched.removeEventFilter(self)
            for widget in (watched, *watched.findChildren(QWidget)):
                if not widget.testAttribute(_POLISHED):
                    self._style(widget)
        return False

    def _style(self, widget: QWidget) -> None:
        widget.setAttribute(_POLISHED, True)
        if not widget.testAttribute(Qt.WidgetAttribute.WA_SetPalette):
            widget.setPalette(QPalette())  # that of its parent, which has changed since
        widget.style().polish(widget)
        QApplication.sendEvent(widget, QEvent(QEvent.Type.StyleChange))


_POLISHED = Qt.WidgetAttribute.WA_WState_Polished
_restyler = _Restyler()


def _paint(app: QApplication, dark: bool) -> None:
    """Set palette and style sheet: now for what shows, for the rest when it is shown.

    A new sheet in the place of an old one takes three times as long as both steps here.
    """
    _state.dark = dark
    _restyler.put_off(app)
    app.setStyleSheet("")
    app.setPalette(palette(dark))
    app.setStyleSheet(stylesheet(tokens(dark)))


__all__ = [
    "ACCENT",
    "DARK",
    "FONT_FAMILY",
    "FONT_POINTS",
    "ICON_SIZE",
    "LIGHT",
    "SPACE_L",
    "SPACE_M",
    "SPACE_S",
    "SPACE_XL",
    "SPACE_XS",
    "SPACE_XXL",
    "ThemeName",
    "apply_theme",
    "colour",
    "figure_font",
    "icon",
    "picture",
    "is_dark",
    "load_fonts",
    "palette",
    "series_colours",
    "set_property",
    "styled_afterwards",
    "stylesheet",
    "tokens",
]
