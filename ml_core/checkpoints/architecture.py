"""A CLIP's architecture: what it records, and reading it off the shapes of the tensors."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from math import inf, isqrt, nextafter
from typing import Any, Literal

from ml_core.checkpoints.layouts import Layout
from ml_core.paths import resource
from ml_core.reading import damaged, unsupported
from ml_core.reading.clip_config import Preprocess, vocabulary_caution
from ml_core.reading.key_mismatch import KeyLists, Shapes

SCALES = ("logit_scale", "logit_bias")  # one number in any shape
FILE = "open_clip_shapes.json"


@dataclass(frozen=True)
class PublishedModel:
    """One of open_clip's models.

    Parameters
    ----------
    name
        open_clip's.
    config
        Its checked ``model_cfg``.
    preprocess
        The fields of ``preprocess_cfg`` that all its published weights share.
    """

    name: str
    config: Mapping[str, Any]
    preprocess: Mapping[str, Any]


def digest(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """A name for just these tensors, in any order."""
    lines = [f"{key} {list(shape)}" for key, shape in shapes.items() if key not in SCALES]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:32]


def find_published(shapes: Mapping[str, tuple[int, ...]]) -> tuple[PublishedModel, ...]:
    """open_clip's models with just these tensors; they may differ in ways shapes do not show."""
    return tuple(
        PublishedModel(entry["name"], entry["config"], entry["preprocess"])
        for entry in _entries().get(digest(shapes), ())
    )


def _entries() -> dict[str, list[dict[str, Any]]]:
    """Models by their tensors."""
    models: dict[str, list[dict[str, Any]]] = _file()["models"]
    return models


@cache
def _file() -> dict[str, Any]:
    """The shipped lists, which `packaging/open_clip/shapes.py` makes."""
    lists: dict[str, Any] = json.loads(resource(FILE).read_bytes())
    return lists


Question = Literal["activation", "heads", "normalisation", "logit scale"]

# Published open_clip models whose heads are wider than 64; all of them use GELU.
_WIDE_HEADS = {1280: 80, 1408: 88, 1664: 104, 1792: 112}


@dataclass(frozen=True)
class StatedConfig:
    """What a source says about a model, or about one tower of it.

    Parameters
    ----------
    config
        open_clip's ``model_cfg``, unchecked. The table of a missing tower is left out, and so is
        ``quick_gelu`` if the source does not say it.
    assumptions
        Whole sentences on what had to be assumed.
    questions
        What they are about.
    """

    config: dict[str, Any]
    assumptions: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()


def config_from_shapes(shapes: Shapes, where: str) -> StatedConfig:
    """Infer a config from the shapes of the model's tensors.

    An encoder without its projection has no ``embed_dim``.

    Raises
    ------
    InputError
        ``unsupported`` if the shapes are not those of a CLIP.
    """
    config: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    try:
        if any(key.startswith("visual.") for key in shapes):
            resnet = "visual.layer1.0.conv1.weight" in shapes
            config["vision_cfg"], note = (_resnet if resnet else _vit)(shapes)
            notes += (note,)
            projection = "visual.attnpool.c_proj.weight" if resnet else "visual.proj"
            if projection in shapes:
                config["embed_dim"] = _shape_of(shapes, projection)[0 if resnet else 1]
        for prefix in ("", "text."):
            if f"{prefix}token_embedding.weight" in shapes:
                config["text_cfg"], note = _text(shapes, prefix)
                if f"{prefix}text_projection" in shapes:
                    embed = _shape_of(shapes, f"{prefix}text_projection")[1]
                    config.setdefault("embed_dim", embed)
                notes += (note,)
                break
        if config.keys() == {"vision_cfg", "text_cfg"}:
            raise LookupError("it has neither visual.proj nor text_projection")
    except (LookupError, ValueError) as error:
        raise unsupported(
            f"{where} looks like a CLIP, but its architecture cannot be deduced from its tensors: "
            f"{error.args[0]}; open the folder with its config."
        ) from None
    if "text.token_embedding.weight" in shapes and "token_embedding.weight" not in shapes:
        config["custom_text"] = True
    if len(shapes.get("logit_scale", ())) == 1:
        config["nonscalar_logit_scale"] = True
    if "logit_bias" in shapes:
        config["init_logit_bias"] = 0.0
    return StatedConfig(config, notes, ("heads",))


def assumed_activation(config: Mapping[str, Any], shapes: Shapes) -> tuple[bool, str]:
    """Whether to assume QuickGELU if the source names no activation; and a sentence on it."""
    vision = config.get("vision_cfg", {})
    if vision.get("width") in _WIDE_HEADS and not isinstance(vision["layers"], list):
        return False, (
            "Tensor shapes do not show the activation: GELU is assumed, as in the published "
            "models this wide."
        )
    # open_clip's CLIPs of OpenAI's kind with just these tensors, if none of them has QuickGELU
    if names := _file()["gelu"].get(digest(shapes)):
        return False, (
            f"Tensor shapes do not show the activation: GELU is assumed, as in open_clip's {names}."
        )
    return True, (
        "Tensor shapes do not show the activation: QuickGELU is assumed, as in OpenAI's models; "
        "models trained with open_clip use GELU."
    )


def _shape_of(shapes: Shapes, name: str, rank: int = 2) -> tuple[int, ...]:
    """A tensor's shape, which must have ``rank`` sides."""
    if name not in shapes:
        raise LookupError(f"it has no tensor {name}")
    shape = shapes[name]
    if len(shape) != rank:
        raise ValueError(f"{name} has {len(shape)} dimensions instead of {rank}")
    if 0 in shape:
        raise ValueError(f"{name} is empty")
    return shape


def _count(shapes: Shapes, start: str) -> int:
    """How many numbered blocks stand under a name."""
    pattern = re.compile(re.escape(start) + r"(\d{1,4})\.")
    numbers = {int(m[1]) for key in shapes if (m := pattern.match(key))}
    if not numbers or numbers != set(range(len(numbers))):
        raise ValueError(f"the blocks {start}N are not numbered from 0")
    return len(numbers)


def _hidden(shapes: Shapes, start: str) -> int:
    """Hidden features of most MLPs; one that differs is misshapen."""
    votes = Counter(
        shape[0]
        for key, shape in shapes.items()
        if key.startswith(start)
        and key.endswith((".mlp.c_fc.weight", ".mlp.c_fc.bias"))
        and shape
        and shape[0]
    )
    if not votes:
        return _shape_of(shapes, f"{start}0.mlp.c_fc.weight")[0]
    return votes.most_common(1)[0][0]


def _grid(rows: int) -> int:
    """Side of the square grid behind a table of positions with one more row."""
    side = isqrt(max(rows - 1, 0))
    if side < 1 or side * side != rows - 1:
        raise ValueError(f"{rows} positions are not a square grid and one more")
    return side


def _resnet(shapes: Shapes) -> tuple[dict[str, Any], str]:
    """ResNet with attention pooling (Radford et al. 2021, section 2.4)."""
    width = _shape_of(shapes, "visual.layer1.0.conv1.weight", 4)[0]
    head = min(64, width * 32)
    vision = {
        "layers": [_count(shapes, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)],
        "width": width,
        "head_width": head,
        "image_size": 32 * _grid(_shape_of(shapes, "visual.attnpool.positional_embedding")[0]),
    }
    note = (
        f"Tensor shapes do not show the number of attention heads: {width * 32 // head} of width "
        f"{head} are assumed in the image encoder's pooling."
    )
    return vision, note


def _vit(shapes: Shapes) -> tuple[dict[str, Any], str]:
    width, _, patch, _ = _shape_of(shapes, "visual.conv1.weight", 4)
    head, note = _head_width(width, "image")
    hidden = _hidden(shapes, "visual.transformer.resblocks.")
    vision: dict[str, Any] = {
        "layers": _count(shapes, "visual.transformer.resblocks."),
        "width": width,
        "head_width": head,
        "patch_size": patch,
        "image_size": patch * _grid(_shape_of(shapes, "visual.positional_embedding")[0]),
        "mlp_ratio": mlp_ratio(hidden, width),
    }
    if "visual.ln_pre.weight" not in shapes:
        vision["no_ln_pre"] = True
    if "visual.transformer.resblocks.0.ls_1.gamma" in shapes:
        vision["ls_init_value"] = 1e-5
    return vision, note


def _text(shapes: Shapes, prefix: str) -> tuple[dict[str, Any], str]:
    vocabulary, width = _shape_of(shapes, f"{prefix}token_embedding.weight")
    head, note = _head_width(width, "text")
    blocks = f"{prefix}transformer.resblocks."
    hidden = _hidden(shapes, blocks)
    text: dict[str, Any] = {
        "context_length": _shape_of(shapes, f"{prefix}positional_embedding")[0],
        "vocab_size": vocabulary,
        "width": width,
        "heads": width // head,
        "layers": _count(shapes, blocks),
        "mlp_ratio": mlp_ratio(hidden, width),
    }
    if f"{blocks}0.ls_1.gamma" in shapes:
        text["ls_init_value"] = 1e-5
    return text, note


def _head_width(width: int, tower: str) -> tuple[int, str]:
    """Assume the width of attention heads: 64, or the nearest number that divides the features."""
    head = _WIDE_HEADS.get(width, 64) if tower == "image" else 64
    if width % head:
        fitting = (part for part in range(1, 129) if width % part == 0)
        head = min((*fitting, width), key=lambda part: abs(part - 64))
    return head, (
        f"Tensor shapes do not show the number of attention heads: {width // head} of width "
        f"{head} are assumed in the {tower} encoder."
    )


def mlp_ratio(hidden: int, width: int) -> float:
    """The ratio with which open_clip, which rounds down, makes ``hidden`` features."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else nextafter(ratio, inf)


def positive(part: Mapping[str, Any], key: str, where: str) -> int:
    """A size that a configuration gives.

    Raises
    ------
    InputError
        If it is no positive whole number.
    """
    value = part[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise damaged(
            f"{where}: {key} is {str(value)[:40]} and must be a positive whole number; get it "
            "again."
        )
    return value


Origin = Literal["config", "metadata", "shapes"]


@dataclass(frozen=True)
class Architecture:
    """What to build.

    Parameters
    ----------
    config
        open_clip's ``model_cfg``, checked.
    preprocess
        Input size, mean, std, interpolation.
    source
        Where the config comes from: the folder's ``config`` file, our own ``metadata`` in the
        safetensors file, or the tensors' ``shapes``.
    assumptions
        Whole sentences on what the source did not say.
    name
        open_clip's name where it is a published architecture, else a short description.
    layout
        Where in the file the tensors are.
    questions
        What the assumptions are about; the loader doctor tries the answers.
    keys
        How the file's tensors differ from the model's.
    warnings
        Sentences on what the model lacks, though it can be built.
    rounded
        Types of 8 bits or fewer that its numbers come from.
    """

    config: dict[str, Any]
    preprocess: Preprocess
    source: Origin
    assumptions: tuple[str, ...]
    name: str
    layout: Layout
    questions: tuple[Question, ...] = ()
    keys: KeyLists = field(default_factory=KeyLists)
    warnings: tuple[str, ...] = ()
    rounded: tuple[str, ...] = ()

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences on what should be known before the model is trusted."""
        sentences = (*self.warnings, self.keys.left_out, vocabulary_caution(self.config))
        return tuple(sentence for sentence in sentences if sentence)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what the file holds beside the model."""
        return self.layout.notes
