"""The linear head of a finetuned classifier, which is kept beside the CLIP that it was put on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ml_core.checkpoints.openai_names import is_head


@dataclass(frozen=True, slots=True)
class Head:
    """Names of its tensors in the file, its classes and the features that it reads."""

    weight: str
    bias: str | None
    classes: int
    features: int

    @property
    def sentence(self) -> str:
        """What is said of it."""
        return (
            f"The file holds a linear head of {self.classes} classes over {self.features} "
            f"features ({self.weight[:80]}), which is kept beside the model: images are "
            "classified here by text prompts, not by the head."
        )


def find_head(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> Head | None:
    """The head beside the model whose names begin with ``prefix``, if there is just one."""
    found = [
        name
        for name in _beside(shapes, prefix)
        if name.endswith(".weight") and len(shapes[name]) == 2
    ]
    if len(found) != 1:
        return None
    (weight,) = found
    classes, features = shapes[weight]
    bias = weight.removesuffix("weight") + "bias"
    return Head(weight, bias if shapes.get(bias) == (classes,) else None, classes, features)


def _beside(names: Iterable[str], prefix: str) -> list[str]:
    """Tensors that are named like a head."""
    return [name for name in names if is_head(name, prefix)]
