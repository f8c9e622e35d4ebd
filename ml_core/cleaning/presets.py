"""Named recipes of each method, with where their numbers come from. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping

from ml_core.cleaning.catalogue import METHODS, Method
from ml_core.cleaning.preset_fields import FIELDS, OWN_SOURCES
from ml_core.cleaning.recipes import Recipe, fields_of, make_recipe
from ml_core.reading.errors import InputError

DEFAULT = "quick"
PRESET_SOURCES: Mapping[str, str] = {
    "quick": "Chosen on validation images of the built-in demo; at most 5 minutes on 2 cores.",
    "talk": "Shorter version of Quick, for live demos; about 90 seconds on 2 idle cores.",
    "thorough": "Quick with more distinct examples, for a model that matters.",
    "paper": "CleanCLIP's published recipe (Bansal et al., ICCV 2023); hours on a CPU.",
}


def presets(method: Method) -> dict[str, Recipe]:
    """Named recipes of ``method``, the default first: ``quick``, ``talk``, ``thorough``, ``paper``.

    ``paper`` is missing where there is none.

    Raises
    ------
    InputError
        If the method is unknown.
    """
    if method not in FIELDS:
        raise InputError(f"Unknown method {method!r}; choose one of {', '.join(METHODS)}.")
    return {
        name: make_recipe({"method": method, "preset": name, **fields})
        for name, fields in FIELDS[method].items()
    }


def preset(method: Method, name: str) -> Recipe:
    """One preset by name; ``default`` is the first.

    Raises
    ------
    InputError
        If the method or the preset is unknown.
    """
    named = presets(method)
    name = DEFAULT if name == "default" else name
    if name not in named:
        raise InputError(f"Unknown preset {name!r}; choose one of {', '.join(named)}.")
    return named[name]


def default_preset(method: Method, *, demo: bool) -> str:
    """The preset to begin with: what is chosen for the demo is not meant for another checkpoint.

    The published one where there is one, unless the checkpoint is the ``demo``'s.
    """
    return "paper" if not demo and "paper" in presets(method) else DEFAULT


def about_rate(recipe: Recipe) -> str:
    """A sentence on the learning rate for a checkpoint that is not the demo's; may be empty."""
    if "lr" not in fields_of(recipe.method) or recipe.preset not in PRESET_SOURCES:
        return ""
    published = presets(recipe.method).get("paper")
    if published is None:
        return (
            f"This method has no published recipe: its learning rate of {recipe.lr:g} was chosen "
            "on the demo's checkpoint; lower it if clean accuracy falls."
        )
    if recipe.preset == "paper":
        return (
            f"This checkpoint is not the demo's: the published learning rate of {recipe.lr:g} is "
            "taken; those of the other presets were chosen on the demo and may cost accuracy."
        )
    return (
        f"The learning rate of {recipe.lr:g} was chosen on the demo's checkpoint; the published "
        f"one is {published.lr:g}."
    )


def preset_source(method: str, name: str) -> str:
    """Where a preset's numbers come from, as a sentence; empty for an unknown one."""
    return OWN_SOURCES.get((method, name), PRESET_SOURCES.get(name, ""))
