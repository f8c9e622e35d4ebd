"""Level 1: all that a record says follows from the files of its bundle, and is derived again.

If another version wrote the bundle, words and views are not compared. The figures of its claims and
the facts of its parts are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ml_core import __version__
from ml_core.detection.scan.verdict import RULES
from ml_core.events import Progress
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import short
from ml_core.reports import arithmetic
from ml_core.reports.bundle_files import Bundle
from ml_core.reports.derive import FACTS, derive
from ml_core.reports.html.charts import draw_charts
from ml_core.reports.open_bundle import open_bundle
from ml_core.reports.record import (
    EVIDENCE_FILE,
    README_FILE,
    SCHEMA_VERSION,
    Claim,
    ContrastClaim,
    DifferenceClaim,
    Evidence,
    RateClaim,
)
from ml_core.reports.verify.checks import Check, looked_at
from ml_core.reports.verify.intact import intact
from ml_core.reports.verify.kept import Hashes, Pixels, check_kept
from ml_core.reports.write_bundle import README, views

_NEAR = 1e-12
Difference = tuple[str, Any, Any]
"""A JSON pointer (RFC 6901), what is stated there, and what was derived; None is nothing."""


def first_difference(stated: Any, derived: Any, at: str = "") -> Difference | None:
    """The first place where two JSON values differ; floats within 1e-12 are one, true is not 1."""
    if isinstance(stated, dict) and isinstance(derived, dict):
        for key in (*derived, *(key for key in stated if key not in derived)):
            place = f"{at}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in stated or key not in derived:
                return place, stated.get(key), derived.get(key)
            if difference := first_difference(stated[key], derived[key], place):
                return difference
        return None
    if isinstance(stated, list) and isinstance(derived, list):
        for number, items in enumerate(zip(stated, derived, strict=False)):
            if difference := first_difference(*items, f"{at}/{number}"):
                return difference
        if len(stated) == len(derived):
            return None
        end = min(len(stated), len(derived))
        return f"{at}/{end}", *((*stated[end:], None)[0], (*derived[end:], None)[0])
    return None if _is_equal(stated, derived) else (at, stated, derived)


def _is_equal(stated: Any, derived: Any) -> bool:
    if isinstance(stated, bool) or isinstance(derived, bool):
        return stated is derived
    if isinstance(stated, float) or isinstance(derived, float):
        numbers = isinstance(stated, (int, float)) and isinstance(derived, (int, float))
        return numbers and math.isclose(float(stated), float(derived), rel_tol=0.0, abs_tol=_NEAR)
    return bool(stated == derived)


def pointed(value: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to.

    Raises
    ------
    InputError
        If it leads to nothing.
    """
    absent = InputError(f"its file has nothing at {short(pointer, 80)}.", "damaged")
    if pointer and not pointer.startswith("/"):
        raise absent
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
            raise absent
    return value


MALFORMED = (
    LookupError, TypeError, ValueError, ArithmeticError, AttributeError, StopIteration,
)  # fmt: skip
"""Exceptions that our own code raises on a malformed foreign record."""
_OTHER_VERSION = "made by another version"
_MOST_RESAMPLES = 100_000
_MOST_FAULTS = 20


def check_derived(bundle: Bundle) -> Iterator[Check | Progress]:
    """Derive the record again, and compare."""
    evidence = bundle.evidence
    tool, form = evidence.tool.version, evidence.schema_version
    own = (tool, form) == (__version__, SCHEMA_VERSION)
    yield Progress("arithmetic", 0, len(evidence.claims))
    derived, fault = _derived(bundle) if own else (None, "")
    claims = None if derived is None else {claim.id: claim for claim in derived.claims}
    for number, claim in enumerate(evidence.claims):
        yield Progress("arithmetic", number, len(evidence.claims))
        yield _claim(bundle, claim, claims)
    yield from _facts(bundle)
    if not own:
        yield Check(
            1, EVIDENCE_FILE, "not checked",
            f"Sentences and views were made by version {short(tool, 40)} with schema {form}, and "
            f"this is {__version__} with {SCHEMA_VERSION}: their words were not compared, only the "
            "figures of the claims.",
            _OTHER_VERSION,
        )  # fmt: skip
    elif derived is None:
        yield Check(1, EVIDENCE_FILE, "fails", fault)
    else:
        yield from _all_claims(evidence, derived)
        yield _texts(evidence, derived)
        yield _charts(evidence, derived)
        yield from _views(bundle)
    yield Progress("arithmetic", len(evidence.claims), len(evidence.claims))


def _derived(bundle: Bundle) -> tuple[Evidence | None, str]:
    """The record as its files give it; or None, and why it cannot be derived."""
    try:
        return derive(bundle), ""
    except InputError as error:
        return None, f"The record cannot be derived again: {error.sentence}"
    except MALFORMED as error:
        return None, (
            "The record cannot be derived again: a file that it stands on lacks something "
            f"({type(error).__name__} {short(str(error), 80)})."
        )


def _claim(bundle: Bundle, claim: Claim, derived: Mapping[str, Claim] | None) -> Check:
    """Compare a claim with its files; if the whole cannot be derived, its figures alone."""
    check = looked_at(
        1, claim.id, _claim_faults(bundle, claim, derived), claim.sentence, f"{claim.id}: "
    )
    recorded = check.state == "holds" and claim.holds_by == "recorded"
    return replace(check, state="recorded") if recorded else check


def _claim_faults(
    bundle: Bundle, claim: Claim, derived: Mapping[str, Claim] | None
) -> Iterator[str]:
    if derived is not None and claim.id not in derived:
        yield "the bundle claims it, and its files do not give it."
        return
    try:
        if derived is None:
            again = claim.model_copy(update=_figures(bundle, claim))
        else:
            again = derived[claim.id]
        stated, files = (version.model_dump(mode="json") for version in (claim, again))
        if difference := first_difference(stated, files):
            yield _fault("", difference)
    except MALFORMED as error:
        yield f"a file that it stands on lacks something ({type(error).__name__})."


def _figures(bundle: Bundle, claim: Claim) -> dict[str, Any]:
    """The figures of a claim, from the files that it names, whichever version worded it.

    Raises
    ------
    InputError
        If they do not give any.
    """
    needed: tuple[str, ...] = ()
    figures: dict[str, Any] | None
    if isinstance(claim, RateClaim):
        facts = bundle.evidence.measurements[claim.measurement]
        needed = (facts.per_image,)
        rows = bundle.rows(claim.measurement)
        figures = arithmetic.rate_figures(claim.metric, rows, facts.target)
    elif isinstance(claim, DifferenceClaim):
        figures, needed = _difference_figures(bundle, claim)
    elif isinstance(claim, ContrastClaim):
        needed = (bundle.evidence.scans[claim.scan].files.get("scan", ""),)
        trigger = bundle.scan(claim.scan).found
        if trigger is None or claim.at != "found.contrast":
            raise InputError(f"{needed[0]} has no contrast at {short(claim.at, 80)}.")
        figures = arithmetic.contrast_figures(trigger.contrast)
    else:
        if not claim.evidence:
            raise InputError("it quotes no file.")
        source = bundle.json(claim.evidence[0])
        figures = {"quotes": {at: pointed(source, at) for at in claim.quotes}}
        if claim.rate is not None and claim.interval is not None:
            figures["interval"] = arithmetic.wilson(claim.rate)
    if figures is None:
        raise InputError(f"its answers do not give {getattr(claim, 'metric', 'it')}.")
    for file in needed:
        if file not in claim.evidence:
            raise InputError(f"it does not name {file}, which it stands on.")
    return figures


def _difference_figures(
    bundle: Bundle, claim: DifferenceClaim
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    measured = bundle.evidence.measurements
    first, second = measured[claim.measurement], measured[claim.against]
    for name in ("data", "trigger", "target", "classes"):
        if getattr(first, name) != getattr(second, name):
            raise InputError(
                f"{claim.measurement} and {claim.against} differ in {name}: they are no pair."
            )
    seed, resamples = claim.interval.seed, claim.interval.resamples
    if claim.interval.method != "bootstrap" or seed is None or resamples is None:
        raise InputError(
            "its interval does not say from which seed and how many resamples it comes."
        )
    if resamples > _MOST_RESAMPLES:
        raise InputError(f"its interval is of {resamples} resamples, more than {_MOST_RESAMPLES}.")
    rows = bundle.rows(claim.measurement), bundle.rows(claim.against)
    figures = arithmetic.difference_figures(
        claim.metric, *rows, first.target, seed=seed, resamples=resamples
    )
    return figures, (first.per_image, second.per_image)


def _facts(bundle: Bundle) -> Iterator[Check]:
    """One check for every checkpoint, image set, measurement, job and scan."""
    evidence = bundle.evidence
    for group, (_, source) in FACTS.items():
        for id_ in getattr(evidence, group):
            if group == "data" and evidence.data[id_].rows is None:
                continue
            words = f"What the record says of {id_} follows from {source}."
            yield looked_at(1, id_, _fact_faults(bundle, group, id_), words, f"{id_}: ")
    for id_ in evidence.scans:
        with suppress(InputError, *MALFORMED):  # its facts fail by it
            if (rules := bundle.scan(id_).judgement.rules) != RULES:
                words = f"{id_} was judged by rules {rules}, and this version has rules {RULES}: "
                words += "its verdict was not derived again. Scan the file again to have it judged."
                yield Check(1, id_, "not checked", words, _OTHER_VERSION)
    if evidence.thumbnails:
        yield Check(
            1, "thumbnails", "recorded",
            "Thumbnails show what the record says of them; they are not compared.",
        )  # fmt: skip
    yield Check(
        1, evidence.environment, "recorded",
        "Date, author, versions, processor, seconds and notes are as they were recorded; nobody "
        "can check them.",
    )  # fmt: skip


def _fact_faults(bundle: Bundle, group: str, id_: str) -> Iterator[str]:
    """Facts in a part of the record that its files do not give."""
    try:
        for place, stated, derived in FACTS[group][0](bundle, id_):
            if difference := first_difference(stated, derived):
                yield _fault(place, difference)
    except MALFORMED as error:
        yield f"one of its files lacks something ({type(error).__name__})."
    if group == "data" and (folder := bundle.evidence.data[id_].pictures) is not None:
        there = sum(name.startswith(f"{folder}/") for name in bundle.reader.names())
        if there > len(bundle.pictures(id_)):
            yield f"{folder} holds more pictures than {bundle.evidence.data[id_].rows} lists."


def _fault(place: str, difference: Difference) -> str:
    """A difference as a sentence that names its place."""
    at, stated, derived = difference
    return f"{place}{at} is {_shown(stated)}, and the files give {_shown(derived)}."


def _shown(value: Any) -> str:
    return "nothing" if value is None else short(json.dumps(value, ensure_ascii=False), 300)


def _all_claims(evidence: Evidence, derived: Evidence) -> Iterator[Check]:
    """Check that no claim is left out, and that they stand in the order of the report."""
    stated, again = ([claim.id for claim in record.claims] for record in (evidence, derived))
    missing = [id_ for id_ in again if id_ not in stated]
    for id_ in missing[:_MOST_FAULTS]:
        yield Check(1, id_, "fails", f"{id_} is left out, and the files of the bundle give it.")
    if not missing and sorted(stated) == sorted(again) and stated != again:
        words = "The claims are not in the order of the report."
        yield Check(1, EVIDENCE_FILE, "fails", words)
    elif first_difference(_dumped(evidence.claims), _dumped(derived.claims)) is None:
        yield Check(
            1, EVIDENCE_FILE, "holds",
            f"All {len(stated)} claims say what their figures give, and none is left out.",
        )  # fmt: skip


def _dumped(claims: tuple[Claim, ...]) -> list[Any]:
    return [claim.model_dump(mode="json") for claim in claims]


def _texts(evidence: Evidence, derived: Evidence) -> Check:
    """Check the verdict, the limits, and the list of what was not tested."""
    for name in ("verdict", "not_tested", "limits"):
        stated, again = getattr(evidence, name), getattr(derived, name)
        if stated != again:
            extra = next((text for text in stated if text not in again), "")
            missing = next((text for text in again if text not in stated), "")
            words = (
                f"it says “{short(extra, 300)}”" if extra else f"“{short(missing, 300)}” is gone"
            )
            return Check(
                1, name, "fails", f"The {name.replace('_', ' ')} does not follow from the claims: "
                f"{words}.",
            )  # fmt: skip
    return Check(
        1, "verdict", "holds", "Verdict, limits and what was not tested follow from the claims."
    )


def _charts(evidence: Evidence, derived: Evidence) -> Check:
    """Check that the numbers of each chart are those of its source."""
    again = {chart.file: chart.model_dump(mode="json") for chart in derived.charts}
    for chart in evidence.charts:
        fault = first_difference(chart.model_dump(mode="json"), again.get(chart.file))
        if fault is not None:
            return Check(
                1, chart.file, "fails",
                f"{chart.file} shows other numbers or words than {chart.source} gives.",
            )  # fmt: skip
    return Check(
        1, "charts", "holds", f"The numbers of {len(evidence.charts)} charts are those of their "
        "sources.",
    )  # fmt: skip


def _views(bundle: Bundle) -> Iterator[Check]:
    """Check every view that is made from the record, bit for bit."""
    evidence, read = bundle.evidence, bundle.reader.read
    yield _same_bytes(bundle, README_FILE, README.encode())
    try:
        for path, content in draw_charts(evidence).items():
            yield _same_bytes(bundle, path, content)
    except InputError as error:
        yield Check(1, "charts", "fails", f"The charts cannot be drawn again: {error.sentence}")
    for view in views():
        if view.asked:  # a separate process makes it
            continue
        try:
            content = view.render(evidence, read)
        except InputError as error:
            words = f"{view.path} cannot be made again: {error.sentence}"
            yield Check(1, view.path, "fails", words)
            continue
        yield _same_bytes(bundle, view.path, content)


def _same_bytes(bundle: Bundle, path: str, content: bytes) -> Check:
    def faults() -> Iterator[str]:
        if bundle.reader.read(path) != content:
            yield f"{path} is not what is made from the record."

    return looked_at(1, path, faults(), f"{path} is what is made from the record.")


def check_alone(path: Path) -> Generator[Check | Progress | Pixels | Hashes]:
    """Check a bundle with nothing beside it; whoever may run hostile files runs `confined`.

    Raises
    ------
    InputError
        ``usage`` if there is no bundle, ``damaged`` if it cannot be opened, ``unsupported`` if a
        later version wrote it.
    """
    with open_bundle(path) as reader:
        bundle = yield from intact(reader)
        if bundle is None:
            return
        yield from check_derived(bundle)
        yield from check_kept(bundle)
        yield Hashes(dict(reader.digests))
