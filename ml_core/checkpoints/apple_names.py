"""From the tensor names of Apple's own MobileCLIP files to those of open_clip and timm."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable

from ml_core.checkpoints.transformers_names import Source

FASTVIT_MARK = "image_encoder.model.patch_embed.0.rbr_conv.0.conv.weight"
VIT_MARK = "image_encoder.model.patch_emb.0.block.conv.weight"
S0_MARK = "text_encoder.transformer.0.token_mixer."
"""Of a MobileCLIP-S0, whose text encoder has convolutions."""

_IMAGE, _TEXT = "image_encoder.model.", "text_encoder."
# In this order: a later one may stand in what an earlier one made.
_FASTVIT = (
    ("patch_embed", "stem"), ("rbr_conv", "conv_kxk"), ("rbr_scale", "conv_scale"),
    ("rbr_skip", "identity"), ("conv_exp", "final_conv"), ("lkb_origin", "large_conv"),
    ("convffn", "mlp"), ("se.reduce", "se.fc1"), ("se.expand", "se.fc2"),
)  # fmt: skip
_SCALE = re.compile(r"\b(layer_scale(?:_\d)?)\Z")
_NETWORK = re.compile(r"network\.(\d{1,4})\.(proj\.|pe\.)?(.+)")
_INSIDE = {"proj.": "downsample.proj.", "pe.": "pos_emb.pos_enc.", None: "blocks."}
_VIT = (
    ("patch_emb.", "patch_embed.backbone."), ("block.conv", "conv"), ("block.norm", "bn"),
    ("post_transformer_norm.", "norm."), ("pre_norm_mha.0", "norm1"), ("pre_norm_mha.1", "attn"),
    ("pre_norm_ffn.0", "norm2"), ("pre_norm_ffn.1", "mlp.fc1"), ("pre_norm_ffn.4", "mlp.fc2"),
    ("qkv_proj.", "qkv."), ("out_proj.", "proj."), ("transformer.", "blocks."),
)  # fmt: skip
_TEXTS = (
    ("projection_layer", "text_projection"), ("embedding_layer", "token_embedding"),
    ("final_layer_norm", "ln_final"), ("pre_norm_mha.0", "ln_1"), ("pre_norm_mha.1", "attn"),
    ("pre_norm_ffn.0", "ln_2"), ("pre_norm_ffn.1", "mlp.c_fc"), ("pre_norm_ffn.4", "mlp.c_proj"),
    ("qkv_proj.weight", "in_proj_weight"), ("qkv_proj.bias", "in_proj_bias"),
    ("transformer.", "transformer.resblocks."),
)  # fmt: skip
_POSITIONS = "pos_embed.pos_embed"
_HEADS = {"head.proj": "head.fc", "classifier.proj": "head"}


def apple_sources(names: Iterable[str], prefix: str) -> dict[str, Source]:
    """Map the model's names to the tensors of the file; what is not known keeps its name.

    The projection of pictures is stored the other way round and has no bias, of which timm's layer
    gets zeros; positions have axes of length one before them.
    """
    inside = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
    stages = sorted({int(found[1]) for key in inside if (found := _downsampling(key))})
    fastvit = FASTVIT_MARK in inside
    made: dict[str, Source] = {}
    for key, name in inside.items():
        if key.startswith(_IMAGE):
            own = key.removeprefix(_IMAGE)
            if own in _HEADS:
                layer = f"visual.trunk.{_HEADS[own]}"
                made[f"{layer}.weight"] = Source((name,), transposed=True)
                made[f"{layer}.bias"] = Source((name,), zeros=True)
            elif own == f"pos_embed.{_POSITIONS}":
                made["visual.trunk.pos_embed"] = Source((name,), squeezed=1)
            else:
                new = _fastvit(own, stages) if fastvit else _replaced(own, _VIT)
                made[f"visual.trunk.{new}"] = Source((name,))
        elif key == f"{_TEXT}positional_embedding.{_POSITIONS}":
            made["text.positional_embedding"] = Source((name,), squeezed=2)
        elif key.startswith(_TEXT):
            made[f"text.{_replaced(key.removeprefix(_TEXT), _TEXTS)}"] = Source((name,))
        else:
            made[key] = Source((name,))
    return made


def _downsampling(key: str) -> re.Match[str] | None:
    """A layer between two stages of a FastViT, which are one list in Apple's."""
    found = _NETWORK.fullmatch(key.removeprefix(_IMAGE))
    return found if found is not None and found[2] == "proj." else None


def _fastvit(key: str, stages: list[int]) -> str:
    key = _SCALE.sub(r"\1.gamma", _replaced(key, _FASTVIT))
    found = _NETWORK.fullmatch(key)
    if found is None:
        return key
    stage = bisect_right(stages, int(found[1]))
    return f"stages.{stage}.{_INSIDE[found[2]]}{found[3]}"


def _replaced(key: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        key = key.replace(old, new)
    return key
