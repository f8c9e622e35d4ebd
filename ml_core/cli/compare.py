"""``cleanclip compare``; needs no torch."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ml_core.cli import output
from ml_core.cli.arguments import checkpoint_path
from ml_core.cli.options import Checkpoint, Json, given_path
from ml_core.reading import Inspection, examine
from ml_core.reading.key_mismatch import first_names

if TYPE_CHECKING:
    from ml_core.checkpoints.compare import LayerChange, TensorChange

_WORDS = {
    "equal": "equal",
    "changed": "changed",
    "other shape": "of another shape",
    "only first": "removed",
    "only second": "added",
}


def compare(
    first: Checkpoint,
    second: Annotated[Path, typer.Argument(help="The one to compare it with.", parser=given_path)],
    tensors: Annotated[
        bool, typer.Option("--tensors", help="List every tensor that differs, not layers.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare two checkpoints tensor by tensor: where was a model finetuned?

    Examples:

        cleanclip compare suspect.pt cleaned.safetensors

        cleanclip compare suspect.pt ViT-B-32.safetensors --json
    """
    from ml_core.checkpoints.compare import compare_checkpoints

    paths = [checkpoint_path(path) for path in (first, second)]
    found = [examine(path) for path in paths]
    for one in found:
        if one.refused:
            raise one.refusal()
    changes = []
    with output.errors().status("Comparing …") as status:
        for change in compare_checkpoints(found[0], found[1]):
            changes.append(change)
            status.update(f"Comparing: {len(changes)} tensors")
    if json:
        output.print_json(_record(found, changes))
        return
    _print(found, changes, tensors)


def _record(found: list[Inspection], changes: list[TensorChange]) -> dict[str, Any]:
    """The comparison as JSON-ready values; a change relative to zeros or to NaN is null."""
    from ml_core.checkpoints.compare import by_layer, by_tower

    counts = Counter(change.state for change in changes)
    return {
        "first": _file(found[0]),
        "second": _file(found[1]),
        "equal": set(counts) <= {"equal"},
        "counts": {name.replace(" ", "_"): counts[name] for name in _WORDS},  # type: ignore[index]
        "layers": [_layer(layer) for layer in by_layer(changes)],
        "towers": [_layer(tower) for tower in by_tower(changes)],
        "tensors": [
            {
                "name": change.name,
                "state": change.state.replace(" ", "_"),
                "relative_l2": change.relative,
                "not_finite": change.not_finite,
            }
            for change in changes
        ],
    }


def _file(found: Inspection) -> dict[str, str]:
    return {"path": str(found.path), "sha256": found.sha256, "format": found.format}


def _layer(layer: LayerChange) -> dict[str, Any]:
    return {
        "name": layer.name,
        "relative_l2": layer.relative,
        "tensors": layer.tensors,
        "changed": layer.changed,
        "not_finite": layer.not_finite,
    }


def _print(found: list[Inspection], changes: list[TensorChange], every: bool) -> None:
    """Print where the two differ."""
    from ml_core.checkpoints.compare import by_layer, by_tower

    counts = Counter(change.state for change in changes)
    title = f"{found[0].name} against {found[1].name}"
    table = Table(title=output.cell(title), title_justify="left")
    table.add_column("Tensor" if every else "Layer", overflow="fold")
    table.add_column("Relative L2 change", justify="right")
    table.add_column("State" if every else "Tensors changed", justify="right")
    if every:
        for change in sorted(changes, key=_is_finite):
            if change.state != "equal":
                table.add_row(output.cell(change.name), _size(change), _WORDS[change.state])
    else:
        for layer in (*sorted(by_layer(changes), key=_is_finite), *by_tower(changes)):
            share = f"{layer.changed} of {layer.tensors}"
            table.add_row(output.cell(layer.name), _size(layer), share)
    if table.row_count:
        output.show(table)
    said = ", ".join(f"{counts[state]} {words}" for state, words in _WORDS.items())  # type: ignore[index]
    output.show(output.cell(f"Tensors: {said}."))
    for state in ("only first", "only second", "other shape"):
        names = [change.name for change in changes if change.state == state]
        if names and not every:
            output.show(output.cell(f"{_WORDS[state].capitalize()}: {first_names(names, 12)}."))


def _is_finite(change: TensorChange | LayerChange) -> bool:
    """Whether its numbers are numbers; those that became NaN stand first."""
    return not change.not_finite


def _size(change: TensorChange | LayerChange) -> str:
    """A relative change for people."""
    relative = change.relative
    if change.not_finite:
        return "not a number"
    if math.isnan(relative):
        return "–"
    if math.isinf(relative):
        return "from zero"
    return f"{100 * relative:.3g} %" if relative else "0"
