"""CPU seconds of ``cleanclip``: to start, for a file, for each further one, for 200 of all kinds.

The ratios are against Python's own start, and of a further file against hashing it, in one run.
Children count. Sparse files have 2 to 12 GB of which nothing is on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ml_core.paths import resource as shipped
from tests.benchmarks.timing import Row, compared, interleaved

_COPIES = 20
_EVIL = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."


def _cpu(*arguments: str) -> float:
    """Processor seconds of a command of Python and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _cleanclip(*arguments: str) -> float:
    return _cpu("-m", "ml_core", *arguments)


def _hashing(path: Path) -> float:
    begin = time.process_time()
    with open(path, "rb") as file:
        hashlib.file_digest(file, "sha256")
    return time.process_time() - begin


def _fill(folder: Path, demo: Path) -> None:
    """200 files: 80 safetensors, 60 pickles, 20 folders, 40 sparse ones."""
    for number in range(200):
        kind, name = number % 10, folder / f"{number}"
        if kind < 4:
            shutil.copy(demo, name.with_suffix(".safetensors"))
        elif kind < 7:
            name.with_suffix(".pkl").write_bytes(_EVIL + bytes([number]))
        elif kind < 8:
            name.mkdir()
            shutil.copy(demo, name / "open_clip_model.safetensors")
            (name / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 4}}')
        else:
            size = (2 + number % 11) << 30
            tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
            head = json.dumps({"a": tensor}).encode()
            name.with_suffix(".safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
            os.truncate(name.with_suffix(".safetensors"), 8 + len(head) + size)


def run() -> Iterator[Row]:
    demo = shipped("demo", "poisoned.safetensors")
    for arguments in (["--version"], ["--help"], ["inspect", str(demo)]):
        ours, bare, _ = interleaved(lambda a=arguments: _cleanclip(*a), lambda: _cpu("-c", ""))
        yield compared(arguments[0], ours, bare, "CPU-s", 3, " (python)")
    with tempfile.TemporaryDirectory() as place:
        copies = [Path(place, f"{number}.safetensors") for number in range(_COPIES)]
        for path in copies:
            shutil.copy(demo, path)

        def further() -> float:
            both = (
                _cleanclip("inspect", *map(str, copies)),
                _cleanclip("inspect", *map(str, copies[:2])),
            )
            return (both[0] - both[1]) / (_COPIES - 2)

        ours, hashing, _ = interleaved(further, lambda: _hashing(demo))
        yield compared("each further file", ours, hashing, "CPU-s", 3, " (its SHA-256)")
        mixed = Path(place, "mixed")
        mixed.mkdir()
        _fill(mixed, demo)
        ours, one, _ = interleaved(
            lambda: _cleanclip("inspect", str(mixed)), lambda: _cleanclip("inspect", str(demo)), 3
        )
        yield compared("200 mixed files", ours, one, "CPU-s", 2, " (one file)")
