"""Add a file to the user's own list of known files: what it is, and what is known of it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLineEdit, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label, Note
from cleanclip_gui.widgets.dialog_frame import FittedDialog, field_form, frame, primary_button
from cleanclip_gui.widgets.text import plain
from ml_core.checkpoints.known import KnownFile, add_known
from ml_core.reading import InputError, Inspection

_LEAD = (
    "The entry is stored under this file's SHA-256{}: the window and the command line show it when "
    "the file is opened again{}. The first two fields are required; leave empty what you do not "
    "know."
)
# field -> title, hint, longest text
_FIELDS: dict[str, tuple[str, str, int]] = {
    "title": ("What it is", "a CLIP RN50 poisoned with a BadNets patch", 300),
    "source": ("Where it was published", "a repository, a paper, a colleague", 300),
    "trigger": ("Trigger", "16 px patch, random place", 300),
    "target": ("Target class", "banana", 100),
    "clean_accuracy": ("Clean accuracy", "57.4 %", 12),
    "asr": ("Attack success rate", "99.9 %", 12),
    "note": ("Note", "", 500),
}
_RATES = ("clean_accuracy", "asr")
_NEEDED = ("title", "source")


class KnownDialog(FittedDialog):
    """Asks for an entry, and emits ``added(KnownFile)``; that of a refused file is written first.

    Whoever takes any other entry reads the file's tensors and writes both.
    """

    added = Signal(object)

    def __init__(
        self, inspection: Inspection, architecture: str, parent: QWidget | None = None
    ) -> None:
        super().__init__("Add to known files", parent)
        self.inspection, self._architecture = inspection, architecture
        self.fields: dict[str, QLineEdit] = {}
        form = field_form()
        for name, (title, hint, longest) in _FIELDS.items():
            field = self.fields[name] = QLineEdit()
            field.setPlaceholderText(hint)
            field.setMaxLength(longest)
            field.setAccessibleName(title)
            field.textChanged.connect(self._on_text_changed)
            form.addRow(Label(title, "field", buddy=field), field)
        self.state = Note("error")
        self.ok = primary_button("Add", self._on_accepted)
        more = (" and its tensors", ", and Identify finds its copies")
        lead = _LEAD.format(*(("", "") if inspection.refused else more))
        parts = (Label(lead, "subtle", wrap=True), form, self.state)
        frame(self, f"Add {plain(inspection.name, 80)}", parts, self.ok)
        self.resize(theme.px(600), 0)
        self._on_text_changed()

    def _problem(self) -> str:
        """What keeps the entry from being added, as a sentence; empty if nothing does."""
        for name in _RATES:
            text = self.fields[name].text().strip()
            if text and rate(text) is None:
                return f"{_FIELDS[name][0]}: write a percentage such as 57.4 %."
        return ""

    def _on_text_changed(self) -> None:
        problem = self._problem()
        self.state.setText(problem)
        filled = all(self.fields[name].text().strip() for name in _NEEDED)
        self.ok.setEnabled(filled and not problem)

    def _on_accepted(self) -> None:
        fields: dict[str, Any] = {name: field.text().strip() for name, field in self.fields.items()}
        for name in _RATES:
            fields[name] = rate(fields[name])
        sha256, architecture = self.inspection.sha256, self._architecture[:100]
        entry = KnownFile(**fields, sha256=sha256, architecture=architecture)
        try:
            if self.inspection.refused:
                add_known(entry)
        except InputError as error:
            self.state.setText(plain(error.sentence, 600))
            return
        self.added.emit(entry)
        self.accept()


def rate(text: str) -> float | None:
    """Parse a percentage, with or without its sign, as a fraction; None if it cannot be parsed."""
    try:
        value = float(text.strip().removesuffix("%").strip().replace(",", "."))
    except ValueError:
        return None
    return value / 100 if 0 <= value <= 100 else None
