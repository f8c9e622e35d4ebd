"""The loader doctor as a job: the same generator of events for tests and the window's child."""

from __future__ import annotations

from collections.abc import Generator

from ml_core.checkpoints import open_checkpoint
from ml_core.data.images import open_images
from ml_core.data.labels import load_label_set
from ml_core.evaluation.doctor import Trial, diagnose
from ml_core.events import Control, Done, Event, Finding, Progress, forwarded
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.doctor import DoctorSpec


def examine_settings(spec: DoctorSpec, control: Control) -> Generator[Event, None, None]:
    """Try what a checkpoint may have been trained with; nothing is written.

    Yields
    ------
    Event
        Progress, a Finding ``trial`` for each setting (`Trial.to_dict`), and Done, whose
        ``result`` is the diagnosis, with ``images`` (name) and ``sha256`` (of the file).
    """
    yield Progress("open", 0, 0)
    checkpoint = open_checkpoint(spec.checkpoint, spec.donor, use_choice=False)
    label_set = load_label_set(spec.label_set)
    images = open_images(spec.images, label_set)
    set_threads(spec.threads)
    work = diagnose(
        checkpoint,
        images,
        label_set,
        device=str(choose_device(spec.device)),
        cancelled=lambda: control.cancelled,
    )

    def event_of(step: Event | Trial) -> Event:
        return Finding("trial", step.to_dict()) if isinstance(step, Trial) else step

    diagnosis = yield from forwarded(work, event_of)
    record = diagnosis.to_dict() | {"images": images.name, "sha256": checkpoint.inspection.sha256}
    yield Done("finished", record)
