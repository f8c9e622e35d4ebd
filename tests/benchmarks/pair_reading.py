"""Training pictures from disk: JPEGs decoded smaller against whole.

The pictures have 1000 x 750 pixels and the detail of photographs (their spectrum falls as 1/f).
Processor time of one thread is measured, so that other programs disturb neither side.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ml_core.data import pictures
from ml_core.data.order import epoch_order
from ml_core.data.pairs import PairSet, open_pairs
from ml_core.data.specs import PairSpec
from tests.benchmarks.timing import Row, compared, interleaved
from tests.unit.pair_files import tar

COUNT, KINDS_OF = 192, 8
WIDTH, HEIGHT, SIDE, BATCH = 1000, 750, 224, 32


def run() -> list[Row]:
    """Rows of the table."""
    pictures._THREADS = 1  # so that processor time is that of one thread
    with tempfile.TemporaryDirectory() as place:
        members: dict[str, bytes] = {}
        data = _jpegs()
        for number in range(COUNT):
            members[f"{number:05}.jpg"] = data[number % KINDS_OF]
            members[f"{number:05}.txt"] = b"a caption"
        shard = tar(Path(place) / "0.tar", members)
        pairs = open_pairs(PairSpec(kind="shards", path=str(shard)))
        quick = pairs.drafted()
        ours, theirs, _ = interleaved(_rate(quick), _rate(pairs))
        first = np.arange(KINDS_OF)
        apart = np.abs(quick.canvas(first, SIDE).astype(int) - pairs.canvas(first, SIDE)).mean()
        what = f"shards, JPEG {WIDTH} x {HEIGHT} to {SIDE}, differing by {apart:.2f} of 255"
        return [compared(what, ours, theirs, "pairs/s", 0, ", every pixel")]


def _jpegs() -> list[bytes]:
    """A few pictures like photographs, as a camera's program saves them."""
    rng = np.random.default_rng(0)
    waves = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.fftfreq(WIDTH)[None])
    waves[0, 0] = 1.0
    files = []
    for _ in range(KINDS_OF):
        planes = [rng.normal(size=(HEIGHT, WIDTH)) for _ in range(3)]
        smooth = np.stack([np.fft.ifft2(np.fft.fft2(p) / waves**1.1).real for p in planes], -1)
        low, high = smooth.min(), smooth.max()
        buffer = io.BytesIO()
        grey = ((smooth - low) / (high - low) * 255).astype(np.uint8)
        Image.fromarray(grey).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def _rate(pairs: PairSet) -> Callable[[], float]:
    """Pairs a second of processor time, pictures and captions."""

    def once() -> float:
        order = epoch_order(0, 0, len(pairs), pairs.blocks, pairs.window)
        begin = time.process_time()
        for start in range(0, len(order), BATCH):
            pairs.canvas(order[start : start + BATCH], SIDE)
            pairs.captions(order[start : start + BATCH])
        return len(order) / (time.process_time() - begin)

    return once
