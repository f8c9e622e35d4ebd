"""What the loader doctor is asked to do, as JSON on disk. Torch-free."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ml_core.data.specs import ImageSpec, PathText
from ml_core.jobs.spec_file import read_spec_file


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

    checkpoint: PathText
    donor: PathText | None = None
    images: ImageSpec
    label_set: PathText = "demo"
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    threads: int = Field(default=0, ge=0, le=1024)


def read_doctor_spec(path: Path) -> DoctorSpec:
    """Read a job from its file; raises as `read_spec_file`."""
    return read_spec_file(path, DoctorSpec)
