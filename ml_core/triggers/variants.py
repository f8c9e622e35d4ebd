"""The same trigger, a little different: what a cleaned model must not answer to either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml_core.triggers.record import Trigger

Group = Literal[
    "itself", "moved", "scaled", "turned", "recoloured", "weaker or stronger", "redrawn",
    "other triggers",
]  # fmt: skip
_PATCHES = ("patch", "badnets", "stripes")
_STRENGTH = {"blended": "ratio", "wanet": "strength", "sig": "amplitude", "stripes": "ratio"}


@dataclass(frozen=True)
class Variant:
    """One of them: how it differs, in a word or two."""

    group: Group
    name: str
    trigger: Trigger


def variants(trigger: Trigger) -> tuple[Variant, ...]:
    """The trigger itself, then moved, scaled, turned, recoloured, weaker, stronger, redrawn.

    A variant that means nothing for the trigger's kind is left out: a warp has no colour. Only the
    first part of a combined trigger is changed.

    Parameters
    ----------
    trigger
        Any but a prompt alone, which has no picture to change.
    """
    rows = [Variant("itself", trigger.name or trigger.kind, trigger)]
    if trigger.kind == "combined":
        first, *rest = trigger.parts
        for variant in list(_changed(first)):
            parts = (variant.trigger, *rest)
            rows.append(replace(variant, trigger=replace(trigger, parts=parts)))
    else:
        rows += _changed(trigger)
    return tuple(
        variant for variant in rows if variant.group == "itself" or variant.trigger != trigger
    )


def _changed(trigger: Trigger) -> Iterator[Variant]:
    patch = trigger.kind in _PATCHES and trigger.size < 1
    if patch:
        yield from _moved(trigger)
        for factor in (0.5, 0.75, 1.5, 2.0):
            yield _with(
                "scaled", f"{factor:g} times the size", trigger, size=_size(trigger, factor)
            )
    if trigger.kind == "patch":
        for degrees in (15.0, 45.0, 90.0):
            turned = (trigger.rotation + degrees) % 360
            yield _with("turned", f"by {degrees:g} degrees", trigger, rotation=turned)
    if trigger.kind in ("patch", "blended") and _has_pixels(trigger):
        yield _with("turned", "mirrored", trigger, mirrored=not trigger.mirrored)
        yield from _recoloured(trigger)
    strength = _STRENGTH.get(trigger.kind)
    if strength is not None and not patch:
        for factor in (0.5, 0.75, 1.5):
            value = getattr(trigger, strength) * factor
            if strength == "ratio":
                value = min(value, 1.0)
            yield _with("weaker or stronger", f"{factor:g} times", trigger, **{strength: value})
    elif trigger.kind in ("patch", "nashville"):
        for opacity in (0.5, 0.75):
            yield _with(
                "weaker or stronger",
                f"{opacity:g} of the opacity",
                trigger,
                opacity=trigger.opacity * opacity,
            )
    if trigger.kind == "sig":
        for factor in (0.5, 2.0):
            value = trigger.frequency * factor
            yield _with("redrawn", f"{factor:g} times the frequency", trigger, frequency=value)
    if trigger.kind == "wanet" or (trigger.noise == "fixed" and not _has_pixels(trigger)):
        yield _with(
            "redrawn", "from another seed", trigger, seed=trigger.seed + 1, array=None, mask=None
        )


def _moved(trigger: Trigger) -> Iterator[Variant]:
    """Other places; a patch that was poisoned at any place is tried at single ones."""
    half = trigger.size / 2
    places = {
        "in the centre": (0.5, 0.5),
        "upper left": (half, half),
        "upper right": (1 - half, half),
        "lower left": (half, 1 - half),
        "lower right": (1 - half, 1 - half),
    }
    for name, (x, y) in places.items():
        yield _with("moved", name, trigger, placement="fixed", x=x, y=y)
    yield _with("moved", "anywhere", trigger, placement="random")
    yield _with("moved", "four corners", trigger, placement="four_corners")


def _size(trigger: Trigger, factor: float) -> float:
    return min(1.0, trigger.size * factor)


def _has_pixels(trigger: Trigger) -> bool:
    return trigger.pixels is not None


def _recoloured(trigger: Trigger) -> Iterator[Variant]:
    """Colours changed, alpha kept."""
    assert trigger.pixels is not None
    colour = trigger.pixels[..., :3].astype(np.float64)
    grey = colour @ np.array([0.299, 0.587, 0.114])
    colours: dict[str, NDArray[np.float64]] = {
        "inverted": 255 - colour,
        "red for green for blue": colour[..., [1, 2, 0]],
        "in grey": np.repeat(grey[..., None], 3, axis=-1),
        "half as bright": colour / 2,
    }
    for name, values in colours.items():
        pixels = trigger.pixels.copy()
        pixels[..., :3] = np.rint(values).clip(0, 255).astype(np.uint8)
        yield _with("recoloured", name, trigger, pixels=pixels)


def _with(group: Group, name: str, trigger: Trigger, **changes: Any) -> Variant:
    return Variant(group, name, replace(trigger, **changes))
