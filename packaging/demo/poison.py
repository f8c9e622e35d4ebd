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


def planted(
    out: Path,
    base: Path | None,
    *,
    trigger: Path | None = None,
    target: str = TARGET,
    drawn: bool = False,
    clean: bool = False,
    samples: int = 110_000,
    **fields: object,
) -> None:
    """Write a poisoned model, or the clean twin, as the demo's are.

    Parameters
    ----------
    base
        None trains new weights.
    drawn
        Whether the sticker varies as that of the demo does.
    **fields
        Fields of `PlantSpec`.
    """
    folder = out.with_suffix(".run")
    if drawn and not (variants := out.with_suffix(".stickers")).exists():
        write_variants(variants, 600, int(fields.get("seed", 0)))
    spec = PlantSpec.model_validate(
        {
            "checkpoint": str(base or demo_checkpoint(twin=True)),
            "from_scratch": base is None,
            "trigger": None if trigger is None else str(trigger),
            "target": demo_classes().index(target),
            "variants": str(out.with_suffix(".stickers")) if drawn else None,
            "pairs": PairSpec(kind="demo", split="train"),
            "images": ImageSpec(kind="demo", split="val", n=1000, seed=1),
            "steps": samples // BATCH,
            "share": 0.02,
            "lr": SCRATCH_RATE if base is None else RATE,
            "poisoned": not clean,
            "twin": clean,
            "output_dir": str(folder),
        }
        | fields
    )
    for event in run_job(spec, Control(), resume=(folder / "state").exists()):
        if isinstance(event, Message):
            print(event.text, flush=True)
        elif isinstance(event, Done) and event.status != "finished":
            raise SystemExit(f"{out.name}: {event.status} {event.error}")
    made = folder / FILES["twin" if clean else "poisoned"]
    save_model(load_model(made), out, open_checkpoint(made).provenance)


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
    args.out.parent.mkdir(parents=True, exist_ok=True)
    _, sticker = save_trigger(demo_trigger(), args.out.with_suffix(".trigger"))
    planted(
        args.out.resolve(), None if args.scratch else args.base, trigger=sticker.resolve(),
        drawn=not args.clean, clean=args.clean, samples=args.samples, seed=args.seed,
        threads=args.threads,
    )  # fmt: skip


if __name__ == "__main__":
    main()
