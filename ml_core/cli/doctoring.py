"""``cleanclip doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.cli import output
from ml_core.cli.arguments import image_spec
from ml_core.cli.evaluating import labels_and_templates
from ml_core.data.images import open_images
from ml_core.evaluation.doctor import Diagnosis, Trial, diagnose
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.reading.errors import InputError


def doctor_checkpoint(
    path: str | Path,
    *,
    images: str,
    labels: str,
    templates: Path | None,
    image_column: str | None,
    label_column: str | None,
    donor: Path | None,
    n: int,
    seed: int,
    device: str,
    threads: int,
    save: Path | None,
    json: bool,
) -> None:
    """Try what a checkpoint may have been trained with and print what the images say.

    Raises
    ------
    InputError
        If an input cannot be used, or nothing is proposed that could be saved.
    """
    columns = {"image_column": image_column, "label_column": label_column}
    label_set = labels_and_templates(labels, templates)
    checkpoint = open_checkpoint(path, donor)
    bench = open_images(image_spec(images, n, seed).model_copy(update=columns), label_set)
    set_threads(threads)
    where = str(choose_device(device))
    work = diagnose(checkpoint, bench, label_set, device=where)
    found: Diagnosis | None = None
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            found = end.value
            break
        if isinstance(event, Trial) and not json:
            output.say(f"{event.question}: {event.answer}: {100 * event.accuracy:.1f} %")
    assert found is not None, "nobody cancels it here"
    saved = None
    if save is not None:
        if found.choice is None:
            raise InputError(
                f"{checkpoint.inspection.name} is best as it is: there is no choice to save."
            )
        model = checkpoint.build(choice=found.choice)
        facts = {"made_by": "loader doctor", "source_sha256": checkpoint.inspection.sha256}
        saved = save_checkpoint(model, save, provenance=facts)
    if json:
        output.print_json(_record(str(path), found, saved) | {"images": bench.name, "seed": seed})
        return
    _print(checkpoint.inspection.name, found)
    if saved is not None:
        output.say(f"Saved with the proposed settings: {saved}")


def _record(path: str, found: Diagnosis, saved: Path | None) -> dict[str, Any]:
    """The diagnosis as JSON-ready values."""
    return {"checkpoint": path, **found.to_dict(), "saved": None if saved is None else str(saved)}


def _print(name: str, found: Diagnosis) -> None:
    """A table for people: every trial, the proposed one marked."""
    table = Table(title=output.cell(f"{name}: what it behaves best with"), title_justify="left")
    for title in ("", "Question", "Answer"):
        table.add_column(title)
    for title in ("Accuracy", "Images"):
        table.add_column(title, justify="right")
    for trial in found.trials:
        mark = "best" if trial == found.best else ""
        table.add_row(
            mark,
            trial.question,
            output.cell(trial.answer),
            f"{100 * trial.accuracy:.1f} %",
            str(trial.n),
        )
    output.show(table)
    for sentence in (*found.warnings, *found.findings):
        output.show(output.cell(sentence))
    if found.choice is not None:
        output.show(output.cell(found.choice.evidence))
    elif not found.findings:
        output.show(output.cell("The file says it all, and nothing else scores surely better."))
