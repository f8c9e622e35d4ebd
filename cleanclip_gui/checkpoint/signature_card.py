"""Who signed the file on show, and the act of trusting that key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QLineEdit, QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.commands import Actions
from cleanclip_gui.widgets.controls import Label, Note, bind, named, push_button, show_fitting
from cleanclip_gui.widgets.dialog_frame import FittedDialog, field_form, frame, primary_button
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.name_filters import ALL
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.reading import InputError
from ml_core.signing import PublicKey, SignatureFacts, caution_of_name, read_public_key, trust_key
from ml_core.signing.keys import LONGEST_NAME, read_key_file

_TONES = {"bad": "danger", "damaged": "caution"}  # a good one is no praise of the model
_MEANS = "A signature says who vouches for these bytes, not what the model does."
_LEAD = (
    "The signature does not hold its key. Ask the signer for the public key, a small PEM file, and "
    "compare the id below with the signer in another way, such as by phone. A key that lies beside "
    "the checkpoint proves nothing: one person can have made both."
)
_KEYS = f"Public keys (*.pub *.pem);;{ALL}"


class SignatureCard(QFrame):
    """Hidden while there is no signature.

    Parameters
    ----------
    actions
        With that of ``file.trust``, which is offered where the key is not known.
    """

    def __init__(self, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAccessibleName("Signature")
        self.text = Label(wrap=True, selectable=True)
        self.key = Note("caption", selectable=True)
        means = Label(_MEANS, "subtle", wrap=True)
        means.setMinimumWidth(1)
        self.trust = bind(QPushButton(), actions["file.trust"])
        self.trust.setText("Trust this key…")
        column(
            Label("Signature", "heading"), self.text, self.key, means, row(self.trust, None),
            of=self, margins=theme.SPACE_L, spacing=theme.SPACE_S,
        )  # fmt: skip
        self.show_facts(None)

    def show_facts(self, facts: SignatureFacts | None) -> None:
        """Show what a signature says; None hides the card."""
        shown = "" if facts is None else plain(facts.sentence, 1000)
        show_fitting(self.text, shown)
        key = ""
        if facts is not None and facts.key_id:
            key = f"Key {grouped(facts.key_id)}, in {plain(facts.file, 60)}"
        self.key.setText(key)
        self.trust.setVisible(facts is not None and can_trust(facts))
        theme.set_property(self, "tone", _TONES.get(facts.state, "") if facts else "")
        self.setAccessibleDescription(shown)
        self.setVisible(facts is not None)


def can_trust(facts: SignatureFacts) -> bool:
    """Whether the key of a signature is one that could be trusted."""
    return facts.state == "unknown key" and bool(facts.key_id)


class TrustDialog(FittedDialog):
    """Takes the key of a signature as somebody's; ``trusted`` when it was done.

    Parameters
    ----------
    key_id
        Id of the key that the signature names; no other is taken.
    folder
        Where to begin to look for its file.
    """

    trusted = Signal()

    def __init__(
        self, key_id: str, folder: str, prompts: Prompts, parent: QWidget | None = None
    ) -> None:
        super().__init__("Trust a key", parent)
        self._key_id, self._folder, self._prompts = key_id, folder, prompts
        self._key: PublicKey | None = None
        self._raw, self._file = b"", ""
        shown = named(Label(grouped(key_id), wrap=True, selectable=True), "Id of the key")
        self.file = Label("no file chosen", "subtle")
        self.file.setMinimumWidth(1)
        self.choose = push_button(
            "Choose…", self._on_choose_clicked, name="Choose the public key's file"
        )
        chosen = row((self.file, 1), self.choose)
        self.name = named(QLineEdit(), "Whose key it is")
        self.name.setMaxLength(LONGEST_NAME)
        self.name.setPlaceholderText("Ada Lovelace, Analytical Engines")
        self.name.textChanged.connect(self._on_text_changed)
        form = field_form()
        form.addRow(Label("Id (SHA-256)", "field"), shown)
        form.addRow(Label("Public key", "field", buddy=self.choose), chosen)
        form.addRow(Label("Whose key it is", "field", buddy=self.name), self.name)
        self.state = Note("error")
        self.ok = primary_button("Trust", self._on_accepted)
        frame(self, "Trust a key", (Label(_LEAD, "subtle", wrap=True), form, self.state), self.ok)
        self.resize(600, 0)
        self._show_message("")

    def _on_choose_clicked(self) -> None:
        path = self._prompts.open_file(self, "Choose a public key", self._folder, _KEYS)
        if path:
            self.take(Path(path))

    def take(self, path: Path) -> None:
        """Use the file as the key, or say why it cannot be."""
        self._key, self._file = None, plain(path.name, 200)
        self.file.setText(plain(path.name, 40))
        try:
            self._raw = read_key_file(path)
            key = read_public_key(self._raw, self._file)
        except InputError as error:
            self._show_message(error.sentence)
            return
        if key.key_id != self._key_id:
            self._show_message(
                f"{self._file} ({key.short}) is not the key that the signature names: its owner "
                "did not sign this file."
            )
            return
        self._key = key
        self._show_message("")

    def _on_text_changed(self) -> None:
        if self._key is not None:
            try:
                words = caution_of_name(replace(self._key, name=self.name.text().strip()))
            except InputError as error:
                words = error.sentence
            self._show_message(words)
        self._follow()

    def _show_message(self, problem: str) -> None:
        self.state.setText(plain(problem, 600))
        self._follow()

    def _follow(self) -> None:
        self.ok.setEnabled(self._key is not None and bool(self.name.text().strip()))

    def _on_accepted(self) -> None:
        try:
            trust_key(self._raw, self._file, self.name.text())
        except InputError as error:
            self._show_message(error.sentence)
            return
        self.trusted.emit()
        self.accept()


def grouped(digest: str) -> str:
    """Hex digits in groups of eight, so that the label can break the line."""
    return " ".join(digest[i : i + 8] for i in range(0, len(digest), 8))
