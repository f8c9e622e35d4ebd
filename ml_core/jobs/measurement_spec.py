"""What a measurement that is kept as evidence is asked to be, as a record. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ml_core.data.specs import ImageSpec, PathText


class MeasurementSpec(BaseModel):
    """One checkpoint, measured in fp32 on a set of pictures and kept with every answer.

    Attributes
    ----------
    checkpoint, donor, use_choice
        As of a `CleanSpec`.
    images
        What it is measured on.
    label_set, templates, trigger, target, targeted, device, threads
        As of a `CleanSpec`.
    when
        ``reference`` for a model to compare with.
    output_dir
        The measurement folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: PathText
    donor: PathText | None = None
    use_choice: bool = True
    images: ImageSpec
    label_set: PathText = "demo"
    templates: tuple[str, ...] | None = None
    trigger: PathText | None = None
    target: int = Field(default=0, ge=0, lt=2**31)
    targeted: bool = True
    when: Literal["evaluation", "reference"] = "evaluation"
    output_dir: PathText
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    threads: int = Field(default=0, ge=0, le=1024)
