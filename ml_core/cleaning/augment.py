"""Augmented views of a batch of pictures, all drawn from one generator."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ml_core.cleaning.autoaugment import autoaugmented
from ml_core.cleaning.recipe_fields import Augmentation

Pictures = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
CLIP_COLOUR: Colour = (123, 117, 104)  # CLIP's mean, which normalises to about 0

# PAR (arXiv 2412.00727): Gaussian noise, then an erased square, each for every second image.
_NOISE, _CHANCE = 0.2, 0.5
_SMALLEST, _LARGEST = 0.005, 0.01


def augment_images(
    images: Pictures,
    kind: Augmentation,
    generator: np.random.Generator,
    fill: Colour = CLIP_COLOUR,
) -> Pictures:
    """Draw one augmented view of every image.

    Parameters
    ----------
    images
        uint8 [N, H, W, 3]; left unchanged.
    kind
        ``autoaugment``, ``flip`` (left to right with probability 1/2), ``noise-erase`` (see
        `noise_and_erase`; ``noise-erase-code`` as PAR's code draws the noise) or ``none``.
    generator
        Source of all draws; their number depends on the images' shape alone.
    fill
        Colour of erased squares: the model's mean, so that they are 0 once normalised.

    Returns
    -------
    numpy.ndarray
        uint8 [N, H, W, 3].
    """
    if kind == "none":
        return images
    if kind == "flip":
        flipped = generator.random(len(images)) < 0.5
        return np.where(flipped[:, None, None, None], images[:, :, ::-1], images)
    if kind == "autoaugment":
        return autoaugmented(images, generator)
    return noise_and_erase(images, generator, fill, brighten=kind == "noise-erase-code")


def noise_and_erase(
    images: Pictures, generator: np.random.Generator, fill: Colour, *, brighten: bool = False
) -> Pictures:
    """PAR's augmentation, drawn on bytes before normalisation.

    With probability 1/2 each value gets N(0, 0.2) (of full brightness) and the sum is clipped;
    with probability 1/2 a square of 0.5 to 1 % of the area takes the colour ``fill``.

    Parameters
    ----------
    brighten
        As PAR's code does it: the noise itself is clipped to [0, 1] before it is added, so that
        pictures only become brighter. The paper's text asks for noise on both sides.
    """
    count, height, width, _ = images.shape
    made = images.copy()
    chances = generator.random((count, 2))
    areas = np.asarray(_SMALLEST + (_LARGEST - _SMALLEST) * generator.random(count))
    places = generator.random((count, 2))
    noise: npt.NDArray[np.float32] = generator.standard_normal(images.shape, dtype=np.float32)
    for i in range(count):
        if chances[i, 0] < _CHANCE:
            added: npt.NDArray[np.float32] = _NOISE * noise[i]
            if brighten:
                added = np.clip(added, 0.0, 1.0)
            made[i] = np.clip(np.rint(images[i] + 255.0 * added), 0, 255).astype(np.uint8)
        if chances[i, 1] < _CHANCE:
            side = max(1, round(float(np.sqrt(areas[i] * height * width))))
            top = int(places[i, 0] * (height - side + 1))
            left = int(places[i, 1] * (width - side + 1))
            made[i, top : top + side, left : left + side] = fill
    return made
