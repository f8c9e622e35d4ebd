"""Ask what a bundle is to hold and who signs it, and what one is to be checked against."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QFormLayout, QLayout, QLineEdit, QRadioButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label, named, push_button
from cleanclip_gui.widgets.dialog_frame import FittedDialog, field_form, frame, primary_button
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.name_filters import CHECKPOINTS
from cleanclip_gui.widgets.number_box import ElidingComboBox
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.jobs.verify import SAMPLE, VerifySpec
from ml_core.reports.record import PDF_FILE
from ml_core.reports.views import views
from ml_core.signing import PublicKey

_LEAD = (
    "Everything that the report stands on goes into one place, so that a stranger can check it. "
    "Some pictures of each measurement are measured again, to know by how much the model's answers "
    "move between machines."
)
_WEIGHTS = "The weights make it large. Without them it names them by their SHA-256."
_NO_PDF = "This needs the package weasyprint: install cleanclip-gui[pdf]."
_NO_PDF_VIEW = "This version makes no PDF; print report.html in a browser."
_NO_KEY = "You have no key yet; “cleanclip key new” makes one."
_NO_LIBRARY = "This needs the package cryptography: install cleanclip-gui[sign]."


@dataclass(frozen=True)
class BundleChoice:
    """What the bundle is to be; ``key`` is the id of the key that signs it, or empty."""

    as_zip: bool
    images: bool
    checkpoints: bool
    pdf: bool
    author: str = ""
    key: str = ""
    passphrase: str = ""


class WriteDialog(FittedDialog):
    """``chosen(BundleChoice)`` when the place is to be asked for.

    Parameters
    ----------
    keys
        The user's own keys.
    author
        Who wrote the last one.
    """

    chosen = Signal(object)

    def __init__(
        self, keys: Sequence[PublicKey], author: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Write a bundle")
        self._keys = tuple(keys)
        self.folder = QRadioButton("A &folder")
        self.as_zip = QRadioButton("One &zip file, to send")
        self.folder.setChecked(True)
        self.images = QCheckBox("Include the &pictures")
        self.checkpoints = QCheckBox("Include the &checkpoints")
        self.checkpoints.setToolTip(_WEIGHTS)
        self.pdf = QCheckBox("Also the report as P&DF")
        problem = _pdf_problem()
        self.pdf.setEnabled(not problem)
        self.pdf.setToolTip(problem)
        self.author = named(QLineEdit(author), "Author")
        self.author.setMaxLength(200)
        self.author.setPlaceholderText("a name, an organisation; may stay empty")
        author_row = field_form()
        author_row.addRow(Label("A&uthor", "field", buddy=self.author), self.author)
        self.sign = QCheckBox("&Sign it")
        problem = _sign_problem(keys)
        self.sign.setEnabled(not problem)
        self.sign.setToolTip(problem)
        self.key = named(ElidingComboBox(), "Key")
        for key in keys:
            self.key.addItem(f"{plain(key.name, 60)} ({key.short})", key.key_id)
        self.passphrase = named(QLineEdit(), "Passphrase")
        self.passphrase.setEchoMode(QLineEdit.EchoMode.Password)
        self.passphrase.setPlaceholderText("if it has one")
        form = field_form()
        form.addRow(Label("Key", "field", buddy=self.key), self.key)
        form.addRow(Label("Passphrase", "field", buddy=self.passphrase), self.passphrase)
        self.signing = QWidget()
        self.signing.setLayout(form)
        form.setContentsMargins(theme.SPACE_XL, 0, 0, 0)
        self.signing.hide()
        self.sign.toggled.connect(self.signing.setVisible)
        self.ok = primary_button("Choose where to save…")
        self.ok.clicked.connect(self._on_accepted)
        notes = [
            Label(text, "caption", wrap=True)
            for text in dict.fromkeys((self.pdf.toolTip(), self.sign.toolTip())) if text
        ]  # fmt: skip
        parts: tuple[QWidget | QLayout, ...] = (
            Label(_LEAD, wrap=True), self.folder, self.as_zip, self.images, self.checkpoints,
            Label(_WEIGHTS, "caption", wrap=True), self.pdf, author_row,
            self.sign, self.signing, *notes,
        )  # fmt: skip
        frame(self, "Write a bundle", parts, self.ok)
        self.resize(560, 0)

    def _on_accepted(self) -> None:
        self.accept()
        signs = self.sign.isChecked()
        self.chosen.emit(
            BundleChoice(
                as_zip=self.as_zip.isChecked(),
                images=self.images.isChecked(),
                checkpoints=self.checkpoints.isChecked(),
                pdf=self.pdf.isChecked(),
                author=self.author.text().strip(),
                key=str(self.key.currentData()) if signs else "",
                passphrase=self.passphrase.text() if signs else "",
            )
        )


def _pdf_problem() -> str:
    """Why no PDF can be made; empty if one can."""
    if not any(view.path == PDF_FILE for view in views()):
        return _NO_PDF_VIEW
    return "" if find_spec("weasyprint") is not None else _NO_PDF


def _sign_problem(keys: Sequence[PublicKey]) -> str:
    """Why nothing can be signed; empty if it can."""
    if find_spec("cryptography") is None:
        return _NO_LIBRARY
    return "" if keys else _NO_KEY


_VERIFY_LEAD = (
    "With the checkpoints their identity is checked too, and with the pictures every answer of the "
    "model. What is not given stays “not checked”. The demo's pictures need no folder."
)


class VerifyDialog(FittedDialog):
    """``chosen(VerifySpec)`` when the check is to begin.

    Parameters
    ----------
    bundle
        The folder or zip.
    checkpoints
        Files that are offered.
    image_sets
        Ids of the sets of the bundle; where there is one, it is not named.
    prompts
        Ask for files.
    """

    chosen = Signal(object)

    def __init__(
        self,
        bundle: str,
        checkpoints: Sequence[str],
        image_sets: Sequence[str],
        prompts: Prompts,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Check against files")
        self._bundle, self._prompts = bundle, prompts
        self.checkpoints = [PathField("Suspect"), PathField("Cleaned"), PathField("Reference")]
        for field, path in zip(self.checkpoints, checkpoints, strict=False):
            field.text.setText(path)
        ids = tuple(image_sets) if len(image_sets) > 1 else ("",)
        self.images = {id_: PathField(f"Pictures, {id_}" if id_ else "Pictures") for id_ in ids}
        form = field_form()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for field in (*self.checkpoints, *self.images.values()):
            form.addRow(Label(field.name, "field", buddy=field.text), field)
            field.requested.connect(self._on_path_wanted)
        self.sample = QRadioButton(f"A &sample of {SAMPLE} pictures of each set")
        self.full = QRadioButton("&Every picture")
        self.sample.setChecked(True)
        self.ok = primary_button("Check")
        self.ok.clicked.connect(self._on_accepted)
        parts = (Label(_VERIFY_LEAD, wrap=True), form, self.sample, self.full)
        frame(self, plain(Path(bundle).name, 80), parts, self.ok)
        self.resize(620, 0)

    def _on_path_wanted(self, field: PathField) -> None:
        if field in self.checkpoints:
            path = self._prompts.open_file(self, f"{field.name} checkpoint", "", CHECKPOINTS)
        else:
            path = self._prompts.open_folder(self, field.name, "")
        if path:
            field.text.setText(path)

    def _on_accepted(self) -> None:
        self.accept()
        self.chosen.emit(
            VerifySpec(
                bundle=self._bundle,
                checkpoints=tuple(field.path for field in self.checkpoints if field.path),
                images={id_: field.path for id_, field in self.images.items() if field.path},
                sample=None if self.full.isChecked() else SAMPLE,
                seed=secrets.randbits(32),
            )
        )


class PathField(QWidget):
    """A line for a path and the button that asks for it: ``requested(PathField)``."""

    requested = Signal(object)

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = name
        self.text = named(QLineEdit(), name)
        self.text.setPlaceholderText("not given")
        self.button = push_button("Choose…", self._on_clicked, name=f"Choose {name}")
        self.button.setAutoDefault(False)
        row((self.text, 1), self.button, of=self, spacing=theme.SPACE_S)

    @property
    def path(self) -> str:
        """What was given; empty if nothing."""
        return self.text.text().strip()

    def _on_clicked(self) -> None:
        self.requested.emit(self)
