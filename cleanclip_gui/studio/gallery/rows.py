"""Which images a gallery shows, and in which order: plain functions of arrays, no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ml_core.evaluation.records import PerImage

Filter = Literal["all", "flipped", "hit", "resisted", "wrong", "differ", "chosen"]
Order = Literal["set", "margin", "margin_up", "rise"]
FILTERS: tuple[tuple[Filter, str, str], ...] = (
    ("all", "All images", "No images are open."),
    ("flipped", "Flipped", "No prediction has flipped."),
    ("hit", "Hit the target", "No image hits the target."),
    ("resisted", "Resisted", "No image has resisted."),
    ("wrong", "Wrong before", "Every labelled image was classified correctly without the trigger."),
    ("differ", "Checkpoints differ", "Both checkpoints predict the same class for every image."),
    ("chosen", "Chosen on the map", "No image was chosen."),
)
ORDERS: tuple[tuple[Order, str], ...] = (
    ("set", "Dataset order"),
    ("margin", "Target margin, high first"),
    ("margin_up", "Target margin, low first"),
    ("rise", "Largest change toward target"),
)


@dataclass(eq=False)
class GalleryRows:
    """What is known of each image of a set, arrays of [n]; -1 and NaN are "not known".

    ``margin`` and ``margin_clean`` are target logit minus best other logit, with and without the
    trigger; ``other`` is what a second checkpoint makes of the triggered image.
    """

    labels: NDArray[np.int64]
    clean: NDArray[np.int64]
    triggered: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    margin: NDArray[np.float32]
    margin_clean: NDArray[np.float32]
    other: NDArray[np.int64]
    chosen: NDArray[np.bool_]

    @classmethod
    def of(cls, labels: NDArray[np.int64]) -> GalleryRows:
        """Nothing known yet of a set with these labels, -1 unlabelled."""
        n = len(labels)
        unknown, nothing = np.full(n, -1, np.int64), np.zeros(n, np.bool_)
        blank = np.full(n, np.nan, np.float32)
        return cls(
            labels, unknown.copy(), unknown.copy(), nothing.copy(), blank.copy(), blank.copy(),
            unknown.copy(), nothing.copy(),
        )  # fmt: skip

    def update(self, found: PerImage, *, fresh: bool = True) -> None:
        """Take what the model said about some images; not ``fresh``: of an older trigger."""
        at = found.indices
        self.clean[at] = found.clean_top1
        self.margin_clean[at] = found.target_margin_clean
        if found.triggered_top1 is None:
            self.forget_triggered()
        else:
            self.triggered[at] = found.triggered_top1
        if found.target_margin_triggered is not None:
            self.margin[at] = found.target_margin_triggered
        self.fresh[at] = fresh

    def forget_triggered(self) -> None:
        """Forget what was said with the trigger."""
        self.triggered[:] = -1
        self.margin[:] = np.nan

    def forget_stale(self) -> None:
        """Forget what was said with older triggers."""
        old = ~self.fresh
        self.triggered[old] = -1
        self.margin[old] = np.nan

    def forget_clean(self) -> None:
        """Forget what was said without it."""
        self.clean[:] = -1
        self.margin_clean[:] = np.nan

    def mask(self, name: Filter, target: int) -> NDArray[np.bool_]:
        """Which images a filter shows, bool [n]."""
        known: NDArray[np.bool_] = (self.clean >= 0) & (self.triggered >= 0)
        flipped: NDArray[np.bool_] = known & (self.clean != self.triggered)
        if name == "flipped":
            return flipped
        if name == "hit":
            return np.asarray(flipped & (self.triggered == target))
        if name == "resisted":
            return np.asarray(known & ~flipped)
        if name == "wrong":
            return (self.labels >= 0) & (self.clean >= 0) & (self.clean != self.labels)
        if name == "differ":
            return self.differs()
        if name == "chosen":
            return self.chosen
        return np.ones(len(self.labels), np.bool_)

    def differs(self) -> NDArray[np.bool_]:
        """Where two checkpoints make another class of the triggered image, bool [n]."""
        return (self.other >= 0) & (self.triggered >= 0) & (self.other != self.triggered)

    def order(self, rows: NDArray[np.int64], name: Order) -> NDArray[np.int64]:
        """Sort some images; those without a margin come last, equal ones as in the set."""
        if name == "set" or not len(rows):
            return rows
        with_trigger = np.isfinite(self.margin).any()
        values = (self.margin if with_trigger else self.margin_clean)[rows].astype(np.float64)
        if name == "rise":
            values = (self.margin[rows] - self.margin_clean[rows]).astype(np.float64)
        keys = values if name == "margin_up" else -values
        return rows[np.argsort(np.where(np.isfinite(keys), keys, np.inf), kind="stable")]
