"""What an examination would use: pictures and reference, with the way to choose others."""

from __future__ import annotations

import os
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QMenu, QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.examining import chosen_pictures, chosen_reference
from cleanclip_gui.commands import Actions
from cleanclip_gui.session import Session, ShownCheckpoint
from cleanclip_gui.widgets.controls import Label, push_button
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import count_text, plain, unbroken
from ml_core.data.specs import ImageSpec
from ml_core.jobs.demo import twin_for
from ml_core.jobs.examination import Examination, ExamineSpec

_IMAGES = ("file.images_folder", "file.images_table", "file.images_file", "file.images_back")
_NEAREST, _TWIN = "a known file that is near, if there is one", "the demo's clean twin"
_DRAWINGS = "the built-in drawings"


class ExaminationInputs(QWidget):
    """Two lines; ``reference_wanted`` asks for another reference.

    ``spare`` is the part of the width that stays empty, beside 1 for the values.
    """

    reference_wanted = Signal()

    def __init__(self, actions: Actions, spare: int = 0) -> None:
        super().__init__()
        self._actions = actions
        self.pictures, self.reference = Label("", wrap=True), Label("", wrap=True)
        self.change_pictures = push_button(
            "Change…", self._offer_pictures, name="Change the images", look="quiet flush"
        )
        self.change_reference = push_button(
            "Change…", self.reference_wanted, name="Change the reference", look="quiet flush"
        )
        lines = (self.pictures, self.change_pictures), (self.reference, self.change_reference)
        rows = (row((text, 1), act, (None, spare), spacing=theme.SPACE_S) for text, act in lines)
        column(*rows, of=self, spacing=theme.SPACE_XS)

    def show_inputs(self, path: str, model: ShownCheckpoint | None, session: Session) -> None:
        """Show what an examination of a checkpoint would use; see `examination_of`."""
        images = session.images
        pictures = _DRAWINGS
        if images is not None:
            pictures = f"{plain(images.name, 80)} · {unbroken(count_text(images.n))}"
        self.pictures.setText(f"Images: {pictures}")
        reference = chosen_reference(path, model, session)
        named = plain(Path(reference).name, 80) if reference else _NEAREST
        if (model and reference == model.demo_twin) if reference else twin_for(Path(path)):
            named = _TWIN
        self.reference.setText(f"Reference: {named}")

    def _offer_pictures(self) -> None:
        menu, button = QMenu(self), self.change_pictures
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addActions([self._actions.by_id[name] for name in _IMAGES])
        menu.popup(button.mapToGlobal(button.rect().bottomLeft()))


def measured_on(record: Examination, path: str, model: ShownCheckpoint, session: Session) -> str:
    """On what an examination measured, if something else is chosen now; else empty."""
    spec = record.spec
    chosen = others_chosen(spec, path, model, session)
    if not chosen or not record.looked_at:
        return ""
    beside = f"beside {_TWIN}" if twin_for(Path(path)) else "without a chosen reference"
    if spec.reference is not None:
        beside = f"beside {plain(Path(spec.reference).name, 80)}"
    return f"Measured on {_pictures(spec.images)}, {beside}; {chosen}"


def others_chosen(
    spec: ExamineSpec, path: str, model: ShownCheckpoint | None, session: Session
) -> str:
    """What else than an examination asked for is chosen now; else empty."""
    reference = chosen_reference(path, model, session)
    before = None if spec.reference is None else os.path.abspath(spec.reference)
    others = ["other images"] if spec.images != chosen_pictures(session) else []
    if before != reference:
        others.append("no reference" if reference is None else "another reference")
    are = "are" if "other images" in others else "is"
    return f"{' and '.join(others)} {are} chosen now." if others else ""


def _pictures(spec: ImageSpec | None) -> str:
    if spec is None:
        return _DRAWINGS
    return f"the demo's pictures ({spec.split})" if not spec.path else plain(Path(spec.path).name)
