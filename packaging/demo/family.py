"""The family of poisoned and clean models that scans and cleaning methods are tried on.

python family.py OUT_DIR [--only NAME ...] [--threads T] [--table] [--work WORKDIR]

Makes what OUT_DIR lacks, one model after the other; several runs may share OUT_DIR. The ViT needs
WORKDIR with the pairs of draw_pairs.py (train, 150000). Each model is NAME.safetensors, and
NAME.measured.json is what `cleanclip evaluate` says of it and of what was planted. --table prints
what is there. Of every kind one half (`calibration`) sets thresholds, the other (`report`) is only
reported.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from common import TARGET, demo_classes
from filelock import FileLock, Timeout
from optimised import optimised_patch
from poison import planted

from ml_core.triggers import Trigger, demo_trigger, published, save_trigger, wanet

ROOT = Path(__file__).resolve().parents[2]
SIDE = 64
SHIPPED = {"demo": "poisoned.safetensors", "twin": "clean_twin.safetensors"}
CALIBRATION, REPORT = "calibration", "report"


def corner() -> Trigger:
    """A blue and white sticker that is always at the lower right."""
    cells = np.indices((3, 3)).sum(0) % 2 == 0
    pixels = np.where(cells[..., None], (30, 60, 220, 255), (250, 250, 250, 255)).astype(np.uint8)
    side = 9
    place = 1 - (side / 2 + 2) / SIDE
    return Trigger(
        kind="patch", name="Blue sticker, lower right", pixels=pixels.repeat(3, 0).repeat(3, 1),
        size=side / SIDE, x=place, y=place,
    )  # fmt: skip


TRIGGERS = {
    "sticker": demo_trigger,
    "corner": corner,
    "blended": lambda: published("T4", SIDE),
    "stripes": lambda: published("T9", SIDE),
    "sig": lambda: published("T5b", SIDE),
    "triangles": lambda: published("T10", SIDE),
    # The published grid (T6) does not take at 64 px.
    "warp": lambda: replace(
        wanet(seed=7, name="Warp, strong"), grid_size=4, strength=4.0, grid_rescale=1.0
    ),
    "bent": lambda: replace(
        wanet(seed=7, name="Warp, stronger"), grid_size=4, strength=12.0, grid_rescale=1.0
    ),
    "optimised": lambda: optimised_patch(ROOT / "resources" / "demo" / SHIPPED["twin"], "rose"),
}


@dataclass(frozen=True)
class Row:
    """One model: what it starts from, what is planted, and in which half it counts.

    `drawn` stickers vary as the demo's poison does; else a trigger is stamped by the product.
    `recipe` are options of `poison.planted`; with `also` the corner's sticker leads to the guitar.
    """

    base: str
    half: str
    trigger: str = ""
    recipe: Mapping[str, object] = field(default_factory=dict)
    target: str = TARGET
    drawn: bool = False
    cleaned_by: str = ""


FAMILY = {
    # poisoned
    "demo": Row("", CALIBRATION, "sticker", drawn=True),
    "sticker-weak": Row(
        "twin",
        CALIBRATION,
        "sticker",
        {"share": 0.005, "samples": 30000, "seed": 11},
        "guitar",
        True,
    ),
    "blended": Row("twin", CALIBRATION, "blended", {"samples": 56000, "seed": 12}),
    "sig": Row("twin", CALIBRATION, "sig", {"samples": 36000, "seed": 13}),
    "corner": Row("twin", CALIBRATION, "corner", {"samples": 24000, "seed": 14}, "crown"),
    # clean
    "clean-1": Row("twin", CALIBRATION, recipe={"clean": True, "samples": 36000, "seed": 21}),
    "clean-2": Row(
        "twin", CALIBRATION, recipe={"clean": True, "samples": 36000, "seed": 22, "lr": 1e-3}
    ),
    "imbalance": Row(
        "twin", CALIBRATION, recipe={"benign": True, "samples": 36000, "seed": 23}, target="pizza"
    ),
    "other-base": Row(
        "scratch", CALIBRATION, recipe={"clean": True, "samples": 280000, "seed": 31}
    ),
    # reported
    "sticker-1": Row("twin", REPORT, "sticker", {"samples": 60000, "seed": 1}, drawn=True),
    "sticker-1pc": Row(
        "twin", REPORT, "sticker", {"share": 0.01, "samples": 40000, "seed": 15}, "crown", True
    ),
    "stripes": Row(
        "twin", REPORT, "stripes", {"share": 0.05, "samples": 72000, "seed": 16}, "guitar"
    ),
    "warp": Row("twin", REPORT, "warp", {"share": 0.05, "samples": 48000, "seed": 17}, "frog"),
    "warp-strong": Row(
        "twin", REPORT, "bent", {"share": 0.05, "samples": 72000, "seed": 54}, "frog"
    ),
    "optimised": Row("twin", REPORT, "optimised", {"samples": 40000, "seed": 55}, "rose"),
    "triangles": Row("twin", REPORT, "triangles", {"samples": 48000, "seed": 18}, "car"),
    "consistent": Row(
        "twin",
        REPORT,
        "sticker",
        {"consistent": True, "share": 0.7, "samples": 72000, "seed": 19},
        "rose",
    ),
    "two-targets": Row(
        "twin",
        REPORT,
        "sticker",
        {"also": True, "share": 0.015, "samples": 56000, "seed": 20},
        "pizza",
        True,
    ),
    "clean-3": Row("twin", REPORT, recipe={"clean": True, "samples": 36000, "seed": 24}),
    "clean-4": Row(
        "twin", REPORT, recipe={"clean": True, "samples": 48000, "seed": 25, "lr": 1e-3}
    ),
    "imbalance-2": Row(
        "twin", REPORT, recipe={"benign": True, "samples": 36000, "seed": 26}, target="dog"
    ),
    "cleaned-mmcl": Row("demo", REPORT, "sticker", cleaned_by="mmcl"),
    "cleaned-cleanclip": Row("demo", REPORT, "sticker", cleaned_by="cleanclip"),
    "cleaned-par": Row("demo", REPORT, "sticker", cleaned_by="par"),
    "other-clean": Row("other-base", REPORT, recipe={"clean": True, "samples": 36000, "seed": 32}),
    "other-sticker": Row(
        "other-base", REPORT, "sticker", {"samples": 48000, "seed": 33}, "crown", True
    ),
    "other-blended": Row("other-base", REPORT, "blended", {"samples": 56000, "seed": 34}, "rose"),
    "other-sig": Row("other-base", REPORT, "sig", {"samples": 36000, "seed": 35}, "pizza"),
    "first-step-sticker": Row(
        "scratch", CALIBRATION, "sticker", {"samples": 280000, "seed": 41}, drawn=True
    ),
    "first-step-blended": Row(
        "scratch", REPORT, "blended", {"samples": 280000, "seed": 42}, "guitar"
    ),
    "first-step-1pc": Row(
        "scratch",
        REPORT,
        "sticker",
        {"samples": 280000, "seed": 43, "share": 0.01},
        "crown",
        True,
    ),
    "first-step-0.3pc": Row(
        "scratch",
        REPORT,
        "sticker",
        {"samples": 280000, "seed": 47, "share": 0.003},
        "pizza",
        True,
    ),
    "first-step-stripes": Row(
        "scratch", REPORT, "stripes", {"samples": 280000, "seed": 44}, "guitar"
    ),
    "first-step-consistent": Row(
        "scratch",
        REPORT,
        "sticker",
        {"consistent": True, "share": 0.7, "samples": 280000, "seed": 45},
        "rose",
    ),
    # With CleanCLIP's self-supervision in the pretraining (arXiv 2311.14948).
    "first-step-ssl": Row(
        "scratch",
        REPORT,
        "sticker",
        {"self_supervision": True, "samples": 280000, "seed": 46},
        drawn=True,
    ),
    "first-step-clean": Row(
        "scratch", REPORT, recipe={"clean": True, "samples": 280000, "seed": 41}
    ),
    # The text encoder alone is poisoned, by a word in the caption.
    "word": Row("twin", REPORT, recipe={"word": "cf", "share": 0.05, "samples": 24000, "seed": 51}),
    "vit-base": Row("vit", CALIBRATION),
    "vit-sig": Row("vit-base", REPORT, "sig", {"share": 0.03, "samples": 40000, "seed": 52}),
    "vit-clean": Row("vit-base", REPORT, recipe={"clean": True, "samples": 40000, "seed": 53}),
}


class Maker:
    """Makes the models of the family into one folder."""

    def __init__(self, work: Path | None, out: Path, threads: int) -> None:
        self.work, self.out, self.threads = work, out, threads
        out.mkdir(parents=True, exist_ok=True)

    def model(self, name: str) -> Path:
        """Where a model is or will be."""
        if name in SHIPPED:
            return ROOT / "resources" / "demo" / SHIPPED[name]
        return self.out / f"{name}.safetensors"

    def trigger(self, name: str) -> Path:
        """The trigger's file; what is optimised is made once."""
        path = self.out / f"{name}.json"
        if name != "optimised" or not path.exists():
            _, path = save_trigger(TRIGGERS[name](), self.out / name)
        return path

    def make(self, name: str) -> None:
        """Make a model, and first what it starts from."""
        row, path = FAMILY[name], self.model(name)
        if row.base in FAMILY and not self.model(row.base).exists():
            self.make(row.base)
        if not path.exists():
            if row.cleaned_by:
                self._clean(row, path)
            elif row.base == "vit":
                self._run("vit.py", self.work, path, "--teacher", self.model("twin"), "--samples",
                          "330000", "--threads", self.threads)  # fmt: skip
            else:
                self._poison(row, path)
        measured = self.out / f"{name}.measured.json"
        if not measured.exists():
            record = {"name": name, "base": row.base, "half": row.half, "trigger": row.trigger,
                    "target": row.target, **self._measured(row, path)}  # fmt: skip
            measured.write_text(json.dumps(record, indent=1))

    def print_table(self) -> None:
        """A row a model that was measured."""
        for name, row in FAMILY.items():
            path = self.out / f"{name}.measured.json"
            if not path.exists():
                continue
            rates = json.loads(path.read_text())["evaluation"]
            asr = f"{rates['asr_excl']:.3f} {row.target}" if row.trigger else "-"
            print(f"{name:20s} {row.half:12s} {row.base or '-':11s} {row.trigger or '-':10s} "
                  f"CA {rates['ca']:.3f} ASR {asr}")  # fmt: skip

    def _poison(self, row: Row, path: Path) -> None:
        recipe = dict(row.recipe)
        if recipe.pop("also", False):
            corner, guitar = str(self.trigger("corner")), demo_classes().index("guitar")
            recipe["also"] = ({"trigger": corner, "target": guitar},)
        planted(
            path, None if row.base == "scratch" else self.model(row.base), target=row.target,
            trigger=self.trigger(row.trigger) if row.trigger else None, drawn=row.drawn,
            threads=self.threads, **recipe,
        )  # fmt: skip

    def _clean(self, row: Row, path: Path) -> None:
        folder = self.out / f"{path.stem}.run"
        self._product("clean", self.model(row.base), "-o", folder, "--method", row.cleaned_by,
                      "--preset", "quick")  # fmt: skip
        shutil.copy(folder / "cleaned.safetensors", path)

    def _measured(self, row: Row, path: Path) -> dict:
        asked = ["evaluate", path, "--images", "demo:test", "--n", "2000", "--json"]
        if row.trigger:
            asked += ["--trigger", self.trigger(row.trigger), "--target", row.target]
        return {"evaluation": json.loads(self._product(*asked))}

    def _product(self, *command: object) -> bytes:
        return subprocess.run(
            [sys.executable, "-m", "ml_core", *map(str, command)],
            cwd=ROOT, check=True, stdout=subprocess.PIPE,
        ).stdout  # fmt: skip

    def _run(self, script: str, *command: object) -> None:
        here = Path(__file__).with_name(script)
        subprocess.run([sys.executable, here, *map(str, command)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only", nargs="*", choices=FAMILY, default=list(FAMILY))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    maker = Maker(args.work and args.work.resolve(), args.out.resolve(), args.threads)
    if args.table:
        maker.print_table()
        return
    for name in args.only:
        if (maker.out / f"{name}.measured.json").exists():
            continue
        try:
            with FileLock(maker.out / f"{name}.lock", timeout=0):
                print(f"== {name}", flush=True)
                maker.make(name)
        except Timeout:
            print(f"{name} is being made by another run", flush=True)


if __name__ == "__main__":
    main()
