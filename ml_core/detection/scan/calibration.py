"""Scores of clean models, so that a scan says how unusual its own is. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ml_core.paths import resource


def p_value(
    score: float, config: Mapping[str, Any], with_reference: bool
) -> tuple[int | None, float | None]:
    """How many clean scans fit a model, and how often their score was as large.

    Parameters
    ----------
    score
        Of the scan, see `verdict.score`.
    config
        open_clip's ``model_cfg`` of the suspect.
    with_reference
        Whether it had a reference: scores without are others.

    Returns
    -------
    tuple
        n, and (1 + clean scans with a score of at least this) / (1 + n); None and None where no
        clean models of this kind were scanned.
    """
    known = json.loads(resource("scan", "calibration.json").read_text(encoding="utf-8"))
    kind = "reference" if with_reference else "alone"
    sizes = dict(config.get("vision_cfg") or {})
    for entry in known:
        # A config may hold more, as a patch size that a ResNet has no use for.
        fits = all(sizes.get(name) == value for name, value in entry["vision_cfg"].items())
        if fits and (scores := entry[kind]):
            return len(scores), (1 + sum(one >= score for one in scores)) / (1 + len(scores))
    return None, None
