"""The memory of an evaluation does not grow with the image set.

A fresh process evaluates a small set and then one of six times its size; its peak may rise by
far less than what the additional pictures take as bytes, let alone as floats.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SMALL, LARGE, SIDE = 1024, 6144, 64
MORE_BYTES = (LARGE - SMALL) * SIDE * SIDE * 3  # 63 MB; as floats four times that
ALLOWED = 20 * 1024**2

CHILD = """
import json, resource, sys
from pathlib import Path

import numpy as np
import torch

from ml_core.data.canvas import CanvasCache
from ml_core.evaluation.evaluate import evaluate
from ml_core.evaluation.scorer import Subject
from ml_core.reading.clip_config import CLIP_FIT, Preprocess
from ml_core.triggers import Trigger

torch.set_num_threads(1)
folder, side, sizes = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]


class Drawn:
    broken, key, fit = {}, "", CLIP_FIT

    def __init__(self, count):
        self.count, self.images_key = count, f"drawn {count}"

    def __len__(self):
        return self.count

    def canvas(self, indices, size):
        grey = (np.asarray(indices) % 251).astype(np.uint8)
        return np.repeat(grey, size * size * 3).reshape(len(grey), size, size, 3)

    def fitted(self, fit):
        return self


class Model:
    sha256 = identity = None
    image_size, logit_scale, device = side, 10.0, torch.device("cpu")
    preprocess = Preprocess(size=side)
    precision, layout = "fp32", "contiguous"

    def encode_images(self, images):
        first = images[:, 0, 0, :8].float()
        return torch.nn.functional.normalize(first + 1, dim=-1)


trigger = Trigger(kind="sig", canvas="squash")  # drawn twice, for the control, and floats
peaks = []
for count in map(int, sizes):
    cache = CanvasCache(Drawn(count), side, folder=folder, memory_limit=1)
    last = None
    asked = Subject(Model(), cache, torch.eye(8), list("abcdefgh"), np.arange(count) % 8)
    for last in evaluate(asked, trigger, 0, pace=60.0):
        pass
    assert last[0].n == count
    cache.close()
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(json.dumps(peaks))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no ru_maxrss")
def test_memory_does_not_grow_with_the_set(tmp_path):
    sizes = (str(SIDE), str(SMALL), str(LARGE))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), *sizes],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    unit = 1 if sys.platform == "darwin" else 1024
    small, large = (unit * peak for peak in json.loads(done.stdout))
    assert MORE_BYTES >= 3 * ALLOWED
    assert large - small < ALLOWED, f"{(large - small) / 1e6:.0f} MB more for the larger set"
