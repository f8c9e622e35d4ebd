"""A trigger and a detector for CleanCLIP GUI."""

import numpy as np
from torch import Tensor, linalg
from torch.nn import functional as F

from ml_core.detection.records import Detector, Score
from ml_core.triggers import Trigger
from ml_core.triggers.library import PublishedTrigger


def _checkers(size: int) -> Trigger:
    """A checkerboard of 8 x 8 pixels in the lower right corner."""
    dark = np.indices((8, 8)).sum(0) % 2 == 0
    pixels = np.where(dark[..., None], (0, 0, 0, 255), (255, 255, 255, 255)).astype(np.uint8)
    share = 8 / size
    return Trigger(
        kind="patch", name="Checkers", pixels=pixels, size=share, x=1 - share / 2, y=1 - share / 2
    )


checkers = PublishedTrigger(
    id="X1",
    name="Checkers",
    source="cleanclip-example",
    convention="on the model's input, in the lower right corner",
    sizes=(),
    make=_checkers,
)


def _along_the_strongest(images: Tensor, texts: Tensor) -> Tensor:
    """How far each picture lies along the direction in which the pictures differ most.

    Spectral signatures (Tran, Li and Madry, NeurIPS 2018), on CLIP's embeddings.
    """
    centred = F.normalize(images.double(), dim=-1)
    centred = centred - centred.mean(0)
    strongest = linalg.svd(centred, full_matrices=False).Vh[0]
    return (centred @ strongest).square()


direction = Detector(
    Score(
        name="spectral",
        title="Spectral signature",
        high=True,
        says="Lies far along the direction in which the pictures differ most.",
        source="Tran, Li and Madry, NeurIPS 2018",
    ),
    _along_the_strongest,
)
