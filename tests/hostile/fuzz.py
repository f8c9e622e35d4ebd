"""Change files at random and see what holds: ``python -m tests.hostile.fuzz SECONDS SEED FOLDER``.

Bytes for which something does not hold are kept in FOLDER, named by what was checked and by their
hash. Memory is limited, and a file that hangs ends in an alarm that is a finding too.
"""

from __future__ import annotations

import hashlib
import pickle
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.hostile.archives import entries, legacy, raw_zip, records, torch_zip
from tests.hostile.benign import benign
from tests.hostile.container_bytes import small_onnx
from tests.hostile.corpus import items
from tests.hostile.mutate import mutated, reordered, repacked
from tests.hostile.ops import checkpoint, pickled
from tests.hostile.properties import CHECKS

_LARGEST = 20_000
_HANG = 20


def seeds(folder: Path) -> dict[str, list[bytes]]:
    """Small harmless and hostile files to begin with, by what is checked of them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [torch_zip(), legacy(), raw_zip(entries()), pickled(checkpoint())]
    for number, write in enumerate(benign().values()):
        path = folder / f"seed{number}"
        write(path)
        files.append(path.read_bytes())
        path.unlink()
    for item in items():
        if not item.name.startswith(("bomb/", "folder/", "name/", "gadget-zip/")):
            files.append(item.make(folder / "canary"))
    files = [raw for raw in files if 0 < len(raw) <= _LARGEST]
    zips = [raw for raw in files if raw.startswith(b"PK")]
    tensors = [raw for raw in files if raw[8:9] == b"{"]
    ggufs = [raw for raw in files if raw.startswith(b"GGUF")]
    plain = [pickle.dumps({"a": [1, (2.5, "x"), {3}]}, protocol) for protocol in range(6)]
    inner = [records()["data.pkl"], *plain, *(raw for raw in files if raw[:1] == b"\x80")]
    files.append(small_onnx())
    return {
        "pickle": inner, "zip": zips, "safetensors": tensors, "gguf": ggufs,
        "onnx": [small_onnx()], "file": files,
    }  # fmt: skip


def _alarm(number: int, frame: FrameType | None) -> NoReturn:
    raise AssertionError("it hangs")


def fuzz(seconds: float, seed: int, folder: Path) -> Counter[str]:
    """Check changed files until the time is over; how many were checked, accepted and kept."""
    draw = random.Random(seed)
    starts = seeds(folder)
    counts: Counter[str] = Counter()
    signal.signal(signal.SIGALRM, _alarm)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        kind = draw.choice(list(CHECKS))
        begun = draw.choice(starts[kind])
        if kind == "pickle" and draw.random() < 0.6:
            raw = reordered(begun, draw)
        elif kind == "file" and begun.startswith(b"PK") and draw.random() < 0.6:
            raw = repacked(begun, draw, starts["pickle"])
        else:
            raw = mutated(begun, draw, starts[kind])
        counts[kind] += 1
        signal.alarm(_HANG)
        try:
            accepted = CHECKS[kind](raw)
            counts[f"{kind} accepted"] += accepted
            # What is still accepted is a new place to begin.
            if accepted and len(starts[kind]) < 3000 and len(raw) <= _LARGEST:
                starts[kind].append(raw)
        except Exception as error:
            name = f"{kind}-{hashlib.sha256(raw).hexdigest()[:12]}"
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} {str(error)[:200]} {Path(where.filename).name}"
            counts[f"{kind} kept"] += 1
            if counts[f"{kind} kept"] <= 200:
                (folder / name).write_bytes(raw)
                print(name, len(raw), what, where.lineno, flush=True)
        finally:
            signal.alarm(0)
    return counts


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    found = fuzz(float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    print(dict(sorted(found.items())))
    sys.exit(any("kept" in name for name in found))
