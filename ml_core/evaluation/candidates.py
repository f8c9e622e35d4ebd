"""Settings that a checkpoint may have been trained with, and how each is called; torch-free."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from typing import TYPE_CHECKING, Any

from ml_core.checkpoints.architecture import Architecture
from ml_core.checkpoints.choice import Choice, features, image_heads
from ml_core.reading.clip_config import CLIP_MEAN, CLIP_STD, is_hf, is_timm

if TYPE_CHECKING:
    from ml_core.model import ClipModel

QUESTIONS = ("activation", "normalisation", "text heads", "image heads", "resolution")
"""What is tried, in this order; the first two together, for one hides the other."""

_NORMALISATIONS = {
    "CLIP's mean and std": (CLIP_MEAN, CLIP_STD),
    "ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "SigLIP's mean and std": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "no mean and std": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
_HEAD_WIDTHS = (16, 32, 48, 64, 80, 88, 96, 104, 128)
_SIZES = (224, 240, 256, 288, 336, 378, 384, 448, 512)


def settings_of(opened: Architecture | ClipModel) -> Choice:
    """What the file says or what was assumed, every field filled but the logit scale."""
    config = opened.config
    return Choice(
        quick_gelu=bool(config.get("quick_gelu", False)),
        mean=opened.preprocess.mean,
        std=opened.preprocess.std,
        image_size=opened.preprocess.size,
        image_heads=image_heads(config["vision_cfg"]),
        text_heads=config["text_cfg"].get("heads"),
    )


def variants(architecture: Architecture, settings: Choice, question: str) -> list[Choice]:
    """The settings with each answer to one question; themselves come first."""
    vision, text = architecture.config["vision_cfg"], architecture.config["text_cfg"]
    choices: list[Choice] = [settings]
    if question == "activation":
        named = is_timm(architecture.config) and is_hf(architecture.config)
        if not named and "act_kwargs" not in text:  # what says so is no question
            choices += [replace(settings, quick_gelu=value) for value in (True, False)]
    elif question == "normalisation":
        choices += [replace(settings, mean=m, std=s) for m, s in _NORMALISATIONS.values()]
    elif question == "text heads" and settings.text_heads is not None:
        choices += [replace(settings, text_heads=heads) for heads in _heads(text["width"])]
    elif question == "image heads" and settings.image_heads is not None:
        choices += [replace(settings, image_heads=heads) for heads in _heads(features(vision))]
    elif question == "resolution":
        choices += [replace(settings, image_size=size) for size in sizes(architecture)]
    return list(dict.fromkeys(choices))


def sizes(architecture: Architecture) -> tuple[int, ...]:
    """Sides of the input, in pixels, that the file's table of positions allows."""
    vision, shapes = architecture.config["vision_cfg"], architecture.layout.shapes
    if is_timm(architecture.config):
        return (vision["image_size"],)
    resnet = isinstance(vision["layers"], list)
    name = "visual.attnpool.positional_embedding" if resnet else "visual.positional_embedding"
    if name not in shapes:  # a donor's image encoder, which is as it says
        return (vision["image_size"],)
    grid = isqrt(max(shapes[name][0] - 1, 1))
    if resnet:
        return (32 * grid,)
    patch = vision["patch_size"]
    others = (size for size in _SIZES if size // patch == grid)
    return tuple(dict.fromkeys((grid * patch, *others)))


def _heads(width: int) -> list[int]:
    """Numbers of heads of the usual widths that divide the features."""
    return [width // head for head in _HEAD_WIDTHS if width % head == 0]


def words(settings: Choice, question: str) -> str:
    """The answer of the settings to one question."""
    if question == "activation":
        return "QuickGELU" if settings.quick_gelu else "GELU"
    if question == "normalisation":
        return _normalisation(settings)
    if question == "text heads":
        return _plural(settings.text_heads, "head", "text encoder")
    if question == "image heads":
        return _plural(settings.image_heads, "head", "image encoder")
    return f"{settings.image_size} px"


def answer(settings: Choice, question: str) -> dict[str, Any]:
    """The fields of the settings that answer one question."""
    names = {
        "activation": ("quick_gelu",),
        "normalisation": ("mean", "std"),
        "text heads": ("text_heads",),
        "image heads": ("image_heads",),
        "resolution": ("image_size",),
    }[question]
    return {name: getattr(settings, name) for name in names}


def _normalisation(settings: Choice) -> str:
    for name, pair in _NORMALISATIONS.items():
        if pair == (settings.mean, settings.std):
            return name
    numbers = ", ".join(f"{value:g}" for value in (*(settings.mean or ()), *(settings.std or ())))
    return f"mean and std {numbers}"


def _plural(count: int | None, what: str, where: str) -> str:
    if count is None:
        return f"the {where}'s own {what}s"
    return f"{count} {what}{'' if count == 1 else 's'} in the {where}"
