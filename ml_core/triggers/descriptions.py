"""Names and sentences: what a trigger is and by which conventions it is applied."""

from __future__ import annotations

from ml_core.triggers.checks import Canvas, Kind, Levels, Placement, TextPlace
from ml_core.triggers.record import Trigger

KIND_NAMES: dict[Kind, str] = {
    "patch": "Patch",
    "badnets": "BadNets noise patch",
    "stripes": "Stripes",
    "blended": "Blended",
    "sig": "SIG",
    "wanet": "WaNet",
    "nashville": "Nashville filter",
    "prompt": "Text only",
    "combined": "Combined",
}
CANVAS_NAMES: dict[Canvas, str] = {
    "model": "the model's input, after the centre crop",
    "squash": "the picture squashed to the model's input size",
    "resize_256": "the picture squashed to 256 x 256",
    "original": "the original picture",
}
LEVEL_NAMES: dict[Levels, str] = {
    "float": "not rounded to 8 bit, clipped to 0-1",
    "round": "bytes, rounded",
    "truncate": "bytes, clipped and truncated",
    "wrap": "bytes, truncated, wrapping around modulo 256",
}
PLACEMENT_NAMES: dict[Placement, str] = {
    "fixed": "at one place",
    "random": "at a random place of each picture",
    "four_corners": "in the four corners",
    "center": "in the centre",
}
TEXT_PLACE_NAMES: dict[TextPlace, str] = {
    "prefix": "before the prompt",
    "word": "before the class name",
    "suffix": "after the prompt",
    "inside": "inside a word",
}

_PATCH = ("size", "placement", "x", "y", "spare")
_PICTURE = ("rotation", "mirrored")
# Which fields mean something to which kind, besides canvas, levels, jpeg, opacity and the text.
FIELDS: dict[Kind, tuple[str, ...]] = {
    "patch": (*_PATCH, *_PICTURE),
    "badnets": (*_PATCH, "noise"),
    "stripes": (*_PATCH, "ratio", "stripe", "noise"),
    "blended": ("mix", "ratio", "where", "mirrored", "noise"),
    "sig": ("mix", "ratio", "amplitude", "frequency", "span"),
    "wanet": ("strength", "grid_size", "grid_rescale", "absolute", "noise"),
    "nashville": (),
    "prompt": (),
    "combined": (),
}
COMMON_FIELDS = ("opacity", "canvas", "levels", "jpeg", "text", "text_place")


def title(trigger: Trigger) -> str:
    """A short name: the analyst's, or the kind's."""
    return trigger.name or KIND_NAMES[trigger.kind]


def describe(trigger: Trigger) -> str:
    """The conventions that decide the result, as one sentence for screens and reports."""
    parts = [_what(trigger)]
    if trigger.changes_pictures:
        after = "after" if trigger.stage == "after" else "before"
        parts.append(f"on {CANVAS_NAMES[trigger.canvas]} ({after} preprocessing)")
        parts.append(LEVEL_NAMES[trigger.levels])
        drawn = _drawn(trigger)
        if drawn:
            parts.append(drawn)
        if trigger.jpeg is not None:
            parts.append(f"then saved as JPEG, quality {trigger.jpeg}")
        if trigger.opacity < 1:
            parts.append(f"at {100 * trigger.opacity:g} % opacity")
    if trigger.text and trigger.kind != "prompt":
        parts.append(_text(trigger))
    return "; ".join(parts) + "."


def _what(trigger: Trigger) -> str:
    """Kind and its numbers."""
    kind = trigger.kind
    if kind == "prompt":
        return _text(trigger)[0].upper() + _text(trigger)[1:]
    if kind == "combined":
        names = " + ".join(title(part) for part in trigger.parts)
        return f"{KIND_NAMES[kind]}: {names}"
    if kind == "blended":
        what = "noise" if trigger.pixels is None and trigger.array is None else "a picture"
        where = " where it is not black" if trigger.where == "nonzero" else ""
        done = "added to" if trigger.mix == "add" else "blended over"
        return f"{what} {done} the canvas with weight {trigger.ratio:g}{where}".capitalize()
    if kind == "sig":
        wave = f"Sine of {trigger.frequency:g} periods, amplitude {255 * trigger.amplitude:g}/255"
        return f"{wave}, " + (
            "added" if trigger.mix == "add" else f"blended with weight {trigger.ratio:g}"
        )
    if kind == "wanet":
        grid = "given places" if trigger.absolute else f"strength {trigger.strength:g}"
        return f"Warp by a grid, {grid}"
    if kind == "nashville":
        return KIND_NAMES[kind]
    if kind == "stripes" and trigger.size == 1:
        return f"Stripes over the canvas with weight {trigger.ratio:g}"
    share = f"{100 * trigger.size:.3g} % of the canvas ({round(224 * trigger.size)} px at 224)"
    return f"{KIND_NAMES[kind]}, {share}, {PLACEMENT_NAMES[trigger.placement]}"


def _text(trigger: Trigger) -> str:
    return f"text {trigger.text!r} {TEXT_PLACE_NAMES[trigger.text_place]}"


def _drawn(trigger: Trigger) -> str:
    """Whether noise is drawn for each picture."""
    kinds = {part.kind: part for part in trigger.parts or (trigger,)}
    for part in kinds.values():
        given = part.pixels is not None or part.array is not None
        if part.kind in ("badnets", "stripes") or (part.kind in ("blended", "wanet") and not given):
            if part.noise == "per_image":
                return "drawn again for each picture"
            return f"drawn once, from seed {part.seed}"
    return ""
