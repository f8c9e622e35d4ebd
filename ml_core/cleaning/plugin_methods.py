"""Methods of cleaning that plug-ins add. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_core.cleaning.catalogue import FACTS, METHODS, MethodFacts, facts_of
from ml_core.cleaning.presets import FIELDS, OWN_SOURCES
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.reading.errors import InputError

BUILDERS: dict[str, Callable[..., Any]] = {}


@dataclass(frozen=True, eq=False)
class PluginMethod:
    """A plug-in's method.

    Attributes
    ----------
    name
        For recipes and ``--method``.
    facts
        What it is and what it needs.
    build
        Makes the `ml_core.cleaning.methods.method.Method` for a model, a recipe and `Extras`.
    fields
        Fields of a recipe that it takes besides those of every method that trains.
    quick
        Values of its preset *quick*, chosen on the built-in demo; what is not named has the
        default. For other checkpoints its learning rate is adapted.
    """

    name: str
    facts: MethodFacts
    build: Callable[..., Any]
    fields: tuple[str, ...] = ()
    quick: Mapping[str, Any] = field(default_factory=dict)


def add_method(method: object) -> None:
    """Add a plug-in's method to those that are offered.

    Raises
    ------
    InputError
        If it is no `PluginMethod`, its name is taken, or its preset is no recipe.
    """
    if not isinstance(method, PluginMethod):
        raise InputError(f"{method!r:.100} is no PluginMethod.")
    if facts_of(method.name) is not None:
        raise InputError(f"There is a method {method.name!r} already.")
    make_recipe({**method.quick, "method": METHODS[0]})
    trained = {name for name, facts in FACTS.items() if facts.data != "none"}
    for name, info in Recipe.model_fields.items():
        extra = info.json_schema_extra
        takers = extra["methods"] if isinstance(extra, dict) else None
        if isinstance(takers, list) and takers and (name in method.fields or trained <= {*takers}):
            takers.append(method.name)
    FACTS[method.name] = method.facts
    METHODS.append(method.name)
    FIELDS[method.name] = {"quick": dict(method.quick)}
    OWN_SOURCES[method.name, "quick"] = "Chosen by the author of the plug-in."
    BUILDERS[method.name] = method.build
