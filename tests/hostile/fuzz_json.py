"""Change documents at random and see what the doors say of them.

``python -m tests.hostile.fuzz_json DOOR SECONDS SEED [FOLDER]``, or so many cases with ``1000000x``
in place of the seconds; ``all`` takes every door, as many at a time as there are processors.
Documents that made something else than an answer are kept in FOLDER. Printed is a line of JSON a
door: cases, how many were taken, crashes, hangs, seconds, cases a second of the processor, and by
how many megabytes memory grew at most.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import os
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
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tests.hostile.door_giants import clear_peak, peak
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
    door.lay(folder, raw)
    return door.ask(folder)


def fuzz(door, folder, draw, *, cases=0, seconds=0.0):
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


def fuzz_door(label: str, cases: int, seconds: float, seed: int, kept: Path | None) -> bool:
    """Fuzz a door in this process and print what came of it; whether nothing was found."""
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    memory, door = Path("/dev/shm"), doors()[label]
    place = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        fuzz(door, place, random.Random(0), cases=20)
        gc.collect()
        gc.freeze()  # what the program has loaded is not looked through again and again
        clear_peak()
        idle, begun, worked = peak(), time.monotonic(), time.process_time()
        counts, found = fuzz(door, place, random.Random(seed), cases=cases, seconds=seconds)
    finally:
        shutil.rmtree(place)
    took, worked = time.monotonic() - begun, time.process_time() - worked
    said: dict[str, Any] = {"door": label, "seed": seed, **counts}
    said |= {"crashes": counts["crashes"], "hangs": counts["hangs"], "seconds": round(took, 1)}
    said |= {"a_second": round(counts["cases"] / worked), "megabytes": peak() - idle}
    print("\n    ".join([json.dumps(said), *found]), flush=True)
    for raw in found.values() if kept is not None else ():
        kept.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(raw).hexdigest()[:12]
        (kept / f"{label.replace(' ', '-')}-{digest}").write_bytes(raw)
    return not found


def main(name: str, length: str, seed: int, kept: Path | None) -> bool:
    """Fuzz one door, or all, each in a process of its own; whether nothing was found."""
    cases = int(length[:-1]) if length.endswith("x") else 0
    seconds = 0.0 if cases else float(length)
    chosen = [label for label in doors() if name in ("all", label)]
    assert chosen, f"the doors are {', '.join(doors())}"
    several = ProcessPoolExecutor(os.cpu_count(), get_context("fork"))
    with several:
        asked = [several.submit(fuzz_door, one, cases, seconds, seed, kept) for one in chosen]
        clean = [one.result() for one in asked]  # of all, whatever the first ones say
    return all(clean)


if __name__ == "__main__":
    folder = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    sys.exit(not main(sys.argv[1], sys.argv[2], int(sys.argv[3]), folder))
