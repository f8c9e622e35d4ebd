"""What an attribution found, with everything needed to repeat it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["grad-cam", "attention", "occlusion"]
METHOD_TITLES: dict[Method, str] = {
    "grad-cam": "Grad-CAM",
    "attention": "Gradient-weighted attention",
    "occlusion": "Occlusion",
}


@dataclass(frozen=True, eq=False)
class HeatMap:
    """One image and what in it speaks for a class.

    Attributes
    ----------
    image
        uint8 [S, S, 3], as the model sees it.
    values
        float32 [g, g], raw: weight of each cell, for occlusion the logit that it carries.
    logit, probability
        Of the class, over all classes of the set.
    top1
        Index of the predicted class.
    """

    image: NDArray[np.uint8]
    values: NDArray[np.float32]
    logit: float
    probability: float
    top1: int

    @property
    def peak(self) -> float:
        """Largest absolute value."""
        return float(np.abs(self.values).max(initial=0.0))


@dataclass(frozen=True, eq=False)
class Attribution:
    """Where a model looks on one image, without and with the trigger, for one class.

    Both maps are of the same class and in the same unit: one colour scale, ending at `peak`, goes
    for both.

    Attributes
    ----------
    layer
        What was looked at: a convolution stage, the attention layers, the size of the patches.
    settings
        The method's numbers: grid, patch, stride, what covers a patch.
    """

    method: Method
    layer: str
    index: int
    class_index: int
    class_names: tuple[str, ...]
    clean: HeatMap
    triggered: HeatMap | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    checkpoint: str = ""
    checkpoint_sha256: str | None = None
    data_key: str = ""
    trigger: str | None = None
    trigger_name: str = ""
    templates: tuple[str, ...] = ()
    seed: int = 0
    device: str = "cpu"
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def class_name(self) -> str:
        """Name of the class that is explained."""
        return self.class_names[self.class_index]

    @property
    def peak(self) -> float:
        """End of the colour scale that both maps share."""
        return max(part.peak for part in self.parts().values())

    @property
    def signed(self) -> bool:
        """Whether a map has negative cells: they speak against the class."""
        return any(bool((part.values < 0).any()) for part in self.parts().values())

    def parts(self) -> dict[str, HeatMap]:
        """The maps by name, ``clean`` and, with a trigger, ``triggered``."""
        found = {"clean": self.clean}
        return found if self.triggered is None else found | {"triggered": self.triggered}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready copy, without the pictures."""
        return {
            "method": self.method,
            "layer": self.layer,
            "index": self.index,
            "class_index": self.class_index,
            "class_name": self.class_name,
            "peak": self.peak,
            "settings": dict(self.settings),
            "maps": {
                name: {
                    "logit": part.logit,
                    "probability": part.probability,
                    "top1": part.top1,
                    "top1_name": self.class_names[part.top1],
                    "values": [[round(float(v), 6) for v in row] for row in part.values],
                }
                for name, part in self.parts().items()
            },
            "checkpoint": self.checkpoint,
            "checkpoint_sha256": self.checkpoint_sha256,
            "data_key": self.data_key,
            "trigger": self.trigger,
            "trigger_name": self.trigger_name,
            "templates": list(self.templates),
            "seed": self.seed,
            "precision": "fp32",
            "device": self.device,
            "versions": dict(self.versions),
        }
