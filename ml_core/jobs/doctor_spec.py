"""What the loader doctor is asked to do, as JSON on disk. Torch-free."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_core.atomic import replace_files
from ml_core.data.specs import ImageSpec
from ml_core.reading.errors import InputError
from ml_core.reading.strict_json import JsonError, parse_object

_MAX_BYTES = 1_000_000


class DoctorSpec(BaseModel):
    """One examination.

    Attributes
    ----------
    checkpoint, donor
        As of a `CleanSpec`.
    images
        A few hundred labelled images.
    label_set
        Name of a label set, or a text file with one class a line.
    device, threads
        As of a `CleanSpec`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str
    donor: str | None = None
    images: ImageSpec
    label_set: str = "demo"
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    threads: int = Field(default=0, ge=0, le=1024)


def write_doctor_spec(spec: DoctorSpec, path: Path) -> Path:
    """Write ``spec`` as JSON; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_files({path: spec.model_dump_json(indent=1).encode()})
    return path


def read_doctor_spec(path: Path) -> DoctorSpec:
    """Read what :func:`write_doctor_spec` wrote.

    Raises
    ------
    InputError
        If the file is missing, is not JSON, or a field is missing or out of range.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path.name} is too large for a job file (over 1 MB).", "damaged")
        return DoctorSpec.model_validate(parse_object(path.read_bytes(), max_bytes=_MAX_BYTES))
    except FileNotFoundError as error:
        raise InputError(f"There is no job file at {path}.") from error
    except (OSError, JsonError) as error:
        raise InputError(
            f"{path.name} is not a job file: it cannot be read as JSON.", "damaged", str(error)
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise InputError(
            f"The job in {path.name} cannot run: {place}: {first['msg']}.", "damaged"
        ) from error
