"""A comparison on disk: its record, its table and its chart, replaced together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_core.atomic import replace_files
from ml_core.events import Saved, finite
from ml_core.exports import to_csv


@dataclass(frozen=True)
class Names:
    """Files of a comparison in its folder."""

    record: str
    table: str
    chart: str


def write_comparison(
    folder: Path,
    names: Names,
    record: Mapping[str, Any],
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    chart: str,
) -> Saved:
    """Write record, table and chart as far as they go.

    Parameters
    ----------
    folder
        Made where it is missing.
    names
        Names of the files.
    record
        JSON-ready.
    columns, rows
        Columns and rows of the table; a row may lack some columns.
    chart
        An SVG document.

    Returns
    -------
    Saved
        Names the record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = to_csv([columns, *([row.get(name) for name in columns] for row in rows)])
    replace_files(
        {
            folder / names.table: table.encode(),
            folder / names.chart: chart.encode(),
            folder / names.record: json.dumps(finite(dict(record)), indent=1).encode(),
        }
    )
    return Saved(str(folder / names.record), "result")
