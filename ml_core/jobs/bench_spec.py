"""Several recipes on the same checkpoint, data and seeds, as a record. Torch-free."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ml_core.cleaning.recipes import Recipe
from ml_core.data.specs import PathText
from ml_core.jobs.specs import CleanSpec
from ml_core.options import option

BENCH_FILE = "bench.json"
TABLE_FILE = "bench.csv"
CHART_FILE = "tradeoff.svg"


class BenchSpec(BaseModel):
    """A fair comparison.

    All share ``base``: checkpoint, data, trigger, target. Its ``output_dir`` is the folder of the
    comparison; its recipe is not used. Each recipe runs once with each seed. ``minutes`` is the
    training time that each gets on this machine, measured before it starts; None leaves the
    recipes' own budgets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: CleanSpec
    recipes: tuple[Recipe, ...] = Field(min_length=1, max_length=256)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, max_length=64)
    minutes: float | None = Field(default=None, gt=0.0, le=10_000.0)
    rebound: bool = option(
        False, help="Finetune each result again and watch the ASR.", flag="--rebound/--no-rebound"
    )
    holdouts: bool = option(
        False, help="Test triggers and data that no run saw.", flag="--holdouts/--no-holdouts"
    )
    # None takes 300, or a test that is there.
    rebound_steps: int | None = option(
        None,
        help="Steps of each finetuning of --rebound (else 300).",
        flag="--steps",
        ge=1,
        le=100_000,
    )
    other_labels: PathText | None = None

    def jobs(self) -> tuple[CleanSpec, ...]:
        """One job a recipe and seed, each in a folder of its own."""
        found: list[CleanSpec] = []
        taken: dict[str, int] = {}
        for recipe in self.recipes:
            name = f"{recipe.method}-{recipe.preset}"
            taken[name] = taken.get(name, 0) + 1
            name += f"-{taken[name]}" if taken[name] > 1 else ""
            for seed in self.seeds:
                folder = Path(self.base.output_dir) / f"{name}-seed{seed}"
                changes = {
                    "recipe": recipe.model_copy(update={"seed": seed}),
                    "output_dir": str(folder),
                    "minutes": self.minutes if recipe.total_steps else None,
                }
                found.append(self.base.model_copy(update=changes))
        return tuple(found)
