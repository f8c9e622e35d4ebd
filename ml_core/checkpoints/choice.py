"""Settings that the user chose with the loader doctor, where a file is silent or wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ml_core.checkpoints.architecture import Architecture
from ml_core.reading.clip_config import check_model_config

CHOICE_KEY = "choice"


@dataclass(frozen=True)
class Choice:
    """Settings to use instead of what the file says or what was assumed; None keeps those.

    Parameters
    ----------
    quick_gelu
        QuickGELU (True) or GELU.
    mean, std
        Of each channel, for pixels in [0, 1].
    image_size
        Side of the input in pixels.
    image_heads, text_heads
        Attention heads of the image encoder (of a ResNet, of its pooling) and the text encoder.
    logit_scale
        Factor on cosine similarities.
    evidence
        Whole sentence: what the choice rests on.
    """

    quick_gelu: bool | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    image_size: int | None = None
    image_heads: int | None = None
    text_heads: int | None = None
    logit_scale: float | None = None
    evidence: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what is kept."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "")}


def chosen(architecture: Architecture, choice: Choice) -> Architecture:
    """The architecture with the choice in the place of what was told or assumed.

    Raises
    ------
    InputError
        If the settings do not fit the model.
    """
    config: dict[str, Any] = dict(architecture.config)
    vision, text = dict(config["vision_cfg"]), dict(config["text_cfg"])
    preprocess = architecture.preprocess
    if choice.quick_gelu is not None:
        config["quick_gelu"] = choice.quick_gelu
    if choice.image_size is not None:
        vision["image_size"] = choice.image_size
        preprocess = replace(preprocess, size=choice.image_size)
    if choice.image_heads is not None:
        vision["head_width"] = features(vision) // choice.image_heads
    if choice.text_heads is not None:
        text["heads"] = choice.text_heads
    if choice.mean is not None and choice.std is not None:
        preprocess = replace(preprocess, mean=choice.mean, std=choice.std)
    checked = check_model_config({**config, "vision_cfg": vision, "text_cfg": text}, "The choice")
    kept = architecture.assumptions
    if choice.evidence:
        kept = (*kept, choice.evidence)
    return replace(architecture, config=checked, preprocess=preprocess, assumptions=kept)


def features(vision: Mapping[str, Any]) -> int:
    """Features that the image encoder's attention heads share: a ResNet's come to the pooling."""
    return int(vision["width"]) * (32 if isinstance(vision["layers"], list) else 1)


def image_heads(vision: Mapping[str, Any]) -> int | None:
    """Attention heads of a checked ``vision_cfg``; None where a name decides the encoder."""
    if "timm_model_name" in vision:
        return None
    return features(vision) // int(vision["head_width"])
