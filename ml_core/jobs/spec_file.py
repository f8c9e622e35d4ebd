"""A job's record as JSON on disk. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ml_core.atomic import replace_files
from ml_core.cleaning.recipes import explain
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import read_file
from ml_core.reading.strict_json import JsonError, parse_object

_MAX_BYTES = 1_000_000
Spec = TypeVar("Spec", bound=BaseModel)


def write_spec_file(spec: BaseModel, path: Path) -> Path:
    """Write ``spec`` as JSON; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_files({path: spec.model_dump_json(indent=1).encode()})
    return path


def read_spec_file(path: Path, kind: type[Spec]) -> Spec:
    """Read what :func:`write_spec_file` wrote.

    Raises
    ------
    InputError
        If the file is missing, is not JSON, or a field is missing or out of range.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path.name} is not a job file: it is no regular file.", "damaged")
        raw = read_file(path, _MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise InputError(f"{path.name} is too large for a job file (over 1 MB).", "damaged")
        return kind.model_validate(parse_object(raw, max_bytes=_MAX_BYTES))
    except FileNotFoundError as error:
        raise InputError(f"There is no job file at {path}.") from error
    except (OSError, JsonError) as error:
        raise InputError(
            f"{path.name} is not a job file: it cannot be read as JSON.", "damaged", str(error)
        ) from error
    except ValidationError as error:
        raise InputError(f"The job in {path.name} cannot run: {explain(error)}") from error
