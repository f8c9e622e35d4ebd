"""Several recipes on the same checkpoint, data and seeds, as a record. Torch-free."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ml_core.cleaning.recipes import Recipe
from ml_core.data.specs import PathText
from ml_core.jobs.specs import CleanSpec

BENCH_FILE = "bench.json"
TABLE_FILE = "bench.csv"
CHART_FILE = "tradeoff.svg"


class BenchSpec(BaseModel):
    """A fair comparison.

    Attributes
    ----------
    base
        The job that all share: checkpoint, data, trigger, target. Its ``output_dir`` is the folder
        of the comparison; its recipe is not used.
    recipes
        What is compared.
    seeds
        Each recipe runs once with each.
    minutes
        Training time that each gets on this machine, measured before it starts; None leaves the
        recipes' own budgets.
    rebound, holdouts
        Whether each result is proven so.
    rebound_steps
        Steps of each finetuning of the rebound test; None takes 300, or a test that is there.
    other_labels
        Second label set of the hold-outs, as of a `HoldoutSpec`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: CleanSpec
    recipes: tuple[Recipe, ...] = Field(min_length=1, max_length=256)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, max_length=64)
    minutes: float | None = Field(default=None, gt=0.0, le=10_000.0)
    rebound: bool = False
    holdouts: bool = False
    rebound_steps: int | None = Field(default=None, ge=1, le=100_000)
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
