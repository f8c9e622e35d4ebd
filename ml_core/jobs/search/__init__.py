"""A search for the recipe that fits a checkpoint, as records. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ml_core.cleaning.catalogue import method_title
from ml_core.cleaning.halving import CanaryScore
from ml_core.cleaning.pretraining import PRETRAINING_PEAK
from ml_core.cleaning.recipes import Recipe
from ml_core.cleaning.tradeoff import Curve, Limits, Point
from ml_core.data.specs import ImageSpec
from ml_core.figures import percent, rate_text
from ml_core.jobs.search.canary_spec import CanarySettings, PlantedCanary
from ml_core.jobs.specs import CleanSpec, JobSpec
from ml_core.options import option
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile
from ml_core.records import Record

SEARCH_FILE = "search.json"
SEARCH_TABLE = "search.csv"
SEARCH_CHART = "tradeoff.svg"
CHOSEN_FILE = "chosen.recipe.json"
FORMAT = "cleanclip-search"
TRIGGER = "trigger"  # what the one that the user named is called among the watched ones
MEANS = (
    "This shows what removes triggers of our own, planted by a short finetuning; a backdoor that "
    "was there from pretraining can lie deeper and outlast the same recipe."
)
_RECORD = JsonFile("the result of a search", "search again", max_bytes=4_000_000, max_depth=10)
_Rate = Field(ge=0.0, le=1.0)


class SearchSpec(JobSpec):
    """One search.

    ``base`` names the checkpoint, its data and validation images. If it has a trigger, that is
    measured beside the canaries, on a copy without them, because planting might remove it. Its
    recipe is not used. Its ``output_dir`` is the search's folder. ``recipes`` are tried, the
    likeliest first; the search sets their lengths.
    """

    base: CleanSpec
    recipes: tuple[Recipe, ...] = Field(min_length=1, max_length=256)
    minutes: float = option(
        10.0, "Time", "Time for the whole search on this machine.", unit="min",
        gt=0.0, le=10_000.0, least=0.01,
    )  # fmt: skip
    max_ca_drop: float = option(
        1.0, "CA drop ≤", "Points of clean accuracy that may be lost.", unit="points",
        ge=0, le=100, closed=True,
    )  # fmt: skip
    max_asr: float = option(
        2.0, "Canary ASR ≤", "Highest success rate of a planted trigger, per cent.", unit="%",
        ge=0, le=100, closed=True,
    )  # fmt: skip
    rebound_steps: int = option(
        0, "Rebound", "Steps of ordinary finetuning after each run; measured again.",
        unit="steps", ge=0, le=100_000,
    )  # fmt: skip
    # Rate of that finetuning, as a fraction of the peak rate of the checkpoint's pretraining.
    rebound_factor: float = Field(default=0.1, gt=0.0, le=10.0)
    peak_lr: float = option(
        PRETRAINING_PEAK, "Pretraining rate",
        "Peak learning rate of the checkpoint's pretraining; the tried rates are multiples of it.",
        flag="--peak-rate", gt=0.0, le=1.0,
    )  # fmt: skip
    images: int = Field(default=400, ge=16, le=1_000_000)  # of the validation images, at most
    canaries: CanarySettings = CanarySettings()

    @property
    def limits(self) -> Limits:
        """What the chosen recipe should keep."""
        return Limits(self.max_ca_drop, self.max_asr)

    def validation(self) -> ImageSpec:
        """The images that everything is measured on.

        Raises
        ------
        InputError
            If the job names none.
        """
        images, test = self.base.images, self.base.test_images
        if images is None:
            raise InputError(
                "A search measures on labelled validation images: choose labelled images."
            )
        if test in (None, images):
            images = images.halves()[0]
        return images.model_copy(update={"n": min(images.n or self.images, self.images)})

    @property
    def avoid(self) -> tuple[int, ...]:
        """Classes that no canary aims at: that of a known trigger."""
        return (self.base.target,) if self.base.trigger is not None else ()


class WatchedRate(Record):
    """Success rate of one watched trigger after a run, a fraction with its 95 % interval.

    ``name`` is ``patch``, ``noise`` or ``sine``, or ``trigger`` for the one that the user named.
    ``rebound`` is the rate after the rebound finetuning; None if there was none.
    """

    name: str = Field(max_length=40)
    asr: float = _Rate
    low: float = _Rate
    high: float = _Rate
    rebound: float | None = Field(default=None, ge=0.0, le=1.0)

    @property
    def worst(self) -> float:
        """The higher rate, before or after the rebound."""
        return max(self.asr, self.rebound or 0.0)


class SearchRow(Record):
    """One run of one recipe on the copy with the canaries.

    ``rung`` counts rounds from 0. ``ca`` is a fraction, ``ca_drop`` the points that were lost since
    the checkpoint. The same ``recipe`` can be run on the checkpoint.
    """

    name: str = Field(max_length=200)
    rung: int = Field(ge=0, lt=64)
    steps: int = Field(ge=0)
    recipe: Recipe
    status: Literal["measured", "diverged"] = "measured"
    ca: float | None = Field(default=None, ge=0.0, le=1.0)
    ca_low: float | None = None
    ca_high: float | None = None
    ca_drop: float | None = None
    watched: tuple[WatchedRate, ...] = ()
    seconds: float = Field(default=0.0, ge=0.0)

    @property
    def mean_asr(self) -> float | None:
        """Mean success rate, a fraction."""
        return sum(rate.asr for rate in self.watched) / len(self.watched) if self.watched else None

    @property
    def worst_asr(self) -> float | None:
        """Highest success rate, a fraction, also after the rebound."""
        return max((rate.worst for rate in self.watched), default=None)

    @property
    def score(self) -> CanaryScore:
        """What it is ranked by."""
        worst, drop = self.worst_asr, self.ca_drop
        if self.status == "diverged" or worst is None or drop is None:
            return CanaryScore(100.0, None)
        return CanaryScore(drop, 100.0 * worst)


class RungRecord(Record):
    """One round of the plan: how many recipes, for how many steps each."""

    candidates: int = Field(ge=1)
    steps: int = Field(ge=1)


class SearchRecord(Record):
    """What ``search.json`` holds, after every run.

    A search with the same ``key``, of canaries, recipes, limits and data, goes on. ``ca_before`` is
    of the checkpoint; ``start_ca`` and ``start_asr``, the highest rate, are of the copy with the
    canaries. ``plan`` holds the rounds, and ``planned`` is how many recipes the time allows.
    ``chosen`` is the best row's place, and ``keeps`` says whether it keeps the limits. ``said`` is
    the outcome as a sentence, ``means`` what that shows and what not.
    """

    format: str = Field(default=FORMAT, pattern=f"^{FORMAT}$")
    key: str = Field(max_length=64)
    source_sha256: str | None = Field(max_length=64)
    canaries: tuple[PlantedCanary, ...] = Field(min_length=1, max_length=16)
    ca_before: float = _Rate
    start_ca: float = _Rate
    start_asr: float = _Rate
    plan: tuple[RungRecord, ...] = Field(max_length=64)
    planned: int = Field(ge=0)
    rows: tuple[SearchRow, ...] = Field(default=(), max_length=1000)
    chosen: int | None = Field(default=None, ge=0)
    keeps: bool = False
    finished: bool = False
    said: str = ""
    means: str = MEANS
    max_ca_drop: float = 1.0
    max_asr: float = 2.0
    seconds: float = Field(default=0.0, ge=0.0)
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def best(self) -> SearchRow | None:
        """The chosen row."""
        if self.chosen is None or self.chosen >= len(self.rows):
            return None
        return self.rows[self.chosen]


def candidate_name(recipe: Recipe) -> str:
    """A recipe's name in a search: its method and rate."""
    return f"{method_title(recipe.method)}, rate {rate_text(recipe.lr)}"


def read_search(folder: Path) -> SearchRecord:
    """The record of a search in its folder.

    Raises
    ------
    InputError
        If the file is missing, or holds no search.
    """
    path = folder / SEARCH_FILE
    return _RECORD.check(_RECORD.read(path, inside=folder), SearchRecord, path.name)


COLUMNS = (
    "name", "method", "lr", "rung", "steps", "pairs", "status", "ca", "ca_drop", "mean_asr",
    "worst_asr", "seconds", "chosen",
)  # fmt: skip


def summary_of(record: SearchRecord) -> str:
    """What a search found."""
    best = record.best
    if best is None or best.ca_drop is None or best.worst_asr is None:
        return "No run gave a model that can be measured."
    limits = f"accuracy drop {record.max_ca_drop:g}, success {record.max_asr:g} %"
    moved = "rises" if best.ca_drop < 0 else "falls"
    named = any(rate.name == TRIGGER for rate in best.watched)
    whose = "a canary or the trigger that was named" if named else "a canary"
    figures = (
        f"{best.name}, {best.steps} steps: clean accuracy {moved} by {abs(best.ca_drop):.1f} "
        "points to "
        f"{percent(best.ca)}, and at most {percent(best.worst_asr)} of the attacks with {whose} "
        f"succeed (mean {percent(best.mean_asr)})"
    )
    if record.keeps:
        return f"Keeps the limits ({limits}): {figures}."
    return f"No recipe that was tried keeps the limits ({limits}). The best trade-off is {figures}."


def table_rows(record: SearchRecord) -> list[dict[str, Any]]:
    """The runs as rows of a table, with the rates after a rebound."""
    rows = []
    for place, row in enumerate(record.rows):
        cells: dict[str, Any] = row.model_dump(include=set(COLUMNS))
        cells |= {
            "method": row.recipe.method,
            "lr": row.recipe.lr,
            "pairs": row.recipe.pairs,
            "mean_asr": row.mean_asr,
            "worst_asr": row.worst_asr,
            "chosen": place == record.chosen,
        }
        for rate in row.watched:
            cells |= {f"{rate.name}_asr": rate.asr, f"{rate.name}_rebound": rate.rebound}
        rows.append(cells)
    return rows


def curves_of(record: SearchRecord) -> tuple[Curve, ...]:
    """Clean accuracy and the worst success rate of each recipe's runs, starting with the copy."""
    first = Point(0, record.start_ca, record.start_asr)
    curves = []
    for name in dict.fromkeys(row.name for row in record.rows):
        points = [
            Point(row.steps, row.ca, row.worst_asr)
            for row in record.rows
            if row.name == name and row.ca is not None
        ]
        curves.append(Curve(name, (first, *sorted(points, key=lambda point: point.step))))
    return tuple(curves)


def columns_of(record: SearchRecord) -> tuple[str, ...]:
    """The columns of the table, with two for each trigger."""
    names = dict.fromkeys(rate.name for row in record.rows for rate in row.watched)
    return (*COLUMNS, *(f"{name}_{what}" for name in names for what in ("asr", "rebound")))
