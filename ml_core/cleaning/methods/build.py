"""A recipe's method by name."""

from __future__ import annotations

from collections.abc import Callable, Generator

from ml_core.cleaning.catalogue import Method as MethodName
from ml_core.cleaning.catalogue import offered
from ml_core.cleaning.methods.contrastive import contrastive, par, stamped
from ml_core.cleaning.methods.method import Extras, Features, Method
from ml_core.cleaning.methods.supervised import supervised, unlearning
from ml_core.cleaning.plugin_methods import BUILDERS
from ml_core.cleaning.recipes import Recipe
from ml_core.cleaning.weight_space import Validate, WeightDelta, direction, settle, snapshot
from ml_core.events import Control, Event
from ml_core.model import ClipModel


def interpolate(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """Blend with a reference: (1 - alpha) theta_b + alpha theta_ref (Wortsman et al. 2022)."""
    if extras.reference is None:
        raise ValueError("interpolation needs a reference")
    base = snapshot(model)
    towards = direction(base, extras.reference)

    def finish(validate: Validate | None, control: Control) -> Generator[Event, None, WeightDelta]:
        return (yield from settle(model, base, towards, recipe, validate, control))

    return Method(_untrained, _untrained, [], finish=finish)


def _untrained(*_: object) -> Features:
    """Refuse to encode: nothing is trained, so no batch is ever encoded."""
    raise AssertionError("interpolation takes no steps")


_MAKERS: dict[MethodName, Callable[[ClipModel, Recipe, Extras], Method]] = {
    "stamped": stamped,
    "cleanclip": contrastive,
    "mmcl": contrastive,
    "par": par,
    "supervised": supervised,
    "unlearning": unlearning,
    "interpolate": interpolate,
}


def build_method(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """The recipe's method, on a model that it will train in place.

    Raises
    ------
    InputError
        If an earlier version alone had the method.
    """
    method = offered(recipe.method)
    build: Callable[[ClipModel, Recipe, Extras], Method] = _MAKERS.get(method) or BUILDERS[method]
    return build(model, recipe, extras)
