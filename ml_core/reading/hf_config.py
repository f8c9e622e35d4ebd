"""Configs of the transformers library's text encoders: plain sizes of a few known kinds.

The config goes to the library as a file that holds nothing but what passed here: it names no
repository and no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
KINDS: Mapping[str, tuple[str, ...]] = {
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
    fields = ("model_type", *KINDS.get(kind if isinstance(kind, str) else "", ()), *_OPTIONAL)
    return {key: config[key] for key in fields if config.get(key) is not None}


def check_hf_config(config: Any) -> str:
    """What is wrong with a config, as half a sentence; empty if it can be built."""
    if not isinstance(config, Mapping):
        return "must be a table"
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in KINDS:
        return f"is of the kind {str(kind)[:40]!r}, none of {', '.join(KINDS)}"
    for key, value in config.items():
        if key == "model_type":
            continue
        if key in _MOST and (key in KINDS[kind] or key in _OPTIONAL):
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
    missing = [key for key in KINDS[kind] if key not in config]
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
