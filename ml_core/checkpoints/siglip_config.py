"""The transformers library's SigLIP configs, in open_clip's words.

Of SigLIP 2 this is the kind with pictures of one size, which says the model type ``siglip`` too.
The other kind (NaFlex, ``siglip2``) cuts each picture into patches of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ml_core.checkpoints.shapes import StatedConfig, mlp_ratio, positive
from ml_core.reading import InputError

# What the library leaves out of a saved config.
_COMMON = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
}  # fmt: skip
_VISION = _COMMON | {"image_size": 224, "patch_size": 16, "vision_use_head": True}
_TEXT = _COMMON | {"vocab_size": 32000, "max_position_embeddings": 64}
_ACTIVATIONS = {"gelu_pytorch_tanh": "tanh", "gelu": "none"}

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
    vision = _part(config, "vision", _VISION, where)
    text = _part(config, "text", _TEXT, where)
    sizes = _sizes(vision, where)
    patch, size = positive(vision, "patch_size", where), positive(vision, "image_size", where)
    name = TIMM_NAMES.get((sizes, patch, size))
    if name is None or vision["vision_use_head"] is not True:
        raise InputError(
            f"{where} asks for an image encoder of {sizes[2]} layers of width {sizes[0]}, patches "
            f"of {patch} and pictures of {size} px, which no published SigLIP has; this version "
            "opens those.",
            "unsupported",
        )
    width, hidden, layers, heads = _sizes(text, where)
    vocabulary = positive(text, "vocab_size", where)
    gelu = _activation(vision, where)
    made: dict[str, Any] = {
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
    return StatedConfig(made, (_TANH,) if gelu == "tanh" else ())


def as_in_transformers(told: StatedConfig) -> StatedConfig:
    """open_clip's config of a SigLIP whose tensors have the transformers library's names."""
    config = dict(told.config)
    for part in ("vision_cfg", "text_cfg"):
        config[part] = {**config[part], "act_kwargs": {"approximate": "tanh"}}
    return replace(told, config=config, assumptions=(*told.assumptions, _TANH))


def _part(
    config: Mapping[str, Any], name: str, defaults: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """The table of one encoder with its defaults."""
    given = config.get(f"{name}_config")
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"{where} has no table {name}_config; get it again.", "damaged")
    part = {**defaults, **(given or {})}
    epsilon = part["layer_norm_eps"]
    if epsilon != defaults["layer_norm_eps"]:
        raise InputError(
            f"{where} asks for layer_norm_eps {str(epsilon)[:20]} in the {name} encoder; this "
            "version computes SigLIP's own 1e-06.",
            "unsupported",
        )
    return part


def _sizes(part: Mapping[str, Any], where: str) -> tuple[int, int, int, int]:
    """Width, hidden features, layers and heads."""
    width, hidden = (positive(part, key, where) for key in ("hidden_size", "intermediate_size"))
    layers, heads = (
        positive(part, key, where) for key in ("num_hidden_layers", "num_attention_heads")
    )
    return width, hidden, layers, heads


def _activation(part: Mapping[str, Any], where: str) -> str:
    """How GELU is computed."""
    found = _ACTIVATIONS.get(str(part["hidden_act"]))
    if found is None:
        raise InputError(
            f"{where} asks for the activation {str(part['hidden_act'])[:60]}; SigLIP has "
            "gelu_pytorch_tanh or gelu.",
            "unsupported",
        )
    return found
