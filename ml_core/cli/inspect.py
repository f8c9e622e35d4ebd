"""``cleanclip inspect``; needs no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from ml_core import figures
from ml_core.cli import output
from ml_core.cli.arguments import checkpoint_path
from ml_core.cli.options import NamedPath, Options, command
from ml_core.jobs.failures import exit_code
from ml_core.options import option
from ml_core.reading import InputError, examine
from ml_core.reading.key_mismatch import KeyLists

if TYPE_CHECKING:
    from ml_core.checkpoints.inspection_record import Assessment
    from ml_core.signing import SignatureFacts

EXIT_NOT_SIGNED = 1
_MAX_LISTED = 12
_GROUP_TITLES = {
    "tensors": "Names tensors",
    "data": "Names data",
    "code": "Names classes",
    "unknown": "Unknown code",
}


@command("path=checkpoint donor no_choice json sarif output_format output_file require_signature")
def inspect(
    options: Options,
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
    require_signature: str | None = option(
        None,
        help="It must be signed with this key, a public key's file or the name of a trusted one: "
        "exit with 1 if it is not.",
        metavar="KEY",
    ),
) -> None:
    """Say what a checkpoint is, without running anything in it.

    Exit code: 0 (readable, also with caution), 1 (dangerous) or 2 (damaged or unsupported). Of a
    readable file it is 1 where its signature does not fit it, or is not the one that is required.

    Examples:

        cleanclip inspect model.safetensors

        cleanclip inspect downloads/ViT-B-32 --json

        cleanclip inspect visual.pt --donor ViT-B-32.safetensors

        cleanclip inspect model.pt --sarif

        cleanclip inspect model.pt --output model.cdx.json

        cleanclip inspect model.safetensors --require-signature ada.pub && echo "use it"
    """
    from ml_core.checkpoints import open_checkpoint
    from ml_core.checkpoints.inspection_record import (
        ask_for_second_opinion,
        assess,
        inspection_record,
    )
    from ml_core.reports.exports import chosen_format, inspection_bytes
    from ml_core.signing import check_checkpoint, key_to_believe

    if options.json + sarif + (output_format is not None) > 1:
        raise InputError("--json, --sarif and --format each name the whole answer; choose one.")
    if options.json or sarif:
        output_format = "json" if options.json else "sarif"
    form = chosen_format(output_format, output_file)
    donor = None if options.donor is None else checkpoint_path(options.donor)
    path = checkpoint_path(options.checkpoint)
    if output_file is not None:
        output.check_not_over(output_file, path, donor)
    key = None if require_signature is None else key_to_believe(require_signature)
    whole = None if donor is None else open_checkpoint(donor, use_choice=False)
    assessed = assess(examine(path), whole, use_choice=not options.no_choice)
    opinion = ask_for_second_opinion(assessed.inspection)
    signature = check_checkpoint(assessed.inspection, None if key is None else (key,))
    if form == "text":
        content: Table | bytes = _table(assessed, opinion, signature)
    else:
        signed = None if signature is None else signature.to_dict()
        content = inspection_bytes(inspection_record(assessed, opinion, signed), form)
    output.give(content, output_file)
    if assessed.problem is not None:
        raise typer.Exit(exit_code(assessed.problem.code))
    state = "none" if signature is None else signature.state
    if key is not None and state != "good":
        why = "It has no signature." if signature is None else signature.sentence
        output.say(f"{assessed.inspection.name} is not signed with the key {key.name}: {why}")
        raise typer.Exit(EXIT_NOT_SIGNED)
    raise typer.Exit(EXIT_NOT_SIGNED if state == "bad" else output.EXIT_DONE)


def _table(assessed: Assessment, opinion: str, signature: SignatureFacts | None) -> Table:
    """What the screen shows."""
    from ml_core.checkpoints.hub import cached_as
    from ml_core.checkpoints.inspection_record import GROUPS, known_sentences

    inspection, architecture = assessed.inspection, assessed.architecture
    table = Table(title=output.cell(inspection.name), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("Verdict", assessed.words)
    for number, sentence in enumerate(assessed.reasons):
        table.add_row("" if number else "Reason", output.cell(sentence))
    if hub := cached_as(inspection.path):
        table.add_row("Hub", output.cell(f"{hub[0]} at revision {hub[1]}"))
    table.add_row("Format", inspection.format)
    if inspection.container is not None:
        table.add_row("Container", output.cell(inspection.container.words))
    table.add_row("Size", f"{figures.count(inspection.size)} bytes")
    table.add_row("SHA-256", inspection.sha256 or "not computed")
    if signature is not None:
        table.add_row("Signature", output.cell(signature.sentence))
    if inspection.tensors:
        kinds = Counter(tensor.dtype for tensor in inspection.tensors)
        listed = ", ".join(f"{count} {dtype}" for dtype, count in kinds.most_common(_MAX_LISTED))
        table.add_row("Tensors", f"{len(inspection.tensors)} ({listed})")
        beside = {
            "numbers in buffers": inspection.buffer_numbers,
            "numbers that an optimizer keeps": inspection.optimizer_numbers,
        }
        more = "".join(f", and {figures.count(n)} {what}" for what, n in beside.items() if n)
        table.add_row("Parameters", figures.count(inspection.parameters) + more)
    for sentence in known_sentences(assessed):
        table.add_row("Known", output.cell(sentence))
    if architecture is not None:
        table.add_row("Architecture", f"{architecture['name']} (from {architecture['source']})")
        if donor := architecture.get("donor"):
            words = f"{donor['name']}, SHA-256 {donor['sha256']}"
            table.add_row("Donor", output.cell(words))
        for sentence in architecture["assumptions"]:
            table.add_row("Assumed", output.cell(sentence))
        for sentence in architecture["notes"]:
            table.add_row("Also in it", output.cell(sentence))
    for title, names in _keys(assessed.keys):
        table.add_row(title, output.cell(f"{len(names)}: {_some(names)}"))
    for group in GROUPS:
        if names := inspection.globals.get(group, ()):
            table.add_row(_GROUP_TITLES[group], output.cell(_some(names)))
    if inspection.embedded_code:
        records = [name for name, _ in inspection.embedded_code]
        table.add_row("Program code", output.cell(f"{_some(records)} (not run)"))
    if inspection.unread:
        table.add_row("Not read", output.cell(_some(inspection.unread)))
    table.add_row("Elsewhere", output.cell(assessed.elsewhere))
    table.add_row("Second opinion", output.cell(opinion))
    if inspection.sandbox:
        walls = "; ".join(f"{name} {state}" for name, state in inspection.sandbox.items())
        table.add_row("Read with", output.cell(walls))
    return table


def _keys(keys: KeyLists | None) -> list[tuple[str, Sequence[str]]]:
    """Tensors that do not fit, by kind."""
    if keys is None:
        return []
    kinds = (
        ("Missing", keys.missing),
        ("Unexpected", keys.unexpected),
        ("Wrong shape", tuple(map(str, keys.wrong_shape))),
    )
    return [(title, names) for title, names in kinds if names]


def _some(names: Sequence[str]) -> str:
    """The first names of a list and how many more there are."""
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(name[:200] for name in names[:_MAX_LISTED]) + more
