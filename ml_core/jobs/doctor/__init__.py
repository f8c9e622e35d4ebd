"""What the loader doctor is asked to do, as JSON on disk. Torch-free."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ml_core.data.specs import ImageSpec, PathText
from ml_core.jobs import specs
from ml_core.jobs.specs import read_spec_file


class DoctorSpec(BaseModel):
    """One examination on a few hundred labelled images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: PathText
    donor: PathText | None = None
    images: ImageSpec
    label_set: PathText = "demo"
    device: specs.Device = "auto"
    threads: specs.Threads = 0


def read_doctor_spec(path: Path) -> DoctorSpec:
    """Read a job from its file; raises as `read_spec_file`."""
    return read_spec_file(path, DoctorSpec)
