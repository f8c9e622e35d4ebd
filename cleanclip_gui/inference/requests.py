"""What the window asks of the inference thread, and what comes back: frozen, torch-free records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cleanclip_gui.inference.explaining import Explain

if TYPE_CHECKING:
    from cleanclip_gui.session.records import CheckpointFacts, Role
    from ml_core.data.specs import ImageSpec
    from ml_core.evaluation.records import Evaluation, PerImage
    from ml_core.triggers import Trigger


CANCELLED = "cancelled"
"""Code of a :class:`Failed` that the user, or a newer wish, has brought about."""


@dataclass(frozen=True, eq=False)
class OpenCheckpoint:
    """Open a checkpoint in the place of the suspect or of the cleaned one.

    ``donor`` is a whole CLIP that gives the encoder which the file lacks. ``adapter`` is put on
    the weights; with ``vector``, a direction in weight space, ``alpha`` of it is added to them.
    """

    path: str
    role: Role = "suspect"
    donor: str = ""
    adapter: str = ""
    vector: str = ""
    alpha: float = 0.0


@dataclass(frozen=True, eq=False)
class CheckpointOpened:
    """A checkpoint is in memory and ready to be asked."""

    role: Role
    checkpoint: CheckpointFacts


@dataclass(frozen=True, eq=False)
class LoadImages:
    """Open evaluation images; ``label_set`` is a name or a file, templates None its own."""

    spec: ImageSpec
    label_set: str
    templates: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Loading:
    """How far the opening of images is; ``total`` 0 is of unknown length."""

    request: LoadImages
    what: str
    done: int
    total: int


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Ask for pictures of the set, ``size`` pixels square."""

    indices: tuple[int, ...]
    size: int


@dataclass(frozen=True, eq=False)
class ThumbnailsReady:
    """Pictures of the set, uint8 [n, s, s, 3]."""

    indices: tuple[int, ...]
    images: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Evaluate:
    """Measure a trigger (None: the clean set alone) over ``n`` images (None: all of them)."""

    trigger: Trigger | None
    target: int
    n: int | None = None
    role: Role = "suspect"


@dataclass(frozen=True, eq=False)
class EvaluationUpdated:
    """A partial or final measurement; ``generation`` is what :meth:`Inference.submit` returned."""

    generation: int
    role: Role
    evaluation: Evaluation
    per_image: PerImage
    indices: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Look:
    """Ask what the model says of a few images, such as those on screen: no sample of the set."""

    indices: tuple[int, ...]
    trigger: Trigger | None
    target: int
    role: Role = "suspect"


@dataclass(frozen=True, eq=False)
class Looked:
    """What the model says of these images; those that could not be read are left out."""

    generation: int
    request: Look
    per_image: PerImage


@dataclass(frozen=True, eq=False)
class Predict:
    """Ask for the class probabilities of one image, clean and triggered."""

    index: int
    trigger: Trigger | None
    role: Role = "suspect"


@dataclass(frozen=True, eq=False)
class PredictionReady:
    """One image as the model sees it, uint8 [S, S, 3], and its probabilities, float32 [C].

    Without a trigger ``triggered_image`` and ``triggered_probs`` are None.
    """

    index: int
    role: Role
    clean_image: NDArray[np.uint8]
    triggered_image: NDArray[np.uint8] | None
    clean_probs: NDArray[np.float32]
    triggered_probs: NDArray[np.float32] | None
    generation: int = 0


@dataclass(frozen=True, eq=False)
class SetDevice:
    """Move the models to another device; the handle's ``set_device`` submits it."""

    name: str


@dataclass(frozen=True, eq=False)
class Failed:
    """A request that came to nothing: one plain sentence, and details on demand.

    ``lacks`` names the encoder, image or text, that a donor must give.
    """

    request: Request
    sentence: str
    details: str = ""
    code: str = "internal"
    lacks: str = ""

    @property
    def shown_by_a_panel(self) -> bool:
        """Whether the panel that asked shows the sentence itself, or nobody need be told."""
        if self.code == CANCELLED:
            return True
        if isinstance(self.request, OpenCheckpoint):
            return self.request.role == "suspect"
        return isinstance(self.request, (Thumbnails, Evaluate, Look, Predict, Explain))


Request = OpenCheckpoint | LoadImages | Thumbnails | Evaluate | Look | Predict | SetDevice | Explain
