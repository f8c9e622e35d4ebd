"""What is shown of a proof's record, so that one that is damaged or a stranger's is told apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Interval = Annotated[list[float], Field(min_length=2, max_length=2)]


class _Shown(BaseModel):
    """Fields that are not named here are not shown."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Pairs(_Shown):
    kind: str
    path: str | None = None


class _Spec(_Shown):
    pairs: _Pairs | None = None


class _Proof(_Shown):
    notes: list[str] | None = None
    spec: _Spec | None = None
    n: _Count | None = None


class _Point(_Shown):
    step: float
    asr_excl: float
    asr_low: float | None = None
    asr_high: float | None = None


class _Rate(_Shown):
    factor: float
    points: list[_Point]


class _Highest(_Shown):
    max_asr: float


class _Rebound(_Proof):
    limit: float
    peak_lr: float
    pretraining: str | None = None
    steps: _Count
    batch_size: _Count
    rates: list[_Rate]
    worst: _Highest
    stays_clean: bool
    verdict: str
    left_out: dict[str, _Count] | None = None


class _Row(_Shown):
    group: str
    name: str
    measure: str
    before: float | None = None
    after: float | None = None
    after_interval: _Interval | None = None
    baseline: float | None = None
    n: _Count | None = None
    note: str | None = None


class _Worst(_Shown):
    group: str
    name: str
    after: float | None = None


class _Holdouts(_Proof):
    rows: list[_Row]
    worst: _Worst | None = None


def is_rebound(record: Mapping[str, Any]) -> bool:
    """Whether every number of a rebound test that is drawn is one."""
    return _fits(record, _Rebound)


def are_holdouts(record: Mapping[str, Any]) -> bool:
    """Whether every number in a table of hold-outs is one."""
    return _fits(record, _Holdouts)


def _fits(record: Mapping[str, Any], kind: type[_Proof]) -> bool:
    try:
        kind.model_validate(record)
    except ValidationError:
        return False
    return True
