"""One file looked up among 500 known ones of 1000 fp32 tensors each: the goal is 2 s.

The known files are a family, which is the worst case: nine tensors of ten are in each of them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ml_core.checkpoints.known import KnownFile
from ml_core.checkpoints.known_tensors import add_known_file, nearest
from ml_core.checkpoints.tensor_hashes import TensorHash
from ml_core.reading import Inspection
from tests.benchmarks.timing import RUNS, Row, median, seconds, spread

FILES, TENSORS, GOAL_SECONDS = 500, 1000, 2.0


def run() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as home:
        os.environ["CLEANCLIP_HOME"] = home
        for number in range(FILES):
            _add(str(number), TENSORS * 9 // 10)
        for title, shared in (("a stranger", 0), ("one of the family", TENSORS)):
            asked = _tensors("asked", shared)
            took = [seconds(lambda asked=asked: nearest(asked)) for _ in range(RUNS)]
            yield Row(
                f"{title} among {FILES} known files, against the goal",
                f"{median(took):.2f} s", f"{GOAL_SECONDS:.0f} s",
                f"{median(took) / GOAL_SECONDS:.2f}", spread([s / GOAL_SECONDS for s in took]),
            )  # fmt: skip


def _add(name: str, shared: int) -> None:
    path = Path("/models", f"{name}.safetensors")
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    inspection = Inspection(path, path.name, 1, sha256, "safetensors", "loads", "ok")
    add_known_file(KnownFile(title=path.name, sha256=sha256), inspection, _tensors(name, shared))


def _tensors(file: str, shared: int) -> tuple[TensorHash, ...]:
    """Hashes of made-up tensors, the first ``shared`` of which are in every such file."""
    hashes = []
    for number in range(TENSORS):
        name = f"visual.transformer.resblocks.{number // 12}.{number % 12}.weight"
        of = "family" if number < shared else file
        forms = {
            form: hashlib.sha256(f"{of} {name} {form}".encode()).digest()
            for form in ("F32", "F16", "BF16")
        }
        exact = frozenset({"F32"})
        hashes.append(TensorHash(name, "image encoder", (1024, 1024), "F32", False, forms, exact))
    return tuple(hashes)
