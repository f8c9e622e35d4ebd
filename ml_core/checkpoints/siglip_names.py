"""From the tensor names of the transformers library's SiglipModel to those of open_clip."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ml_core.checkpoints.transformers_names import Source, thirds

MARK = "vision_model.embeddings.patch_embedding.bias"
"""A tensor that a SigLIP has and a CLIP has not."""

_POOL = "vision_model.head"
_WHOLE = {
    "logit_scale": "logit_scale",
    "logit_bias": "logit_bias",
    "vision_model.embeddings.patch_embedding.weight": "visual.trunk.patch_embed.proj.weight",
    MARK: "visual.trunk.patch_embed.proj.bias",
    "vision_model.embeddings.position_embedding.weight": "visual.trunk.pos_embed",
    f"{_POOL}.probe": "visual.trunk.attn_pool.latent",
    "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
}
_LAYERS = {
    "vision_model.post_layernorm": "visual.trunk.norm",
    f"{_POOL}.attention.out_proj": "visual.trunk.attn_pool.proj",
    f"{_POOL}.layernorm": "visual.trunk.attn_pool.norm",
    f"{_POOL}.mlp.fc1": "visual.trunk.attn_pool.mlp.fc1",
    f"{_POOL}.mlp.fc2": "visual.trunk.attn_pool.mlp.fc2",
    "text_model.final_layer_norm": "text.ln_final",
    "text_model.head": "text.text_projection",
}
_BLOCKS = {
    "vision": (
        "visual.trunk.blocks",
        {
            "layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj",
            "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
        },
    ),
    "text": (
        "text.transformer.resblocks",
        {
            "layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj",
            "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
        },
    ),
}  # fmt: skip
_BLOCK = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d{1,4})\.(.+)\.(weight|bias)\Z")


def siglip_sources(names: Iterable[str], prefix: str) -> dict[str, Source]:
    """Map the model's names to the tensors of the file; what is not known keeps its name.

    Query, key and value, three tensors in the library, are one in the blocks of timm and open_clip;
    of the pooling they are one in the library, and timm has the query apart.
    """
    inside = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
    made: dict[str, Source] = {}
    for key, name in inside.items():
        if key.endswith(".position_ids"):
            continue
        parts = thirds(key)
        if parts is not None and all(part in inside for part in parts):
            if key == parts[0]:
                made[_renamed(parts[0])] = Source(tuple(inside[part] for part in parts))
        elif key.startswith(f"{_POOL}.attention.in_proj_"):
            kind = key.rpartition("_")[2]
            made[f"visual.trunk.attn_pool.q.{kind}"] = Source((name,), rows=(0, 1))
            made[f"visual.trunk.attn_pool.kv.{kind}"] = Source((name,), rows=(1, 3))
        else:
            new = _renamed(key)
            made[new] = Source((name,), batched=new == "visual.trunk.pos_embed")
    return made


def _renamed(key: str) -> str:
    """The name in open_clip, or the name itself; of a query, that of the joined tensor."""
    if key in _WHOLE:
        return _WHOLE[key]
    layer, _, kind = key.rpartition(".")
    if layer in _LAYERS:
        return f"{_LAYERS[layer]}.{kind}"
    found = _BLOCK.match(key)
    if found is None:
        return key
    start, inside = _BLOCKS[found[1]]
    if found[3] == "self_attn.q_proj":
        joined = f"attn.qkv.{kind}" if found[1] == "vision" else f"attn.in_proj_{kind}"
        return f"{start}.{found[2]}.{joined}"
    return f"{start}.{found[2]}.{inside[found[3]]}.{kind}" if found[3] in inside else key
