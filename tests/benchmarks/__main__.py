"""python -m tests.benchmarks [NAME ...]: measure and print the table."""

from __future__ import annotations

import importlib
import sys

from rich.console import Console
from rich.table import Table

# Each is the function ``run`` of a module of its name, or one of `tests.benchmarks.window`.
IN_THE_WINDOW = ("first_window", "first_number", "heartbeat")
NAMES = (
    *IN_THE_WINDOW,
    "evaluation_throughput",
    "training_step",
    "reading",
    "identity",
    "scan",
    "many",
)


def main(names: list[str]) -> None:
    table = Table("benchmark", "ours", "against", "ratio", "ratios from ... to")
    console = Console()
    for name in names or NAMES:
        console.print(f"measuring {name} ...", style="dim")
        module, act = ("window", name) if name in IN_THE_WINDOW else (name, "run")
        for row in getattr(importlib.import_module(f"tests.benchmarks.{module}"), act)():
            table.add_row(row.what, row.ours, row.against, row.ratio, row.spread)
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
