"""What a run is: training data, method and budget, what else the method takes, where it goes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QApplication, QCheckBox, QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.job import (
    count_gpus,
    make_job,
    new_folder,
    runs_dir,
    scan_on_show,
    seconds_of_round,
)
from cleanclip_gui.clean.recipe_form import RecipeForm, explain
from cleanclip_gui.clean.training_data import TrainingData
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.controls import Label, Note, named, push_button
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.name_filters import CHECKPOINTS, Drops
from cleanclip_gui.widgets.number_box import Chooser
from cleanclip_gui.widgets.path_edit import PathEdit
from cleanclip_gui.widgets.prompts import Prompts, failing
from cleanclip_gui.widgets.text import device_text, duration_text
from ml_core.cleaning.catalogue import FACTS, MethodFacts
from ml_core.cleaning.recipes import FORMAT, Recipe, read_recipe, write_recipe
from ml_core.detection.records import FIVE_POISONS
from ml_core.jobs.auto.choice import first_recipe
from ml_core.jobs.specs import CleanSpec
from ml_core.reading.inspect import is_there, whole_file
from ml_core.reading.regular_file import read_file


def missing_reference(facts: MethodFacts, session: Session, path: str) -> str:
    """What a method lacks of the clean reference at ``path``; empty if nothing."""
    checkpoint = session.checkpoint
    if "reference" not in facts.needs:
        return ""
    if not path:
        return "This method needs a clean checkpoint of the same architecture: choose a reference."
    if not is_there(path):
        return f"There is no reference at {path}."
    if checkpoint and whole_file(checkpoint.path).resolve() == whole_file(path).resolve():
        return "The reference is the checkpoint that is being cleaned; choose another one."
    return ""


HELP = (
    "A checkpoint of the same architecture that you know to be clean, such as the vendor's own. "
    "Drop a file here."
)


class ReferenceChoice(QWidget):
    """A path with a button; a checkpoint can be dropped on it."""

    changed = Signal()

    def __init__(self, prompts: Prompts) -> None:
        super().__init__()
        Drops(self, lambda _: self.isVisible(), lambda path: self.set_path(str(path)))
        self.edit = PathEdit("Clean reference checkpoint", "Clean file or folder")
        self.browse = self.edit.asking(prompts, "Choose the clean reference", CHECKPOINTS)
        row((self.edit, 1), self.browse, of=self, spacing=theme.SPACE_XS)
        explain(self, HELP)
        self.edit.textChanged.connect(self.changed)

    def path(self) -> str:
        """What is named, absolute; empty if nothing is."""
        return self.edit.absolute()

    def set_path(self, path: str) -> None:
        """Choose another reference."""
        self.edit.setText(path)


KEEP_HELP = (
    "Then any point of the trade-off chart can be opened in Studio; otherwise only the last step "
    "is kept. Estimate tells what they take on disk."
)

GPU_HELP = (
    "Each GPU takes its part of every batch: the run is the same and finishes sooner. Estimate "
    "measures one GPU."
)
BATCH_NORM = (
    "A ResNet whose BatchNorm uses batch statistics cannot be split among GPUs: set BatchNorm to "
    "frozen."
)
_RECIPES = "Recipe (*.json)"
_LACKS = (
    "Open a checkpoint first: the run cleans it.",
    "Choose evaluation images in the bar above: triggers are searched for on them.",
    "The method below trains nothing: choose another one, and then its data.",
    "A job is running; start when it has ended.",
)
_NO_REFERENCE = "No clean reference is chosen in Scan: only patches and words are judged."
_HELP = "Each setting is explained here while it has the focus."
_HELP_LINES = 3  # of the explanation, which have their place while all settings are open


class CleanSetup(QWidget):
    """Set-up of the next run; ``changed`` comes after every change by the user.

    Recipes are saved to files and opened again; ``failed`` carries an InputError of one.
    ``clean_it``, ``audit_button`` and ``resume_other`` show commands of the station, which binds
    them.
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(self, prompts: Prompts) -> None:
        super().__init__()
        self._prompts = prompts
        self.setObjectName("page")
        Drops(self, is_recipe, self.take_recipe)
        self.form = RecipeForm()
        self.data = TrainingData(prompts)
        self.clean_it = push_button(icon="clean", look="primary large")
        self.clean_it.setObjectName("clean.it_button")
        self.clean_it_does = Label("", "caption", wrap=True)
        self.clean_it_lacks = Note("warning")
        self.help = Label("", "caption", wrap=True)
        self.audit_button = QPushButton()
        self.reference = ReferenceChoice(prompts)
        self.gpus = GpuChoice()
        self.output = PathEdit("Output folder")
        explain(self.output, "Each run gets its own folder in here.")
        self.browse_output = self.output.browse(
            "folder", "Choose the output folder",
            lambda _: prompts.open_folder(self, "Output folder", str(self.folder())),
        )  # fmt: skip
        self.keep_steps = QCheckBox("Keep every evaluated checkpoint")
        explain(self.keep_steps, KEEP_HELP)
        self.audit_button.setWhatsThis(FIVE_POISONS)
        self.open_recipe = push_button(
            "Open recipe…", self._on_open_recipe, look="quiet",
            tip="Fill the form from a recipe file; you can also drop one here.",
        )  # fmt: skip
        self.save_recipe = push_button(
            "Save recipe…", self._on_save_recipe, look="quiet",
            tip="Write method and settings to a file that can be shared.",
        )  # fmt: skip
        self.resume_other = push_button(look="quiet")
        self._lay_out()
        self.output.setText(str(runs_dir()))
        self.form.changed.connect(self._on_changed)
        self.data.changed.connect(self._on_changed)
        self.reference.changed.connect(self._on_changed)
        self.keep_steps.toggled.connect(self._on_changed)
        self.gpus.changed.connect(self._on_changed)
        self.form.more.toggled.connect(lambda _: self._explain(""))
        cast(QApplication, QApplication.instance()).focusChanged.connect(self._on_focus_changed)
        self._on_changed()

    def folder(self) -> Path:
        """Where runs are kept."""
        return Path(os.path.expanduser(self.output.path()) or runs_dir())

    def device(self, single: str) -> str:
        """What the run computes on: a ``single`` device or every GPU."""
        return "cuda" if self.gpus.processes() > 1 else single

    def job(
        self,
        session: Session,
        folder: Path | None = None,
        device: str = "",
        recipe: Recipe | None = None,
    ) -> CleanSpec:
        """The job that is set up, in ``folder`` or a new one.

        On one device it runs on ``device``, by default the session's.

        Raises
        ------
        InputError
            If a value is out of range, something is missing or the folder cannot be written.
        """
        recipe = recipe or self.form.recipe()
        reference = self.reference.path() if "reference" in recipe.facts.needs else ""
        return make_job(
            session, recipe, folder or new_folder(self.folder(), recipe.method),
            pairs=self.data.pairs(), training_images=self.data.images(),
            reference=reference or None, keep_steps=self.keep_steps.isChecked(),
            device=self.device(device or session.device), processes=self.gpus.processes(),
        )  # fmt: skip

    def show_spec(self, spec: CleanSpec) -> None:
        """Show what a job is."""
        self.form.set_recipe(spec.recipe)
        self.data.set_data(spec.recipe.facts.data)
        self.data.show_specs(spec.pairs, spec.training_images)
        self.reference.set_path(spec.reference or "")
        self.keep_steps.setChecked(spec.keep_steps)
        self.gpus.set_processes(spec.processes)
        self._on_changed()

    def check(self, session: Session) -> str:
        """Warn of what does not go together; return what the method lacks, or nothing."""
        architecture = "" if session.checkpoint is None else session.checkpoint.architecture
        recipe = None if self.form.problem() else self.form.recipe()
        whole = recipe is not None and recipe.batch_norm == "train" and recipe.total_steps > 0
        self.gpus.warn(BATCH_NORM if whole and architecture.startswith("ResNet") else "")
        return missing_reference(FACTS[self.form.method.method], session, self.reference.path())

    def show_chain(self, session: Session, *, is_free: bool) -> bool:
        """Say what *Clean it* would do, or what it lacks; return whether it can start."""
        scanned = scan_on_show(session)
        begins = "Takes the scan of this checkpoint" if scanned else "Scans"
        does = f"{begins}, cleans, scans again, and tests whether the backdoor comes back."
        if not scanned and not session.scan_reference:
            does += f" {_NO_REFERENCE}"
        given = self.data.has_pairs, self.form.pretraining
        self.form.method.recommend(first_recipe(*given).method)
        if is_free and (seconds := seconds_of_round(session, *given)) is not None:
            takes = duration_text(seconds)
            does += f" One round with the proofs takes about {takes}; more may follow."
        self.clean_it_does.setText(does)
        trains = FACTS[self.form.method.method].data != "none"
        there = (session.checkpoint is not None, session.images is not None, trains, is_free)
        few = "" if scanned or session.images is None else session.images.too_few_to_scan
        lacks = few if all(there) else _LACKS[there.index(False)]
        theme.set_property(self.clean_it_lacks, "role", "warning" if is_free else "caption")
        self.clean_it_lacks.setText(lacks or self.data.lacks)
        return not lacks

    def take_recipe(self, path: Path) -> None:
        """Fill the form from a file."""
        with failing(self.failed, "Could not open the recipe"):
            self.show_recipe(read_recipe(path))

    def show_recipe(self, recipe: Recipe) -> None:
        """Fill the form.

        Raises
        ------
        InputError
            If an earlier version alone had its method.
        """
        self.form.set_recipe(recipe)
        self.form.changed.emit()

    def _on_open_recipe(self) -> None:
        path = self._prompts.open_file(self, "Open recipe", "", _RECIPES)
        if path:
            self.take_recipe(Path(path))

    def _on_save_recipe(self) -> None:
        with failing(self.failed, "Could not save the recipe"):
            recipe = self.form.recipe()
            name = f"{recipe.method}-{recipe.preset}.json"
            path = self._prompts.save_file(self, "Save recipe", name, _RECIPES)
            if path:
                write_recipe(recipe, Path(path))

    def _on_changed(self) -> None:
        facts = FACTS[self.form.method.method]
        self.data.set_data(facts.data)
        self.data.setVisible(facts.data != "none")
        self._data_heading.setVisible(facts.data != "none")
        for part in (self.audit_button, self.data.exclude_row):
            part.setVisible(facts.data == "pairs")
        self.form.choosers.setRowVisible(self.reference, "reference" in facts.needs)
        self.changed.emit()

    def _on_focus_changed(self, _before: QWidget | None, now: QWidget | None) -> None:
        """Explain what has the focus, below the form: there it moves nothing."""
        if now is None:  # of another window
            return
        while now is not None and now is not self and not now.whatsThis():
            now = now.parentWidget()
        self._explain(now.whatsThis() if now is not None and self.isAncestorOf(now) else "")

    def _explain(self, text: str) -> None:
        opened = self.form.more.isChecked()
        self.help.setText(text or (_HELP if opened else ""))
        lines = _HELP_LINES * self.help.fontMetrics().lineSpacing()
        self.help.setMinimumHeight(lines if opened else 0)
        self.help.setVisible(bool(self.help.text()))

    def _lay_out(self) -> None:
        self.form.choosers.insertRow(1, "Reference", self.reference)
        self._data_heading = Label("Training data", "heading", wrap=True)
        output = QWidget()
        row((self.output, 1), self.browse_output, of=output, spacing=theme.SPACE_XS)
        files = FoldingRow(self.open_recipe, self.save_recipe, self.resume_other, spacing=0)
        for part in (
            self.data.exclude_row, self.audit_button, self.gpus,
            Label("Output folder", buddy=self.output), output, self.keep_steps, files,
        ):  # fmt: skip
            self.form.settings.addWidget(part)
        column(
            self.clean_it, self.clean_it_does, self.clean_it_lacks, theme.SPACE_S,
            self._data_heading, self.data, theme.SPACE_S,
            Label("Or choose a method", "heading", wrap=True), self.form, None, of=self,
            margins="card", spacing=theme.SPACE_S,
        )  # fmt: skip


class GpuChoice(QWidget):
    """Shown where there are two GPUs or more; ``changed`` comes after a choice by the user."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.choice = named(Chooser(), "Device of the run")
        self.help = Label(GPU_HELP, "caption", wrap=True)
        self._gpus = 0
        line = row(
            Label("Runs on", "field", buddy=self.choice), (self.choice, 1), spacing=theme.SPACE_S
        )
        column(line, self.help, of=self, spacing=theme.SPACE_XS)
        self.choice.activated.connect(self._on_activated)
        self.hide()

    def set_devices(self, names: Sequence[str], single: str) -> None:
        """Offer all GPUs among ``names`` beside ``single``, which runs alone; keeps the choice."""
        everything = self.processes() > 1
        self._gpus = count_gpus(names)
        self.choice.clear()
        self.choice.addItem(device_text(single), 1)
        if self._gpus > 1:
            self.choice.addItem(f"All {self._gpus} GPUs", self._gpus)
        self.set_processes(self._gpus if everything else 1)
        self.setVisible(self._gpus > 1)

    def processes(self) -> int:
        """In how many processes a run is started: one for each GPU that it takes."""
        return int(self.choice.currentData() or 1)

    def set_processes(self, count: int) -> None:
        """Choose every GPU for a run of several processes, else the one device."""
        self.choice.setCurrentIndex(1 if count > 1 and self._gpus > 1 else 0)
        self.help.setVisible(self.processes() > 1)

    def warn(self, text: str) -> None:
        """Say why all GPUs will not do; empty if they will."""
        self.help.setText(text or GPU_HELP)

    def _on_activated(self, _: int) -> None:
        self.help.setVisible(self.processes() > 1)
        self.changed.emit()


def is_recipe(path: Path) -> bool:
    """Whether a file looks like a recipe; other JSON files are triggers."""
    if path.suffix.lower() != ".json":
        return False
    try:
        return FORMAT.encode() in read_file(path, 300)
    except OSError:
        return False
