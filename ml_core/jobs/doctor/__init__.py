"""What the loader doctor is asked to do, as JSON on disk. Torch-free."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from ml_core.data.specs import ImageSpec, PathText
from ml_core.jobs import specs


class DoctorSpec(BaseModel):
    """One examination on a few hundred labelled images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: PathText
    donor: PathText | None = None
    images: ImageSpec
    label_set: PathText = "demo"
    device: specs.Device = "auto"
    threads: specs.Threads = 0
