"""``cleanclip examine``: is the file safe, which CLIP is it, does it work, is it backdoored?"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from ml_core.cleaning.recipes import Recipe
from ml_core.cli import output
from ml_core.cli.arguments import build_recipe, image_spec, spec_fields
from ml_core.cli.checkpoints import alone, checkpoint_path, given_paths, optional_checkpoint
from ml_core.cli.clean import clean_spec, timed
from ml_core.cli.options import NamedPath, Options, argument, command
from ml_core.cli.run import run_to_result
from ml_core.events import Control, Event, Finding, Message
from ml_core.jobs.auto import AutoSpec
from ml_core.jobs.examination import TITLES, Examination, ExamineSpec
from ml_core.jobs.scan import ScanSettings
from ml_core.options import option
from ml_core.reading.errors import InputError, exit_code
from ml_core.reading.walk import Tally, walk

_EXIT = {
    "nothing": output.EXIT_DONE, "unknown": 2, "damaged": 2, "unsupported": 2, "suspicious": 1,
    "found": 1, "dangerous": 1,
}  # fmt: skip
_WORST_FIRST = (1, 2, 3, 4, 0)


@command(
    "paths null donor no_choice reference images image_column label_column labels templates "
    "minutes clean rounds pairs training_images report output_dir device threads overwrite json",
    ExamineSpec,
    AutoSpec,
    output_dir=None,
)
def examine(
    options: Options,
    paths: list[NamedPath] = argument(
        "Checkpoints: files, folders that are searched, FILE#PART, hf-hub:owner/name, or - for a "
        "list of them on standard input, one a line."
    ),
    reference: NamedPath | None = option(
        None,
        help="A clean checkpoint to compare with: the parent, or another of the same kind "
        "(default: the known file that is nearest, if there is one).",
    ),
    images: str | None = option(
        None,
        help="Pictures to search on, for --labels: folder, published set, CSV, TSV, shard, "
        "Parquet (default: the built-in drawings).",
    ),
    clean: bool = option(
        False,
        help="Where a trigger is found, clean the checkpoint, scan it again and run the proofs.",
    ),
    report: NamedPath | None = option(
        None, help="Also write the evidence: a new folder NAME.evidence, or NAME.zip."
    ),
) -> None:
    """File safety, which CLIP it is, whether it works, weights beside the reference, known and
    unknown triggers, and what a trigger that was found does. A file that is refused is not opened.
    What is finished is kept for the same file: asked again, the answer is there at once, and a
    killed examination goes on. It never says that a checkpoint is safe.

    Exit codes: 0 nothing found in this search, 1 found, suspicious or dangerous, 2 cannot say,
    damaged or unsupported, 3 usage, 4 internal error; of several checkpoints the worst. With
    --clean it is that of the checkpoint before cleaning.

    Examples:

        cleanclip examine model.safetensors --reference parent.pt

        cleanclip examine model.pt --images photos/ --labels imagenet-1k --minutes 10 --json

        cleanclip examine downloads/ --minutes 5 --json

        cleanclip examine poisoned.safetensors --clean --report demo.evidence
    """
    single = alone(paths, beside=report is None and options.output_dir is None)
    several = single is None
    if several and (report is not None or options.output_dir is not None):
        raise InputError("--report and --output are for one checkpoint: examine one at a time.")
    records: list[dict[str, Any]] = []
    faults: dict[Path, InputError] = {}
    given = given_paths(paths, faults, null=options.null)
    places: Iterable[Path] = [] if single is None else [checkpoint_path(single)]
    if several:  # of each folder by name
        places = (found for path in given for found in sorted(walk([path], Tally())))
    try:
        for path in places:
            if several:
                output.say(f"{path}:")
            try:
                if path in faults:
                    raise faults[path]
                own = options.changed(checkpoint=path)
                spec = _spec(own, reference, images, clean, report)
                records.append(run_examination(spec, overwrite=options.overwrite))
                print_examination(records[-1], options.json, indent=None if several else 1)
            except (InputError, output.JobFailed) as error:
                if not several:
                    raise
                sentence, code, _ = output.report_failure(error)
                output.say(sentence)
                record = {"path": str(path), "verdict": None, "error": sentence, "error_code": code}
                records.append(record)
                if options.json:
                    output.print_json(records[-1], indent=None)
    finally:  # also of those that were finished before a Ctrl-C
        if several and not options.json:
            output.show(_table(records))
    if not records:
        output.say("There is no checkpoint at or below these paths.")
    raise typer.Exit(min(map(_code, records), key=_WORST_FIRST.index, default=2))


def _spec(
    options: Options,
    reference: Path | None,
    images: str | None,
    clean: bool,
    report: Path | None,
) -> ExamineSpec:
    """What to do for one checkpoint.

    Raises
    ------
    InputError
        If an option cannot be used.
    """
    pictures = None if images is None else image_spec(images).model_copy(update=options.columns)
    place = options.output_dir
    auto = None
    if clean:
        least: Recipe = build_recipe("unlearning", "default", [], None)
        # The examination names the folder once it has read the file.
        where = place or Path("clean")
        base = clean_spec(
            least, options.changed(test_images=images, output_dir=where), compared=[least]
        )
        minutes = options.of(ExamineSpec)["minutes"]
        base = base if minutes is None else timed(base, minutes)
        auto = AutoSpec(base=base, **options.of(AutoSpec))
    fields = spec_fields(options.changed(output_dir=place or Path()), ExamineSpec)
    fields |= {"output_dir": None if place is None else str(place.resolve())}
    return ExamineSpec(
        reference=optional_checkpoint(reference), images=pictures, auto=auto, scan=ScanSettings(),
        report=None if report is None else str(report.resolve()), **fields,
    )  # fmt: skip


def run_examination(spec: ExamineSpec, *, overwrite: bool = False) -> dict[str, Any]:
    """Run one examination; result and errors are those of `run_to_result`."""
    from ml_core.jobs.runner import run_job

    def events(control: Control) -> Generator[Event, None, None]:
        yield from _telling(run_job(spec, control, overwrite=overwrite))

    return run_to_result(events)


def _telling(events: Generator[Event, None, None]) -> Generator[Event, None, None]:
    """The events, and a line for each step that has ended."""
    lines: dict[str, Any] = {}
    for event in events:
        yield event
        if not (isinstance(event, Finding) and event.kind == "step"):
            continue
        step = event.values
        first = next(iter(step["sentences"]), "")
        if step["state"] != "running" and first and lines.get(step["kind"]) != first:
            lines[step["kind"]] = first
            yield Message(f"{TITLES[step['kind']]}: {first}")


def print_examination(result: dict[str, Any], as_json: bool, *, indent: int | None = 1) -> None:
    """The record as JSON; else the answer, what it stands on, and what to do next."""
    if as_json:
        output.print_json(result, indent=indent)
        return
    record = Examination.model_validate(result)
    output.line(record.headline)
    rows = (
        (step.title, "cannot say" if step.state == "unknown" else step.state, step.figure)
        for step in record.steps
        if step.state != "skipped" or step.sentences or step.kind not in ("clean", "report")
    )
    output.show(output.table("Steps", ("Step", "", "~Figure"), rows))
    for title, sentences in (
        ("Searched", record.looked_at), ("Not searched", record.not_looked_at)
    ):  # fmt: skip
        if sentences:
            output.line(f"{title}:")
            for sentence in sentences:
                output.line(f"  {sentence}")
    output.line(f"Next: {record.advice_sentence}")
    if record.checkpoint is not None:
        output.line(f"Cleaned checkpoint: {record.checkpoint}")
    if record.folder:
        output.line(f"Kept in: {record.folder}")


def _table(records: list[dict[str, Any]]) -> Table:
    """Several checkpoints, the worst first."""
    rows = (
        (each["spec"]["checkpoint"], each["headline"])
        if "spec" in each
        else (each["path"], each["error"])
        for each in sorted(records, key=lambda each: _WORST_FIRST.index(_code(each)))
    )
    return output.table("Checkpoints", ("~Checkpoint", "~Answer"), rows)


def _code(record: dict[str, Any]) -> int:
    if record["verdict"] is None:
        return exit_code(record["error_code"])
    return _EXIT[record["verdict"]]
