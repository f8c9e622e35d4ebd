"""An editor of the class list that the zero-shot classifier chooses from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QDialog, QPlainTextEdit, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.dialog_frame import frame, primary_button, resize_within
from cleanclip_gui.widgets.label import Label, named
from cleanclip_gui.widgets.text import plain, plural


def parse_classes(text: str) -> tuple[str, ...]:
    """Class names, one a line, in their order; empty lines are left out."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


class ClassesDialog(QDialog):
    """Emits ``chosen(tuple)``: the class names in order, at least two."""

    chosen = Signal(object)

    def __init__(self, names: Sequence[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Class list")
        lead = Label(
            "One per line, in the order of the label numbers. The model chooses among these "
            "names; add more to see which classes a trigger leads to.",
            "subtle",
            wrap=True,
        )
        self.edit = named(QPlainTextEdit("\n".join(names)), "Class names, one per line")
        self.edit.setTabChangesFocus(True)
        self.state = Label("", wrap=True)
        self.ok = primary_button("Use these")
        self.ok.clicked.connect(self._on_accepted)
        self.edit.textChanged.connect(self._on_text_changed)
        frame(self, "Class list", (lead, self.edit, self.state), self.ok)
        resize_within(self, 460, 520)
        self._on_text_changed()

    def _on_text_changed(self) -> None:
        names = parse_classes(self.edit.toPlainText())
        few = len(names) < 2
        twice = [name for name, count in Counter(names).items() if count > 1]
        text = plural(len(names), "class", "classes")
        if few:
            text = "Write at least two class names; one alone is always predicted."
        elif twice:
            text += (
                f"; {plain(twice[0], 40)} is listed twice: the two classes are told apart "
                "by their numbers"
            )
        role = "error" if few else "warning" if twice else "subtle"
        theme.set_property(self.state, "role", role)
        theme.set_property(self.edit, "invalid", few)
        self.state.setText(text)
        self.ok.setEnabled(not few)

    def _on_accepted(self) -> None:
        self.chosen.emit(parse_classes(self.edit.toPlainText()))
        self.accept()
