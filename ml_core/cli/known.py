"""``cleanclip known``: the list of known checkpoints; needs no torch."""

from __future__ import annotations

from pathlib import Path

import typer

from ml_core import figures
from ml_core.cli import output
from ml_core.cli.options import Options, argument, command
from ml_core.options import option
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
    files = [entry.model_dump(mode="json", exclude_defaults=True) for entry in entries]
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
    output.answer(
        options.json,
        {"own_file": str(own_file()), "files": files},
        output.table("Known files", columns, rows, **output.LINES),
        output.Aside(f"Your own entries are in {own_file()}."),
    )


@app.command("add")
@command(
    "title source file sha256 name architecture trigger target ca asr pretraining_rate note json"
)
def add_command(
    options: Options,
    title: str = argument('What it is, e.g. "my BadNets victim".'),
    source: str = option(..., help="Where it comes from."),
    file: Path | None = option(None, help="The checkpoint; its SHA-256 is computed."),
    sha256: str = option("", help="Or its SHA-256."),
    name: list[str] | None = option(
        None, help="Pattern of file names that look like it (* for anything); repeatable."
    ),
    architecture: str = option("", help="open_clip's name, e.g. RN50."),
    trigger: str = option("", help="Trigger of its backdoor, in words."),
    target: str = option("", help="Class that the trigger leads to."),
    ca: float | None = option(None, help="Expected clean accuracy, 0 to 1."),
    asr: float | None = option(None, help="Expected ASR, 0 to 1."),
    pretraining_rate: float | None = option(
        None, help="Peak learning rate of its pretraining, 1e-6 to 2e-3."
    ),
    note: str = option("", help="A sentence."),
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
    record = {"added": entry.model_dump(mode="json"), "own_file": str(place)}
    output.answer(options.json, record, f"Added to {place}: {entry.title}.")
