"""Draw one augmented view of each clean pair: python draw_views.py WORKDIR [SPLIT-SEED].

AutoAugment for the pictures and EDA for the captions, as the product's CleanCLIP does at every
step; search.py sees each pair once or twice, so one view a pair is enough to choose a recipe.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from open_clip.tokenizer import SimpleTokenizer

from ml_core.cleaning.augment import augment_images
from ml_core.data.demo import compose
from ml_core.data.eda import augment_all

CHUNK = 2000


def main() -> None:
    work, name = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "clean-0"
    split, seed = name.split("-")
    images = np.load(work / f"{name}.images.npy", mmap_mode="r")
    count = len(images)
    make = np.lib.format.open_memmap
    views = make(work / f"{name}.views.npy", "w+", np.uint8, images.shape)
    words = make(work / f"{name}.words.npy", "w+", np.uint16, (count, 16))
    tokenizer = SimpleTokenizer(context_length=16)
    generator = np.random.default_rng(1)
    for start in range(0, count, CHUNK):
        part = slice(start, min(start + CHUNK, count))
        views[part] = augment_images(images[part], "autoaugment", generator)
        captions = compose(split, range(part.start, part.stop), seed=int(seed)).captions
        words[part] = tokenizer(augment_all(captions, start)).numpy()
    print(f"{count} views")


if __name__ == "__main__":
    main()
