"""One cleaning job from spec to result, as a generator of events.

The same generator serves the command line, the tests and the window's child process.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ml_core.atomic import replace_files
from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.checkpoints.write_safetensors import write_safetensors
from ml_core.cleaning.gradients import check_pieces, has_batch_norm
from ml_core.cleaning.loop import TrainingOutcome, train
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.pretraining import carried
from ml_core.cleaning.progress import decisive
from ml_core.cleaning.recipes import fitted_warmup
from ml_core.cleaning.speed import speed_from_dict
from ml_core.cleaning.state import earlier_state, intact_state
from ml_core.cleaning.weight_space import Validate
from ml_core.evaluation.evaluate import versions
from ml_core.evaluation.records import Evaluation, forget_target
from ml_core.events import Control, Done, Event, Message, Progress, Saved
from ml_core.jobs.clean.estimate import opened_reference, reference_of
from ml_core.jobs.demo import pretraining_at
from ml_core.jobs.devices import choose_device
from ml_core.jobs.failures import guarded
from ml_core.jobs.inputs import Inputs, opening_inputs, opening_sets
from ml_core.jobs.journal import journaled, read_json, write_json
from ml_core.jobs.measure import classifier_of, measure, metric_values
from ml_core.jobs.measurement.run import Head, Keeper, Measuring
from ml_core.jobs.opening import open_model
from ml_core.jobs.proofs import HOLDOUTS_FILE, REBOUND_FILE
from ml_core.jobs.specs import (
    CLEANED_FILE,
    EVENTS_FILE,
    HEAD_FILE,
    RESULT_FILE,
    SPEC_FILE,
    STATE_FILE,
    STEPS_FOLDER,
    CleanSpec,
    check_spec,
    read_spec,
    write_spec,
)
from ml_core.model import ClipModel
from ml_core.ranks import ALONE, Ranks
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.inspect import whole_file
from ml_core.reading.tokenizer_file import name_beside
from ml_core.reports.measurement_files import MADE, MEASUREMENTS_FOLDER
from ml_core.triggers import Trigger
from ml_core.triggers.files import load_trigger, save_own_trigger

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
        write_spec(_keep_trigger(spec, inputs.trigger), folder / SPEC_FILE)
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
    keeper = Keeper(control, spec.targeted)
    measuring = Measuring(folder, inputs.benches, inputs.threads, keeper)
    with suppress(CancelledError):  # the others are told below
        classifier = yield from classifier_of(model, inputs.label_set, control)
        if ranks.first:
            rows = yield from measuring.run("before", model, opened, classifier)
            before = {("zero-shot", name): row for name, row in rows.items()}
    if ranks.any(control.cancelled, device=model.device)[0]:
        raise CancelledError
    lap("before")

    job, model.sha256 = _Opened(spec, model, inputs, model.sha256), None
    try:
        outcome = yield from train(
            model,
            inputs.recipe,
            inputs.make_batch,
            control,
            extras=Extras(classifier, reference),
            validate=validator(model, inputs, control) if ranks.first else None,
            keep=job.save_step if spec.keep_steps and ranks.first else None,
            state_path=folder / STATE_FILE,
            resume=resume,
            identity=job.identity,
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
    yield from job.save_result(outcome)
    lap("save")

    try:
        after = yield from job.measured(outcome, measuring)
    except CancelledError:
        yield Done("cancelled", job.files(outcome))
        return
    lap("after")
    for note in inputs.notes:  # broken pictures are found when they are decoded
        if note not in early_notes:
            yield Message(note, "warning")
    result = job.record(outcome, before, after, timings)
    result |= {"processes": ranks.world, "seconds": time.monotonic() - begin}
    write_json(result, folder / RESULT_FILE)
    yield Saved(str(folder / RESULT_FILE), "result", outcome.step)
    yield Done(outcome.status, result)


@dataclass(frozen=True, eq=False)
class _Opened:
    """A job whose checkpoint and data are open, and what is written of it."""

    spec: CleanSpec
    model: ClipModel
    inputs: Inputs
    source_sha256: str | None

    @property
    def _folder(self) -> Path:
        return Path(self.spec.output_dir)

    @property
    def identity(self) -> str:
        """What a saved state must have begun with: file, data, and what is not from the file."""
        model = self.model  # a donor's encoder, chosen settings
        origin = [json.dumps(model.origin, sort_keys=True)] if model.origin else []
        return " ".join((str(self.source_sha256), self.inputs.training_key, *origin))

    def _provenance(self, step: int, **more: Any) -> dict[str, Any]:
        """What stands in a checkpoint's metadata: source, recipe, data, versions.

        Holds no date, path or time, so that equal runs give equal files.
        """
        recipe = self.inputs.recipe
        return {
            "made_by": "cleaning",
            "method": recipe.method,
            "source_sha256": self.source_sha256,
            "source_name": Path(self.spec.checkpoint).name,
            "recipe": recipe.model_dump(),
            "steps": step,
            "total_steps": recipe.total_steps,
            "training_data": self.inputs.training_key,
            "device": self.inputs.device.type,
            "versions": dict(versions()),
        } | more

    def _save(
        self, facts: dict[str, Any], weights: Path, head: Tensor | None, beside: Path
    ) -> None:
        """Write the weights, and ``beside`` them a linear head [C, D] if there is one.

        Its logits are ``scale * unit embedding @ head.T``: a tensor ``weight``, the rest metadata.
        """
        save_checkpoint(self.model, weights, provenance=facts)
        if head is not None:
            names, kept = list(self.inputs.label_set.class_names), head.detach()
            metadata = {"class_names": json.dumps(names), "scale": repr(self.model.logit_scale)}
            replace_files(
                {beside: lambda file: write_safetensors(file, {"weight": kept}, metadata)}
            )

    def save_step(self, step: int, head: Tensor | None) -> Saved:
        """Save the checkpoint of an evaluation, and its head."""
        path = self._folder / STEPS_FOLDER / f"step-{step:06}.safetensors"
        path.parent.mkdir(exist_ok=True)
        self._save(self._provenance(step), path, head, path.with_suffix(".head.safetensors"))
        return Saved(str(path), "step", step)

    def save_result(self, outcome: TrainingOutcome) -> Iterator[Event]:
        """Write the cleaned weights, and the head if any."""
        made = {"total_steps": outcome.total_steps, "precision": outcome.speed.precision}
        paths = self._folder / CLEANED_FILE, self._folder / HEAD_FILE
        (self._folder / RESULT_FILE).unlink(missing_ok=True)  # of a stop: of other weights
        self._save(self._provenance(outcome.step, **made), paths[0], outcome.head, paths[1])
        for path in paths[: 1 if outcome.head is None else 2]:
            yield Saved(str(path), "checkpoint", outcome.step)

    def measured(
        self, outcome: TrainingOutcome, measuring: Measuring
    ) -> Generator[Event, None, Rows]:
        """Evaluate what the files hold, not what memory holds."""
        source = open_checkpoint(self._folder / CLEANED_FILE)
        model = source.build(str(self.inputs.device))
        control = measuring.keeper.control
        classifier = yield from classifier_of(model, self.inputs.label_set, control)
        heads: dict[Head, Tensor] = {"zero-shot": classifier}
        if outcome.head is not None:
            heads["linear"] = outcome.head
        after: Rows = {}
        for head, rows_of_classes in heads.items():
            rows = yield from measuring.run("after", model, source, rows_of_classes, head)
            after |= {(head, name): row for name, row in rows.items()}
        return after

    def files(self, outcome: TrainingOutcome) -> dict[str, Any]:
        """The part of a result record that names the files.

        ``checkpoint`` and ``checkpoint_sha256`` are the cleaned weights, ``linear_head`` the head
        if there is one. ``alpha`` of a method in weight space (the result is the source plus alpha
        times its direction), and in ``alphas`` what was measured of each alpha that was tried.
        """
        weights = self._folder / CLEANED_FILE
        sha256 = open_checkpoint(weights).inspection.sha256
        record: dict[str, Any] = {"checkpoint": str(weights), "checkpoint_sha256": sha256}
        if outcome.head is not None:
            record["linear_head"] = str(self._folder / HEAD_FILE)
        if outcome.beside is not None:
            record["alpha"] = outcome.beside.alpha
            record["alphas"] = [dict(row) for row in outcome.beside.tried]
        return record

    def record(
        self, outcome: TrainingOutcome, before: Rows, after: Rows, timings: dict[str, float]
    ) -> dict[str, Any]:
        """The result of a job as JSON-ready values.

        ``before`` and ``after`` are the zero-shot evaluations on the test images; ``heads`` holds a
        row for each head, measured with that head before and after (a random head had no before);
        ``heldout`` the same on the second set. ``batch_norm`` is None where the model has none, or
        nothing was trained.
        """
        spec, inputs, recipe, speed = self.spec, self.inputs, self.inputs.recipe, outcome.speed
        heads = sorted({head for head, _ in after})
        has_norm = recipe.facts.data != "none" and has_batch_norm(self.model)

        def rows(head: str, name: str) -> dict[str, Any] | None:
            """Before and after of one head on one set; None if the set was not measured."""
            if (head, name) not in after:
                return None
            first = before.get(("zero-shot", name))
            if head == "linear" and recipe.head_init != "zero-shot":
                first = None  # the head did not exist before
            return {"before": _dict(first), "after": _dict(after[head, name])}

        record: dict[str, Any] = {
            "before": _dict(before.get(("zero-shot", "test"))),
            "after": _dict(after.get(("zero-shot", "test"))),
            "method": recipe.method,
            "preset": recipe.preset,
            "status": outcome.status,
            "stopped_because": outcome.reason,
            **self.files(outcome),
            "source": str(spec.checkpoint),
            "source_sha256": self.source_sha256,
            "donor": spec.donor,
            "trigger": spec.trigger,
            "target": spec.target,
            "target_name": inputs.label_set.class_names[spec.target],
            "label_set": inputs.label_set.name,
            "recipe": recipe.model_dump(),
            "seed": recipe.seed,
            "steps": outcome.step,
            "total_steps": outcome.total_steps,
            "training_data": inputs.training_data,
            "precision": speed.precision,
            "step_seconds": dict(speed.step_seconds),
            "speed": speed.to_dict(),
            "batch_norm": recipe.batch_norm if has_norm else None,
            "cache_chunk": outcome.chunk,
            "rate_factor": outcome.rate_factor,
            "device": str(inputs.device),
            "threads": inputs.threads,
            "timings": timings,
            "train_seconds": outcome.seconds,
            "notes": [*inputs.notes, *_precision_note(inputs, outcome)],
            "versions": dict(versions()),
            "heads": {head: rows(head, "test") for head in heads},
            "heldout": rows("zero-shot", "heldout"),
        }
        if outcome.head is not None:
            record["heldout_linear"] = rows("linear", "heldout")
        if not spec.targeted:
            record["target"] = record["target_name"] = None
            both = record["heldout"], record.get("heldout_linear")
            for side in filter(None, (record, *record["heads"].values(), *both)):
                for row in filter(None, (side["before"], side["after"])):
                    forget_target(row)
        return record


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


def _keep_trigger(spec: CleanSpec, trigger: Trigger | None) -> CleanSpec:
    """Copy the trigger into the run's folder if needed; return the job that names the copy.

    The name is relative, so that the folder can be moved or brought back from another machine.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    if trigger is None or spec.trigger is None:
        return spec
    folder, path = Path(spec.output_dir), Path(spec.trigger)
    if path.resolve().parent != folder.resolve():
        path = save_own_trigger(trigger, folder)
    return spec.model_copy(update={"trigger": path.name})


def _precision_note(inputs: Inputs, outcome: TrainingOutcome) -> list[str]:
    """Say how to repeat a run whose precision this machine chose."""
    if inputs.recipe.precision != "auto" or not outcome.total_steps:
        return []
    chosen = outcome.speed.precision
    how = "by timing on this machine" if outcome.speed.step_seconds else "for this device"
    return [
        f"The precision was chosen {how}: {chosen}. To repeat the run exactly elsewhere, set the "
        f"recipe's precision to {chosen}."
    ]


def _dict(evaluation: Evaluation | None) -> dict[str, Any] | None:
    """JSON-ready evaluation."""
    return None if evaluation is None else evaluation.to_dict()


EARLIER_FOLDER = "earlier-result"
_STATES = (STATE_FILE, earlier_state(Path(STATE_FILE)).as_posix())
_RUN_FILES = (
    *_STATES,
    RESULT_FILE,
    REBOUND_FILE,
    HOLDOUTS_FILE,
    CLEANED_FILE,
    HEAD_FILE,
    "adapter.safetensors",  # of older versions
    "vector.safetensors",
    name_beside(Path(CLEANED_FILE)).name,
)
_FOLDERS = (STEPS_FOLDER, MEASUREMENTS_FOLDER, Path(STATE_FILE).parent.name)
# Where and how a job is computed, which makes it no other one.
_MACHINE = ("output_dir", "device", "threads", "processes", "keep_steps")


def check_own_folders(folder: Path) -> None:
    """Refuse a run's folder, perhaps a stranger's, whose own folders are links to elsewhere.

    Raises
    ------
    InputError
        What the run takes away and writes there would be another folder's.
    """
    for name in (*_FOLDERS, EARLIER_FOLDER, *(f"{EARLIER_FOLDER}/{name}" for name in _FOLDERS)):
        if (folder / name).is_symlink():
            raise InputError(
                f"{name} in the folder {folder.name} is a link to another folder, where the run "
                "would write and delete files; take the link away."
            )


def check_place(spec: CleanSpec, source_sha256: str | None = None) -> None:
    """Refuse a folder that holds what another job made: its result, state, weights or measurements.

    ``source_sha256`` is the checkpoint's, where it is known.

    Raises
    ------
    InputError
        With the folder, and what to do.
    """
    folder, needed = Path(spec.output_dir), _source_files(spec)
    if all(path.resolve() in needed for path in _files_of_run(folder) if os.path.lexists(path)):
        return
    result = read_json(folder / RESULT_FILE)
    others = source_sha256 is not None and result.get("source_sha256") not in (None, source_sha256)
    if others or not same_job(spec, folder / SPEC_FILE, *_MACHINE):
        what = "the result" if result else "files"
        raise InputError(
            f"{folder} holds {what} of another job; choose another folder, or replace what is "
            "there with --overwrite."
        )


def same_job(job: CleanSpec, path: Path, *ignored: str) -> bool:
    """Whether a spec on disk is the job's, but for what the machine's speed set.

    A run keeps a copy of its trigger, and its spec names that one. ``ignored`` names more fields.
    """
    try:
        there = read_spec(path)
    except InputError:
        return False
    changes: dict[str, Any] = {name: getattr(job, name) for name in ("speed", "recipe", *ignored)}
    if there.trigger is not None and _digest(there.trigger) == _digest(job.trigger):
        changes["trigger"] = job.trigger
    recipe = there.recipe
    if job.minutes is not None:
        budget = {"pairs": job.recipe.pairs, "epochs": job.recipe.epochs}
        warmup = job.recipe.warmup_steps
        if recipe.warmup_steps == fitted_warmup(warmup, recipe.total_steps):
            budget["warmup_steps"] = warmup
        recipe = recipe.model_copy(update=budget)
    if decisive(job.recipe.model_dump()) != decisive(recipe.model_dump()):
        return False
    return job == there.model_copy(update=changes)


def _digest(trigger: str | None) -> str | None:
    """Digest of a trigger file's content; None if it is not a trigger."""
    try:
        return None if trigger is None else load_trigger(Path(trigger)).digest
    except InputError:
        return None


def set_aside(spec: CleanSpec, *, journal: bool) -> bool:
    """Move the result of an earlier run aside, or take away what a run without result left.

    Otherwise the old files would be taken for this run's. Files that this run starts from stay.

    Parameters
    ----------
    spec
        The job that begins.
    journal
        Whether the journal is the earlier run's.

    Returns
    -------
    bool
        Whether there was a result.

    Raises
    ------
    OSError
        If a file cannot be moved.
    """
    folder = Path(spec.output_dir)
    needed = _source_files(spec)
    there = (folder / RESULT_FILE).exists()
    about = [folder / SPEC_FILE] * there + [folder / EVENTS_FILE] * journal
    for path in [*_files_of_run(folder), *about]:
        if path.resolve() in needed:
            continue
        if there:
            _move(path, folder / EARLIER_FOLDER / path.relative_to(folder))
        else:
            path.unlink(missing_ok=True)
    _clear_folders(folder)
    return there


def bring_back(folder: Path) -> None:
    """Put a result back that lies aside: the run in its place came to nothing.

    A state that this run saved stays where it is, to go on from.

    Raises
    ------
    OSError
        If a file cannot be moved; the rest of them comes back another time.
    """
    aside = folder / EARLIER_FOLDER
    if not aside.is_dir() or aside.is_symlink():
        return
    states = [folder / name for name in _STATES]
    newer = any(path.exists() for path in states)
    with suppress(InputError):  # killed before it wrote its job, a run has made nothing
        stays = _source_files(read_spec(folder / SPEC_FILE)) | {path.resolve() for path in states}
        for path in _files_of_run(folder):
            if path.resolve() not in stays:
                path.unlink(missing_ok=True)
    for path in [*_files_of_run(aside), aside / SPEC_FILE, aside / EVENTS_FILE]:
        place = folder / path.relative_to(aside)
        if place not in states or not newer:
            _move(path, place)
    _clear_folders(folder)
    shutil.rmtree(aside)


def forget_earlier(folder: Path) -> None:
    """Delete the result that lies aside, as the new one is there."""
    aside = folder / EARLIER_FOLDER
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)


def _source_files(spec: CleanSpec) -> set[Path]:
    """The checkpoints that a run starts from, which an earlier run may have made."""
    given = (spec.checkpoint, spec.donor, spec.reference)
    return {whole_file(path).resolve() for path in given if path is not None}


def _files_of_run(folder: Path) -> Iterator[Path]:
    """The files that a run may have made in a folder; a link instead of a measurement, too."""
    yield from (folder / name for name in _RUN_FILES)
    yield from (folder / STEPS_FOLDER).glob("step-[0-9]*.safetensors")
    for measurement in (folder / MEASUREMENTS_FOLDER).glob("*"):
        if measurement.is_symlink():
            yield measurement
        elif measurement.is_dir():
            yield from (measurement / name for name in MADE)


def _move(path: Path, place: Path) -> None:
    """Move a file, if it is there."""
    if os.path.lexists(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)


def _clear_folders(folder: Path) -> None:
    """Remove the measurement folders that are empty now."""
    for measurement in (folder / MEASUREMENTS_FOLDER).glob("*"):
        with suppress(OSError):  # it holds something
            measurement.rmdir()
