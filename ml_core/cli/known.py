"""``cleanclip known``: the list of known checkpoints; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ml_core import figures
from ml_core.cli import output
from ml_core.cli.options import Options, command, text
from ml_core.reading import InputError, examine

app = typer.Typer(
    name="known",
    help="Published checkpoints, what is known about them, and your own entries.",
    no_args_is_help=True,
)


@app.command("list")
@command("json")
def list_command(options: Options) -> None:
    """List the known files, your own first."""
    from ml_core.checkpoints.known import known_files, own_file

    entries = known_files()
    if options.json:
        files = [entry.model_dump(mode="json", exclude_defaults=True) for entry in entries]
        output.print_json({"own_file": str(own_file()), "files": files})
        return
    rows = (
        (
            entry.title,
            f"SHA-256 {entry.sha256[:16]}…" if entry.sha256 else f"name {', '.join(entry.names)}",
            entry.trigger,
            entry.target,
            figures.percent(entry.clean_accuracy, ""),
            figures.percent(entry.asr, ""),
            entry.source,
        )
        for entry in entries
    )
    columns = ("~What it is", "~Known by", "~Trigger", "~Target", "~CA", "~ASR", "~Source")
    output.show(output.table("Known files", columns, rows, **output.LINES))
    output.say(f"Your own entries are in {own_file()}.")


@app.command("add")
@command(
    "title source file sha256 name architecture trigger target ca asr pretraining_rate note json"
)
def add_command(
    options: Options,
    title: Annotated[str, typer.Argument(help='What it is, e.g. "my BadNets victim".')],
    source: Annotated[str, text("Where it comes from.")],
    file: Annotated[Path | None, text("The checkpoint; its SHA-256 is computed.")] = None,
    sha256: Annotated[str, text("Or its SHA-256.")] = "",
    name: Annotated[
        list[str] | None,
        text("Pattern of file names that look like it (* for anything); repeatable."),
    ] = None,
    architecture: Annotated[str, text("open_clip's name, e.g. RN50.")] = "",
    trigger: Annotated[str, text("Trigger of its backdoor, in words.")] = "",
    target: Annotated[str, text("Class that the trigger leads to.")] = "",
    ca: Annotated[float | None, text("Expected clean accuracy, 0 to 1.")] = None,
    asr: Annotated[float | None, text("Expected ASR, 0 to 1.")] = None,
    pretraining_rate: Annotated[
        float | None, text("Peak learning rate of its pretraining, 1e-6 to 2e-3.")
    ] = None,
    note: Annotated[str, text("A sentence.")] = "",
) -> None:
    """Add a known file. Only a SHA-256 identifies a file; a name is only a hint.

    Example:

        cleanclip known add "my BadNets victim" --source "trained here" --file epoch_10.pt \\
            --trigger "BadNets patch" --target banana --ca 0.59 --asr 0.98
    """
    from ml_core.checkpoints.known import KnownFile, add_known

    sha256 = sha256.strip().lower()
    if file is not None:
        if sha256:
            raise InputError("Give --file or --sha256, not both.")
        sha256 = examine(file).sha256
    entry = KnownFile(
        title=title,
        source=source,
        sha256=sha256,
        names=tuple(name or ()),
        architecture=architecture,
        trigger=trigger,
        target=target,
        clean_accuracy=ca,
        asr=asr,
        pretraining_rate=pretraining_rate,
        note=note,
    )
    place = add_known(entry)
    if options.json:
        output.print_json({"added": entry.model_dump(mode="json"), "own_file": str(place)})
        return
    output.line(f"Added to {place}: {entry.title}.")
