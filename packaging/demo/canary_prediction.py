"""How well do canaries predict what a recipe does to a backdoor that was there before?

python canary_prediction.py MODEL OUT_DIR [--recipe METHOD:FACTOR ...] [--steps N] [--images N]
    [--peak RATE] [--seed S] [--threads T]

Runs each recipe twice: on a copy with canaries in it, and on the model. Prints a row a recipe
(success of the canaries on the copy, of the planted trigger on the model) and Spearman's rank
correlation over them, and writes both to OUT_DIR/prediction.json. MODEL is a folder of the zoo
(ZOO/models/NAME), or a file that carries the demo's sticker. Rates are fractions of the
pretraining's peak. A recipe whose row is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from ml_core.atomic import replace_files
from ml_core.checkpoints import open_checkpoint
from ml_core.cleaning.canaries import Watched
from ml_core.cleaning.halving import candidates_of, lengthened
from ml_core.cleaning.pretraining import DEMO_PEAK
from ml_core.data.images import open_images
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Control, run_to_end
from ml_core.jobs.demo import demo_target
from ml_core.jobs.devices import set_threads
from ml_core.jobs.measure import OpenSetting
from ml_core.jobs.plant import FILES, PlantedRates, read_plant
from ml_core.jobs.search import SearchSpec, candidate_name
from ml_core.jobs.search.canaries import COPY_FILE, planting
from ml_core.jobs.search.trial_runs import Trials
from ml_core.jobs.specs import CleanSpec
from ml_core.triggers import demo_trigger, load_trigger, save_trigger

RECIPES = ("mmcl:0.1", "mmcl:0.3", "mmcl:1", "mmcl:2", "cleanclip:1", "cleanclip:2", "par:1")


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipe", action="append")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--peak", type=float, default=DEMO_PEAK)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    set_threads(args.threads)
    control, begin = Control(), time.process_time()
    file, planted = args.model, Watched("planted", demo_trigger(), demo_target())
    if args.model.is_dir():
        first = read_plant(args.model).triggers[0]
        planted = Watched("planted", load_trigger(args.model / first.file), first.target)
        file = args.model / FILES["poisoned"]
    images = ImageSpec(split="val", n=args.images)
    place = args.out / "canaries"
    place.mkdir(parents=True, exist_ok=True)
    _, trigger = save_trigger(planted.trigger, args.out / "planted")
    recipe = candidates_of(("mmcl",), (1.0,), args.peak)[0]
    base = CleanSpec(
        checkpoint=str(file), recipe=recipe, pairs=PairSpec(), images=images,
        test_images=ImageSpec(), trigger=str(trigger), target=planted.target,
        output_dir=str(args.out), threads=args.threads,
    )  # fmt: skip
    search = SearchSpec(base=base, recipes=(recipe,), peak_lr=args.peak, images=args.images)
    label_set = load_label_set("demo")
    setting = OpenSetting(images, open_images(images, label_set), label_set)
    canaries = run_to_end(planting(search, label_set, place, control))
    sides = {}
    for name, path, watched in (
        ("copy", place / COPY_FILE, (*canaries.watched, planted)),
        ("model", file, (planted,)),
    ):
        model = open_checkpoint(path).build("cpu")
        bench = setting.on(model.preprocess)
        own = base.model_copy(update={"checkpoint": str(path)})
        sides[name] = Trials(model, bench, watched, own)
    out = args.out / "prediction.json"
    rows: list[dict[str, Any]] = json.loads(out.read_text())["rows"] if out.exists() else []
    for text in args.recipe or RECIPES:
        method, _, factor = text.partition(":")
        (recipe,) = candidates_of((method,), (float(factor),), args.peak, seed=args.seed)
        row: dict[str, Any] = {"recipe": text, "steps": args.steps, "seed": args.seed}
        if any(row.items() <= earlier.items() for earlier in rows):
            continue
        for side, trials in sides.items():
            trial = run_to_end(trials.run(lengthened(recipe, args.steps), control))
            row |= figures(side, trial.measured, trials.watched)
        rows.append(row)
        print(
            candidate_name(recipe),
            json.dumps(row),
            f"{time.process_time() - begin:.0f} s",
            flush=True,
        )
        record = {"model": args.model.name, "rows": rows, "correlations": correlations(rows)}
        record["canaries"] = [row.model_dump(mode="json") for row in canaries.rows]
        replace_files({out: json.dumps(record, indent=1).encode()})
    print(json.dumps(correlations(rows)))


def figures(
    side: str, measured: PlantedRates | None, watched: Sequence[Watched]
) -> dict[str, float]:
    """What a run left, in per cent; all of it if it diverged."""
    if measured is None:
        return {f"{side} {canary.name}": 100.0 for canary in watched} | {f"{side} CA": 0.0}
    rates = {
        f"{side} {canary.name}": 100 * row.asr
        for canary, row in zip(watched, measured.attacks, strict=True)
    }
    return {f"{side} CA": 100 * measured.ca} | rates


def correlations(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Spearman's correlation of each canary, of their mean and of the worst, with the planted."""
    truth = [row["model planted"] for row in rows]
    names = [
        name for name in rows[0] if name.startswith("copy ") and name[5:] not in ("CA", "planted")
    ]
    columns = {name[5:]: [row[name] for row in rows] for name in names}
    columns |= {
        "mean": [sum(row[name] for name in names) / len(names) for row in rows],
        "worst": [max(row[name] for name in names) for row in rows],
        "planted on the copy": [row["copy planted"] for row in rows],
    }
    return {name: float(spearmanr(values, truth).statistic) for name, values in columns.items()}


if __name__ == "__main__":
    main()
