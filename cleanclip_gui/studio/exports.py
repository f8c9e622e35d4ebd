"""What Studio's pages write to files: a comparison, an embedding map, the record of a number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtWidgets import QWidget

from cleanclip_gui.inference.questions import Pair
from cleanclip_gui.session import ImagesState
from cleanclip_gui.station import Context
from cleanclip_gui.widgets.prompts import failing
from ml_core.evaluation.breakdown import Breakdown
from ml_core.evaluation.embedding_map import EmbeddingMap
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.exports import save_export, to_csv


def ask_and_save(
    context: Context,
    parent: QWidget,
    title: str,
    name: str,
    kinds: str,
    write: Callable[[Path], object],
) -> None:
    """Ask where to save, and write there; the shell shows what goes wrong.

    Parameters
    ----------
    context
        Its prompts ask, its shell shows the errors.
    parent
        Parent of the dialog.
    title, name, kinds
        Of the dialog: its title, the file that is proposed, and the kinds of files, as
        :class:`QFileDialog` takes them.
    write
        Writes the file; may raise InputError.
    """
    path = context.prompts.save_file(parent, title, name, kinds)
    with failing(context.shell.failed, "Could not save the file"):
        if path:
            write(Path(path))


def save_table(path: Path, rows: Iterable[Sequence[object]], record: dict[str, Any]) -> None:
    """Write rows as CSV, or the record as JSON, by the suffix of ``path``.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    if path.suffix.lower() == ".json":
        save_export(path, (json.dumps(record, indent=1) + "\n").encode())
    else:
        save_export(path, to_csv(rows).encode())


def save_map(embedding_map: EmbeddingMap, path: Path) -> None:
    """Write the points of an embedding map."""
    rows = embedding_map.rows()
    points = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    save_table(path, rows, embedding_map.to_dict() | {"points": points})


def save_classes(evaluation: Evaluation, breakdown: Breakdown, path: Path) -> None:
    """Write the numbers of each class; as JSON with what images become and the evaluation."""
    fields = (
        *("index", "name", "n", "ca", "ca_interval", "baseline_target_rate"),
        *("asr", "asr_interval", "poisoned_accuracy", "margin"),
    )
    heading = [
        name
        for field in fields
        for name in ((f"{field}_low", f"{field}_high") if field.endswith("interval") else (field,))
    ]
    rows: list[list[object]] = [list(heading)]
    for item in breakdown.classes:
        row: list[object] = []
        for field in fields:
            value = getattr(item, field)
            pair = field.endswith("interval")
            row += (value or ("", "")) if pair else ["" if value is None else value]
        rows.append(row)
    save_table(path, rows, {"evaluation": evaluation.to_dict()} | breakdown.to_dict())


def save_pair(pair: Pair, images: ImagesState, path: Path) -> None:
    """Write a comparison image by image, those that differ first; as JSON with all its rates."""
    rows = pair_rows(pair, images)
    record = {
        "a": pair.evaluations[0].to_dict(),
        "b": pair.evaluations[1].to_dict(),
        "differences": [item.to_dict() for item in pair.differences],
        "images": [dict(zip(rows[0], row, strict=True)) for row in rows[1:]],
    }
    save_table(path, rows, record)


def pair_rows(pair: Pair, images: ImagesState) -> list[list[object]]:
    """One line an image that both scored, with a heading; differing ones come first."""
    heading: list[object] = ["image", "label", "clean_a", "clean_b", "triggered_a", "triggered_b"]
    mine, other = pair.per_image
    _, here, there = np.intersect1d(
        mine.indices, other.indices, assume_unique=True, return_indices=True
    )
    lines = []
    for row, second in zip(here, there, strict=True):
        index = int(mine.indices[row])
        seen = [mine.clean_top1[row], other.clean_top1[second]]
        seen += [_top1(mine, row), _top1(other, second)]
        label = int(images.labels[index])
        names = [_name(images, int(name)) for name in (label, *seen)]
        lines.append((seen[2] == seen[3], seen[0] == seen[1], index, [index + 1, *names]))
    lines.sort(key=lambda line: line[:3])
    return [heading, *(line[3] for line in lines)]


def _top1(per_image: PerImage, row: int) -> int:
    return -1 if per_image.triggered_top1 is None else int(per_image.triggered_top1[row])


def _name(images: ImagesState, index: int) -> str:
    return images.class_names[index] if index >= 0 else ""
