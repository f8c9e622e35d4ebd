"""``cleanclip scan``: is there a trigger that nobody named?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from ml_core.cli import output
from ml_core.cli.arguments import image_spec, spec_fields
from ml_core.cli.checkpoints import optional_checkpoint
from ml_core.cli.options import NamedPath, Options, command
from ml_core.cli.run import run_spec
from ml_core.figures import percent
from ml_core.jobs.demo import twin_for
from ml_core.jobs.scan import STAGES, USUAL, ScanSpec, Stage
from ml_core.options import option
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.detection.scan.records import Contrast, PatchRound, Scan, Stages

_SHOWN = 6


@command(
    "suspect=checkpoint reference images labels templates image_column label_column stages "
    "starts search held_out seed output_dir donor no_choice device threads anyway estimate "
    "overwrite json",
    ScanSpec,
    output_dir=Path("scan"),
)
def scan(
    options: Options,
    reference: NamedPath | None = option(
        None,
        help="A clean checkpoint to compare with: the parent, or another of the same kind "
        "(default: the demo's clean twin for the demo's checkpoint, else none).",
    ),
    stages: str = option(
        ",".join(USUAL),
        help=f"Comma-separated, of {', '.join(STAGES)}; all: also the thorough one.",
    ),
) -> None:
    """Patches are searched on real pictures without naming a class; with a clean reference also
    triggers over the whole picture, and what only the suspect answers to counts. It never says
    that a checkpoint is clean: it says what was searched, how hard, and what came of it. Pictures
    that are given to a deployed model are not watched.

    Exit codes: 0 nothing found in this search, 1 found or suspicious, 2 cannot say (or a
    damaged file), 3 usage, 4 internal error. A model that gets hardly any picture right ends the
    scan with 2 after the first pictures, unless --anyway is given. A scan that was ended goes on
    where it was when it is started again with the same options.

    Examples:

        cleanclip scan model.safetensors --reference parent.pt --images photos/ --labels imagenet-1k

        cleanclip scan poisoned.safetensors -o scan --json

        cleanclip clean poisoned.safetensors -o cleaned --method unlearning --trigger scan:scan
    """
    fields = spec_fields(options, ScanSpec)
    spec = ScanSpec(
        reference=optional_checkpoint(reference) or twin_for(Path(fields["checkpoint"])),
        images=image_spec(options.images).model_copy(update=options.columns),
        stages=_stages(stages),
        **fields,
    )
    if spec.reference is None:
        output.say(
            "No reference: triggers over the whole picture are not searched. Give a clean "
            "checkpoint of the same kind with --reference."
        )
    with output.working("Loading torch"):
        from ml_core.detection.scan.records import Scan
    try:
        result = run_spec(
            spec, planned=False, estimate=options.estimate, overwrite=options.overwrite
        )
    except output.JobFailed as error:
        if error.done.error_code != "unfit":
            raise
        how = f"{error.done.error} Scan it all the same with --anyway."
        raise output.JobFailed(replace(error.done, error=how)) from error
    if options.estimate:
        output.answer(
            options.json,
            result,
            f"About {result['nothing_found'] / 60:.1f} minutes if nothing is found, "
            f"{result['seconds'] / 60:.1f} at most: {result['forward']} pictures forward, "
            f"{result['both']} forward and backward.",
        )
        return
    place = result.pop("folder")
    record = Scan.model_validate(result)
    judgement = record.judgement
    output.answer(
        options.json,
        result | {"folder": place},
        f"{judgement.title}.",
        *(f"  {sentence}" for sentence in (*judgement.reasons, *judgement.warnings)),
        *_tables(record.stages),
        *_sentences(record, Path(place)),
    )
    status = {"nothing": output.EXIT_DONE, "unknown": 2}.get(judgement.verdict, 1)
    if status:
        raise typer.Exit(status)


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


def _tables(stages: Stages) -> Iterator[Table]:
    """What each stage measured."""
    if stages.patches is not None:
        rows = [
            (f"{each.side} px, {_aim(each)}: {each.agreeing} of {len(each.starts)} agree",
             each.target, each.best.contrast)
            for each in stages.patches.rounds
        ]  # fmt: skip
        for patch in stages.patches.all_refined:
            where = "at its place" if patch.fixed else "anywhere"
            rows.append((f"{patch.side} px, refined, {where}", patch.target, patch.best))
        yield _contrasts("Patches", "search", rows)
    if stages.probes is not None:
        rows = [(row.name, row.target, row.contrast) for row in stages.probes.rows[:_SHOWN]]
        yield _contrasts("Known triggers", "trigger", rows)
    overlays = stages.thorough or stages.overlays
    if overlays is not None:
        yield output.table(
            "Overlays, warps and large patches",
            ("class", ">suspect", ">same on reference", ">reference's own", ">gap, 95 %"),
            (
                (
                    row.key,
                    percent(row.suspect.value),
                    percent(row.transferred.value),
                    "-" if row.own is None else percent(row.own.value),
                    f"{percent(row.gap)} ({percent(row.low)} to {percent(row.high)})",
                )
                for row in overlays.rows[:_SHOWN]
            ),
        )
    if stages.words is not None:
        rows = [
            (f"{row.word} ({row.place})", row.target, row.contrast)
            for row in stages.words.rows[: _SHOWN // 2]
        ]
        yield _contrasts("Words: prompts that come to one point", "word", rows)


def _aim(search: PatchRound) -> str:
    """Where patches of a round were moved."""
    aim = "any other class" if search.left_out else "any class"
    return f"each at one place, {aim}" if search.loss == "place" else aim


def _contrasts(title: str, what: str, rows: list[tuple[str, str, Contrast]]) -> Table:
    """Rates of the suspect and of the reference."""
    columns = (what, "class", ">suspect", ">reference", ">difference, 95 %")
    cells = (
        (
            name,
            target,
            percent(contrast.suspect.value),
            "-" if contrast.reference is None else percent(contrast.reference.value),
            f"{percent(contrast.low)} to {percent(contrast.high)}",
        )
        for name, target, contrast in rows
    )
    return output.table(title, columns, cells)


def _sentences(scan: Scan, folder: Path) -> Iterator[str]:
    """Where the trigger sits, what was searched and what not, and where the files lie."""
    yield from _encoders(scan)
    yield "Searched:"
    yield from (f"  {sentence}" for sentence in scan.judgement.searched)
    yield "Not searched:"
    yield from (f"  {sentence}" for sentence in scan.judgement.not_searched)
    yield from scan.notes
    if scan.of_clean is not None:
        yield scan.of_clean.sentence
    for trigger in scan.triggers:
        yield f"Found trigger, towards “{trigger.target}”: {folder / trigger.file}"
    yield f"Written: {folder}"


def _encoders(scan: Scan) -> Iterator[str]:
    """Where the trigger sits: by exchange, by the weights, and in a wider vocabulary."""
    swap, weights, trigger = scan.stages.swap, scan.stages.weights, scan.found
    if swap is not None and swap.rows:
        rates = ", ".join(
            f"{row.image} image encoder with {row.text} text encoder {percent(row.rate.value)}"
            for row in swap.rows
        )
        yield f"Exchanged encoders: {rates}."
    if weights is not None:
        yield (
            f"Weights against the reference: image encoder {percent(weights.image)}, text encoder "
            f"{percent(weights.text)}."
        )
    if trigger is not None and trigger.wide_target != trigger.target:
        yield f"Among the classes of ImageNet too, pictures become “{trigger.wide_target}”."
