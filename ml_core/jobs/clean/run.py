"""One cleaning job from spec to result, as a generator of events.

The same generator serves the command line, the tests and the window's child process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.cleaning.gradients import check_pieces
from ml_core.cleaning.loop import TrainingOutcome, train
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.pretraining import carried
from ml_core.cleaning.speed import speed_from_dict
from ml_core.cleaning.state import intact_state
from ml_core.cleaning.weight_space import Validate
from ml_core.evaluation.records import Evaluation
from ml_core.events import Control, Done, Event, Message, Progress, Saved
from ml_core.jobs.clean.artifacts import (
    keep_trigger,
    result_files,
    save_head,
    save_result,
)
from ml_core.jobs.clean.earlier import (
    EARLIER_FOLDER,
    bring_back,
    check_own_folders,
    check_place,
    forget_earlier,
    set_aside,
)
from ml_core.jobs.clean.estimate import opened_reference, reference_of
from ml_core.jobs.clean.results import provenance, result_record, step_provenance
from ml_core.jobs.demo import pretraining_at
from ml_core.jobs.devices import choose_device
from ml_core.jobs.failures import guarded
from ml_core.jobs.inputs import Inputs, opening_inputs, opening_sets
from ml_core.jobs.journal import journaled, write_json
from ml_core.jobs.keep import Head, Measuring
from ml_core.jobs.measure import classifier_of, measure, metric_values
from ml_core.jobs.opening import open_model
from ml_core.jobs.specs import (
    CLEANED_FILE,
    EVENTS_FILE,
    RESULT_FILE,
    SPEC_FILE,
    STATE_FILE,
    STEPS_FOLDER,
    CleanSpec,
    check_spec,
    write_spec,
)
from ml_core.model import ClipModel
from ml_core.ranks import ALONE, Ranks
from ml_core.reading.errors import CancelledError

# Evaluations by head (``zero-shot``, ``linear``) and set (``test``, ``heldout``).
Rows = dict[tuple[str, str], Evaluation]


def run(
    spec: CleanSpec,
    control: Control,
    *,
    resume: bool = False,
    overwrite: bool = False,
    ranks: Ranks = ALONE,
) -> Generator[Event, None, None]:
    """Clean a checkpoint; the last event is Done.

    A result of the same job that lies in the folder is kept aside until the new one is there, and
    comes back if the run comes to nothing.

    Parameters
    ----------
    spec
        What to do; everything is written into its ``output_dir``, where no other process may be
        at work.
    control
        Cancel, stop and pause.
    resume
        Go on from the saved state of an interrupted run in the same folder.
    overwrite
        Replace the result of another job too; without it such a folder is refused.
    ranks
        The processes that run this job together. The first one measures, saves and keeps the
        journal; what the others yield is for nobody.

    Yields
    ------
    Event
        Progress of each stage (``open``, ``data``, ``texts``, ``before``, ``train``, ``validate``,
        ``after``), Metric, Message, Saved, and Done, whose ``result`` is what ``result.json``
        holds.
    """
    folder = Path(spec.output_dir)
    if not ranks.first:
        yield from _clean(spec, control, resume, overwrite, ranks, earlier_journal=False)
        return
    last: Done | None = None
    try:
        check_own_folders(folder)
        if not resume:
            bring_back(folder)  # of a run that was killed
        journal = folder / EVENTS_FILE
        if not resume and not any((folder / name).exists() for name in (STATE_FILE, RESULT_FILE)):
            journal.unlink(missing_ok=True)  # of a run that came to nothing
        earlier = not resume and journal.exists()
        events = guarded(_clean(spec, control, resume, overwrite, ranks, earlier))
        with closing(journaled(events, journal, append=resume)) as written:
            for event in written:
                if isinstance(event, Done):
                    last = event
                else:
                    yield event
    finally:
        if last is not None and last.status in ("finished", "stopped"):
            forget_earlier(folder)
        else:
            bring_back(folder)
    if last is not None:
        yield last


def _clean(
    spec: CleanSpec,
    control: Control,
    resume: bool,
    overwrite: bool,
    ranks: Ranks,
    earlier_journal: bool,
) -> Generator[Event, None, None]:
    """Open, measure, train, save, measure again from the saved file."""
    begin = time.monotonic()
    timings: dict[str, float] = {}

    def lap(name: str) -> None:
        timings[name] = time.monotonic() - begin - sum(timings.values())

    check_spec(spec)
    folder = Path(spec.output_dir)
    if resume:
        intact_state(folder / STATE_FILE)  # no state: say so now, not after the first evaluation
    yield Progress("open", 0, 1)
    opened = open_model(spec)
    if not (resume or overwrite):
        check_place(spec, opened.inspection.sha256)
    try:
        sets = yield from opening_sets(spec, control)  # what is wrong with it is told first
        model = opened.build("cpu")
        check_pieces(model, spec.recipe, ranks)
        inputs = yield from opening_inputs(spec, model, control, ranks, sets=sets)
    except CancelledError:
        # The others wait for the first evaluation, and then ask whether to go on.
        ranks.any(True, device=choose_device(spec.device, ranks.local))
        raise
    if not resume and ranks.first:  # what an earlier run left goes when this one can start
        if set_aside(spec, journal=earlier_journal):  # from now on the new one is written
            yield Message(
                f"The earlier result lies in {EARLIER_FOLDER} until the new one is there."
            )
        write_spec(keep_trigger(spec, inputs.trigger), folder / SPEC_FILE)
    early_notes = inputs.notes
    for note in early_notes:
        yield Message(note, "warning")
    model.to(inputs.device)
    yield Progress("open", 1, 1)
    lap("open")

    parent = opened_reference(spec)
    reference = reference_of(spec, model, parent)  # an unfit one is said before hours of measuring
    pretraining = pretraining_at(opened, parent)
    del parent
    before, classifier = Rows(), None
    measuring = Measuring(folder, inputs.benches, control, inputs.threads, spec.targeted)
    with suppress(CancelledError):  # the others are told below
        classifier = yield from classifier_of(model, inputs.label_set, control)
        if ranks.first:
            rows = yield from measuring.run("before", model, opened, classifier)
            before = {("zero-shot", name): row for name, row in rows.items()}
    if ranks.any(control.cancelled, device=model.device)[0]:
        raise CancelledError
    lap("before")

    source_sha256, model.sha256 = model.sha256, None
    keep_step = partial(_save_step, spec, inputs, model, source_sha256)
    try:
        outcome = yield from train(
            model,
            inputs.recipe,
            inputs.make_batch,
            control,
            extras=Extras(classifier, reference),
            validate=validator(model, inputs, control) if ranks.first else None,
            keep=keep_step if spec.keep_steps and ranks.first else None,
            state_path=folder / STATE_FILE,
            resume=resume,
            identity=" ".join((str(source_sha256), inputs.training_key, *_origin(model))),
            speed=None if spec.speed is None else speed_from_dict(spec.speed.model_dump()),
            ranks=ranks,
        )
    finally:
        inputs.close()
    lap("train")
    if outcome.status == "cancelled":
        raise CancelledError
    if not ranks.first:
        yield Done(outcome.status)
        return
    # Whoever cleans the result once more needs the rate of the pretraining, too.
    model.origin |= carried(pretraining)
    facts = provenance(spec, inputs, outcome, source_sha256)
    yield from save_result(spec, model, inputs, outcome, facts)
    lap("save")

    try:
        after = yield from _measure_saved(spec, inputs, outcome, measuring)
    except CancelledError:
        yield Done("cancelled", result_files(spec, outcome))
        return
    lap("after")
    for note in inputs.notes:  # broken pictures are found when they are decoded
        if note not in early_notes:
            yield Message(note, "warning")
    result = result_record(spec, model, inputs, outcome, before, after, timings, source_sha256)
    result["processes"] = ranks.world
    result["seconds"] = time.monotonic() - begin
    write_json(result, folder / RESULT_FILE)
    yield Saved(str(folder / RESULT_FILE), "result", outcome.step)
    yield Done(outcome.status, result)


def _save_step(
    spec: CleanSpec,
    inputs: Inputs,
    model: ClipModel,
    source_sha256: str | None,
    step: int,
    head: Tensor | None,
) -> Saved:
    """Save the checkpoint of an evaluation, and its head."""
    path = Path(spec.output_dir) / STEPS_FOLDER / f"step-{step:06}.safetensors"
    path.parent.mkdir(exist_ok=True)
    facts = step_provenance(spec, inputs, step, source_sha256)
    save_checkpoint(model, path, provenance=facts)
    if head is not None:
        names = inputs.label_set.class_names
        save_head(head.detach(), names, model.logit_scale, path.with_suffix(".head.safetensors"))
    return Saved(str(path), "step", step)


def _origin(model: ClipModel) -> tuple[str, ...]:
    """Which parts of the model are not from its file: a donor's encoder, chosen settings."""
    return (json.dumps(model.origin, sort_keys=True),) if model.origin else ()


def validator(model: ClipModel, inputs: Inputs, control: Control) -> Validate | None:
    """What the loop calls to watch CA and ASR on validation images, or None."""
    bench = inputs.validation
    if bench is None:
        return None

    def validate(head: Tensor | None) -> Generator[Event, None, dict[str, float] | None]:
        try:
            # Embedded anew only where the text encoder has changed.
            zero_shot = yield from classifier_of(model, inputs.label_set, control)
            evaluation = yield from measure(model, bench, zero_shot, control, "validate")
            values = metric_values(evaluation)
            if head is not None:
                linear = yield from measure(model, bench, head, control, "validate")
                values |= metric_values(linear, "linear_")
        except CancelledError:  # the loop ends at a step that all processes agree on
            return None
        return values

    return validate


def _measure_saved(
    spec: CleanSpec, inputs: Inputs, outcome: TrainingOutcome, measuring: Measuring
) -> Generator[Event, None, Rows]:
    """Evaluate what the files hold, not what memory holds."""
    source = open_checkpoint(Path(spec.output_dir) / CLEANED_FILE)
    model = source.build(str(inputs.device))
    classifier = yield from classifier_of(model, inputs.label_set, measuring.control)
    heads: dict[Head, Tensor] = {"zero-shot": classifier}
    if outcome.head is not None:
        heads["linear"] = outcome.head
    after: Rows = {}
    for head, rows_of_classes in heads.items():
        rows = yield from measuring.run("after", model, source, rows_of_classes, head)
        after |= {(head, name): row for name, row in rows.items()}
    return after
