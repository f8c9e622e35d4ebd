"""Named recipes of each method, with where their numbers come from. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_core.cleaning.catalogue import METHODS, Method
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.reading.errors import InputError

# CleanCLIP's README (Bansal et al. 2023): 100 K pairs, batch 64, 10 epochs, rate 1e-5, cosine
# with 50 warm-up steps, both lambdas 1. Supervised: 10 epochs at 1e-4 with 500 warm-up steps.
_PAPER: dict[str, Any] = {
    "preset": "paper",
    "pairs": 100_000,
    "epochs": 10,
    "batch_size": 64,
    "lr": 1e-5,
    "warmup_steps": 50,
    "weight_decay": 0.1,
    "lambda_image": 1.0,
    "lambda_text": 1.0,
    "eval_every": 500,
    "save_every": 500,
}
_TALK: dict[str, Any] = {"preset": "talk", "pairs": 13_440, "eval_every": 35, "save_every": 0}
# Self-supervision costs accuracy for a while; the other methods have no reason to fall as far.
_MMCL: dict[str, Any] = {
    "lambda_image": 0.0,
    "lambda_text": 0.0,
    "image_augmentation": "none",
    "stop_below_ca": 25.0,
}
_SUPERVISED: dict[str, Any] = {"lambda_image": 0.0, "lambda_text": 0.0, "stop_below_ca": 25.0}
_METHOD_FIELDS: dict[Method, dict[str, dict[str, Any]]] = {
    "cleanclip": {"default": {}, "talk": _TALK, "paper": _PAPER},
    "mmcl": {
        "default": {**_MMCL, "pairs": 76_800},
        "talk": {**_TALK, **_MMCL, "pairs": 28_800},
        "paper": {**_PAPER, **_MMCL},
    },
    "supervised": {
        "default": {**_SUPERVISED, "pairs": 76_800, "lr": 1.4e-3},
        "talk": {**_TALK, **_SUPERVISED, "pairs": 25_600},
        "paper": {
            **_PAPER,
            **_SUPERVISED,
            "pairs": 50_000,
            "lr": 1e-4,
            "warmup_steps": 500,
            "weight_decay": 0.01,
            "head_init": "random",
            "image_augmentation": "none",
            "stop_below_ca": 60.0,  # a random head starts from nothing
        },
    },
}
PRESET_SOURCES: Mapping[str, str] = {
    "default": "Chosen on validation images of the built-in demo; at most 4 minutes on 2 cores.",
    "talk": "The default with fewer examples; at most 90 seconds on 2 cores.",
    "paper": "CleanCLIP's published recipe (Bansal et al., ICCV 2023); hours on a CPU.",
}


def presets(method: Method) -> dict[str, Recipe]:
    """Named recipes of ``method``: ``default``, ``talk`` and ``paper``.

    Raises
    ------
    InputError
        If the method is unknown.
    """
    if method not in _METHOD_FIELDS:
        raise InputError(f"Unknown method {method!r}; choose one of {', '.join(METHODS)}.")
    return {
        name: make_recipe({"method": method, "preset": name, **fields})
        for name, fields in _METHOD_FIELDS[method].items()
    }


def preset(method: Method, name: str) -> Recipe:
    """One preset by name.

    Raises
    ------
    InputError
        If the method or the preset is unknown.
    """
    named = presets(method)
    if name not in named:
        raise InputError(f"Unknown preset {name!r}; choose one of {', '.join(named)}.")
    return named[name]
