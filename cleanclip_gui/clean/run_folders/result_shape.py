"""What the window shows of a ``result.json``, so that a damaged one is found when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_core.data.specs import PathText

_Interval = Annotated[list[float], Field(min_length=2, max_length=2)]
_Count = Annotated[int, Field(ge=0, lt=2**53)]


class _Side(BaseModel):
    """The numbers of one evaluation that are drawn."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    ca: float | None = None
    asr_excl: float | None = None
    asr_all: float | None = None
    poisoned_accuracy: float | None = None
    baseline_target_rate: float | None = None
    ca_interval: _Interval | None = None
    asr_interval: _Interval | None = None
    asr_all_interval: _Interval | None = None
    n: _Count | None = None
    n_excl: _Count | None = None


class _Pair(BaseModel):
    """Before and after."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    before: _Side | None = None
    after: _Side | None = None


class _Recipe(BaseModel):
    """What of the recipe is told beside a result."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    batch_size: _Count | None = None


class _Result(_Pair):
    """The whole record; what is not named here is shown as text or not at all."""

    recipe: _Recipe | None = None
    batch_norm: str | None = None
    cache_chunk: _Count | None = None
    steps: _Count | None = None
    total_steps: _Count | None = None
    notes: list[str] | None = None
    method: str | None = None
    status: str | None = None
    seconds: float | None = None
    heldout: _Pair | None = None
    heldout_linear: _Pair | None = None
    heads: dict[str, _Pair | None] | None = None
    checkpoint: PathText | None = None
    adapter: PathText | None = None
    linear_head: PathText | None = None
    source: PathText | None = None
    donor: PathText | None = None
    source_sha256: str | None = None
    checkpoint_sha256: str | None = None
    stopped_because: str | None = None
    target_name: str | None = None
    preset: str | None = None
    device: str | None = None
    precision: str | None = None
    alpha: float | None = None


def is_whole(result: Mapping[str, Any]) -> bool:
    """Whether every number of a result that is drawn is one."""
    try:
        _Result.model_validate(result)
    except ValidationError:
        return False
    return True
