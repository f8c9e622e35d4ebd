"""python -m tests.benchmarks [NAME ...]: measure and print the table."""

from __future__ import annotations

import importlib
import sys

from rich.console import Console
from rich.table import Table

NAMES = (
    "first_window",
    "first_number",
    "evaluation_throughput",
    "cleaning_throughput",
    "training_step",
    "heartbeat",
    "painted_trigger",
    "tensor_table",
    "reading",
    "triggers",
    "pair_reading",
    "audit",
    "scan",
)


def main(names: list[str]) -> None:
    table = Table("benchmark", "ours", "against", "ratio", "ratios from ... to")
    console = Console()
    for name in names or NAMES:
        console.print(f"measuring {name} ...", style="dim")
        for row in importlib.import_module(f"tests.benchmarks.{name}").run():
            table.add_row(row.what, row.ours, row.against, row.ratio, row.spread)
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
