"""The built-in demo's pictures, composed from drawn sprites on demand.

Every picture is a pure function of (split, seed, number): nothing is stored but the sprites, and
the splits never share a placement, since each hashes its name into every random number.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import cos, pi, sin
from zlib import crc32

import numpy as np
import numpy.typing as npt
from PIL import Image

from ml_core.data.demo_text import TEMPLATES, caption_of_one, caption_of_two, colour_name
from ml_core.paths import resource

MARGIN = 2
_LEVELS = (36, 48, 64, 96)


@dataclass(frozen=True)
class Sprite:
    """One drawing: what it shows, in whose style, and where its pixels lie in the pack."""

    name: str
    class_name: str | None
    style: str
    keywords: tuple[str, ...]
    offset: int
    length: int


@dataclass(frozen=True)
class Art:
    """All sprites, and the groups from which pictures are drawn."""

    classes: tuple[str, ...]
    sprites: tuple[Sprite, ...]
    of_class: tuple[tuple[int, ...], ...]
    held_out_of_class: tuple[tuple[int, ...], ...]
    others: tuple[tuple[int, ...], ...]


@lru_cache(maxsize=1)
def load_art() -> Art:
    """Read the index of the sprite pack; `others` groups the non-class sprites by name."""
    index = json.loads(resource("demo", "sprites.json").read_text(encoding="utf-8"))
    sprites = tuple(
        Sprite(
            name=row["name"],
            class_name=row["class"],
            style=row["style"],
            keywords=tuple(row["keywords"]),
            offset=row["offset"],
            length=row["length"],
        )
        for row in index["sprites"]
    )
    classes: tuple[str, ...] = tuple(index["classes"])
    seen: dict[str, list[int]] = {name: [] for name in classes}
    held_out: dict[str, list[int]] = {name: [] for name in classes}
    others: dict[str, list[int]] = {}
    for i, sprite in enumerate(sprites):
        if sprite.class_name is None:
            others.setdefault(sprite.name, []).append(i)
        elif sprite.style == index["held_out"]:
            held_out[sprite.class_name].append(i)
        else:
            seen[sprite.class_name].append(i)
    return Art(
        classes=classes,
        sprites=sprites,
        of_class=tuple(tuple(rows) for rows in seen.values()),
        held_out_of_class=tuple(tuple(rows) for rows in held_out.values()),
        others=tuple(tuple(rows) for rows in others.values()),
    )


@lru_cache(maxsize=1)
def _pack() -> bytes:
    return resource("demo", "sprites.pack").read_bytes()


@cache
def sprite_level(number: int, side: int) -> tuple[Image.Image, int]:
    """Pixels of a sprite, ready to be drawn `side` pixels wide.

    Parameters
    ----------
    number : int
        Position in `Art.sprites`.
    side : int
        Width in pixels at which it will be drawn.

    Returns
    -------
    tuple[PIL.Image.Image, int]
        A square picture in mode ``RGBa`` with a transparent border of `MARGIN` pixels, and its
        side without the border: the smallest stored size not below `side`. Mode ``RGBa`` keeps
        Pillow from mixing the colour of transparent pixels into the edge.
    """
    level = next((step for step in _LEVELS if step >= side), _LEVELS[-1])
    return _level(number, level), level


@cache
def _level(number: int, level: int) -> Image.Image:
    if level == _LEVELS[-1]:
        sprite = load_art().sprites[number]
        data = _pack()[sprite.offset : sprite.offset + sprite.length]
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as picture:
            drawn = picture.convert("RGBA").convert("RGBa")
    else:
        full = _level(number, _LEVELS[-1])
        inner = full.crop((MARGIN, MARGIN, full.width - MARGIN, full.height - MARGIN))
        drawn = inner.resize((level, level), Image.Resampling.BOX, reducing_gap=None)
    framed = Image.new("RGBa", (level + 2 * MARGIN, level + 2 * MARGIN))
    framed.paste(drawn, (MARGIN, MARGIN))
    return framed


SPLITS = ("train", "clean", "val", "test", "heldout")
_PAIR_SPLITS = ("train", "clean")
_CLASS_SHARE = 0.6
_TWO_SHARE = 0.1
_CHUNK = 32
_BACKGROUNDS = 256
_COLUMNS = 32

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Composition:
    """Pictures with what is known about them.

    Attributes
    ----------
    images : numpy.ndarray
        uint8 [N, size, size, 3], RGB.
    labels : numpy.ndarray
        int64 [N], position in `demo_classes()`; -1 where the picture is not of one class.
    captions : tuple[str, ...]
        One caption a picture.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    captions: tuple[str, ...]


@dataclass(frozen=True)
class _Placed:
    """A sprite and its pose; lengths are parts of the picture's side."""

    sprite: int
    scale: float
    x: float
    y: float
    radians: float
    flipped: bool


def demo_classes() -> tuple[str, ...]:
    """Names of the demo's classes, in label order."""
    return load_art().classes


def demo_templates() -> tuple[str, ...]:
    """Prompt templates of the demo's zero-shot classifier, each with one ``{}``."""
    return TEMPLATES


def compose(split: str, indices: Sequence[int], *, seed: int = 0, size: int = 64) -> Composition:
    """Draw pictures of a split.

    Parameters
    ----------
    split : str
        ``"train"`` and ``"clean"`` hold image-caption pairs: classes, other things, and two
        things at once. ``"val"``, ``"test"`` and ``"heldout"`` hold one class object a picture,
        all classes in turn; ``"heldout"`` uses the art style that no other split shows.
    indices : sequence of int
        Numbers of the pictures, >= 0. A picture depends on (split, seed, number) alone.
    seed : int
        Another seed gives other pictures.
    size : int
        Side of the pictures in pixels.

    Returns
    -------
    Composition

    Raises
    ------
    ValueError
        If the split is unknown or a number is negative.
    """
    numbers = _checked(split, indices)
    images = np.empty((len(numbers), size, size, 3), np.uint8)
    labels = np.empty(len(numbers), np.int64)
    captions: list[str] = []
    for start in range(0, len(numbers), _CHUNK):
        part = slice(start, start + _CHUNK)
        placed, labels[part], words, chance = _scenes(split, seed, numbers[part])
        images[part] = _draw(placed, chance, size)
        captions += words
    return Composition(images, labels, tuple(captions))


def describe(
    split: str, indices: Sequence[int], *, seed: int = 0
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Labels int64 [N] and captions of pictures, as `compose` gives them, without drawing any.

    Raises
    ------
    ValueError
        If the split is unknown or a number is negative.
    """
    _, labels, captions, _ = _scenes(split, seed, _checked(split, indices))
    return labels, tuple(captions)


def _checked(split: str, indices: Sequence[int]) -> npt.NDArray[np.int64]:
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}; the demo has {', '.join(SPLITS)}.")
    numbers = np.asarray(indices, dtype=np.int64).reshape(-1)
    if numbers.size and int(numbers.min()) < 0:
        raise ValueError("Picture numbers start at 0.")
    return numbers


def _scenes(
    split: str, seed: int, numbers: npt.NDArray[np.int64]
) -> tuple[list[list[_Placed]], npt.NDArray[np.int64], list[str], npt.NDArray[np.float64]]:
    """What stands in each picture, labels, captions and the draws [n, _COLUMNS] they come from."""
    chance = _uniform(split, seed, numbers)
    rows = chance.tolist()
    scenes = [_scene(split, int(i), row) for i, row in zip(numbers, rows, strict=True)]
    placed = [scene for scene, _ in scenes]
    labels = np.array([label for _, label in scenes], np.int64)
    captions = [_caption(scene, row) for scene, row in zip(placed, rows, strict=True)]
    return placed, labels, captions, chance


def _uniform(split: str, seed: int, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1) by counter hashing (SplitMix64): [N, _COLUMNS]."""
    key = np.uint64(crc32(f"{split}/{seed}".encode()) << 32)
    counter = numbers.astype(np.uint64)[:, None] * np.uint64(_COLUMNS)
    z = (key + counter + np.arange(_COLUMNS, dtype=np.uint64)).astype(np.uint64)
    z *= np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= np.right_shift(z, np.uint64(shift))
        z *= np.uint64(factor)
    z ^= np.right_shift(z, np.uint64(31))
    return np.right_shift(z, np.uint64(11)).astype(np.float64) / float(1 << 53)


def _pick(options: tuple[int, ...], chance: float) -> int:
    return options[int(chance * len(options))]


def _scene(split: str, number: int, u: list[float]) -> tuple[list[_Placed], int]:
    """What stands in a picture, and its label."""
    art = load_art()
    if split in _PAIR_SPLITS:
        first, label = _any_sprite(u[0], u[1], u[2])
        if u[3] < _TWO_SHARE:
            second, _ = _any_sprite(u[4], u[5], u[6])
            return [_pose(first, u[7:13], 0.27), _pose(second, u[13:19], 0.73)], -1
        return [_pose(first, u[7:13], None)], label
    label = number % len(art.classes)
    group = (art.held_out_of_class if split == "heldout" else art.of_class)[label]
    return [_pose(_pick(group, u[2]), u[7:13], None)], label


def _any_sprite(kind: float, group: float, member: float) -> tuple[int, int]:
    """A class sprite with its label, or another sprite and -1."""
    art = load_art()
    if kind < _CLASS_SHARE:
        label = int(group * len(art.classes))
        return _pick(art.of_class[label], member), label
    return _pick(art.others[int(group * len(art.others))], member), -1


def _pose(sprite: int, u: list[float], column: float | None) -> _Placed:
    """Random pose: anywhere when `column` is None, else half-size around that column."""
    radians = (u[3] - 0.5) * 40 * pi / 180
    if column is None:
        scale = 0.47 + 0.44 * u[0]
        slack = 1.0 - 0.9 * scale
        return _Placed(
            sprite,
            scale,
            0.5 + slack * (u[1] - 0.5),
            0.5 + slack * (u[2] - 0.5),
            radians,
            u[4] < 0.5,
        )
    scale = 0.36 + 0.14 * u[0]
    x = column + 0.1 * (u[1] - 0.5)
    return _Placed(sprite, scale, x, 0.5 + 0.4 * (u[2] - 0.5), radians, u[4] < 0.5)


def _draw(
    scenes: list[list[_Placed]], chance: npt.NDArray[np.float64], size: int
) -> npt.NDArray[np.uint8]:
    """Backgrounds, sprites, brightness and blur: uint8 [n, size, size, 3]."""
    colours = (chance[:, 19:25] * 255).astype(np.float32)
    start, step = colours[:, :3], colours[:, 3:] - colours[:, :3]
    maps = _background_maps(size)[(chance[:, 25] * _BACKGROUNDS).astype(np.int64)]
    canvas = start[:, None, None] + step[:, None, None] * maps[..., None]  # [n, size, size, 3]
    for layer in range(2):
        rows = [i for i, placed in enumerate(scenes) if len(placed) > layer]
        if not rows:
            break
        drawn = np.stack([_transform(scenes[i][layer], size) for i in rows]).astype(np.float32)
        uncovered = 1.0 - drawn[..., 3:] * np.float32(1 / 255)
        if len(rows) == len(scenes):
            canvas *= uncovered
            canvas += drawn[..., :3]
        else:
            canvas[rows] = canvas[rows] * uncovered + drawn[..., :3]
    canvas *= (0.75 + 0.45 * chance[:, 26]).astype(np.float32)[:, None, None, None]
    blurred = np.flatnonzero(chance[:, 27] < 0.15)
    if blurred.size:
        canvas[blurred] = _blur(canvas[blurred])
    np.clip(canvas, 0, 255, out=canvas)
    return (canvas + np.float32(0.5)).astype(np.uint8)


def _transform(placed: _Placed, size: int) -> npt.NDArray[np.uint8]:
    """One sprite on a transparent canvas, colours multiplied by alpha: uint8 [size, size, 4]."""
    side = placed.scale * size
    sprite, level = sprite_level(placed.sprite, int(side))
    ratio = level / side
    c, s = ratio * cos(placed.radians), ratio * sin(placed.radians)
    mirror = -1.0 if placed.flipped else 1.0
    x, y, middle = placed.x * size, placed.y * size, MARGIN + level / 2
    matrix = (
        mirror * c, mirror * s, middle - mirror * (c * x + s * y),
        -s, c, middle + s * x - c * y,
    )  # fmt: skip
    moved = sprite.transform(
        (size, size), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR
    )
    return np.asarray(moved)


def _blur(images: FloatArray) -> FloatArray:
    """Binomial 3x3 blur of [n, h, w, 3], edges repeated."""
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (1, 1)
        wide = np.pad(images, pad, mode="edge")
        low, mid, high = (
            np.take(wide, range(k, k + images.shape[axis]), axis=axis) for k in range(3)
        )
        images = (low + np.float32(2) * mid + high) * np.float32(0.25)
    return images


@lru_cache(maxsize=4)
def _background_maps(size: int) -> FloatArray:
    """Five kinds of background as mixing weights of two colours: [_BACKGROUNDS, size, size]."""
    rng = np.random.Generator(np.random.PCG64(20260101))
    grid = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    y, x = np.meshgrid(grid, grid, indexing="ij")
    maps = np.zeros((_BACKGROUNDS, size, size), np.float32)
    for i in range(_BACKGROUNDS):
        angle, a, b, c = rng.uniform(0, 2 * pi), *rng.uniform(0, 1, 3)
        knots = rng.uniform(0, 1, (5, 5)).astype(np.float32)
        along = x * cos(angle) + y * sin(angle)
        match i % 5:
            case 0:
                continue
            case 1:
                maps[i] = np.clip(0.5 + along * (0.6 + a), 0, 1)
            case 2:
                maps[i] = np.clip(2.0 * np.hypot(x - a + 0.5, y - b + 0.5) * (0.4 + c), 0, 1)
            case 3:
                wave = np.sin(along * 2 * pi * (2 + 5 * a) + 2 * pi * b)
                maps[i] = np.clip(0.5 + 3 * wave, 0, 1) * (0.25 + 0.4 * c)
            case _:
                maps[i] = _smooth(knots, size)
    maps.flags.writeable = False
    return maps


def _smooth(knots: FloatArray, size: int) -> FloatArray:
    """Linear interpolation of a square grid of knots: [size, size]."""
    at = np.linspace(0, len(knots) - 1, size)
    weights = np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(len(knots))))
    return (weights @ knots @ weights.T).astype(np.float32)


def _caption(placed: list[_Placed], u: list[float]) -> str:
    sprites = load_art().sprites
    first = sprites[placed[0].sprite]
    if len(placed) == 2:
        return caption_of_two(first.name, sprites[placed[1].sprite].name, u[28])
    plain = int(u[25] * _BACKGROUNDS) % 5 == 0
    background = None
    if plain:
        background = colour_name((255 * u[19], 255 * u[20], 255 * u[21]))
    return caption_of_one(first.name, first.keywords, placed[0].scale, background, u[28], u[29])
