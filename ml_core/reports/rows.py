"""What a model said of each picture, as a table on disk: ``per_image.csv`` of a bundle. Torch-free.

Columns: ``index`` (position in the set, ascending), ``label`` (-1: none), ``clean_1`` to
``clean_5`` (classes, likeliest first), ``clean_margin`` (logit of the first minus that of the
second); with a trigger ``triggered_1`` to ``triggered_5`` and ``triggered_margin``; ``control_1``
where the trigger's canvas is not the model's. Fewer than five classes give fewer columns.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from ml_core.evaluation.records import PerImage
from ml_core.reading.errors import InputError

TOP = 5
_LONGEST_LINE = 400
_MOST_ROWS = 5_000_000


@dataclass(frozen=True, eq=False)
class Rows:
    """Answers picture by picture, pictures ascending.

    Attributes
    ----------
    indices, labels
        int64 [n].
    clean_top, triggered_top
        int64 [n, k], k up to 5, likeliest first; None of no trigger.
    clean_margin, triggered_margin
        float32 [n], logit of the likeliest class minus that of the next, 0 or more.
    control_top1
        int64 [n] or None.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    clean_top: NDArray[np.int64]
    clean_margin: NDArray[np.float32]
    triggered_top: NDArray[np.int64] | None = None
    triggered_margin: NDArray[np.float32] | None = None
    control_top1: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, places: NDArray[np.int64]) -> Rows:
        """The rows at some positions of the table, in their order."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        known = {name: column for name, column in columns.items() if column is not None}
        return replace(self, **{name: column[places] for name, column in known.items()})


def rows_of(predicted: PerImage, labels: NDArray[np.int64]) -> Rows:
    """Predictions of an evaluation as a table.

    Parameters
    ----------
    predicted
        With ``clean_top`` and what goes with it.
    labels
        int64 [N] of the whole set, -1 unlabelled.
    """
    assert predicted.clean_top is not None
    names = [field.name for field in fields(Rows) if field.name != "labels"]
    own = {name: getattr(predicted, name) for name in names}
    return Rows(labels=labels[predicted.indices], **own).take(np.argsort(predicted.indices))


def to_csv(rows: Rows) -> bytes:
    """The table; margins in the nine digits that give the same float32 again."""
    columns, values = _columns(rows)
    out = io.StringIO(newline="")
    out.write(",".join(columns) + "\n")
    formats = ["%.9g" if column.dtype.kind == "f" else "%d" for column in values]
    line = ",".join(formats) + "\n"
    for row in zip(*(column.tolist() for column in values), strict=True):
        out.write(line % row)
    return out.getvalue().encode()


def from_csv(raw: bytes, name: str, classes: int) -> Rows:
    """Read the table, which a stranger may have written.

    Parameters
    ----------
    raw
        The file.
    name
        Name of the file, for sentences.
    classes
        Number of classes: every answer must be one of them.

    Raises
    ------
    InputError
        ``damaged`` if it is no such table; the sentence names the row.
    """

    def damaged(why: str) -> InputError:
        return InputError(f"{name} is damaged: {why}.", "damaged")

    lines = raw.split(b"\n")
    if lines[-1] != b"":
        raise damaged("its last line is cut")
    lines.pop()
    k = min(TOP, classes)
    clean = ["index", "label", *(f"clean_{i + 1}" for i in range(k)), "clean_margin"]
    triggered = [*(f"triggered_{i + 1}" for i in range(k)), "triggered_margin"]
    header = lines[0].split(b",") if lines else []
    shapes = [clean, clean + triggered, [*clean, *triggered, "control_1"]]
    names = [column.decode("ascii", "replace") for column in header]
    if names not in shapes:
        raise damaged("it does not have the columns of a table of answers")
    count = len(lines) - 1
    if not 0 < count <= _MOST_ROWS:
        raise damaged("it has no rows" if not count else "it has too many rows")
    ints: dict[str, NDArray[np.int64]] = {}
    margins: dict[str, NDArray[np.float32]] = {}
    for column in names:
        if column.endswith("margin"):
            margins[column] = np.empty(count, np.float32)
        else:
            ints[column] = np.empty(count, np.int64)
    for number, line in enumerate(lines[1:]):
        cells = line.split(b",") if len(line) <= _LONGEST_LINE else []
        if len(cells) != len(names):
            raise damaged(f"row {number + 1} does not have {len(names)} cells")
        for column, cell in zip(names, cells, strict=True):
            if not cell.isascii() or b"_" in cell or cell != cell.strip():
                raise damaged(f"row {number + 1} holds what is no number")
            try:
                if column in ints:
                    ints[column][number] = int(cell)
                else:
                    margins[column][number] = float(cell)
            except (ValueError, OverflowError):
                raise damaged(f"row {number + 1} holds what is no number") from None
    if (np.diff(ints["index"]) <= 0).any() or ints["index"][0] < 0:
        raise damaged("its rows are not in the order of the pictures, each once")
    for column, numbers in ints.items():
        least = -1 if column == "label" else 0
        if column != "index" and ((numbers < least) | (numbers >= classes)).any():
            raise damaged(f"{column} names a class that does not exist")
    for column, margin in margins.items():
        if not (np.isfinite(margin) & (margin >= 0)).all():
            raise damaged(f"{column} holds what is no margin")

    def top(side: str) -> NDArray[np.int64]:
        return np.stack([ints[f"{side}_{i + 1}"] for i in range(k)], axis=1)

    return Rows(
        indices=ints["index"],
        labels=ints["label"],
        clean_top=top("clean"),
        clean_margin=margins["clean_margin"],
        triggered_top=top("triggered") if "triggered_1" in ints else None,
        triggered_margin=margins.get("triggered_margin"),
        control_top1=ints.get("control_1"),
    )


def _columns(rows: Rows) -> tuple[list[str], list[NDArray[np.int64] | NDArray[np.float32]]]:
    """Names and values, in order."""
    columns: dict[str, NDArray[np.int64] | NDArray[np.float32]] = {
        "index": rows.indices,
        "label": rows.labels,
    }
    for side, top, margin in (
        ("clean", rows.clean_top, rows.clean_margin),
        ("triggered", rows.triggered_top, rows.triggered_margin),
    ):
        if top is not None and margin is not None:
            columns |= {f"{side}_{i + 1}": top[:, i] for i in range(top.shape[1])}
            columns[f"{side}_margin"] = margin
    if rows.control_top1 is not None:
        columns["control_1"] = rows.control_top1
    return list(columns), list(columns.values())
