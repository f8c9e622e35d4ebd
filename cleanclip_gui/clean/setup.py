"""What a run is: training data, method and budget, what else the method takes, where it goes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QCheckBox, QLineEdit, QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.job import count_gpus, new_folder, runs_dir, write_job
from cleanclip_gui.clean.recipe_form import RecipeForm
from cleanclip_gui.clean.training_data import TrainingData
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.controls import Label
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.name_filters import CHECKPOINTS, local_paths
from cleanclip_gui.widgets.number_box import Chooser
from cleanclip_gui.widgets.path_edit import PathEdit, tool
from cleanclip_gui.widgets.prompts import Prompts, failing
from cleanclip_gui.widgets.text import bytes_text, device_text, plain, plural
from ml_core.cleaning.catalogue import FACTS, MethodFacts
from ml_core.cleaning.recipes import FORMAT, Recipe, read_recipe, write_recipe
from ml_core.detection.records import FIVE_POISONS
from ml_core.jobs.specs import CleanSpec
from ml_core.reading.regular_file import read_file


@dataclass(frozen=True)
class Requirement:
    """One thing that a method takes: what it is, and a sentence where it is ``missing``."""

    text: str
    missing: str = ""


def requirements_of(
    facts: MethodFacts, session: Session, reference: str
) -> tuple[Requirement, ...]:
    """What a method takes, and what of it is missing now.

    Parameters
    ----------
    facts
        The method.
    session
        What is open.
    reference
        Path of the clean reference; empty if none is named.
    """
    requirements: list[Requirement] = []
    if "trigger" in facts.needs:
        requirements.append(_trigger(facts.title, session))
    if "reference" in facts.needs:
        requirements.append(_reference(facts.title, session, reference))
    if "vit" in facts.needs:
        requirements.append(_vit(facts.title, session))
    if facts.data == "labelled":
        requirements.append(Requirement("Labelled images: see Training data"))
    elif facts.data == "images":
        requirements.append(Requirement("Clean images, labels not needed: see Training data"))
    return tuple(requirements)


def missing(requirements: tuple[Requirement, ...]) -> str:
    """Why no run can start; empty if nothing is missing."""
    return next((requirement.missing for requirement in requirements if requirement.missing), "")


def _trigger(title: str, session: Session) -> Requirement:
    if session.trigger is None:
        return Requirement(
            "Trigger: none yet", f"{title} needs the trigger: paint or open one in Studio first."
        )
    images = session.images
    known = images is not None and session.target < len(images.class_names)
    aim = f", target {images.class_names[session.target]}" if known and images else ""
    return Requirement(f"Trigger: the one in Studio{plain(aim, 60)}")


def _reference(title: str, session: Session, path: str) -> Requirement:
    if not path:
        return Requirement(
            "Clean reference: none yet",
            f"{title} needs a clean checkpoint of the same architecture: choose a reference.",
        )
    name = plain(Path(path).name, 60)
    if not Path(path).exists():
        return Requirement(
            f"Clean reference: {name} is not there", f"There is no reference at {path}."
        )
    facts = session.checkpoint
    if facts is not None and Path(facts.path).resolve() == Path(path).resolve():
        return Requirement(
            "Clean reference: the suspect itself",
            "The reference is the checkpoint that is being cleaned; choose another one.",
        )
    return Requirement(f"Clean reference: {name}")


def _vit(title: str, session: Session) -> Requirement:
    architecture = "" if session.checkpoint is None else session.checkpoint.architecture
    if architecture and not architecture.startswith("ViT"):
        return Requirement(
            f"Image encoder: {plain(architecture, 60)}",
            f"{title} works only on a ViT image encoder; this checkpoint has "
            f"{plain(architecture, 60)}. Choose another method.",
        )
    return Requirement("Image encoder: a ViT" if architecture else "Image encoder: must be a ViT")


class RequirementsList(QWidget):
    """Lines such as ``✓ Trigger: the one in Studio`` and ``✗ Clean reference: none yet``."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("What the method needs")
        self._layout = column(of=self, spacing=2)
        self._lines: list[Label] = []
        self.hide()

    def show_requirements(self, requirements: Sequence[Requirement]) -> None:
        """Show what is needed, and what of it is missing."""
        while len(self._lines) < len(requirements):
            line = Label("", "caption", wrap=True)
            self._lines.append(line)
            self._layout.addWidget(line)
        for number, line in enumerate(self._lines):
            line.setVisible(number < len(requirements))
            if number < len(requirements):
                requirement = requirements[number]
                line.setText(f"{'✗' if requirement.missing else '✓'}  {requirement.text}")
                theme.set_property(line, "role", "warning" if requirement.missing else "caption")
        self.setVisible(bool(requirements))


HELP = (
    "A checkpoint of the same architecture that you know to be clean, such as the vendor's own. "
    "Drop a file here."
)


class ReferenceChoice(QWidget):
    """A path with a button; a checkpoint can be dropped on it."""

    changed = Signal()

    def __init__(self, prompts: Prompts) -> None:
        super().__init__()
        self.setAcceptDrops(True)
        self.edit = PathEdit("Clean reference checkpoint", "Checkpoint file or folder")
        self.browse = self.edit.browse(
            "open", "Choose the clean reference",
            lambda path: prompts.open_file(self, "Clean reference checkpoint", path, CHECKPOINTS),
        )  # fmt: skip
        column(
            Label("Clean reference", buddy=self.edit),
            row((self.edit, 1), self.browse, spacing=theme.SPACE_XS),
            Label(HELP, "caption", wrap=True), of=self, spacing=theme.SPACE_XS,
        )  # fmt: skip
        self.edit.textChanged.connect(self.changed)

    def path(self) -> str:
        """What is named, absolute; empty if nothing is."""
        path = self.edit.path()
        return str(Path(path).absolute()) if path else ""

    def set_path(self, path: str) -> None:
        """Choose another reference."""
        self.edit.setText(path)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take whatever file or folder comes; what it is shows when it is opened."""
        if self.isVisible() and local_paths(event.mimeData()):
            event.acceptProposedAction()
        else:
            event.ignore()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Name what was dropped."""
        if not self.isVisible():
            event.ignore()
            return
        for path in local_paths(event.mimeData())[:1]:
            event.acceptProposedAction()
            self.set_path(str(path))


KEEP_HELP = (
    "Then any point of the trade-off chart can be opened in Studio; otherwise only the last step "
    "is kept."
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


class CleanSetup(QWidget):
    """Set-up of the next run; ``changed`` comes after every change by the user.

    Recipes are saved to files and opened again; ``failed`` carries an InputError of one.
    ``audit_button``, ``search_button`` and ``resume_other`` show commands of the station, which
    binds them.
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(self, prompts: Prompts) -> None:
        super().__init__()
        self._prompts = prompts
        self.setObjectName("page")
        self.setAcceptDrops(True)
        self.form = RecipeForm()
        self.data = TrainingData(prompts)
        self.audit_button = QPushButton()
        self.audit_hint = Label(FIVE_POISONS, "caption", wrap=True)
        self.requirements = RequirementsList()
        self.reference = ReferenceChoice(prompts)
        self.gpus = GpuChoice()
        self.output = QLineEdit()
        self.output.setAccessibleName("Output folder")
        self.output.setToolTip("Each run gets its own folder in here.")
        self.browse_output = tool("folder", "Choose the output folder")
        self.keep_steps = QCheckBox("Keep every evaluated checkpoint")
        self.keep_help = Label("", "caption", wrap=True)
        self.open_recipe = QPushButton("Open recipe…")
        self.save_recipe = QPushButton("Save recipe…")
        self.open_recipe.setToolTip("Fill the form from a recipe file; you can also drop one here.")
        self.save_recipe.setToolTip("Write method and settings to a file that can be shared.")
        self.resume_other = QPushButton()
        self.search_button = QPushButton()
        for button in (
            self.open_recipe, self.save_recipe, self.resume_other, self.search_button,
        ):  # fmt: skip
            button.setProperty("quiet", True)
        self._weight_bytes = 0
        self._lay_out()
        self.output.setText(str(runs_dir()))
        self.form.changed.connect(self._on_changed)
        self.data.changed.connect(self._on_changed)
        self.reference.changed.connect(self._on_changed)
        self.keep_steps.toggled.connect(self._on_changed)
        self.gpus.changed.connect(self._on_changed)
        self.browse_output.clicked.connect(self.choose_output)
        self.open_recipe.clicked.connect(self._on_open_recipe)
        self.save_recipe.clicked.connect(self._on_save_recipe)
        self._on_changed()

    def choose_output(self) -> None:
        """Choose the folder in which runs are kept."""
        chosen = self._prompts.open_folder(self, "Output folder", str(self.folder()))
        if chosen:
            self.output.setText(chosen)

    def folder(self) -> Path:
        """Where runs are kept."""
        return Path(os.path.expanduser(self.output.text().strip()) or runs_dir())

    def device(self, single: str) -> str:
        """What the run computes on: a ``single`` device or every GPU."""
        return "cuda" if self.gpus.processes() > 1 else single

    def write(self, session: Session, folder: Path | None = None, device: str = "") -> Path:
        """Write the job that is set up, into ``folder`` or a new one; return the spec's path.

        On one device it runs on ``device``, by default the session's.

        Raises
        ------
        InputError
            If a value is out of range, something is missing or the folder cannot be written.
        """
        recipe = self.form.recipe()
        reference = self.reference.path() if "reference" in recipe.facts.needs else ""
        return write_job(
            session,
            recipe,
            folder or new_folder(self.folder(), recipe),
            pairs=self.data.pairs(),
            training_images=self.data.images(),
            reference=reference or None,
            keep_steps=self.keep_steps.isChecked(),
            device=self.device(device or session.device),
            processes=self.gpus.processes(),
        )

    def show_spec(self, spec: CleanSpec) -> None:
        """Show what a job is."""
        self.form.set_recipe(spec.recipe)
        self.data.set_data(spec.recipe.facts.data)
        self.data.show_specs(spec.pairs, spec.training_images)
        self.reference.set_path(spec.reference or "")
        self.keep_steps.setChecked(spec.keep_steps)
        self.gpus.set_processes(spec.processes)
        self._on_changed()

    def show_requirements(self, session: Session) -> str:
        """Show what the method takes and what is missing; return what is missing, or nothing."""
        requirements = requirements_of(
            FACTS[self.form.method.method], session, self.reference.path()
        )
        self.requirements.show_requirements(requirements)
        architecture = "" if session.checkpoint is None else session.checkpoint.architecture
        recipe = None if self.form.problem() else self.form.recipe()
        whole = recipe is not None and recipe.batch_norm == "train" and not recipe.facts.frozen
        self.gpus.warn(BATCH_NORM if whole and architecture.startswith("ResNet") else "")
        return missing(requirements)

    def set_weight_bytes(self, size: int) -> None:
        """Say what keeping every checkpoint takes, for one of ``size`` bytes; 0 if unknown."""
        self._weight_bytes = size
        self._tell_disk()

    def evaluations(self) -> int:
        """How many checkpoints a run would keep; 0 if none, or if the form does not say."""
        if self.form.problem():
            return 0
        recipe = self.form.recipe()
        if not recipe.eval_every or recipe.known_steps is None:
            return 0
        # Before the first step, at every so many steps, and after the last one.
        return 1 + -(-recipe.known_steps // recipe.eval_every)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take a recipe; the window gets what is left."""
        if any(is_recipe(path) for path in local_paths(event.mimeData())[:1]):
            event.acceptProposedAction()
        else:
            event.ignore()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Show the recipe that was dropped."""
        for path in local_paths(event.mimeData())[:1]:
            if is_recipe(path):
                event.acceptProposedAction()
                self.take_recipe(path)
            else:
                event.ignore()

    def take_recipe(self, path: Path) -> None:
        """Fill the form from a file."""
        with failing(self.failed, "Could not open the recipe"):
            recipe = read_recipe(path)
            self.set_recipe(recipe)

    def set_recipe(self, recipe: Recipe) -> None:
        """Show a recipe that was found elsewhere, as if the user had opened it."""
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

    def _tell_disk(self) -> None:
        count = self.evaluations()
        text = KEEP_HELP
        if count and self._weight_bytes:
            size = bytes_text(count * self._weight_bytes)
            text = f"{plural(count, 'checkpoint')}, {size} on disk. {KEEP_HELP}"
        elif not self.form.problem() and not self.form.recipe().eval_every:
            text = "The recipe never evaluates on validation images, so there is nothing to keep."
        self.keep_help.setText(text)

    def _on_changed(self) -> None:
        facts = FACTS[self.form.method.method]
        self.data.set_data(facts.data)
        if not self.form.problem():
            self.data.set_sides(self.form.recipe().sides)
        self.data.setVisible(facts.data != "none")
        self._data_heading.setVisible(facts.data != "none")
        for part in (self.audit_button, self.audit_hint):
            part.setVisible(facts.data == "pairs")
        self.reference.setVisible("reference" in facts.needs)
        self._tell_disk()
        self.changed.emit()

    def _lay_out(self) -> None:
        self.form.below_choosers.addWidget(self.requirements)
        self.form.below_choosers.addWidget(self.reference)
        self._data_heading = Label("Training data", "heading", wrap=True)
        column(
            self._data_heading, self.data, self.audit_hint, self.audit_button, theme.SPACE_S,
            Label("Method and budget", "heading", wrap=True), self.form,
            row(self.open_recipe, self.save_recipe, None, spacing=0),
            (self.search_button, Qt.AlignmentFlag.AlignLeft), self.gpus, theme.SPACE_S,
            row((Label("Output folder", "heading", wrap=True), 1), self.resume_other),
            row((self.output, 1), self.browse_output, spacing=theme.SPACE_XS), self.keep_steps,
            self.keep_help, None, of=self,
            margins="card",
            spacing=theme.SPACE_S,
        )  # fmt: skip


class GpuChoice(QWidget):
    """Shown where there are two GPUs or more; ``changed`` comes after a choice by the user."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.choice = Chooser()
        self.choice.setAccessibleName("Device of the run")
        self.help = Label(GPU_HELP, "caption", wrap=True)
        self._gpus = 0
        line = row(
            Label("Runs on", "field", buddy=self.choice), (self.choice, 1), spacing=theme.SPACE_S,
        )  # fmt: skip
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
