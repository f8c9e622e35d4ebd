"""``cleanclip known``: torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from ml_core.checkpoints.known import KnownFile, add_known, known_files, own_file
from ml_core.cli import output
from ml_core.reading import InputError, examine


def list_known(json: bool) -> None:
    """Print the known files."""
    entries = known_files()
    if json:
        files = [entry.model_dump(mode="json", exclude_defaults=True) for entry in entries]
        output.print_json({"own_file": str(own_file()), "files": files})
        return
    table = Table(title="Known files", title_justify="left")
    for title in ("What it is", "Known by", "Trigger", "Target", "CA", "ASR", "Source"):
        table.add_column(title, overflow="fold")
    for entry in entries:
        by = f"SHA-256 {entry.sha256[:16]}…" if entry.sha256 else f"name {', '.join(entry.names)}"
        cells = (entry.title, by, entry.trigger, entry.target, _rate(entry.clean_accuracy))
        table.add_row(*map(output.cell, (*cells, _rate(entry.asr), entry.source)))
    output.show(table)
    output.say(f"Your own entries are in {own_file()}.")


def _rate(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def add_known_file(facts: Mapping[str, Any], file: Path | None, json: bool) -> None:
    """Add an entry of the user's.

    Raises
    ------
    InputError
        ``usage`` if a value cannot be used, the entry would match nothing or is there already.
    """
    values = dict(facts)
    if file is not None:
        if values["sha256"]:
            raise InputError("Give --file or --sha256, not both.")
        values["sha256"] = examine(file).sha256
    entry = KnownFile.model_validate(values)
    place = add_known(entry)
    if json:
        output.print_json({"added": entry.model_dump(mode="json"), "own_file": str(place)})
        return
    output.show(output.cell(f"Added to {place}: {entry.title}."))
