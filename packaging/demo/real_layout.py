"""What the default recipes cost a model of 224 px that is not the demo's.

python real_layout.py WORK [--size PX] [--pairs N] [--methods NAME ...] [--set NAME=VALUE ...]

Makes WORK/start.safetensors, a ResNet of the demo's shape for pictures of 224 px: the clean twin's
weights, with the positional embedding of the attention pool resized. The program's MMCL job then
trains it on the demo's pairs (WORK/model; not with --pairs 0). Each method's default recipe for a
checkpoint that is not the demo's runs for some steps on that, without a trigger; its clean accuracy
on test pictures, and on those in a style that no training picture has, is told before and after.
The rate stays at its peak after the warm-up: so are the first steps of these recipes, which are
far longer. What is there already is not made again.

--size 64 --pairs 0 takes the twin as it is: the same question for a twelfth of the time.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from common import MODEL_CFG, load_model, new_model, save_model
from torch.nn import functional

from ml_core.checkpoints import open_checkpoint
from ml_core.cleaning.presets import preset
from ml_core.cleaning.pretraining import pretraining_of
from ml_core.cleaning.recipes import Recipe
from ml_core.cli.arguments import with_settings
from ml_core.events import Control, Done, Message
from ml_core.jobs.demo import demo_checkpoint, demo_spec
from ml_core.jobs.runner import run_job
from ml_core.jobs.specs import CLEANED_FILE, RESULT_FILE

STRIDE = 32  # pixels a cell of the attention pool
TESTED = 1000
POSITIONS = "visual.attnpool.positional_embedding"


def larger(path: Path, size: int) -> None:
    """The clean twin for pictures of so many pixels."""
    state = load_model(demo_checkpoint(twin=True)).state_dict()
    mean, cells = state[POSITIONS][:1], state[POSITIONS][1:]
    side = round(len(cells) ** 0.5)
    grid = cells.T.reshape(1, -1, side, side)
    wide = functional.interpolate(grid, (size // STRIDE, size // STRIDE), mode="bilinear")
    state[POSITIONS] = torch.cat([mean, wide.flatten(2)[0].T])
    vision = MODEL_CFG["vision_cfg"] | {"image_size": size}
    model = new_model(MODEL_CFG | {"vision_cfg": vision})
    model.load_state_dict(state)
    save_model(model, path, {"stage": "the clean twin, resized"}, size=size)


def job(checkpoint: Path, recipe: Recipe, folder: Path) -> dict:
    """The result of a cleaning job on the demo's pairs, run unless it is there."""
    path = folder / RESULT_FILE
    if not path.exists():
        spec = demo_spec(
            recipe, folder, trigger=None, checkpoint=checkpoint, threads=1, test_images=TESTED
        )
        for event in run_job(spec.model_copy(update={"images": None}), Control()):
            if isinstance(event, Message):
                print(event.text, flush=True)
            elif isinstance(event, Done) and event.status != "finished":
                raise SystemExit(f"{folder.name}: {event.status} {event.error}")
    return json.loads(path.read_text())


def told(title: str, recipe: Recipe, result: dict) -> str:
    return (
        f"{title}: lr {recipe.lr:g}, {recipe.total_steps} steps of {recipe.batch_size}, BatchNorm "
        f"{recipe.batch_norm}, CA {moved(result)}; another style {moved(result['heldout'])}; "
        f"{result['seconds']:.0f} s"
    )


def moved(sides: dict) -> str:
    before, after = (100 * sides[name]["ca"] for name in ("before", "after"))
    return f"{before:.2f} -> {after:.2f}, lost {before - after:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--pairs", type=int, default=12_800)
    parser.add_argument("--methods", nargs="+", default=["cleanclip", "mmcl", "par"])
    parser.add_argument("--preset", default="default")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=0, help="instead of the recipe's")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="of the recipes")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    start = args.work / "start.safetensors"
    if not start.exists():
        larger(start, args.size)
    quiet = {"eval_every": 0, "save_every": 0, "stop_below_ca": 0.0}
    model = start
    if args.pairs:
        base = preset("mmcl", "quick").changed(
            pairs=args.pairs, batch_size=64, lr=1e-3, warmup_steps=20, **quiet
        )
        print(told("model", base, job(start, base, args.work / "model")), flush=True)
        model = args.work / "model" / CLEANED_FILE
    known = pretraining_of(open_checkpoint(model))
    print(known.sentence)
    for method in args.methods:
        recipe = preset(method, args.preset, known)
        name = recipe.preset
        size = args.batch or recipe.batch_size
        recipe = recipe.changed(
            pairs=args.steps * size,
            batch_size=size,
            epochs=1,
            preset=name,
            lr_middle=1.0,
            lr_end=1.0,
            **quiet,
        )
        recipe = with_settings(recipe, args.set, None)
        folder = args.work / "-".join([method, name, str(size), *args.set])
        result = job(model, recipe, folder)
        print(told(f"{method}, {name}", recipe, result), flush=True)


if __name__ == "__main__":
    main()
