"""A job's record as JSON on disk. Torch-free."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ml_core.atomic import replace_files
from ml_core.cleaning.recipes import explain
from ml_core.data.specs import PATH_FIELDS
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile
from ml_core.reading.plain import plain

_JOB = JsonFile("a job file", "write it anew", max_bytes=1_000_000, path_fields=PATH_FIELDS)
Spec = TypeVar("Spec", bound=BaseModel)


def write_spec_file(spec: BaseModel, path: Path) -> Path:
    """Write ``spec`` as JSON; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Escapes hold the names of files that are no UTF-8, which pydantic cannot write.
    replace_files({path: json.dumps(spec.model_dump(mode="json"), indent=1).encode()})
    return path


def read_spec_file(path: Path, kind: type[Spec]) -> Spec:
    """Read what :func:`write_spec_file` wrote.

    Raises
    ------
    InputError
        If the file is missing, is not JSON, or a field is missing or out of range.
    """
    fields = _JOB.read(path, inside=path.parent)
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"The job in {plain(path.name)} cannot run: {explain(error)}") from error
