"""From the tensor names of transformers' and Apple's CLIPs and of SigLIP to those of open_clip."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ml_core.reading.parts import BERT_MARK, FASTVIT_MARK

_WHOLE = {
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
    "logit_scale": "logit_scale",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
}
_TRANSPOSED = ("visual_projection.weight", "text_projection.weight")
_NORMS = {
    "vision_model.pre_layrnorm": "visual.ln_pre",  # the library's own spelling
    "vision_model.post_layernorm": "visual.ln_post",
    "text_model.final_layer_norm": "ln_final",
}
_IN_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_BLOCKS = {
    "vision": ("visual.transformer.resblocks", _IN_BLOCK),
    "text": ("transformer.resblocks", _IN_BLOCK),
}
_BLOCK = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d{1,4})\.(.+)\.(weight|bias)\Z")


@dataclass(frozen=True, slots=True)
class TensorSource:
    """Tensors of a file that make one of the model, joined along their first axis.

    Parameters
    ----------
    transposed
        Whether the two sides change places.
    rows
        Start and stop of the part of the first axis to take, in thirds (0 to 3); None takes all of
        it.
    batched
        Whether an axis of length one comes before.
    squeezed
        Axes of length one that are left out before.
    zeros
        Whether it is a missing bias: zeros, as many as the tensor's last axis is long.
    seam
        If two tensors of one shape are joined: the first one gives the rows before this row, the
        second one the others.
    """

    names: tuple[str, ...]
    transposed: bool = False
    rows: tuple[int, int] | None = None
    batched: bool = False
    squeezed: int = 0
    zeros: bool = False
    seam: int | None = None

    def shape(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """Shape of the tensor that its sources make, by the shapes of the file's tensors."""
        first, *others = (shapes[name] for name in self.names)
        if self.zeros:
            return first[-1:]
        if self.seam is not None:
            return first
        if others and first and all(other[1:] == first[1:] for other in others):
            first = (first[0] + sum(other[0] for other in others), *first[1:])
        if self.rows is not None and first:
            start, stop = self.rows
            first = (first[0] * stop // 3 - first[0] * start // 3, *first[1:])
        if self.batched:
            first = (1, *first)
        if first[: self.squeezed] == (1,) * self.squeezed:
            first = first[self.squeezed :]
        return tuple(reversed(first)) if self.transposed else first


def sources(names: Iterable[str], prefix: str, flat: str = "") -> dict[str, TensorSource]:
    """Map the model's names to the tensors of the file.

    ``flat`` is ``vision_model.`` or ``text_model.`` if the file's names leave that out.

    Query, key and value are three tensors in the library and one in open_clip. Both projections are
    stored transposed. An unknown name is kept, so that it is reported as unexpected.
    ``position_ids``, which count from 0, are left out.
    """
    inside = _inside(names, prefix, flat)
    bert = BERT_MARK in inside
    result: dict[str, TensorSource] = {}
    for key, name in inside.items():
        if bert and key == "text_projection.weight":
            result["text.proj.weight"] = TensorSource((name,))
        elif bert and key.startswith("text_"):
            new = f"text.transformer.{key.removeprefix('text_model.')}"
            result[new] = TensorSource((name,))
        elif (third := _third(key, inside)) is None:
            new = _renamed(key, _WHOLE, _NORMS, _BLOCKS)
            result[new] = TensorSource((name,), key in _TRANSPOSED)
        elif third:
            match = _BLOCK.match(key)
            assert match is not None, "only names of a block have thirds"
            start, _ = _BLOCKS[match[1]]
            result[f"{start}.{match[2]}.attn.in_proj_{match[4]}"] = TensorSource(third)
    return result


def _inside(names: Iterable[str], prefix: str, flat: str = "") -> dict[str, str]:
    """The library's names of a model's tensors but ``position_ids``, and those in the file."""
    own = (name for name in names if name.startswith(prefix))
    keys = {flat + name.removeprefix(prefix): name for name in own}
    return {key: name for key, name in keys.items() if not key.endswith(".position_ids")}


def _third(key: str, inside: Mapping[str, str]) -> tuple[str, ...] | None:
    """The file's query, key and value for the name of the first of the three.

    None for other names, and where one of the three is missing; empty for the other two.
    """
    match = re.search(r"\.self_attn\.([qkv])_proj\.", key)
    if match is None or _BLOCK.match(key) is None:
        return None
    parts = [f"{key[: match.start(1)]}{letter}{key[match.end(1) :]}" for letter in "qkv"]
    if not all(part in inside for part in parts):
        return None
    return tuple(inside[part] for part in parts) if key == parts[0] else ()


def _renamed(
    key: str,
    whole: Mapping[str, str],
    layers: Mapping[str, str],
    blocks: Mapping[str, tuple[str, Mapping[str, str]]],
) -> str:
    """The name in open_clip, or the name itself."""
    if key in whole:
        return whole[key]
    layer, _, kind = key.rpartition(".")
    if layer in layers:
        return f"{layers[layer]}.{kind}"
    match = _BLOCK.match(key)
    if match is None or match[3] not in blocks[match[1]][1]:
        return key
    start, inside = blocks[match[1]]
    return f"{start}.{match[2]}.{inside[match[3]]}.{kind}"


_POOL = "vision_model.head"
_SIGLIP_WHOLE = {
    "logit_scale": "logit_scale",
    "logit_bias": "logit_bias",
    "vision_model.embeddings.patch_embedding.weight": "visual.trunk.patch_embed.proj.weight",
    "vision_model.embeddings.patch_embedding.bias": "visual.trunk.patch_embed.proj.bias",
    "vision_model.embeddings.position_embedding.weight": "visual.trunk.pos_embed",
    f"{_POOL}.probe": "visual.trunk.attn_pool.latent",
    "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
}
_SIGLIP_LAYERS = {
    "vision_model.post_layernorm": "visual.trunk.norm",
    f"{_POOL}.attention.out_proj": "visual.trunk.attn_pool.proj",
    f"{_POOL}.layernorm": "visual.trunk.attn_pool.norm",
    f"{_POOL}.mlp.fc1": "visual.trunk.attn_pool.mlp.fc1",
    f"{_POOL}.mlp.fc2": "visual.trunk.attn_pool.mlp.fc2",
    "text_model.final_layer_norm": "text.ln_final",
    "text_model.head": "text.text_projection",
}
_SIGLIP_BLOCKS = {
    "vision": ("visual.trunk.blocks",
        {"layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj",
            "self_attn.q_proj": "attn.qkv", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}),
    "text": ("text.transformer.resblocks",
        {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj",
            "self_attn.q_proj": "attn.in_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}),
}  # fmt: skip


def siglip_sources(names: Iterable[str], prefix: str, flat: str = "") -> dict[str, TensorSource]:
    """Map the model's names to the tensors of the file; what is not known keeps its name.

    ``flat`` is as for `sources`.

    In the blocks, query, key and value are three tensors in the library and one in timm and
    open_clip. In the pooling they are one tensor in the library, and timm keeps the query apart.
    """
    inside = _inside(names, prefix, flat)
    result: dict[str, TensorSource] = {}
    for key, name in inside.items():
        third = _third(key, inside)
        if key.startswith(f"{_POOL}.attention.in_proj_"):
            kind = key.rpartition("_")[2]
            result[f"visual.trunk.attn_pool.q.{kind}"] = TensorSource((name,), rows=(0, 1))
            result[f"visual.trunk.attn_pool.kv.{kind}"] = TensorSource((name,), rows=(1, 3))
        elif third is None or third:
            new = _renamed(key, _SIGLIP_WHOLE, _SIGLIP_LAYERS, _SIGLIP_BLOCKS)
            new = new.replace("attn.in_proj.", "attn.in_proj_")
            batched = new == "visual.trunk.pos_embed"
            result[new] = TensorSource(third or (name,), batched=batched)
    return result


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


def apple_sources(names: Iterable[str], prefix: str, flat: str = "") -> dict[str, TensorSource]:
    """Map the model's names to the tensors of the file; what is not known keeps its name.

    The projection of pictures is stored transposed and has no bias; timm's layer gets a bias of
    zeros. Positions have leading axes of length one.
    """
    inside = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
    stages = sorted({int(match[1]) for key in inside if (match := _downsampling(key))})
    fastvit = FASTVIT_MARK in inside
    result: dict[str, TensorSource] = {}
    for key, name in inside.items():
        if key.startswith(_IMAGE):
            own = key.removeprefix(_IMAGE)
            if own in _HEADS:
                layer = f"visual.trunk.{_HEADS[own]}"
                result[f"{layer}.weight"] = TensorSource((name,), transposed=True)
                result[f"{layer}.bias"] = TensorSource((name,), zeros=True)
            elif own == f"pos_embed.{_POSITIONS}":
                result["visual.trunk.pos_embed"] = TensorSource((name,), squeezed=1)
            else:
                new = _fastvit(own, stages) if fastvit else _replaced(own, _VIT)
                result[f"visual.trunk.{new}"] = TensorSource((name,))
        elif key == f"{_TEXT}positional_embedding.{_POSITIONS}":
            result["text.positional_embedding"] = TensorSource((name,), squeezed=2)
        elif key.startswith(_TEXT):
            result[f"text.{_replaced(key.removeprefix(_TEXT), _TEXTS)}"] = TensorSource((name,))
        else:
            result[key] = TensorSource((name,))
    return result


def _downsampling(key: str) -> re.Match[str] | None:
    """A layer between two stages of a FastViT, which are one list in Apple's."""
    match = _NETWORK.fullmatch(key.removeprefix(_IMAGE))
    return match if match is not None and match[2] == "proj." else None


def _fastvit(key: str, stages: list[int]) -> str:
    key = _SCALE.sub(r"\1.gamma", _replaced(key, _FASTVIT))
    match = _NETWORK.fullmatch(key)
    if match is None:
        return key
    stage = bisect_right(stages, int(match[1]))
    return f"stages.{stage}.{_INSIDE[match[2]]}{match[3]}"


def _replaced(key: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        key = key.replace(old, new)
    return key
