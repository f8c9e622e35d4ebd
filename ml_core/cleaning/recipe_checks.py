"""Values of a recipe that do not go together, as sentences. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator

from ml_core.cleaning.catalogue import FACTS
from ml_core.cleaning.recipe_fields import RecipeFields

# Of each method the weights that cannot all be 0: nothing would be trained.
_AIMS = {
    "cleanclip": ("lambda_clip", "lambda_image", "lambda_text"),
    "mmcl": ("lambda_clip",),
    "ss": ("lambda_image", "lambda_text"),
    "par": ("lambda_clip",),
    "cleanclip-par": ("lambda_clip",),
    "unlearn": ("lambda_unlearn",),
    "adversarial": ("lambda_unlearn",),
}


def contradictions(recipe: RecipeFields) -> Iterator[str]:
    """Each value that does not go with another one, as a sentence without its full stop."""
    facts = FACTS[recipe.method]
    fields = type(recipe).model_fields
    aims = _AIMS.get(recipe.method, ())
    if aims and not any(getattr(recipe, name) for name in aims):
        titles = " and ".join(str(fields[name].title) for name in aims)
        which = "is" if len(aims) == 1 else "are all"
        why = (
            "repulsion alone would only destroy the model"
            if recipe.method in ("par", "cleanclip-par")
            else "nothing would be trained"
        )
        yield f"{titles} {which} 0: {why}; raise {'it' if len(aims) == 1 else 'one of them'}"
    few_shots = facts.data == "labelled" and recipe.shots > 0  # as many as there are classes for
    if facts.data != "none" and not few_shots and recipe.pairs < recipe.batch_size:
        yield (
            f"There are {recipe.pairs} training examples for batches of {recipe.batch_size}: "
            "raise the examples or lower the batch size"
        )
    if recipe.method == "interpolate" and recipe.alpha > 1:
        yield (
            f"Alpha is {recipe.alpha:g}, which goes beyond the reference: interpolation takes "
            "0 to 1"
        )
    if recipe.method in ("tbar", "interpolate") and recipe.alpha == 0:
        yield "Alpha is 0, which leaves the checkpoint as it is: raise it"
