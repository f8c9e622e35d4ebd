"""Augmented views of a batch of pictures. Torch-free.

What is drawn is drawn for the whole batch, one row an image, so that an image's view depends on
seed, step and place in the batch alone: not on who makes the batch, nor on other pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

from ml_core.cleaning.recipe_fields import Augmentation

Operation = Callable[[Image.Image, float], Image.Image]
Table = tuple[tuple[tuple[str, float, float], ...], ...]
POLICIES = 25
_BINS = 10
_given: list[Table] = []
_SIGNED = frozenset({"ShearX", "Rotate", "Color", "Contrast", "Sharpness"})


def _shear_x(image: Image.Image, amount: float) -> Image.Image:
    """Horizontal shear about the top-left pixel; uncovered pixels are black."""
    matrix = (1.0, amount, 0.0, 0.0, 1.0, 0.0)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


_OPERATIONS: dict[str, Operation] = {
    "ShearX": _shear_x,
    "Rotate": lambda image, degrees: image.rotate(degrees, Image.Resampling.NEAREST),
    "Color": lambda image, amount: ImageEnhance.Color(image).enhance(1.0 + amount),
    "Contrast": lambda image, amount: ImageEnhance.Contrast(image).enhance(1.0 + amount),
    "Sharpness": lambda image, amount: ImageEnhance.Sharpness(image).enhance(1.0 + amount),
    "Posterize": lambda image, bits: ImageOps.posterize(image, int(bits)),
    "Solarize": lambda image, threshold: ImageOps.solarize(image, threshold),  # type: ignore[arg-type]
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Invert": lambda image, _: ImageOps.invert(image),
}


@lru_cache(maxsize=1)
def policy_table() -> Table:
    """The 25 sub-policies, each two (operation, probability, amount), as torchvision has them."""
    if _given:
        return _given[0]
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    policies: list[Any] = AutoAugment(AutoAugmentPolicy.IMAGENET).policies
    return tuple(
        tuple((name, chance, _magnitude(name, level)) for name, chance, level in pair)
        for pair in policies
    )


def use_table(table: Table) -> None:
    """Take the table from the process that has torchvision, before it is first asked for."""
    _given.append(table)


def _magnitude(operation: str, level: int | None) -> float:
    """Strength of an operation at a magnitude bin (0 to 9), in torchvision's float32."""
    import torch

    if level is None:
        return 0.0
    if operation == "Posterize":
        return float(8 - round(4 * level / (_BINS - 1)))
    low, high = {"ShearX": (0.0, 0.3), "Rotate": (0.0, 30.0), "Solarize": (255.0, 0.0)}.get(
        operation, (0.0, 0.9)
    )
    return float(torch.linspace(low, high, _BINS)[level])


def autoaugment(
    image: Image.Image, policy: int, chances: Sequence[float], signs: Sequence[int]
) -> Image.Image:
    """Apply one sub-policy of AutoAugment (Cubuk et al. 2019, appendix, ImageNet table).

    Parameters
    ----------
    image
        RGB picture.
    policy
        Number of the sub-policy, 0 to 24.
    chances
        Two uniform numbers in [0, 1); an operation runs where its probability is not below.
    signs
        0 turns a signed magnitude negative, 1 leaves it.
    """
    for (name, probability, strength), chance, sign in zip(
        policy_table()[policy], chances, signs, strict=True
    ):
        if chance <= probability:
            amount = -strength if name in _SIGNED and sign == 0 else strength
            image = _OPERATIONS[name](image, amount)
    return image


Pictures = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
CLIP_COLOUR: Colour = (123, 117, 104)  # CLIP's mean, which normalises to about 0

# PAR (arXiv 2412.00727): Gaussian noise, then an erased square, each for every second image.
_NOISE, _CHANCE = 0.2, 0.5
_SMALLEST, _LARGEST = 0.005, 0.01


@dataclass(frozen=True, eq=False)
class Draws:
    """What was drawn for each of N images.

    Attributes
    ----------
    kind
        What they are augmented by.
    choices
        int64 [N]: whether ``flip`` does, the policy of ``autoaugment`` (0 to 24), the seed of
        PAR's noise.
    chances
        float [N, 2], uniform.
    signs
        int64 [N, 2], 0 or 1.
    places
        float [N, 3], uniform: size, row and column of an erased square.
    """

    kind: Augmentation
    choices: npt.NDArray[np.int64]
    chances: npt.NDArray[np.float64]
    signs: npt.NDArray[np.int64]
    places: npt.NDArray[np.float64]

    def rows(self, places: npt.NDArray[np.int64]) -> Draws:
        return Draws(
            self.kind,
            self.choices[places],
            self.chances[places],
            self.signs[places],
            self.places[places],
        )


def draw_augmentations(count: int, kind: Augmentation, generator: np.random.Generator) -> Draws:
    """Draw for ``count`` images; how much is drawn depends on that alone."""
    highest = {"flip": 2, "autoaugment": POLICIES}.get(kind, 2**62)
    return Draws(
        kind,
        generator.integers(0, highest, count),
        generator.random((count, 2)),
        generator.integers(0, 2, (count, 2)),
        generator.random((count, 3)),
    )


def apply_draws(images: Pictures, draws: Draws, fill: Colour = CLIP_COLOUR) -> Pictures:
    """Augment uint8 [N, H, W, 3], which is left unchanged, by N draws."""
    if draws.kind == "none":
        return images
    if draws.kind == "flip":
        return np.where(draws.choices[:, None, None, None] == 1, images[:, :, ::-1], images)
    views = np.empty_like(images)
    for i, image in enumerate(images):
        if draws.kind == "autoaugment":
            chances, signs = draws.chances[i].tolist(), draws.signs[i].tolist()
            drawn = autoaugment(Image.fromarray(image), int(draws.choices[i]), chances, signs)
            views[i] = np.asarray(drawn)
        else:
            brighten = draws.kind == "noise-erase-code"
            views[i] = _noise_and_erase(image, draws.rows(np.array([i])), fill, brighten)
    return views


def flip_and_shift(images: Pictures, generator: np.random.Generator, reach: int) -> Pictures:
    """Mirror half of the images and move each by up to ``reach`` pixels, edges repeated.

    Parameters
    ----------
    images
        uint8 [N, S, S, 3]; left unchanged.
    generator
        Source of all draws; their number depends on N alone.
    """
    count, size = images.shape[:2]
    wide = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    offsets = generator.integers(0, 2 * reach + 1, (count, 2))
    mirrored = generator.random((count,))
    out = np.empty_like(images)
    for row, (top, left) in enumerate(offsets.tolist()):
        view = wide[row, top : top + size, left : left + size]
        out[row] = view[:, ::-1] if mirrored[row] < 0.5 else view
    return out


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
        ``autoaugment``, ``flip`` (left to right with probability 1/2), ``noise-erase`` (PAR's:
        with probability 1/2 each value gets N(0, 0.2) of full brightness and the sum is clipped;
        with probability 1/2 a square of 0.5 to 1 % of the area takes the colour ``fill``),
        ``noise-erase-code`` (as PAR's code does it: the noise itself is clipped to [0, 1] before
        it is added, so that pictures only become brighter), or ``none``.
    generator
        Source of all draws; their number depends on N alone.
    fill
        Colour of erased squares: the model's mean, so that they are 0 once normalised.

    Returns
    -------
    numpy.ndarray
        uint8 [N, H, W, 3].
    """
    return apply_draws(images, draw_augmentations(len(images), kind, generator), fill)


def _noise_and_erase(image: Pictures, draws: Draws, fill: Colour, brighten: bool) -> Pictures:
    """PAR's augmentation of one picture, on bytes before normalisation."""
    augmented = image.copy()
    height, width, _ = image.shape
    (size, top, left), (noisy, erased) = draws.places[0].tolist(), draws.chances[0].tolist()
    if noisy < _CHANCE:
        own = np.random.Generator(np.random.PCG64(int(draws.choices[0])))
        noise: npt.NDArray[np.float32] = _NOISE * own.standard_normal(image.shape, np.float32)
        if brighten:
            noise = np.clip(noise, 0.0, 1.0)
        augmented = np.clip(np.rint(image + 255.0 * noise), 0, 255).astype(np.uint8)
    if erased < _CHANCE:
        area = _SMALLEST + (_LARGEST - _SMALLEST) * size
        side = max(1, round(float(np.sqrt(area * height * width))))
        row, column = int(top * (height - side + 1)), int(left * (width - side + 1))
        augmented[row : row + side, column : column + side] = fill
    return augmented
