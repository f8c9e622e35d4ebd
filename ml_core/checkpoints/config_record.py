"""What stands in ``open_clip_config.json``, as stock open_clip reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_core.reading.clip_config import Preprocess
from ml_core.reading.hf_config import HF_CONFIG

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
