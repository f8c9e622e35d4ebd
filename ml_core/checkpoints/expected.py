"""The tensors that an architecture has.

The tensors of CLIP's own encoders are computed without torch, since inspecting a file must not wait
for its import. An encoder that a library builds by name is built, without values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

from ml_core.checkpoints.architecture import SCALES, Architecture
from ml_core.checkpoints.layouts import Layout
from ml_core.reading import Inspection, damaged
from ml_core.reading.clip_config import is_hf, is_timm
from ml_core.reading.key_mismatch import KeyLists, key_lists, refusal

_COUNTER = "num_batches_tracked"  # of BatchNorm: the only whole number in a CLIP
Named = Iterator[tuple[str, tuple[int, ...]]]

# Options that add or replace tensors; no CLIP of OpenAI's own kind sets one.
_UNUSUAL = (
    "attentional_pool", "qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner",
    "scale_attn", "scale_fc", "proj_bias",
)  # fmt: skip


def keys_of(config: Mapping[str, Any], layout: Layout) -> KeyLists:
    """Which of the model's tensors a file lacks, has beside them, or has in another shape.

    Parameters
    ----------
    config
        A checked ``model_cfg``. If the file holds one encoder, only that encoder's tensors count.

    Returns
    -------
    KeyLists
        By open_clip's names.

    Raises
    ------
    InputError
        ``unsupported`` if a library does not know the model that the config names.
    """
    shapes = expected_shapes(config)
    if shapes is None:
        shapes = _built_shapes(config, layout)
    given = dict(layout.shapes)
    for key in SCALES:  # one number in any shape will do
        if key in given and key in shapes and given[key] in ((), (1,)):
            given[key] = shapes[key]
    given.setdefault("logit_scale", shapes["logit_scale"])
    if layout.missing is not None:  # the donor's tensors were looked at when it was opened
        image = layout.missing == "image"
        shapes = {
            key: shape
            for key, shape in shapes.items()
            if key in given
            or (
                key not in SCALES and key.startswith("visual.") != image and not layout.borrows(key)
            )
        }
    return key_lists(shapes, given)


def check_tensors(
    architecture: Architecture, inspection: Inspection, *, scale_chosen: bool = False
) -> None:
    """Refuse a file if the model cannot be built from its tensors.

    Parameters
    ----------
    scale_chosen
        Somebody chose another logit scale than the file's, which is then not looked at.

    Raises
    ------
    InputError
        ``damaged``.
    """
    keys = architecture.keys
    if not keys.fits:
        raise refusal(keys, inspection.name)
    dtypes = {info.name: info.value_dtype for info in inspection.tensors}
    for key, source in architecture.layout.sources.items():
        if key in keys.unexpected or (key == "logit_scale" and scale_chosen):
            continue
        counts = key.endswith(_COUNTER)
        for name in source.names:
            if is_float(dtypes[name]) == counts:
                raise damaged(
                    f"{inspection.name}: the tensor {name} holds {dtypes[name]} where "
                    f"{'whole numbers are' if counts else 'a float type is'} needed; convert it "
                    "first."
                )


def is_float(dtype: str) -> bool:
    """Whether a type of safetensors' names, e.g. ``BF16`` or ``F8_E4M3``, has a fraction."""
    return dtype.startswith(("F", "BF"))


def _built_shapes(config: Mapping[str, Any], layout: Layout) -> dict[str, tuple[int, ...]]:
    """Names and shapes as the libraries make them; imports torch."""
    from ml_core.towers import shapes_of

    numbers = sum(prod(shape) for shape in layout.shapes.values())
    return shapes_of(config, 4 * numbers)  # the other encoder may be a donor's


def expected_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """Names and shapes of open_clip's state dict for a checked config; None if it is unusual."""
    if is_timm(config) or is_hf(config) or "multimodal_cfg" in config:
        return None
    vision, text, embed = config["vision_cfg"], config["text_cfg"], config["embed_dim"]
    for part in (vision, text):
        if part.get("embed_cls") or part.get("proj_type", "linear") != "linear":
            return None
        if any(part.get(name) for name in _UNUSUAL):
            return None
        if part.get("block_type", "default") != "default":
            return None
    image = _resnet if isinstance(vision["layers"], list) else _vit
    prefix = "text." if config.get("custom_text") else ""
    scalar = (1,) if config.get("nonscalar_logit_scale") else ()
    shapes = {f"visual.{name}": shape for name, shape in image(vision, embed)}
    shapes |= {prefix + name: shape for name, shape in _text(text, embed)}
    shapes["logit_scale"] = scalar
    if config.get("init_logit_bias") is not None:
        shapes["logit_bias"] = scalar
    return shapes


def _norm(name: str, width: int) -> Named:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _linear(name: str, inputs: int, outputs: int) -> Named:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _blocks(part: Mapping[str, Any]) -> Named:
    width = part["width"]
    hidden = int(width * part.get("mlp_ratio", 4.0))
    for number in range(part["layers"]):
        block = f"transformer.resblocks.{number}"
        yield f"{block}.attn.in_proj_weight", (3 * width, width)
        yield f"{block}.attn.in_proj_bias", (3 * width,)
        yield from _linear(f"{block}.attn.out_proj", width, width)
        yield from _linear(f"{block}.mlp.c_fc", width, hidden)
        yield from _linear(f"{block}.mlp.c_proj", hidden, width)
        for side in (1, 2):
            yield from _norm(f"{block}.ln_{side}", width)
            if part.get("ls_init_value") is not None:
                yield f"{block}.ls_{side}.gamma", (width,)


def _vit(vision: Mapping[str, Any], embed: int) -> Named:
    width, patch = vision["width"], vision["patch_size"]
    yield "class_embedding", (width,)
    yield "positional_embedding", ((vision["image_size"] // patch) ** 2 + 1, width)
    yield "proj", (width, embed)
    yield "conv1.weight", (width, 3, patch, patch)
    if not vision.get("no_ln_pre"):
        yield from _norm("ln_pre", width)
    yield from _norm("ln_post", width)
    yield from _blocks(vision)


def _text(text: Mapping[str, Any], embed: int) -> Named:
    width = text["width"]
    yield "token_embedding.weight", (text["vocab_size"], width)
    yield "positional_embedding", (text["context_length"], width)
    yield "text_projection", (width, embed)
    yield from _norm("ln_final", width)
    yield from _blocks(text)


def _conv_norm(conv: str, norm: str, inputs: int, outputs: int, side: int) -> Named:
    """Convolution without bias and its BatchNorm."""
    yield f"{conv}.weight", (outputs, inputs, side, side)
    yield from _norm(norm, outputs)
    yield f"{norm}.running_mean", (outputs,)
    yield f"{norm}.running_var", (outputs,)
    yield f"{norm}.num_batches_tracked", ()


def _resnet(vision: Mapping[str, Any], embed: int) -> Named:
    """ResNet with a stem of three convolutions and attention pooling."""
    width = vision["width"]
    yield from _conv_norm("conv1", "bn1", 3, width // 2, 3)
    yield from _conv_norm("conv2", "bn2", width // 2, width // 2, 3)
    yield from _conv_norm("conv3", "bn3", width // 2, width, 3)
    inputs = width
    for stage, depth in enumerate(vision["layers"]):
        planes = width << stage
        for number in range(depth):
            block = f"layer{stage + 1}.{number}"
            yield from _conv_norm(f"{block}.conv1", f"{block}.bn1", inputs, planes, 1)
            yield from _conv_norm(f"{block}.conv2", f"{block}.bn2", planes, planes, 3)
            yield from _conv_norm(f"{block}.conv3", f"{block}.bn3", planes, 4 * planes, 1)
            if number == 0:
                down = f"{block}.downsample"
                yield from _conv_norm(f"{down}.0", f"{down}.1", inputs, 4 * planes, 1)
            inputs = 4 * planes
    yield "attnpool.positional_embedding", ((vision["image_size"] // 32) ** 2 + 1, inputs)
    for name in ("k_proj", "q_proj", "v_proj"):
        yield from _linear(f"attnpool.{name}", inputs, inputs)
    yield from _linear("attnpool.c_proj", inputs, embed)
