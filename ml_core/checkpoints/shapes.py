"""Read a CLIP's config off the names and shapes of its tensors (OpenAI's naming)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import isqrt
from typing import Any

from ml_core.reading import InputError

# One tensor of every image encoder of OpenAI's naming.
_MARKS = ("visual.conv1.weight",)
# Where training programs keep the model among other things.
_TOPS = ("state_dict", "model", "module", "visual")
_HEAD = re.compile(r"(^|\.)(linear|fc|head|classifier)\.(weight|bias)$")

Shapes = Mapping[str, tuple[int, ...]]

# Published open_clip models whose heads are wider than 64; all of them use GELU.
_WIDE_HEADS = {1280: 80, 1408: 88, 1664: 104}
# Numbers that OpenAI's archives keep among the tensors.
_EXTRAS = ("input_resolution", "context_length", "vocab_size")


def model_names(names: Iterable[str]) -> dict[str, str]:
    """Map each tensor's name in the file to its name in the model.

    Strips what a training program puts before the names (``state_dict.``, ``module.``,
    ``model.``), and leaves out what is no part of the model: the optimizer, a classification
    head, attention masks, the three numbers that OpenAI's archives keep among the tensors.
    """
    names = list(names)
    prefix = _prefix(names)
    top = prefix.partition(".")[0] + "." if prefix else ""
    mapped: dict[str, str] = {}
    for name in names:
        key = name.removeprefix(prefix)
        inside = name.startswith(prefix)
        if not inside and (not name.startswith(top) or _HEAD.search(name)):
            continue
        if key not in _EXTRAS and not key.endswith(".attn_mask") and key != "attn_mask":
            mapped[name] = key
    return mapped


def left_out(names: Iterable[str]) -> tuple[str, ...]:
    """Names of tensors that are no part of the model; see `model_names`."""
    names = list(names)
    kept = model_names(names)
    return tuple(name for name in names if name not in kept)


def _prefix(names: list[str]) -> str:
    """What stands before the names of a CLIP; of several copies, the state dict's."""
    found: dict[str, None] = {}
    for name in names:
        for mark in _MARKS:
            if name.endswith(mark) and (name == mark or name[: -len(mark)].endswith(".")):
                found[name[: -len(mark)]] = None
    ranked = sorted(found, key=lambda prefix: (prefix.partition(".")[0] not in _TOPS, len(prefix)))
    return ranked[0] if ranked else ""


def config_from_shapes(shapes: Shapes, where: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Infer open_clip's ``model_cfg`` and say what had to be assumed.

    Raises
    ------
    InputError
        ``unsupported`` if the tensors are not those of a whole CLIP.
    """
    shapes = {key: shapes[name] for name, key in model_names(shapes).items()}
    _check_is_clip(shapes, where)
    custom = "text.token_embedding.weight" in shapes
    text_prefix = "text." if custom else ""
    resnet = "visual.layer1.0.conv1.weight" in shapes
    try:
        vision, embed_dim, notes = (_resnet if resnet else _vit)(shapes)
        text, text_notes = _text(shapes, text_prefix)
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"{where} looks like a CLIP, but its architecture cannot be told from its tensors "
            f"({error}); open the folder with its config.",
            "unsupported",
        ) from None
    gelu = vision["width"] in _WIDE_HEADS and not resnet
    config: dict[str, Any] = {
        "embed_dim": embed_dim,
        "quick_gelu": not gelu,
        "vision_cfg": vision,
        "text_cfg": text,
    }
    if custom:
        config["custom_text"] = True
    if len(shapes.get("logit_scale", ())) == 1:
        config["nonscalar_logit_scale"] = True
    if "logit_bias" in shapes:
        config["init_logit_bias"] = 0.0
    activation = (
        "Shapes do not tell the activation: GELU is assumed, as in the published models this wide."
        if gelu
        else "Shapes do not tell the activation: QuickGELU is assumed, as in OpenAI's models; "
        "models trained with open_clip use GELU."
    )
    return config, (*notes, *text_notes, activation)


def _check_is_clip(shapes: Shapes, where: str) -> None:
    """Refuse what lacks a tower, by name where it is a known layout."""
    if any(key.startswith(("vision_model.", "text_model.")) for key in shapes):
        what = "has its tensors named as in the transformers library"
    elif any(key.startswith("visual.trunk.") for key in shapes):
        what = "has an image encoder of the timm library"
    elif not any(key.startswith("visual.") for key in shapes):
        what = "holds no CLIP image encoder (no tensor is named visual.…)"
    elif not any(key.endswith("token_embedding.weight") for key in shapes):
        what = "holds an image encoder and no text encoder"
    else:
        return
    raise InputError(
        f"{where} {what}, which this version does not open; it opens whole CLIP models in the "
        "naming of OpenAI and open_clip.",
        "unsupported",
    )


def _count(shapes: Shapes, pattern: str) -> int:
    """How many numbered blocks stand under a name."""
    found = {int(m[1]) for key in shapes if (m := re.match(pattern + r"(\d{1,4})\.", key))}
    if not found or found != set(range(len(found))):
        raise ValueError(f"the blocks {pattern.replace(chr(92), '')}N are not numbered from 0")
    return len(found)


def _grid(rows: int) -> int:
    """Side of the square grid behind a table of positions with one more row."""
    side = isqrt(max(rows - 1, 0))
    if side < 1 or side * side != rows - 1:
        raise ValueError(f"{rows} positions are not a square grid and one more")
    return side


def _resnet(shapes: Shapes) -> tuple[dict[str, Any], int, tuple[str, ...]]:
    """ResNet with attention pooling (Radford et al. 2021, section 2.4)."""
    width = shapes["visual.layer1.0.conv1.weight"][0]
    vision = {
        "layers": [_count(shapes, rf"visual\.layer{stage}\.") for stage in (1, 2, 3, 4)],
        "width": width,
        "head_width": 64,
        "image_size": 32 * _grid(shapes["visual.attnpool.positional_embedding"][0]),
    }
    heads = width * 32 // 64
    note = (
        f"Shapes do not tell the number of attention heads: {heads} of width 64 are assumed in "
        "the image encoder's pooling."
    )
    return vision, shapes["visual.attnpool.c_proj.weight"][0], (note,)


def _vit(shapes: Shapes) -> tuple[dict[str, Any], int, tuple[str, ...]]:
    """Vision transformer."""
    width, _, patch, _ = shapes["visual.conv1.weight"]
    head, note = _head_width(width, "image")
    hidden = shapes["visual.transformer.resblocks.0.mlp.c_fc.weight"][0]
    vision: dict[str, Any] = {
        "layers": _count(shapes, r"visual\.transformer\.resblocks\."),
        "width": width,
        "head_width": head,
        "patch_size": patch,
        "image_size": patch * _grid(shapes["visual.positional_embedding"][0]),
        "mlp_ratio": hidden / width,
    }
    if "visual.ln_pre.weight" not in shapes:
        vision["no_ln_pre"] = True
    if "visual.transformer.resblocks.0.ls_1.gamma" in shapes:
        vision["ls_init_value"] = 1e-5
    return vision, shapes["visual.proj"][1], (note,)


def _text(shapes: Shapes, prefix: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Text transformer."""
    vocabulary, width = shapes[f"{prefix}token_embedding.weight"]
    head, note = _head_width(width, "text")
    blocks = f"{prefix}transformer.resblocks."
    hidden = shapes[f"{blocks}0.mlp.c_fc.weight"][0]
    text: dict[str, Any] = {
        "context_length": shapes[f"{prefix}positional_embedding"][0],
        "vocab_size": vocabulary,
        "width": width,
        "heads": width // head,
        "layers": _count(shapes, re.escape(blocks)),
        "mlp_ratio": hidden / width,
    }
    if f"{blocks}0.ls_1.gamma" in shapes:
        text["ls_init_value"] = 1e-5
    return text, (note,)


def _head_width(width: int, tower: str) -> tuple[int, str]:
    """Assume the width of attention heads."""
    head = _WIDE_HEADS.get(width, 64) if tower == "image" else 64
    head = min(head, width)
    if head < 1 or width % head:
        raise ValueError(f"the {tower} encoder's width {width} is no multiple of 64")
    return head, (
        f"Shapes do not tell the number of attention heads: {width // head} of width {head} are "
        f"assumed in the {tower} encoder."
    )
