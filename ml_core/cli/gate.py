"""``cleanclip gate``: may this file be used, by the rules of a policy?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ml_core.cli import output
from ml_core.cli.arguments import image_spec, label_set_path
from ml_core.cli.checkpoints import given_paths, optional_checkpoint
from ml_core.cli.options import NamedPath, Options, argument, command
from ml_core.cli.run import run_spec, watched
from ml_core.jobs.examination import ExamineSpec
from ml_core.options import option
from ml_core.reading.errors import InputError
from ml_core.reading.inspection import refuse
from ml_core.reading.walk import Tally, walk

if TYPE_CHECKING:
    from ml_core.reports.gate import GateAnswer

FORMATS = ("text", "json", "sarif", "intoto")
_EXIT = {"PASS": output.EXIT_DONE, "FAIL": 1, "NOT EVALUABLE": 2}


@command(
    "paths null policy evidence examination measure reference images labels minutes donor device "
    "threads json sarif output_format output_file",
    ExamineSpec,
)
def gate(
    options: Options,
    paths: list[NamedPath] = argument(
        "Checkpoints: files, folders that are searched, hf-hub:owner/name, or - for a list of them "
        "on standard input, one a line."
    ),
    policy: NamedPath = option(..., help="TOML file with the rules."),
    evidence: list[NamedPath] | None = option(
        None, help="A bundle of evidence to take figures from; repeatable."
    ),
    examination: list[NamedPath] | None = option(
        None,
        help="Folder of an examination to take figures from; repeatable (default: those of the "
        "same file that this machine has kept).",
    ),
    measure: bool = option(
        False,
        help="Examine a file where a rule needs figures that no evidence and no examination has.",
    ),
    images: str | None = option(
        None, help="Pictures for --measure, as in `cleanclip scan` (default: the built-in ones)."
    ),
    labels: str | None = option(
        None, help="Classes for --measure, as in `cleanclip scan` (default: demo)."
    ),
    sarif: bool = option(False, help="Print a SARIF 2.1.0 log."),
    output_format: str | None = option(
        None, help="text, json, sarif (2.1.0) or intoto; default: text.", flag="--format"
    ),
    output_file: NamedPath | None = option(None, help="Write into this file.", flag="--output -o"),
) -> None:
    """What a file is (verdict, format, licence, signature, parent) is looked at anew. Rates come
    from the bundles and examinations that are given, else from those that are kept, else, with
    --measure, from an examination that is made now. Figures of another SHA-256 do not count. With
    --measure and --images, --labels, --reference or --donor a kept one must have used the same.

    Exit codes: 0 all pass, 1 a rule fails or a file cannot be read, 2 no rule fails but one cannot
    be evaluated (unless the policy says not_evaluable = "pass"), or there is no checkpoint, 3
    usage, also for a policy that cannot be used, 4 internal error.

    Examples:

        cleanclip gate model.safetensors --policy company.toml

        cleanclip gate a.safetensors b.safetensors --policy hub.toml --measure --sarif

        cleanclip gate model.safetensors --policy hub.toml --evidence model.evidence --format intoto
    """
    from ml_core.jobs.gate import Gate, bundle_source, examination_source, kept_sources
    from ml_core.reading import Inspection, examine
    from ml_core.reports.gate import gate_answer, gate_sarif, gate_statements
    from ml_core.reports.many import left_out_sentence
    from ml_core.reports.policy import read_policy

    form = "json" if options.json else "sarif" if sarif else output_format or "text"
    if options.json + sarif + (output_format is not None) > 1 or form not in FORMATS:
        raise InputError(f"Choose one of --json, --sarif and --format {', '.join(FORMATS)}.")
    rules = read_policy(policy)
    for source in (*(evidence or ()), *(examination or ())):
        if not source.exists():
            raise InputError(f"There is nothing at {source} to take figures from; give its path.")
    tally = Tally()
    faults: dict[Path, InputError] = {}
    places = list(dict.fromkeys(walk(given_paths(paths, faults, null=options.null), tally)))
    if output_file is not None:
        output.check_not_over(output_file, policy, *places)

    def examined(path: Path) -> Path:
        spec = ExamineSpec(
            checkpoint=str(path.absolute()),
            donor=optional_checkpoint(options.donor),
            reference=optional_checkpoint(options.reference),
            images=None if images is None else image_spec(images),
            label_set=label_set_path(labels) or "demo",
            **options.of(ExamineSpec),
        )
        try:
            return Path(run_spec(spec, planned=False)["folder"])
        except output.JobFailed as error:
            raise InputError(error.done.error) from error

    def looked_at(path: Path) -> Inspection:
        with watched(f"Reading {path.name}") as (_, cancelled):
            try:
                if path in faults:
                    raise faults[path]
                return examine(path, cancelled)
            except InputError as error:
                return refuse(path, error, "not read")

    files = []
    with watched("Checking the evidence") as (_, cancelled):
        given = [bundle_source(path, cancelled) for path in evidence or ()]
        given += [examination_source(path) for path in examination or ()]
    # An examination that is equal to the one that is asked for is taken over by its job.
    asked = measure and (images or labels or options.reference or options.donor)
    kept = cache(lambda: [] if asked else kept_sources())
    for place in places:
        fresh = partial(examined, place) if measure else None
        files.append(Gate(rules, looked_at(place), given, kept, fresh).answer())
    answer = gate_answer(rules, files)
    lines = list(_lines(answer))
    if form == "text":
        document = "".join(f"{line}\n" for line in lines)
    elif form == "intoto":
        statements = gate_statements(answer, rules.policy)
        document = "".join(f"{json.dumps(statement)}\n" for statement in statements)
    else:
        record = gate_sarif(answer, rules.policy) if form == "sarif" else answer.model_dump()
        document = json.dumps(record, indent=1) + "\n"
    if output_file is not None:
        for line in lines:
            output.say(line)
    output.give(document.encode(), output_file)
    sentences = ("" if files else "There is no checkpoint.", left_out_sentence(tally.left_out))
    if any(sentences):
        output.say(" ".join(filter(None, sentences)))
    raise typer.Exit(_EXIT[answer.answer])


def _lines(gate: GateAnswer) -> Iterator[str]:
    """A line for each rule, and one for each file."""
    for file in gate.files:
        for rule in file.rules:
            figure = f"{rule.figure}. " if rule.figure else ""
            source = rule.source if rule.source == "file" else f"{rule.source} {rule.place}"
            yield f"{rule.answer}  {file.path}  {rule.rule}: {figure}{rule.why} ({source})"
        yield f"{file.answer}  {file.path}"
