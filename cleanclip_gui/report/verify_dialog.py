"""Ask for the files that a bundle is checked against."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFormLayout, QRadioButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label
from cleanclip_gui.widgets.dialog_frame import FittedDialog, field_form, frame, primary_button
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.name_filters import CHECKPOINTS
from cleanclip_gui.widgets.path_edit import PathEdit
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
        self._bundle = bundle
        form = field_form()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)

        def path_edit(name: str, ask: Callable[[str, str], str]) -> PathEdit:
            edit = PathEdit(name, "not given")
            button = edit.browse("open", f"Choose {name}", partial(ask, name))
            beside = row((edit, 1), button, spacing=theme.SPACE_S)
            form.addRow(Label(name, "field", buddy=edit), beside)
            return edit

        def ask_file(name: str, path: str) -> str:
            return prompts.open_file(self, f"{name} checkpoint", path, CHECKPOINTS)

        def ask_folder(name: str, path: str) -> str:
            return prompts.open_folder(self, name, path)

        names = ("Suspect", "Cleaned", "Reference")
        self.checkpoints = [path_edit(name, ask_file) for name in names]
        for edit, path in zip(self.checkpoints, checkpoints, strict=False):
            edit.setText(path)
        sets = image_sets if len(image_sets) > 1 else [""]
        self.images = {
            id_: path_edit(f"Pictures, {id_}" if id_ else "Pictures", ask_folder) for id_ in sets
        }
        self.sample = QRadioButton(f"A &sample of {SAMPLE} pictures of each set")
        self.full = QRadioButton("&Every picture")
        self.sample.setChecked(True)
        self.ok = primary_button("Check")
        self.ok.clicked.connect(self._on_accepted)
        parts = (Label(_LEAD, wrap=True), form, self.sample, self.full)
        frame(self, plain(Path(bundle).name, 80), parts, self.ok)
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
