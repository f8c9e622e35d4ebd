"""What the window shows of a ``result.json``, so that a damaged one is found when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_Interval = Annotated[list[float], Field(min_length=2, max_length=2)]


class _Side(BaseModel):
    """The numbers of one evaluation that are drawn."""

    model_config = ConfigDict(strict=True)

    ca: float | None = None
    asr_excl: float | None = None
    asr_all: float | None = None
    poisoned_accuracy: float | None = None
    baseline_target_rate: float | None = None
    ca_interval: _Interval | None = None
    asr_interval: _Interval | None = None
    asr_all_interval: _Interval | None = None
    n: int | None = None
    n_excl: int | None = None


class _Pair(BaseModel):
    """Before and after."""

    model_config = ConfigDict(strict=True)

    before: _Side | None = None
    after: _Side | None = None


class _Recipe(BaseModel):
    """What of the recipe is told beside a result."""

    model_config = ConfigDict(strict=True)

    batch_size: int | None = None


class _Result(_Pair):
    """The whole record; what is not named here is shown as text or not at all."""

    recipe: _Recipe | None = None
    batch_norm: str | None = None
    cache_chunk: int | None = None
    steps: int | None = None
    total_steps: int | None = None
    notes: list[str] | None = None
    method: str | None = None
    status: str | None = None
    seconds: float | None = None
    heldout: _Pair | None = None
    heldout_linear: _Pair | None = None
    heads: dict[str, _Pair | None] | None = None


def is_whole(result: Mapping[str, Any]) -> bool:
    """Whether every number of a result that is drawn is one."""
    try:
        _Result.model_validate(result)
    except ValidationError:
        return False
    return True
