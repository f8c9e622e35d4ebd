"""The stage: what an audience sees in place of the window, fed by what the stations show."""

from __future__ import annotations

from dataclasses import dataclass

import shiboken6
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPaintEvent
from PySide6.QtWidgets import QBoxLayout, QLayout, QSizePolicy, QWidget

from cleanclip_gui import theme
from cleanclip_gui.station import Scene, ScenePicture
from cleanclip_gui.widgets.layout import column, row

_LINES = 38  # of type in the height: each is more than 2.5 % of it
_SHARP = 4  # screen pixels a pixel from which pixels stay pixels
_EXPANDING = QSizePolicy.Policy.Ignored


@dataclass(frozen=True)
class Large:
    """A few words in large type, what they are, and whether they are bad news."""

    words: str
    meaning: str = ""
    alarming: bool = False


class LargeText(QWidget):
    """Paints words as large as they fit, and below them what they are."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.align = Qt.AlignmentFlag.AlignLeft
        self.large = Large("")

    def show_large(self, large: Large) -> None:
        """Show other words."""
        if large != self.large:
            self.large = large
            self.setAccessibleDescription(f"{large.words}, {large.meaning}")
            self.update()

    def _fitting(self, text: str, pixels: float, least: float, bold: bool) -> QFont:
        """A font no larger than so many pixels, in which the text fits the width."""
        font = theme.figure_font(10, bold=bold)
        font.setPixelSize(max(1, round(pixels)))
        wide = QFontMetricsF(font).horizontalAdvance(text)
        if wide > self.width() > 0:
            font.setPixelSize(max(1, round(max(least, pixels * self.width() / wide))))
        return font

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Two thirds for the words, a third for their meaning."""
        painter, height = QPainter(self), self.height()
        for text, top, share, bold, colour in (
            (self.large.words, 0.0, 0.66, True, "danger" if self.large.alarming else "text"),
            (self.large.meaning, 0.66, 0.34, False, "muted"),
        ):
            area = QRectF(0, top * height, self.width(), share * height)
            most = 0.78 * share * height
            font = self._fitting(text, most, min(most, self.window().height() / _LINES), bold)
            painter.setFont(font)
            painter.setPen(theme.colour(colour))
            elided = QFontMetricsF(font).elidedText(text, Qt.TextElideMode.ElideRight, self.width())
            painter.drawText(area, int(self.align | Qt.AlignmentFlag.AlignVCenter), elided)


class Pictures(QWidget):
    """Pictures in as many columns as make them largest, each with its lines below it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setSizePolicy(_EXPANDING, _EXPANDING)
        self.pictures: tuple[ScenePicture, ...] = ()

    def show_pictures(self, pictures: tuple[ScenePicture, ...]) -> None:
        """Show others."""
        if pictures != self.pictures:
            self.pictures = pictures
            self.setAccessibleDescription("; ".join(" ".join(p.lines) for p in pictures))
            self.update()

    def _side(self, columns: int, below: float) -> float:
        """How large a picture is in so many columns, with so many pixels of words below it."""
        rows = -(-len(self.pictures) // columns)
        return min(self.width() / columns - theme.SPACE_M, self.height() / rows - below)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint them in rows in the middle."""
        if not self.pictures:
            return
        painter = QPainter(self)
        font = theme.figure_font(10)
        font.setPixelSize(self.window().height() // _LINES)
        line = QFontMetricsF(font).height()
        below = line * max(len(picture.lines) for picture in self.pictures) + theme.SPACE_M
        columns = max(range(1, len(self.pictures) + 1), key=lambda n: self._side(n, below))
        side = self._side(columns, below)
        rows = -(-len(self.pictures) // columns)
        left = (self.width() - columns * (side + theme.SPACE_M) + theme.SPACE_M) / 2
        top = (self.height() - rows * (side + below)) / 2
        for number, picture in enumerate(self.pictures):
            frame = QRectF(
                left + number % columns * (side + theme.SPACE_M),
                top + number // columns * (side + below), side, side,
            )  # fmt: skip
            self._paint(painter, frame, picture, font, line)

    def _paint(
        self, painter: QPainter, frame: QRectF, picture: ScenePicture, font: QFont, line: float
    ) -> None:
        image, place = picture.image, QRectF(frame)
        if image is None:
            painter.fillRect(frame, theme.colour("sunken"))
        else:
            wide = max(image.width(), image.height(), 1)
            place.setSize(image.size() * (frame.width() / wide))
            place.moveCenter(frame.center())
            smooth = QPainter.RenderHint.SmoothPixmapTransform
            painter.setRenderHint(smooth, frame.width() < _SHARP * wide)
            painter.drawImage(place, image)
        for number, words in enumerate(picture.lines):
            alarming = picture.alarming and number + 1 == len(picture.lines)
            font.setBold(alarming)
            painter.setFont(font)
            painter.setPen(theme.colour("danger" if alarming else "text"))
            box = QRectF(frame.left(), frame.bottom() + number * line, frame.width(), line)
            shown = painter.fontMetrics().elidedText(
                words, Qt.TextElideMode.ElideRight, int(box.width())
            )
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, shown)


class Loan:
    """A widget that is taken out of its layout for a while; ``end`` puts it back."""

    def __init__(self, widget: QWidget, to: QLayout) -> None:
        self.widget, self._was_hidden = widget, widget.isHidden()
        self._place = QWidget()
        self._place.setSizePolicy(widget.sizePolicy())
        home = widget.parentWidget()
        layout = None if home is None else home.layout()
        assert layout is not None, "what is lent lies in a layout"
        layout.replaceWidget(widget, self._place)
        to.addWidget(widget)
        widget.show()

    def end(self) -> None:
        """Put it back, unless its page is gone."""
        if not shiboken6.isValid(self._place) or not shiboken6.isValid(self.widget):
            return
        home = self._place.parentWidget()
        layout = None if home is None else home.layout()
        assert layout is not None
        layout.replaceWidget(self._place, self.widget)
        self.widget.setVisible(not self._was_hidden)
        self._place.deleteLater()


class Stage(QWidget):
    """Covers the whole window: a picture large at the left, others at its right, figures below
    them, and the card at the bottom. ``set_blank`` makes it black.
    """

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.setObjectName("talk.stage")
        self.setAccessibleName("For the audience")
        self.setAutoFillBackground(True)
        self.scene = Scene()
        self._loan: Loan | None = None
        self.main, self.side = Pictures("Picture"), Pictures("Pictures with their classes")
        self.left, self.right = LargeText("Prediction"), LargeText("Rate")
        self._lent = QWidget()
        self._lent_layout = column(of=self._lent)
        self._lent.setSizePolicy(_EXPANDING, _EXPANDING)
        self._top = row((self._lent, 5), (self.main, 5), (self.side, 3), spacing=theme.SPACE_L)
        self._figures = row(self.left, self.right, spacing=theme.SPACE_L)
        self.card_place = column()
        margins = (theme.SPACE_XL, theme.SPACE_L, theme.SPACE_XL, 0)
        self._parts = column(
            (self._top, 1), self._figures, (None, 0), margins=margins, spacing=theme.SPACE_M
        )
        column((self._parts, 1), self.card_place, of=self)
        self.hide()
        self._curtain = _Curtain(self)

    @property
    def type_pixels(self) -> int:
        """How large its usual type is."""
        return self.height() // _LINES

    def show_scene(self, scene: Scene, left: Large, right: Large) -> None:
        """Show what a station shows now."""
        self.left.show_large(left)
        self.right.show_large(right)
        if scene == self.scene and not self.isHidden():
            self._fit()
            return
        if scene.main is not self.scene.main:
            self.give_back()
            if isinstance(scene.main, QWidget):
                self._loan = Loan(scene.main, self._lent_layout)
        self.scene = scene
        is_lent = isinstance(scene.main, QWidget)
        self.main.show_pictures(() if isinstance(scene.main, QWidget) else scene.main)
        self.side.show_pictures(scene.side)
        self._lent.setVisible(is_lent)
        self.main.setVisible(not is_lent and bool(scene.main))
        self.side.setVisible(bool(scene.side))
        self._fit()
        self._curtain.raise_()

    def _fit(self) -> None:
        """Figures are larger, one below the other and in the middle, where they stand alone."""
        alone = not self.scene.main and not self.scene.side
        self._parts.setStretch(2, int(alone))
        ways = QBoxLayout.Direction
        self._figures.setDirection(ways.TopToBottom if alone else ways.LeftToRight)
        for number, text in enumerate((self.left, self.right)):
            text.align = Qt.AlignmentFlag.AlignHCenter if alone else Qt.AlignmentFlag.AlignLeft
            text.setFixedHeight(self.height() // (4 if alone else 7))
            text.setVisible(bool(text.large.words))
            self._figures.setStretch(number, (5, 3)[number] if self.scene.side else 1)
        if self._loan is not None:
            theme.set_pixels(self._loan.widget, self.type_pixels)

    def give_back(self) -> None:
        """Return the widget that is lent."""
        loan, self._loan, self.scene = self._loan, None, Scene()
        if loan is not None:
            theme.set_pixels(loan.widget, 0)
            loan.end()

    def cover(self, window: QWidget) -> None:
        """Lie over the whole window."""
        self.setGeometry(window.rect())
        self._curtain.setGeometry(self.rect())
        self._fit()
        self.raise_()

    def set_blank(self, on: bool) -> None:
        """Be black, or not."""
        self._curtain.setVisible(on)
        self._curtain.raise_()

    def focusNextPrevChild(self, forward: bool) -> bool:  # noqa: N802
        """Tab stays on the stage: nothing below it can be seen."""
        stops = [
            widget
            for widget in self.findChildren(QWidget)
            if widget.focusPolicy() & Qt.FocusPolicy.TabFocus
            and widget.isVisible()
            and widget.isEnabled()
        ]
        if stops:
            focus = self.window().focusWidget()
            at = stops.index(focus) if focus in stops else -1
            reason = Qt.FocusReason.TabFocusReason
            stops[(at + (1 if forward else -1)) % len(stops)].setFocus(reason)
        return True


class _Curtain(QWidget):
    """Black over the whole stage."""

    def __init__(self, stage: QWidget) -> None:
        super().__init__(stage)
        self.setAccessibleName("Blank screen; any key shows the window again")
        self.setCursor(Qt.CursorShape.BlankCursor)
        self.hide()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Black, whatever the theme."""
        QPainter(self).fillRect(self.rect(), QColor(0, 0, 0))
