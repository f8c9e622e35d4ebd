"""The spec of a measurement that is kept as evidence. Torch-free."""

from __future__ import annotations

from typing import Literal

from ml_core.data.specs import PathText
from ml_core.jobs.specs import Machine, OnModel, Setting


class MeasurementSpec(Machine, Setting, OnModel):
    """One checkpoint, measured in fp32 on a set of pictures, and kept with every answer.

    ``when`` is ``reference`` for a model to compare with, ``after`` for one that was cleaned.
    Without ``output_dir`` nothing is kept.
    """

    targeted: bool = True
    when: Literal["evaluation", "reference", "after"] = "evaluation"
    output_dir: PathText | None = None
