"""What stands in ``open_clip_config.json``, as stock open_clip reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_core.reading.clip_config import Preprocess


def config_record(config: Mapping[str, Any], preprocess: Preprocess) -> dict[str, Any]:
    """JSON-ready values of a checked ``model_cfg`` and how pixels become model input."""
    return {
        "model_cfg": dict(config),
        "preprocess_cfg": {
            "size": preprocess.size,
            "mode": "RGB",
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "interpolation": preprocess.interpolation,
            "resize_mode": preprocess.resize_mode,
        },
    }
