"""How long a recipe runs on the examples there are. Torch-free."""

from __future__ import annotations

from ml_core.cleaning.recipes import Recipe

_MOST_EPOCHS = 1000  # of a recipe
_WARMUP_SHARE = 4


def fitted_warmup(warmup: int, steps: int) -> int:
    """A warm-up that leaves three quarters of a run of so many steps to the schedule."""
    return min(warmup, steps // _WARMUP_SHARE)


def fitted_budget(recipe: Recipe, steps: int, there: int) -> Recipe:
    """A recipe of so many steps, or as near to that as whole epochs of the examples come.

    An epoch takes at least half of the examples, and as many as it can; of a few images a class
    it takes all. The warm-up is cut to fit.
    """
    size = recipe.batch_size
    if recipe.draws_shots:
        per_epoch = max(1, there // size)
        whole = min(_MOST_EPOCHS, max(1, round(steps / per_epoch)))
        warmup = fitted_warmup(recipe.warmup_steps, whole * per_epoch)
        return recipe.model_copy(update={"epochs": whole, "warmup_steps": warmup})
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
