"""Count what the reader makes of both corpora: ``python -m tests.hostile.figures FOLDER``.

Every file is inspected in a process of its own that has no torch, with a minute's time. Printed are
one object of JSON with the counts, and every item whose verdict is not the expected one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.hostile.replay import fits, look

MINUTE = 60


def in_a_process(row: dict[str, Any]) -> dict[str, Any]:
    """Inspect one item; how long it took, and the most memory that its process had."""
    reader, writer = os.pipe()
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        signal.alarm(MINUTE)
        try:
            os.write(writer, json.dumps(look(row)).encode()[:65536])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        raw = pipe.read()
    _, status, usage = os.wait4(child, 0)
    found = json.loads(raw) if raw else row | {"verdict": "crash", "reason": "", "ran": False}
    if os.WIFSIGNALED(status):
        found["verdict"] = "hang" if os.WTERMSIG(status) == signal.SIGALRM else "crash"
    found["ran"] = os.path.lexists(row["canary"])
    return found | {
        "seconds": time.perf_counter() - start,
        "processor": usage.ru_utime + usage.ru_stime,
        "megabytes": usage.ru_maxrss / 1024,
    }


def figures(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write both corpora and inspect them."""
    for module, where in (("make", folder), ("benign", folder / "benign")):
        subprocess.run([sys.executable, "-m", f"tests.hostile.{module}", str(where)], check=True)
    hostile = [in_a_process(row) for row in json.loads((folder / "list.json").read_text())]
    harmless = [
        in_a_process({"name": path.name, "path": str(path), "canary": "", "live": ""})
        for path in sorted((folder / "benign").iterdir())
    ]
    idle = in_a_process({"name": "", "path": os.devnull, "canary": ""})["megabytes"]
    everything = hostile + harmless
    through = [
        row
        for row in hostile
        if row["verdict"] in ("loads", "caution") and row["expect"] != "inert"
    ]
    alarms = [row for row in harmless if row["verdict"] not in ("loads", "caution")]
    counts: dict[str, Any] = {
        "hostile": len(hostile),
        "proven live": sum(bool(row["live"]) for row in hostile),
        "harmless": len(harmless),
        "executed": sum(row["ran"] for row in hostile),
        "live let through": sum(bool(row["live"]) for row in through),
        "let through": len(through),
        "live called damaged, not dangerous": sum(
            bool(row["live"]) and row["verdict"] in ("unsupported", "unsupported")
            for row in hostile
        ),
        "false alarms": len(alarms),
        "crashes": sum(row["verdict"] == "crash" for row in everything),
        "hangs": sum(row["verdict"] == "hang" for row in everything),
        "verdicts of hostile files": Counter(row["verdict"] for row in hostile),
        "verdicts of harmless files": Counter(row["verdict"] for row in harmless),
        "worst seconds": _worst(everything, "seconds"),
        "worst processor seconds": _worst(everything, "processor"),
        "worst megabytes": _worst(everything, "megabytes"),
        "megabytes of an idle process": round(idle),
    }
    return counts, [row for row in hostile if not fits(row)] + alarms


def _worst(rows: list[dict[str, Any]], key: str) -> list[tuple[str, float]]:
    return [(row["name"], round(row[key], 2)) for row in sorted(rows, key=lambda r: -r[key])[:5]]


if __name__ == "__main__":
    made, wrong = figures(Path(sys.argv[1]).resolve())
    print(json.dumps(made, indent=1, ensure_ascii=False))
    for row in wrong:
        print(row["name"], row.get("expect", "loads"), row["verdict"], row["reason"], sep=" | ")
    sys.exit(bool(wrong))
