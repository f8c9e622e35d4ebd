"""Colours, type, spacing and icons of the window: four themes and a size, changed at run time.

Widgets take colours from their palette, from :func:`colour` or from :func:`series_colours`,
never from a literal. Looks are asked for with object names and dynamic properties that the one
application style sheet knows (:mod:`cleanclip_gui.theme.stylesheet`):

* ``QPushButton``: ``primary=True``, ``danger=True``, ``quiet=True`` (no frame)
* ``QToolButton``: ``quiet=True``, ``menu=True`` (an arrow at its end)
* ``QLabel``: ``role`` of ``title``, ``heading``, ``subtle``, ``caption``, ``figure`` (the big
  number), ``figureSmall``, ``error``, ``warning``, ``success``, ``badge``; ``stale=True`` greys it
* ``QFrame``: ``card=True`` (a white sheet with a hairline), ``tone`` of ``ok``, ``caution``,
  ``danger``, ``info`` (a tinted card), ``rule=True`` (a hairline)

After a switch of either every widget gets ``PaletteChange``; painted widgets just repaint. Lengths
that depend on type are asked for with :func:`px` at the moment of use, and ``SPACE_...`` and
``ICON_SIZE`` are those of the size that is on: never keep one in a constant.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, cast, get_args

from PySide6.QtCore import QEvent, QObject, Qt, Slot
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QAbstractButton, QApplication, QWidget

from cleanclip_gui.theme import sizes
from cleanclip_gui.theme.icons import icon as icon
from cleanclip_gui.theme.icons import picture as picture
from cleanclip_gui.theme.sizes import SIZES as SIZES
from cleanclip_gui.theme.sizes import least_width as least_width
from cleanclip_gui.theme.sizes import px as px
from cleanclip_gui.theme.sizes import space as space
from cleanclip_gui.theme.stylesheet import stylesheet as stylesheet
from ml_core.figures import SERIES
from ml_core.paths import resource

Scheme = Literal["light", "dark", "contrast-light", "contrast-dark"]
ThemeName = Literal["light", "dark", "contrast-light", "contrast-dark", "system"]
Motion = Literal["system", "full", "reduced"]

ACCENT = "#1f6fa8"
FONT_FAMILY = "Inter"
FONT_POINTS = 10.0  # at 100 %; figure_font makes of points those of the size that is on
# Spacing in pixels at 100 %: within a group, between controls, between groups, page margins.
_SPACES = {
    "SPACE_XS": 4, "SPACE_S": 8, "SPACE_M": 12, "SPACE_L": 16, "SPACE_XL": 24, "SPACE_XXL": 32,
}  # fmt: skip
_ICON_SIZE = 18
_GENERAL = Qt.UIEffect.UI_General
if TYPE_CHECKING:
    SPACE_XS: int
    SPACE_S: int
    SPACE_M: int
    SPACE_L: int
    SPACE_XL: int
    SPACE_XXL: int
    ICON_SIZE: int
else:

    def __getattr__(name: str) -> int:
        if name in _SPACES:
            return space(_SPACES[name])
        if name == "ICON_SIZE":
            return px(_ICON_SIZE)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_COLOURS = {  # of each scheme, in their order
    "window": ("#f4f6f8", "#15191e", "#ffffff", "#000000"),
    "surface": ("#ffffff", "#1e2329", "#ffffff", "#000000"),
    "surface_alt": ("#f8fafb", "#232930", "#f4f4f4", "#141414"),
    "sunken": ("#e9edf1", "#101317", "#e8e8e8", "#262626"),
    "border": ("#dbe1e7", "#323a43", "#6b6b6b", "#8c8c8c"),
    "border_strong": ("#c2cbd4", "#4a545f", "#333333", "#c8c8c8"),
    "field": ("#848e98", "#6b7682", "#000000", "#ffffff"),
    "focus": (ACCENT, "#3a8fcd", "#b3007d", "#ffe14d"),
    "focus_filled": ("#1a2129", "#e7ebef", "#b3007d", "#ffe14d"),  # around a button of the accent
    "text": ("#1a2129", "#e7ebef", "#000000", "#ffffff"),
    "muted": ("#56626e", "#a0abb6", "#2b2b2b", "#e0e0e0"),
    "hint": ("#56626e", "#a0abb6", "#595959", "#a6a6a6"),
    "disabled": ("#9aa4ae", "#66717c", "#5c5c5c", "#a6a6a6"),
    "accent": (ACCENT, ACCENT, "#003f75", "#5cd0ff"),
    "accent_hover": ("#1a6196", "#2879b5", "#00305a", "#8fdfff"),
    "accent_pressed": ("#154f7b", "#195c8c", "#002340", "#38b8ec"),
    "accent_text": ("#1a6196", "#7cbdec", "#00376b", "#8fdfff"),
    "accent_soft": ("#e2eef7", "#1b3448", "#d9eafa", "#003247"),
    "ticked": (ACCENT, ACCENT, "#003f75", "#00629c"),  # a white tick lies on it
    "track": ("#dbe1e7", "#323a43", "#c4c4c4", "#3a3a3a"),
    "chosen_edge": ("#e2eef7", "#1b3448", "#003f75", "#5cd0ff"),
    "on_accent": ("#ffffff", "#ffffff", "#ffffff", "#000000"),
    "danger": ("#b3261e", "#ff9186", "#8a0000", "#ffa39b"),
    "danger_soft": ("#fbe9e7", "#3d2423", "#ffe9e6", "#420b08"),
    "warning": ("#8a5200", "#f3b75e", "#5c3700", "#ffc766"),
    "warning_soft": ("#fdf1dc", "#3a2f1c", "#fff0d4", "#3a2700"),
    "success": ("#1a7340", "#74d39b", "#0b4a26", "#7deaa6"),
    "success_soft": ("#e3f3e9", "#1c3527", "#ddf2e3", "#04301a"),
}
SCHEMES: dict[Scheme, dict[str, str]] = {
    scheme: {name: colours[number] for name, colours in _COLOURS.items()}
    for number, scheme in enumerate(get_args(Scheme))
}
_SERIES: dict[Scheme, tuple[str, ...]] = {
    "light": SERIES[:5],
    "dark": ("#56b4e9", "#e69f00", "#f0e442", "#cc79a7", "#2fbf94"),
    "contrast-light": ("#00569c", "#9c3d00", "#006b4d", "#8f2d6d", "#000000"),
    "contrast-dark": ("#6cc8ff", "#ffb000", "#f0e442", "#ff9edb", "#3de0b0"),
}


class _State(QObject):
    """Which theme is on; follows the desktop while ``choice`` is system."""

    def __init__(self) -> None:
        super().__init__()
        self.choice: ThemeName = "light"
        self.scheme: Scheme = "light"
        self.motion: Motion = "system"
        self.usual_motion: tuple[bool, int] | None = None  # effects and blinking, as Qt has them
        self.font_loaded = False
        self.connected = False

    @Slot()
    def _on_desktop_changed(self) -> None:
        app = QApplication.instance()
        if self.choice == "system" and isinstance(app, QApplication):
            _paint(app, _of_desktop(app))


_state = _State()


class Themed:
    """A widget that dresses itself again after each switch of the theme; stands before its kind."""

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow the theme."""
        super().changeEvent(event)  # type: ignore[misc]
        if event.type() == QEvent.Type.PaletteChange:
            self.dress()

    def dress(self) -> None:
        """Take colours and lengths of the theme that is on."""
        raise NotImplementedError


def tokens(scheme: Scheme | None = None) -> dict[str, str]:
    """Named colours of a theme as ``#rrggbb``; of the one that is on when ``scheme`` is None."""
    return SCHEMES[scheme or _state.scheme]


def colour(name: str) -> QColor:
    """One named colour of the theme that is on, e.g. ``colour("accent_text")``."""
    return QColor(tokens()[name])


def scheme() -> Scheme:
    """The theme that is on; where the desktop's is followed, what that is."""
    return _state.scheme


def is_dark() -> bool:
    """Whether a dark theme is on."""
    return _state.scheme in ("dark", "contrast-dark")


def is_high_contrast() -> bool:
    """Whether a theme of high contrast is on."""
    return _state.scheme in ("contrast-light", "contrast-dark")


def series_colours(scheme: Scheme | None = None) -> tuple[str, ...]:
    """Five chart colours that colour-blind viewers can tell apart (Okabe and Ito).

    Use a dash pattern or a marker as well: never colour alone.
    """
    return _SERIES[scheme or _state.scheme]


def size() -> int:
    """Size of type and of what depends on it, in per cent of the usual."""
    return sizes.percent.value


def set_size(percent: int) -> None:
    """Make type, spaces, icons and what depends on them larger or smaller, at once.

    It is not saved here: the user's command saves it. Widgets that are built later have it too.

    Raises
    ------
    ValueError
        If ``percent`` is not between 100 and 200.
    """
    if not SIZES[0] <= percent <= SIZES[-1]:
        raise ValueError(f"The size must be between 100 and 200 %, not {percent}.")
    old = sizes.percent.value
    if percent == old:
        return
    sizes.percent.value = percent
    app = QApplication.instance()
    if not isinstance(app, QApplication) or not _state.connected:
        return
    _restyler.resized = True
    with _new_sheet(app, percent / old):
        app.setFont(_usual_font())
        sizes.rescale(app.allWidgets(), old, percent)
    sizes.rescale_headers(app.allWidgets(), old, percent)  # not below what their fonts take
    for widget in app.allWidgets():
        if widget.isVisible():
            QApplication.sendEvent(widget, QEvent(QEvent.Type.PaletteChange))


def set_pixels(widget: QWidget, pixels: int) -> None:
    """Set one widget's text size in pixels, whatever its role; 0: as its role says."""
    widget.setStyleSheet(f"font-size: {pixels}px;" if pixels else "")


def set_motion(motion: Motion) -> None:
    """Say whether what moves by itself may: menus that roll, the cursor that blinks, and what asks.

    ``system`` is what the desktop says of its effects, on Windows and macOS; Qt does not know what
    other desktops say, and takes it for as usual.
    """
    app = QApplication.instance()
    _state.motion = motion
    if not isinstance(app, QApplication):
        return
    if _state.usual_motion is None:
        _state.usual_motion = app.isEffectEnabled(_GENERAL), app.styleHints().cursorFlashTime()
    effects, flash = _state.usual_motion
    still = motion_is_reduced()
    app.setEffectEnabled(_GENERAL, effects and not still)
    app.setCursorFlashTime(0 if still else flash)


def motion_is_reduced() -> bool:
    """Whether nothing may move by itself: ask before something is animated."""
    if _state.motion == "system":
        if not desktop_tells_motion() or _state.usual_motion is None:
            return False
        return not _state.usual_motion[0]
    return _state.motion == "reduced"


def desktop_tells_motion() -> bool:
    """Whether Qt knows what the desktop says of things that move."""
    return sys.platform in ("win32", "darwin")


def load_fonts() -> str:
    """Register the shipped font, once, and return its family."""
    if not _state.font_loaded:
        for name in ("Inter-Regular.ttf", "Inter-SemiBold.ttf"):
            QFontDatabase.addApplicationFont(str(resource("fonts", name)))
        _state.font_loaded = True
    return FONT_FAMILY


def figure_font(points: float, *, bold: bool = False) -> QFont:
    """Font with digits of equal width, for numbers that change in place; points at 100 %."""
    font = QFont(load_fonts())
    font.setPointSizeF(sizes.points(points))
    font.setWeight(QFont.Weight.DemiBold if bold else QFont.Weight.Normal)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


def apply_theme(app: QApplication, name: ThemeName) -> None:
    """Put on a theme; works at any time. ``system`` follows the desktop's setting."""
    hints = app.styleHints()
    if not _state.connected:  # under a style sheet the style has no name to be asked for
        app.setStyle("Fusion")
        hints.colorSchemeChanged.connect(_state._on_desktop_changed)
        if hasattr(hints, "accessibility"):  # since Qt 6.10
            hints.accessibility().contrastPreferenceChanged.connect(_state._on_desktop_changed)
        app.setFont(_usual_font())
        _state.connected = True
    _state.choice = name
    if name == "system":
        hints.unsetColorScheme()
        _paint(app, _of_desktop(app))
        return
    dark = name in ("dark", "contrast-dark")
    hints.setColorScheme(Qt.ColorScheme.Dark if dark else Qt.ColorScheme.Light)
    _paint(app, name)


def _usual_font() -> QFont:
    font = QFont(load_fonts())
    font.setPointSizeF(sizes.points(FONT_POINTS))
    return font


def palette(scheme: Scheme) -> QPalette:
    """The palette of a theme, every role in use set for the active and disabled groups."""
    named = tokens(scheme)
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


def set_primary(button: QAbstractButton, name: str, on: bool) -> None:
    """Fill a button with this icon, as the next step of its page, or do not."""
    set_property(button, "primary", on)
    button.setIcon(icon(name, "on_accent" if on else "text"))


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


def _of_desktop(app: QApplication) -> Scheme:
    """Return what the desktop says; light and the usual contrast where it says nothing."""
    hints = app.styleHints()
    dark = hints.colorScheme() == Qt.ColorScheme.Dark
    if hasattr(hints, "accessibility"):
        preference = hints.accessibility().contrastPreference()
        if preference == Qt.ContrastPreference.HighContrast:
            return "contrast-dark" if dark else "contrast-light"
    return "dark" if dark else "light"


class _Restyler(QObject):
    """Styles what is hidden when it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.resized = False  # once: then every listener is notified

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
        font = widget.font() if _has_font(widget) else None
        widget.style().polish(widget)
        if font is not None and widget.font() != font:
            widget.setFont(font)
        QApplication.sendEvent(widget, QEvent(QEvent.Type.StyleChange))
        if self.resized:  # the palette may be as before
            QApplication.sendEvent(widget, QEvent(QEvent.Type.PaletteChange))


_POLISHED = Qt.WidgetAttribute.WA_WState_Polished
_restyler = _Restyler()


def _paint(app: QApplication, scheme: Scheme) -> None:
    """Set palette and style sheet: now for what shows, for the rest when it is shown.

    A new sheet in the place of an old one takes three times as long as both steps here.
    """
    _state.scheme = scheme
    with _new_sheet(app):
        app.setPalette(palette(scheme))


@contextmanager
def _new_sheet(app: QApplication, factor: float = 1.0) -> Iterator[None]:
    """Change something while no style sheet is on, then set the one of theme and size.

    A style sheet remembers the font that a widget had when it was first styled, and brings that
    back: fonts that were set since are set again, ``factor`` times as large.
    """
    shown = [(widget, widget.font()) for widget in app.allWidgets() if _has_font(widget)]
    _restyler.put_off(app)
    app.setStyleSheet("")
    own = [(widget, sizes.grown(font, factor)) for widget, font in shown if _has_font(widget)]
    yield
    app.setStyleSheet(stylesheet(tokens(), sizes.percent.value))
    for widget, font in own:
        if widget.font() != font:
            widget.setFont(font)


def _has_font(widget: QWidget) -> bool:
    """Whether a font was set on the widget itself: by code, or under a style sheet by that."""
    return widget.testAttribute(Qt.WidgetAttribute.WA_SetFont)
