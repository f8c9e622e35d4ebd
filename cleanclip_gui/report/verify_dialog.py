"""Ask for the files that a bundle is checked against."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFormLayout, QLineEdit, QRadioButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label, named, push_button
from cleanclip_gui.widgets.dialog_frame import FittedDialog, field_form, frame, primary_button
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.name_filters import CHECKPOINTS
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.jobs.verify import SAMPLE, VerifySpec

_LEAD = (
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
        parts = (Label(_LEAD, wrap=True), form, self.sample, self.full)
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
