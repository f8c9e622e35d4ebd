"""The card of a guided run, and the outline around the control that it speaks of."""

from __future__ import annotations

import shiboken6
from PySide6.QtCore import QEvent, QObject, QPoint, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label, push_button
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.text import UNBROKEN

_MARGIN = 6
_WIDTH = 21  # of the card, in heights of a line


class Outline(QWidget):
    """Draws a rounded frame around a widget that lies in ``parent``; lets the mouse through."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._target: QWidget | None = None
        self._watched: list[QWidget] = []
        self.hide()

    @property
    def target(self) -> QWidget | None:
        """What is framed."""
        return self._target

    def set_target(self, target: QWidget | None) -> None:
        """Frame another widget, or none."""
        for watched in self._watched:
            if shiboken6.isValid(watched):
                watched.removeEventFilter(self)
        self._target, self._watched = target, []
        while target is not None:  # up to the parent: in between something scrolls
            target.installEventFilter(self)
            self._watched.append(target)
            target = None if target is self.parentWidget() else target.parentWidget()
        self.follow()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Follow the target when it or what it lies in moves."""
        if event.type() in (
            QEvent.Type.Resize,
            QEvent.Type.Move,
            QEvent.Type.Show,
            QEvent.Type.Hide,
            QEvent.Type.LayoutRequest,
        ):
            self.follow()
        return super().eventFilter(watched, event)

    def follow(self) -> None:
        """Lie around the target, as far as it shows."""
        target = self._target
        if target is None or not target.isVisible():
            self.hide()
            return
        area = target.rect()
        while target is not self.parentWidget():  # what is scrolled out of sight gets no frame
            parent = target.parentWidget()
            assert parent is not None, "the target lies in the parent"
            area = area.translated(target.pos()) & parent.rect()
            target = parent
        self.setGeometry(area.adjusted(-_MARGIN, -_MARGIN, _MARGIN, _MARGIN))
        self.show()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the frame in the palette's highlight colour."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = QColor(self.palette().color(QPalette.ColorRole.Highlight))
        painter.setPen(QPen(colour, 3))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(2, 2, -2, -2), 8, 8)


class GuideCard(QFrame):
    """One step of a guided run: what to see, and Back, Next and End; the mouse can drag it."""

    next_clicked = Signal()
    back_clicked = Signal()
    ended = Signal()
    recorded_clicked = Signal()
    reset_clicked = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("guideCard")
        self.setAccessibleName("Guided run")
        self.setAutoFillBackground(True)
        self.was_dragged = False
        self._grip = QPoint()
        self._count = self._label("guideCount")
        self._title = self._label("guideTitle")
        self._body = self._label("guideBody")
        self._body.setWordWrap(True)
        self._made = Label("", "warning", wrap=True)
        self._made.hide()
        self.recorded = push_button(
            "Show recorded result", self.recorded_clicked,
            tip="Show what an earlier run came to; nothing is run.",
        )  # fmt: skip
        self.recorded.hide()
        self.reset = push_button(
            "Reset", self.reset_clicked,
            tip="Cancel what runs, take the trigger away, and go to the first step.",
        )  # fmt: skip
        self.reset.setFlat(True)
        self.back = push_button("Back", self.back_clicked)
        self.next = push_button("Next", self.next_clicked, look="primary")
        self.next.setObjectName("guide.next")
        self.end = push_button("End tour", self.ended)
        self.end.setFlat(True)

        head = row(self._title, None, self.reset, self._count)
        buttons = row(self.end, None, self.back, self.next)
        self._layout = layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 12, 16, 12)
        layout.setSpacing(8)
        layout.addLayout(head)
        layout.addWidget(self._made)
        layout.addWidget(self._body)
        layout.addWidget(self.recorded, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addStretch()
        layout.addLayout(buttons)

    def _label(self, name: str) -> Label:
        label = Label()
        label.setObjectName(name)
        return label

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """The keys of a presenter's clicker go on and back; Escape ends."""
        keys = {
            Qt.Key.Key_PageDown: self.next,
            Qt.Key.Key_PageUp: self.back,
            Qt.Key.Key_Escape: self.end,
        }
        button = keys.get(Qt.Key(event.key()))
        if button is None:
            super().keyPressEvent(event)
        else:
            button.click()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Take hold of it."""
        self._grip = event.position().toPoint()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Drag it, within the window."""
        window = self.parentWidget()
        assert window is not None
        place = self.geometry().translated(event.position().toPoint() - self._grip)
        if event.buttons() & Qt.MouseButton.LeftButton and window.rect().contains(place):
            self.move(place.topLeft())
            self.was_dragged = True

    def width_for(self, room: int) -> int:
        """Width for a readable line and for all buttons' words, but no more than ``room``."""
        usual = _WIDTH * self._body.fontMetrics().height()
        return min(max(usual, self._layout.totalMinimumSize().width()), room)

    def height_at(self, width: int) -> int:
        """What the text needs; never so little that a short sentence looks lost."""
        frame = 2 * self.frameWidth()
        return max(self._layout.heightForWidth(width - frame) + frame, 132)

    def set_pixel_size(self, pixels: int) -> None:
        """Write title and text so large; 0: as large as all else."""
        for label, share in ((self._body, 1.0), (self._title, 1.2), (self._made, 0.9)):
            theme.set_pixels(label, round(share * pixels))

    def offer_recorded(self, on: bool) -> None:
        """Offer the recorded result of the step."""
        self.recorded.setVisible(on)

    def show_made(self, date: str) -> None:
        """Show when a recorded result was made; empty if it is live."""
        self._made.setText(f"Recorded earlier, not live: {date}")
        self._made.setVisible(bool(date))

    def show_step(
        self, number: int, count: int, title: str, body: str, next_text: str, can_go_on: bool
    ) -> None:
        """Show step ``number`` (from 1) of ``count``."""
        self._count.setText(f"{number} of {count}")
        self._title.setText(title)
        self._body.setText(body.replace(" %", UNBROKEN))
        self.next.setText(next_text)
        had_focus = self.next.hasFocus() or self.hasFocus()
        self.next.setEnabled(can_go_on)
        self.back.setEnabled(number > 1)
        if had_focus:  # Qt would hand it to some button at the other end of the window
            (self.next if can_go_on else self).setFocus()
        self.setAccessibleDescription(f"{title}. {body}")
        self._layout.activate()
