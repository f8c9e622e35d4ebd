"""``cleanclip compare``; needs no torch."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from ml_core.cli import output
from ml_core.cli.checkpoints import checkpoint_path, examined
from ml_core.cli.options import NamedPath, Options, argument, command
from ml_core.options import option
from ml_core.reading import Inspection
from ml_core.reading.errors import first_names

if TYPE_CHECKING:
    from ml_core.checkpoints.compare import LayerChange, TensorChange

_WORDS = {
    "equal": "equal",
    "changed": "changed",
    "other shape": "of another shape",
    "only first": "removed",
    "only second": "added",
}


@command("first=checkpoint second tensors json")
def compare(
    options: Options,
    second: NamedPath = argument("The one to compare it with."),
    tensors: bool = option(False, help="List every tensor that differs, not layers."),
) -> None:
    """
    Examples:

        cleanclip compare suspect.pt cleaned.safetensors

        cleanclip compare suspect.pt ViT-B-32.safetensors --json
    """
    from ml_core.checkpoints.compare import compare_checkpoints

    inspections = [examined(checkpoint_path(path)) for path in (options.checkpoint, second)]
    changes = []
    with output.errors().status("Comparing …") as status:
        for change in compare_checkpoints(inspections[0], inspections[1]):
            changes.append(change)
            status.update(f"Comparing: {len(changes)} tensors")
    if options.json:
        output.print_json(_record(inspections, changes))
        return
    _print(inspections, changes, tensors)


def _record(inspections: list[Inspection], changes: list[TensorChange]) -> dict[str, Any]:
    """The comparison as JSON-ready values; a change relative to zeros or to NaN is null."""
    from ml_core.checkpoints.compare import by_layer, by_tower

    counts = Counter(change.state for change in changes)
    return {
        "first": _file(inspections[0]),
        "second": _file(inspections[1]),
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


def _file(inspection: Inspection) -> dict[str, str]:
    return {"path": str(inspection.path), "sha256": inspection.sha256, "format": inspection.format}


def _layer(layer: LayerChange) -> dict[str, Any]:
    return {
        "name": layer.name,
        "relative_l2": layer.relative,
        "tensors": layer.tensors,
        "changed": layer.changed,
        "not_finite": layer.not_finite,
    }


def _print(inspections: list[Inspection], changes: list[TensorChange], every: bool) -> None:
    """Print where the two differ."""
    from ml_core.checkpoints.compare import by_layer, by_tower

    counts = Counter(change.state for change in changes)
    title = f"{inspections[0].name} against {inspections[1].name}"
    if every:
        columns = ("~Tensor", ">Relative L2 change", ">State")
        rows = [
            (change.name, _size(change), _WORDS[change.state])
            for change in sorted(changes, key=_is_finite)
            if change.state != "equal"
        ]
    else:
        columns = ("~Layer", ">Relative L2 change", ">Tensors changed")
        rows = [
            (layer.name, _size(layer), f"{layer.changed} of {layer.tensors}")
            for layer in (*sorted(by_layer(changes), key=_is_finite), *by_tower(changes))
        ]
    if rows:
        output.show(output.table(title, columns, rows, **output.LINES))
    states = ", ".join(f"{counts[state]} {words}" for state, words in _WORDS.items())  # type: ignore[index]
    output.line(f"Tensors: {states}.")
    for state in ("only first", "only second", "other shape"):
        names = [change.name for change in changes if change.state == state]
        if names and not every:
            output.line(
                f"{_WORDS[state].capitalize()}: {first_names(names, 12, 120, counted=True)}."
            )


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
