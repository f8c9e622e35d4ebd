"""A 600 MB ViT-B-32 in each container: verdict and tensors, against its library and plain hashing.

Every figure comes from a process of its own, once with its start and its imports and once
without them. Peak memory is the largest resident set: of the reading process for the verdict, of
the one with the tensors, above its imports, for the rest.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.timing import Row, compared

RUNS = 3
_MAKE = """
import sys
from pathlib import Path
import open_clip, torch
from safetensors.torch import save_file
torch.manual_seed(0)
model = open_clip.create_model("ViT-B-32").eval()
state = {{key: value.contiguous() for key, value in model.state_dict().items()}}
path = sys.argv[1]
{save}
"""
# VmHWM is the peak of this program alone; ru_maxrss of a child remembers its parent.
_MEASURE = """
import json, resource, sys, time
{imports}
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
path = sys.argv[1]
before = peak()
begin = time.perf_counter()
{act}
seconds = time.perf_counter() - begin
worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([seconds, ({memory}) / 1024]))
"""
_HASH = ("import hashlib", 'hashlib.file_digest(open(path, "rb"), "sha256").hexdigest()', "peak()")
_VERDICT = (
    "from ml_core.reading import examine\nfrom ml_core.reading.examine import end_idle",
    "assert examine(path).tensors; end_idle()",
    "worker",
)
_TENSORS = (
    "import torch\nfrom ml_core.reading import examine\n"
    "from ml_core.checkpoints.tensors import read_tensors",
    "found = read_tensors(examine(path))",
    "peak() - before",
)
_TORCH = ("import torch", "found = torch.load(path, weights_only=True)", "peak() - before")
_JIT = ("import torch", "found = torch.jit.load(path).state_dict()", "peak() - before")
_SAFETENSORS = (
    "import torch\nfrom safetensors.torch import load_file",
    "found = {k: v.clone() for k, v in load_file(path).items()}",
    "peak() - before",
)
Side = tuple[str, str, str]


_CONTAINERS: dict[str, tuple[str, str, Side]] = {
    "safetensors": ("m.safetensors", "save_file(state, path)", _SAFETENSORS),
    "torch zip": ("m.pt", "torch.save(state, path)", _TORCH),
    "legacy stream": (
        "m.pth",
        "torch.save(state, path, _use_new_zipfile_serialization=False)",
        _TORCH,
    ),
    "TorchScript": ("m.ts.pt", "torch.jit.script(model).save(path)", _JIT),
}


def _python(program: str, path: Path) -> str:
    """What a program in a process of its own prints last."""
    command = [sys.executable, "-W", "ignore", "-c", program, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return (done.stdout.splitlines() or [""])[-1]


@dataclass(frozen=True)
class _Figures:
    """Seconds of the whole process, seconds of the act alone, and MiB."""

    whole: float
    act: float
    memory: float


def _measure(side: Side, path: Path) -> _Figures:
    """Run one side in a process of its own."""
    imports, act, memory = side
    program = _MEASURE.format(imports=imports, act=act, memory=memory)
    begin = time.perf_counter()
    figures = _python(program, path)
    whole = time.perf_counter() - begin
    return _Figures(whole, *json.loads(figures))


def _container(name: str, path: Path, theirs: Side) -> Iterator[Row]:
    sides = (_HASH, _VERDICT, _TENSORS, theirs)
    for side in sides:  # warms the page cache and the imports
        _measure(side, path)
    runs = [[_measure(side, path) for side in sides] for _ in range(RUNS)]
    hashed, verdict, tensors, library = map(list, zip(*runs, strict=True))
    act = [[figures.act for figures in side] for side in (hashed, verdict, tensors, library)]
    yield compared(f"{name}: verdict, against read and SHA-256", act[1], act[0], "s")
    for what, ours in (("verdict", verdict), ("verdict and tensors", tensors)):
        for which, unit, note in (
            ("whole", "s", "whole process, against its library's loading"),
            ("act", "s", "without start and imports, against the same"),
            ("memory", "MiB", "peak memory, against the same"),
        ):
            pair = [[getattr(figures, which) for figures in side] for side in (ours, library)]
            yield compared(f"{name}: {what}, {note}", *pair, unit, 2 if unit == "s" else 0)


def _every_tensor(path: Path, what: str, module: str, act: str) -> Row:
    """What looks at every number, against one pass over the bytes."""
    imports = (
        "from ml_core.reading import inspect\n"
        f"from ml_core.checkpoints.{module} import *\n"
        "found = inspect(sys.argv[1])"
    )
    gigabytes = path.stat().st_size / 1e9
    sides = (_HASH, (imports, act, "peak()"))
    runs = [[_measure(side, path) for side in sides] for _ in range(RUNS)]
    hashed, ours = [[run[i].act / gigabytes for run in runs] for i in (0, 1)]
    return compared(f"{what} of all tensors, against read and SHA-256", ours, hashed, "s/GB")


def run() -> list[Row]:
    rows: list[Row] = []
    for name, (file, save, theirs) in _CONTAINERS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, file)
            _python(_MAKE.format(save=save), path)
            rows += _container(name, path, theirs)
            if name == "safetensors":
                rows.append(
                    _every_tensor(
                        path,
                        "statistics",
                        "tensor_stats",
                        "n = sum(1 for _ in tensor_stats(found))",
                    )
                )
                rows.append(
                    _every_tensor(path, "hashes", "tensor_hashes", "n = len(hash_tensors(found))")
                )
    return rows
