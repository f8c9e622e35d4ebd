"""AutoAugment's ImageNet policy, drawn anew for every image from a given generator.

torchvision's transform draws from torch's global generator, which a loading thread would share
with the training thread; here all draws come from the caller's generator, so a step's views
depend on (seed, step) alone. Pillow is used since at 64-224 px it is faster than uint8 tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from PIL import Image, ImageEnhance, ImageOps

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
