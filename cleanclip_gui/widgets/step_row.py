"""One step of a chain of work: how it stands, its figure, what it came to, and where that is."""

from __future__ import annotations

from typing import NamedTuple

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import ElidedLabel, IconLabel, Label, Note, push_button
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import duration_text, plain

_MARK = 16  # pixels
_MOST = 2000  # letters


class StepLook(NamedTuple):
    """How a state of a step is shown: icon, its colour, and a word."""

    icon: str
    colour: str
    word: str


class StepRow(QWidget):
    """A line about a step, with sentences below it; ``show_clicked`` asks for what it made.

    Parameters
    ----------
    show
        Text of the button that shows what the step made.
    title_width
        In pixels, so that the figures of several lines stand one below the other; 0 leaves all
        room to the title.
    """

    show_clicked = Signal()

    def __init__(self, show: str = "Show", title_width: int = 0) -> None:
        super().__init__()
        self.mark = IconLabel(_MARK)
        self.title = ElidedLabel("", "field")
        self.figure = ElidedLabel("", "heading")
        self.state = Label("", "caption")
        self.show_button = push_button(show, self.show_clicked, look="quiet flush")
        keeps = self.show_button.sizePolicy()  # so that states stand one below the other
        keeps.setRetainSizeWhenHidden(True)
        self.show_button.setSizePolicy(keeps)
        self.words = Note("caption")
        self.rest = Label("", "caption", wrap=True)
        self.more = push_button("More", look="quiet")
        self.more.setCheckable(True)
        self.more.toggled.connect(self._on_more_toggled)
        self.title.setMinimumHeight(self.show_button.sizeHint().height())  # with or without it
        stretch = int(not title_width)
        if title_width:
            self.title.setFixedWidth(theme.px(title_width))
        head = row(
            self.mark, (self.title, stretch), (self.figure, 1 - stretch), self.more, self.state,
            self.show_button, spacing=theme.SPACE_S,
        )  # fmt: skip
        indent = theme.px(_MARK) + theme.SPACE_S
        below = column(self.words, self.rest, margins=(indent, 0, 0, 0), spacing=2)
        column(head, below, of=self, spacing=2)
        self.rest.hide()

    def show_step(
        self, title: str, look: StepLook, words: str, *, seconds: float = 0.0, figure: str = "",
        rest: str = "", can_show: bool = False,
    ) -> None:  # fmt: skip
        """Show how the step stands.

        Parameters
        ----------
        title, look
            What it is called, and its state.
        words
            What it came to.
        seconds
            How long it took; 0 says nothing.
        figure
            The number that it came to.
        rest
            Further sentences, folded away at first.
        can_show
            Whether there is something that its button shows.
        """
        self.mark.show_icon(look.icon, look.colour)
        self.title.setText(plain(title, 100))
        took = f", {duration_text(seconds)}" if seconds else ""
        self.state.setText(f"{look.word}{took}")
        self.figure.setText(plain(figure, _MOST))
        self.words.setText(plain(words, _MOST))
        self.rest.setText(plain(rest, 4 * _MOST, lines=True))
        self.more.setVisible(bool(rest))
        self.rest.setVisible(bool(rest) and self.more.isChecked())
        self.show_button.setVisible(can_show)
        name, description = self.title.text(), f"{self.state.text()}. {self.words.text()}"
        self.setAccessibleName(name)
        self.setAccessibleDescription(description)
        self.more.setAccessibleName(f"{self.more.text()} about {name}")
        self.show_button.setAccessibleName(f"{self.show_button.text()}: {name}")
        self.show_button.setAccessibleDescription(self.words.text())

    def _on_more_toggled(self, opened: bool) -> None:
        self.rest.setVisible(opened)
        self.more.setText("Less" if opened else "More")
        self.more.setAccessibleName(f"{self.more.text()} about {self.title.text()}")
