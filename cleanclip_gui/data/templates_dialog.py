"""An editor of prompt templates."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QDialog, QPlainTextEdit, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.action_button import push_button
from cleanclip_gui.widgets.dialog_frame import frame, primary_button
from cleanclip_gui.widgets.label import Label, named
from cleanclip_gui.widgets.text import plain, plural


def parse_templates(text: str) -> tuple[tuple[str, ...], str]:
    """Templates, one a line, and what is wrong with them (empty if nothing)."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    found = tuple(line for _, line in lines if line)
    for number, line in lines:
        if line and "{}" not in line:
            return found, f"Line {number} has no {{}} for the class name."
    return found, "" if found else "Write at least one template, such as: a photo of a {}."


class TemplatesDialog(QDialog):
    """Emits ``chosen(tuple | None)``; None asks for the label set's own templates."""

    chosen = Signal(object)

    def __init__(
        self, templates: Sequence[str], example: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Prompt templates")
        self._example = example or "dog"
        lead = Label(
            "One per line; {} is replaced by the class name. A class is the average "
            "of its prompts.",
            "subtle",
            wrap=True,
        )
        self.edit = named(QPlainTextEdit("\n".join(templates)), "Prompt templates, one per line")
        self.edit.setTabChangesFocus(True)
        self.state = Label()
        self.state.setWordWrap(True)
        self.ok = primary_button("Use these")
        self.own = push_button("Use the label set's own", self._on_own, look="quiet")
        self.ok.clicked.connect(self._on_accepted)
        self.edit.textChanged.connect(self._on_text_changed)
        parts = (lead, self.edit, self.state)
        frame(self, "Prompt templates", parts, self.ok, aside=self.own)
        self.resize(560, 460)
        self._on_text_changed()

    def _on_text_changed(self) -> None:
        found, problem = parse_templates(self.edit.toPlainText())
        theme.set_property(self.edit, "invalid", bool(problem))
        theme.set_property(self.state, "role", "error" if problem else "subtle")
        example = found[0].replace("{}", self._example) if found else ""
        self.state.setText(problem or f"{plural(len(found), 'template')}; {plain(example, 120)}")
        self.ok.setEnabled(not problem)

    def _on_accepted(self) -> None:
        self.chosen.emit(parse_templates(self.edit.toPlainText())[0])
        self.accept()

    def _on_own(self) -> None:
        self.chosen.emit(None)
        self.accept()
