"""From the tensor names of the transformers library's CLIPModel to those of open_clip."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

IMAGE_MARK = "vision_model.embeddings.class_embedding"
TEXT_MARK = "text_model.embeddings.token_embedding.weight"
BERT_MARK = "text_model.embeddings.word_embeddings.weight"
"""A tensor that the text encoder of a Chinese CLIP has."""

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
_BLOCK = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d{1,4})\.(.+)\.(weight|bias)\Z")


@dataclass(frozen=True, slots=True)
class Source:
    """Tensors of a file that make one of the model, joined along their first axis.

    Parameters
    ----------
    transposed
        Whether the two sides change places.
    rows
        From which to which third of the first axis it goes, 0 to 3; None takes all of it.
    batched
        Whether an axis of length one comes before.
    squeezed
        Axes of length one that are left out before.
    zeros
        Whether only as many zeros are meant as its last axis is long: of a bias that is not there.
    seam
        Of two tensors of one shape: the rows before this one are the first's, the others the
        second's.
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


def sources(names: Iterable[str], prefix: str) -> dict[str, Source]:
    """Map the model's names to the tensors of the file.

    Query, key and value, three tensors in the library, are one in open_clip; both projections
    are stored the other way round. A name that is not known is kept, to be told as unexpected;
    ``position_ids``, which count from 0, are left out.
    """
    inside = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
    bert = BERT_MARK in inside
    made: dict[str, Source] = {}
    for key, name in inside.items():
        if key.endswith(".position_ids"):
            continue
        if bert and key.startswith("text_"):
            made[_of_bert(key)] = Source((name,))
            continue
        parts = thirds(key)
        if parts is not None and all(part in inside for part in parts):
            if key == parts[0]:
                made[_renamed_thirds(key)] = Source(tuple(inside[part] for part in parts))
            continue
        made[_renamed(key)] = Source((name,), key in _TRANSPOSED)
    return made


def _of_bert(key: str) -> str:
    """The name in open_clip of a Chinese CLIP's text encoder, which keeps BERT's."""
    if key == "text_projection.weight":
        return "text.proj.weight"
    return f"text.transformer.{key.removeprefix('text_model.')}"


def thirds(key: str) -> tuple[str, str, str] | None:
    """Query, key and value of an attention layer, if the name is one of them."""
    found = re.search(r"\.self_attn\.([qkv])_proj\.", key)
    if found is None or _BLOCK.match(key) is None:
        return None
    before, after = key[: found.start(1)], key[found.end(1) :]
    return f"{before}q{after}", f"{before}k{after}", f"{before}v{after}"


def _renamed_thirds(key: str) -> str:
    """The joined tensor's name."""
    found = _BLOCK.match(key)
    assert found is not None, "only names of a block have thirds"
    return f"{_block(found)}.attn.in_proj_{found[4]}"


def _block(found: re.Match[str]) -> str:
    tower = "visual." if found[1] == "vision" else ""
    return f"{tower}transformer.resblocks.{found[2]}"


def _renamed(key: str) -> str:
    """The name in open_clip, or the name itself."""
    if key in _WHOLE:
        return _WHOLE[key]
    layer, _, kind = key.rpartition(".")
    if layer in _NORMS:
        return f"{_NORMS[layer]}.{kind}"
    found = _BLOCK.match(key)
    if found is not None and found[3] in _IN_BLOCK:
        return f"{_block(found)}.{_IN_BLOCK[found[3]]}.{kind}"
    return key
