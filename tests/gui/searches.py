"""The record of a search as its job writes it."""

from __future__ import annotations

from ml_core.cleaning.halving import candidates_of, lengthened
from ml_core.jobs.search import (
    RungRecord,
    SearchRecord,
    SearchRow,
    WatchedRate,
    candidate_name,
    summary_of,
)
from ml_core.jobs.search.canary_spec import PlantedCanary

_RUNS = (  # method, rate, steps, clean accuracy, success of patch, noise and sine
    ("mmcl", 1.0, 40, 0.962, (0.31, 0.06, 0.12)),
    ("cleanclip", 1.0, 40, 0.931, (0.22, 0.03, 0.08)),
    ("par", 1.0, 40, 0.905, (0.09, 0.01, 0.02)),
    ("mmcl", 0.3, 40, 0.975, (0.88, 0.51, 0.74)),
    ("mmcl", 1.0, 80, 0.970, (0.12, 0.02, 0.03)),
    ("par", 1.0, 80, 0.948, (0.02, 0.0, 0.01)),
    ("mmcl", 1.0, 160, 0.974, (0.015, 0.003, 0.005)),
)


def search_record(rows: int = len(_RUNS), *, max_asr: float = 2.0) -> SearchRecord:
    """A search with its first runs."""
    found = []
    for method, factor, steps, ca, rates in _RUNS[:rows]:
        (recipe,) = candidates_of((method,), (factor,), 1.5e-3)  # type: ignore[arg-type]
        watched = tuple(
            WatchedRate(name=name, asr=asr, low=max(0.0, asr - 0.02), high=min(1.0, asr + 0.02))
            for name, asr in zip(("patch", "noise", "sine"), rates, strict=True)
        )
        row = SearchRow(
            name=candidate_name(recipe), rung=(40, 80, 160).index(steps), steps=steps,
            recipe=lengthened(recipe, steps), ca=ca, ca_low=ca - 0.02, ca_high=ca + 0.02,
            ca_drop=100 * (0.98 - ca), watched=watched, seconds=steps / 3,
        )  # fmt: skip
        found.append(row)
    canary = PlantedCanary(
        kind="patch", name="Canary, patch", target=3, target_name="cat",
        asr=0.95, low=0.93, high=0.97, n=390, took=True,
    )  # fmt: skip
    record = SearchRecord(
        key="k", source_sha256="a" * 64, canaries=(canary,), ca_before=0.98, start_ca=0.965,
        start_asr=0.99, planned=4,
        plan=tuple(RungRecord(candidates=c, steps=s) for c, s in ((4, 40), (2, 80), (1, 160))),
        rows=tuple(found), chosen=rows - 1, keeps=rows == len(_RUNS), max_asr=max_asr,
        finished=rows == len(_RUNS), seconds=400.0,
    )  # fmt: skip
    return record.model_copy(update={"said": summary_of(record)})
