"""The architecture and preprocessing that a checkpoint asks for, checked before use.

A config comes from the file's author. Only plain numbers, switches and a few words of known
names and sane size pass; everything that would make a library fetch another model, tokenizer or
weights is refused by name. The config of a text encoder of the transformers library goes to that
library as a file that holds nothing but what passed here.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ml_core.reading.errors import damaged, unsupported
from ml_core.reading.strict_json import is_whole

HF_CONFIG = "hf_config"
"""Where the checked config stands in open_clip's ``text_cfg``."""

_BERT = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings", "type_vocab_size",
)  # fmt: skip
_T5 = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads")
_M2M = (
    "vocab_size", "d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim",
    "max_position_embeddings",
)  # fmt: skip
HF_KINDS: Mapping[str, tuple[str, ...]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "mt5": _T5,
    "m2m_100": _M2M,
}
"""Kinds of text encoders that open_clip can pool, with the sizes that each must give."""

_MOST = {
    "vocab_size": 2_000_000, "hidden_size": 16384, "d_model": 16384, "num_hidden_layers": 200,
    "num_layers": 200, "encoder_layers": 200, "num_attention_heads": 1024, "num_heads": 1024,
    "encoder_attention_heads": 1024, "intermediate_size": 65536, "d_ff": 65536,
    "encoder_ffn_dim": 65536, "max_position_embeddings": 8192, "type_vocab_size": 16, "d_kv": 1024,
    "relative_attention_num_buckets": 512, "relative_attention_max_distance": 4096,
}  # fmt: skip
_ACTIVATIONS = ("gelu", "gelu_new", "relu")
_SWITCHES = ("is_gated_act", "scale_embedding")
_OPTIONAL = (
    "relative_attention_num_buckets", "relative_attention_max_distance", "pad_token_id",
    "layer_norm_eps", "layer_norm_epsilon", "hidden_act", "activation_function",
    "feed_forward_proj", *_SWITCHES,
)  # fmt: skip


def plain_hf_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a ``config.json`` that decide the encoder; the rest is for training."""
    kind = config.get("model_type")
    fields = ("model_type", *HF_KINDS.get(kind if isinstance(kind, str) else "", ()), *_OPTIONAL)
    return {key: config[key] for key in fields if config.get(key) is not None}


def check_hf_config(config: Any) -> str:
    """What is wrong with a config, as half a sentence; empty if it can be built."""
    if not isinstance(config, Mapping):
        return "must be a table"
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in HF_KINDS:
        return f"is of the kind {str(kind)[:40]!r}, none of {', '.join(HF_KINDS)}"
    for key, value in config.items():
        if key == "model_type":
            continue
        if key in _MOST and (key in HF_KINDS[kind] or key in _OPTIONAL):
            if not is_whole(value, 1, _MOST[key]):
                return f"asks for {key} {str(value)[:40]}, not 1 to {_MOST[key]}"
        elif key == "pad_token_id":
            if not is_whole(value, 0, _MOST["vocab_size"]):
                return f"has the pad_token_id {str(value)[:40]}"
        elif key in ("layer_norm_eps", "layer_norm_epsilon"):
            if not isinstance(value, float) or not 1e-14 < value < 0.1:
                return f"has the {key} {str(value)[:40]}"
        elif key in ("hidden_act", "activation_function"):
            if value not in _ACTIVATIONS:
                return f"asks for the activation {str(value)[:40]}"
        elif key == "feed_forward_proj":
            if value not in ("gated-gelu", "relu"):
                return f"asks for the feed_forward_proj {str(value)[:40]}"
        elif key in _SWITCHES:
            if not isinstance(value, bool):
                return f"has a {key} that is neither true nor false"
        else:
            return f"has the field {str(key)[:40]}, which this version does not know"
    missing = [key for key in HF_KINDS[kind] if key not in config]
    if missing:
        return f"gives no {missing[0]}"
    width, heads = _width(config), _heads(config)
    if kind != "mt5" and width % heads:
        return f"asks for {heads} attention heads over {width} features"
    if config.get("pad_token_id", 0) >= config["vocab_size"]:
        return "has a pad_token_id beyond its vocabulary"
    return ""


def hf_parameters(config: Mapping[str, Any]) -> int:
    """Roughly how many parameters a checked config asks for."""
    width = _width(config)
    layers = config.get("num_hidden_layers") or config.get("num_layers") or config["encoder_layers"]
    hidden = config.get("intermediate_size") or config.get("d_ff") or config["encoder_ffn_dim"]
    inner = config["d_kv"] * config["num_heads"] if "d_kv" in config else width
    positions = config.get("max_position_embeddings", 0)
    block = 4 * width * inner + 3 * width * hidden
    return int(layers * block + width * (config["vocab_size"] + positions))


def _width(config: Mapping[str, Any]) -> int:
    return int(config.get("hidden_size") or config["d_model"])


def _heads(config: Mapping[str, Any]) -> int:
    return int(
        config.get("num_attention_heads")
        or config.get("num_heads")
        or config["encoder_attention_heads"]
    )


CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
VOCABULARY = 49408  # of CLIP's tokenizer
_MAX_VOCABULARY = 2_000_000
MAX_PARAMETERS = 6_000_000_000

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


def _one_of(*allowed: str | bool) -> Check:
    """Check one of a few words or switches."""

    def check(value: Any) -> str:
        good = any(value is word or (isinstance(word, str) and value == word) for word in allowed)
        return "" if good else f"must be {' or '.join(str(word) for word in allowed)}"

    return check


def _name(pattern: str) -> Check:
    """Check a name that a library looks up among its own, never a place or a web address."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: Any) -> str:
        good = isinstance(value, str) and len(value) <= 200 and compiled.fullmatch(value)
        return "" if good else "is no plain name"

    return check


def _table(allowed: Mapping[str, Check]) -> Check:
    """Check a table inside a table."""

    def check(value: Any) -> str:
        if not isinstance(value, Mapping):
            return "must be a table"
        for key, item in value.items():
            if key not in allowed:
                return f"has the field {str(key)[:40]}, which this version does not know"
            if item is not None and (wrong := allowed[key](item)):
                return f"has a {key} that {wrong}"
        return ""

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
    "output_tokens": _bool,
    "norm_kwargs": _table({"eps": _number(1e-12, 0.1)}),
    "act_kwargs": _table({"approximate": _one_of("none", "tanh")}),
    "block_type": _one_of("default", "custom"),
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
    "pos_embed_type": _one_of("learnable", "sin_cos_2d"),
    "pool_type": _one_of("tok", "avg"),
}
_TEXT: dict[str, Check] = _BLOCK | {
    "context_length": _int(4, 1024),
    "vocab_size": _int(2, _MAX_VOCABULARY),
    "width": _WIDTH,
    "heads": _int(1, 1024),
    "layers": _int(1, 200),
    "embed_cls": _bool,
    "pad_id": _int(0, _MAX_VOCABULARY),
    "eos_id": _int(0, _MAX_VOCABULARY),
    "no_causal_mask": _bool,
    "pool_type": _one_of("argmax", "last", "first", "eos"),
    "proj_bias": _bool,
    "proj_type": _one_of("linear", "none"),
}
# An image encoder of the timm library: its name decides the sizes, nothing is fetched.
_TIMM: dict[str, Check] = {
    "timm_model_name": _name(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?"),
    "timm_model_pretrained": _bool,
    "timm_pool": _one_of("", "avg", "avgmax", "catavgmax", "max", "token", "map", "abs_attn",
        "rot_attn"),
    "timm_proj": _one_of("", "linear", "mlp", "none"),
    "timm_proj_bias": _bool,
    "timm_drop": _number(0, 0.99),
    "timm_drop_path": _number(0, 0.99),
}  # fmt: skip
_TIMM_BESIDE = ("image_size", "patch_dropout", "act_kwargs")
_REPOSITORY = r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?"
# A text encoder of the transformers library, and a tokenizer that is not CLIP's.
_HF: dict[str, Check] = {
    "hf_model_name": _name(_REPOSITORY),
    "hf_model_pretrained": _bool,
    "hf_proj_type": _one_of("linear", "mlp"),
    "hf_pooler_type": _one_of("mean_pooler", "max_pooler", "cls_pooler",
        "cls_last_hidden_state_pooler"),
    HF_CONFIG: check_hf_config,
}  # fmt: skip
_TOKENIZER: dict[str, Check] = {
    "hf_tokenizer_name": _name(_REPOSITORY),
    "tokenizer_kwargs": _table(
        {"clean": _one_of("whitespace", "lower", "canonicalize"), "strip_sep_token": _bool}),
}  # fmt: skip
_HF_BESIDE = ("context_length", "vocab_size", "output_tokens", *_TOKENIZER)
_DECODER: dict[str, Check] = _TEXT | {
    "dim_head": _WIDTH,
    "n_queries": _int(1, 4096),
    "attn_pooler_heads": _int(1, 512),
}
_MODEL: dict[str, Check] = {
    "embed_dim": _int(1, 16384),
    "quick_gelu": _bool,
    "custom_text": _bool,
    "init_logit_scale": _number(-100, 100),
    "init_logit_bias": _number(-1000, 1000),
    "nonscalar_logit_scale": _bool,
}
_NULL_MEANS_NONE = ("timm_proj", "hf_proj_type")  # where the default is not none
_VISION_DEFAULTS = {"layers": 12, "width": 768, "head_width": 64, "patch_size": 16}
_TEXT_DEFAULTS = {"context_length": 77, "vocab_size": VOCABULARY, "width": 512, "heads": 8}


def identity_of(
    sha256: str, config: Mapping[str, Any], preprocess: Preprocess, *more: object
) -> str:
    """Digest of what decides every embedding: weights, config, preprocessing, and the rest.

    A folder's config can change beside the same weights, so their SHA-256 alone is too little to
    keep results by.
    """
    facts = json.dumps([sha256, config, asdict(preprocess), *more], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()


def check_model_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check an open_clip ``model_cfg`` and return a plain copy with its main defaults filled in.

    Parameters
    ----------
    config
        ``embed_dim``, ``vision_cfg``, ``text_cfg``, of a CoCa ``multimodal_cfg``, and a few
        switches. A text encoder of the transformers library has its own config in
        ``text_cfg.hf_config``, see `ml_core.reading.clip_config`.
    where
        Name of the file, for the message.

    Raises
    ------
    InputError
        ``unsupported`` or ``damaged``, before anything of the asked size is allocated.
    """
    tables = ("vision_cfg", "text_cfg", "multimodal_cfg")
    top = {k: v for k, v in config.items() if k not in tables}
    model: dict[str, Any] = _fields(top, _MODEL, "", where)
    if "embed_dim" not in model:
        raise damaged(f"{where} gives no embed_dim; get the file again.")
    parts = {}
    for key in tables[:2]:
        part = config.get(key)
        if not isinstance(part, Mapping):
            raise damaged(f"{where} gives no {key}; get the file again.")
        parts[key] = part
    model["vision_cfg"] = _vision_part(parts["vision_cfg"], where)
    model["text_cfg"] = _text_part(parts["text_cfg"], where)
    decoder = config.get("multimodal_cfg")
    if isinstance(decoder, Mapping) and decoder:
        fields = _fields(decoder, _DECODER, "multimodal_cfg.", where)
        model["multimodal_cfg"] = _TEXT_DEFAULTS | {"layers": 12} | fields
    elif decoder is not None and decoder != {}:
        raise damaged(f"{where} has no table multimodal_cfg; get it again.")
    if "multimodal_cfg" in model or model["text_cfg"].get("hf_model_name"):
        model["custom_text"] = True  # as in open_clip
    _check_whole(model, where)
    _check_sizes(model, where)
    return model


def _vision_part(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """An image encoder of open_clip, or of timm if it has a timm name."""
    fields = _fields(given, _VISION | _TIMM, "vision_cfg.", where)
    if "timm_model_name" in fields:
        timm = {key: fields[key] for key in fields if key in _TIMM or key in _TIMM_BESIDE}
        return {"image_size": 224} | timm | {"timm_model_pretrained": False}
    own = {key: value for key, value in fields.items() if key not in _TIMM}
    return _VISION_DEFAULTS | {"image_size": 224} | own


def _text_part(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A text encoder of open_clip, or of the transformers library."""
    if given.get("tokenizer_mode"):
        raise unsupported(
            f"{where} asks for a tokenizer of its own (text_cfg.tokenizer_mode), which this "
            "version does not know."
        )
    given = {key: value for key, value in given.items() if key != "tokenizer_mode"}
    fields = _fields(given, _TEXT | _HF | _TOKENIZER, "text_cfg.", where)
    if "hf_model_name" in fields:
        encoder = {key: fields[key] for key in fields if key in _HF or key in _HF_BESIDE}
        asked = fields.get(HF_CONFIG)
        encoder["vocab_size"] = asked["vocab_size"] if asked else fields.get("vocab_size", 2)
        return {"context_length": 77} | encoder | {"hf_model_pretrained": False}
    own = {key: value for key, value in fields.items() if key not in _HF}
    return _TEXT_DEFAULTS | {"layers": 12} | own


def is_timm(config: Mapping[str, Any]) -> bool:
    """Whether the image encoder of a checked config is of the timm library."""
    return "timm_model_name" in config["vision_cfg"]


def is_hf(config: Mapping[str, Any]) -> bool:
    """Whether the text encoder of a checked config is of the transformers library."""
    return "hf_model_name" in config["text_cfg"]


def own_tokenizer(config: Mapping[str, Any]) -> str:
    """Repository of the tokenizer that a checked config asks for; empty for CLIP's own."""
    return str(config["text_cfg"].get("hf_tokenizer_name", ""))


def _fields(
    given: Mapping[str, Any], allowed: Mapping[str, Check], prefix: str, where: str
) -> dict[str, Any]:
    """Check one table of the config, field by field; null means the default."""
    checked: dict[str, Any] = {}
    for key, value in given.items():
        if value is None and key in _NULL_MEANS_NONE and key in allowed:
            checked[key] = "" if key == "timm_proj" else None
            continue
        if value is None or value == {}:
            continue
        if key == "image_size" and isinstance(value, list) and len(value) == 2:
            value = value[0] if value[0] == value[1] else value
        if key not in allowed:
            raise unsupported(
                f"{where} has the field {prefix}{str(key)[:60]}, which this version does not know; "
                "it opens what open_clip builds without code or files of others."
            )
        if wrong := allowed[key](value):
            raise unsupported(
                f"{where}: {prefix}{key} is {str(value)[:60]} and {wrong}; "
                "this version cannot build that model."
            )
        checked[key] = _plain(value)
    return checked


def _plain(value: Any) -> Any:
    """A copy without the nulls of tables."""
    if isinstance(value, Mapping):
        return {key: item for key, item in value.items() if item is not None}
    return list(value) if isinstance(value, list | tuple) else value


def _check_whole(config: dict[str, Any], where: str) -> None:
    """Refuse what does not go together though each field is good."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    captions = "multimodal_cfg" in config
    tokens = bool(text.get("output_tokens")), bool(vision.get("output_tokens"))
    trouble = ""
    if captions and tokens != (True, True):
        trouble = "a caption decoder (multimodal_cfg) without the tokens that it reads"
    elif not captions and any(tokens):
        trouble = "tokens (output_tokens) without a caption decoder that reads them"
    elif text.get("embed_cls") and not config.get("custom_text"):
        trouble = "a class token in the text encoder (embed_cls) without custom_text"
    elif config.get("quick_gelu") and any("act_kwargs" in part for part in (vision, text)):
        trouble = "QuickGELU and another activation (act_kwargs) at once"
    elif text.get("proj_type") == "none" and text["width"] != config["embed_dim"]:
        trouble = "texts without a projection whose width is not that of the embedding"
    if trouble:
        raise unsupported(f"{where} asks for {trouble}; this version cannot build it.")


def _check_sizes(config: dict[str, Any], where: str) -> None:
    """Refuse sizes that do not fit each other or that no machine would hold."""
    text = config["text_cfg"]
    trouble = "" if is_timm(config) else _vision_trouble(config["vision_cfg"])
    for part in (text, config.get("multimodal_cfg", {})):
        if "heads" in part and part["width"] % part["heads"]:
            trouble = f"{part['heads']} text attention heads over {part['width']} features"
    for key in ("pad_id", "eos_id"):
        if text.get(key, 0) >= text["vocab_size"]:
            trouble = f"the token {key} {text[key]} in a vocabulary of {text['vocab_size']}"
    if trouble:
        raise damaged(f"{where} asks for {trouble}, which does not fit; get it again.")
    count = parameter_estimate(config)
    if count > MAX_PARAMETERS:
        raise unsupported(
            f"{where} asks for a model of about {count:.1e} parameters; "
            f"this version loads up to {MAX_PARAMETERS:.0e}."
        )


def _vision_trouble(vision: Mapping[str, Any]) -> str:
    """What does not fit in open_clip's own image encoder; empty if all does."""
    width, size = vision["width"], vision["image_size"]
    if isinstance(vision["layers"], list):
        heads = width * 32 // vision["head_width"]
        if width % 2:
            return f"a ResNet of the odd width {width}"
        if size % 32:
            return f"a ResNet for {size} px images, which is not a multiple of 32"
        if heads < 1 or width * 32 % heads:
            return f"{heads} attention heads over {width * 32} features"
    elif size < vision["patch_size"]:
        return f"patches of {vision['patch_size']} px in images of {size} px"
    elif not (heads := width // vision["head_width"]) or width % heads:
        return f"a width of {width} with heads of {vision['head_width']}"
    return ""


def parameter_estimate(config: Mapping[str, Any]) -> int:
    """Roughly how many parameters a checked config asks for (within a third).

    Those of timm's encoders, which have the sizes of their names, are not counted.
    """
    vision, text, embed = config["vision_cfg"], config["text_cfg"], config["embed_dim"]
    if is_timm(config):
        image = 0.0
    elif isinstance(vision["layers"], list):
        width = vision["width"]
        stages = sum(17 * n * (width << i) ** 2 for i, n in enumerate(vision["layers"]))
        image = stages + (32 * width) * (3 * 32 * width + embed + (vision["image_size"] // 32) ** 2)
    else:
        width = vision["width"]
        patches = (vision["image_size"] // vision["patch_size"]) ** 2 + 1
        block = width**2 * (4 + 2 * vision.get("mlp_ratio", 4.0))
        image = vision["layers"] * block + width * (patches + 3 * vision["patch_size"] ** 2 + embed)
    if is_hf(config):
        return int(image + hf_parameters(text[HF_CONFIG]) if HF_CONFIG in text else image)
    parts = [text, *([config["multimodal_cfg"]] if "multimodal_cfg" in config else [])]
    for part in parts:
        block = part["width"] ** 2 * (4 + 2 * part.get("mlp_ratio", 4.0))
        table = part["vocab_size"] + part["context_length"] + embed
        image += part["layers"] * block + part["width"] * table
    return int(image)


def vocabulary_caution(config: Mapping[str, Any]) -> str:
    """Sentence on a config whose vocabulary does not fit CLIP's tokenizer, if it asks for that."""
    size = config["text_cfg"]["vocab_size"]
    if size == VOCABULARY or own_tokenizer(config):
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


def no_tokenizer(name: str, sentencepiece: str = "") -> str:
    """Sentence on a checkpoint without the tokenizer that it was trained with.

    ``sentencepiece`` is the name of a sentencepiece model that lies beside it.
    """
    lies = (
        f"of which {sentencepiece} alone, which is not read, lies"
        if sentencepiece
        else ("which does not lie")
    )
    return (
        f"they are written with the tokenizer of {name[:100]}, {lies} beside it; "
        "put tokenizer.json and tokenizer_config.json of its repository there."
    )


def check_preprocess(config: Mapping[str, Any], size: int, where: str) -> Preprocess:
    """Check an open_clip ``preprocess_cfg``; what it does not give is CLIP's own.

    The size is always the model's input size, as in open_clip.

    Raises
    ------
    InputError
        ``unsupported`` for another colour mode, interpolation, a useless mean or std, or a padding
        that is not black.
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
            raise unsupported(
                f"{where}: preprocess_cfg.{key} is {str(value)[:40]}; this version knows "
                f"{', '.join(allowed)}."
            )
    colour = config.get("fill_color", 0)
    if config.get("resize_mode") == "longest" and colour not in (0, None):  # others never pad
        raise unsupported(
            f"{where}: preprocess_cfg.fill_color is {str(colour)[:40]}; this version pads pictures "
            "with 0 (black) alone, and the model would see others than it was trained on."
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
        raise unsupported(
            f"{where}: preprocess_cfg.{key} is {str(value)[:60]} and must be three numbers "
            f"from {low} to 10."
        )
    red, green, blue = (float(item) for item in value)
    return red, green, blue
