"""What a search found as a sentence, a table and a chart. Torch-free."""

from __future__ import annotations

from typing import Any

from ml_core.cleaning.tradeoff import Limits, Point
from ml_core.figures import percent
from ml_core.jobs.search_spec import TRIGGER, SearchRecord
from ml_core.reports.tradeoff_svg import Curve, tradeoff_svg

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
    named = any(one.name == TRIGGER for one in best.watched)
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
    """The runs for a table, those after a rebound with it."""
    found = []
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
        for one in row.watched:
            cells |= {f"{one.name}_asr": one.asr, f"{one.name}_rebound": one.rebound}
        found.append(cells)
    return found


def curves_of(record: SearchRecord) -> tuple[Curve, ...]:
    """Clean accuracy and the worst success rate of each recipe's runs, from the copy's on."""
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


def chart_of(record: SearchRecord) -> str:
    """The trade-off chart."""
    limits = Limits(record.max_ca_drop, record.max_asr)
    return tradeoff_svg(curves_of(record), limits, record.ca_before)


def columns_of(record: SearchRecord) -> tuple[str, ...]:
    """Those of the table, with two for each trigger."""
    names = dict.fromkeys(one.name for row in record.rows for one in row.watched)
    return (*COLUMNS, *(f"{name}_{what}" for name in names for what in ("asr", "rebound")))
