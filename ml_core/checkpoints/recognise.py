"""Which CLIP a checkpoint holds, from its config, its metadata or the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ml_core.checkpoints.architecture import (
    Architecture,
    Origin,
    PublishedModel,
    Question,
    StatedConfig,
    assumed_activation,
    config_from_shapes,
    find_published,
)
from ml_core.checkpoints.expected import keys_of
from ml_core.checkpoints.layouts import APPLE, SIGLIP, Layout, find_layout, refuse_foreign
from ml_core.checkpoints.transformers_config import (
    KINDS,
    as_in_transformers,
    gguf_config,
    gguf_preprocess,
    model_config,
    preprocess_config,
    siglip_config,
    with_hf_config,
)
from ml_core.reading import InputError, Inspection, damaged, unsupported
from ml_core.reading.clip_config import (
    HF_CONFIG,
    VOCABULARY,
    Preprocess,
    check_model_config,
    check_preprocess,
    is_hf,
    is_timm,
    no_tokenizer,
    own_tokenizer,
    vocabulary_caution,
)
from ml_core.reading.inspection import OPENAI_SIZES
from ml_core.reading.key_mismatch import KeyLists
from ml_core.reading.parts import HF_START, TIMM_START, Tower, listed
from ml_core.reading.strict_json import JsonError, parse_object
from ml_core.reading.tokenizer_file import (
    TokenizerFile,
    beside,
    read_tokenizer,
    sentencepiece_beside,
)


class DonorNeeded(InputError):  # noqa: N818
    """A file holds one tower only; ``tower`` is the one that a donor must give."""

    def __init__(self, where: str, layout: Layout) -> None:
        assert layout.missing is not None
        self.tower: Tower = layout.missing
        own = "image" if self.tower == "text" else "text"
        sentence = (
            f"{where} holds the {own} encoder of a CLIP and no {self.tower} encoder; choose a "
            f"complete CLIP with the same embedding size as donor of the {self.tower} encoder."
        )
        if layout.unprojected:
            sentence = (
                f"{where} holds the {own} encoder of a CLIP without its projection, and no "
                f"{self.tower} encoder; choose the complete CLIP that it was taken from as donor "
                "of both."
            )
        super().__init__(sentence, "unsupported")


def borrow(
    stated: StatedConfig, layout: Layout, donor: Architecture, sha256: str, where: str
) -> StatedConfig:
    """Complete the config of one tower with the donor's.

    Parameters
    ----------
    stated
        What the file says about its own tower.
    layout
        The file's, which lacks the tower that the donor gives.
    sha256
        SHA-256 of the donor's file, for the sentence that stays with every result.

    Raises
    ------
    InputError
        ``usage`` if the two do not fit together.
    """
    own = dict(stated.config)
    tower = layout.missing
    table = "vision_cfg" if tower == "text" else "text_cfg"
    if layout.unprojected:
        _check_projection(layout, donor, where)
        own["embed_dim"] = donor.config["embed_dim"]
    if not isinstance(own.get(table), Mapping) or "embed_dim" not in own:
        raise damaged(f"{where} gives no {table} or no embed_dim; get it again.")
    if own["embed_dim"] != donor.config["embed_dim"]:
        size = str(own["embed_dim"])[:20]
        raise InputError(
            f"The donor {donor.name} has embeddings of {donor.config['embed_dim']} numbers and "
            f"{where} of {size}; choose a donor with {size}."
        )
    quick_gelu = donor.config.get("quick_gelu", False)
    kind = "QuickGELU" if quick_gelu else "GELU"
    sentences, questions = stated.assumptions, stated.questions
    if "heads" in questions and _same_sizes(own[table], donor.config[table]):
        own[table] = donor.config[table]
        sentences = ("Tensor shapes do not show the number of attention heads: the donor's is "
                     "assumed.",)  # fmt: skip
    if not _has_activation(own, tower):
        pass
    elif "quick_gelu" not in own:
        sentences += (f"Tensor shapes do not show the activation: the donor's {kind} is assumed.",)
        questions += ("activation",)
    elif own["quick_gelu"] != quick_gelu:
        raise InputError(
            f"{where} does not use {kind} as the donor {donor.name} does; choose a donor with the "
            "same activation."
        )
    config: dict[str, Any] = {**donor.config, table: own[table], "quick_gelu": quick_gelu}
    if tower == "image":
        config.pop("custom_text", None)
    present = "image" if tower == "text" else "text"
    borrowed = [f"the {tower} encoder"]
    borrowed += ["the last normalisation"] if layout.unnormalised else []
    borrowed += ["the projection"] if layout.unprojected else []
    borrowed += ["the logit scale"] if "logit_scale" not in layout.shapes else []
    first = (
        f"{where} holds the {present} encoder only: {listed(borrowed)} of every result "
        f"{'are those' if len(borrowed) > 1 else 'is that'} of the donor {donor.name} (SHA-256 "
        f"{sha256[:16]}…)."
    )
    blocks, given = own[table].get("layers"), donor.config[table].get("layers")
    if layout.unprojected and blocks != given:
        sentences = (
            f"Its {present} encoder has {blocks} blocks and the donor's {given}, as in files of "
            "language models and image generators: the projection reads another block than it was "
            "trained on.",
            *sentences,
        )
    return StatedConfig(config, (first, *sentences), questions)


def _same_sizes(own: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether an encoder may be the donor's, by what shapes show of it."""
    given = {"mlp_ratio": 4.0, **given}
    return all(given.get(key) == own[key] for key in own if key not in ("heads", "head_width"))


def _check_projection(layout: Layout, donor: Architecture, where: str) -> None:
    """Refuse a donor whose projection is of another width than the file's encoder."""
    for key, mark in (
        ("visual.proj", "visual.class_embedding"),
        ("text_projection", "token_embedding.weight"),
        ("visual.trunk.attn_pool.norm.bias", "visual.trunk.norm.bias"),
    ):
        if mark not in layout.shapes:
            continue
        width, given = layout.shapes[mark][-1], donor.layout.shapes.get(key)
        if given is None or given[0] != width:
            raise InputError(
                f"The donor {donor.name} has no projection of {width} features, as the encoder in "
                f"{where} needs; choose the CLIP that this encoder was taken from."
            )


def _has_activation(own: Mapping[str, Any], missing: Tower | None) -> bool:
    """Whether the file's tower uses GELU at all; a ResNet does not."""
    if missing == "image":
        return True
    vision = own["vision_cfg"]
    return "timm_model_name" not in vision and not isinstance(vision.get("layers"), list)


HF_RECORD = "hf_text_config"
"""The transformers library's config of the text encoder, beside what open_clip reads."""


def config_record(config: Mapping[str, Any], preprocess: Preprocess) -> dict[str, Any]:
    """JSON-ready values of a checked ``model_cfg`` and how pixels become model input."""
    model = dict(config)
    text = dict(model.get("text_cfg", {}))
    hf_config = text.pop(HF_CONFIG, None)
    if hf_config is not None:
        model["text_cfg"] = text
    return {
        "model_cfg": model,
        **({} if hf_config is None else {HF_RECORD: hf_config}),
        "preprocess_cfg": {
            "size": preprocess.size,
            "mode": "RGB",
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "interpolation": preprocess.interpolation,
            "resize_mode": preprocess.resize_mode,
        },
    }


_GELU = {"Erf", "Gelu", *(f"com.microsoft:{name}Gelu" for name in ("", "Bias", "Fast"))}
_QUICK_GELU = {"Sigmoid", "com.microsoft:QuickGelu"}


def uses_quick_gelu(inspection: Inspection) -> bool | None:
    """Whether the embedded program or graph computes QuickGELU; None if it does not tell.

    CLIP's only use of the logistic function is QuickGELU, ``x * sigmoid(1.702 x)``.
    """
    if inspection.graph is not None:
        operators = inspection.graph.operators.keys()
        gelu, logistic = bool(operators & _GELU), bool(operators & _QUICK_GELU)
        return logistic if gelu != logistic else None
    gelu = any("torch.gelu(" in text for _, text in inspection.embedded_code)
    logistic = any("torch.sigmoid(" in text for _, text in inspection.embedded_code)
    return logistic if gelu != logistic else None


def is_openai_archive(inspection: Inspection) -> bool:
    """Whether it is a TorchScript archive with the three numbers that OpenAI's have.

    Those are published with CLIP's own mean and standard deviation.
    """
    ends = {tensor.name.rpartition(".")[2] for tensor in inspection.tensors}
    ends |= {name.rpartition(".")[2] for name in inspection.facts}
    return bool(inspection.embedded_code) and ends.issuperset(OPENAI_SIZES)


_COARSE = ("F8_E4M3", "F8_E5M2", "Q8_0", "Q4_0", "I8", "U8")
ROUNDED_KEY = "rounded"
"""In a file's metadata: the types of 8 bits or fewer that its numbers come from."""
CONFIG_KEY = "open_clip_config"
ASSUMPTIONS_KEY = "assumptions"

# Model, preprocessing, kind of the source, and its name in sentences.
Description = tuple[StatedConfig, Mapping[str, Any], Origin, str]

_RESNETS = {
    ((3, 4, 6, 3), 64, 224): "RN50",
    ((3, 4, 23, 3), 64, 224): "RN101",
    ((4, 6, 10, 6), 80, 288): "RN50x4",
    ((6, 8, 18, 8), 96, 384): "RN50x16",
    ((3, 15, 36, 10), 128, 448): "RN50x64",
}
_VITS = {
    (384, 12): "S",
    (768, 12): "B",
    (1024, 24): "L",
    (1280, 32): "H",
    (1408, 40): "g",
    (1664, 48): "bigG",
    (1792, 56): "e",
}
# Text encoders by width and layers; those of diffusers lack the last layer of OpenCLIP's.
_TEXTS = {
    (512, 12): "ViT-B",
    (768, 12): "ViT-L-14",
    (1024, 24): "ViT-H-14",
    (1024, 23): "ViT-H-14",
    (1280, 32): "ViT-bigG-14",
}


def find_architecture(
    inspection: Inspection, donor: tuple[Architecture, str] | None = None
) -> Architecture:
    """Tell what an inspected, loadable checkpoint holds.

    Parameters
    ----------
    donor
        Architecture and SHA-256 of a whole CLIP that gives the tower which the file lacks.

    Raises
    ------
    DonorNeeded
        If the file holds one tower and there is no donor.
    InputError
        If the config is refused or the tensors are not those of a CLIP.
    """
    where = inspection.name
    stated = _stated(inspection)
    layout = find_layout(inspection)
    if stated is None and layout.missing is not None and layout.title == SIGLIP:
        stated = _like_donor(inspection, layout, donor)
    described, preprocess_cfg, source, label = stated or _from_shapes(inspection, layout)
    if layout.missing is not None:
        if donor is None:
            raise DonorNeeded(where, layout)
        described = borrow(described, layout, *donor, where)
        if layout.missing == "image":
            preprocess_cfg = _preprocess_cfg(donor[0].preprocess)
    described = with_hf_config(described, inspection, layout, label)
    config, sentences, questions = (
        dict(described.config),
        described.assumptions,
        described.questions,
    )
    if "quick_gelu" not in config and source == "shapes":
        config["quick_gelu"], sentence = assumed_activation(config, layout.shapes)
        sentences, questions = (*sentences, sentence), (*questions, "activation")
    if layout.missing is not None and donor is not None and "quick_gelu" not in donor[0].config:
        config.pop("quick_gelu", None)  # the donor's default: with its own tensors it is the donor
    if layout.assumption:
        sentences += (layout.assumption,)
    if layout.missing is None and "logit_scale" not in layout.shapes:
        sentences += ("The file has no logit scale: CLIP's 100 is assumed.",)
        questions += ("logit scale",)
    checked = check_model_config(config, label)
    if checked["text_cfg"]["vocab_size"] > VOCABULARY and (caution := vocabulary_caution(checked)):
        sentences += (caution,)
    preprocess = check_preprocess(preprocess_cfg, checked["vision_cfg"]["image_size"], label)
    if preprocess_cfg.get("mean") is None or preprocess_cfg.get("std") is None:
        questions += ("normalisation",)
        sentences += (
            "The file gives no mean and standard deviation: CLIP's own are assumed."
            if source == "shapes"
            else "The config lacks the mean or the standard deviation: CLIP's own are assumed.",
        )
    name = _published_name(checked, layout) or architecture_name(checked)
    keys = keys_of(checked, layout)
    if keys.fits:
        layout = layout.without(frozenset(keys.unexpected))
    rounded = rounded_types(inspection, layout)
    if layout.missing is not None and donor is not None:
        rounded = tuple(dict.fromkeys(rounded + donor[0].rounded))
    warnings = rounding(rounded) + _without_tokenizer(checked, inspection, layout)
    architecture = Architecture(
        checked, preprocess, source, sentences, name, layout, questions, keys, warnings, rounded
    )
    return architecture if source == "shapes" else _with_saved_assumptions(architecture, inspection)


def _like_donor(
    inspection: Inspection, layout: Layout, donor: tuple[Architecture, str] | None
) -> Description:
    """What an encoder of a SigLIP is by itself: as the donor's, if its tensors are of that."""
    if donor is None:
        raise DonorNeeded(inspection.name, layout)
    stated = StatedConfig({**donor[0].config})
    if not is_timm(stated.config):
        raise InputError(
            f"The donor {donor[0].name} is no SigLIP as the encoder in {inspection.name} is; "
            "choose the SigLIP that this encoder was taken from."
        )
    return (
        as_in_transformers(stated),
        _preprocess_cfg(donor[0].preprocess),
        "shapes",
        inspection.name,
    )


def one_encoder(inspection: Inspection, layout: Layout) -> tuple[str, KeyLists | None]:
    """Name of an encoder that has no partner, and how its tensors differ from its architecture.

    The other encoder's sizes are open_clip's defaults, which are not used. A text encoder is named
    by the CLIP whose text encoder has its size. The name is empty, and the lists are None, where
    only a donor can tell.
    """
    try:
        stated = (_stated(inspection) or _from_shapes(inspection, layout))[0]
        other = "text_cfg" if layout.missing == "text" else "vision_cfg"
        sizes = {"embed_dim": 1, **stated.config, other: {}}  # without a projection it has none
        config = check_model_config(sizes, inspection.name)
    except InputError:
        return "", None
    text = config["text_cfg"]
    if layout.missing == "text":
        name = architecture_name(config)
    else:
        name = _TEXTS.get((text.get("width", 0), text.get("layers", 0)), "")
    return name, keys_of(config, layout)


def rounded_types(inspection: Inspection, layout: Layout) -> tuple[str, ...]:
    """The types of 8 bits or fewer that the model's numbers have, or had before a conversion."""
    used = {name for source in layout.sources.values() for name in source.names}
    types = {
        info.dtype
        for info in inspection.tensors
        if info.name in used and (info.scales or info.dtype in _COARSE)
    }
    types.update(inspection.metadata.get(ROUNDED_KEY, "").split(","))
    return tuple(dtype for dtype in _COARSE if dtype in types)


def rounding(types: Sequence[str]) -> tuple[str, ...]:
    """What follows from numbers of these types; nothing without one."""
    if not types:
        return ()
    return (
        f"Its numbers were rounded to 8 bits or fewer ({listed(types)}): rates are those of this "
        "file, and single answers may differ from those of the file that it was made from.",
    )


def _without_tokenizer(
    config: Mapping[str, Any], inspection: Inspection, layout: Layout
) -> tuple[str, ...]:
    """What follows where the tokenizer of the model's texts is not there."""
    name = own_tokenizer(config)
    if not name or layout.missing == "text" or beside(inspection.source) is not None:
        return ()
    lone = sentencepiece_beside(inspection.source)
    return (f"Pictures can be embedded, texts cannot: {no_tokenizer(name, lone)}",)


def read_own_tokenizer(path: Path, architecture: Architecture) -> TokenizerFile | None:
    """Read and check what lies beside a checkpoint; None if it uses CLIP's, or lacks its own.

    Raises
    ------
    InputError
        As `read_tokenizer`.
    """
    other = architecture.layout.missing == "text"  # the donor's goes with its text encoder
    file = None if other or not own_tokenizer(architecture.config) else beside(path)
    return None if file is None else read_tokenizer(file)


def _stated(inspection: Inspection) -> Description | None:
    """What the config beside the tensors says, or the one in their metadata."""
    where = inspection.name
    if inspection.config is not None:
        label = f"{where}/{inspection.config_name}"
        if inspection.format.startswith("transformers"):
            preprocess = preprocess_config(
                inspection.preprocessor, f"{where}/preprocessor_config.json"
            )
            kind = inspection.config.get("model_type")
            holds = kind not in KINDS and any(part.prefix for part in inspection.parts)
            if holds or kind in ("siglip_vision_model", "siglip_text_model"):
                return None  # it is of the model that holds the CLIP: shapes tell more
            if isinstance(kind, str) and kind not in KINDS:
                names = [tensor.name for tensor in inspection.tensors]
                refuse_foreign(names, where, alone=not inspection.parts)
            if kind == "siglip":
                stated = siglip_config(inspection.config, label)
            else:
                stated = StatedConfig(model_config(inspection.config, label))
            return stated, preprocess, "config", label
        return *_from_config(inspection.config, label), "config", label
    text = inspection.metadata.get(CONFIG_KEY)
    if text is None:
        return None
    label = f"The metadata of {where}"
    try:
        config = parse_object(text.encode(errors="surrogatepass"), max_bytes=1 << 20)
    except JsonError as error:
        raise damaged(f"{label} holds no usable config: {error}; get the file again.") from None
    return *_from_config(config, label), "metadata", label


def _from_shapes(inspection: Inspection, layout: Layout) -> Description:
    """What the tensors say, and the program code of an archive."""
    if published := find_published(layout.shapes):
        if layout.title == APPLE:  # its MobileCLIP2 has open_clip's names
            published = (
                tuple(item for item in published if item.name.startswith("MobileCLIP-"))
                or published
            )
        stated, preprocess = _published_config(published)
        if layout.title == SIGLIP:
            stated = as_in_transformers(stated)
        return stated, preprocess, "shapes", inspection.name
    foreign = next(filter(_of_a_library, layout.shapes), None)
    if foreign is not None:
        library = "timm" if foreign.startswith(TIMM_START) else "transformers"
        raise unsupported(
            f"{inspection.name} has an encoder of the {library} library ({foreign[:80]}) and its "
            "tensors are none of open_clip's published models; put its open_clip_config.json "
            "beside it in a folder and open that."
        )
    stated = config_from_shapes(layout.shapes, inspection.name)
    stated = gguf_config(stated, inspection.metadata, inspection.name)
    quick_gelu = uses_quick_gelu(inspection)
    if quick_gelu is not None:
        stated = replace(stated, config={**stated.config, "quick_gelu": quick_gelu})
    if is_openai_archive(inspection):
        return stated, _preprocess_cfg(Preprocess(0)), "shapes", inspection.name
    return stated, gguf_preprocess(inspection.metadata), "shapes", inspection.name


def _of_a_library(key: str) -> bool:
    """Whether a tensor is of an encoder that another library builds by a name."""
    own = f"{HF_START}resblocks."  # of open_clip's text encoder beside the image encoder
    return key.startswith((TIMM_START, HF_START)) and not key.startswith(own)


def _published_config(
    published: Sequence[PublishedModel],
) -> tuple[StatedConfig, Mapping[str, Any]]:
    """The config of open_clip's model with just these tensors, and what that leaves open."""
    first, *others = published
    config = {"quick_gelu": False} | dict(first.config)
    sentences = [f"The tensors are those of open_clip's {first.name}: its config is assumed."]
    questions: list[Question] = []
    other = [item for item in others if item.config != first.config]
    if other:
        names = " and ".join(item.name for item in other)
        sentences.append(
            f"{names} {'has' if len(other) == 1 else 'have'} the same tensors; give the file its "
            "open_clip_config.json in a folder if it is of that."
        )
    if any(item.config.get("quick_gelu", False) != config["quick_gelu"] for item in other):
        questions.append("activation")
    return StatedConfig(config, tuple(sentences), tuple(questions)), first.preprocess


def _from_config(config: Mapping[str, Any], where: str) -> tuple[StatedConfig, Mapping[str, Any]]:
    """open_clip's config that came with the checkpoint."""
    model_cfg = config.get("model_cfg", config)
    preprocess_cfg = config.get("preprocess_cfg", {})
    if not isinstance(model_cfg, Mapping) or not isinstance(preprocess_cfg, Mapping):
        raise damaged(f"{where} has no table model_cfg; get it again.")
    model = {key: value for key, value in model_cfg.items() if key != "preprocess_cfg"}
    if HF_RECORD in config and isinstance(model.get("text_cfg"), Mapping):
        model["text_cfg"] = {**model["text_cfg"], HF_CONFIG: config[HF_RECORD]}
    return StatedConfig(model), preprocess_cfg


def _preprocess_cfg(preprocess: Preprocess) -> dict[str, Any]:
    """A preprocessing as open_clip's ``preprocess_cfg``."""
    preprocess_cfg: dict[str, Any] = config_record({}, preprocess)["preprocess_cfg"]
    return preprocess_cfg


def _with_saved_assumptions(architecture: Architecture, inspection: Inspection) -> Architecture:
    """Add the assumptions that a file of this program was saved with."""
    text = inspection.metadata.get(ASSUMPTIONS_KEY)
    if text is None:
        return architecture
    try:
        noted = parse_object(text.encode(errors="surrogatepass"), max_bytes=1 << 16).get(
            "sentences"
        )
    except JsonError:
        noted = None
    if not isinstance(noted, list) or not all(isinstance(item, str) for item in noted):
        noted = ["The file notes assumptions that cannot be read."]
    sentences = dict.fromkeys([*architecture.assumptions, *(item[:500] for item in noted[:20])])
    return replace(architecture, assumptions=tuple(sentences))


def _published_name(config: Mapping[str, Any], layout: Layout) -> str:
    """open_clip's names of the models with these tensors, picture size and activation."""

    def differs(of: Mapping[str, Any]) -> tuple[Any, Any]:
        return of["vision_cfg"]["image_size"], of.get("quick_gelu", False)

    published = find_published(layout.shapes)
    return " or ".join(item.name for item in published if differs(item.config) == differs(config))


def architecture_name(config: Mapping[str, Any]) -> str:
    """Name a checked config, e.g. ``RN50``, ``CoCa ViT-B-32`` or ``ResNet 64 px, width 24``."""
    if is_hf(config):
        return f"{_image_name(config)} with {config['text_cfg']['hf_model_name']}"
    return f"CoCa {_image_name(config)}" if "multimodal_cfg" in config else _image_name(config)


def _image_name(config: Mapping[str, Any]) -> str:
    """Name the image encoder, by which CLIPs are called."""
    vision = config["vision_cfg"]
    if is_timm(config):
        return str(vision["timm_model_name"])
    layers, width, size = vision["layers"], vision["width"], vision["image_size"]
    if isinstance(layers, list):
        return _RESNETS.get((tuple(layers), width, size), f"ResNet {size} px, width {width}")
    letter = _VITS.get((width, layers))
    if letter is None:
        return f"ViT {size} px, patch {vision['patch_size']}, width {width}, {layers} layers"
    return f"ViT-{letter}-{vision['patch_size']}" + (f"-{size}" if size != 224 else "")
