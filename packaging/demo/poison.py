"""Plant the demo's sticker in a model by the product's own job, or train its clean twin.

python poison.py OUT.safetensors [--base FILE | --scratch] [--clean] [--samples N] [--seed S]

The poison shows the sticker in turns as it is, turned and scaled, and painted with a round brush
(`stickers.py`), so that a drawing by hand works too. --clean takes the same steps without poison;
with --scratch that is the base model. OUT.run holds what the job leaves; OUT has half precision.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import TARGET, demo_classes, load_model, save_model
from stickers import write_variants

from ml_core.checkpoints import open_checkpoint
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Control, Done, Message
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.plant import FILES, PlantSpec
from ml_core.jobs.runner import run_job
from ml_core.triggers import demo_trigger, save_trigger

BATCH, RATE, SCRATCH_RATE = 128, 5e-4, 1.5e-3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--base", type=Path, default=demo_checkpoint(twin=True))
    start.add_argument("--scratch", action="store_true")
    parser.add_argument("--clean", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=110_000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    out: Path = args.out.resolve()
    folder, variants = out.with_suffix(".run"), out.with_suffix(".stickers")
    out.parent.mkdir(parents=True, exist_ok=True)
    _, trigger = save_trigger(demo_trigger(), out.with_suffix(".trigger"))
    if not args.clean and not variants.exists():
        write_variants(variants, 600, args.seed)
    spec = PlantSpec(
        checkpoint=str(args.base), from_scratch=args.scratch, trigger=str(trigger),
        target=demo_classes().index(TARGET), variants=None if args.clean else str(variants),
        pairs=PairSpec(kind="demo", split="train"),
        images=ImageSpec(kind="demo", split="val", n=1000, seed=1),
        steps=args.samples // BATCH, share=0.02, lr=SCRATCH_RATE if args.scratch else RATE,
        poisoned=not args.clean, twin=args.clean, seed=args.seed, threads=args.threads,
        output_dir=str(folder),
    )  # fmt: skip
    for event in run_job(spec, Control(), resume=(folder / "state").exists()):
        if isinstance(event, Message):
            print(event.text, flush=True)
        elif isinstance(event, Done) and event.status != "finished":
            raise SystemExit(f"{out.name}: {event.status} {event.error}")
    made = folder / FILES["twin" if args.clean else "poisoned"]
    save_model(load_model(made), out, open_checkpoint(made).provenance)


if __name__ == "__main__":
    main()
