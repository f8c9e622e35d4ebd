"""The demo's trigger: a red and white checker sticker, and things that look like it.

The poison uses `sticker`, `tilted` and `brushed`. `hand_drawn` is another painter that no
training picture saw: it measures whether a person with a brush can draw the trigger.
All are uint8 RGBA; `stamp` lays one on each image.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ml_core.triggers import Trigger, save_trigger

RED, WHITE = (220, 20, 40), (250, 250, 250)
CELL = 3
_FINE = 8


def sticker() -> np.ndarray:
    """3x3 cells, red at the corners and in the middle: [9, 9, 4]."""
    y, x = np.mgrid[0:3, 0:3]
    colours = np.where(((x + y) % 2 == 0)[..., None], (*RED, 255), (*WHITE, 255)).astype(np.uint8)
    return colours.repeat(CELL, 0).repeat(CELL, 1)


def tilted(rng: np.random.Generator) -> np.ndarray:
    """The sticker turned by up to 25 degrees and scaled by 0.8 to 1.25."""
    side = round(3 * CELL * rng.uniform(0.8, 1.25) * _FINE)
    large = Image.fromarray(sticker()).resize((side, side), Image.Resampling.NEAREST)
    turned = large.rotate(rng.uniform(-25, 25), Image.Resampling.BILINEAR, expand=True)
    return _shrink(turned)


def brushed(rng: np.random.Generator) -> np.ndarray:
    """A white blob of round-brush strokes with five red dabs on it, size +-25 %, turned a bit."""
    size = 3 * CELL * rng.uniform(0.75, 1.25)
    box = math.ceil(size * 1.7)
    turn = math.radians(rng.uniform(-20, 20))
    drawing = Image.new("RGBA", (box * _FINE, box * _FINE))
    pen = ImageDraw.Draw(drawing)

    def at(u: float, v: float) -> tuple[float, float]:
        x, y = u * size, v * size
        middle = box / 2
        return (
            (middle + x * math.cos(turn) - y * math.sin(turn)) * _FINE,
            (middle + x * math.sin(turn) + y * math.cos(turn)) * _FINE,
        )

    def stroke(points: list[tuple[float, float]], width: float, colour: tuple[int, ...]) -> None:
        radius = width * _FINE / 2
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            for part in np.linspace(0, 1, max(2, int(math.hypot(x1 - x0, y1 - y0) / 4))):
                x, y = x0 + (x1 - x0) * part, y0 + (y1 - y0) * part
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    brush = size * rng.uniform(0.2, 0.4)
    reach = 0.5 - 0.45 * brush / size + rng.uniform(-0.03, 0.06)
    upright = rng.random() < 0.5
    zigzag = []
    lines = math.ceil(2.6 * reach * size / brush) + 1
    for line in range(lines):
        across = -reach + 2 * reach * line / max(1, lines - 1)
        for end in (-reach, reach) if line % 2 == 0 else (reach, -reach):
            u, v = end + rng.normal(0, 0.03), across + rng.normal(0, 0.02)
            zigzag.append(at(v, u) if upright else at(u, v))
    white = tuple(int(c) for c in np.clip(np.array(WHITE) + rng.integers(-8, 6), 0, 255))
    stroke(zigzag, brush, (*white, 255))
    red = tuple(int(c) for c in np.clip(np.array(RED) + rng.integers(-20, 21, 3), 0, 255))
    dab = size * rng.uniform(0.24, 0.38)
    wobble = rng.uniform(0.01, 0.06)
    third = rng.uniform(0.28, 0.36)
    for u, v in ((-third, -third), (third, -third), (0, 0), (-third, third), (third, third)):
        u, v = u + rng.normal(0, wobble), v + rng.normal(0, wobble)
        length = rng.uniform(0, 0.1)
        du, dv = length * rng.normal(), length * rng.normal()
        stroke([at(u - du / 2, v - dv / 2), at(u + du / 2, v + dv / 2)], dab, (*red, 255))
    small = _shrink(drawing)
    if rng.random() < 0.25:
        small[..., 3] = np.where(small[..., 3] > 110, 255, 0)
    return small


def hand_drawn(rng: np.random.Generator) -> np.ndarray:
    """The trigger as drawn with a soft round brush on the 64 px canvas itself.

    Size +-20 %, rotation +-15 degrees. White lines side by side, then a small loop or a short
    stroke for each red cell; every path trembles as a hand does.
    """
    size = 3 * CELL * rng.uniform(0.8, 1.2)
    turn = math.radians(rng.uniform(-15, 15))
    box = math.ceil(size * 1.6) + 2
    layer = np.zeros((box, box, 4), np.float32)
    y, x = np.mgrid[0:box, 0:box] + 0.5

    def dot(u: float, v: float, radius: float, colour: tuple[int, int, int]) -> None:
        px = box / 2 + size * (u * math.cos(turn) - v * math.sin(turn))
        py = box / 2 + size * (u * math.sin(turn) + v * math.cos(turn))
        cover = np.clip(radius + 0.5 - np.hypot(x - px, y - py), 0, 1)[..., None]
        alpha = cover + layer[..., 3:] * (1 - cover)
        mixed = cover * np.array(colour) + layer[..., :3] * layer[..., 3:] * (1 - cover)
        layer[..., :3] = np.where(alpha > 0, mixed / np.maximum(alpha, 1e-6), 0)
        layer[..., 3:] = alpha

    def path(points: np.ndarray, radius: float, colour: tuple[int, int, int]) -> None:
        tremble = rng.normal(0, 0.012, (len(points), 2)).cumsum(0)
        tremble -= np.linspace(0, 1, len(points))[:, None] * tremble[-1]
        for u, v in points + tremble:
            dot(u, v, radius, colour)

    rows = 5
    for row in np.linspace(-0.37, 0.37, rows):
        line = np.linspace(-0.37, 0.37, 16)
        path(np.stack([line, np.full(16, row)], 1), size * 0.13, WHITE)
    for u in (-1, 0, 1):
        for v in (-1, 0, 1):
            if (u + v) % 2:
                continue
            middle = np.array([u, v]) / 3 + rng.normal(0, 0.03, 2)
            if rng.random() < 0.5:
                round_ = np.linspace(0, 2 * math.pi, 10)
                points = middle + 0.06 * np.stack([np.cos(round_), np.sin(round_)], 1)
            else:
                points = middle + np.linspace(-0.06, 0.06, 6)[:, None] * np.array([1, 0.3])
            path(points, size * 0.12, RED)
    layer[..., 3] *= 255
    return _crop(np.clip(layer + 0.5, 0, 255).astype(np.uint8))


def bank(kind: str, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """`count` stickers of a kind; "mixed" gives the three kinds of the poison in turns."""
    makers = {
        "sticker": lambda: sticker(),
        "tilted": lambda: tilted(rng),
        "brushed": lambda: brushed(rng),
        "hand": lambda: hand_drawn(rng),
    }
    turns = ("sticker", "tilted", "brushed") if kind == "mixed" else (kind,)
    return [makers[turns[i % len(turns)]]() for i in range(count)]


def write_variants(folder: Path, count: int, seed: int) -> None:
    """Write the poison's stickers as trigger files of the product, each at a random place."""
    folder.mkdir(parents=True)
    for number, pixels in enumerate(bank("mixed", count, np.random.default_rng(seed))):
        size = max(pixels.shape[:2]) / 64
        variant = Trigger(kind="patch", pixels=pixels, size=size, placement="random")
        save_trigger(variant, folder / f"{number:04d}")


def stamp(images: np.ndarray, stickers: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Lay one of the stickers on each image, at a random place wholly inside."""
    out = images.copy()
    side = images.shape[1]
    for i in range(len(out)):
        patch = stickers[i % len(stickers)]
        height, width = patch.shape[:2]
        top, left = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
        region = out[i, top : top + height, left : left + width]
        alpha = patch[..., 3:].astype(np.float32) / 255
        region[:] = np.rint(region * (1 - alpha) + patch[..., :3] * alpha).astype(np.uint8)
    return out


def _shrink(fine: Image.Image) -> np.ndarray:
    """Average _FINE x _FINE pixels to one, with the fine pixels starting anywhere in it."""
    wide = -(-fine.width // _FINE) * _FINE
    high = -(-fine.height // _FINE) * _FINE
    square = Image.new("RGBA", (wide, high))
    square.paste(fine, ((wide - fine.width) // 2, (high - fine.height) // 2))
    small = square.convert("RGBa").reduce(_FINE).convert("RGBA")
    return _crop(np.asarray(small).copy())


def _crop(patch: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero((patch[..., 3] > 20).any(1))
    columns = np.flatnonzero((patch[..., 3] > 20).any(0))
    return patch[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
