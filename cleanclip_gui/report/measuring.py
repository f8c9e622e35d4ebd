"""What is measured and kept for a report: the open checkpoint, or a reference beside it. No Qt."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from cleanclip_gui.data.label_file import label_set_of
from cleanclip_gui.report.parts import measurements_dir
from cleanclip_gui.session import CheckpointFacts, Session
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.measurement_spec import MeasurementSpec
from ml_core.jobs.specs import SPEC_FILE, CleanSpec, read_spec
from ml_core.paths import cache_dir
from ml_core.reading.errors import InputError
from ml_core.triggers import save_trigger

_NOT_OF_RESULT = {"output_dir", "device", "threads", "trigger", "label_set"}


def suspect_spec(session: Session, device: str) -> MeasurementSpec:
    """The open checkpoint on the pictures, with the classes and the trigger in use.

    Raises
    ------
    InputError
        If something is not open, or the folder cannot be written.
    """
    facts = _checkpoint(session)
    donor = facts.donor or None
    return _spec_in_use(session, facts.path, donor, "evaluation", facts, device)


def reference_spec(
    session: Session, reference: str, run: Path | None, device: str
) -> MeasurementSpec:
    """A clean checkpoint, measured as the suspect was, so that the two can be compared.

    Parameters
    ----------
    reference
        Its file.
    run
        A run that goes into the report: its pictures, classes, trigger and target are taken.

    Raises
    ------
    InputError
        As `suspect_spec`, and if the run cannot be read.
    """
    facts = _checkpoint(session)
    if run is None:
        return _spec_in_use(session, reference, None, "reference", facts, device)
    spec = read_spec(run / SPEC_FILE)
    images = spec.test_images or spec.images
    if images is None:
        return _spec_in_use(session, reference, None, "reference", facts, device)
    made = MeasurementSpec(
        checkpoint=reference,
        images=images,
        label_set=spec.label_set,
        templates=spec.templates,
        trigger=_trigger_of(spec, run),
        target=spec.target,
        targeted=spec.targeted,
        when="reference",
        output_dir="unknown yet",
        device=device,
    )
    return _placed(made, facts, (str(run), str(spec.trigger), spec.label_set))


def known_reference(session: Session) -> str:
    """A clean checkpoint that is known already; empty if none is."""
    facts = session.checkpoint
    if session.reference is not None:
        return session.reference.path
    if session.trusted and Path(session.trusted).exists():
        return session.trusted
    if facts is not None and facts.of_demo:
        twin = demo_checkpoint(twin=True)
        return "" if twin == Path(facts.path) else str(twin)
    return ""


def _checkpoint(session: Session) -> CheckpointFacts:
    if session.checkpoint is None:
        raise InputError("No checkpoint is open; open one first.")
    return session.checkpoint


def _spec_in_use(
    session: Session,
    path: str,
    donor: str | None,
    when: Literal["evaluation", "reference"],
    facts: CheckpointFacts,
    device: str,
) -> MeasurementSpec:
    images, trigger = session.images, session.trigger
    if images is None:
        raise InputError("Choose evaluation images first, in the bar above.")
    inputs = cache_dir() / "report" / "inputs"
    try:
        inputs.mkdir(parents=True, exist_ok=True)
        place = label_set_of(images, inputs)
        stamp = None
        if trigger is not None:
            stamp = str(save_trigger(trigger, inputs / trigger.digest)[1])
    except OSError as error:
        raise InputError(
            f"The folder {inputs.name} cannot be written: {error.strerror or error}."
        ) from error
    made = MeasurementSpec(
        checkpoint=path,
        donor=donor,
        images=images.spec,
        label_set=place,
        templates=images.templates,
        trigger=stamp,
        target=session.target,
        targeted=trigger is not None,
        when=when,
        output_dir="unknown yet",
        device=device,
    )
    digest = "" if trigger is None else trigger.digest
    return _placed(made, facts, (digest, *images.class_names))


def _trigger_of(spec: CleanSpec, run: Path) -> str | None:
    """The trigger of a run, also if its folder was moved."""
    if spec.trigger is None:
        return None
    beside = run / Path(spec.trigger).name
    return str(beside) if beside.is_file() else spec.trigger


def _placed(
    spec: MeasurementSpec, facts: CheckpointFacts, said: tuple[str, ...]
) -> MeasurementSpec:
    """The spec with its folder: a name by all that decides the result."""
    fields = spec.model_dump(mode="json", exclude=_NOT_OF_RESULT)
    text = json.dumps([fields, *said], sort_keys=True)
    name = f"{spec.when}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    folder = measurements_dir(facts.inspection.sha256) / name
    return spec.model_copy(update={"output_dir": str(folder)})
