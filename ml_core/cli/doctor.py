"""``cleanclip doctor``: find out what a file does not say or says wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ml_core import figures
from ml_core.cli import output
from ml_core.cli.arguments import checkpoint_path, image_spec, labels_and_templates
from ml_core.cli.options import (
    Checkpoint,
    Device,
    Donor,
    Images,
    Json,
    LabelColumn,
    LabelledImageColumn,
    Labels,
    Templates,
    Threads,
)
from ml_core.reading import InputError, examine

if TYPE_CHECKING:
    from ml_core.evaluation.doctor import Diagnosis


def doctor(
    checkpoint: Checkpoint,
    images: Images = "demo:test",
    labels: Labels = "demo",
    templates: Templates = None,
    image_column: LabelledImageColumn = None,
    label_column: LabelColumn = None,
    n: Annotated[int, typer.Option("--n", help="Labelled images to try it on.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.")] = 0,
    donor: Donor = None,
    device: Device = "auto",
    threads: Threads = 0,
    save: Annotated[
        Path | None, typer.Option(help="Save a copy with the proposed settings.")
    ] = None,
    remember: Annotated[
        bool,
        typer.Option("--remember", help="Use the proposed settings whenever the file is opened."),
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Only forget what was remembered for the file.")
    ] = False,
    json: Json = False,
) -> None:
    """Find settings that a file leaves open or states wrongly: activation, mean, heads, size.

    Tries the candidates on labelled images, shows the accuracy of each and proposes the best.
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
        _forget(checkpoint_path(checkpoint), json)
        return
    with output.working("Loading torch"):
        from ml_core.checkpoints import open_checkpoint
        from ml_core.checkpoints.saved_choices import remember as write_remembered
        from ml_core.checkpoints.saved_choices import remembered
        from ml_core.data.images import open_images
        from ml_core.evaluation.doctor import Trial, diagnose
        from ml_core.jobs.devices import choose_device, set_threads

    checkpoint = checkpoint_path(checkpoint)
    donor = None if donor is None else checkpoint_path(donor)
    columns = {"image_column": image_column, "label_column": label_column}
    label_set = labels_and_templates(labels, templates)
    # as the file says, whatever is remembered for it
    with output.working(f"Opening {checkpoint.name}"):
        opened = open_checkpoint(checkpoint, donor, use_choice=False)
    sha256, name = opened.inspection.sha256, opened.inspection.name
    before = remembered(sha256)
    tried_on = open_images(image_spec(images, n, seed).model_copy(update=columns), label_set)
    set_threads(threads)
    work = diagnose(opened, tried_on, label_set, device=str(choose_device(device)))
    while True:
        try:
            with output.working("Trying settings"):  # ends before a line is written
                event = next(work)
        except StopIteration as end:
            found = end.value
            break
        if isinstance(event, Trial) and not json:
            output.say(f"{event.question}: {event.answer}: {figures.percent(event.accuracy)}")
    saved = None
    if found.choice is None and (save is not None or remember):
        wish = "remember" if save is None else "save"
        raise InputError(
            f"No setting is significantly better than those in use for {name}: there is nothing "
            f"to {wish}."
        )
    if save is not None:
        from ml_core.checkpoints.save import save_checkpoint

        model = opened.build(choice=found.choice)
        facts = {"made_by": "loader doctor", "source_sha256": sha256}
        saved = save_checkpoint(model, save, provenance=facts)
    if remember and found.choice is not None:
        before = write_remembered(sha256, name, found.choice)
    if json:
        record = {
            "checkpoint": str(checkpoint),
            **found.to_dict(),
            "saved": None if saved is None else str(saved),
            "remembered": None if before is None else before.to_dict(),
            "images": tried_on.name,
            "seed": seed,
        }
        output.print_json(record)
        return
    _print(name, found)
    if before is not None:
        verb = "Remembered" if remember else "Remembered from before, and not used here"
        output.say(f"{verb}: {before.sentence}")
    if saved is not None:
        output.say(f"Saved with the proposed settings: {saved}")


def _forget(path: Path, json: bool) -> None:
    """Drop what is remembered for a file."""
    from ml_core.checkpoints.saved_choices import forget

    found = examine(path)
    if found.refused:
        raise found.refusal()
    if not forget(found.sha256):
        raise InputError(f"Nothing is remembered for {found.name}.")
    if json:
        output.print_json({"checkpoint": str(path), "sha256": found.sha256, "forgotten": True})
        return
    output.show(output.cell(f"{found.name} is opened with its own settings again."))


def _print(name: str, found: Diagnosis) -> None:
    """Print every trial, the proposed one marked, and what follows."""
    table = Table(title=output.cell(f"{name}: the settings that fit best"), title_justify="left")
    for title in ("", "Question", "Answer"):
        table.add_column(title)
    for title in ("Accuracy", "Images"):
        table.add_column(title, justify="right")
    for trial in found.trials:
        mark = ("now" if found.choice is None else "proposed") if trial == found.best else ""
        table.add_row(
            mark,
            trial.question,
            output.cell(trial.answer),
            figures.percent(trial.accuracy),
            str(trial.n),
        )
    output.show(table)
    for sentence in (*found.warnings, *found.findings):
        output.show(output.cell(sentence))
    if found.choice is not None:
        output.show(output.cell(found.choice.evidence))
    elif not found.findings:
        said = "The file states every setting, and no other is significantly better."
        output.show(output.cell(said))
