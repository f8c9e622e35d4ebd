"""What the metadata of a GGUF file say about its CLIP, under llama.cpp's keys."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ml_core.checkpoints.architecture import StatedConfig
from ml_core.checkpoints.transformers_config import other_epsilon
from ml_core.reading import InputError
from ml_core.reading.clip_config import CLIP_MEAN, CLIP_STD


def gguf_config(stated: StatedConfig, metadata: Mapping[str, str], where: str) -> StatedConfig:
    """Put heads and activation in the place of what shapes leave open.

    A copy as safetensors keeps these keys; other files have none. As in llama.cpp, a CLIP computes
    QuickGELU unless ``clip.use_gelu`` is true.

    Raises
    ------
    InputError
        ``unsupported`` for an activation or an epsilon that no CLIP of open_clip has.
    """
    if metadata.get("clip.use_silu") == "true":
        raise InputError(
            f"{where} computes with the activation SiLU (clip.use_silu), which no CLIP of "
            "open_clip does; open the file that it was made of.",
            "unsupported",
        )
    config = dict(stated.config)
    gelu = metadata.get("clip.use_gelu", "false")
    if metadata.get("general.architecture") == "clip" and gelu in ("true", "false"):
        config["quick_gelu"] = gelu == "false"
    towers_with_heads = 0
    for tower, table in (("vision", "vision_cfg"), ("text", "text_cfg")):
        epsilon = metadata.get(f"clip.{tower}.attention.layer_norm_epsilon", "1e-05")
        if table in config and epsilon != "1e-05":
            raise other_epsilon(where, "layer_norm_epsilon", epsilon, tower)
        heads = _number(metadata.get(f"clip.{tower}.attention.head_count", ""))
        if table not in config or not heads or config[table]["width"] % heads:
            continue
        towers_with_heads += 1
        if tower == "vision":
            config[table] = config[table] | {"head_width": config[table]["width"] // heads}
        else:
            config[table] = config[table] | {"heads": heads}
    if towers_with_heads == len(stated.assumptions):  # each of them is about one encoder's heads
        return replace(stated, config=config, assumptions=(), questions=())
    return replace(stated, config=config)


def _number(text: str) -> int:
    """A small positive number, or 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0


def gguf_preprocess(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The mean and the standard deviation as open_clip's ``preprocess_cfg``; what is there of it.

    The file has them in 32 bits: CLIP's own are taken for those that they are rounded to.
    """
    preprocess: dict[str, Any] = {}
    for key, own in (("mean", CLIP_MEAN), ("std", CLIP_STD)):
        text = metadata.get(f"clip.vision.image_{key}")
        if text is None:
            continue
        try:
            numbers = [float(part) for part in text.strip("[]").split(",")]
        except ValueError:
            preprocess[key] = text  # is refused as any other that is not three numbers
        else:
            preprocess[key] = own if array("f", numbers) == array("f", own) else numbers
    return preprocess
