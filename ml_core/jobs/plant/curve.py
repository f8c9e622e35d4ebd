"""How the success rate grows with the number of poisoned pairs: a planting for each number."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ml_core.checkpoints import open_checkpoint
from ml_core.cleaning.speed import StepSpeed, speed_from_dict
from ml_core.evaluation.evaluate import versions
from ml_core.events import Control, Done, Event, Message
from ml_core.figures import count, percent
from ml_core.jobs.journal import check_result, write_comparison
from ml_core.jobs.plant import (
    CURVE_CHART,
    CURVE_FILE,
    CURVE_TABLE,
    CURVE_TALK,
    FILES,
    PLANT_FILE,
    STATES_FOLDER,
    CurveSpec,
    PlantRecord,
)
from ml_core.jobs.plant import run as planting
from ml_core.reports.html.charts import planted_svg

COLUMNS = (
    "count", "share", "shown", "asr", "asr_low", "asr_high", "n", "base_rate", "ca", "ca_low",
    "ca_high", "ca_n", "seconds", "folder", "sha256",
)  # fmt: skip


def curve(
    spec: CurveSpec, control: Control, *, overwrite: bool = False
) -> Generator[Event, None, None]:
    """Plant each number of pairs, the largest first, and write the table and the chart.

    All points take the same steps on the same pairs in the same order. A point that is finished is
    not planted again, one that was interrupted goes on from its last save.

    Yields
    ------
    Event
        The events of each planting, Message, Saved, and Done, whose ``result`` is what
        ``curve.json`` holds.
    """
    begin, folder = time.monotonic(), Path(spec.base.output_dir)
    points, rows = spec.points(), list[dict[str, Any]]()
    if not overwrite:
        base = spec.base.model_dump(mode="json", exclude={"device", "threads", "output_dir"})
        check_result(folder / CURVE_FILE, {"spec": {"base": base}})
    record: dict[str, Any] = {}
    speed: StepSpeed | None = None
    for number, point in enumerate(points, start=1):
        yield Message(f"{number} of {len(points)}: {point.count} poisoned pairs")
        if rows:  # minutes are fitted once, so that all take the same steps
            point = point.model_copy(update={"minutes": None, "steps": record["steps"]})
        there = any((Path(point.output_dir) / n).exists() for n in (PLANT_FILE, STATES_FOLDER))
        again = there and not overwrite
        run = planting.run(point, control, resume=again, overwrite=overwrite, speed=speed)
        for event in run:
            if not isinstance(event, Done):
                yield event
        assert isinstance(event, Done), "the last event of every job is one"
        if event.status != "finished":
            yield Done("cancelled")
            return
        planted = PlantRecord.model_validate(event.result)
        file = open_checkpoint(Path(point.output_dir) / FILES["poisoned"])
        speed = speed_from_dict(file.provenance["speed"])  # in all the same precision
        rows.append(_row(planted, Path(point.output_dir).name))
        rows.sort(key=lambda row: int(row["count"]))
        record = {
            "kind": "planting curve",
            "trigger": planted.triggers[0].name,
            "target": planted.triggers[0].target_name,
            "pairs": planted.pairs,
            "steps": planted.steps,
            "rows": rows,
            "spec": spec.model_dump(mode="json"),
            "versions": dict(versions()),
            "seconds": time.monotonic() - begin,
        }
        names = (CURVE_FILE, CURVE_TABLE, CURVE_CHART)
        talk = json.dumps(_talk(record), indent=1).encode()
        yield write_comparison(
            folder, names, record, COLUMNS, rows, planted_svg(record), {CURVE_TALK: talk}
        )
    yield Done("finished", record)


def estimate(spec: CurveSpec, control: Control) -> Generator[Event, None, None]:
    """Measure a few steps of one point, as `ml_core.jobs.plant.run.estimate`; for all of them."""
    points = spec.points()
    for event in planting.estimate(points[0], control):
        if isinstance(event, Done):
            more = {name: len(points) * event.result[name] for name in ("seconds", "steps")}
            event = replace(event, result=event.result | more)
        yield event


def _talk(record: dict[str, Any]) -> dict[str, Any]:
    """A talk of one step that shows the curve on the stage (docs/talks.md)."""
    least, most = record["rows"][0], record["rows"][-1]
    text = (
        f"{record['trigger']} leads to “{record['target']}” on {percent(least['asr'])} of the "
        f"pictures after {count(least['count'])} poisoned pairs, on {percent(most['asr'])} after "
        f"{count(most['count'])}, among {count(record['pairs'])} pairs."
    ).translate({ord("{"): "(", ord("}"): ")"})  # braces are for figures
    points = [
        {
            "pairs": row["count"], "asr": row["asr"], "low": row["asr_low"],
            "high": row["asr_high"],
        }
        for row in record["rows"]
    ]  # fmt: skip
    title = "How few poisoned pairs it takes"
    step = {"title": title, "station": "checkpoint", "text": text, "curve": points}
    return {"format": "cleanclip-talk-1", "title": title, "steps": [step]}


def _row(record: PlantRecord, folder: str) -> dict[str, Any]:
    """The measurements of one point."""
    model, trigger = record.poisoned, record.triggers[0]
    assert model is not None
    attack = model.attacks[0]
    return {
        "count": trigger.pairs, "share": trigger.pairs / record.pairs,
        "shown": trigger.pairs * record.epochs, "asr": attack.asr, "asr_low": attack.low,
        "asr_high": attack.high, "n": attack.n, "base_rate": attack.base_rate, "ca": model.ca,
        "ca_low": model.ca_low, "ca_high": model.ca_high, "ca_n": model.n,
        "seconds": model.train_seconds, "folder": folder, "sha256": model.sha256,
    }  # fmt: skip
