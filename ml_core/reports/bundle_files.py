"""The files that a record names, each read once by its inert reader: a stranger may have made them.

Torch-free.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ml_core.detection.scan.records import Scan
from ml_core.events import Metric, from_json
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile, first_fault, short
from ml_core.reports.measurement_files import parse_prompts
from ml_core.reports.open_bundle import BundleReader
from ml_core.reports.record import EVIDENCE_FILE, SCHEMA_VERSION, Evidence
from ml_core.reports.rows import Rows, from_csv

AGAIN = "get the bundle again"
JSON = JsonFile("a record of a bundle", AGAIN, 16 << 20, max_depth=32, max_parts=1_000_000)
_MOST_TEXT = 16 << 20
Prompts = tuple[tuple[str, ...], tuple[str, ...]]
Read = Callable[..., bytes]
"""Content of a file of the bundle, given its path and, where there is one, a limit in bytes."""


class Files:
    """A record and the files that it names.

    Parameters
    ----------
    evidence
        The record; its facts name the files.
    read
        Gives a file, see `Read`.
    """

    def __init__(self, evidence: Evidence, read: Read) -> None:
        self.evidence, self.read = evidence, read
        self.rows: Callable[[str], Rows] = cache(self._rows)
        self.json: Callable[[str], dict[str, Any]] = cache(self._json)
        self.scan: Callable[[str], Scan] = cache(self._scan)
        self.prompts: Callable[[str], Prompts] = cache(self._prompts)
        self.pictures: Callable[[str], PictureRows] = cache(self._pictures)

    def _rows(self, id_: str) -> Rows:
        """Answers of a measurement."""
        facts = self.evidence.measurements[id_]
        return from_csv(self.read(facts.per_image), facts.per_image, facts.classes)

    def _json(self, path: str) -> dict[str, Any]:
        """A JSON object."""
        return JSON.parse(self.read(path, JSON.max_bytes), path)

    def _scan(self, id_: str) -> Scan:
        """The record of a scan."""
        facts = self.evidence.scans[id_]
        if "scan" not in facts.files:
            raise InputError(f"{id_} names no file of its scan.", "damaged")
        path = facts.files["scan"]
        return JSON.check(self.json(path), Scan, path)

    def _prompts(self, id_: str) -> Prompts:
        """Templates and class names of a measurement."""
        return parse_prompts(self.read(self.evidence.measurements[id_].prompts, _MOST_TEXT))

    def _pictures(self, id_: str) -> PictureRows:
        """The list of an image set's pictures."""
        facts = self.evidence.data[id_]
        if facts.rows is None:
            raise InputError(f"{id_} has no list of its pictures.", "damaged")
        return parse_pictures(self.read(facts.rows), facts.rows)

    def metrics(self) -> dict[str, list[dict[str, Any]]]:
        """The evaluations and losses of each job, from its journal."""
        named = {id_: job.files.get("journal") for id_, job in self.evidence.jobs.items()}
        return {
            id_: journal_metrics(self.read(path), path)
            for id_, path in named.items()
            if path is not None
        }


def journal_metrics(raw: bytes, name: str) -> list[dict[str, Any]]:
    """The evaluations and losses in a run's journal: ``step`` and the values.

    Raises
    ------
    InputError
        ``damaged`` if a line is no event.
    """
    metrics: list[dict[str, Any]] = []
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        try:
            event = from_json(line)
        except ValueError:
            raise InputError(f"{name} is damaged: line {number} is no event.", "damaged") from None
        if isinstance(event, Metric):
            metrics.append({"step": event.step, **event.values})
    return metrics


@dataclass(frozen=True, eq=False)
class PictureRows:
    """The pictures of an image set, in its order.

    Attributes
    ----------
    indices, labels, sizes
        int64 [n]; labels are -1 where the picture has no label.
    names, digests
        Name below the set's folder, and SHA-256 in hex (empty where a picture is no file).
    """

    indices: NDArray[np.int64]
    names: tuple[str, ...]
    digests: tuple[str, ...]
    sizes: NDArray[np.int64]
    labels: NDArray[np.int64]

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
    if not all(number.isascii() and number.isdigit() and len(number) < 16 for number in numbers):
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


_EVIDENCE = JsonFile("an evidence record", AGAIN, 16 << 20, max_depth=16, max_parts=1_000_000)
_ROUNDS = 4  # unknown fields can be nested
_UNKNOWN = {"extra_forbidden", "union_tag_invalid"}


class NewerSchemaError(InputError):
    """The bundle was written by a later version, whose record this one cannot read."""


class Bundle(Files):
    """A bundle whose record could be read.

    Attributes
    ----------
    reader
        Its files.
    unknown
        Fields and claims of a later version of the same schema that were passed over.
    """

    def __init__(self, reader: BundleReader) -> None:
        self.reader = reader
        evidence, self.unknown = read_evidence(reader)
        super().__init__(evidence, reader.read)


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
    evidence = _EVIDENCE.parse(raw, EVIDENCE_FILE)
    version = evidence.get("schema_version")
    major, dot, minor = version.partition(".") if isinstance(version, str) else ("", "", "")
    if not (dot and major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise InputError(f"{EVIDENCE_FILE} does not say which schema it has; {AGAIN}.", "damaged")
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
            return Evidence.model_validate_json(
                json.dumps(evidence, ensure_ascii=False), strict=True
            ), tuple(unknown)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            if not (later and left) or any(fault["type"] not in _UNKNOWN for fault in faults):
                raise _invalid(error) from None
            places = [fault["loc"] for fault in faults]
            unknown += [".".join(map(str, place)) for place in places]
            for place in reversed(places):  # the last first, so that positions stay true
                _drop(evidence, place)
    raise AssertionError("the last round returns or raises")


def _invalid(error: ValidationError) -> InputError:
    return InputError(
        f"{EVIDENCE_FILE} is not a record of this schema: {first_fault(error)}.",
        "damaged",
        str(error)[:4000],
    )


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
