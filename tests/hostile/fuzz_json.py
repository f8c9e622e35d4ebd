"""Change documents at random and see what the doors say of them.

``python -m tests.hostile.fuzz_json DOOR SECONDS SEED [FOLDER]``; ``all`` takes every door in turn.
Documents that made something else than an answer are kept in FOLDER. Printed is a line of JSON a
door: cases, how many were taken, crashes, hangs, and by how many megabytes memory grew at most.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tests.hostile.doors import Door, doors
from tests.hostile.mutate_json import mutated

_HANG = 20
_LARGEST = 60_000


class _HangError(BaseException):
    """A document took longer than it may; no reader catches this."""


def _alarm(number: int, frame: FrameType | None) -> NoReturn:
    raise _HangError


def check(door: Door, folder: Path, raw: bytes) -> bool:
    """Read one document; whether it was taken."""
    path = door.lay(folder, raw)
    try:
        return door.ask(folder)
    finally:
        path.unlink(missing_ok=True)


def fuzz(
    door: Door, folder: Path, draw: random.Random, *, cases: int = 0, seconds: float = 0.0
) -> tuple[Counter[str], dict[str, bytes]]:
    """Check changed documents, so many or so long; counts, and what was found by what it raised."""
    counts: Counter[str] = Counter()
    found: dict[str, bytes] = {}
    starts = list(door.documents)
    door.before(folder)
    end = time.monotonic() + seconds
    signal.signal(signal.SIGALRM, _alarm)
    while counts["cases"] < cases or time.monotonic() < end:
        raw = mutated(draw.choice(starts), draw, starts)
        counts["cases"] += 1
        signal.alarm(_HANG)
        try:
            taken = check(door, folder, raw)
            counts["taken"] += taken
            if taken and len(starts) < 500 and len(raw) < _LARGEST and draw.random() < 0.1:
                starts.append(raw)  # what is still taken is a new place to begin
        except _HangError:
            counts["hangs"] += 1
            found[f"hang {len(found)}"] = raw
        except Exception as error:
            counts["crashes"] += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} {Path(where.filename).name}:{where.lineno}"
            found.setdefault(f"{what} {str(error)[:200]}" if len(found) < 20 else what, raw)
        finally:
            signal.alarm(0)
    return counts, found


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(name: str, seconds: float, seed: int, kept: Path | None) -> int:
    """Fuzz one door, or all; how many have findings."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    bad = 0
    memory = Path("/dev/shm")
    for label, door in doors().items():
        if name not in ("all", label):
            continue
        place = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        try:
            fuzz(door, place, random.Random(0), cases=20)
            idle = _megabytes()
            counts, found = fuzz(door, place, random.Random(seed), seconds=seconds)
        finally:
            shutil.rmtree(place)
        said: dict[str, Any] = {"door": label, "seed": seed, **counts}
        said |= {"crashes": counts["crashes"], "hangs": counts["hangs"]}
        said |= {"megabytes": round(_megabytes() - idle)}
        print(json.dumps(said), flush=True)
        for what, raw in found.items():
            bad += 1
            print("   ", what, flush=True)
            if kept is not None:
                kept.mkdir(parents=True, exist_ok=True)
                digest = hashlib.sha256(raw).hexdigest()[:12]
                (kept / f"{label.replace(' ', '-')}-{digest}").write_bytes(raw)
    return bad


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    folder = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    sys.exit(bool(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), folder)))
