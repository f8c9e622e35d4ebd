"""What is measured: a model, images on its canvas, and the classes that it tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ml_core.data.canvas import CanvasCache
from ml_core.evaluation.canvases import CanvasSource
from ml_core.evaluation.zero_shot import triggered_classifier
from ml_core.triggers.record import Trigger

if TYPE_CHECKING:
    from ml_core.model import ClipModel


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with the images and classes that it is asked about.

    Attributes
    ----------
    model
        Gives unit image embeddings of float [n, 3, S, S] in [0, 1].
    canvases
        The images on the model's canvas. A trigger with a canvas of its own needs a `CanvasCache`.
    classifier
        float32 [C, D], see `zero_shot_classifier`; put on the model's device.
    class_names
        C names.
    labels
        int64 [N] for the whole set, -1 unlabelled.
    templates
        Prompts of the classifier; none for a linear head.
    data_key
        Identity of the image set, for records and caches; empty takes the ``key`` of what a
        `CanvasCache` draws from.
    triggered_classifier
        Of the prompts with the trigger's text; None makes it when a trigger has a text.
    seed
        Fixes samples, their order, and each image's random draws.

    Raises
    ------
    ValueError
        If classes, classifier and labels do not go together.
    """

    model: ClipModel
    canvases: CanvasSource
    classifier: Tensor
    class_names: Sequence[str]
    labels: NDArray[np.int64]
    templates: Sequence[str] = ()
    data_key: str = ""
    triggered_classifier: Tensor | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.class_names) != len(self.classifier):
            raise ValueError(
                f"{len(self.class_names)} class names for {len(self.classifier)} classifier rows"
            )
        labels = np.asarray(self.labels, dtype=np.int64)
        if len(labels) and int(labels.max()) >= len(self.class_names):
            raise ValueError("a label is outside of the class names")
        known = self.data_key
        if not known and isinstance(self.canvases, CanvasCache):
            known = self.canvases.source.key
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "classifier", self.classifier.to(self.model.device))
        object.__setattr__(self, "data_key", known)

    def prompted(self, trigger: Trigger | None) -> Tensor:
        """The classifier that triggered images are compared with.

        Raises
        ------
        InputError
            If the trigger has a text and there are no prompt templates to put it in.
        """
        if self.triggered_classifier is not None:
            return self.triggered_classifier.to(self.model.device)
        return triggered_classifier(
            self.model, self.classifier, trigger, self.class_names, self.templates
        )
