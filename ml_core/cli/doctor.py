"""``cleanclip doctor``: find out what a file does not say or says wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from ml_core import figures
from ml_core.cli import output
from ml_core.cli.arguments import image_spec, labels_and_templates
from ml_core.cli.checkpoints import checkpoint_path, examined
from ml_core.cli.options import Options, command
from ml_core.cli.run import run_stage
from ml_core.events import Event, Message, forwarded
from ml_core.jobs.doctor import DoctorSpec
from ml_core.options import option
from ml_core.reading import InputError

if TYPE_CHECKING:
    from ml_core.evaluation.doctor import Diagnosis


@command(
    "checkpoint images labels templates image_column label_column n seed donor device threads save "
    "remember forget json",
    DoctorSpec,
)
def doctor(
    options: Options,
    n: int = option(300, help="Labelled images to try it on."),
    seed: int = option(0, help="Seed of the sample.", ge=0),
    save: Path | None = option(None, help="Save a copy with the proposed settings."),
    remember: bool = option(False, help="Use the proposed settings whenever the file is opened."),
    forget: bool = option(False, help="Only forget what was remembered for the file."),
) -> None:
    """Tries the candidates on labelled images, shows the accuracy of each and proposes the best.
    Nothing is changed: --save writes a copy, --remember uses the settings, and says so, whenever
    the file is opened (inspect, evaluate, clean and convert ignore them with --no-choice).

    Examples:

        cleanclip doctor epoch_10.pt --images photos/ --labels imagenet-1k

        cleanclip doctor model.safetensors --save fixed.safetensors --json

        cleanclip doctor model.safetensors --remember
    """
    if forget:
        if remember or save is not None:
            raise InputError(
                "--forget cannot be combined with --save or --remember; run the doctor "
                "again for those."
            )
        _forget(checkpoint_path(options.checkpoint), options.json)
        return
    with output.working("Loading torch"):
        from ml_core.checkpoints import open_checkpoint
        from ml_core.checkpoints.choice import remember as write_remembered
        from ml_core.checkpoints.choice import remembered
        from ml_core.data.images import open_images
        from ml_core.evaluation.doctor import Trial, diagnose
        from ml_core.jobs.devices import choose_device, set_threads

    fields = options.of(DoctorSpec)
    checkpoint = checkpoint_path(options.checkpoint)
    donor = None if options.donor is None else checkpoint_path(options.donor)
    label_set = labels_and_templates(options.labels, options.templates)
    # as the file says, whatever is remembered for it
    with output.working(f"Opening {checkpoint.name}"):
        opened = open_checkpoint(checkpoint, donor, use_choice=False)
    sha256, name = opened.inspection.sha256, opened.inspection.name
    before = remembered(sha256)
    tried_on = open_images(
        image_spec(options.images, n, seed).model_copy(update=options.columns), label_set
    )
    set_threads(fields["threads"])
    device = str(choose_device(fields["device"]))

    def event_of(step: Event | Trial) -> Event | None:
        if not isinstance(step, Trial):
            return step
        tried = f"{step.question}: {step.answer}: {figures.percent(step.accuracy)}"
        return None if options.json else Message(tried)

    work = diagnose(opened, tried_on, label_set, device=device)
    diagnosis = run_stage(forwarded(work, event_of))
    saved = None
    if diagnosis.choice is None and (save is not None or remember):
        verb = "remember" if save is None else "save"
        raise InputError(
            f"No setting is significantly better than those in use for {name}: there is nothing "
            f"to {verb}."
        )
    if save is not None:
        from ml_core.checkpoints.save import save_checkpoint

        model = opened.build(choice=diagnosis.choice)
        facts = {"made_by": "loader doctor", "source_sha256": sha256}
        saved = save_checkpoint(model, save, provenance=facts)
    if remember and diagnosis.choice is not None:
        before = write_remembered(sha256, name, diagnosis.choice)
    parts = list(_parts(name, diagnosis))
    if before is not None:
        verb = "Remembered" if remember else "Remembered from before, and not used here"
        parts.append(output.Aside(f"{verb}: {before.sentence}"))
    if saved is not None:
        parts.append(output.Aside(f"Saved with the proposed settings: {saved}"))
    record = {
        "checkpoint": str(checkpoint),
        **diagnosis.to_dict(),
        "saved": None if saved is None else str(saved),
        "remembered": None if before is None else before.to_dict(),
        "images": tried_on.name,
        "seed": seed,
    }
    output.answer(options.json, record, *parts)


def _forget(path: Path, json: bool) -> None:
    """Drop what is remembered for a file."""
    from ml_core.checkpoints.choice import forget

    inspection = examined(path)
    if not forget(inspection.sha256):
        raise InputError(f"Nothing is remembered for {inspection.name}.")
    record = {"checkpoint": str(path), "sha256": inspection.sha256, "forgotten": True}
    output.answer(json, record, f"{inspection.name} is opened with its own settings again.")


def _parts(name: str, diagnosis: Diagnosis) -> Iterator[Table | str]:
    """Every trial, the proposed one marked, and what follows."""
    mark = "now" if diagnosis.choice is None else "proposed"
    rows = (
        (
            mark if trial == diagnosis.best else "",
            trial.question,
            trial.answer,
            figures.percent(trial.accuracy),
            str(trial.n),
        )
        for trial in diagnosis.trials
    )
    title = f"{name}: the settings that fit best"
    columns = ("", "Question", "Answer", ">Accuracy", ">Images")
    yield output.table(title, columns, rows, **output.LINES)
    yield from (*diagnosis.warnings, *diagnosis.findings)
    if diagnosis.choice is not None:
        yield diagnosis.choice.evidence
    elif not diagnosis.findings:
        yield "The file states every setting, and no other is significantly better."
