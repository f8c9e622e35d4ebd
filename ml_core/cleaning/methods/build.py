"""A recipe's method by name."""

from __future__ import annotations

from collections.abc import Callable

from ml_core.cleaning.catalogue import Method as MethodName
from ml_core.cleaning.methods.contrastive import contrastive
from ml_core.cleaning.methods.method import Given, Method
from ml_core.cleaning.methods.supervised import supervised
from ml_core.cleaning.recipes import Recipe
from ml_core.model import ClipModel

_MAKERS: dict[MethodName, Callable[[ClipModel, Recipe, Given], Method]] = {
    "cleanclip": contrastive,
    "mmcl": contrastive,
    "supervised": supervised,
}


def build_method(model: ClipModel, recipe: Recipe, given: Given) -> Method:
    """The recipe's method, on a model that it will train in place.

    Raises
    ------
    InputError
        If the method cannot work on this model.
    """
    return _MAKERS[recipe.method](model, recipe, given)
