"""What a finished job reports, with everything needed to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_core.cleaning.gradients import has_batch_norm
from ml_core.cleaning.loop import TrainingOutcome
from ml_core.evaluation.evaluate import versions
from ml_core.evaluation.records import Evaluation, forget_target
from ml_core.jobs.clean.artifacts import result_files
from ml_core.jobs.inputs import Inputs
from ml_core.jobs.specs import CleanSpec
from ml_core.model import ClipModel

Rows = Mapping[tuple[str, str], Evaluation]


def provenance(
    spec: CleanSpec, inputs: Inputs, outcome: TrainingOutcome, source_sha256: str | None
) -> dict[str, Any]:
    """What stands in the cleaned checkpoint's metadata: source, recipe, data, versions.

    Holds no date, path or time, so that equal runs give equal files.
    """
    facts = step_provenance(spec, inputs, outcome.step, source_sha256)
    return facts | {"total_steps": outcome.total_steps, "precision": outcome.speed.precision}


def step_provenance(
    spec: CleanSpec, inputs: Inputs, step: int, source_sha256: str | None
) -> dict[str, Any]:
    """What stands in the metadata of a checkpoint saved at an evaluation."""
    return {
        "made_by": "cleaning",
        "method": inputs.recipe.method,
        "source_sha256": source_sha256,
        "source_name": Path(spec.checkpoint).name,
        "recipe": inputs.recipe.model_dump(),
        "steps": step,
        "total_steps": inputs.recipe.total_steps,
        "training_data": inputs.training_key,
        "device": inputs.device.type,
        "versions": dict(versions()),
    }


def result_record(
    spec: CleanSpec,
    model: ClipModel,
    inputs: Inputs,
    outcome: TrainingOutcome,
    before: Rows,
    after: Rows,
    timings: Mapping[str, float],
    source_sha256: str | None,
) -> dict[str, Any]:
    """The result of a job as JSON-ready values.

    ``before`` and ``after`` are the zero-shot evaluations on the test images; ``heads`` holds a
    row for each head, measured with that head before and after (a random head had no before);
    ``heldout`` the same on the second set. ``batch_norm`` is None where the model has none, or
    nothing was trained.
    """
    heads = {head for head, _ in after}
    trained = inputs.recipe.facts.data != "none"
    record: dict[str, Any] = {
        "before": _dict(before.get(("zero-shot", "test"))),
        "after": _dict(after.get(("zero-shot", "test"))),
        "method": inputs.recipe.method,
        "preset": inputs.recipe.preset,
        "status": outcome.status,
        "stopped_because": outcome.reason,
        **result_files(spec, outcome),
        "source": str(spec.checkpoint),
        "source_sha256": source_sha256,
        "donor": spec.donor,
        "trigger": spec.trigger,
        "target": spec.target,
        "target_name": inputs.label_set.class_names[spec.target],
        "label_set": inputs.label_set.name,
        "recipe": inputs.recipe.model_dump(),
        "seed": inputs.recipe.seed,
        "steps": outcome.step,
        "total_steps": outcome.total_steps,
        "training_data": inputs.training_key,
        "precision": outcome.speed.precision,
        "step_seconds": dict(outcome.speed.step_seconds),
        "speed": outcome.speed.to_dict(),
        "batch_norm": inputs.recipe.batch_norm if trained and has_batch_norm(model) else None,
        "cache_chunk": outcome.chunk,
        "rate_factor": outcome.rate_factor,
        "device": str(inputs.device),
        "threads": inputs.threads,
        "timings": dict(timings),
        "train_seconds": outcome.seconds,
        "notes": [*inputs.notes, *_precision_note(inputs, outcome)],
        "versions": dict(versions()),
        "heads": {head: _rows(head, inputs, "test", before, after) for head in sorted(heads)},
        "heldout": _rows("zero-shot", inputs, "heldout", before, after),
    }
    if outcome.head is not None:
        record["heldout_linear"] = _rows("linear", inputs, "heldout", before, after)
    if not spec.targeted:
        record["target"] = record["target_name"] = None
        sides = [record, *record["heads"].values(), record["heldout"], record.get("heldout_linear")]
        for side in filter(None, sides):
            for row in filter(None, (side["before"], side["after"])):
                forget_target(row)
    return record


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


def _rows(head: str, inputs: Inputs, name: str, before: Rows, after: Rows) -> dict[str, Any] | None:
    """Before and after of one head on one set; None if the set was not measured."""
    if (head, name) not in after:
        return None
    first = before.get(("zero-shot", name))
    if head == "linear" and inputs.recipe.head_init != "zero-shot":
        first = None  # the head did not exist before
    return {"before": _dict(first), "after": _dict(after[head, name])}


def _dict(evaluation: Evaluation | None) -> dict[str, Any] | None:
    """JSON-ready evaluation."""
    return None if evaluation is None else evaluation.to_dict()
