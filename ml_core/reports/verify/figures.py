"""Level 1: every figure of a claim again, from the answers and scans that the bundle holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue

from ml_core.detection.scan.records import Contrast, OverlayRow, newcombe
from ml_core.figures import percent
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import short
from ml_core.reports import arithmetic
from ml_core.reports.record import (
    Claim,
    ContrastClaim,
    Counted,
    DifferenceClaim,
    Interval,
    QuotedClaim,
    RateClaim,
)
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.opened import Bundle

NEAR = 1e-12
_MOST_RESAMPLES = 100_000


def near(one: float, other: float) -> bool:
    """Whether two floats of the same computation are one."""
    return math.isclose(one, other, rel_tol=0.0, abs_tol=NEAR)


def check_claim(bundle: Bundle, claim: Claim) -> Check:
    """Compute a claim's figures from its evidence, and compare."""
    try:
        fault = next(_faults(bundle, claim), "")
    except InputError as error:
        fault = error.sentence
    if fault:
        return Check(1, claim.id, "fails", f"{claim.id}: {fault}")
    if claim.holds_by == "recorded":
        return Check(1, claim.id, "recorded", claim.sentence)
    return Check(1, claim.id, "holds", claim.sentence)


def _faults(bundle: Bundle, claim: Claim) -> Iterator[str]:
    if isinstance(claim, RateClaim):
        yield from _rate_faults(bundle, claim)
    elif isinstance(claim, DifferenceClaim):
        yield from _difference_faults(bundle, claim)
    elif isinstance(claim, ContrastClaim):
        yield from _contrast_faults(bundle, claim)
    else:
        yield from _quote_faults(bundle, claim)


def _rate_faults(bundle: Bundle, claim: RateClaim) -> Iterator[str]:
    facts = bundle.measurement(claim.measurement)
    found = arithmetic.rate_of(claim.metric, bundle.rows(claim.measurement), facts.target)
    if found is None:
        yield f"{facts.per_image} does not give a rate {claim.metric}."
        return
    yield from counted_faults(found, claim.rate, facts.per_image)
    yield from interval_faults(arithmetic.wilson(found), claim.interval)
    if facts.per_image not in claim.evidence:
        yield f"it does not name {facts.per_image}, which it stands on."


def _difference_faults(bundle: Bundle, claim: DifferenceClaim) -> Iterator[str]:
    first, second = bundle.measurement(claim.measurement), bundle.measurement(claim.against)
    for name in ("data", "trigger", "target", "classes"):
        if getattr(first, name) != getattr(second, name):
            yield f"{claim.measurement} and {claim.against} differ in {name}: they are no pair."
    seed, resamples = claim.interval.seed, claim.interval.resamples
    if claim.interval.method != "bootstrap" or seed is None or resamples is None:
        yield "its interval does not say from which seed and how many resamples it comes."
        return
    if resamples > _MOST_RESAMPLES:
        yield f"its interval is of {resamples} resamples, more than {_MOST_RESAMPLES}."
        return
    rows = bundle.rows(claim.measurement), bundle.rows(claim.against)
    found = arithmetic.difference_of(
        claim.metric, *rows, first.target, seed=seed, resamples=resamples
    )
    if found is None:
        yield f"the two tables of answers give no pair of rates {claim.metric}."
        return
    for said, table, value in (
        (claim.first, first.per_image, found.value),
        (claim.second, second.per_image, found.reference),
    ):
        counted = arithmetic.counted(round(value * found.n), found.n)
        yield from counted_faults(counted, said, table)
    if not near(found.difference, claim.difference):
        yield f"the difference is {found.difference!r}, not {claim.difference!r}."
    discordant = (found.only_mine, found.only_reference)
    if discordant != (claim.only_first, claim.only_second):
        yield (
            f"{discordant[0]} and {discordant[1]} pictures changed, not {claim.only_first} and "
            f"{claim.only_second}."
        )
    assert found.p_exact is not None
    assert found.p_mid is not None
    for name, p, said_p in (
        ("exact", found.p_exact, claim.p_exact),
        ("mid-p", found.p_mid, claim.p_mid),
    ):
        if not near(p, said_p):
            yield f"McNemar's {name} value is {p!r}, not {said_p!r}."
    low, high = found.interval
    yield from interval_faults(
        Interval(low=low, high=high, method="bootstrap", seed=seed, resamples=resamples),
        claim.interval,
    )
    assert found.adjusted_interval is not None
    low, high = found.adjusted_interval
    yield from interval_faults(
        Interval(low=low, high=high, method="bonett-price"), claim.adjusted_interval
    )
    for table in (first.per_image, second.per_image):
        if table not in claim.evidence:
            yield f"it does not name {table}, which it stands on."


def _contrast_faults(bundle: Bundle, claim: ContrastClaim) -> Iterator[str]:
    path = bundle.evidence.scans[claim.scan].files.get("scan", "")
    found = reached(bundle.scan(claim.scan), claim.at)
    if not isinstance(found, (Contrast, OverlayRow)):
        yield f"{path} has no contrast at {short(claim.at, 80)}."
        return
    for rate, said in ((found.suspect, claim.first), (found.beside, claim.second)):
        if (rate.hits, rate.n) != (said.hits, said.n):
            yield f"{path} counts {rate.hits} of {rate.n}, not {said.hits} of {said.n}."
    difference = found.difference if isinstance(found, Contrast) else found.gap
    if not near(difference, claim.difference):
        yield f"the difference is {difference!r}, not {claim.difference!r}."
    low, high = newcombe(found.suspect, found.beside)
    yield from interval_faults(Interval(low=low, high=high, method="newcombe"), claim.interval)
    if path not in claim.evidence:
        yield f"it does not name {path}, which it stands on."


def _quote_faults(bundle: Bundle, claim: QuotedClaim) -> Iterator[str]:
    if not claim.evidence:
        yield "it quotes no file."
        return
    source: Any = bundle.json(claim.evidence[0])
    for pointer, said in claim.quotes.items():
        there, value = pointed(source, pointer)
        if not there:
            yield f"{claim.evidence[0]} has nothing at {short(pointer, 80)}."
        elif not same(value, said):
            yield (
                f"{claim.evidence[0]} says {_shown(value)} at {short(pointer, 80)}, not "
                f"{_shown(said)}."
            )
    if claim.rate is not None and claim.interval is not None:
        if claim.interval.method != "wilson":
            yield "its interval is not computed from its counts."
        yield from interval_faults(arithmetic.wilson(claim.rate), claim.interval)


def counted_faults(found: Counted, said: Counted, source: str) -> Iterator[str]:
    """Where counts differ."""
    if (found.hits, found.n) != (said.hits, said.n):
        yield f"{source} gives {found.hits} of {found.n}, not {said.hits} of {said.n}."
    if not near(found.value, said.value):
        yield f"{said.hits} of {said.n} are {found.value!r}, not {said.value!r}."


def interval_faults(found: Interval, said: Interval) -> Iterator[str]:
    """Where two intervals differ."""
    if found.method != said.method:
        yield f"its interval is called {said.method} and should be {found.method}."
    if not (near(found.low, said.low) and near(found.high, said.high)):
        digits = 1
        while digits < 15 and _told(found, digits) == _told(said, digits):
            digits += 3
        yield f"its interval is {_told(found, digits)}, not {_told(said, digits)}."


def _told(interval: Interval, digits: int) -> str:
    return f"{percent(interval.low, digits=digits)} to {percent(interval.high, digits=digits)}"


def reached(record: Any, path: str) -> Any:
    """What a dotted path leads to, such as ``stages.patches.rounds.0.starts.1.contrast``."""
    for part in path.split("."):
        if isinstance(record, tuple):
            record = record[int(part)] if part.isdecimal() and int(part) < len(record) else None
        elif hasattr(type(record), "model_fields"):
            own = part in type(record).model_fields or isinstance(
                getattr(type(record), part, None), property
            )
            record = getattr(record, part) if own else None
        else:
            return None
    return record


def pointed(value: Any, pointer: str) -> tuple[bool, Any]:
    """What a JSON pointer (RFC 6901) leads to, and whether it leads to anything."""
    if pointer and not pointer.startswith("/"):
        return False, None
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif (
            isinstance(value, list) and key.isascii() and key.isdigit() and len(key) < 9
            and int(key) < len(value)
        ):  # fmt: skip
            value = value[int(key)]
        else:
            return False, None
    return True, value


def same(one: JsonValue, other: JsonValue) -> bool:
    """Whether two JSON values are one: floats within 1e-12, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) or isinstance(other, float):
        numbers = isinstance(one, (int, float)) and isinstance(other, (int, float))
        return numbers and near(float(one), float(other))  # type: ignore[arg-type]
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def _shown(value: JsonValue) -> str:
    import json

    return short(json.dumps(value, ensure_ascii=False), 60)
