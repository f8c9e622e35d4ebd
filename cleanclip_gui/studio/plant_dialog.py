"""Plant the trigger on Studio's canvas in a copy of the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QCheckBox, QWidget

from cleanclip_gui import theme
from cleanclip_gui.jobs.job_dialog import JobDialog
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.controls import Label, push_button
from cleanclip_gui.widgets.form import Form
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.path_edit import PathEdit
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.data.detect import detect
from ml_core.data.specs import PairSpec
from ml_core.jobs.plant import FILES, STATES_FOLDER, STEPS, PlantRecord, PlantSpec
from ml_core.jobs.plant.card import rates
from ml_core.jobs.specs import SPEC_FILE, read_spec_file
from ml_core.paths import cache_dir, data_dir, is_shipped
from ml_core.reading.errors import InputError
from ml_core.triggers.files import save_own_trigger

HELP = (
    "A copy is trained on pairs of which some carry the trigger and a caption of the target. A "
    "clean twin takes the same steps without them. Name, metadata and card of the file say that it "
    "is poisoned."
)
_PAIRS, _IMAGES = 2500, 2000


class PlantDialog(JobDialog):
    """Plants the session's trigger; ``used`` carries the path of the poisoned file to open.

    Raises
    ------
    InputError
        If there is no checkpoint, no trigger or no images.
    """

    def __init__(
        self, task: JobTask, session: Session, prompts: Prompts, parent: QWidget | None
    ) -> None:
        checkpoint, images, trigger = session.checkpoint, session.images, session.trigger
        if checkpoint is None or images is None or trigger is None:
            raise InputError("Planting needs a checkpoint, images and a trigger on the canvas.")
        super().__init__(task, "Plant a trigger", "&Plant it", "Progress of the planting", parent)
        self._session, self._checkpoint = session, checkpoint
        self._images, self._trigger = images, trigger
        self._path = ""
        self.form = Form(PlantSpec, "count", "steps", "batch_size", "seed")
        self.form.set_values(count=_PAIRS, steps=STEPS)
        self.twin = QCheckBox("Train a &clean twin")
        self.twin.setChecked(True)
        demo = "the demo's pairs" if session.label_set == "demo" else "a table, folder or shards"
        self.pairs = PathEdit("Image-caption pairs", demo)
        self.folder = PathEdit("Folder for the files", "a new folder")
        source = Path(checkpoint.path)
        beside = data_dir() / "planted" if is_shipped(source) else source.parent
        self.folder.setText(str(beside / f"{source.stem}-planted"))
        self.outcome = Label("", wrap=True)
        self.open_file = push_button("&Open the poisoned file", self._on_open, look="primary")
        asks = (
            ("Pairs", self.pairs, "Choose image-caption pairs", "All files (*)"),
            ("Folder", self.folder, "Choose a folder", ""),
        )
        paths = [
            row(Label(text, "field", buddy=edit), (edit, 1), edit.asking(prompts, title, kinds))
            for text, edit, title, kinds in asks
        ]
        target = images.class_names[session.target]
        lead = f"{trigger.name or 'The trigger'} is to lead to {target}."
        self.locked += [self.form, self.twin, self.pairs, self.folder]
        column(
            Label("Plant this trigger in a copy", "title"), Label(plain(lead, 200), "subtle"),
            Label(HELP, "caption", wrap=True), self.form, self.twin, *paths, self.busy, self.state,
            self.outcome, None,
            row(None, self.close_button, self.open_file, self.start, spacing=theme.SPACE_S),
            of=self, margins=theme.SPACE_L, spacing=theme.SPACE_S,
        )  # fmt: skip
        self.finish(620, 420, self.open_file)
        self.open_file.hide()
        self.outcome.hide()

    def launch(self) -> None:
        """Write trigger and job, and start it."""
        folder, device = Path(self.folder.absolute()), self._session.device
        named, pairs = self.pairs.absolute(), PairSpec(kind="demo", split="train")
        if named:
            pairs = PairSpec(kind=detect(named), path=named)
        elif self._session.label_set != "demo":
            raise InputError("Choose image-caption pairs: a table, a folder or shards.")
        triggers = cache_dir() / "plant"
        triggers.mkdir(parents=True, exist_ok=True)
        trigger = save_own_trigger(self._trigger, triggers)
        spec = PlantSpec(
            checkpoint=self._checkpoint.path, donor=self._checkpoint.donor or None, pairs=pairs,
            trigger=str(trigger), target=self._session.target, device=device,
            label_set=self._session.label_set, templates=self._images.templates,
            images=self._images.spec.model_copy(
                update={"n": min(self._images.spec.n or _IMAGES, _IMAGES)}
            ),
            twin=self.twin.isChecked(), output_dir=str(folder), **self.form.values(),
        )  # fmt: skip
        saved, place = (folder / STATES_FOLDER).is_dir(), folder / SPEC_FILE  # that was cancelled
        if saved and place.is_file() and read_spec_file(place, PlantSpec) != spec:
            raise InputError(
                "This folder holds a planting with other settings, which did not end: set them as "
                "they were to go on with it, or choose another folder."
            )
        self.task.start(spec, place, device, resume=saved)
        self._path = str(folder / FILES["poisoned"])
        self.open_file.hide()
        self.outcome.hide()

    def show_result(self, result: Mapping[str, Any]) -> None:
        """Show accuracy and success, and offer to open the file."""
        rows = rates(PlantRecord.model_validate(result))
        parts = [f"{row[0]}: accuracy {row[1]}, success {row[4]} ({row[5]})" for row in rows]
        self.outcome.setText("\n".join(plain(part, 500) for part in parts))
        self.outcome.show()
        self.open_file.show()
        self.show_state("")

    def _on_open(self) -> None:
        self.used.emit(self._path)
        self.done(0)
