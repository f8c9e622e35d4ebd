"""The drawn sprites of the built-in demo: names, styles and pixels."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cache, lru_cache

from PIL import Image

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
