"""What an evaluation found, with everything needed to repeat it. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ml_core.figures import percent

Interval = tuple[float, float]

_CLEAN_RATES = ("ca", "top5", "baseline_target_rate")
_RATES = (*_CLEAN_RATES, "asr_excl", "asr_all", "poisoned_accuracy", "flip_rate")


@dataclass(frozen=True)
class Evaluation:
    """A measurement of one checkpoint, one set of images and at most one trigger.

    Rates are fractions of 1; None means not measured (no trigger chosen, or no labels).

    Attributes
    ----------
    n
        Images scored so far.
    n_total
        Images to be scored, fixed beforehand.
    n_broken
        How many of these could not be read: counted here, never scored.
    n_labelled, n_excl
        Scored images with a label, and with a label that is not the target.
    ca, ca_interval
        Clean accuracy over the labelled images, Wilson 95 % interval.
    top5, top10
        Clean top-5 and top-10 accuracy; None with fewer than 5 or 10 classes.
    control_ca, control_interval
        Clean accuracy on the trigger's own canvas without the trigger, where that canvas is not
        the model's. It shows what squashing alone costs.
    asr_excl, asr_interval
        Attack success rate: triggered images predicted as the target, among the `n_excl` images
        of another class. The headline.
    asr_all, asr_all_interval
        The same among all `n` images, target class and unlabelled ones included.
    asr_top5, asr_top10
        Target among the five and the ten likeliest classes of the triggered image, among `n_excl`
        images.
    baseline_target_rate, baseline_interval
        Target predicted without the trigger, on the images of `asr_excl` (without any labels: on
        all images).
    baseline_target_rate_all
        The same on the images of `asr_all`.
    poisoned_accuracy, poisoned_interval
        True label predicted on triggered images that are not of the target class.
    flip_rate, flip_interval
        Top-1 class changed by the trigger, over all `n` images.
    target_margin, target_margin_clean
        Mean of target logit minus best other logit, with and without the trigger, on the images
        of `baseline_target_rate`.
    most_pulled, most_pulled_rise
        Class whose share of the predictions rises most from clean to triggered, and that rise.
    partial
        An estimate: more images are to come.
    trigger, trigger_name
        Digest and name.
    canvas
        The trigger's: ``model``, ``squash``, ``resize_256`` or ``original``.
    same_names
        Other classes of the target's name: their prompts are identical, so the target is one of
        them by its index alone.
    precision, layout
        Arithmetic of the encoder, and the memory layout of its input.
    classifier_sha256
        SHA-256 of the classes' text embeddings, which class names, templates and the text tower
        decide.
    """

    n: int
    n_total: int
    n_excl: int
    target: int
    target_name: str
    partial: bool = False
    n_broken: int = 0
    n_labelled: int = 0
    ca: float | None = None
    ca_interval: Interval | None = None
    top5: float | None = None
    top10: float | None = None
    control_ca: float | None = None
    control_interval: Interval | None = None
    asr_excl: float | None = None
    asr_interval: Interval | None = None
    asr_all: float | None = None
    asr_all_interval: Interval | None = None
    asr_top5: float | None = None
    asr_top10: float | None = None
    baseline_target_rate: float | None = None
    baseline_interval: Interval | None = None
    baseline_target_rate_all: float | None = None
    poisoned_accuracy: float | None = None
    poisoned_interval: Interval | None = None
    flip_rate: float | None = None
    flip_interval: Interval | None = None
    target_margin: float | None = None
    target_margin_clean: float | None = None
    most_pulled: str | None = None
    most_pulled_rise: float = 0.0
    trigger: str | None = None
    trigger_name: str = ""
    canvas: str = "model"
    same_names: tuple[int, ...] = ()
    checkpoint_sha256: str | None = None
    data_key: str = ""
    templates: tuple[str, ...] = ()
    seed: int = 0
    precision: str = "fp32"
    layout: str = ""
    classifier_sha256: str = ""
    device: str = "cpu"
    versions: dict[str, str] = field(default_factory=dict)

    def not_measured(self) -> dict[str, str]:
        """Why a rate is None: its name and a few words."""
        missing = [name for name in _RATES if getattr(self, name) is None]
        return {name: self._reason(name) for name in missing}

    def _reason(self, name: str) -> str:
        """Why one rate is None."""
        if name not in _CLEAN_RATES and self.trigger is None:
            return "no trigger"
        if not self.n_labelled:
            return "needs labels"
        return "fewer than 5 classes" if name == "top5" else "all images are of the target class"

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """The evaluation that `to_dict` wrote."""
        names = {each.name for each in fields(cls)}
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in record.items()
            if key in names
        }
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready copy with `not_measured`; intervals are lists ``[low, high]``."""
        record = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }
        return record | {"not_measured": self.not_measured()}


@dataclass(frozen=True, eq=False)
class PerImage:
    """Predictions image by image, in the order scored; the triggered half is None without trigger.

    Attributes
    ----------
    indices
        int64 [n], position in the image set.
    clean_top1, triggered_top1
        int64 [n], class index.
    target_margin_clean, target_margin_triggered
        float32 [n], target logit minus best other logit.
    label_in_top5, target_in_top5
        bool [n], true label among the five likeliest of the clean image, target among those of
        the triggered one.
    label_in_top10, target_in_top10
        bool [n], the same of ten.
    control_top1
        int64 [n], class index on the trigger's own canvas without the trigger; None where that is
        the model's.
    clean_top, triggered_top
        int64 [n, k], the likeliest classes, k = 5 or all where there are fewer; the first one is
        the top-1.
    clean_margin, triggered_margin
        float32 [n], logit of the likeliest class minus that of the next, 0 or more (0 of a single
        class): how much a logit may change before the answer does.
    """

    indices: NDArray[np.int64]
    clean_top1: NDArray[np.int64]
    target_margin_clean: NDArray[np.float32]
    label_in_top5: NDArray[np.bool_]
    triggered_top1: NDArray[np.int64] | None = None
    target_margin_triggered: NDArray[np.float32] | None = None
    target_in_top5: NDArray[np.bool_] | None = None
    label_in_top10: NDArray[np.bool_] | None = None
    target_in_top10: NDArray[np.bool_] | None = None
    control_top1: NDArray[np.int64] | None = None
    clean_top: NDArray[np.int64] | None = None
    clean_margin: NDArray[np.float32] | None = None
    triggered_top: NDArray[np.int64] | None = None
    triggered_margin: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """One image as the model sees it, uint8 [S, S, 3], and its class probabilities, float32 [C]."""

    index: int
    clean_image: NDArray[np.uint8]
    clean_probs: NDArray[np.float32]
    triggered_image: NDArray[np.uint8] | None = None
    triggered_probs: NDArray[np.float32] | None = None


def forget_target(record: dict[str, Any]) -> None:
    """Take from an `Evaluation.to_dict` what a target decides, where nobody named one.

    The class that stood in for it must not look like one.
    """
    rates = ("baseline_target_rate", "baseline_target_rate_all", "target_margin_clean")
    for name in ("target", "target_name", "baseline_interval", *rates):
        record[name] = None
    record["n_excl"] = 0
    record["same_names"] = []
    record["not_measured"]["baseline_target_rate"] = "no target"


def wilson_interval(hits: int, n: int, z: float = 1.959964) -> Interval:
    """Score interval of a proportion (Wilson 1927); honest at 0 and at n, unlike the normal one.

    Parameters
    ----------
    hits
        Successes, 0 to `n`.
    n
        Trials, at least 1.
    z
        Normal quantile; 1.959964 gives 95 %.

    Returns
    -------
    tuple[float, float]
        Lower and upper bound, 0 to 1.

    Raises
    ------
    ValueError
        If `n` is below 1 or `hits` is not within 0..n.
    """
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"no proportion: {hits} of {n}")
    rate = hits / n
    scale = 1.0 + z * z / n
    centre = (rate + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # Rounding would leave 1e-19 where the bound is 0 or 1 exactly.
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == n else min(1.0, centre + half)
    return low, high


def largest_loss(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which accuracy or retrieval fell most, of the rows of the hold-outs.

    It is empty where none was above the 95 % interval that it has after cleaning.
    """
    fell = [
        row
        for row in rows
        if row["measure"] in ("ca", "recall@1") and row.get("after_interval")
        and row.get("after") is not None and (row.get("before") or 0.0) > row["after_interval"][1]
    ]  # fmt: skip
    if not fell:
        return ""
    row = max(fell, key=lambda row: row["before"] - row["after"])
    what = row["name"] if row["measure"] == "ca" else f"{row['name'].split(',')[0]} (recall@1)"
    rates = f"from {percent(row['before'], unit='')} to {percent(row['after'])}"
    return f"{row['group']}, {what}, {rates}"
