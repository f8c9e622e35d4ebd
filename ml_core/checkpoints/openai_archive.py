"""What OpenAI's TorchScript archives tell beside their tensors; their code is read, not run."""

from __future__ import annotations

from ml_core.reading import Inspection
from ml_core.reading.inspection import OPENAI_SIZES


def uses_quick_gelu(inspection: Inspection) -> bool | None:
    """Whether the embedded program computes QuickGELU; None if it does not tell.

    CLIP's only use of the logistic function is QuickGELU, ``x * sigmoid(1.702 x)``.
    """
    gelu = any("torch.gelu(" in text for _, text in inspection.embedded_code)
    logistic = any("torch.sigmoid(" in text for _, text in inspection.embedded_code)
    return logistic if gelu != logistic else None


def is_openai_archive(inspection: Inspection) -> bool:
    """Whether it is a TorchScript archive with the three numbers that OpenAI's have.

    Those are published with CLIP's own mean and standard deviation.
    """
    ends = {tensor.name.rpartition(".")[2] for tensor in inspection.tensors}
    ends |= {name.rpartition(".")[2] for name in inspection.facts}
    return bool(inspection.embedded_code) and ends.issuperset(OPENAI_SIZES)
