"""The architecture and preprocessing that a checkpoint asks for, checked before use.

A config comes from the file's author. Only plain numbers, switches and a few words of known
names and sane size pass; everything that would make a library fetch another model, tokenizer or
weights is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ml_core.reading.errors import InputError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
VOCABULARY = 49408  # of CLIP's tokenizer
_MAX_VOCABULARY = 2_000_000
MAX_PARAMETERS = 4_000_000_000

Check = Callable[[Any], str]


@dataclass(frozen=True)
class Fit:
    """How a picture of any shape becomes a square.

    Parameters
    ----------
    resize_mode
        ``shortest`` (shortest side to size, centre crop), ``longest`` (longest side to size,
        black margins) or ``squash`` (both sides to size).
    interpolation
        ``bicubic`` or ``bilinear``.
    """

    resize_mode: str = "shortest"
    interpolation: str = "bicubic"


CLIP_FIT = Fit()


@dataclass(frozen=True)
class Preprocess:
    """How pixels become model input.

    Parameters
    ----------
    size
        Side of the square input in pixels.
    mean, std
        Of each channel, for values in [0, 1].
    interpolation, resize_mode
        See `Fit`.
    """

    size: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"

    @property
    def fit(self) -> Fit:
        """How pictures are brought to ``size``."""
        return Fit(self.resize_mode, self.interpolation)


def _int(low: int, high: int) -> Check:

    def check(value: Any) -> str:
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return "" if good else f"must be a whole number from {low} to {high}"

    return check


def _number(low: float, high: float) -> Check:

    def check(value: Any) -> str:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if good and low <= value <= high else f"must be a number from {low} to {high}"

    return check


def _bool(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _only(*allowed: str | bool) -> Check:
    """Check one of a few words or switches."""

    def check(value: Any) -> str:
        good = any(value is word or (isinstance(word, str) and value == word) for word in allowed)
        return "" if good else f"must be {' or '.join(str(word) for word in allowed)}"

    return check


def _vision_layers(value: Any) -> str:
    """Check a transformer's depth or the four stages of a ResNet."""
    depth = _int(1, 200)
    if isinstance(value, list | tuple):
        return "" if len(value) == 4 and not any(map(depth, value)) else "must be 4 depths"
    return depth(value)


_WIDTH = _int(2, 16384)
_BLOCK: dict[str, Check] = {
    "mlp_ratio": _number(0.1, 16),
    "ls_init_value": _number(0, 10),
    "final_ln_after_pool": _bool,
    "output_tokens": _only(False),
    "block_type": _only("default", "custom"),
    "qk_norm": _bool,
    "scaled_cosine_attn": _bool,
    "scale_heads": _bool,
    "scale_attn_inner": _bool,
    "scale_attn": _bool,
    "scale_fc": _bool,
}
_VISION: dict[str, Check] = _BLOCK | {
    "layers": _vision_layers,
    "width": _WIDTH,
    "head_width": _WIDTH,
    "patch_size": _int(1, 256),
    "image_size": _int(16, 2048),
    "patch_dropout": _number(0, 0.99),
    "attentional_pool": _bool,
    "attn_pooler_queries": _int(1, 4096),
    "attn_pooler_heads": _int(1, 512),
    "no_ln_pre": _bool,
    "pos_embed_type": _only("learnable", "sin_cos_2d"),
    "pool_type": _only("tok", "avg"),
}
_TEXT: dict[str, Check] = _BLOCK | {
    "context_length": _int(4, 1024),
    "vocab_size": _int(2, _MAX_VOCABULARY),
    "width": _WIDTH,
    "heads": _int(1, 1024),
    "layers": _int(1, 200),
    "embed_cls": _only(False),
    "pad_id": _int(0, _MAX_VOCABULARY),
    "eos_id": _int(0, _MAX_VOCABULARY),
    "no_causal_mask": _bool,
    "pool_type": _only("argmax", "last", "first", "eos"),
    "proj_bias": _bool,
    "proj_type": _only("linear"),
}
_MODEL: dict[str, Check] = {
    "embed_dim": _int(1, 16384),
    "quick_gelu": _bool,
    "custom_text": _bool,
    "init_logit_scale": _number(-100, 100),
    "init_logit_bias": _number(-1000, 1000),
    "nonscalar_logit_scale": _bool,
}
# What asks a library for something that is not in the file.
_FOREIGN = {
    "timm_model_name": "an image encoder of the timm library",
    "hf_model_name": "a text encoder from the Hugging Face hub",
    "hf_tokenizer_name": "a tokenizer from the Hugging Face hub",
    "tokenizer_kwargs": "a tokenizer of its own",
    "tokenizer_mode": "a tokenizer of its own",
    "multimodal_cfg": "a caption decoder (CoCa)",
}
_VISION_DEFAULTS = {"layers": 12, "width": 768, "head_width": 64, "patch_size": 16}
_TEXT_DEFAULTS = {"context_length": 77, "vocab_size": VOCABULARY, "width": 512, "heads": 8}


def check_model_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check an open_clip ``model_cfg`` and return a plain copy with its main defaults filled in.

    Parameters
    ----------
    config
        ``embed_dim``, ``vision_cfg``, ``text_cfg`` and a few switches.
    where
        Name of the file, for the message.

    Raises
    ------
    InputError
        ``unsupported`` or ``damaged``, before anything of the asked size is allocated.
    """
    top = {k: v for k, v in config.items() if k not in ("vision_cfg", "text_cfg")}
    made: dict[str, Any] = _fields(top, _MODEL, "", where)
    if "embed_dim" not in made:
        raise InputError(f"{where} gives no embed_dim; get the file again.", "damaged")
    for key, allowed, defaults in (
        ("vision_cfg", _VISION, _VISION_DEFAULTS | {"image_size": 224}),
        ("text_cfg", _TEXT, _TEXT_DEFAULTS | {"layers": 12}),
    ):
        part = config.get(key)
        if not isinstance(part, Mapping):
            raise InputError(f"{where} gives no {key}; get the file again.", "damaged")
        made[key] = defaults | _fields(part, allowed, f"{key}.", where)
    _check_sizes(made, where)
    return made


def _fields(
    given: Mapping[str, Any], allowed: Mapping[str, Check], prefix: str, where: str
) -> dict[str, Any]:
    """Check one table of the config, field by field; null means the default."""
    made: dict[str, Any] = {}
    for key, value in given.items():
        if value is None or value == {}:
            continue
        if key in _FOREIGN:
            raise InputError(
                f"{where} asks for {_FOREIGN[key]} ({prefix}{key}), which this version does not "
                "load; it opens OpenAI-style CLIP models with CLIP's own tokenizer.",
                "unsupported",
            )
        if key.startswith(("timm_", "hf_")):
            continue
        if key == "image_size" and isinstance(value, list) and len(value) == 2:
            value = value[0] if value[0] == value[1] else value
        if key not in allowed:
            raise InputError(
                f"{where} has the field {prefix}{str(key)[:60]}, which this version does not know; "
                "it opens OpenAI-style CLIP models.",
                "unsupported",
            )
        if wrong := allowed[key](value):
            raise InputError(
                f"{where}: {prefix}{key} is {str(value)[:60]} and {wrong}; "
                "this version cannot build that model.",
                "unsupported",
            )
        made[key] = list(value) if isinstance(value, list | tuple) else value
    return made


def _check_sizes(config: dict[str, Any], where: str) -> None:
    """Refuse sizes that do not fit each other or that no machine would hold."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    width, size, resnet = vision["width"], vision["image_size"], isinstance(vision["layers"], list)
    trouble = ""
    if resnet:
        heads = width * 32 // vision["head_width"]
        if width % 2:
            trouble = f"a ResNet of the odd width {width}"
        elif size % 32:
            trouble = f"a ResNet for {size} px images, which is not a multiple of 32"
        elif heads < 1 or width * 32 % heads:
            trouble = f"{heads} attention heads over {width * 32} features"
    elif size < vision["patch_size"]:
        trouble = f"patches of {vision['patch_size']} px in images of {size} px"
    elif not (heads := width // vision["head_width"]) or width % heads:
        trouble = f"a width of {width} with heads of {vision['head_width']}"
    if text["width"] % text["heads"]:
        trouble = f"{text['heads']} text attention heads over {text['width']} features"
    for key in ("pad_id", "eos_id"):
        if text.get(key, 0) >= text["vocab_size"]:
            trouble = f"the token {key} {text[key]} in a vocabulary of {text['vocab_size']}"
    if trouble:
        raise InputError(
            f"{where} asks for {trouble}, which does not fit; get it again.", "damaged"
        )
    count = parameter_estimate(config)
    if count > MAX_PARAMETERS:
        raise InputError(
            f"{where} asks for a model of about {count:.1e} parameters; "
            f"this version loads up to {MAX_PARAMETERS:.0e}.",
            "unsupported",
        )


def parameter_estimate(config: Mapping[str, Any]) -> int:
    """Roughly how many parameters a checked config asks for (within a third)."""
    vision, text, embed = config["vision_cfg"], config["text_cfg"], config["embed_dim"]
    width = vision["width"]
    if isinstance(vision["layers"], list):
        stages = sum(17 * n * (width << i) ** 2 for i, n in enumerate(vision["layers"]))
        image = stages + (32 * width) * (3 * 32 * width + embed + (vision["image_size"] // 32) ** 2)
    else:
        patches = (vision["image_size"] // vision["patch_size"]) ** 2 + 1
        block = width**2 * (4 + 2 * vision.get("mlp_ratio", 4.0))
        image = vision["layers"] * block + width * (patches + 3 * vision["patch_size"] ** 2 + embed)
    block = text["width"] ** 2 * (4 + 2 * text.get("mlp_ratio", 4.0))
    table = text["vocab_size"] + text["context_length"] + embed
    return int(image + text["layers"] * block + text["width"] * table)


def vocabulary_caution(config: Mapping[str, Any]) -> str:
    """Sentence on a checked config whose vocabulary is not CLIP's; empty if it is."""
    size = config["text_cfg"]["vocab_size"]
    if size == VOCABULARY:
        return ""
    if size > VOCABULARY:
        return (
            f"The vocabulary has {size} tokens and CLIP's {VOCABULARY}: texts are written with "
            "CLIP's own tokenizer, which is wrong if the model was trained with another one."
        )
    return (
        f"The vocabulary has {size} tokens, fewer than the {VOCABULARY} of CLIP's tokenizer, "
        "which is the only one here: no text can be written for this model."
    )


def check_preprocess(config: Mapping[str, Any], size: int, where: str) -> Preprocess:
    """Check an open_clip ``preprocess_cfg``; what it does not give is CLIP's own.

    The size is always the model's input size, as in open_clip.

    Raises
    ------
    InputError
        ``unsupported`` for another colour mode, interpolation or a useless mean or std.
    """
    mean = _triple(config.get("mean"), CLIP_MEAN, -10, "mean", where)
    std = _triple(config.get("std"), CLIP_STD, 1e-4, "std", where)
    for key, allowed in {
        "mode": ("RGB",),
        "interpolation": ("bicubic", "bilinear"),
        "resize_mode": ("shortest", "longest", "squash"),
    }.items():
        value = config.get(key, allowed[0])
        if value not in allowed:
            raise InputError(
                f"{where}: preprocess_cfg.{key} is {str(value)[:40]}; this version knows "
                f"{', '.join(allowed)}.",
                "unsupported",
            )
    return Preprocess(
        size,
        mean,
        std,
        config.get("interpolation", "bicubic"),
        config.get("resize_mode", "shortest"),
    )


def _triple(
    value: Any, default: tuple[float, float, float], low: float, key: str, where: str
) -> tuple[float, float, float]:
    """Check three finite numbers, one a channel."""
    if value is None:
        return default
    check = _number(low, 10)
    good = isinstance(value, list | tuple) and len(value) == 3 and not any(map(check, value))
    if not good or not all(math.isfinite(item) for item in value):
        raise InputError(
            f"{where}: preprocess_cfg.{key} is {str(value)[:60]} and must be three numbers "
            f"from {low} to 10.",
            "unsupported",
        )
    red, green, blue = (float(item) for item in value)
    return red, green, blue
