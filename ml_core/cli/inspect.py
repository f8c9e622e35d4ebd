"""``cleanclip inspect``; needs no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import typer
from rich.table import Table

from ml_core import figures
from ml_core.cli import output
from ml_core.cli.checkpoints import alone, checkpoint_path, given_paths
from ml_core.cli.options import NamedPath, Options, argument, command
from ml_core.options import option
from ml_core.reading import InputError, examine
from ml_core.reading.inspection import verdict_words
from ml_core.reading.walk import Tally, walk

if TYPE_CHECKING:
    from ml_core.checkpoints.inspection_record import Assessment
    from ml_core.signing import SignatureFacts

EXIT_NOT_SIGNED = 1
_MAX_LISTED = 12
_GROUP_TITLES = {
    "tensors": "Names tensors",
    "data": "Names data",
    "code": "Names classes",
    "unknown": "Foreign code",
}


@command(
    "paths null part donor no_choice parts json sarif output_format output_file require_signature "
    "fail_on hash_all jobs"
)
def inspect(
    options: Options,
    paths: list[NamedPath] = argument(
        "Files, folders, patterns such as '**/*.pt', FILE#PART, hf-hub:owner/name, or - for a list "
        "on standard input, one a line."
    ),
    sarif: bool = option(False, help="Print a SARIF 2.1.0 log."),
    output_format: str | None = option(
        None,
        help="text, json, sarif (2.1.0), html or cdx (CycloneDX 1.6); default: text.",
        flag="--format",
    ),
    output_file: NamedPath | None = option(
        None,
        help="Write into this file; without --format its ending tells the format: .txt, .json, "
        ".sarif, .html or .cdx.json.",
        flag="--output -o",
    ),
    parts: bool = option(
        False, help="Only list the models in it: nothing else is read, and nothing is hashed."
    ),
    require_signature: str | None = option(
        None,
        help="Require a signature by this key (a public key's file, or the name of a trusted "
        "key): exit with 1 if it is missing.",
        metavar="KEY",
    ),
    fail_on: str = option(
        "unknown",
        help="Exit with 0 unless a verdict is this or worse: dangerous, unknown (damaged, "
        "unsupported or unreadable) or caution (then with 1).",
    ),
    hash_all: bool = option(
        False,
        help="Of several paths, hash files of over 1 GiB too, and compare the checksums in them.",
        flag="--hash",
    ),
    jobs: int = option(2, help="How many files are read at once.", ge=1, le=64, closed=True),
) -> None:
    """Exit code: 0 (readable, also with caution), 1 (dangerous) or 2 (damaged or unsupported). Of a
    readable file it is 1 where its signature does not fit it, or is not the one that is required.

    Of several paths, or of a folder with more than one checkpoint, it prints one table, the worst
    first, or with --json one record a line. Links in folders are not followed. A file that nobody
    can read has a row, and the exit code is that of the worst row: 1, 2, or 3 (could not be read).
    --part, --donor and the formats html and cdx show a folder's own checkpoint; what is wrong with
    others in it is said on standard error, and counts. --parts does not look at them.

    Examples:

        cleanclip inspect model.safetensors

        cleanclip inspect downloads/ViT-B-32 --json

        cleanclip inspect visual.pt --donor ViT-B-32.safetensors

        cleanclip inspect sdxl.safetensors --parts

        cleanclip inspect sdxl.safetensors --part text_encoder_2

        cleanclip inspect model.pt --sarif

        cleanclip inspect model.pt --output model.cdx.json

        cleanclip inspect model.safetensors --require-signature ada.pub && echo "use it"

        cleanclip inspect downloads/ --fail-on dangerous

        find / -name '*.pt' -print0 | cleanclip inspect - -0 --json
    """
    from ml_core.checkpoints import open_checkpoint
    from ml_core.checkpoints.inspection_record import (
        FailOn,
        ask_for_second_opinion,
        assess,
        exit_status,
        inspection_record,
        worst_verdict,
    )
    from ml_core.reports.inspection_exports import chosen_format, inspection_bytes
    from ml_core.signing import check_checkpoint, key_to_believe

    if options.json + sarif + (output_format is not None) > 1:
        raise InputError(
            "--json, --sarif and --format each set the format of the output; choose one."
        )
    if options.json or sarif:
        output_format = "json" if options.json else "sarif"
    if fail_on not in get_args(FailOn):
        raise InputError(f"--fail-on takes {', '.join(get_args(FailOn))}.")
    level = cast(FailOn, fail_on)
    form = chosen_format(output_format, output_file)
    key = None if require_signature is None else key_to_believe(require_signature)
    of_one = bool(parts or options.donor or options.part) or form in ("html", "cdx")
    single = alone(paths, beside=not of_one)
    if single is None:
        if of_one:
            raise InputError(
                "--parts, --part, --donor and the formats html and cdx are for one checkpoint; "
                "give one path."
            )
        faults: dict[Path, InputError] = {}
        how = {"hashed": hash_all, "keys": key and (key,), "use_choice": not options.no_choice}
        given = given_paths(paths, faults, null=options.null)
        from ml_core.cli.inspect_many import print_many

        raise typer.Exit(print_many(given, form, output_file, level, jobs, faults=faults, **how))
    donor = None if options.donor is None else checkpoint_path(options.donor)
    path = checkpoint_path(Path(f"{single}#{options.part}") if options.part else single)
    if output_file is not None:
        output.check_not_over(output_file, path, donor)
    if parts:
        if output_format not in (None, "json") or output_file or donor or require_signature:
            raise InputError("--parts only lists models; it can be combined with --json alone.")
        _list_parts(path, options.json)
        return
    whole = None if donor is None else open_checkpoint(donor, use_choice=False)
    assessed = assess(examine(path), whole, use_choice=not options.no_choice)
    opinion = ask_for_second_opinion(assessed.inspection)
    signature = check_checkpoint(assessed.inspection, None if key is None else (key,))
    signed = None if signature is None else signature.to_dict()
    record = inspection_record(assessed, opinion, signed)
    if form == "text":
        rows = _rows(assessed, record, signature)
        content: Table | bytes = _table(assessed.inspection.name, rows)
    else:
        content = inspection_bytes(record, form)
    output.give(content, output_file)
    codes = {exit_status(worst_verdict(assessed, record["members"]), level)}
    if of_one:  # several paths would have a row for each
        from ml_core.reports.many import inspect_many

        for row in inspect_many(islice(walk([single], Tally()), 1, None)):
            codes.add(failing := row.failing(level))
            if failing:
                output.say(f"Beside it lies {row.path.name}. {row.words}: {row.reasons[0]}")
    if any(codes):
        raise typer.Exit(min(codes - {0}))
    state = "none" if signature is None else signature.state
    if key is not None and state != "good":
        why = "It has no signature." if signature is None else signature.sentence
        output.say(f"{assessed.inspection.name} is not signed with the key {key.name}: {why}")
        raise typer.Exit(EXIT_NOT_SIGNED)
    raise typer.Exit(EXIT_NOT_SIGNED if state == "bad" else output.EXIT_DONE)


def _list_parts(path: Path, as_json: bool) -> None:
    """What models a file holds, without reading it."""
    from ml_core.checkpoints.inspection_record import part_records, parts_sentence

    inspection = examine(path, hashed=False)
    if inspection.refused and not inspection.members:
        raise inspection.refusal()
    records, beside = part_records(inspection), inspection.beside
    columns = ("~Part", "~What it is", "~As in", "Tensors", "Bytes", "~Names")
    names = ("name", "model", "architecture", "tensors", "bytes", "layout")
    rows = [[str(record[name]) for name in names] for record in records]
    rows += [[member, "", "", "", "", ""] for member in inspection.members]
    output.answer(
        as_json,
        {"path": str(path), "parts": records, "beside": beside, "members": inspection.members},
        output.table(inspection.name, columns, rows),
        *([output.Aside(sentence)] if (sentence := parts_sentence(records, beside)) else []),
    )


def _table(name: str, rows: Iterable[tuple[str, str]]) -> Table:
    """What the screen shows."""
    table = Table(title=output.cell(name), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for title, text in rows:
        if text:
            table.add_row(title, output.cell(text))
    return table


def _rows(
    assessed: Assessment, record: Mapping[str, Any], signature: SignatureFacts | None
) -> Iterator[tuple[str, str]]:
    """Each fact with its title; without a text where there is nothing to say."""
    from ml_core.checkpoints.hub import cached_as
    from ml_core.checkpoints.inspection_record import GROUPS, parts_sentence

    inspection, architecture = assessed.inspection, assessed.architecture
    yield "Verdict", assessed.words
    for number, sentence in enumerate(assessed.reasons):
        yield "" if number else "Reason", sentence
    if hub := cached_as(inspection.source):
        yield "Hub", f"{hub[0]} at revision {hub[1]}"
    yield "Format", inspection.format
    if inspection.container is not None:
        yield "Container", inspection.container.words
    yield "Size", f"{figures.count(inspection.size)} bytes" if inspection.size else ""
    yield "SHA-256", inspection.sha256 or ("" if inspection.members else "not computed")
    beside_it = [stamp for stamp in inspection.files if stamp.file]
    for stamp in beside_it[:_MAX_LISTED]:
        size = figures.count(stamp.size)
        yield "Tensors in", f"{stamp.file}, {size} bytes, SHA-256 {stamp.sha256}"
    if (left := len(beside_it) - _MAX_LISTED) > 0:
        yield "Tensors in", f"{left} more, with their hashes in --json"
    if inspection.part:
        yield "Part of", f"{inspection.source.name}, SHA-256 {inspection.file_sha256}"
    if signature is not None:
        yield "Signature", signature.sentence
    if inspection.tensors:
        kinds = Counter(tensor.dtype for tensor in inspection.tensors)
        listed = ", ".join(f"{count} {dtype}" for dtype, count in kinds.most_common(_MAX_LISTED))
        yield "Tensors", f"{len(inspection.tensors)} ({listed})"
        beside = {
            "numbers in buffers": inspection.buffer_numbers,
            "numbers that an optimizer keeps": inspection.optimizer_numbers,
        }
        more = "".join(f", and {figures.count(n)} {what}" for what, n in beside.items() if n)
        yield "Parameters", figures.count(inspection.parameters) + more
    if architecture is not None:
        yield "Models", parts_sentence(record["parts"], record["beside"])
    for member in record["members"]:
        words = [verdict_words(member["verdict"]), member["architecture"], *member["reasons"][:1]]
        yield member["name"], "; ".join(filter(None, words))
    for sentence in record["known"]:
        yield "Known", sentence
    if not inspection.refused:
        yield "Which CLIP", _whom_to_ask()
    if architecture is not None:
        yield "Architecture", f"{architecture['name']} (from {architecture['source']})"
        if donor := architecture.get("donor"):
            yield "Donor", f"{donor['name']}, SHA-256 {donor['sha256']}"
        for sentence in architecture["assumptions"]:
            yield "Assumed", sentence
        for sentence in architecture["notes"]:
            yield "Also in the file", sentence
    if keys := assessed.keys:
        shapes = tuple(map(str, keys.wrong_shape))
        misfits = {
            "Missing": keys.missing, "Unexpected": keys.unexpected, "Wrong shape": shapes,
        }  # fmt: skip
        for title, names in misfits.items():
            yield title, f"{len(names)}: {_some(names)}" if names else ""
    if inspection.graph is not None:
        for title, names in inspection.graph.rows:
            yield title, ", ".join(names) if title == "Operators" else _some(names)
        yield "Graph", assessed.graph_sentence
    for group in GROUPS:
        yield _GROUP_TITLES[group], _some(inspection.globals.get(group, ()))
    if inspection.embedded_code:
        records = [name for name, _ in inspection.embedded_code]
        yield "Program code", f"{_some(records)} (not run)"
    yield "Not read", _some(inspection.unread)
    yield "Elsewhere", "" if inspection.members else assessed.elsewhere
    yield "Second opinion", record["second_opinion"]
    yield (
        "Read with",
        "; ".join(f"{name} {state}" for name, state in (inspection.sandbox or {}).items()),
    )


def _whom_to_ask() -> str:
    """How to compare the tensors with those of known files; empty if there are none."""
    from ml_core.checkpoints.known_tensors import count_known

    try:
        known = count_known()
    except InputError as error:
        return error.sentence
    files = f"{known} known file{'s' if known > 1 else ''}"
    return f"`cleanclip identify` compares its tensors with those of {files}." if known else ""


def _some(names: Sequence[str]) -> str:
    """The first names of a list and how many more there are."""
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(name[:200] for name in names[:_MAX_LISTED]) + more
