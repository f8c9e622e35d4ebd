"""The record of an open bundle, which a later version may have written."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile, first_fault, short
from ml_core.reports.bundle_files import AGAIN, Files
from ml_core.reports.open_bundle import BundleReader
from ml_core.reports.record import EVIDENCE_FILE, SCHEMA_VERSION, Evidence

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
