"""The configs of the transformers library and of llama.cpp in open_clip's words."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ml_core.checkpoints.architecture import StatedConfig, mlp_ratio, positive
from ml_core.checkpoints.layouts import Layout
from ml_core.reading import InputError, Inspection, damaged, unsupported
from ml_core.reading.clip_config import (
    CLIP_MEAN,
    CLIP_STD,
    HF_CONFIG,
    HF_KINDS,
    VOCABULARY,
    check_hf_config,
    plain_hf_config,
)
from ml_core.reading.folder import TRANSFORMERS_CONFIG_NAME, check_link
from ml_core.reading.parts import HF_START
from ml_core.reading.regular_file import read_object

# What the library leaves out of a saved config.
_COMMON = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_hidden_layers": 12}
_VISION = _COMMON | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
}
_TEXT = _COMMON | {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "vocab_size": VOCABULARY,
}
_ACTIVATIONS = {"quick_gelu": True, "gelu": False}
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}
_MODELS = ("clip", "clip_vision_model", "clip_text_model", "chinese_clip", "metaclip_2")
_OTHERS = {
    "siglip2": "a SigLIP 2 of variable resolution (NaFlex), which cuts each picture into patches "
    "of its own; take the same model with pictures of one size, such as "
    "google/siglip2-base-patch16-256",
    "altclip": "an AltCLIP, whose text encoder has a layer between BERT and projection that "
    "open_clip does not have; take a multilingual CLIP of open_clip's instead, such as "
    "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
}
KINDS = (*_MODELS, *_OTHERS, "siglip")
"""Kinds of models whose config is read, or named where it is refused."""
_BERT = {
    "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "max_position_embeddings": 512, "type_vocab_size": 2,
    "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
}  # fmt: skip
_CHINESE = "OFA-Sys/chinese-clip-vit-base-patch16"  # of which the tokenizer is
# Its text encoders by width and layers (Yang et al. 2022, table 1). open_clip builds a text encoder
# by the config of a repository, and that of a Chinese CLIP's own is of both encoders.
_BERTS = {
    (768, 12): "hfl/chinese-roberta-wwm-ext",
    (1024, 24): "hfl/chinese-roberta-wwm-ext-large",
    (768, 3): "hfl/rbt3",
}
_XLM_V = "facebook/xlm-v-base"  # MetaCLIP 2's tokenizer, as open_clip names it
_CHINESE_LENGTH = 52  # tokens, as its authors train and test


def model_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Turn a ``CLIPConfig``, or that of one tower, into open_clip's ``model_cfg``.

    Raises
    ------
    InputError
        ``unsupported`` for another kind of model or what open_clip's CLIP cannot compute.
    """
    kind = config.get("model_type")
    if kind is None and "architecture" in config:
        raise unsupported(
            f"{where} is of the timm library ({str(config['architecture'])[:60]}), an image "
            "encoder without a text encoder; this version opens CLIP models."
        )
    if kind is None and "_class_name" in config:
        raise unsupported(
            f"{where} is of the diffusers library ({str(config['_class_name'])[:60]}) and no CLIP; "
            "open the folder text_encoder beside this one."
        )
    if isinstance(kind, str) and kind in _OTHERS:
        raise unsupported(f"{where} is of {_OTHERS[kind]}.")
    if kind not in _MODELS:
        raise unsupported(
            f"{where} is of the model type {str(kind)[:40]!r}; of the transformers library this "
            "version opens clip, chinese_clip, metaclip_2 and siglip."
        )
    model: dict[str, Any] = {}
    activations = []
    embed_dim = config.get("projection_dim", 512)
    if kind != "clip_text_model":
        part = _part(config, "vision", _VISION, where)
        width, heads = (positive(part, k, where) for k in ("hidden_size", "num_attention_heads"))
        model["vision_cfg"] = {
            "width": width,
            "layers": part["num_hidden_layers"],
            "head_width": _share(width, heads, where),
            "patch_size": part["patch_size"],
            "image_size": part["image_size"],
            "mlp_ratio": mlp_ratio(positive(part, "intermediate_size", where), width),
        }
        activations.append(part["hidden_act"])
    if kind == "chinese_clip":
        model["text_cfg"] = _chinese_text(config, where)
    elif kind != "clip_vision_model":
        part = _part(config, "text", _TEXT, where)
        width = positive(part, "hidden_size", where)
        model["text_cfg"] = {
            "width": width,
            "layers": part["num_hidden_layers"],
            "heads": part["num_attention_heads"],
            "context_length": part["max_position_embeddings"],
            "vocab_size": part["vocab_size"],
            "mlp_ratio": mlp_ratio(positive(part, "intermediate_size", where), width),
        }
        if kind == "metaclip_2":
            end = part.get("eos_token_id", VOCABULARY - 1)  # its default
            model["text_cfg"] |= {"hf_tokenizer_name": _XLM_V, "pool_type": "eos", "eos_id": end}
        activations.append(part["hidden_act"])
    if len(set(map(str, activations))) > 1 or str(activations[0]) not in _ACTIVATIONS:
        raise unsupported(
            f"{where} asks for the activation {' and '.join(map(str, activations))[:60]}; this "
            "version knows quick_gelu and gelu, the same in both encoders."
        )
    return model | {"embed_dim": embed_dim, "quick_gelu": _ACTIVATIONS[str(activations[0])]}


def _chinese_text(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The BERT of a Chinese CLIP (Yang et al. 2022), whose first token is projected."""
    given = config.get("text_config") or {}
    if not isinstance(given, Mapping):
        raise damaged(f"{where} has no table text_config; get it again.")
    bert = plain_hf_config({**_BERT, **given, "model_type": "bert"})
    if wrong := check_hf_config(bert):
        raise unsupported(f"{where}: the text_config {wrong}; get it again.")
    sizes = bert["hidden_size"], bert["num_hidden_layers"]
    return {
        "hf_model_name": _BERTS.get(sizes, _BERTS[768, 12]),
        "hf_tokenizer_name": _CHINESE,
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "hf_proj_type": "linear",
        "context_length": min(_CHINESE_LENGTH, bert["max_position_embeddings"]),
        HF_CONFIG: bert,
    }


def _part(
    config: Mapping[str, Any], name: str, defaults: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """The table of one encoder with its defaults; ``…_config_dict``, of old versions, wins."""
    given = config.get(f"{name}_config")
    if config["model_type"].startswith("clip_") and given is None:
        given = config
    for table in (given, config.get(f"{name}_config_dict")):
        if table is not None and not isinstance(table, Mapping):
            raise damaged(f"{where} has no table {name}_config; get it again.")
    older = config.get(f"{name}_config_dict")
    part = {**defaults, **(given or {}), **({**defaults, **older} if older else {})}
    epsilon = part["layer_norm_eps"]
    if epsilon != defaults["layer_norm_eps"]:
        raise other_epsilon(where, "layer_norm_eps", epsilon, name)
    return part


def other_epsilon(
    where: str, key: str, value: object, tower: str, own: str = "CLIP's own 1e-05"
) -> InputError:
    """The refusal of another epsilon in an encoder's layer norms."""
    return unsupported(
        f"{where} asks for {key} {str(value)[:20]} in the {tower} encoder; this version computes "
        f"{own}."
    )


def _share(width: int, heads: int, where: str) -> int:
    """Width of one attention head."""
    if width % heads:
        raise damaged(
            f"{where} asks for {heads} attention heads over {width} features, which does not "
            "fit; get it again."
        )
    return width // heads


def preprocess_config(config: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """Turn a ``CLIPImageProcessor``'s JSON into open_clip's ``preprocess_cfg``; {} without one.

    Raises
    ------
    InputError
        ``unsupported`` for preprocessing that open_clip does not have.
    """
    if config is None:
        return {}
    preprocess: dict[str, Any] = {}
    if config.get("do_normalize", True) is False:
        preprocess["mean"], preprocess["std"] = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
    else:
        for key, theirs in (("mean", "image_mean"), ("std", "image_std")):
            if config.get(theirs) is not None:
                preprocess[key] = config[theirs]
    if config.get("do_rescale", True) is False or config.get("rescale_factor", 1 / 255) not in (
        1 / 255,
        None,
    ):
        raise unsupported(
            f"{where} scales pixels in an unusual way (rescale_factor); this version scales them "
            "to 0 to 1."
        )
    resample = config.get("resample", 3)
    if not isinstance(resample, int) or resample not in _INTERPOLATIONS:
        raise unsupported(
            f"{where} asks for the interpolation {str(resample)[:20]}; this version knows "
            "bilinear (2) and bicubic (3)."
        )
    preprocess["interpolation"] = _INTERPOLATIONS[resample]
    size = config.get("size")
    squashed = isinstance(size, Mapping) and "shortest_edge" not in size and "height" in size
    preprocess["resize_mode"] = "squash" if squashed else "shortest"
    return preprocess


# What the library leaves out of a saved config.
_SIGLIP_COMMON = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
}  # fmt: skip
_SIGLIP_VISION = _SIGLIP_COMMON | {"image_size": 224, "patch_size": 16, "vision_use_head": True}
_SIGLIP_TEXT = _SIGLIP_COMMON | {"vocab_size": 32000, "max_position_embeddings": 64}
_SIGLIP_ACTIVATIONS = {"gelu_pytorch_tanh": "tanh", "gelu": "none"}

_BASE, _LARGE = (768, 3072, 12, 12), (1024, 4096, 24, 16)
_SO400M, _GIANT = (1152, 4304, 27, 16), (1536, 6144, 40, 16)
# timm's name of an image encoder by width, hidden features, layers, heads; patch and picture.
TIMM_NAMES: dict[tuple[tuple[int, ...], int, int], str] = {
    **{(_BASE, 16, size): f"vit_base_patch16_siglip_{size}" for size in (224, 256, 384, 512)},
    (_BASE, 32, 256): "vit_base_patch32_siglip_256",
    **{(_LARGE, 16, size): f"vit_large_patch16_siglip_{size}" for size in (256, 384, 512)},
    **{(_SO400M, 14, size): f"vit_so400m_patch14_siglip_{size}" for size in (224, 378, 384)},
    **{(_SO400M, 16, size): f"vit_so400m_patch16_siglip_{size}" for size in (256, 384, 512)},
    **{(_GIANT, 16, size): f"vit_giantopt_patch16_siglip_{size}" for size in (256, 384)},
}
# Whose tokenizer, by the size of the vocabulary.
_TOKENIZERS = {
    256000: "timm/ViT-B-16-SigLIP2",
    250000: "timm/ViT-B-16-SigLIP-i18n-256",
}


_TANH = (
    "The image encoder computes GELU by its tanh approximation, as in the transformers library; "
    "stock open_clip computes it exactly in most SigLIPs, so that its image embeddings of a saved "
    "copy differ a little."
)


def siglip_config(config: Mapping[str, Any], where: str) -> StatedConfig:
    """Turn a ``SiglipConfig`` into open_clip's ``model_cfg`` and what is to be known of it.

    Raises
    ------
    InputError
        ``unsupported`` for sizes that no published SigLIP has, ``damaged`` for useless values.
    """
    vision = _siglip_part(config, "vision", _SIGLIP_VISION, where)
    text = _siglip_part(config, "text", _SIGLIP_TEXT, where)
    sizes = _sizes(vision, where)
    patch, size = positive(vision, "patch_size", where), positive(vision, "image_size", where)
    name = TIMM_NAMES.get((sizes, patch, size))
    if name is None or vision["vision_use_head"] is not True:
        raise unsupported(
            f"{where} asks for an image encoder of {sizes[2]} layers of width {sizes[0]}, patches "
            f"of {patch} and pictures of {size} px, which no published SigLIP has; this version "
            "opens those."
        )
    width, hidden, layers, heads = _sizes(text, where)
    vocabulary = positive(text, "vocab_size", where)
    gelu = _activation(vision, where)
    clip: dict[str, Any] = {
        "embed_dim": text.get("projection_size") or width,
        "custom_text": True,
        "init_logit_bias": -10.0,
        "vision_cfg": {
            "image_size": size,
            "timm_model_name": name,
            "timm_pool": "map",
            "timm_proj": "none",
            "act_kwargs": {"approximate": gelu},
        },
        "text_cfg": {
            "context_length": positive(text, "max_position_embeddings", where),
            "vocab_size": vocabulary,
            "width": width,
            "heads": heads,
            "layers": layers,
            "mlp_ratio": mlp_ratio(hidden, width),
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": text["layer_norm_eps"]},
            "act_kwargs": {"approximate": _activation(text, where)},
            "hf_tokenizer_name": _TOKENIZERS.get(vocabulary, "timm/ViT-B-16-SigLIP"),
            "tokenizer_kwargs": {"clean": "canonicalize"},
        },
    }
    return StatedConfig(clip, (_TANH,) if gelu == "tanh" else ())


def as_in_transformers(stated: StatedConfig) -> StatedConfig:
    """open_clip's config of a SigLIP whose tensors have the transformers library's names."""
    config = dict(stated.config)
    for part in ("vision_cfg", "text_cfg"):
        config[part] = {**config[part], "act_kwargs": {"approximate": "tanh"}}
    return replace(stated, config=config, assumptions=(*stated.assumptions, _TANH))


def _siglip_part(
    config: Mapping[str, Any], name: str, defaults: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """The table of one encoder with its defaults."""
    part = {**defaults, **_table(config, f"{name}_config", where)}
    epsilon = part["layer_norm_eps"]
    if epsilon != defaults["layer_norm_eps"]:
        raise other_epsilon(where, "layer_norm_eps", epsilon, name, "SigLIP's own 1e-06")
    return part


def _table(config: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """A table of a config; empty if it is missing."""
    table = config.get(name)
    if table is not None and not isinstance(table, Mapping):
        raise damaged(f"{where} has no table {name}; get it again.")
    return table or {}


def _sizes(part: Mapping[str, Any], where: str) -> tuple[int, int, int, int]:
    """Width, hidden features, layers and heads."""
    width, hidden = (positive(part, key, where) for key in ("hidden_size", "intermediate_size"))
    layers, heads = (
        positive(part, key, where) for key in ("num_hidden_layers", "num_attention_heads")
    )
    return width, hidden, layers, heads


def _activation(part: Mapping[str, Any], where: str) -> str:
    """How GELU is computed."""
    gelu = _SIGLIP_ACTIVATIONS.get(str(part["hidden_act"]))
    if gelu is None:
        raise unsupported(
            f"{where} asks for the activation {str(part['hidden_act'])[:60]}; SigLIP has "
            "gelu_pytorch_tanh or gelu."
        )
    return gelu


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
        raise unsupported(
            f"{where} computes with the activation SiLU (clip.use_silu), which no CLIP of "
            "open_clip does; open the file that it was made of."
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
    config = read_object(file, "get it again")
    kind = config.get("model_type")
    return plain_hf_config(config) if isinstance(kind, str) and kind in HF_KINDS else None


def _from_shapes(name: str, shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, Any]:
    """Sizes off the shapes, the rest of the published kind."""
    short = name.rpartition("/")[2].lower()
    known = next((facts for start, facts in _FAMILIES if short.startswith(start)), None)
    if known is None:
        raise unsupported(
            f"{where} asks for the text encoder {name[:80]}, whose kind is not known here; put its "
            "config.json into the folder."
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
        raise damaged(
            f"{where} asks for the text encoder {name[:80]}, of which the file does not hold the "
            "tensors; get both again."
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
