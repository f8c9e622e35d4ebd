"""Which CLIP a checkpoint holds, from its config, its metadata or the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ml_core.checkpoints.shapes import config_from_shapes
from ml_core.reading import InputError, Inspection
from ml_core.reading.clip_config import Preprocess, check_model_config, check_preprocess
from ml_core.reading.strict_json import JsonError, parse_object

CONFIG_KEY = "open_clip_config"
ASSUMPTIONS_KEY = "assumptions"

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
}


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
        Whole sentences on what the source could not tell.
    name
        open_clip's name where it is a published architecture, else a short description.
    """

    config: dict[str, Any]
    preprocess: Preprocess
    source: Literal["config", "metadata", "shapes"]
    assumptions: tuple[str, ...]
    name: str


def find_architecture(inspection: Inspection) -> Architecture:
    """Tell what an inspected, loadable checkpoint holds.

    Raises
    ------
    InputError
        If the config is refused or the shapes are not those of a CLIP.
    """
    where = inspection.name
    if inspection.config is not None:
        found = _from_config(inspection.config, "config", f"{where}/open_clip_config.json")
        return _with_kept(found, inspection)
    text = inspection.metadata.get(CONFIG_KEY)
    if text is not None:
        label = f"The metadata of {where}"
        try:
            config = parse_object(text.encode(errors="surrogatepass"), max_bytes=1 << 20)
        except JsonError as error:
            raise InputError(
                f"{label} holds no usable config: {error}; get the file again.", "damaged"
            ) from None
        return _with_kept(_from_config(config, "metadata", label), inspection)
    shapes = {tensor.name: tensor.shape for tensor in inspection.tensors}
    config, assumptions = config_from_shapes(shapes, where)
    checked = check_model_config(config, where)
    preprocess = Preprocess(checked["vision_cfg"]["image_size"])
    assumptions += ("The file gives no mean and standard deviation: CLIP's own are assumed.",)
    return Architecture(checked, preprocess, "shapes", assumptions, architecture_name(checked))


def _from_config(
    config: Mapping[str, Any], source: Literal["config", "metadata"], where: str
) -> Architecture:
    """Check a config that came with the checkpoint."""
    model_cfg = config.get("model_cfg", config)
    preprocess_cfg = config.get("preprocess_cfg", {})
    if not isinstance(model_cfg, Mapping) or not isinstance(preprocess_cfg, Mapping):
        raise InputError(f"{where} has no table model_cfg; get it again.", "damaged")
    checked = check_model_config(
        {key: value for key, value in model_cfg.items() if key != "preprocess_cfg"}, where
    )
    preprocess = check_preprocess(preprocess_cfg, checked["vision_cfg"]["image_size"], where)
    assumptions: tuple[str, ...] = ()
    if preprocess_cfg.get("mean") is None or preprocess_cfg.get("std") is None:
        assumptions = (
            "The config lacks the mean or the standard deviation: CLIP's own are assumed.",
        )
    return Architecture(checked, preprocess, source, assumptions, architecture_name(checked))


def _with_kept(found: Architecture, inspection: Inspection) -> Architecture:
    """Add the assumptions that one of our own files was made under: its config is no better."""
    text = inspection.metadata.get(ASSUMPTIONS_KEY)
    if text is None:
        return found
    try:
        kept = parse_object(text.encode(errors="surrogatepass"), max_bytes=1 << 16).get("sentences")
    except JsonError:
        kept = None
    if not isinstance(kept, list) or not all(isinstance(item, str) for item in kept):
        kept = ["The file notes assumptions that cannot be read."]
    sentences = dict.fromkeys([*found.assumptions, *(item[:500] for item in kept[:20])])
    return replace(found, assumptions=tuple(sentences))


def architecture_name(config: Mapping[str, Any]) -> str:
    """Name a checked config, e.g. ``RN50``, ``ViT-B-32`` or ``ResNet 64 px, width 24``."""
    vision = config["vision_cfg"]
    layers, width, size = vision["layers"], vision["width"], vision["image_size"]
    if isinstance(layers, list):
        return _RESNETS.get((tuple(layers), width, size), f"ResNet {size} px, width {width}")
    letter = _VITS.get((width, layers))
    if letter is None:
        return f"ViT {size} px, patch {vision['patch_size']}, width {width}, {layers} layers"
    return f"ViT-{letter}-{vision['patch_size']}" + (f"-{size}" if size != 224 else "")
