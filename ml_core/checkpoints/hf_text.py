"""The config of a text encoder of the transformers library, which open_clip's does not hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ml_core.checkpoints.architecture import StatedConfig
from ml_core.checkpoints.layouts import Layout
from ml_core.reading import InputError, Inspection
from ml_core.reading.folder import TRANSFORMERS_CONFIG_NAME, check_link
from ml_core.reading.hf_config import HF_CONFIG, KINDS, plain_hf_config
from ml_core.reading.parts import HF_START
from ml_core.reading.regular_file import open_regular
from ml_core.reading.strict_json import JsonError, parse_object

_MAX_BYTES = 1 << 20
_HEAD = 64
# What shapes do not tell of the published encoders, by how their names begin.
_FAMILIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("xlm-roberta", {"model_type": "xlm-roberta", "layer_norm_eps": 1e-5, "pad_token_id": 1}),
    ("roberta", {"model_type": "roberta", "layer_norm_eps": 1e-5, "pad_token_id": 1}),
    ("bert", {"model_type": "bert", "layer_norm_eps": 1e-12, "pad_token_id": 0}),
    ("chinese-bert", {"model_type": "bert", "layer_norm_eps": 1e-12, "pad_token_id": 0}),
    ("chinese-roberta", {"model_type": "bert", "layer_norm_eps": 1e-12, "pad_token_id": 0}),
    ("mt5",
        {"model_type": "mt5", "feed_forward_proj": "gated-gelu", "pad_token_id": 0,
            "relative_attention_max_distance": 128}),
    ("nllb",
        {"model_type": "m2m_100", "activation_function": "relu", "scale_embedding": True,
            "pad_token_id": 1, "max_position_embeddings": 1024}),
)  # fmt: skip


def with_hf_config(
    stated: StatedConfig, inspection: Inspection, layout: Layout, where: str
) -> StatedConfig:
    """Complete an open_clip config that names a text encoder of the transformers library.

    The sizes come from ``config.json`` beside it, or else from the shapes of the tensors, where
    the name tells a published kind.

    Raises
    ------
    InputError
        ``unsupported`` if the kind cannot be found out, ``damaged`` if the tensors do not fit it.
    """
    text = stated.config.get("text_cfg")
    if not isinstance(text, Mapping) or not text.get("hf_model_name") or text.get(HF_CONFIG):
        return stated
    if layout.missing == "text":
        return stated
    config = _config_beside(inspection)
    sentences = stated.assumptions
    if config is None:
        name = str(text["hf_model_name"])
        config = _from_shapes(name, layout.shapes, where)
        sentences += (
            f"The sizes of the text encoder are read off its tensors; heads of {_HEAD} and the "
            f"rest are assumed as in {name[:80]}.",
        )
    full = {**stated.config, "text_cfg": {**text, HF_CONFIG: config}}
    return replace(stated, config=full, assumptions=sentences)


def _config_beside(inspection: Inspection) -> dict[str, Any] | None:
    """The text encoder's ``config.json`` in the folder, if there is one of a known kind."""
    file = inspection.source / TRANSFORMERS_CONFIG_NAME
    if not inspection.source.is_dir() or not file.is_file():
        return None
    check_link(inspection.source, file)
    opened, _ = open_regular(file)
    with opened:
        raw = opened.read(_MAX_BYTES + 1)
    try:
        config = parse_object(raw, max_bytes=_MAX_BYTES)
    except JsonError as error:
        raise InputError(
            f"{inspection.name}/{file.name} cannot be used: {error}; get it again.", "damaged"
        ) from None
    kind = config.get("model_type")
    return plain_hf_config(config) if isinstance(kind, str) and kind in KINDS else None


def _from_shapes(name: str, shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, Any]:
    """Sizes off the shapes, the rest of the published kind."""
    short = name.rpartition("/")[2].lower()
    known = next((facts for start, facts in _FAMILIES if short.startswith(start)), None)
    if known is None:
        raise InputError(
            f"{where} asks for the text encoder {name[:80]}, whose kind is not known here; put its "
            "config.json into the folder.",
            "unsupported",
        )
    inside = {
        key.removeprefix(HF_START): shape
        for key, shape in shapes.items()
        if key.startswith(HF_START)
    }
    try:
        kind = known["model_type"]
        sizes = (
            _t5(inside) if kind == "mt5" else _m2m(inside) if kind == "m2m_100" else _bert(inside)
        )
    except (KeyError, ValueError, IndexError):
        raise InputError(
            f"{where} asks for the text encoder {name[:80]}, of which the file does not hold the "
            "tensors; get both again.",
            "damaged",
        ) from None
    return {**sizes, **known}


def _bert(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    vocabulary, width = shapes["embeddings.word_embeddings.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": _count(shapes, r"encoder\.layer\.(\d{1,4})\."),
        "num_attention_heads": _heads(width),
        "intermediate_size": shapes["encoder.layer.0.intermediate.dense.weight"][0],
        "max_position_embeddings": shapes["embeddings.position_embeddings.weight"][0],
        "type_vocab_size": shapes["embeddings.token_type_embeddings.weight"][0],
    }


def _t5(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    vocabulary, width = shapes["embed_tokens.weight"]
    attention = "block.0.layer.0.SelfAttention"
    inner = shapes[f"{attention}.q.weight"][0]
    buckets, heads = shapes[f"{attention}.relative_attention_bias.weight"]
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": inner // heads,
        "d_ff": shapes["block.0.layer.1.DenseReluDense.wo.weight"][1],
        "num_layers": _count(shapes, r"block\.(\d{1,4})\."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
    }


def _m2m(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    vocabulary, width = shapes["embed_tokens.weight"]
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "encoder_layers": _count(shapes, r"layers\.(\d{1,4})\."),
        "encoder_attention_heads": _heads(width),
        "encoder_ffn_dim": shapes["layers.0.fc1.weight"][0],
    }


def _heads(width: int) -> int:
    if not width or width % _HEAD:
        raise ValueError("the width is not that of a published encoder")
    return width // _HEAD


def _count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    """How many numbered blocks there are."""
    numbers = {int(match[1]) for key in shapes if (match := re.match(pattern, key))}
    if not numbers:
        raise ValueError("no blocks")
    return max(numbers) + 1
