"""Named recipes of each method, their fields, and where their numbers come from. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ml_core.cleaning.catalogue import Method, method_title, offered
from ml_core.cleaning.pretraining import DEMO, DEMO_PEAK, SAFE_SHARE, Pretraining
from ml_core.cleaning.recipes import Recipe, fields_of, make_recipe
from ml_core.figures import rate_text
from ml_core.reading.errors import InputError

Fields = dict[str, Any]

# CleanCLIP's README (Bansal et al. 2023): 100 K pairs, batch 64, 10 epochs, rate 1e-5, cosine
# with 50 warm-up steps, both lambdas 1, no clipping of gradients. Supervised: 10 epochs at 1e-4
# with 500 warm-up steps.
_PAPER: Fields = {
    "pairs": 100_000,
    "epochs": 10,
    "batch_size": 64,
    "lr": 1e-5,
    "warmup_steps": 50,
    "weight_decay": 0.1,
    "grad_clip": 0.0,
    "lambda_image": 1.0,
    "lambda_text": 1.0,
    "eval_every": 500,
    "save_every": 500,
}
_TALK: Fields = {"pairs": 13_440, "eval_every": 35, "save_every": 0}
_THOROUGH: Fields = {"pairs": 100_000, "eval_every": 100, "save_every": 100}
# Self-supervision costs accuracy for a while; without it there is less reason to fall as far.
_MMCL: Fields = {
    "lambda_image": 0.0,
    "lambda_text": 0.0,
    "image_augmentation": "none",
    "stop_below_ca": 25.0,
}
_LABELLED: Fields = {"lambda_image": 0.0, "lambda_text": 0.0, "stop_below_ca": 25.0}
# Accuracy is expected to fall far in the first half and to come back: no limit stops it.
_PAR: Fields = {
    "lambda_image": 0.0,
    "lambda_text": 0.0,
    "schedule": "two-phase",
    "lr_middle": 0.1,
    "weight_decay": 1e-4,
    "beta2": 0.98,
    "image_augmentation": "noise-erase",
    "stop_below_ca": 0.0,
}
_PAR_QUICK: Fields = {**_PAR, "pairs": 64_000, "lr": 2e-3}
_BLEND: Fields = {"alpha": 1.0, "alpha_choice": "auto", "ca_limit": 1.0}

# The rate is the pretraining's own: at lower ones a backdoor is hidden, and comes back. It first
# costs up to 30 points, which come back; pairs of another kind cost 50, which do not.
_STAMPED: Fields = {
    "pairs": 102_400,
    "lr": DEMO_PEAK,
    "warmup_steps": 20,
    "beta2": 0.98,
    "stop_below_ca": 40.0,
}

_UNLEARN: Fields = {
    "pairs": 38_400,
    "epochs": 2,
    "batch_size": 64,
    "lr": 5e-4,
    "warmup_steps": 20,
    "weight_decay": 0.0,
    "beta2": 0.98,
    "stamp_share": 1.0,
    "made_up_share": 0.4,
    "random_share": 0.5,
    "lambda_hold": 10.0,
    "way_back": 0.8,
    "mix_images": True,
    "batch_norm": "frozen",
    "stop_below_ca": 15.0,
    "eval_every": 200,
}

FIELDS: dict[str, Mapping[str, Fields]] = {
    "stamped": {
        "quick": _STAMPED,
        "talk": {**_STAMPED, **_TALK},
        "thorough": {**_STAMPED, **_THOROUGH, "pairs": 307_200},
    },
    "cleanclip": {
        "quick": {},
        # The best of four on validation pictures of the demo.
        "talk": {**_TALK, "lr": 3e-3, "warmup_steps": 20},
        "thorough": _THOROUGH,
        "paper": _PAPER,
    },
    "mmcl": {
        "quick": {**_MMCL, "pairs": 128_000, "stop_below_ca": 35.0},
        "talk": {**_TALK, **_MMCL, "pairs": 28_800},
        "thorough": {**_MMCL, **_THOROUGH, "epochs": 2},
        "paper": {**_PAPER, **_MMCL},
    },
    "par": {
        "quick": _PAR_QUICK,
        "talk": {**_TALK, **_PAR_QUICK, "pairs": 19_200},
        "thorough": {**_PAR_QUICK, **_THOROUGH, "epochs": 2},
        "paper": {
            **_PAR,
            "pairs": 250_000,
            "epochs": 2,
            "batch_size": 512,
            "lr": 3e-5,
            "lr_end": 1e-9 / 3e-5,
            "warmup_steps": 0,
            "grad_clip": 0.0,
            "eval_every": 100,
            "save_every": 100,
        },
    },
    "supervised": {
        "quick": {**_LABELLED, "pairs": 76_800, "lr": 1.4e-3},
        "talk": {**_TALK, **_LABELLED, "pairs": 25_600},
        "thorough": {**_LABELLED, **_THOROUGH, "lr": 1.4e-3, "epochs": 2},
        "paper": {
            **_PAPER,
            **_LABELLED,
            "pairs": 50_000,
            "lr": 1e-4,
            "warmup_steps": 500,
            "weight_decay": 0.01,
            "head_init": "random",
            "image_augmentation": "none",
            "stop_below_ca": 60.0,  # a random head starts from nothing
        },
    },
    "unlearning": {
        "quick": _UNLEARN,
        "talk": {**_UNLEARN, "pairs": 19_200, "epochs": 1, "eval_every": 50, "save_every": 0},
        "thorough": {**_UNLEARN, "pairs": 102_400},
    },
    "interpolate": {"quick": _BLEND, "paper": {"alpha": 0.5, "alpha_choice": "given"}},
}

OWN_SOURCES: dict[tuple[str, str], str] = {
    ("cleanclip", "talk"): "For live demos: its rate and warm-up were chosen for so few "
    "examples, on validation images of the built-in demo; about 90 seconds on 2 idle cores.",
    ("mmcl", "quick"): "Close to the pretraining learning rate; the length was chosen on "
    "validation images of a ViT poisoned with a sine trigger. 3 to 5 minutes "
    "on 2 cores for a small model.",
    ("par", "quick"): "PAR's schedule at the demo's rates. On ResNets with Blended and SIG it "
    "left at most 0.5 % success for 1.4 to 1.7 points of accuracy; the rate "
    "was not tuned.",
    ("par", "paper"): "PAR's published schedule (arXiv 2412.00727): 250 000 pairs twice, as its "
    "script has it. It uses four GPUs with batches of 512 each; here a step has 512.",
    ("stamped", "quick"): "The learning rate is the pretraining's own, since a backdoor that is "
    "unlearnt at a lower one comes back; the length was chosen on models poisoned from the first "
    "step of their pretraining.",
    ("unlearning", "quick"): "Ours: rate and length were chosen on two models poisoned from the "
    "first step of their pretraining, the rest on one of them, with images of another kind than "
    "theirs; about 5 minutes on 2 idle cores.",
    ("unlearning", "talk"): "Quick with a quarter of the steps; about a minute on 2 idle cores.",
    ("unlearning", "thorough"): "Quick with 2.7 times the images and steps.",
    ("interpolate", "quick"): "Alpha is chosen on validation images: nothing is trained.",
    ("interpolate", "paper"): "Half way, as WiSE-FT (Wortsman et al., CVPR 2022) recommends.",
}


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
    ADAPTED: "was fitted to this checkpoint",
}


def presets(method: Method, pretraining: Pretraining = DEMO) -> dict[str, Recipe]:
    """Named recipes of ``method`` for a checkpoint, the one to begin with first.

    For the demo: ``quick``, ``talk``, ``thorough``, and ``paper`` where something is published.
    What was chosen on the demo comes last for any other checkpoint; before it is ``paper``, or
    ``adapted`` where nothing is published: ``quick`` with its learning rate in proportion to the
    peaks of the two pretrainings, at most a fifth of the checkpoint's; methods that stamp triggers
    keep their share of the peak.

    Parameters
    ----------
    pretraining
        What is known of how the checkpoint was pretrained.

    Raises
    ------
    InputError
        If there is no such method, or an earlier version alone had it.
    """
    offered(method)
    named = {
        name: make_recipe({"method": method, "preset": name, **fields})
        for name, fields in FIELDS[method].items()
    }
    if pretraining.kind == "demo":
        return named
    if PAPER not in named and _moves_weights(method):
        lr = _adapted_rate(method, named[_ADAPTED_FROM].lr, pretraining)
        named[ADAPTED] = named[_ADAPTED_FROM].changed(lr=lr, preset=ADAPTED)
    first = [name for name in (PAPER, ADAPTED) if name in named]
    return {name: named[name] for name in (*first, *(name for name in named if name not in first))}


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
    """A preset's name for the screen; it says so if the preset was made for another checkpoint."""
    if recipe.preset == ADAPTED:
        return "Adapted to this checkpoint"
    title = recipe.preset.capitalize()
    return f"{title} (chosen on the demo)" if is_demos(recipe, pretraining) else title


def is_demos(recipe: Recipe, pretraining: Pretraining) -> bool:
    """Whether a preset's rate was chosen on the demo, and the checkpoint is another."""
    named = recipe.preset in FIELDS.get(recipe.method, {}) and recipe.preset != PAPER
    return named and pretraining.kind != "demo" and _moves_weights(recipe.method)


def preset_source(method: str, name: str) -> str:
    """Where a preset's numbers come from, as a sentence; empty for an unknown one."""
    return OWN_SOURCES.get((method, name), PRESET_SOURCES.get(name, ""))


_MOST_NAMED = 2  # changes of a recipe in the title of its run


def run_title(recipe: Mapping[str, Any]) -> str:
    """What a run is called by its recipe: method, preset, and what differs from it.

    ``PAR, talk, seed 1``. A custom recipe is compared with the preset that it is nearest to.
    """
    method, name = str(recipe.get("method", "")), str(recipe.get("preset") or "own settings")
    named = _numbers(method) if name == "custom" else {}
    numbers: Mapping[str, Any] = {"seed": Recipe.model_fields["seed"].default}
    if named:
        numbers = named[nearest := nearest_preset(recipe, named)]
        name = nearest if _moved(recipe, numbers) else name  # an old record may have no numbers
    changes = _moved(recipe, numbers)
    words = [f"{Recipe.model_fields[key].title} {recipe[key]}".lower() for key in changes]
    if len(words) > _MOST_NAMED:
        words = [f"{len(words)} changes"]
    return ", ".join([method_title(method), name, *words])


def nearest_preset(recipe: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]]) -> str:
    """The name of the preset from which the fewest fields of a recipe differ."""
    return min(named, key=lambda name: len(_moved(recipe, named[name])))


def _moved(recipe: Mapping[str, Any], numbers: Mapping[str, Any]) -> list[str]:
    return [key for key in numbers if recipe.get(key, numbers[key]) != numbers[key]]


@lru_cache(maxsize=32)
def _numbers(method: str) -> Mapping[str, Mapping[str, Any]]:
    """The fields of each preset; none of a method of an earlier version."""
    return {
        name: make_recipe({"method": method, **fields}).model_dump(exclude={"method", "preset"})
        for name, fields in FIELDS.get(method, {}).items()
    }


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

    Too high is above the method's share of the pretraining's peak (a fifth; all of it where
    triggers are stamped) and above what its paper takes.
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


def highest_rate(method: str, pretraining: Pretraining) -> float:
    """The highest learning rate that a checkpoint should be cleaned at unless somebody insists."""
    published = FIELDS[method].get(PAPER, {}).get("lr", 0.0)
    return max(float(published), _rounded(_safe_share(method) * pretraining.assumed))


def _adapted_rate(method: Method, on_demo: float, pretraining: Pretraining) -> float:
    """The rate of a method that was tried on the demo alone, for another checkpoint."""
    return _rounded(min(on_demo / DEMO_PEAK, _safe_share(method)) * pretraining.assumed)


def _safe_share(method: str) -> float:
    """The highest rate that nobody is asked about, as a share of the pretraining's peak."""
    return 1.0 if "stamp_share" in fields_of(method) else SAFE_SHARE


def _moves_weights(method: str) -> bool:
    """Whether a method trains the encoders, so that its rate is to be compared."""
    return "lr" in fields_of(method)


def _rounded(rate: float) -> float:
    """Two digits are enough."""
    return float(f"{rate:.1e}")


def _share(share: float) -> str:
    """A rate as a fraction or a multiple of another rate, in words to stand before that one."""
    if share >= 1.5:
        return f"{share:.2g} times"
    if share > 0.7:
        return "about as high as"
    return f"1/{1 / share:.2g} of"
