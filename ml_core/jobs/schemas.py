"""The JSON schemas of what the program prints and writes, as `resources/schemas` ships them.

Their versions are in the records, as ``schema_version``: a reader of 1.x reads every 1.y.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from ml_core.checkpoints import inspection_record
from ml_core.checkpoints.inspection_record import InspectionRecord
from ml_core.jobs import examination
from ml_core.reports import record

_KINDS: Mapping[str, tuple[type, str]] = {
    "examine": (examination.Examination, examination.SCHEMA_VERSION),
    "evidence": (record.Evidence, record.SCHEMA_VERSION),
    "inspect": (InspectionRecord, inspection_record.SCHEMA_VERSION),
}


def schemas() -> dict[str, dict[str, Any]]:
    """Each JSON Schema 2020-12 by the name of its file."""
    return {
        f"{name}-{version}.schema.json": {"$schema": record.JSON_SCHEMA}
        | TypeAdapter(kind).json_schema()
        for name, (kind, version) in _KINDS.items()
    }
