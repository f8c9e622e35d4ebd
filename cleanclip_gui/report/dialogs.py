"""Ask what a bundle is to hold and who signs it, and what one is to be checked against."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QFormLayout, QLayout, QLineEdit, QRadioButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import TICK, Label, Note, named
from cleanclip_gui.widgets.dialog_frame import FittedDialog, field_form, frame, primary_button
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.name_filters import CHECKPOINTS
from cleanclip_gui.widgets.number_box import ElidingComboBox, fill
from cleanclip_gui.widgets.path_edit import PathEdit
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.jobs.verify import SAMPLE, VerifySpec
from ml_core.reading.errors import InputError
from ml_core.signing import PublicKey

_LEAD = "Everything that the report stands on goes into one place, so that a stranger can check it."
_WEIGHTS = "The weights make the bundle large. Without them, it names the checkpoints by SHA-256."
_PICTURES = (
    "Others can then measure again on them. The demo's are left out: the program composes them."
)
_NO_PDF = "This needs the package weasyprint: install the extra “pdf”."
_NO_LIBRARY = "This needs the package cryptography: install the extra “sign”."


class WriteDialog(FittedDialog):
    """``chosen`` when the place is to be asked for.

    It carries whether the bundle is a zip, fields of a `ReportSpec`, and the id of the key that
    signs it with its passphrase, or None. The id is empty for a new key in the author's name.

    Parameters
    ----------
    keys
        The user's own keys.
    author
        Who wrote the last one.
    """

    chosen = Signal(bool, object, object)

    def __init__(
        self, keys: Sequence[PublicKey], author: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__("Write a bundle", parent)
        self.folder = QRadioButton("A &folder")
        self.as_zip = QRadioButton("One &zip file, to send")
        self.folder.setChecked(True)
        self.images = QCheckBox("Include the &pictures")
        self.checkpoints = QCheckBox("Include the &checkpoints")
        self.images.setToolTip(_PICTURES)
        self.checkpoints.setToolTip(_WEIGHTS)
        self.pdf = QCheckBox("Also the report as P&DF")
        problem = "" if find_spec("weasyprint") is not None else _NO_PDF
        self.pdf.setEnabled(not problem)
        self.pdf.setChecked(not problem)
        self.pdf.setToolTip(problem)
        self.author = named(QLineEdit(author), "Author")
        self.author.setMaxLength(200)
        self.author.setPlaceholderText("a name, an organisation; may stay empty")
        author_row = field_form()
        author_row.addRow(Label("A&uthor", "field", buddy=self.author), self.author)
        self.sign = QCheckBox("&Sign it")
        problem = "" if find_spec("cryptography") is not None else _NO_LIBRARY
        self.sign.setEnabled(not problem)
        self.sign.setToolTip(problem)
        self.signing = self._key_fields(keys)
        self.signing.hide()
        self.sign.toggled.connect(self.signing.setVisible)
        self.ok = primary_button("Choose where to save…", self._on_accepted)
        boxes = (self.checkpoints, self.pdf, self.sign)  # each with what is to be known of it
        weights, pdf, sign = (Label(box.toolTip(), "caption", wrap=True) for box in boxes)
        for note in (weights, pdf, sign):
            note.setIndent(theme.px(TICK))
            if not note.text():
                note.hide()
        parts: tuple[QWidget | QLayout, ...] = (
            Label(_LEAD, wrap=True), self.folder, self.as_zip, self.images, self.checkpoints,
            weights, self.pdf, pdf, author_row, self.sign, sign, self.signing,
        )  # fmt: skip
        frame(self, "Write a bundle", parts, self.ok)
        self.resize(560, 0)

    def _key_fields(self, keys: Sequence[PublicKey]) -> QWidget:
        """Which key signs: one that the user has, or a new one."""
        named_keys = [(key.key_id, f"{plain(key.name, 60)} ({key.short})") for key in keys]
        self.key = fill(
            named(ElidingComboBox(), "Key"), [*named_keys, ("", "A new key in the author's name")]
        )
        self.passphrase = named(QLineEdit(), "Passphrase")
        self.again = named(QLineEdit(), "Again")
        form = field_form()
        form.addRow(Label("Key", "field", buddy=self.key), self.key)
        for edit in (self.passphrase, self.again):
            edit.setEchoMode(QLineEdit.EchoMode.Password)
            form.addRow(Label(edit.accessibleName(), "field", buddy=edit), edit)
        self.key_problem = Note("error")
        fields = QWidget()
        column(form, self.key_problem, of=fields, margins=(theme.px(TICK), 0, 0, 0))

        def on_key() -> None:
            is_new = not self.key.currentData()
            form.setRowVisible(self.again, is_new)
            words = "protects the key; may stay empty" if is_new else "if it has one"
            self.passphrase.setPlaceholderText(words)

        self.key.currentIndexChanged.connect(on_key)
        on_key()
        return fields

    def _signer(self) -> tuple[str, str] | None:
        """Id and passphrase of the key that signs; the id of a new one is empty.

        Raises
        ------
        InputError
            If something is missing.
        """
        if not self.sign.isChecked():
            return None
        key_id, passphrase = str(self.key.currentData()), self.passphrase.text()
        if not key_id:
            if not self.author.text().strip():
                raise InputError("Name the author above: the new key gets that name.")
            if passphrase != self.again.text():
                raise InputError("The two passphrases differ; type the same one twice.")
        return key_id, passphrase

    def _on_accepted(self) -> None:
        try:
            signer = self._signer()
        except InputError as error:
            self.key_problem.setText(error.sentence)
            return
        self.accept()
        fields = {
            "include_images": self.images.isChecked(),
            "include_checkpoints": self.checkpoints.isChecked(),
            "pdf": self.pdf.isChecked(),
            "author": self.author.text().strip() or None,
        }
        self.chosen.emit(self.as_zip.isChecked(), fields, signer)


_VERIFY_LEAD = (
    "With the checkpoints, their identity is checked too; with the pictures, the model's answers "
    "are. What you do not give stays “not checked”. The demo's pictures need no folder."
)


class VerifyDialog(FittedDialog):
    """``chosen(VerifySpec)`` when the check is to begin.

    Parameters
    ----------
    bundle
        The folder or zip.
    checkpoints
        Files that are offered: suspect, cleaned, reference; empty where none is.
    image_sets
        Ids of the sets of the bundle; where there is one, it is not named.
    prompts
        Ask for files.
    pictures
        Where they are offered from; empty offers none.
    """

    chosen = Signal(object)

    def __init__(
        self, bundle: str, checkpoints: Sequence[str], image_sets: Sequence[str], prompts: Prompts,
        parent: QWidget | None = None, pictures: str = "",
    ) -> None:  # fmt: skip
        super().__init__("Check against files", parent)
        self._bundle = bundle
        form = field_form()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)

        def path_edit(name: str, ask: Callable[[str, str], str], path: str) -> PathEdit:
            edit = PathEdit(name, "not given")
            edit.setText(path)
            button = edit.browse("open", f"Choose {name}", partial(ask, name))
            beside = row((edit, 1), button, spacing=theme.SPACE_S)
            form.addRow(Label(name, "field", buddy=edit), beside)
            return edit

        def ask_file(name: str, path: str) -> str:
            return prompts.open_file(self, f"{name} checkpoint", path, CHECKPOINTS)

        def ask_folder(name: str, path: str) -> str:
            return prompts.open_folder(self, name, path)

        offered = zip(("Suspect", "Cleaned", "Reference"), checkpoints, strict=True)
        self.checkpoints = [path_edit(name, ask_file, path) for name, path in offered]
        sets = image_sets if len(image_sets) > 1 else [""]
        self.images = {
            id_: path_edit(f"Pictures, {id_}" if id_ else "Pictures", ask_folder, pictures)
            for id_ in sets
        }
        self.sample = QRadioButton(f"A &sample of {SAMPLE} pictures of each set")
        self.full = QRadioButton("&Every picture")
        self.sample.setChecked(True)
        self.ok = primary_button("Check", self._on_accepted)
        parts = (Label(_VERIFY_LEAD, wrap=True), form, self.sample, self.full)
        frame(self, f"Check {plain(Path(bundle).name, 80)}", parts, self.ok)
        self.resize(620, 0)

    def _on_accepted(self) -> None:
        self.accept()
        self.chosen.emit(
            VerifySpec(
                bundle=self._bundle,
                checkpoints=tuple(filter(None, (edit.path() for edit in self.checkpoints))),
                images={id_: edit.path() for id_, edit in self.images.items() if edit.path()},
                sample=None if self.full.isChecked() else SAMPLE,
                seed=secrets.randbits(32),
            )
        )
