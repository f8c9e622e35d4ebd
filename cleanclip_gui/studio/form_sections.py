"""Which parameters of a trigger are shown, in which words; ranges and units are the record's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from cleanclip_gui.studio.canvas.scene import Scene
from cleanclip_gui.studio.trigger_form import FormField, FormSection
from ml_core.triggers import Trigger
from ml_core.triggers.checks import RANGES
from ml_core.triggers.descriptions import (
    CANVAS_NAMES,
    FIELDS,
    KIND_NAMES,
    LEVEL_NAMES,
    TEXT_PLACE_NAMES,
)

_PLACES = ("placement", "x", "y", "spare", "size")
_WHOLE = ("canvas", "levels", "jpeg", "text", "text_place")
_CAPTIONS = {
    "x": "Centre x",
    "y": "Centre y",
    "spare": "Margin",
    "rotation": "Rotation",
    "mirrored": "Mirrored",
    "where": "Mixed where",
    "stripe": "Stripe width",
    "mix": "Mixed by",
    "grid_size": "Grid",
    "strength": "Strength s",
    "grid_rescale": "Grid rescale",
    "canvas": "Acts on",
    "levels": "Levels",
    "jpeg": "JPEG quality",
    "text_place": "Word goes",
}
_WORDS: dict[str, Mapping[Any, str]] = {
    "noise": {"per_image": "new for each image", "fixed": "once, from the seed"},
    "where": {"everywhere": "everywhere", "nonzero": "where the pattern is not 0"},
    "mix": {"blend": "weighing it against the picture", "add": "adding it to the picture"},
    "canvas": CANVAS_NAMES,
    "levels": LEVEL_NAMES,
    "text_place": TEXT_PLACE_NAMES,
}


def sections(scene: Scene, trigger: Trigger | None) -> tuple[FormSection, ...]:
    """Sections for patch, overlay and the whole; none where there is no trigger."""
    found = []
    places = (("patch", "Patch", scene.patch), ("overlay", "Overlay", scene.overlay))
    for key, title, part in places:
        source = None if part is None else part.source
        if not isinstance(source, Trigger):
            continue
        shown = _of_kind(trigger, source)
        names = _names(source, movable=key == "patch")
        if names:
            section = tuple(_field(shown, name) for name in names)
            said = source.name or KIND_NAMES[source.kind]
            found.append(FormSection(key, f"{title}: {said}", section))
    if trigger is not None:
        whole = tuple(_field(trigger, name) for name in _WHOLE)
        found.append(FormSection("whole", "The whole trigger", whole))
    return tuple(found)


def _names(source: Trigger, *, movable: bool) -> list[str]:
    """Fields of a part; its place, and the opacity of a patch, stand in the toolbar."""
    hidden = ("placement",) if movable else _PLACES
    names = [name for name in FIELDS[source.kind] if name not in hidden]
    if "noise" in names:
        names.append("seed")
    if not movable and source.kind not in ("combined", "prompt"):
        names.append("opacity")
    return names


def _of_kind(trigger: Trigger | None, source: Trigger) -> Trigger:
    """The part of the present trigger that was made of ``source``."""
    parts = () if trigger is None else (trigger, *trigger.parts)
    alike = [part for part in parts if part.kind == source.kind]
    same = [part for part in alike if part.name == source.name]
    return (same or alike or [source])[-1]


def _field(trigger: Trigger, name: str) -> FormField:
    """A field of the record as the form wants it."""
    caption = _CAPTIONS.get(name, name.replace("_", " ").capitalize())
    value: Any = getattr(trigger, name)
    if name == "jpeg":
        return FormField(name, caption, "quality", value, 1, 100, "1 to 100, or no JPEG")
    if name in RANGES:
        low, high, unit = RANGES[name]
        default = next(field.default for field in fields(Trigger) if field.name == name)
        whole = isinstance(default, int)
        return FormField(name, caption, "int" if whole else "float", value, low, high, unit)
    hint = get_type_hints(Trigger)[name]
    if hint is bool:
        return FormField(name, caption, "switch", value)
    if choices := get_args(hint):
        words = _WORDS.get(name, {})
        named = tuple((choice, words.get(choice, choice)) for choice in choices)
        return FormField(name, caption, "choice", value, choices=named)
    return FormField(name, caption, "text", value, unit="added to every prompt (dual-key attacks)")
