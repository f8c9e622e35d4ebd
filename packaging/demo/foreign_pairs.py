"""Clean pairs of another distribution than the demo's: python foreign_pairs.py WORKDIR OUT COUNT.

What somebody has who cleans a model from elsewhere: art of two styles that no picture of the demo
shows (node render.mjs WORKDIR --foreign), clouds of colour behind it, shadows, other poses, other
captions, and JPEG. Writes OUT/<n>.jpg and OUT/pairs.csv. For measurements; nothing of it ships.
"""

from __future__ import annotations

import csv
import json
import sys
from functools import cache
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

SIDE = 64
CLASS_SHARE = 0.4
CAPTIONS = (
    "{} on a colourful wall",
    "my favourite {}",
    "{} sticker for sale",
    "vector art of one {}",
    "look at this {}!",
    "{}, flat design",
    "hand drawn {} with a shadow",
    "a {} and nothing else",
    "{} | free download",
    "{} {}",
)


@cache
def art(work: Path) -> tuple[list[dict], list[dict]]:
    """Drawings of a class, and others."""
    rows = json.loads((work / "foreign" / "art.json").read_text())
    return [r for r in rows if r["class"]], [r for r in rows if not r["class"]]


@cache
def sprite(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        drawn = picture.convert("RGBA")
    return drawn.crop(drawn.getchannel("A").getbbox())


def clouds(rng: np.random.Generator) -> Image.Image:
    """Three colours mixed by noise of several sizes."""
    field = np.zeros((SIDE, SIDE, 2), np.float32)
    for cells in (2, 4, 8, 16):
        for k in range(2):
            noise = Image.fromarray(rng.random((cells, cells), np.float32))
            grown = noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            field[..., k] += (np.asarray(grown) - 0.5) / cells**0.5
    weights = np.clip(0.5 + field, 0, 1)
    first, second, third = rng.integers(0, 256, (3, 3)).astype(np.float32)
    mixed = first + weights[..., :1] * (second - first)
    mixed += weights[..., 1:] * (third - mixed) * 0.6
    return Image.fromarray(mixed.astype(np.uint8))


def pair(work: Path, number: int) -> tuple[Image.Image, str, int]:
    """The picture, its caption, and the quality it is stored at."""
    rng = np.random.default_rng([7, number])
    classes, others = art(work)
    rows = classes if rng.random() < CLASS_SHARE else others
    chosen = rows[int(rng.integers(len(rows)))]
    drawn = sprite(work / "foreign" / chosen["file"])
    side = SIDE * rng.uniform(0.4, 0.95)
    scale = side / max(drawn.size)
    drawn = drawn.resize((max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale))))
    drawn = drawn.rotate(rng.uniform(-30, 30), Image.Resampling.BILINEAR, expand=True)
    if rng.random() < 0.5:
        drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = clouds(rng)
    free = np.array([SIDE - drawn.width, SIDE - drawn.height])
    x, y = np.rint(free * rng.uniform(-0.1, 1.1, 2)).astype(int)
    shadow = drawn.getchannel("A").filter(ImageFilter.GaussianBlur(2)).point(lambda a: a // 2)
    picture.paste((0, 0, 0), (x + 3, y + 3), shadow)
    picture.paste(drawn, (x, y), drawn)
    keyword = str(rng.choice(chosen["keywords"])) if chosen["keywords"] else ""
    caption = CAPTIONS[int(rng.integers(len(CAPTIONS)))].format(chosen["name"], keyword)
    return picture, caption.strip(), int(rng.integers(60, 96))


def write(job: tuple[Path, Path, int, int]) -> list[tuple[str, str]]:
    work, out, start, stop = job
    rows = []
    for number in range(start, stop):
        picture, caption, quality = pair(work, number)
        picture.save(out / f"{number}.jpg", quality=quality)
        rows.append((f"{number}.jpg", caption))
    return rows


def main() -> None:
    work, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    jobs = [(work, out, i, min(i + 1000, count)) for i in range(0, count, 1000)]
    with Pool(2) as pool, (out / "pairs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "caption"))
        for rows in pool.imap(write, jobs):
            table.writerows(rows)


if __name__ == "__main__":
    main()
