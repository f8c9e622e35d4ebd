"""Draw the pictures of a split once: python draw_pairs.py WORKDIR SPLIT COUNT [SEED].

Writes <SPLIT>-<SEED>.images.npy (uint8 [N, 64, 64, 3]), .tokens.npy (uint16 [N, 16]) and
.labels.npy (int64 [N]) for vit.py and search.py, which read them by memory map.
"""

from __future__ import annotations

import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ml_core.data.demo import compose

CHUNK = 2000


def draw(job: tuple[str, str, int, int, int]) -> None:
    from open_clip.tokenizer import SimpleTokenizer

    stem, split, seed, start, stop = job
    part = compose(split, range(start, stop), seed=seed)
    tokens = SimpleTokenizer(context_length=16)(list(part.captions)).numpy()
    for name, rows in (("images", part.images), ("labels", part.labels), ("tokens", tokens)):
        np.load(f"{stem}.{name}.npy", mmap_mode="r+")[start:stop] = rows


def main() -> None:
    work, split, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    stem = str(work / f"{split}-{seed}")
    make = np.lib.format.open_memmap
    make(f"{stem}.images.npy", "w+", np.uint8, (count, 64, 64, 3))
    make(f"{stem}.labels.npy", "w+", np.int64, (count,))
    make(f"{stem}.tokens.npy", "w+", np.uint16, (count, 16))
    starts = range(0, count, CHUNK)
    jobs = [(stem, split, seed, start, min(start + CHUNK, count)) for start in starts]
    with Pool(2) as pool:
        for done, _ in enumerate(pool.imap(draw, jobs), 1):
            if done % 20 == 0:
                print(f"{done * CHUNK} of {count}", flush=True)


if __name__ == "__main__":
    main()
