"""Inspect every item of a corpus in one process: ``python -m tests.hostile.replay FOLDER``.

One line of JSON an item: verdict, first reason, seconds, megabytes above what it had before, and
whether the payload ran. It imports no torch.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from ml_core.reading import InputError, inspect
from ml_core.reading.inspection import REFUSED, code_of


def _peak(reset: bool = False) -> float:
    """Megabytes: the most since the last reset where the kernel counts it, else ever."""
    if reset:
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return _peak()
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def look(row: dict[str, Any]) -> dict[str, Any]:
    """Inspect one item."""
    before = _peak(reset=True)
    start = time.process_time()  # a busy machine makes nothing slow
    try:
        found = inspect(row["path"])
        verdict, reason = found.verdict, (found.reasons or ("",))[0]
    except InputError as error:
        verdict, reason = code_of(error), error.sentence
    except BaseException as error:  # a crash is what is looked for
        verdict, reason = "crash", repr(error)[:300]
    return row | {
        "verdict": verdict,
        "reason": reason,
        "seconds": time.process_time() - start,
        "megabytes": _peak() - before,
        "ran": os.path.lexists(row["canary"]),
    }


def fits(row: dict[str, Any]) -> bool:
    """Whether the verdict is the expected one and nothing ran."""
    allowed = {
        "dangerous": ("dangerous",),
        "damaged": REFUSED,
        "refused": REFUSED,
        "inert": ("loads", "caution", *REFUSED),
    }
    return row["verdict"] in allowed[row["expect"]] and not row["ran"]


if __name__ == "__main__":
    for listed in json.loads((Path(sys.argv[1]) / "list.json").read_text()):
        print(json.dumps(look(listed)), flush=True)
