"""``cleanclip doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.checkpoints.saved_choices import forget, remember, remembered
from ml_core.cli import output
from ml_core.cli.arguments import image_spec
from ml_core.cli.evaluating import labels_and_templates
from ml_core.data.images import open_images
from ml_core.evaluation.doctor import Diagnosis, Trial, diagnose
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.reading import examine
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
    keep: bool = False,
    json: bool,
) -> None:
    """Try what a checkpoint may have been trained with and print what the images say.

    The file is looked at as it says, whatever is remembered for it.

    Parameters
    ----------
    save
        Where a copy with the proposed settings goes.
    keep
        Whether they are remembered for the file.

    Raises
    ------
    InputError
        If an input cannot be used, or nothing is proposed that could be saved.
    """
    columns = {"image_column": image_column, "label_column": label_column}
    label_set = labels_and_templates(labels, templates)
    checkpoint = open_checkpoint(path, donor, use_choice=False)
    sha256, name = checkpoint.inspection.sha256, checkpoint.inspection.name
    before = remembered(sha256)
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
    if found.choice is None and (save is not None or keep):
        wish = "remember" if save is None else "save"
        raise InputError(f"{name} is best as it is: there is no choice to {wish}.")
    if save is not None:
        model = checkpoint.build(choice=found.choice)
        facts = {"made_by": "loader doctor", "source_sha256": sha256}
        saved = save_checkpoint(model, save, provenance=facts)
    if keep and found.choice is not None:
        before = remember(sha256, name, found.choice)
    if json:
        kept = {"remembered": None if before is None else before.to_dict()}
        record = _record(str(path), found, saved) | kept
        output.print_json(record | {"images": bench.name, "seed": seed})
        return
    _print(name, found)
    if before is not None:
        verb = "Remembered" if keep else "Remembered from before, and not used here"
        output.say(f"{verb}: {before.sentence}")
    if saved is not None:
        output.say(f"Saved with the proposed settings: {saved}")


def forget_choice(path: Path, json: bool) -> None:
    """Open a file as it says again.

    Raises
    ------
    InputError
        With the verdict's code if the file is refused, ``usage`` if nothing is remembered.
    """
    found = examine(path)
    if found.refused:
        raise found.refusal()
    if not forget(found.sha256):
        raise InputError(f"Nothing is remembered for {found.name}.")
    if json:
        output.print_json({"checkpoint": str(path), "sha256": found.sha256, "forgotten": True})
        return
    output.show(output.cell(f"{found.name} is opened as it says again."))


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
