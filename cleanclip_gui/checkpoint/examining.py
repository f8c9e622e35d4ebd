"""The examination of a checkpoint at work: what it is asked, its process, and its steps so far."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject

from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.jobs.runner import NewRunner, new_runner
from cleanclip_gui.session import Session, ShownCheckpoint
from ml_core.data.labels import label_sets, load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.events import Event, Finding
from ml_core.jobs.auto import AutoSpec
from ml_core.jobs.demo import twin_for
from ml_core.jobs.examination import EXAMINATIONS, ExamineSpec, ExamineStep, Kind
from ml_core.jobs.journal import digest_of
from ml_core.jobs.overall import planned_examination
from ml_core.paths import cache_dir, data_dir
from ml_core.reading.errors import InputError

_BUILT_IN = ImageSpec(kind="demo", split="test")


def examination_of(
    path: str, model: ShownCheckpoint | None, session: Session, auto: AutoSpec | None = None
) -> ExamineSpec:
    """Ask for an examination with the pictures, classes and reference that the user has chosen.

    Parameters
    ----------
    path
        The checkpoint.
    model
        What was built of it, which has the donor; None as long as it is not open.
    session
        Pictures and classes in use; its reference is taken if it is that of ``model``.
    auto
        How it is cleaned where a trigger is found; None does not clean.

    Raises
    ------
    InputError
        If the label set cannot be written.
    """
    images, label_set, templates = session.images, "demo", None
    if images is not None:
        folder = data_dir() / EXAMINATIONS / f"classes-{digest_of(images.class_names)[:16]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            label_set = images.label_set_in(folder)
        except OSError as error:
            raise InputError(
                f"The label set cannot be written into {folder}: {error.strerror}."
            ) from error
        usual = load_label_set(label_set).templates if label_set in label_sets() else ()
        templates = None if images.templates == usual else images.templates
    return ExamineSpec(
        checkpoint=path,
        donor=(model.donor if model is not None else "") or None,
        images=chosen_pictures(session),
        label_set=label_set,
        templates=templates,
        reference=chosen_reference(path, model, session),
        auto=auto,
    )


def chosen_pictures(session: Session) -> ImageSpec | None:
    """The pictures in use; None for the built-in ones, which the job takes by itself."""
    images = session.images
    return None if images is None or images.spec == _BUILT_IN else images.spec


def chosen_reference(path: str, model: ShownCheckpoint | None, session: Session) -> str | None:
    """The reference that was chosen for the model that is open; None leaves it to the job.

    The job knows the demo's clean twin by itself: naming it would be another examination.
    """
    is_open = model is not None and model is session.checkpoint
    reference = session.scan_reference if is_open else ""
    return None if reference in ("", twin_for(Path(path))) else reference


class Examining(JobTask):
    """Runs an examination; :attr:`steps` are those that were told so far."""

    def __init__(self, make_runner: NewRunner = new_runner, parent: QObject | None = None) -> None:
        super().__init__("examine", make_runner, parent)
        self.spec: ExamineSpec | None = None
        self.steps: dict[Kind, ExamineStep] = {}

    def is_about(self, path: str) -> bool:
        """Whether it is at work on a checkpoint."""
        return self.is_running and self.spec is not None and self.spec.checkpoint == path

    def examine(self, spec: ExamineSpec, device: str) -> None:
        """Start an examination; see :meth:`JobTask.start`."""
        before = self.spec, self.steps
        self.spec, self.steps = spec.model_copy(update={"device": device}), {}
        try:
            self.start(self.spec, cache_dir() / "examination" / "examine-spec.json", device)
        except InputError:
            self.spec, self.steps = before
            raise

    def take(self, event: Event) -> None:
        """Take in a step, and what the scan says of its stages."""
        if isinstance(event, Finding) and event.kind == "step":
            step = ExamineStep.model_validate(event.values)
            self.steps[step.kind] = step
        elif isinstance(event, Finding) and event.kind == "scan" and self.spec is not None:
            self.overall.expect(planned_examination(self.spec, event.values))
        super().take(event)
