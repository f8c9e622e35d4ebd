"""Which CLIPs, and encoders of CLIPs, a file holds beside other things, by its tensors' names.

The names are those that the programs write which people have: CompVis and Stability AI (Stable
Diffusion 1 to 3, SDXL), ComfyUI, diffusers, LLaVA, PaliGemma and ColPali, training programs.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ml_core.reading.errors import InputError

Tower = Literal["image", "text"]
Names = Literal["open_clip", "transformers", "siglip", "apple", "image encoder", "text encoder"]

IMAGE_MARK = "embeddings.class_embedding"
TEXT_MARK = "embeddings.token_embedding.weight"
BERT_MARK = "text_model.embeddings.word_embeddings.weight"
"""A tensor that the text encoder of a Chinese CLIP has."""
SIGLIP_MARK = "embeddings.patch_embedding.bias"
"""A tensor that a SigLIP has and a CLIP has not."""
SIGLIP_TEXT_MARK = "text_model.head.weight"
FASTVIT_MARK = "image_encoder.model.patch_embed.0.rbr_conv.0.conv.weight"
VIT_MARK = "image_encoder.model.patch_emb.0.block.conv.weight"
TIMM_START = "visual.trunk."
HF_START = "text.transformer."
"""What the names of timm's image encoders and transformers' text encoders begin with."""
VISION, TEXT = "vision_model.", "text_model."
"""What the transformers library's towers are called in a whole model, and some files leave out."""

_TOWER = ("embeddings.", "encoder.", "pre_layrnorm.", "post_layernorm.", "final_layer_norm.",
          "head.")  # fmt: skip
_OPEN_CLIP = ("visual.", "text.", "transformer.", "token_embedding.", "positional_embedding",
              "ln_final.", "text_projection", "logit_scale", "logit_bias")  # fmt: skip
_HF = (VISION, TEXT, "visual_projection.", "text_projection.", "logit_scale", "logit_bias")
_STARTS: Mapping[Names, tuple[str, ...]] = {
    "open_clip": _OPEN_CLIP,
    "transformers": _HF,
    "siglip": _HF,
    "apple": ("image_encoder.", "text_encoder.", "logit_scale"),
    "image encoder": ("",),
    "text encoder": _OPEN_CLIP[2:],
}
_TIMM = re.compile(rf"(?:^|(?<=\.)){re.escape(TIMM_START)}")
# What the name of a tensor ends with that tells a model, whose names it has, the encoder that it is
# of if a file may leave that out, and a tensor that is beside it.
_MARKS: tuple[tuple[str, Names, str, str], ...] = (
    ("visual.conv1.weight", "open_clip", "", ""),
    (SIGLIP_MARK, "siglip", VISION, ""),
    (SIGLIP_TEXT_MARK, "siglip", "", ""),
    (FASTVIT_MARK, "apple", "", ""),
    (VIT_MARK, "apple", "", ""),
    (IMAGE_MARK, "transformers", VISION, ""),
    (TEXT_MARK, "transformers", TEXT, ""),
    ("class_embedding", "image encoder", "", "conv1.weight"),
    ("attnpool.positional_embedding", "image encoder", "", "conv1.weight"),
    ("token_embedding.weight", "text encoder", "", "ln_final.weight"),
)
_IS_TEXT = re.compile(rf"^{re.escape(HF_START)}|(token_embedding|embedding_layer)\.weight\Z")
# Where training programs keep the model among other things.
_TOPS = ("state_dict", "model_state_dict", "vision_encoder_state_dict", "model", "module", "visual")
_MOST = 64

_NAMED = {
    "cond_stage_model": "text_encoder",
    "conditioner.embedders.0": "text_encoder",
    "conditioner.embedders.1": "text_encoder_2",
}
"""Encoders of Stable Diffusion's files, by the names that diffusers gives them."""
_COMMON = ("transformer", "model", "module", "vision_model", "text_model", "vision_tower")

OTHER = "other tensors"
PROJECTOR = re.compile(r"(?:.*\.)?(?:multi_modal_projector|mm_projector)\.|mm\.")
"""Names of what leads from an image encoder to a language model; llama.cpp's is the short one."""
# What lies beside: by the first name that fits.
_OTHERS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"model\.diffusion_model\.(input_blocks|middle_block|output_blocks|time_embed|out)\b",
            "a UNet"),
        (r"(model\.diffusion_model|transformer)\.|(joint|double|single)_(transformer_)?blocks\.",
            "a diffusion transformer"),
        (r"(first_stage_model|vae)\.", "a VAE"),
        (r".*\bt5(xxl)?\b.*", "a T5 text encoder"),
        (PROJECTOR.pattern, "a projector"),
        (r".*\b(language_model|lm_head|embed_tokens|layers\.\d+\.(self_attn|mlp|input_layernorm))\b",
            "a language model"),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """A CLIP of a file, or one encoder of a CLIP.

    Parameters
    ----------
    name
        What ``FILE#NAME`` and ``--part NAME`` call it.
    names
        Whose names its tensors have.
    prefix
        What they begin with in the file.
    towers
        The encoders that are there.
    tensors
        Names of its tensors in the file.
    flat
        ``vision_model.`` or ``text_model.``, if its names lack that.
    """

    name: str
    names: Names
    prefix: str
    towers: tuple[Tower, ...]
    tensors: tuple[str, ...] = field(repr=False)
    flat: str = ""

    @property
    def words(self) -> str:
        """What it is: ``CLIP``, ``image encoder`` or ``text encoder``."""
        return "CLIP" if len(self.towers) == 2 else f"{self.towers[0]} encoder"


class PartNeeded(InputError):  # noqa: N818
    """A file holds several models, and none was chosen."""

    def __init__(self, where: str, parts: Sequence[Part]) -> None:
        names = listed(f"{part.name} ({part.words})" for part in parts)
        super().__init__(
            f"{where} holds {len(parts)} models: {names}; choose one of them, such as "
            f"{where}#{parts[0].name}.",
            "unsupported",
        )
        self.parts = tuple(parts)


def listed(texts: Iterable[str]) -> str:
    """Several texts as one: ``a, b and c``."""
    *first, last = list(texts) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def find_parts(names: Collection[str]) -> tuple[Part, ...]:
    """The CLIPs and encoders among a file's tensors; at most 64, the whole CLIPs first."""
    ordered = sorted(names)
    known, taken = frozenset(names), set[str]()
    parts: list[Part] = []
    for mark, prefix, kind, flat in _marks(ordered, known):
        if mark in taken or len(parts) == _MOST:
            continue
        starts = _TOWER if flat else _STARTS[kind]
        if not known & {
            f"{prefix}{TEXT}{TEXT_MARK}",
            prefix + BERT_MARK,
            prefix + SIGLIP_TEXT_MARK,
        }:
            starts = tuple(start for start in starts if start != TEXT)  # of a language model
        own = [
            name
            for name in _below(ordered, prefix)
            if name not in taken and name[len(prefix) :].startswith(starts)
        ]
        taken.update(own)
        parts.append(Part("", kind, prefix, _towers(own, prefix, kind, flat), tuple(own), flat))
    whole = sorted((p for p in parts if len(p.towers) == 2), key=lambda p: _rank(p.prefix))
    parts = whole + sorted((p for p in parts if len(p.towers) < 2), key=lambda p: p.prefix)
    short = [_short_name(part) for part in parts]
    named: dict[str, Part] = {}
    for title, part in zip(short, parts, strict=True):
        if short.count(title) > 1:
            title = part.prefix.rstrip(".").replace("/", "_") or "model"
        same = sum(name.partition("~")[0] == title for name in named)
        title = f"{title}~{same + 1}" if same else title
        named[title] = replace(part, name=title)
    return tuple(named.values())


def _rank(prefix: str) -> tuple[bool, int]:
    """Of several copies, the one in the state dict comes first."""
    return prefix.partition(".")[0] not in _TOPS, len(prefix)


def _marks(names: Sequence[str], known: Collection[str]) -> Iterator[tuple[str, str, Names, str]]:
    """A tensor that tells a model, its prefix, whose names it has, and what they leave out."""
    for prefix in dict.fromkeys(name[: m.start()] for name in names if (m := _TIMM.search(name))):
        yield next(_below(names, prefix + TIMM_START)), prefix, "open_clip", ""
    for mark, kind, tower, beside in _MARKS:
        ends = {name: name.removesuffix(mark) for name in names if name.endswith(mark)}
        for name, prefix in sorted(ends.items(), key=lambda item: _rank(item[1])):
            if (prefix and not prefix.endswith(".")) or (beside and prefix + beside not in known):
                continue
            if tower and (prefix == tower or prefix.endswith("." + tower)):
                yield name, prefix[: -len(tower)], kind, ""
            else:
                yield name, prefix, kind, tower


def _below(names: Sequence[str], prefix: str) -> Iterator[str]:
    """The sorted names that begin with a prefix."""
    for place in range(bisect_left(names, prefix), len(names)):
        if not names[place].startswith(prefix):
            return
        yield names[place]


def _towers(own: Sequence[str], prefix: str, kind: Names, flat: str) -> tuple[Tower, ...]:
    """Which encoders a model has."""
    if flat or kind in ("image encoder", "text encoder"):
        return ("text",) if flat == TEXT or kind == "text encoder" else ("image",)
    inside = [name[len(prefix) :] for name in own]
    towers: list[Tower] = []
    if any(name.startswith(("visual.", VISION, "image_encoder.")) for name in inside):
        towers.append("image")
    if any(name in (BERT_MARK, SIGLIP_TEXT_MARK) or _IS_TEXT.search(name) for name in inside):
        towers.append("text")
    return tuple(towers)


def _short_name(part: Part) -> str:
    """A name for the user: diffusers' for Stable Diffusion's files, else the telling word."""
    for start, name in _NAMED.items():
        if part.prefix.startswith(f"{start}."):
            return name
    words = [word for word in part.prefix.split(".") if word]
    telling = [word for word in words if word not in _COMMON and not word.isdecimal()]
    return (telling or words[-1:] or ["model"])[-1].replace("/", "_")


def default_part(parts: Sequence[Part], where: str) -> Part:
    """The part that is meant if none is named.

    That is the first whole CLIP, or the only part.

    Raises
    ------
    PartNeeded
        If there are several encoders.
    """
    if len(parts) == 1 or len(parts[0].towers) == 2:
        return parts[0]
    raise PartNeeded(where, parts)


def find_part(parts: Sequence[Part], name: str, where: str) -> Part:
    """The part of that name.

    Raises
    ------
    InputError
        ``usage`` if there is none.
    """
    for part in parts:
        if part.name == name:
            return part
    names = listed(part.name for part in parts) if parts else "none"
    raise InputError(f"{where} holds no part {name[:80]!r}; its parts: {names}.")


def beside_words(beside: Mapping[str, int]) -> str:
    """What `beside_parts` gave, in words; empty if that is nothing."""
    return listed(f"{words} ({n} tensor{'s' * (n != 1)})" for words, n in beside.items())


def other_words(name: str) -> str:
    """What a tensor is of that is no CLIP's; empty if that is not known."""
    return next((words for pattern, words in _OTHERS if pattern.match(name)), "")


def beside_parts(names: Iterable[str], parts: Sequence[Part]) -> dict[str, int]:
    """What else a file holds, in words, and how many tensors each has."""
    taken = {name for part in parts for name in part.tensors}
    counts = Counter(other_words(name) or OTHER for name in names if name not in taken)
    return dict(sorted(counts.items(), key=lambda item: item[0] == OTHER))
