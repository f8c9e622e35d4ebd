"""What the loader doctor is asked to do, as JSON on disk. Torch-free."""

from __future__ import annotations

from ml_core.data.specs import ImageSpec, PathText
from ml_core.jobs.specs import Machine


class DoctorSpec(Machine):
    """One examination on a few hundred labelled images."""

    checkpoint: PathText
    donor: PathText | None = None
    images: ImageSpec
    label_set: PathText = "demo"
