"""A recipe's method by name, and whether it can work on a model."""

from __future__ import annotations

from collections.abc import Callable

from ml_core.checkpoints.adapter import vit_blocks
from ml_core.cleaning.catalogue import Method as MethodName
from ml_core.cleaning.methods.contrastive import cleanclip_par, contrastive, par
from ml_core.cleaning.methods.method import Extras, Method
from ml_core.cleaning.methods.supervised import (
    adversarial,
    linear_probe,
    locked_text,
    rvpt,
    supervised,
    unlearn,
)
from ml_core.cleaning.methods.weight_methods import interpolate, tbar
from ml_core.cleaning.recipes import Recipe
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError

_MAKERS: dict[MethodName, Callable[[ClipModel, Recipe, Extras], Method]] = {
    "cleanclip": contrastive,
    "mmcl": contrastive,
    "ss": contrastive,
    "par": par,
    "cleanclip-par": cleanclip_par,
    "supervised": supervised,
    "locked-text": locked_text,
    "linear-probe": linear_probe,
    "rvpt": rvpt,
    "unlearn": unlearn,
    "adversarial": adversarial,
    "tbar": tbar,
    "interpolate": interpolate,
}


def build_method(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """The recipe's method, on a model that it will train in place.

    Raises
    ------
    InputError
        If the method cannot work on this model.
    """
    return _MAKERS[recipe.method](model, recipe, extras)


def check_model(model: ClipModel, recipe: Recipe) -> None:
    """Refuse a model that the method cannot work on, before anything is measured.

    Raises
    ------
    InputError
        ``unsupported`` with the reason.
    """
    if "vit" not in recipe.facts.needs:
        return
    blocks, _ = vit_blocks(model, f"{recipe.facts.title} needs")
    if recipe.prompt_depth >= blocks:
        raise InputError(
            f"The first {recipe.prompt_depth} blocks are to have no prompts, and the image "
            f"encoder of {model.name or 'this model'} has {blocks}: lower the blocks without "
            "prompts."
        )
