"""``report.html``: everything that a bundle says, on one page that stands alone.

The page prints fixed words, claims, and fields of ``evidence.json``; each printed value names its
field (`fields`). It computes nothing.
"""

from __future__ import annotations

import base64
import hashlib
import io
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from markupsafe import Markup
from PIL import Image

from ml_core.reading.errors import InputError, plain
from ml_core.reading.inspection import verdict_words
from ml_core.reading.safetensors_header import parse_header
from ml_core.reading.strict_json import JsonError, parse_object
from ml_core.reports.claims import role_of, trigger_works
from ml_core.reports.html.charts import columns_of, draw, is_rate, shape_of
from ml_core.reports.html.fields import Field, Key, page, raw
from ml_core.reports.record import (
    EVIDENCE_FILE,
    SUMS_FILE,
    BundlePath,
    Evidence,
    Metric,
    RateClaim,
    Role,
)
from ml_core.reports.rendering import Read

MOST_BYTES = 2_000_000
_ROWS = (400, 60, 12)
"""Rows of a table, the next where the page becomes too large with them."""
_PICTURE_BYTES, _PICTURES_BYTES = 96_000, 900_000
_ARRAYS, _PATCH_SIDE = "_safetensors", 256
_PNG = b"\x89PNG\r\n\x1a\n"

METRICS: dict[Metric, tuple[str, str]] = {
    "asr_excl": (
        "Attack success rate",
        "triggered pictures of other classes that are taken for the target",
    ),
    "asr_all": (
        "Attack success rate, all pictures",
        "the same, with pictures of the target class counted too",
    ),
    "baseline_target_rate": (
        "Target without trigger",
        "the same pictures without the trigger: how often the target is predicted anyway",
    ),
    "poisoned_accuracy": (
        "Poisoned accuracy",
        "triggered pictures of other classes that keep their true label",
    ),
    "ca": ("Clean accuracy", "pictures without the trigger that get their true label"),
    "top5": ("Clean accuracy, first five", "the true label is among the five likeliest classes"),
    "control_ca": (
        "Clean accuracy on the trigger’s canvas",
        "resized as the trigger needs it, without the trigger",
    ),
    "flip_rate": ("Flip rate", "the predicted class changes when the trigger is applied"),
}
assert set(METRICS) == set(get_args(Metric))
HOLDS_BY = {
    "exact": "from the files of the bundle alone, to the last digit",
    "margin": "also by predicting the pictures again: an answer has to be the same wherever its "
    "margin exceeds tau",
    "interval": "by measuring again elsewhere: the value has to lie in the interval",
    "recorded": "not at all: it was written down, such as seconds and hardware",
}
_SAFETY = {
    "loads": (verdict_words("loads"), "plain"),
    "caution": (verdict_words("caution"), "caution"),
    "dangerous": (verdict_words("dangerous"), "danger"),
    "damaged": ("Refused: damaged or unsupported", "danger"),
    "unsupported": ("Refused: unsupported", "danger"),
}
_ROLES = ("suspect", "cleaned", "reference")
_SCAN_TONES = {"found": "danger", "suspicious": "caution", "nothing": "plain", "unknown": "plain"}


@dataclass(frozen=True)
class RateTable:
    """Rates of measurements that share pictures, trigger and classes, beside each other.

    Attributes
    ----------
    data, trigger, target
        What they share; None if they share nothing.
    columns
        Identifier and facts of each measurement.
    rows
        A row for each metric with one claim a column; None if it was not measured.
    """

    data: Field
    trigger: Field | None
    target: Field | None
    columns: tuple[tuple[Key, Field], ...]
    rows: tuple[tuple[str, tuple[Field | None, ...]], ...]


@dataclass(frozen=True)
class MeasuredPair:
    """Differences between two measurements on the same pictures."""

    measurement: Key
    against: Key
    claims: tuple[Field, ...]


def render_html(evidence: Evidence, read: Read) -> bytes:
    """The report as one HTML file under 2 MB: no script, nothing fetched.

    Parameters
    ----------
    evidence
        What it says.
    read
        Reads a file of the bundle: the page shows pictures and the digest of
        ``evidence.json``; raises `KeyError` or `OSError` where there is no such file.

    Raises
    ------
    InputError
        ``usage`` if the evidence does not fit into a page.
    """
    for most in _ROWS:
        content = _page(evidence, read, most).encode()
        if len(content) <= MOST_BYTES:
            return content
    raise InputError(
        f"The evidence of {plain(evidence.name[:80])} says too much for one page of "
        f"{MOST_BYTES:,} bytes; report fewer runs at a time."
    )


def _page(evidence: Evidence, read: Read, most: int) -> str:
    record = Field(evidence.model_dump(mode="json"))
    content = _file(read, EVIDENCE_FILE)
    digest = "" if content is None else hashlib.sha256(content).hexdigest()
    claims = _Claims(record, most)
    pictures = _Pictures(read)
    return page(
        "report.html",
        f"SHA-256 of {EVIDENCE_FILE}: {digest}" if digest else EVIDENCE_FILE,
        record=record,
        digest=digest,
        claims=claims,
        most=most,
        metrics=METRICS,
        holds_by=HOLDS_BY,
        safety=_SAFETY,
        scan_tones=_SCAN_TONES,
        tone=_tone(evidence, "suspect"),
        tone_after=_tone(evidence, "cleaned"),
        charts=_charts(record, evidence),
        draw=draw,
        is_rate=is_rate,
        columns_of=columns_of,
        pairs=pairs,
        checkpoints=sorted(
            pairs(record.checkpoints), key=lambda pair: _ROLES.index(raw(pair[1].role))
        ),
        quoted_rows=quoted_rows,
        picture=pictures.uri,
        found_triggers=[
            uri
            for _, scan in pairs(record.scans)
            if record.checkpoints[scan.suspect].role == "suspect"
            for uri in pictures.found(scan)
        ],
        found=pictures.found,
        commands=commands(evidence),
        sums=SUMS_FILE,
        evidence_file=EVIDENCE_FILE,
    )


def pairs(mapping: Field) -> Iterator[tuple[Key, Any]]:
    """Names and values of an object."""
    return ((key, mapping[key]) for key in mapping)


def key_of(mapping: Field, name: Field) -> Key:
    """The member of an object that a field names."""
    match: Key = next(key for key in mapping if key == name)
    return match


class _Claims:
    """The claims by what they are about."""

    def __init__(self, record: Field, most: int) -> None:
        self._record, self._most = record, most
        self.all: tuple[Field, ...] = tuple(record.claims)
        self._rates: dict[tuple[str, str], Field] = {}
        for claim in self._of("rate"):
            self._rates.setdefault((raw(claim.measurement), raw(claim.metric)), claim)

    def _of(self, kind: str) -> Iterator[Field]:
        return (claim for claim in self.all if claim.kind == kind)

    @property
    def headline(self) -> tuple[Field, ...]:
        """What is said first, at most four: changes, what a scan found, then single rates.

        Beside changes a rate is of the reference; what else was measured would look like one.
        """
        headlines = sorted((claim for claim in self.all if claim.headline), key=_rank)
        apart = [claim for claim in headlines if claim.kind == "difference"]
        alone = [claim for claim in headlines if claim.kind == "rate"]
        if apart:
            alone = [claim for claim in alone if self._is_reference(claim)]
        apart, alone = (
            [claim for claim in claims if _rank(claim) < _rank(None)] for claims in (apart, alone)
        )
        contrasts = [claim for claim in headlines if claim.kind == "contrast"]
        return tuple([*apart[:3], *contrasts[:1], *alone][:4])

    def _is_reference(self, claim: Field) -> bool:
        facts = self._record.measurements[claim.measurement]
        return bool(self._record.checkpoints[facts.checkpoint].role == "reference")

    def topic(self, topic: str) -> tuple[Field, ...]:
        """Quotations about something."""
        return tuple(claim for claim in self._of("quoted") if claim.topic == topic)

    def contrasts(self, scan: Key) -> tuple[Field, ...]:
        """The contrasts of one scan."""
        return tuple(claim for claim in self._of("contrast") if claim.scan == scan)

    def of_folder(self, topic: str, folder: str, key: Key) -> tuple[Field, ...]:
        """Quotations from files of one job or scan."""
        return tuple(
            claim for claim in self.topic(topic) if _owner(claim, folder) == (folder, raw(key))
        )

    def strays(self, topic: str, folder: str, owners: Field) -> tuple[Field, ...]:
        """Quotations that `of_folder` gives to nobody."""
        owned = {(folder, raw(key)) for key in owners}
        return tuple(claim for claim in self.topic(topic) if _owner(claim, folder) not in owned)

    def tables(self, phase: str) -> tuple[RateTable, ...]:
        """Rates of a phase: ``before``, ``after`` or ``held out``."""
        groups: dict[tuple[Any, ...], list[tuple[Key, Field]]] = {}
        for key, facts in pairs(self._record.measurements):
            if self._phase(facts) == phase:
                shared = (
                    facts.data, raw(facts.trigger), raw(facts.target), raw(facts.classes),
                )  # fmt: skip
                groups.setdefault(shared, []).append((key, facts))
        tables = (self._table(tuple(columns)) for columns in groups.values())
        return tuple(table for table in tables if table.rows)

    def _phase(self, facts: Field) -> str:
        if facts.heldout:
            return "held out"
        role = self._record.checkpoints[facts.checkpoint].role
        return "after" if facts.when == "after" or role == "cleaned" else "before"

    def _table(self, columns: tuple[tuple[Key, Field], ...]) -> RateTable:
        rows = (
            (metric, tuple(self._rates.get((raw(key), metric)) for key, _ in columns))
            for metric in METRICS
        )
        facts = columns[0][1]
        trigger = None if facts.trigger is None else self._record.triggers[facts.trigger]
        return RateTable(
            data=self._record.data[facts.data],
            trigger=trigger,
            target=facts.target_name,
            columns=columns,
            rows=tuple((metric, cells) for metric, cells in rows if any(cells)),
        )

    def differences(self, phase: str) -> tuple[MeasuredPair, ...]:
        """Pairs of measurements whose first is of a phase."""
        groups: dict[tuple[str, str], list[Field]] = {}
        for claim in self._of("difference"):
            facts = self._record.measurements[claim.measurement]
            if self._phase(facts) == phase:
                groups.setdefault((raw(claim.measurement), raw(claim.against)), []).append(claim)
        order = list(METRICS)
        return tuple(
            MeasuredPair(
                key_of(self._record.measurements, group[0].measurement),
                key_of(self._record.measurements, group[0].against),
                tuple(sorted(group, key=lambda claim: order.index(raw(claim.metric)))),
            )
            for group in groups.values()
        )


def _rank(claim: Field | None) -> int:
    """How much a rate says by itself; what needs others beside it comes last, as None does."""
    first = ("asr_excl", "asr_all", "ca", "poisoned_accuracy")
    if claim is None or claim.kind not in ("rate", "difference") or claim.metric not in first:
        return len(first)
    return first.index(raw(claim.metric))


def quoted_rows(claims: Iterable[Field], needed: Sequence[str]) -> list[dict[str, Any]]:
    """Claims that quote a row of a table, by the names of its members, with the claim itself.

    Parameters
    ----------
    needed
        Names without which a claim is not taken.
    """
    rows = []
    for claim in claims:
        members = {raw(key).rpartition("/")[2]: claim.quotes[key] for key in claim.quotes}
        if all(name in members for name in needed):
            rows.append(members | {"claim": claim})
    return rows


def _owner(claim: Field, folder: str) -> tuple[str, str] | None:
    """The first job or scan in whose folder a claim's evidence lies."""
    for file in claim.evidence:
        first, _, rest = raw(file).partition("/")
        if first == folder:
            return folder, rest.partition("/")[0]
    return None


def _charts(record: Field, evidence: Evidence) -> dict[str, list[Field]]:
    """The charts by the section where they belong, in the order of the record."""
    jobs = {file: what for job in evidence.jobs.values() for what, file in job.files.items()}
    sections: defaultdict[str, list[Field]] = defaultdict(list)
    for chart in record.charts:
        sections[_section(chart, jobs)].append(chart)
    return sections


def _section(chart: Field, jobs: Mapping[str, str]) -> str:
    """Where a chart stands: by its shape, then by the file that its numbers are from."""
    if shape_of(chart) == "paths":
        return "tradeoff"
    if shape_of(chart) == "intervals" and chart.source == EVIDENCE_FILE:
        return "summary"
    if raw(chart.source).startswith("measurements/"):
        return "details"
    what = jobs.get(raw(chart.source), "")
    if what in ("rebound", "holdouts"):
        return "rebound"
    if raw(chart.source).startswith("scan/"):
        return "scan"
    return "done" if what else "other"


class _Pictures:
    """PNG files as data URIs, as long as there is room."""

    def __init__(self, read: Read) -> None:
        self._read, self._left = read, _PICTURES_BYTES

    def uri(self, file: Field) -> Markup:
        """The file as a data URI; empty if it is missing, too large or no PNG."""
        return self._uri(_file(self._read, raw(file)))

    def found(self, scan: Field) -> Iterator[Markup]:
        """The patches that a scan ended with, drawn from their files."""
        for what, file in pairs(scan.files):
            name = raw(what)
            if raw(file).endswith(".png") and (uri := self.uri(file)):
                yield uri
            elif name.endswith(_ARRAYS) and name.removesuffix(_ARRAYS) in scan.files:
                record = _file(self._read, raw(scan.files[name.removesuffix(_ARRAYS)]))
                array = _file(self._read, raw(file))
                if uri := self._uri(_patch_png(record or b"", array or b"")):
                    yield uri

    def _uri(self, content: bytes | None) -> Markup:
        if content is None or not content.startswith(_PNG) or len(content) > min(
            _PICTURE_BYTES, self._left
        ):  # fmt: skip
            return Markup("")
        self._left -= len(content)
        return Markup("data:image/png;base64," + base64.b64encode(content).decode())


def _patch_png(record: bytes, arrays: bytes) -> bytes | None:
    """A patch of a trigger's JSON and safetensors as PNG; None for what cannot be seen by itself.

    Both may be anybody's: nothing but numbers is read.
    """
    try:
        if parse_object(record).get("kind") != "patch":
            return None
        header = parse_header(io.BytesIO(arrays), len(arrays), "the trigger")
    except (InputError, JsonError):
        return None
    array = next((tensor for tensor in header.tensors if tensor.name == "array"), None)
    if array is None or array.dtype != "F32" or len(array.shape) != 3 or array.shape[2] != 3:
        return None
    if not 1 <= min(array.shape) <= max(array.shape) <= _PATCH_SIDE:
        return None
    values = np.frombuffer(arrays, "<f4", array.elements, array.offset).reshape(array.shape)
    pixels = (np.nan_to_num(values).clip(0, 1) * 255).round().astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _file(read: Read, path: BundlePath) -> bytes | None:
    try:
        return read(path)
    except (KeyError, OSError, InputError):
        return None


def _tone(evidence: Evidence, role: Role) -> str:
    """The colour of the verdict on the checkpoints of a role, by the rules of its sentences."""
    about = {id_ for id_, facts in evidence.checkpoints.items() if facts.role == role}
    worst = {evidence.checkpoints[id_].safety for id_ in about}
    worst |= {scan.verdict for scan in evidence.scans.values() if scan.suspect in about}
    rates = {
        (facts.measurement, facts.metric): facts.interval
        for facts in evidence.claims
        if isinstance(facts, RateClaim) and facts.headline
    }
    for (id_, metric), rate in rates.items():
        if metric not in ("asr_excl", "asr_all"):
            continue
        if evidence.measurements[id_].checkpoint not in about:
            continue
        without = rates.get((id_, "baseline_target_rate"))
        if trigger_works(rate, without):
            references = [
                interval.high
                for (other, same), interval in rates.items()
                if same == metric and role_of(evidence, other) == "reference"
            ]
            carries = bool(references) and all(high < rate.low for high in references)
            worst.add("found" if carries else "suspicious")
    if worst & {"dangerous", "damaged", "unsupported", "found"}:
        return "danger"
    return "caution" if worst & {"caution", "suspicious"} else "plain"


def commands(evidence: Evidence) -> Iterable[tuple[str, str]]:
    """How to check the bundle from its own folder: what a command does, and the command."""
    facts = evidence.checkpoints.values()
    suspect = next((each.name for each in facts if each.role == "suspect"), "CHECKPOINT")
    return (
        ("Nothing was changed since it was written", f"sha256sum -c {SUMS_FILE}"),
        ("Files, figures and signature", "cleanclip verify ."),
        (
            "Also the checkpoint and the pictures, and the answers again",
            f"cleanclip verify . --checkpoint {_word(suspect)} --images FOLDER",
        ),
        ("All answers in place of a sample", "cleanclip verify . --images FOLDER --full"),
        ("Who signed it", "cleanclip verify . --key PUBLIC_KEY.pem"),
    )


def _word(name: str) -> str:
    """A file name as one word of a command, whatever the name is."""
    safe = plain(name[:200])
    return shlex.quote(f"./{safe}" if safe.startswith("-") else safe)
