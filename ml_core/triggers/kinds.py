"""The kinds of trigger and the choices that each field has."""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal[
    "patch", "badnets", "stripes", "blended", "sig", "wanet", "nashville", "prompt", "combined"
]
Placement = Literal["fixed", "random", "four_corners", "center"]
Noise = Literal["per_image", "fixed"]
Canvas = Literal["model", "squash", "resize_256", "original"]
Levels = Literal["float", "round", "truncate", "wrap"]
Mix = Literal["blend", "add"]
Where = Literal["everywhere", "nonzero"]
TextPlace = Literal["prefix", "word", "suffix"]

KINDS: tuple[Kind, ...] = get_args(Kind)
PLACEMENTS: tuple[Placement, ...] = get_args(Placement)
NOISES: tuple[Noise, ...] = get_args(Noise)
CANVASES: tuple[Canvas, ...] = get_args(Canvas)
LEVELS: tuple[Levels, ...] = get_args(Levels)
MIXES: tuple[Mix, ...] = get_args(Mix)
WHERES: tuple[Where, ...] = get_args(Where)
TEXT_PLACES: tuple[TextPlace, ...] = get_args(TextPlace)
