"""Jobs that are steps of another one: passed on, taken over where finished, gone on with.

Torch is imported once a model is built, so that a step that is finished is told at once.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from ml_core.cleaning.recipes import fitted_budget
from ml_core.detection.scan.records import read_scan
from ml_core.events import Control, Done, Event, Message
from ml_core.jobs.journal import read_json, write_json
from ml_core.jobs.proofs import (
    HOLDOUTS_FILE,
    PROOF_IMAGES,
    REBOUND_FILE,
    holdouts_of,
    read_proof,
    rebound_of,
)
from ml_core.jobs.runner import run_job
from ml_core.jobs.scan import SCAN_FILE, SCAN_SPEC, ScanSpec
from ml_core.jobs.specs import (
    RESULT_FILE,
    SPEC_FILE,
    STATE_FILE,
    CleanSpec,
    read_spec,
    read_spec_file,
)
from ml_core.reading.errors import CancelledError, InputError

KEPT = "It was stopped by hand before its end, and kept as it was."
TAKEN_OVER = Message("Its result exists already; it is not run again.")
_MOST_EXAMPLES = 100_000_000  # of a recipe
_RESERVED = 10  # one of so many pairs is kept for the rebound test, where there are few


def passed_on(events: Generator[Event, None, None]) -> Generator[Event, None, Done]:
    """Pass a job's events on but its Done, which is returned."""
    for event in events:
        if not isinstance(event, Done):
            yield event
        elif event.status == "failed":
            yield Message(event.error, "error")
    assert isinstance(event, Done), "the last event of every job is one"
    return event


def cleaned(
    job: CleanSpec, control: Control, *, overwrite: bool = False, keep_stopped: bool = False
) -> Generator[Event, None, Done]:
    """Run a cleaning job, unless it finished earlier; one that was killed goes on.

    With minutes in it, its budget is fitted to them first. With ``keep_stopped`` one that was
    stopped by hand is finished as it is, now and later: its result says so.

    Returns
    -------
    Done
        How it ended.
    """
    done = _finished(job, keep_stopped)
    if done is not None:
        yield TAKEN_OVER
        return done
    folder = Path(job.output_dir)
    resume = (folder / STATE_FILE).exists() and _goes_on(job)
    if resume:
        job = read_spec(folder / SPEC_FILE)
    elif job.minutes is not None:
        job = yield from matched(job, job.minutes, control)
        if control.cancelled or control.stopped:
            return Done("cancelled")
    return (yield from passed_on(run_job(job, control, resume=resume, overwrite=overwrite)))


def scanned(
    spec: ScanSpec,
    files: tuple[str | None, str | None],
    control: Control,
    *,
    overwrite: bool = False,
) -> Generator[Event, None, Done]:
    """Scan, unless the folder holds the result of the same scan.

    Parameters
    ----------
    files
        SHA-256 of the checkpoint and of the reference as they are now.
    """
    folder = Path(spec.output_dir)
    with suppress(InputError):  # there is none
        earlier = read_spec_file(folder / SCAN_SPEC, ScanSpec)
        scan = read_scan(folder / SCAN_FILE)
        here = {"device": spec.device, "threads": spec.threads}
        same = (scan.suspect.sha256, scan.reference and scan.reference.sha256) == files
        if same and earlier.model_copy(update=here) == spec:
            yield TAKEN_OVER
            return Done("finished")
    return (yield from passed_on(run_job(spec, control, overwrite=overwrite)))


def rebounded(
    folder: Path, control: Control, steps: int | None = None, *, most: int = PROOF_IMAGES
) -> Generator[Event, None, Done]:
    """Run the rebound test of the run in a folder, unless it was made with as many steps.

    Parameters
    ----------
    steps
        Of each finetuning; None takes the usual number, or a test that is there.
    most
        Images that it is watched on, at most.

    Raises
    ------
    InputError
        If the run cannot be tested so.
    """
    proof = read_proof(folder, REBOUND_FILE)
    if proof is not None and steps in (None, proof["steps"]):
        return Done("finished", proof)
    changes = {} if steps is None else {"steps": steps}
    spec = rebound_of(read_spec(folder / SPEC_FILE), most=most, **changes)
    return (yield from passed_on(run_job(spec, control)))


def held_out(
    folder: Path, control: Control, other_labels: str | None = None, *, most: int = PROOF_IMAGES
) -> Generator[Event, None, Done]:
    """Run the hold-outs of the run in a folder, each on ``most`` images, unless they are there.

    Raises
    ------
    InputError
        If the run cannot be tested so.
    """
    proof = read_proof(folder, HOLDOUTS_FILE)
    if proof is not None:
        return Done("finished", proof)
    spec = holdouts_of(read_spec(folder / SPEC_FILE), most=most, other_labels=other_labels)
    return (yield from passed_on(run_job(spec, control)))


def matched(job: CleanSpec, minutes: float, control: Control) -> Generator[Event, None, CleanSpec]:
    """The job with as many steps as its training time allows on this machine.

    If the time cannot be measured, the job is not changed: the run meets the same error and reports
    it.
    """
    estimated = yield from passed_on(run_job(job, control, estimate=True))
    if estimated.status != "finished":
        return job
    recipe, per_step = job.recipe, estimated.result["train_seconds"] / estimated.result["steps"]
    steps = max(1, int(60 * minutes / per_step))
    most = min(_MOST_EXAMPLES, (steps + 1) * recipe.batch_size - 1)
    once = recipe.model_copy(update={"pairs": most, "epochs": 1})
    try:
        there = yield from _examples(job.model_copy(update={"recipe": once}), control)
    except (InputError, CancelledError):  # the run meets it too, and says so
        return job
    fitted = fitted_budget(recipe, steps, there)
    examples = [budgeted.total_steps * budgeted.batch_size for budgeted in (fitted, recipe)]
    yield Message(
        f"{minutes:g} minutes are {steps} steps of {1000 * per_step:.0f} ms: "
        f"{examples[0]} examples instead of {examples[1]}."
    )
    return job.model_copy(update={"recipe": fitted})


def pairs_there(job: CleanSpec, control: Control) -> Generator[Event, None, int]:
    """How many pairs a job finds; 0 where it needs none, brings the demo's, or fails on them."""
    pairs, recipe = job.pairs, job.recipe
    if pairs is None or pairs.kind == "demo" or recipe.facts.data not in ("pairs", "images"):
        return 0
    if recipe.facts.data == "images" and job.training_images is not None:
        return 0
    whole = recipe.model_copy(update={"pairs": _MOST_EXAMPLES, "epochs": 1})
    try:
        return (yield from _examples(job.model_copy(update={"recipe": whole}), control))
    except (InputError, CancelledError):  # the run meets it too, and says so
        return 0


def spared(job: CleanSpec, there: int) -> tuple[CleanSpec, str]:
    """The job without a tenth of its pairs, and as many steps where they are too few.

    The rebound test needs pairs that the cleaning never saw.

    Parameters
    ----------
    there
        How many pairs there are, see :func:`pairs_there`.

    Returns
    -------
    CleanSpec, str
        The job, and what was changed; empty where nothing was.
    """
    pairs, recipe = job.pairs, job.recipe
    reserve = there // _RESERVED if pairs is not None and pairs.n is None else 0
    used = there - reserve
    if used < recipe.batch_size or (job.minutes is None and used >= recipe.pairs):
        return job, ""
    changes: dict[str, object] = {}
    what = f"There are {there} pairs"
    if job.minutes is None:
        changes["recipe"] = fitted = fitted_budget(recipe, recipe.total_steps, used)
        epochs = "once" if fitted.epochs == 1 else f"{fitted.epochs} times"
        what += (
            f", fewer than the {recipe.pairs} of the recipe: {fitted.pairs} are shown {epochs}, "
            f"in {fitted.total_steps} steps"
        )
    if reserve and pairs is not None:
        changes["pairs"] = pairs.model_copy(update={"n": used})
        what += f"; {reserve} are kept for the rebound test"
    return job.model_copy(update=changes), f"{what}." if changes else ""


def _examples(job: CleanSpec, control: Control) -> Generator[Event, None, int]:
    """How many of the recipe's examples the job finds."""
    from ml_core.jobs.inputs import opening_inputs
    from ml_core.jobs.opening import open_model

    opened = open_model(job)
    inputs = yield from opening_inputs(job, opened.build("cpu"), control)
    with closing(inputs):
        return inputs.recipe.pairs


def _finished(job: CleanSpec, keep_stopped: bool) -> Done | None:
    """The Done of an equal job that finished earlier; None if there is none to take over."""
    from ml_core.jobs.clean.run import same_job

    folder = Path(job.output_dir)
    result = read_json(folder / RESULT_FILE)
    half = stopped_by_hand(result)
    if not result or half > keep_stopped or not same_job(job, folder / SPEC_FILE):
        return None
    if not _of_these_files(job, result):
        return None
    if half:
        result["stopped_because"] = KEPT
        write_json(result, folder / RESULT_FILE)
    return Done("finished", result)


def _goes_on(job: CleanSpec) -> bool:
    """Whether what is on disk is the beginning of this job."""
    from ml_core.jobs.clean.run import same_job

    folder = Path(job.output_dir)
    result = read_json(folder / RESULT_FILE)
    ours = not result or (stopped_by_hand(result) and _of_these_files(job, result))
    return ours and same_job(job, folder / SPEC_FILE)


def stopped_by_hand(result: dict[str, Any]) -> bool:
    """Whether a cleaning was asked to save and end before it was whole."""
    return bool(result.get("status") == "stopped" and not result.get("stopped_because"))


def _of_these_files(job: CleanSpec, result: dict[str, Any]) -> bool:
    """Whether the checkpoint is the one that the result was made from, not just its path.

    A checkpoint that cannot be read does not count as the same; the run will refuse it.
    """
    from ml_core.jobs.opening import open_model

    try:
        opened = open_model(job)
    except InputError:
        return False
    return bool(result.get("source_sha256") == opened.inspection.sha256)
