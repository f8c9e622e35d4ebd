"""What a measurement that is kept as evidence is asked to be, as a record. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from ml_core.data.specs import ImageSpec, PathText
from ml_core.jobs import specs


class MeasurementSpec(BaseModel):
    """One checkpoint, measured in fp32 on a set of pictures and kept with every answer.

    ``when`` is ``reference`` for a model to compare with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: PathText
    donor: PathText | None = None
    use_choice: bool = True
    images: ImageSpec
    label_set: PathText = "demo"
    templates: tuple[str, ...] | None = None
    trigger: PathText | None = None
    target: specs.Target = 0
    targeted: bool = True
    when: Literal["evaluation", "reference"] = "evaluation"
    output_dir: PathText
    device: specs.Device = "auto"
    threads: specs.Threads = 0
