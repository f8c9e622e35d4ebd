"""What a cleaning run does: method, budget and hyperparameters, as a record with limits.

Torch-free: the window shows every field (title, unit, one line of help, range) before torch
is loaded, and a value out of range is refused before anything starts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator

from ml_core.atomic import replace_files
from ml_core.cleaning.catalogue import (
    FACTS,
    METHODS,
    MethodFacts,
    facts_of,
    offered,
)
from ml_core.cleaning.recipe_fields import RecipeFields
from ml_core.options import passes_over
from ml_core.reading.errors import InputError, plain
from ml_core.reading.json_file import JsonFile, short

# Of each method the weights that cannot all be 0: nothing would be trained.
_AIMS = {
    "stamped": ("lambda_clip",),
    "unlearning": ("stamp_share",),
    "cleanclip": ("lambda_clip", "lambda_image", "lambda_text"),
    "mmcl": ("lambda_clip",),
    "par": ("lambda_clip",),
}


def contradictions(recipe: RecipeFields) -> Iterator[str]:
    """Each pair of values that exclude each other, as a sentence without its full stop."""
    if recipe.method not in METHODS:
        return
    facts, fields = FACTS[recipe.method], type(recipe).model_fields
    aims = _AIMS.get(recipe.method, ())
    if aims and not any(getattr(recipe, name) for name in aims):
        titles = " and ".join(str(fields[name].title) for name in aims)
        which = "is" if len(aims) == 1 else "are all"
        why = (
            "repulsion alone would only destroy the model"
            if recipe.method == "par"
            else "nothing would be trained"
        )
        yield f"{titles} {which} 0: {why}; raise {'it' if len(aims) == 1 else 'one of them'}"
    if facts.data != "none" and recipe.pairs < recipe.batch_size:
        yield (
            f"There are {recipe.pairs} training examples for batches of {recipe.batch_size}: "
            "raise the examples or lower the batch size"
        )
    if recipe.method == "interpolate" and recipe.alpha > 1:
        yield (
            f"Alpha is {recipe.alpha:g}, which goes beyond the reference: interpolation takes "
            "0 to 1"
        )
    if recipe.method == "interpolate" and recipe.alpha == 0:
        yield "Alpha is 0, which leaves the checkpoint as it is: raise it"


_MOST_FAULTS = 8
_LONGEST_NAME = 80
FORMER_FIELDS = ("shots", "prompt_length", "prompt_depth", "prompt_std", "lambda_unlearn")
"""Fields in records of earlier versions, which no method uses any more."""


class Recipe(RecipeFields):
    """One cleaning run. Every field carries its title, unit, range and a line of help.

    The defaults are CleanCLIP's quick preset for the built-in demo; see
    :func:`ml_core.cleaning.presets.presets`.
    """

    _passed_over = passes_over(*FORMER_FIELDS)

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        """Refuse values that exclude each other."""
        reasons = list(contradictions(self))
        if reasons:
            raise ValueError("; ".join(reasons))
        return self

    @property
    def facts(self) -> MethodFacts:
        """What the method is and what it needs."""
        facts = facts_of(self.method)
        assert facts is not None
        return facts

    @property
    def uses_pairs(self) -> bool:
        """Whether the method trains on image-caption pairs."""
        return self.facts.data == "pairs"

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one epoch; at least one."""
        return max(1, self.pairs // self.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run; none where nothing is trained."""
        return 0 if self.facts.data == "none" else self.steps_per_epoch * self.epochs

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


def fields_of(method: str) -> tuple[str, ...]:
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
    faults = error.errors(include_url=False)
    for finding in faults[:_MOST_FAULTS]:
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
    if len(faults) > _MOST_FAULTS:
        parts.append(f"and {len(faults) - _MOST_FAULTS} more")
    return "; ".join(parts) + "."


def _shown(given: float | str) -> str:
    """A value as it was given, cut short: a file may hold a text of 100 KB, or 4000 digits."""
    return repr(short(given, _LONGEST_NAME)) if isinstance(given, str) else short(repr(given), 60)


_MOST_EPOCHS = 1000  # of a recipe
_WARMUP_SHARE = 4


def fitted_warmup(warmup: int, steps: int) -> int:
    """A warm-up that leaves three quarters of a run of so many steps to the schedule."""
    return min(warmup, steps // _WARMUP_SHARE)


def fitted_budget(recipe: Recipe, steps: int, there: int) -> Recipe:
    """A recipe of so many steps, or as near to that as whole epochs of the examples come.

    An epoch takes at least half of the examples, and as many as it can. The warm-up is cut to fit.
    """
    size = recipe.batch_size
    most = min(steps, max(1, there // size))

    def epochs(per_epoch: int) -> int:
        return min(_MOST_EPOCHS, round(steps / per_epoch))

    def distance(per_epoch: int) -> tuple[int, bool, int]:
        taken = per_epoch * epochs(per_epoch)
        return abs(taken - steps), taken > steps, -per_epoch

    best = min(range(-(-most // 2), most + 1), key=distance)
    examples = min(there, (best + 1) * size - 1)  # those beyond whole batches are drawn too
    warmup = fitted_warmup(recipe.warmup_steps, best * epochs(best))
    budget = {"pairs": examples, "epochs": epochs(best), "warmup_steps": warmup}
    return recipe.model_copy(update=budget)


FORMAT = "cleanclip-recipe"
VERSION = 1
_FILE = JsonFile("a recipe file", "save the recipe again", max_bytes=100_000, max_depth=3)


def write_recipe(recipe: Recipe, path: Path) -> Path:
    """Write a recipe with every field, so that later defaults do not change it.

    Raises
    ------
    InputError
        If the place cannot be written; an older file stays intact.
    """
    path = Path(os.path.expanduser(path))
    record = {"format": FORMAT, "version": VERSION, "recipe": recipe.model_dump()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_files({path: (json.dumps(record, indent=1) + "\n").encode()})
    except OSError as error:
        raise InputError(
            f"{path} cannot be saved: {error.strerror}; choose another place or free some space."
        ) from error
    return path


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file; the same recipe as was written.

    Raises
    ------
    InputError
        If the file is missing, is no recipe of a version known here, is of a former method, or a
        field is unknown or out of range.
    """
    path = Path(os.path.expanduser(path))
    record, name = _FILE.read(path), plain(path.name)
    if record.get("format") != FORMAT:
        raise InputError(
            f'{name} is not a recipe file: it does not say "format": "{FORMAT}".', "damaged"
        )
    version, fields = record.get("version"), record.get("recipe")
    if type(version) is not int or version < 1:
        raise InputError(f"{name} is a damaged recipe file: it has no version.", "damaged")
    if version > VERSION:
        raise InputError(
            f"{name} was written by a newer version of this program (recipe format "
            f"{version}, known here up to {VERSION}): update the program.",
            "unsupported",
        )
    if not isinstance(fields, dict):
        raise InputError(f"{name} is a damaged recipe file: it holds no recipe.", "damaged")
    try:
        method = offered(short(str(fields.get("method", METHODS[0])), _LONGEST_NAME))
        if method == "supervised" and fields.get("shots"):
            raise InputError(
                "Images a class (shots) are no longer offered: set the training examples (pairs) "
                "instead, with shots at 0."
            )
        return make_recipe(fields)
    except InputError as error:
        raise InputError(f"{name}: {error.sentence}", "usage") from error
