"""``cleanclip scan``: is there a trigger that nobody named?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from ml_core import figures
from ml_core.cli import output
from ml_core.cli.arguments import checkpoint_path, image_spec, label_set_path, optional_checkpoint
from ml_core.cli.export import export
from ml_core.cli.options import (
    Checkpoint,
    Device,
    Donor,
    ExportTo,
    Images,
    Json,
    LabelColumn,
    LabelledImageColumn,
    Labels,
    NoChoice,
    Overwrite,
    Templates,
    Threads,
    given_path,
)
from ml_core.cli.run import run_spec
from ml_core.data.labels import load_templates
from ml_core.jobs.scan_spec import STAGES, USUAL, ScanSpec, Stage
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.detection.scan.records import Contrast, OverlayRow, Scan, WordRow

_SHOWN = 6


def scan(
    suspect: Checkpoint,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            help="A clean checkpoint to compare with: the parent, or another of the same kind "
            "(default: the demo's clean twin for the demo's checkpoint, else none).",
            parser=given_path,
        ),
    ] = None,
    images: Images = "demo:test",
    labels: Labels = "demo",
    templates: Templates = None,
    image_column: LabelledImageColumn = None,
    label_column: LabelColumn = None,
    stages: Annotated[
        str,
        typer.Option(help=f"Comma-separated, of {', '.join(STAGES)}; all: also the thorough one."),
    ] = ",".join(USUAL),
    starts: Annotated[int, typer.Option(min=2, help="Random starts of each patch search.")] = 6,
    search: Annotated[int, typer.Option(min=16, help="Pictures to search on.")] = 512,
    held_out: Annotated[
        int, typer.Option("--held-out", min=128, help="Other pictures to measure on.")
    ] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of pictures and starts.")] = 0,
    folder: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the result and the found trigger."),
    ] = Path("scan"),
    donor: Donor = None,
    no_choice: NoChoice = False,
    device: Device = "auto",
    threads: Threads = 0,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Scan also where a model names hardly any picture rightly."),
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only measure how long it would take.")
    ] = False,
    export_to: ExportTo = None,
    processes: Annotated[
        int, typer.Option(min=1, help="With --export: processes (GPUs) that share the work.")
    ] = 1,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Search a checkpoint for a trigger that nobody named.

    Patches are searched on real pictures without naming a class; with a clean reference also
    triggers over the whole picture, and what only the suspect answers to counts. It never says
    that a checkpoint is clean: it says what was searched, how hard, and what came of it. Pictures
    that are deployed are not watched: this looks at the model.

    Exit codes: 0 nothing found within this search, 1 found or suspicious, 2 cannot say (or a
    damaged file), 3 usage, 4 internal error. A model that names hardly any picture rightly ends the
    scan with 2 after the first pictures, unless --anyway is given. A scan that was ended goes on
    where it was when it is started again with the same options.

    Examples:

        cleanclip scan model.safetensors --reference parent.pt --images photos/ --labels imagenet-1k

        cleanclip scan poisoned.safetensors -o scan --json

        cleanclip clean poisoned.safetensors -o cleaned --method unlearn --trigger scan:scan
    """
    suspect = checkpoint_path(suspect)
    parent = optional_checkpoint(reference) or _twin_for(suspect)
    pictures = image_spec(images).model_copy(
        update={"image_column": image_column, "label_column": label_column}
    )
    spec = ScanSpec(
        checkpoint=str(suspect.resolve()),
        donor=optional_checkpoint(donor),
        use_choice=not no_choice,
        reference=parent,
        images=pictures,
        label_set=label_set_path(labels) or "demo",
        templates=None if templates is None else load_templates(templates),
        stages=_stages(stages),
        starts=starts,
        search=search,
        held_out=held_out,
        seed=seed,
        anyway=anyway,
        output_dir=str(folder.resolve()),
        device=device,
        threads=threads,
    )
    if parent is None:
        output.say(
            "No reference: triggers over the whole picture are not searched. Give a clean "
            "checkpoint of the same kind with --reference."
        )
    if export_to is not None:
        export(spec, export_to, processes, json=json)
        return
    with output.working("Loading torch"):
        from ml_core.detection.scan.records import Scan
    try:
        result = run_spec(spec, planned=False, estimate=estimate, overwrite=overwrite)
    except output.JobFailed as error:
        if error.done.error_code != "unfit":
            raise
        how = f"{error.done.error} Scan it all the same with --anyway."
        raise output.JobFailed(replace(error.done, error=how)) from error
    if estimate:
        _show_estimate(result, json=json)
        return
    place = result.pop("folder")
    record = Scan.model_validate(result)
    if json:
        output.print_json(result | {"folder": place})
    else:
        _print(record, Path(place))
    status = {"nothing": output.EXIT_DONE, "unknown": 2}.get(record.judgement.verdict, 1)
    if status:
        raise typer.Exit(status)


def _twin_for(suspect: Path) -> str | None:
    """The demo's clean twin where the suspect is the demo's checkpoint."""
    from ml_core.jobs.demo import demo_checkpoint

    shipped = demo_checkpoint()
    if suspect.resolve() == shipped.resolve():
        return str(demo_checkpoint(twin=True))
    return None


def _stages(text: str) -> tuple[Stage, ...]:
    """The stages that are named.

    Raises
    ------
    InputError
        If one is unknown.
    """
    if text.strip() == "all":
        return STAGES
    named = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [name for name in named if name not in STAGES]
    if unknown or not named:
        what = f"There is no stage {unknown[0]!r}" if unknown else "No stage is named"
        raise InputError(f"{what}; choose from {', '.join(STAGES)}.")
    return tuple(stage for stage in STAGES if stage in named)


def _show_estimate(found: dict[str, Any], *, json: bool) -> None:
    if json:
        output.print_json(found)
        return
    output.show(
        output.cell(
            f"About {found['seconds'] / 60:.1f} minutes at most: {found['forward']} pictures "
            f"forward, {found['both']} there and back."
        )
    )


def _print(found: Scan, folder: Path) -> None:
    """The verdict and what it stands on."""
    judgement = found.judgement
    output.show(output.cell(f"{judgement.title}."))
    for sentence in (*judgement.reasons, *judgement.warnings):
        output.show(output.cell(f"  {sentence}"))
    if found.stages.patches is not None:
        output.show(_patch_table(found))
    if found.stages.probes is not None:
        rows = [(row.name, row.target, row.contrast) for row in found.stages.probes.rows[:_SHOWN]]
        output.show(_table("Known triggers", "trigger", rows))
    overlays = found.stages.thorough or found.stages.overlays
    if overlays is not None:
        output.show(_overlay_table(overlays.rows))
    if found.stages.swap is not None:
        output.show(_word_table(found.stages.swap.words))
    for sentence in _encoders(found):
        output.show(output.cell(sentence))
    output.show(output.cell("Searched:"))
    for sentence in judgement.searched:
        output.show(output.cell(f"  {sentence}"))
    output.show(output.cell("Not searched:"))
    for sentence in judgement.not_searched:
        output.show(output.cell(f"  {sentence}"))
    for note in found.notes:
        output.show(output.cell(note))
    if found.p is not None and found.calibration is not None:
        as_large = round(found.p * (1 + found.calibration)) - 1
        output.show(
            output.cell(
                f"{as_large} of {found.calibration} scans of clean models of this kind had a score "
                f"as large (p = {found.p:.2g})."
            )
        )
    if found.found is not None:
        output.show(output.cell(f"Found trigger: {folder / found.found.file}"))
    output.show(output.cell(f"Written: {folder}"))


def _patch_table(found: Scan) -> Table:
    patches = found.stages.patches
    assert patches is not None
    rows = [
        (f"{one.side} px, {'any class' if one.loss == 'max' else 'without texts'}: "
         f"{one.agreeing} of {len(one.starts)} agree", one.target, one.best.contrast)
        for one in patches.rounds
    ]  # fmt: skip
    if patches.refined is not None:
        where = "at its place" if patches.refined.fixed else "anywhere"
        rows.append(
            (f"{patches.refined.side} px, refined, {where}", patches.refined.target,
             patches.refined.best)
        )  # fmt: skip
    return _table("Patches", "search", rows)


def _table(title: str, what: str, rows: list[tuple[str, str, Contrast]]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(what)
    table.add_column("class")
    for name in ("suspect", "reference", "difference, 95 %"):
        table.add_column(name, justify="right")
    for name, target, measured in rows:
        reference = measured.reference
        table.add_row(
            output.cell(name),
            output.cell(target),
            figures.percent(measured.suspect.value),
            "-" if reference is None else figures.percent(reference.value),
            f"{figures.percent(measured.low)} to {figures.percent(measured.high)}",
        )
    return table


def _encoders(found: Scan) -> Iterator[str]:
    """Where what was found sits: by exchange, by the weights, and in a wider vocabulary."""
    swap, weights = found.stages.swap, found.stages.weights
    if swap is not None and swap.rows:
        rates = ", ".join(
            f"{row.image} image encoder with {row.text} text encoder "
            f"{figures.percent(row.rate.value)}"
            for row in swap.rows
        )
        yield f"Exchanged encoders: {rates}."
    if weights is not None:
        moved = (figures.percent(weights.image), figures.percent(weights.text))
        yield f"Weights against the reference: image encoder {moved[0]}, text encoder {moved[1]}."
    if found.found is not None and found.found.wide_target != found.found.target:
        yield f"Among the classes of ImageNet too, pictures become “{found.found.wide_target}”."


def _word_table(words: Sequence[WordRow]) -> Table:
    table = Table(
        title="Words: texts of other classes that become one", title_justify="left",
        box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    table.add_column("word")
    table.add_column("towards")
    for name in ("suspect", "reference"):
        table.add_column(name, justify="right")
    for row in words[: _SHOWN // 2]:
        table.add_row(
            output.cell(row.word), output.cell(row.target),
            figures.percent(row.contrast.suspect.value), figures.percent(row.contrast.beside.value),
        )  # fmt: skip
    return table


def _overlay_table(rows: Sequence[OverlayRow]) -> Table:
    table = Table(
        title="Overlays of low frequency", title_justify="left", box=box.SIMPLE_HEAD,
        pad_edge=False,
    )  # fmt: skip
    table.add_column("class")
    for name in ("suspect", "same on reference", "reference's own", "gap, 95 %"):
        table.add_column(name, justify="right")
    for row in rows[:_SHOWN]:
        rates = (row.suspect, row.transferred, row.own)
        table.add_row(
            output.cell(row.target),
            *(figures.percent(rate.value) for rate in rates),
            f"{figures.percent(row.gap)} ({figures.percent(row.low)} to "
            f"{figures.percent(row.high)})",
        )
    return table
