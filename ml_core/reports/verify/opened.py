"""The record of an open bundle, and the files that it names, each read once by its inert reader."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ml_core.detection.scan.records import Scan
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile, first_fault, short
from ml_core.reports.measurement_files import parse_prompts
from ml_core.reports.open_bundle import BundleReader
from ml_core.reports.record import (
    EVIDENCE_FILE,
    SCHEMA_VERSION,
    DataFacts,
    Evidence,
    MeasurementFacts,
)
from ml_core.reports.rows import Rows, from_csv

Read = TypeVar("Read")
_AGAIN = "get the bundle again"
_EVIDENCE = JsonFile("an evidence record", _AGAIN, 16 << 20, max_depth=16, max_parts=1_000_000)
_JSON = JsonFile("a record of a bundle", _AGAIN, 16 << 20, max_depth=32, max_parts=1_000_000)
_MOST_TEXT = 16 << 20
_ROUNDS = 4  # what is not known may hide what is not known
_UNKNOWN = {"extra_forbidden", "union_tag_invalid"}


class NewerSchemaError(InputError):
    """The bundle was written by a later version, whose record this one cannot read."""


class Bundle:
    """A bundle whose record could be read.

    Attributes
    ----------
    reader
        Its files.
    evidence
        The record.
    unknown
        Fields and claims of a later version of the same schema that were passed over.
    """

    def __init__(self, reader: BundleReader) -> None:
        self.reader = reader
        self.evidence, self.unknown = read_evidence(reader)
        self.rows: Callable[[str], Rows] = cache(self._rows)
        self.json: Callable[[str], dict[str, Any]] = cache(self._json)
        self.scan: Callable[[str], Scan] = cache(self._scan)
        self.prompts: Callable[[str], tuple[tuple[str, ...], tuple[str, ...]]] = cache(
            self._prompts
        )
        self.pictures: Callable[[str], PictureRows] = cache(self._pictures)

    def measurement(self, id_: str) -> MeasurementFacts:
        """Facts of a measurement that the record has."""
        return self.evidence.measurements[id_]

    def _rows(self, id_: str) -> Rows:
        """Answers of a measurement."""
        facts = self.measurement(id_)
        return from_csv(self.reader.read(facts.per_image), facts.per_image, facts.classes)

    def _json(self, path: str) -> dict[str, Any]:
        """A JSON object of the bundle."""
        return _JSON.parse(self.reader.read(path, _JSON.max_bytes), path)

    def _scan(self, id_: str) -> Scan:
        """The record of a scan."""
        facts = self.evidence.scans[id_]
        if "scan" not in facts.files:
            raise InputError(f"{id_} names no file of its scan.", "damaged")
        path = facts.files["scan"]
        return _JSON.check(self.json(path), Scan, path)

    def _prompts(self, id_: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Templates and class names of a measurement."""
        return parse_prompts(self.reader.read(self.measurement(id_).prompts, _MOST_TEXT))

    def _pictures(self, id_: str) -> PictureRows:
        """The list of an image set's pictures."""
        facts: DataFacts = self.evidence.data[id_]
        if facts.rows is None:
            raise InputError(f"{id_} has no list of its pictures.", "damaged")
        return parse_pictures(self.reader.read(facts.rows), facts.rows)


def read_evidence(reader: BundleReader) -> tuple[Evidence, tuple[str, ...]]:
    """The record, and what of it a later 1.x version has added.

    Raises
    ------
    NewerSchemaError
        ``unsupported`` if it is of another major version.
    InputError
        ``damaged`` if it is no such record.
    """
    raw = reader.read(EVIDENCE_FILE, _EVIDENCE.max_bytes)
    found = _EVIDENCE.parse(raw, EVIDENCE_FILE)
    version = found.get("schema_version")
    major, dot, minor = version.partition(".") if isinstance(version, str) else ("", "", "")
    if not (dot and major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise InputError(f"{EVIDENCE_FILE} does not say which schema it has; {_AGAIN}.", "damaged")
    if major != SCHEMA_VERSION.partition(".")[0]:
        raise NewerSchemaError(
            f"The bundle has schema {short(str(version), 20)}, and this version of the program "
            f"reads {SCHEMA_VERSION.partition('.')[0]}.x: check it with a newer version.",
            "unsupported",
        )
    later = int(minor[:9]) > int(SCHEMA_VERSION.partition(".")[2])
    unknown: list[str] = []
    for left in reversed(range(_ROUNDS)):
        try:
            # Strict: a "5" is no 5. As JSON, for in it a list stands for a tuple.
            return Evidence.model_validate_json(_dumped(found), strict=True), tuple(unknown)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            if not (later and left) or any(one["type"] not in _UNKNOWN for one in faults):
                raise _invalid(error) from None
            places = [one["loc"] for one in faults]
            unknown += [".".join(map(str, place)) for place in places]
            for place in reversed(places):  # the last first, so that positions stay true
                _drop(found, place)
    raise AssertionError("the last round returns or raises")


def _invalid(error: ValidationError) -> InputError:
    return InputError(
        f"{EVIDENCE_FILE} is not a record of this schema: {first_fault(error)}.",
        "damaged",
        str(error)[:4000],
    )


def _dumped(value: dict[str, Any]) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _drop(value: Any, place: tuple[int | str, ...]) -> None:
    """Take out what is not known; pydantic's place also names which kind of claim it is in."""
    if place[0] == "claims" and len(place) > 3:
        place = (*place[:2], *place[3:])
    *way, last = place
    for step in way:
        is_key = isinstance(value, dict) and step in value
        if is_key or isinstance(value, list):
            value = value[step]
    if isinstance(value, dict):
        value.pop(last, None)
    elif isinstance(value, list) and isinstance(last, int):
        del value[last]


class PictureRows:
    """The pictures of an image set, in its order.

    Attributes
    ----------
    indices, labels, sizes
        int64 [n]; labels are -1 where there is none.
    names, digests
        Name below the set's folder, and SHA-256 in hex (empty where a picture is no file).
    """

    def __init__(
        self,
        indices: NDArray[np.int64],
        names: tuple[str, ...],
        digests: tuple[str, ...],
        sizes: NDArray[np.int64],
        labels: NDArray[np.int64],
    ) -> None:
        self.indices, self.names, self.digests = indices, names, digests
        self.sizes, self.labels = sizes, labels

    def __len__(self) -> int:
        return len(self.names)


PICTURE_COLUMNS = ("index", "name", "sha256", "bytes", "label")
_MOST_PICTURES = 5_000_000
_HEX = frozenset("0123456789abcdef")


def parse_pictures(raw: bytes, name: str) -> PictureRows:
    """``data/ID.csv``, which a stranger may have written.

    Raises
    ------
    InputError
        ``damaged`` with the first row that is wrong.
    """
    rows: list[tuple[int, str, str, int, int]] = []
    seen: set[str] = set()
    last = -1
    for number, cells in enumerate(_records(raw, name)):
        if number == 0:
            if tuple(cells) != PICTURE_COLUMNS:
                raise InputError(f"{name} is damaged: it is no list of pictures.", "damaged")
            continue
        fault = _fault(cells, last, seen)
        if fault:
            raise InputError(f"{name} is damaged: row {number} {fault}.", "damaged")
        if number > _MOST_PICTURES:
            raise InputError(f"{name} is damaged: it has too many rows.", "damaged")
        last = int(cells[0])
        seen.add(cells[1])
        rows.append((last, cells[1], cells[2], int(cells[3]), int(cells[4])))
    if not rows:
        raise InputError(f"{name} is damaged: it has no rows.", "damaged")
    indices, names, digests, sizes, labels = zip(*rows, strict=True)
    return PictureRows(
        np.asarray(indices, np.int64), names, digests,
        np.asarray(sizes, np.int64), np.asarray(labels, np.int64),
    )  # fmt: skip


def _records(raw: bytes, name: str) -> Iterator[list[str]]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{name} is damaged: it is not UTF-8 text.", "damaged") from None
    try:
        yield from csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error:
        raise InputError(f"{name} is damaged: it cannot be split into fields.", "damaged") from None


def _fault(cells: list[str], last: int, seen: set[str]) -> str:
    """What is wrong with a row, or nothing."""
    if len(cells) != len(PICTURE_COLUMNS):
        return f"does not have {len(PICTURE_COLUMNS)} cells"
    numbers = cells[0], cells[3], cells[4].removeprefix("-")
    if not all(one.isascii() and one.isdigit() and len(one) < 16 for one in numbers):
        return "holds what is no number"
    if int(cells[0]) <= last:
        return "is not in the order of the pictures, each once"
    if cells[1] in seen:
        return f"names {short(cells[1], 80)} again"
    if int(cells[4]) < -1:
        return "has a label that is none"
    if cells[2] and (len(cells[2]) != 64 or not set(cells[2]) <= _HEX):
        return "has a SHA-256 that is none"
    return ""
