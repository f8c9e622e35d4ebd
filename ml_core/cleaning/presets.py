"""Named recipes of each method, with where their numbers come from. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping

from ml_core.cleaning.catalogue import FACTS, METHODS, Method
from ml_core.cleaning.preset_fields import FIELDS, OWN_SOURCES
from ml_core.cleaning.pretraining import DEMO, DEMO_PEAK, SAFE_SHARE, Pretraining
from ml_core.cleaning.recipes import Recipe, fields_of, make_recipe
from ml_core.figures import rate_text
from ml_core.reading.errors import InputError

PAPER, ADAPTED = "paper", "adapted"
_ADAPTED_FROM = "quick"
PRESET_SOURCES: Mapping[str, str] = {
    "quick": "Chosen on validation images of the built-in demo; at most 5 minutes on 2 cores.",
    "talk": "Shorter version of Quick, for live demos; about 90 seconds on 2 idle cores.",
    "thorough": "Quick with more distinct examples, for a model that matters.",
    PAPER: "CleanCLIP's published recipe (Bansal et al., ICCV 2023); hours on a CPU.",
    ADAPTED: "This method has no published recipe: it is Quick, at a learning rate for this "
    "checkpoint.",
}

_WHOSE: Mapping[str, str] = {
    PAPER: "is the published one",
    ADAPTED: "is the demo's in proportion, at most a fifth",
}


def presets(method: Method, pretraining: Pretraining = DEMO) -> dict[str, Recipe]:
    """Named recipes of ``method`` for a checkpoint, the one to begin with first.

    For the demo: ``quick``, ``talk``, ``thorough``, and ``paper`` where something is published.
    What was chosen on the demo comes last for any other checkpoint; before it is ``paper``, or
    ``adapted`` where nothing is published: ``quick`` with its learning rate in proportion to the
    peaks of the two pretrainings, at most a fifth of the checkpoint's.

    Parameters
    ----------
    pretraining
        What is known of how the checkpoint was pretrained.

    Raises
    ------
    InputError
        If the method is unknown.
    """
    if method not in FIELDS:
        raise InputError(f"Unknown method {method!r}; choose one of {', '.join(METHODS)}.")
    found = {
        name: make_recipe({"method": method, "preset": name, **fields})
        for name, fields in FIELDS[method].items()
    }
    if pretraining.kind == "demo":
        return found
    if PAPER not in found and _moves_weights(method):
        lr = _adapted_rate(found[_ADAPTED_FROM].lr, pretraining)
        found[ADAPTED] = found[_ADAPTED_FROM].changed(lr=lr, preset=ADAPTED)
    first = [name for name in (PAPER, ADAPTED) if name in found]
    return {name: found[name] for name in (*first, *(name for name in found if name not in first))}


def preset(method: Method, name: str, pretraining: Pretraining = DEMO) -> Recipe:
    """One preset by name; ``default`` is the one to begin with.

    Raises
    ------
    InputError
        If the method or the preset is unknown.
    """
    named = presets(method, pretraining)
    name = default_preset(method, pretraining) if name == "default" else name
    if name not in named:
        raise InputError(f"Unknown preset {name!r}; choose one of {', '.join(named)}.")
    return named[name]


def default_preset(method: Method, pretraining: Pretraining = DEMO) -> str:
    """The preset to begin with: what is chosen for the demo is not meant for another checkpoint."""
    return next(iter(presets(method, pretraining)))


def preset_title(recipe: Recipe, pretraining: Pretraining = DEMO) -> str:
    """A preset's name for the screen; it says so where another checkpoint's is offered."""
    if recipe.preset == ADAPTED:
        return "Adapted to this checkpoint"
    title = recipe.preset.capitalize()
    return f"{title} (chosen on the demo)" if is_demos(recipe, pretraining) else title


def is_demos(recipe: Recipe, pretraining: Pretraining) -> bool:
    """Whether a preset's rate was chosen on the demo, and the checkpoint is another."""
    named = recipe.preset in FIELDS[recipe.method] and recipe.preset != PAPER
    return named and pretraining.kind != "demo" and _moves_weights(recipe.method)


def preset_source(method: str, name: str) -> str:
    """Where a preset's numbers come from, as a sentence; empty for an unknown one."""
    return OWN_SOURCES.get((method, name), PRESET_SOURCES.get(name, ""))


def about_rate(recipe: Recipe, pretraining: Pretraining) -> str:
    """A sentence on where the learning rate comes from and what it means for the checkpoint.

    Empty for the demo, where the encoders are not trained, and for a rate of the user's own that
    is not too high.
    """
    if too_high := warn_of_rate(recipe, pretraining):
        return too_high
    trained = _moves_weights(recipe.method)
    if pretraining.kind == "demo" or not trained or recipe.preset not in PRESET_SOURCES:
        return ""
    whose = _WHOSE.get(recipe.preset, "was chosen on the demo")
    share = f"{_share(recipe.lr / pretraining.assumed)} {pretraining.words}"
    return f"The learning rate of {rate_text(recipe.lr)} {whose}: {share}."


def warn_of_rate(recipe: Recipe, pretraining: Pretraining) -> str:
    """Why a recipe may destroy the checkpoint, as sentences; empty if its rate is not too high.

    Too high is above a fifth of the pretraining's peak and above what the method's paper takes.
    """
    if pretraining.kind == "demo" or not _moves_weights(recipe.method):
        return ""
    highest = highest_rate(recipe.method, pretraining)
    if recipe.lr <= highest * (1 + 1e-6):
        return ""
    chosen = ", which was chosen on the demo," if is_demos(recipe, pretraining) else ""
    share = f"{_share(recipe.lr / pretraining.assumed)} {pretraining.words}"
    return (
        f"The learning rate of {rate_text(recipe.lr)}{chosen} is {share}: it may take most of the "
        f"clean accuracy. Up to {rate_text(highest)} is safer."
    )


def highest_rate(method: Method, pretraining: Pretraining) -> float:
    """The highest learning rate that a checkpoint should be cleaned at unless somebody insists."""
    published = FIELDS[method].get(PAPER, {}).get("lr", 0.0)
    return max(float(published), _rounded(SAFE_SHARE * pretraining.assumed))


def _adapted_rate(on_demo: float, pretraining: Pretraining) -> float:
    """The rate of a method that was tried on the demo alone, for another checkpoint."""
    return _rounded(min(on_demo / DEMO_PEAK, SAFE_SHARE) * pretraining.assumed)


def _moves_weights(method: Method) -> bool:
    """Whether a method trains the encoders, so that its rate is to be compared."""
    return "lr" in fields_of(method) and not FACTS[method].frozen


def _rounded(rate: float) -> float:
    """Two digits are enough."""
    return float(f"{rate:.1e}")


def _share(share: float) -> str:
    """A rate as a part or a multiple of another, to stand before it."""
    if share >= 1.5:
        return f"{share:.2g} times"
    if share > 0.7:
        return "about as high as"
    return f"1/{1 / share:.2g} of"
