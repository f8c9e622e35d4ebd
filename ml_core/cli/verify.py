"""``cleanclip verify``: does an evidence bundle say what its evidence gives?"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from ml_core.cli import output
from ml_core.cli.arguments import checkpoint_path
from ml_core.cli.options import Json, Threads, given_path
from ml_core.cli.run import run_spec
from ml_core.jobs.verify_spec import SAMPLE, VerifySpec
from ml_core.reading.errors import InputError
from ml_core.reports.verify.checks import LEVELS, Check

_MARKS = {"holds": "holds", "fails": "DOES NOT", "not checked": "not checked", "recorded": "-"}


def verify(
    bundle: Annotated[Path, typer.Argument(help="The folder NAME.evidence, or its zip.")],
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            help="A checkpoint that the bundle is about, its donor or its adapter; known by its "
            "SHA-256. May be given several times.",
            parser=given_path,
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder, table or file of the pictures; ID=PATH where the bundle has several "
            "sets. The demo's are composed by the program.",
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, help="Pictures of each set that are looked at again.")
    ] = SAMPLE,
    full: Annotated[bool, typer.Option("--full", help="Look at every picture.")] = False,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the sample (default: another one each time, and told)."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="It must be signed with this key: a public key's file, or the name of a trusted "
            "one (default: a signature is checked with all trusted keys).",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if anything was not checked.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, mps or cuda:N.")] = "cpu",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Check a bundle that somebody else made: files, figures, identity, answers.

    With the bundle alone its files and all arithmetic are checked; with the checkpoint its
    identity; with the images every answer of the model. What is not given is "not checked".
    Nothing is unpacked and nothing of the bundle is run; `cleanclip clean --job` runs its jobs.

    Exit codes: 0 all that was checked holds, 1 something does not (with --strict also: something
    was not checked), 2 the bundle is damaged or of a newer version, 3 usage, 4 internal error.

    Examples:

        cleanclip verify model.evidence

        cleanclip verify model.evidence.zip --checkpoint suspect.pt --checkpoint cleaned.safetensors

        cleanclip verify model.evidence --checkpoint suspect.pt --images photos/ --full --json
    """
    places = _places(images or ())
    if full and sample != SAMPLE:
        raise InputError("--full looks at every picture: leave --sample out.")
    spec = VerifySpec(
        bundle=str(bundle),
        checkpoints=tuple(str(checkpoint_path(one).resolve()) for one in checkpoint or ()),
        images=places,
        sample=None if full else sample,
        seed=secrets.randbits(32) if seed is None else seed,
        key=key,
        strict=strict,
        device=device,
        threads=threads,
    )
    result = run_spec(spec)
    checks = [Check(**one) for one in result["checks"]]
    if json:
        output.print_json(result)
    else:
        for level, name in enumerate(LEVELS):
            of_level = [one for one in checks if one.level == level]
            if of_level:
                output.show(_table(f"{level} {name}", of_level))
        if any(one.level in (2, 3) and one.state != "not checked" for one in checks) and not full:
            output.show(output.cell(f"Seed of the sample: {spec.seed}"))
        output.show(output.cell(result["summary"]))
    if result["exit"]:
        raise typer.Exit(result["exit"])


def _places(images: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Place by image set; "" for all that are not named."""
    found: dict[str, str] = {}
    for text in images:
        id_, equals, place = text.partition("=")
        if not equals or Path(text).exists():
            id_, place = "", text
        if id_ in found:
            whose = f"of {id_} " if id_ else "without an id "
            raise InputError(f"--images {whose}was given twice.")
        if not Path(place).exists():
            raise InputError(f"There are no images at {place}: give a folder, a table or a file.")
        found[id_] = str(Path(place).resolve())
    return found


def _table(title: str, checks: list[Check]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("what", overflow="fold")
    table.add_column("found", overflow="fold")
    for one in checks:
        table.add_row(_MARKS[one.state], output.cell(one.subject), output.cell(one.sentence))
    return table
