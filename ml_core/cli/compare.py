"""``cleanclip compare``; needs no torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ml_core.cli import output
from ml_core.cli.checkpoints import checkpoint_path, examined
from ml_core.cli.options import NamedPath, Options, argument, command
from ml_core.options import option
from ml_core.reading.errors import first_names

if TYPE_CHECKING:
    from rich.table import Table

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
    second: NamedPath = argument("The checkpoint to compare it with."),
    tensors: bool = option(False, help="List every tensor that differs, not layers."),
) -> None:
    """
    Examples:

        cleanclip compare suspect.pt cleaned.safetensors

        cleanclip compare suspect.pt ViT-B-32.safetensors --json
    """
    from ml_core.checkpoints.compare import by_layer, by_tower, compare_checkpoints

    inspections = [examined(checkpoint_path(path)) for path in (options.checkpoint, second)]
    changes = []
    with output.errors().status("Comparing …") as status:
        for change in compare_checkpoints(inspections[0], inspections[1]):
            changes.append(change)
            status.update(f"Comparing: {len(changes)} tensors")
    counts = Counter(change.state for change in changes)
    layers, towers = by_layer(changes), by_tower(changes)
    # A change relative to zeros or to NaN is null.
    one, other = (
        {"path": str(each.path), "sha256": each.sha256, "format": each.format}
        for each in inspections
    )
    record = {
        "first": one,
        "second": other,
        "equal": set(counts) <= {"equal"},
        "counts": {name.replace(" ", "_"): counts[name] for name in _WORDS},  # type: ignore[index]
        "layers": list(map(_layer, layers)),
        "towers": list(map(_layer, towers)),
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
    title = f"{inspections[0].name} against {inspections[1].name}"
    shown = None if tensors else [*sorted(layers, key=_is_finite), *towers]
    output.answer(options.json, record, *_parts(title, changes, shown))


def _layer(layer: LayerChange) -> dict[str, Any]:
    record = asdict(layer)
    return {"name": record.pop("name"), "relative_l2": record.pop("relative"), **record}


def _parts(
    title: str, changes: list[TensorChange], layers: list[LayerChange] | None
) -> Iterator[Table | str]:
    """Where the two differ, by layers; by tensors if there are none of those."""
    columns: tuple[str, ...] = ("~Layer", ">Relative L2 change", ">Tensors changed")
    if layers is None:
        columns = ("~Tensor", ">Relative L2 change", ">State")
        rows = [
            (change.name, _size(change), _WORDS[change.state])
            for change in sorted(changes, key=_is_finite)
            if change.state != "equal"
        ]
    else:
        rows = [
            (layer.name, _size(layer), f"{layer.changed} of {layer.tensors}") for layer in layers
        ]
    if rows:
        yield output.table(title, columns, rows, **output.LINES)
    named = {state: [each.name for each in changes if each.state == state] for state in _WORDS}
    yield f"Tensors: {', '.join(f'{len(named[state])} {_WORDS[state]}' for state in _WORDS)}."
    for state in ("only first", "only second", "other shape") if layers is not None else ():
        if named[state]:
            names = first_names(named[state], 12, 120, counted=True)
            yield f"{_WORDS[state].capitalize()}: {names}."


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
