"""The stage: what an audience sees in place of the window, fed by what the stations show."""

from __future__ import annotations

from dataclasses import dataclass

import shiboken6
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.station import Scene
from cleanclip_gui.widgets.picture_grid import ScenePicture

_LINES = 38  # of type in the height: each is more than 2.5 % of it
_SHARP = 4  # screen pixels a pixel from which pixels stay pixels
_CENTRE = Qt.AlignmentFlag.AlignCenter


@dataclass(frozen=True)
class Large:
    """A few words in large type, what they are, and whether they are bad news."""

    words: str
    meaning: str = ""
    alarming: bool = False


class Loan:
    """A widget that lies on another for a while, out of its layout; ``end`` puts it back."""

    def __init__(self, widget: QWidget, on: QWidget) -> None:
        self.widget, self._place, self.pixels = widget, QWidget(), 0
        self._swap(widget, self._place)
        widget.setParent(on)
        widget.show()

    def end(self) -> None:
        """Put it back, unless its page is gone."""
        if shiboken6.isValid(self._place) and shiboken6.isValid(self.widget):
            self._swap(self._place, self.widget)
            self.widget.show()
            self._place.deleteLater()

    def _swap(self, there: QWidget, other: QWidget) -> None:
        home = there.parentWidget()
        layout = None if home is None else home.layout()
        assert layout is not None, "what is lent lies in a layout"
        layout.replaceWidget(there, other)


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
        self.figures: tuple[Large, ...] = ()
        self._loan: Loan | None = None
        self._card: Loan | None = None
        self.curtain = QWidget(self, accessibleName="Blank screen; any key shows the stage again")
        self.curtain.setCursor(Qt.CursorShape.BlankCursor)
        self.curtain.setAutoFillBackground(True)
        self.curtain.setPalette(QPalette(QColor(0, 0, 0)))
        self.curtain.hide()
        self.hide()

    @property
    def type_pixels(self) -> int:
        """How large its usual type is."""
        return self.height() // _LINES

    def open(self, card: QWidget) -> None:
        """Cover the window, with the card at the bottom."""
        self._card = Loan(card, self)
        self.show()

    def close_down(self) -> None:
        """Put everything back, and go."""
        self.hide()
        self._take_main(None)
        if self._card is not None:
            self._card.end()
        self._card, self.scene = None, Scene()

    def show_scene(self, scene: Scene, *figures: Large) -> None:
        """Show what a station shows now, with the figures at the left and at the right."""
        if (scene, figures) != (self.scene, self.figures):
            if scene.main is not self.scene.main:
                self._take_main(scene.main if isinstance(scene.main, QWidget) else None)
            self.scene, self.figures = scene, figures
            main = () if isinstance(scene.main, QWidget) else scene.main
            texts = [f"{large.words}, {large.meaning}" for large in figures]
            self.setAccessibleDescription(
                "; ".join([*texts, *(" ".join(p.lines) for p in (*main, *scene.side))])
            )
            self.update()
        self.fit()

    def _take_main(self, widget: QWidget | None) -> None:
        """Borrow a widget, and return the one before."""
        loan, self._loan = self._loan, None
        if loan is not None:
            theme.set_pixels(loan.widget, 0)
            loan.end()
        if widget is not None:
            self._loan = Loan(widget, self)

    def set_blank(self, on: bool) -> None:
        """Be black, or not."""
        self.curtain.setVisible(on)
        self.fit()

    def fit(self) -> None:
        """Lie over the whole window, with everything in its place."""
        self.setGeometry(self.window().rect())
        self.raise_()
        if self._card is not None:
            card = self._card.widget
            high = max(card.heightForWidth(self.width()), card.minimumSizeHint().height())
            if card.height() != high:
                self.update()
            card.setGeometry(0, self.height() - high, self.width(), high)
        if self._loan is not None:
            self._loan.widget.setGeometry(self._main_area().toAlignedRect())
            if self._loan.pixels != self.type_pixels:
                self._loan.pixels = self.type_pixels
                theme.set_pixels(self._loan.widget, self.type_pixels)
        self.curtain.setGeometry(self.rect())
        self.curtain.raise_()

    def _area(self) -> QRectF:
        """What the card leaves."""
        bottom = self._card.widget.y() if self._card is not None else self.height()
        edge = theme.SPACE_L + theme.space(24)  # as the words of the card
        return QRectF(edge, theme.SPACE_L, self.width() - 2 * edge, bottom - theme.SPACE_L)

    def _main_area(self) -> QRectF:
        """Where the large picture is: five eighths of the width if there are others."""
        area = self._area()
        return QRectF(
            area.left(), area.top(), area.width() * (0.62 if self.scene.side else 1.0),
            area.height() - self.height() / 8 - theme.SPACE_M,
        )  # fmt: skip

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint pictures and figures; figures alone are larger and in the middle."""
        painter, area, main = QPainter(self), self._area(), self._main_area()
        shown = [large for large in self.figures if large.words]
        if not self.scene.main and not self.scene.side:
            high = self.height() / 4
            top = area.center().y() - high * len(shown) / 2
            for number, large in enumerate(shown):
                box = QRectF(area.left(), top + number * high, area.width(), high)
                self._paint_figure(painter, box, large, Qt.AlignmentFlag.AlignHCenter)
            return
        side = QRectF(main)
        side.setLeft(main.right() + theme.SPACE_L)
        side.setRight(area.right())
        if not isinstance(self.scene.main, QWidget):
            self._paint_pictures(painter, main, self.scene.main)
        self._paint_pictures(painter, side, self.scene.side)
        middle = side.left() if self.scene.side else area.center().x()
        for left, right, large in zip(
            (area.left(), middle), (middle - theme.SPACE_L, area.right()), shown, strict=False
        ):
            box = QRectF(left, main.bottom() + theme.SPACE_M, right - left, self.height() / 8)
            self._paint_figure(painter, box, large, Qt.AlignmentFlag.AlignLeft)

    def _paint_figure(
        self, painter: QPainter, box: QRectF, large: Large, align: Qt.AlignmentFlag
    ) -> None:
        """Words as large as they fit in two thirds of the height, and below them what they are."""
        top, colour = box.top(), "danger" if large.alarming else "text"
        for text, share, bold in ((large.words, 0.66, True), (large.meaning, 0.34, False)):
            high = share * box.height()
            font = theme.figure_font(10, bold=bold)
            if not any(map(str.isdigit, text)):
                font.unsetFeature(QFont.Tag("tnum"))  # a hyphen would be as wide as a digit
            font.setPixelSize(max(1, round(0.78 * high)))
            wide = QFontMetricsF(font).horizontalAdvance(text) / max(box.width(), 1.0)
            if wide > 1:
                font.setPixelSize(  # a little less: widths do not scale exactly
                    max(min(self.type_pixels, font.pixelSize()), int(0.74 * high / wide))
                )
            line = QRectF(box.left(), top, box.width(), high)
            _write(painter, line, text, font, colour, align | Qt.AlignmentFlag.AlignVCenter)
            top, colour = top + high, "muted"

    def _paint_pictures(
        self, painter: QPainter, area: QRectF, pictures: tuple[ScenePicture, ...]
    ) -> None:
        """In as many columns as make them largest, each with its lines below it."""
        count, gap = len(pictures), theme.SPACE_M
        if not count:
            return
        fonts = theme.figure_font(10), theme.figure_font(10, bold=True)
        for font in fonts:
            font.setPixelSize(max(1, self.type_pixels))
        line = QFontMetricsF(fonts[0]).height()
        below = gap + line * max(len(picture.lines) for picture in pictures)

        def side_in(columns: int) -> float:
            rows = -(-count // columns)
            return min(area.width() / columns - gap, area.height() / rows - below)

        columns = max(range(1, count + 1), key=side_in)
        side, rows = side_in(columns), -(-count // columns)
        wide = min(area.width() / columns, 1.6 * side + gap)  # names are longer than it
        left = area.center().x() - columns * wide / 2
        top = area.center().y() - rows * (side + below) / 2
        for number, picture in enumerate(pictures):
            down, across = divmod(number, columns)
            cell = QRectF(left + across * wide, top + down * (side + below), wide, side)
            _paint_image(
                painter, cell.adjusted((wide - side) / 2, 0, (side - wide) / 2, 0), picture
            )
            for place, words in enumerate(picture.lines, 1):
                last = picture.alarming and place == len(picture.lines)
                box = QRectF(cell.left(), cell.bottom(), wide - gap, line)
                box.translate(gap / 2, line * (place - 1))
                _write(painter, box, words, fonts[last], "danger" if last else "text", _CENTRE)

    def focusNextPrevChild(self, forward: bool) -> bool:  # noqa: N802
        """Tab stays on the stage: nothing below it can be seen."""
        stops = [b for b in self.findChildren(QPushButton) if b.isVisible() and b.isEnabled()]
        if stops:
            focus = self.window().focusWidget()
            at = stops.index(focus) if focus in stops else -1
            reason = Qt.FocusReason.TabFocusReason
            stops[(at + (1 if forward else -1)) % len(stops)].setFocus(reason)
        return True


def _write(
    painter: QPainter, box: QRectF, text: str, font: QFont, colour: str, align: Qt.AlignmentFlag
) -> None:
    painter.setFont(font)
    painter.setPen(theme.colour(colour))
    shown = QFontMetricsF(font).elidedText(text, Qt.TextElideMode.ElideRight, box.width())
    painter.drawText(box, int(align), shown)


def _paint_image(painter: QPainter, frame: QRectF, picture: ScenePicture) -> None:
    """The image in the middle of a square, or an empty place."""
    if picture.image is None:
        painter.fillRect(frame, theme.colour("sunken"))
        return
    size = picture.image.size().toSizeF()
    scale = frame.width() / max(size.width(), size.height(), 1.0)
    place = QRectF(frame.topLeft(), size * scale)
    place.moveCenter(frame.center())
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, scale < _SHARP)
    painter.drawImage(place, picture.image)
