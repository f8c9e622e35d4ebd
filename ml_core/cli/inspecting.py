"""``cleanclip inspect``: torch-free."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from rich.table import Table

from ml_core.checkpoints.architecture import find_architecture
from ml_core.checkpoints.expected import check_tensors
from ml_core.cli import output
from ml_core.jobs.failures import exit_code
from ml_core.reading import InputError, Inspection, inspect

_MAX_LISTED = 12


def inspect_checkpoint(path: Path, json: bool) -> int:
    """Print what a checkpoint is; return the exit code of its verdict.

    Raises
    ------
    InputError
        If there is nothing at the path.
    """
    found = inspect(path)
    architecture: dict[str, Any] | None = None
    problem: InputError | None = found.refusal() if found.refused else None
    if problem is None:
        try:
            told = find_architecture(found)
            architecture = {
                "name": told.name,
                "source": told.source,
                "assumptions": list(told.assumptions),
                "config": told.config,
                "image_size": told.preprocess.size,
            }
            check_tensors(told, found)
        except InputError as error:
            problem = error
    if json:
        output.print_json(_record(found, architecture, problem))
    else:
        _print(found, architecture, problem)
    return output.EXIT_DONE if problem is None else exit_code(problem.code)


def _record(
    found: Inspection, architecture: dict[str, Any] | None, problem: InputError | None
) -> dict[str, Any]:
    """The inspection as JSON-ready values."""
    refused = problem is not None and not found.refused
    reasons = list(found.reasons)
    if refused and problem is not None:
        reasons.insert(0, problem.sentence)
    return {
        "path": str(found.path),
        "name": found.name,
        "size": found.size,
        "sha256": found.sha256,
        "format": found.format,
        "verdict": "damaged" if refused else found.verdict,
        "reason_code": problem.code if problem is not None else found.reason_code,
        "reasons": reasons,
        "parameters": found.parameters,
        "architecture": architecture,
        "metadata": dict(found.metadata),
        "globals": {group: list(names) for group, names in found.globals.items()},
        "facts": dict(found.facts),
        "embedded_code": [name for name, _ in found.embedded_code],
        "unread": list(found.unread),
        "tensors": [
            {"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in found.tensors
        ],
    }


def _print(
    found: Inspection, architecture: dict[str, Any] | None, problem: InputError | None
) -> None:
    """A table for people."""
    table = Table(title=output.cell(found.name), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("Verdict", found.verdict if problem is None else f"refused ({problem.code})")
    table.add_row("Format", found.format)
    table.add_row("Size", f"{found.size:,} bytes")
    table.add_row("SHA-256", found.sha256 or "not computed")
    if found.tensors:
        kinds = Counter(tensor.dtype for tensor in found.tensors)
        listed = ", ".join(f"{count} {dtype}" for dtype, count in kinds.most_common(_MAX_LISTED))
        table.add_row("Tensors", f"{len(found.tensors)} ({listed})")
        table.add_row("Parameters", f"{found.parameters:,}")
    if architecture is not None:
        table.add_row("Architecture", f"{architecture['name']} (from {architecture['source']})")
        for sentence in architecture["assumptions"]:
            table.add_row("Assumed", output.cell(sentence))
    sentences = list(found.reasons)
    if problem is not None and problem.sentence not in sentences:
        sentences.insert(0, problem.sentence)
    for sentence in sentences:
        table.add_row("Note" if problem is None else "Reason", output.cell(sentence))
    output.show(table)
