"""The layout of a file: where each tensor of the model is, and what is not part of the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ml_core.checkpoints import library_names
from ml_core.checkpoints.library_names import TensorSource
from ml_core.reading import InputError, Inspection, unsupported
from ml_core.reading.inspection import COUNTED_BUFFERS, OPENAI_SIZES, part_of
from ml_core.reading.key_mismatch import Shapes
from ml_core.reading.parts import (
    PROJECTOR,
    Names,
    Part,
    PartNeeded,
    Tower,
    default_part,
    find_parts,
    listed,
    other_words,
)

_WHOLE = "this version opens whole CLIP models and single towers with a donor for the other one"

# What to say of the first name that fits; the order is that of the search. A name is up to 1024
# hostile characters: the patterns take time in proportion to it.
_CHANGES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"(^|[._])lora_?(A|B|a|b|up|down|alpha|magnitude|embedding)"),
        "holds LoRA weights ({}), a change to a model, not a model; merge them into their base "
        "model and open that",
    ),
    (
        re.compile(r"(^|[._])(ia3_l|hada_[wt][12]|lokr_[wt][12]|oft_r|boft_[Rs])(\.|_|$)"),
        "holds an adapter ({}), a change to a model, not a model; merge it into its base model "
        "and open that",
    ),
    (
        re.compile(r"prompt|(^|\.)(meta_net|ctx)(\.|$)|(^|\.)VPT"),
        "holds learned prompts ({}), as CoOp, CoCoOp and RVPT train them; they steer a CLIP but "
        "are not one; open the CLIP that they were trained on",
    ),
    (
        re.compile("adapter"),
        "holds an adapter ({}), layers added to a CLIP, not a model; open the CLIP that it was "
        "trained on",
    ),
)
_CHOOSE = "choose a CLIP, a SigLIP or another model that open_clip builds"
_TEXT_ENCODER = (
    "open the generator's CLIP: the folder text_encoder, or a file such as clip_l.safetensors"
)
# What has some of CLIP's names and is none.
_OTHERS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(^|\.)vision_model\.encoder\.layers\.\d{1,4}\.self_attn\.qkv\."),
        f"is a BLIP or a BLIP-2 ({{}}), whose encoders open_clip does not have; {_CHOOSE}"),
    (re.compile(r"(^|\.)(preprocessor\.patchifier|encoder\.layers\.\d{1,4}\.ffn\.gate_proj)\."),
        f"is an AIMv2 ({{}}), whose encoders open_clip does not have; {_CHOOSE}"),
)  # fmt: skip
# What stands alone: in a CLIP, or beside one, these are parts.
_PARTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(^|\.)vision_model\.blocks\.\d"),
        f"is a jina-clip ({{}}), which only the code of its repository builds; {_CHOOSE}"),
    (re.compile(r"(^|\.)Qformer\."),
        f"is a BLIP-2 or its Q-Former ({{}}), which open_clip does not have; {_CHOOSE}"),
    (re.compile(r"(^|\.)visual_encoder\.(blocks\.\d|patch_embed\.)"),
        f"is a BLIP or an ALBEF ({{}}), whose encoders open_clip does not have; {_CHOOSE}"),
    (re.compile(r"(^|\.)LocEnc\d"),
        "is the location encoder of a GeoCLIP ({}), which reads coordinates; open its image "
        "encoder, which is OpenAI's ViT-L/14"),
    (re.compile(r"(^|\.)layers\.\d{1,4}\.mlp\.fc11\."),
        f"is a nomic-embed ({{}}), which only the code of its repository builds; {_CHOOSE}"),
    (re.compile(r"(^|\.)(modality_trunks|multimodal_model|audio_model|audio_branch"
            r"|vision_model\.embeddings\.convolution)\."),
        f"is a model of pictures, sounds or texts of another family ({{}}: ALIGN, CLAP, FLAVA or "
        f"ImageBind); {_CHOOSE}"),
    (re.compile(r"(^|\.)model\.diffusion_model\."),
        f"is the diffusion network of an image generator ({{}}) and no CLIP; {_TEXT_ENCODER}"),
    (re.compile(r"(^|\.)(en|de)coder\.(down|up)(_blocks)?\.\d"),
        f"is the autoencoder (VAE) of an image generator ({{}}) and no CLIP; {_TEXT_ENCODER}"),
    (re.compile(r"(^|\.)(down_blocks|input_blocks|double_blocks|single_blocks|joint_blocks"
            r"|(single_)?transformer_blocks)\.\d"),
        f"is the diffusion network of an image generator ({{}}) and no CLIP; {_TEXT_ENCODER}"),
    (re.compile(r"^[av]\.(blk\.\d|patch_embd\.)"),
        f"is an encoder of llama.cpp ({{}}) that is none of CLIP's; {_CHOOSE}"),
    (re.compile(r"(^|\.)(patch_embed\.proj\.weight$|stem\.0\.weight$)"),
        f"is an image encoder of the timm library ({{}}) and no CLIP; {_WHOLE}"),
    (re.compile(r"(^|\.)text\.transformer\.(embeddings|encoder)\."),
        f"is a text encoder of the transformers library ({{}}) without an image encoder; {_WHOLE}"),
    (re.compile(r"(^|\.)(en|de)coder\.block\.\d{1,4}\.layer\.0\.SelfAttention\."),
        f"is a T5 ({{}}), a text encoder that is no CLIP's; {_TEXT_ENCODER}"),
    (re.compile(r"(^|\.)(visual\.(deepstack_)?merger|model\.visual\.blocks\.\d)"),
        f"is a Qwen-VL ({{}}), whose image encoder open_clip does not have; {_CHOOSE}"),
    (re.compile(r"(^|\.)((language_)?model\.layers\.\d{1,4}\.self_attn|h\.\d{1,4}\.attn\.c_attn)\."),
        "is a language model, or a shard of one ({}), without an image encoder; open its folder, "
        "or the shard that holds its vision tower"),
    (re.compile(r"(^|\.)embeddings\.word_embeddings\.weight$"),
        f"is a text encoder of BERT's kind ({{}}) and no CLIP; {_CHOOSE}"),
    (re.compile(r"(^|\.)embeddings\.patch_embeddings\.projection\.weight$"),
        "is an image encoder of the transformers library such as ViT or DINOv2 "
        f"({{}}) and no CLIP; {_CHOOSE}"),
)  # fmt: skip


def refuse_foreign(keys: Iterable[str], where: str, *, alone: bool = False) -> None:
    """Refuse what is known not to be a CLIP; ``keys`` are names without the model's prefix.

    Parameters
    ----------
    alone
        Whether there is no CLIP among the names, so that parts of a CLIP are refused as well.

    Raises
    ------
    InputError
        ``unsupported``, with the name that gave it away.
    """
    keys = list(keys)
    for pattern, words in (*_CHANGES, *_OTHERS, *(_PARTS if alone else ())):
        for key in keys:
            if pattern.search(key):
                raise unsupported(f"{where} {words.format(key[:80])}.")


def unknown(keys: Iterable[str], where: str) -> InputError:
    """The refusal of tensors that are in no layout."""
    keys = set(keys)
    if any(key.endswith("layer1.0.conv1.weight") for key in keys):
        what = (
            "holds a plain ResNet without CLIP's attention pooling, so it has no place in CLIP's "
            "space"
        )
    else:
        what = "holds no CLIP image encoder and no CLIP text encoder that this version knows"
    return unsupported(f"{where} {what}; {_WHOLE}.")


HEAD = re.compile(r"(?:^|\.)(?:linear|fc|head|classifier)\.(?:weight|bias)\Z")


def strip_prefix(names: Iterable[str], prefix: str) -> dict[str, str]:
    """Map each name of the model to the tensor's name in the file.

    Leaves out what is no part of the model: the optimizer, a classification head, attention masks
    and position tables that can be computed, the three numbers of OpenAI's archives. Any other
    tensor in the model's state dict stays, and is reported as unexpected.
    """
    top = prefix.partition(".")[0] + "." if prefix else ""
    keys: dict[str, str] = {}
    for name in names:
        inside = name.startswith(prefix)
        key = name.removeprefix(prefix)
        if (not inside and not name.startswith(top)) or is_head(name, prefix):
            continue
        if key not in OPENAI_SIZES and key.rpartition(".")[2] not in COUNTED_BUFFERS:
            keys[key] = name
    return keys


def is_head(name: str, prefix: str) -> bool:
    """Whether a tensor is a classification head beside the model, not a part of it."""
    if name.startswith(prefix):
        return HEAD.fullmatch(name.removeprefix(prefix)) is not None
    if HEAD.fullmatch(name):
        return True
    return name.startswith(prefix.partition(".")[0] + ".") and HEAD.search(name) is not None


@dataclass(frozen=True, slots=True)
class Head:
    """Names of its tensors in the file, its classes and the features that it reads."""

    weight: str
    bias: str | None
    classes: int
    features: int

    @property
    def sentence(self) -> str:
        """The sentence about this head."""
        return (
            f"The file holds a linear head of {self.classes} classes over {self.features} "
            f"features ({self.weight[:80]}), which is kept beside the model: images are "
            "classified here by text prompts, not by the head."
        )


def find_head(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> Head | None:
    """The head beside the model whose names begin with ``prefix``, if there is just one."""
    heads = [
        name
        for name in shapes
        if is_head(name, prefix) and name.endswith(".weight") and len(shapes[name]) == 2
    ]
    if len(heads) != 1:
        return None
    (weight,) = heads
    classes, features = shapes[weight]
    bias = weight.removesuffix("weight") + "bias"
    return Head(weight, bias if shapes.get(bias) == (classes,) else None, classes, features)


SIGLIP = "names of the transformers library (SigLIP)"
APPLE = "names of Apple's MobileCLIP"
_TITLES: Mapping[Names, str] = {
    "open_clip": "names of OpenAI and open_clip",
    "transformers": "names of the transformers library",
    "siglip": SIGLIP,
    "apple": APPLE,
    "image encoder": "an image encoder by itself",
    "text encoder": "a text encoder by itself",
}
_LIBRARIES: Mapping[Names, Callable[[Iterable[str], str, str], Mapping[str, TensorSource]]] = {
    "transformers": library_names.sources,
    "siglip": library_names.siglip_sources,
    "apple": library_names.apple_sources,
}
_POSITIONS, _LONG_POSITIONS = "positional_embedding", "positional_embedding_res"
_LONG_SEAM = 20
"""From this token on Long-CLIP adds its second table."""
_MAX_LISTED = 8
_MAX_NAMED = 4


@dataclass(frozen=True, eq=False)
class Layout:
    """How a file keeps a CLIP or a tower of it.

    Parameters
    ----------
    title
        In words.
    towers
        The encoders that are there.
    sources
        The model's tensor names (open_clip's) and where their numbers are in the file.
    shapes
        Shapes of the model's tensors.
    left_out
        Tensors of the file that are no part of the model.
    head
        A linear head beside it.
    others
        Names of other models in the file.
    """

    title: str
    towers: tuple[Tower, ...]
    sources: Mapping[str, TensorSource]
    shapes: Shapes
    left_out: tuple[str, ...]
    head: Head | None = None
    others: tuple[str, ...] = ()

    @property
    def missing(self) -> Tower | None:
        """The encoder that the file lacks."""
        if len(self.towers) == 2:
            return None
        return "text" if self.towers == ("image",) else "image"

    @property
    def unprojected(self) -> bool:
        """Whether the one encoder that is there lacks its last step into the common space."""
        if self.missing is None or any(map(is_projection, self.shapes)):
            return False
        native = {"visual.class_embedding", "token_embedding.weight"} & self.shapes.keys()
        return bool(native) or self.title == SIGLIP

    @property
    def unnormalised(self) -> bool:
        """Whether the image encoder also lacks the step before that, as llama.cpp leaves it out."""
        present = {"visual.class_embedding", "visual.ln_post.weight"} & self.shapes.keys()
        return self.unprojected and present == {"visual.class_embedding"}

    def borrows(self, key: str) -> bool:
        """Whether a donor gives a tensor to the encoder that is there."""
        at_end = is_projection(key) or (self.unnormalised and key.startswith("visual.ln_post."))
        return self.unprojected and at_end

    @property
    def assumption(self) -> str:
        """How two tensors of the file become one of the model; empty if none do."""
        seam = next((s for s in self.sources.values() if s.seam is not None), None)
        if seam is None:
            return ""
        first, second = seam.names
        return (
            f"The rows of {second} from {seam.seam} on are taken in the place of those of {first}, "
            "as Long-CLIP computes."
        )

    def without(self, keys: Collection[str]) -> Layout:
        """The layout with some of the model's names left out."""
        if not keys:
            return self
        gone = [name for key in keys for name in self.sources[key].names]
        return replace(
            self,
            sources={key: item for key, item in self.sources.items() if key not in keys},
            shapes={key: item for key, item in self.shapes.items() if key not in keys},
            left_out=(*self.left_out, *gone),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what is beside the model."""
        notes = () if self.head is None else (self.head.sentence,)
        if self.others:
            notes = (
                *notes,
                f"The file holds other models too, which FILE#NAME opens: {listed(self.others)}.",
            )
        if not self.left_out:
            return notes
        few = len(self.left_out) <= _MAX_NAMED
        groups: dict[str, list[str]] = {}
        for name in self.left_out:
            group = other_words(name) or (name if few else name.partition(".")[0])
            groups.setdefault(group, []).append(name)
        shown = [
            # a lone one by its whole name: the model has others that begin so
            names[0][:80]
            if len(names) == 1 and not other_words(names[0])
            else f"{group[:80]} ({len(names)} tensor{'s' * (len(names) > 1)})"
            for group, names in sorted(groups.items(), key=lambda item: -len(item[1]))
        ][:_MAX_LISTED]
        more = f" and {len(groups) - _MAX_LISTED} more" if len(groups) > _MAX_LISTED else ""
        return (*notes, f"Left out, not part of the model: {', '.join(shown)}{more}.")


def is_projection(key: str) -> bool:
    """Whether a tensor of an encoder brings its output into the common space.

    That is a matrix in CLIP, and the attention pooling in a SigLIP's image encoder.
    """
    return key in ("visual.proj", "text_projection") or key.startswith("visual.trunk.attn_pool.")


def find_layout(inspection: Inspection) -> Layout:
    """Find the CLIP, or the tower of one, in an inspected file.

    Raises
    ------
    PartNeeded
        If there are several encoders, and none of them is chosen.
    InputError
        ``unsupported`` if it is something else, in a sentence that names it.
    """
    shapes = {tensor.name: tensor.shape for tensor in inspection.tensors}
    where = inspection.name
    parts = find_parts(shapes)
    if not parts:
        refuse_foreign(shapes, where, alone=True)
        raise unknown(shapes, where)
    part = default_part(parts, where)
    sources, head = _sources(shapes, part, where), find_head(shapes, part.prefix)
    used: set[str | None] = {name for source in sources.values() for name in source.names}
    if head is not None:
        used |= {head.weight, head.bias}
    return Layout(
        _TITLES[part.names],
        part.towers,
        sources,
        {key: source.shape(shapes) for key, source in sources.items()},
        tuple(name for name in shapes if name not in used),
        head,
        tuple(other.name for other in parts if other is not part),
    )


def without_changes(inspection: Inspection) -> Inspection:
    """The file without LoRA weights, adapters and prompts, if a CLIP is left; else as it is."""
    rest = tuple(
        tensor
        for tensor in inspection.tensors
        if not any(pattern.search(tensor.name) for pattern, _ in _CHANGES)
    )
    unchanged = replace(inspection, tensors=rest)
    try:
        find_layout(unchanged)
    except PartNeeded:
        return unchanged
    except InputError:
        return inspection
    return unchanged


def models_of(inspection: Inspection) -> tuple[Inspection, ...]:
    """The models of a file of which one would have to be chosen; else the file itself."""
    try:
        find_layout(inspection)
    except PartNeeded as needed:
        return tuple(part_of(inspection, part.name) for part in needed.parts)
    except InputError:
        pass
    return (inspection,)


def _sources(shapes: Shapes, part: Part, where: str) -> Mapping[str, TensorSource]:
    """Where each tensor of a model is; refuses what a CLIP with such names is none with."""
    prefix = part.prefix
    if part.names in _LIBRARIES:
        if any(name.startswith(prefix + library_names.S0_MARK) for name in shapes):
            raise unsupported(
                f"{where} is Apple's MobileCLIP-S0, whose text encoder has convolutions that "
                "open_clip does not have; take MobileCLIP2-S0 (timm/MobileCLIP2-S0-OpenCLIP) or "
                "MobileCLIP-S1 (apple/MobileCLIP-S1-OpenCLIP)."
            )
        refuse_foreign(
            (name.removeprefix(prefix) for name in shapes if name.startswith(prefix)), where
        )
        own = [n for n in shapes if not is_head(n, prefix) and not PROJECTOR.match(n)]
        return _LIBRARIES[part.names](own, prefix, part.flat)
    keys = strip_prefix(shapes, prefix)
    refuse_foreign(keys, where)
    if part.names == "image encoder":
        keys = {key if key == "logit_scale" else f"visual.{key}": keys[key] for key in keys}
    sources = {key: TensorSource((name,)) for key, name in keys.items()}
    # Long-CLIP's two tables of positions are one (arXiv 2403.15378).
    tables = [keys[key] for key in (_POSITIONS, _LONG_POSITIONS) if key in keys]
    if len(tables) == 2 and len({shapes[name] for name in tables}) == 1 and shapes[tables[0]]:
        sources[_POSITIONS] = TensorSource((tables[0], tables[1]), seam=_LONG_SEAM)
        del sources[_LONG_POSITIONS]
    return sources
