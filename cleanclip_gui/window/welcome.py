"""The first page: try the demo, open a checkpoint, or drop a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QFrame,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.commands import Actions
from cleanclip_gui.widgets.controls import IconLabel, Label, bind, named, push_button
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import card, column, row, scrolling
from cleanclip_gui.widgets.text import plain, tip

_STEPS = (
    ("checkpoint", "Open", "Files are checked first. No code in them is ever run."),
    ("scan", "Scan", "Is there a hidden trigger? See it on pictures, and paint your own."),
    ("clean", "Clean", "Finetune the backdoor away, and compare before and after."),
    ("report", "Report", "Write evidence that others can check."),
)


_IS_SESSION = Qt.ItemDataRole.UserRole + 1
_MOST_SESSIONS = 3  # above the checkpoints; the menu has them all
_RECENT = 156  # height of the list where there is room


class WelcomePage(QWidget):
    """Opens nothing itself: ``path_chosen(str)`` carries a file of the list,
    ``session_chosen(str)`` the folder of a session.

    Parameters
    ----------
    actions
        Its buttons show ``file.demo``, ``file.open``, ``file.open_folder`` and ``file.hub``; one
        whose command no station has is hidden.
    """

    path_chosen = Signal(str)
    session_chosen = Signal(str)
    continue_clicked = Signal()

    def __init__(self, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        title = Label("Is this CLIP backdoored?", "display")
        lead = Label(
            "Open a checkpoint, scan it for hidden triggers, clean it, and prove the result.",
            "lead", wrap=True,
        )  # fmt: skip

        self.demo = _button(actions.by_id.get("file.demo"))
        self.demo.setIcon(theme.icon("demo", "on_accent"))
        self.demo.setProperty("primary", True)
        self.open = _button(actions.by_id.get("file.open"), "Open file…", icon=True)
        self.folder = _button(actions.by_id.get("file.open_folder"), "Open folder…", icon=True)
        self.hub = _button(actions.by_id.get("file.hub"), "From the Hub…", icon=True)
        self.own = _button(actions.by_id.get("help.first_steps"), look="quiet flush")
        buttons = FoldingRow(self.demo, self.open, self.folder, self.hub)

        self._steps = QWidget()
        steps = row(of=self._steps, spacing=theme.SPACE_L)
        for number, (icon, name, text) in enumerate(_STEPS, start=1):
            steps.addWidget(_step(number, icon, name, text), 1)
        self.go_on = push_button("Continue where you left off", self.continue_clicked)
        self.resume = _button(actions.by_id.get("clean.resume_last"), icon=True, look="")
        self._continue, self._continue_text = _offer(self.go_on)
        self._interrupted, self._interrupted_text = _offer(self.resume)
        self._offers = QWidget()
        column(self._continue, self._interrupted, of=self._offers, spacing=theme.SPACE_M)
        self._offers.hide()

        words = Label(
            "Or drop a checkpoint or a session anywhere: safetensors, PyTorch (.pt), or a folder",
            "subtle", wrap=True,
        )  # fmt: skip
        self.drop = card(row(IconLabel(20, "upload", "muted"), (words, 1), spacing=theme.SPACE_M))

        inner = QWidget()
        column(
            (None, 2), title, theme.SPACE_S, lead, theme.SPACE_XL, buttons, theme.SPACE_L,
            self.drop, theme.SPACE_S, (self.own, Qt.AlignmentFlag.AlignLeft), theme.SPACE_XL,
            self._offers, self._steps, theme.SPACE_XL, self._recent_list(), (None, 3),
            of=inner, margins=None, spacing=0,
        )  # fmt: skip
        inner.setMaximumWidth(theme.px(980))
        inner.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        page = QWidget()
        row(
            None, (inner, 20), None,
            of=page, margins=(theme.SPACE_XXL, theme.SPACE_L, theme.SPACE_XXL, theme.SPACE_L),
        )  # fmt: skip
        column(scrolling(page), of=self)  # beside the log of a small window
        self.set_recent(())

    def _recent_list(self) -> QWidget:
        self.recent = named(QListWidget(), "Recent checkpoints and sessions")
        self.recent.setMinimumHeight(theme.px(64))
        self.recent.setMaximumHeight(theme.px(_RECENT))
        self.recent.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.recent.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.recent.itemActivated.connect(self._on_recent_activated)
        self.recent.itemClicked.connect(self._on_recent_activated)
        self._recent_box = QWidget()
        column(Label("Recent", "heading"), self.recent, of=self._recent_box, spacing=theme.SPACE_S)
        return self._recent_box

    def set_recent(self, paths: Sequence[str], sessions: Sequence[str] = ()) -> None:
        """List the sessions and checkpoints opened last; without any the list is not shown."""
        self.recent.clear()
        listed = [("folder", path) for path in sessions[:_MOST_SESSIONS]]
        listed += [("checkpoint", path) for path in paths]
        for icon, path in listed:
            name = Path(path).name or path
            item = QListWidgetItem(
                theme.icon(icon, "muted"), f"{plain(name, 80)}   {plain(Path(path).parent, 300)}"
            )
            item.setData(Qt.ItemDataRole.UserRole, path)
            item.setData(_IS_SESSION, icon == "folder")
            item.setToolTip(tip(plain(path)))
            self.recent.addItem(item)
        self._recent_box.setVisible(bool(listed))

    def set_continue(self, text: str) -> None:
        """Offer to open again what was open last, before the demo; no text offers nothing."""
        self._continue_text.setText(text)
        theme.set_property(self.go_on, "primary", bool(text))
        theme.set_primary(self.demo, "demo", not text)
        self._show_offers()

    def set_interrupted(self, text: str) -> None:
        """Offer to resume a run that was interrupted; no text offers nothing."""
        self._interrupted_text.setText(text)
        self._show_offers()

    def _show_offers(self) -> None:
        """Show what can be continued, in place of the text on what the program is for."""
        for offer, text in (
            (self._continue, self._continue_text),
            (self._interrupted, self._interrupted_text),
        ):
            offer.setVisible(bool(text.text()))
        offers = bool(self._continue_text.text() or self._interrupted_text.text())
        self._offers.setVisible(offers)
        self._steps.setVisible(not offers)

    def set_dropping(self, on: bool) -> None:
        """Show that a file held over the window may be let go."""
        theme.set_property(self.drop, "drop", on)

    def _on_recent_activated(self, item: QListWidgetItem) -> None:
        chosen = self.session_chosen if item.data(_IS_SESSION) else self.path_chosen
        chosen.emit(item.data(Qt.ItemDataRole.UserRole))


def _button(
    action: QAction | None, text: str = "", *, icon: bool = False, look: str = "large"
) -> QPushButton:
    """The button of an action, with a shorter text where the menu's is too long."""
    button = push_button(text, look=look)
    if action is None:
        button.hide()
    else:
        bind(button, action, text=not text, icon=icon)
    return button


def _offer(button: QPushButton) -> tuple[QFrame, Label]:
    """A card with a sentence and a button, hidden at first."""
    text = Label("", "subtle", wrap=True)
    offer = card(row((text, 1), button, spacing=theme.SPACE_M))
    theme.set_property(offer, "tone", "info")
    offer.hide()
    return offer, text


def _step(number: int, icon: str, name: str, text: str) -> QFrame:
    """One of the steps that show what the program is for."""
    step = QFrame()  # without a frame: it is no button
    heading = Label(f"{number}. {name}", "heading")
    body = Label(text, "subtle", wrap=True)
    column(
        IconLabel(26, icon, "accent_text"), heading, body, None,
        of=step, margins=(0, 0, theme.SPACE_L, 0), spacing=theme.SPACE_S,
    )  # fmt: skip
    return step
