"""What a cleaning run does: method, budget and hyperparameters, as a record with limits.

Torch-free: the window shows every field (title, unit, one line of help, range) before torch
is loaded, and a value out of range is refused before anything starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ValidationError, model_validator

from ml_core.cleaning.catalogue import FACTS, METHODS, Method, MethodFacts
from ml_core.cleaning.recipe_checks import contradictions
from ml_core.cleaning.recipe_fields import RecipeFields
from ml_core.data.specs import Sides
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import short

_MOST_FAULTS = 8
_LONGEST_NAME = 80


class Recipe(RecipeFields):
    """One cleaning run. Every field carries its title, unit, range and a line of help.

    The defaults are CleanCLIP's quick preset for the built-in demo; see
    :func:`ml_core.cleaning.presets.presets`.
    """

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        """Refuse values that exclude each other."""
        found = list(contradictions(self))
        if found:
            raise ValueError("; ".join(found))
        return self

    @property
    def facts(self) -> MethodFacts:
        """What the method is and what it needs."""
        return FACTS[self.method]

    @property
    def uses_pairs(self) -> bool:
        """Whether the method trains on image-caption pairs."""
        return self.facts.data == "pairs"

    @property
    def sides(self) -> Sides:
        """What of image-caption pairs is trained on."""
        if self.method != "ss" or (self.lambda_image and self.lambda_text):
            return "both"
        return "images" if self.lambda_image else "texts"

    @property
    def draws_shots(self) -> bool:
        """Whether an epoch is so many images of each class, whatever ``pairs`` says."""
        return self.facts.data == "labelled" and self.shots > 0

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one epoch; at least one."""
        return max(1, self.pairs // self.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run; none where nothing is trained."""
        return 0 if self.facts.data == "none" else self.steps_per_epoch * self.epochs

    @property
    def known_steps(self) -> int | None:
        """`total_steps`; None where the classes of the data decide them."""
        return None if self.draws_shots else self.total_steps

    def changed(self, **values: Any) -> Recipe:
        """A copy with some fields set; the preset becomes ``custom`` if a number moved.

        Raises
        ------
        InputError
            If a value is out of range; the sentence names the field, its range and unit.
        """
        fields = {**self.model_dump(), **values}
        moved = any(values[name] != getattr(self, name, None) for name in values.keys() - {"seed"})
        if moved and "preset" not in values:
            fields["preset"] = "custom"
        return make_recipe(fields)


def fields_of(method: Method) -> tuple[str, ...]:
    """Names of the fields that ``method`` uses, in the order a form shows them."""
    names = []
    for name, info in Recipe.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        methods = extra.get("methods") or METHODS
        if isinstance(methods, (list, tuple)) and method in methods:
            names.append(name)
    return tuple(names)


def make_recipe(fields: Mapping[str, Any]) -> Recipe:
    """Check ``fields`` and build a recipe.

    Raises
    ------
    InputError
        If a field is unknown or out of range, or values exclude each other; one sentence names
        each.
    """
    try:
        return Recipe.model_validate(dict(fields))
    except ValidationError as error:
        raise InputError(f"The recipe cannot be used: {explain(error)}", "usage") from error


def explain(error: ValidationError) -> str:
    """Turn pydantic's findings into one sentence that names fields, values and ranges."""
    parts = []
    found = error.errors(include_url=False)
    for finding in found[:_MOST_FAULTS]:
        where = short(".".join(str(place) for place in finding["loc"]), _LONGEST_NAME)
        info = Recipe.model_fields.get(str(finding["loc"][-1])) if finding["loc"] else None
        message = short(finding["msg"].removeprefix("Value error, ").removeprefix("Input "), 600)
        if finding["type"] == "value_error" and info is None:  # a whole sentence on the record
            parts.append(message)
            continue
        name = f"{info.title} ({where})" if info is not None and info.title else where
        given = finding.get("input")
        shown = f", not {_shown(given)}" if isinstance(given, (int, float, str)) else ""
        parts.append(f"{name or 'the record'} {message[:1].lower()}{message[1:]}{shown}")
    if len(found) > _MOST_FAULTS:
        parts.append(f"and {len(found) - _MOST_FAULTS} more")
    return "; ".join(parts) + "."


def _shown(given: float | str) -> str:
    """A value as it was given, cut short: a file may hold a text of 100 KB, or 4000 digits."""
    return repr(short(given, _LONGEST_NAME)) if isinstance(given, str) else short(repr(given), 60)
