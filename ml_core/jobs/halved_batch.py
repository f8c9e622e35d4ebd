"""The same job with half the batch in memory, for one that ran out of it. Torch-free."""

from __future__ import annotations

from ml_core.jobs.specs import CleanSpec


def halved(spec: CleanSpec, *, batch_norm: bool = True) -> CleanSpec:
    """The job with half as many examples in memory at a time.

    With BatchNorm frozen, or none in the model, half as many are encoded at a time (gradient
    caching): the gradient stays that of the whole batch. With BatchNorm in training only a smaller
    batch helps, whose contrast is weaker; the number of examples stays.

    Parameters
    ----------
    spec
        The job as it was started.
    batch_norm
        Whether the model has BatchNorm (a ResNet); True if not known.
    """
    recipe = spec.recipe
    if recipe.batch_norm == "frozen" or recipe.facts.frozen or not batch_norm:
        now = min(recipe.cache_chunk or recipe.batch_size, recipe.batch_size)
        return _with(spec, cache_chunk=max(1, now // 2))
    return _with(spec, batch_size=max(2, recipe.batch_size // 2))


def _with(spec: CleanSpec, **fields: int) -> CleanSpec:
    """The job with some fields of its recipe changed."""
    return spec.model_copy(update={"recipe": spec.recipe.changed(**fields)})
