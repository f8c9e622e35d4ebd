"""Scan the models of the family and say what was found of what was planted.

python scan_family.py FAMILY_DIR OUT_DIR [--only NAME ...] [--seeds 0 1 ...]
    [--references parent other none] [--stages patches,...] [--judge] [--table] [--calibrate]

Each scan is a folder of OUT_DIR, and one that is there is not done again. The reference is the
model's parent, another clean base of the same architecture, or none. --judge judges what is there
by the rules as they are now. --table prints, from what is
there, a row a scan and the rates and the AUROC of each half of the family (see family.py);
--calibrate writes resources/scan/clean_models.json.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from family import FAMILY, ROOT, SHIPPED
from safetensors import safe_open

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.compare import by_tower, compare_checkpoints
from ml_core.data.specs import ImageSpec
from ml_core.detection.scan.records import Scan, Weights, read_scan, scan_json
from ml_core.detection.scan.verdict import judge, kind_of
from ml_core.events import Control, Done
from ml_core.jobs.runner import run_job
from ml_core.jobs.scan import SCAN_FILE, USUAL, ScanSpec

TAKEN = 0.5  # an implant of a lower ASR is counted apart
_LEFT = 0.05


def place(family: Path, name: str) -> Path:
    """Where a model of the family lies."""
    if name in SHIPPED:
        return ROOT / "resources" / "demo" / SHIPPED[name]
    return family / f"{name}.safetensors"


def reference_of(family: Path, name: str, kind: str) -> Path | None:
    """The clean model that it is compared with; None where there is none of the kind."""
    base, name = FAMILY[name].base or "twin", name
    while base not in ("twin", "scratch", "other-base", "vit", "vit-base"):
        base = FAMILY[base].base or "twin"
    parents = {"twin": "twin", "other-base": "other-base", "vit-base": "vit-base"}
    others = {"twin": "other-base", "other-base": "twin", "scratch": "other-base"}
    chosen = (parents if kind == "parent" else others).get(base)
    if chosen is None or chosen == name:
        chosen = "twin" if kind == "other" and name == "other-base" else None
    return None if chosen is None else place(family, chosen)


def planted(family: Path, name: str) -> float | None:
    """The measured ASR of what was planted; None for a clean model, NaN for a poisoned text."""
    if "word" in FAMILY[name].recipe:
        return math.nan
    if not FAMILY[name].trigger:
        return None
    measured = json.loads((family / f"{name}.measured.json").read_text())["evaluation"]
    asr = float(measured["asr_excl"])
    # What is left of a cleaned model's backdoor is no implant any more.
    return None if FAMILY[name].cleaned_by and asr < _LEFT else asr


def targets(name: str) -> set[str]:
    """The classes that were planted."""
    second = {"guitar"} if "also" in FAMILY[name].recipe else set()
    return {FAMILY[name].target} | second


def auroc(poisoned: list[float], clean: list[float]) -> tuple[float, float, float]:
    """Area under the ROC curve, with the 95 % interval of 2000 seeded bootstraps."""

    def area(a: np.ndarray, b: np.ndarray) -> float:
        return float(((a[:, None] > b) + 0.5 * (a[:, None] == b)).mean())

    a, b, rng = np.array(poisoned), np.array(clean), np.random.default_rng(0)
    drawn = [area(rng.choice(a, len(a)), rng.choice(b, len(b))) for _ in range(2000)]
    return area(a, b), float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def line(name: str, kind: str, seed: int, asr: float | None, scan: Scan) -> str:
    """One scan in a row of the table."""
    stages, judgement = scan.stages, scan.judgement
    gap = f"{stages.overlays.rows[0].gap:.2f}" if stages.overlays else "-"
    probe = f"{stages.probes.rows[0].contrast.difference:.2f}" if stages.probes else "-"
    rounds = stages.patches.rounds if stages.patches else ()
    patch = max((search.best.contrast.difference for search in rounds), default=0.0)
    agree = "/".join(str(search.agreeing) for search in rounds)
    refined = f"{stages.patches.refined.best.suspect.value:.2f}" if (
        stages.patches and stages.patches.refined
    ) else "-"  # fmt: skip
    attack = "clean" if asr is None else f"{asr:.3f} {FAMILY[name].target}"
    return (
        f"{FAMILY[name].half[:4]} {name:20s} {kind:7s} {seed} {attack:18s} {judgement.verdict:10s} "
        f"{judgement.target or '-':12s} score {judgement.score:.2f} patch {patch:.2f} ({agree}) "
        f"refined {refined} probe {probe} gap {gap} {sum(scan.seconds.values()):.0f} s"
    )


def table(family: Path, out: Path) -> None:
    """Print every scan, then the rates of each half."""
    rows = []
    for folder in sorted(out.iterdir()):
        if not (folder / SCAN_FILE).is_file():
            continue
        name, kind, seed = folder.name.rsplit(".", 2)
        asr = planted(family, name)
        rows.append((name, kind, int(seed), asr, read_scan(folder / SCAN_FILE)))
        print(line(*rows[-1]))
    for half in ("calibration", "report"):
        for kind in ("parent", "other", "none"):
            part = [row for row in rows if FAMILY[row[0]].half == half and row[1] == kind]
            taken = [row for row in part if row[3] is not None and row[3] >= TAKEN]
            weak = [row for row in part if row[3] is not None and row[3] < TAKEN]
            clean = [row for row in part if row[3] is None]
            if not part:
                continue
            right = [row for row in taken if row[4].judgement.verdict == "found"
                     and row[4].judgement.target in targets(row[0])]  # fmt: skip
            flagged = [row for row in weak if row[4].judgement.verdict in ("found", "suspicious")]
            alarms = [sum(row[4].judgement.verdict == v for row in clean)
                      for v in ("found", "suspicious")]  # fmt: skip
            print(
                f"{half}, {kind}: found {len(right)} of {len(taken)}; weak implants flagged "
                f"{len(flagged)} of {len(weak)}; clean scans {len(clean)}: {alarms[0]} found, "
                f"{alarms[1]} suspicious"
            )
            if taken and clean:
                scores = [[row[4].judgement.score for row in rows] for rows in (taken, clean)]
                print("  AUROC {:.3f} ({:.3f} to {:.3f})".format(*auroc(*scores)))


def judge_again(family: Path, out: Path) -> None:
    """Judge every scan anew; where its weights were not compared, compare them."""
    moved: dict[tuple[str, str], Weights] = {}
    for folder in sorted(out.iterdir()):
        if not (folder / SCAN_FILE).is_file():
            continue
        name, kind, _ = folder.name.rsplit(".", 2)
        scan = read_scan(folder / SCAN_FILE)
        stages = scan.stages
        if stages.weights is None and kind != "none":
            if (name, kind) not in moved:
                moved[name, kind] = distance(family, name, kind)
            stages = stages.model_copy(update={"weights": moved[name, kind]})
        judgement = judge(
            stages, held_out=scan.held_out, classes=len(scan.classes),
            suspect=scan.suspect, reference=scan.reference,
        )  # fmt: skip
        scan = scan.model_copy(update={"stages": stages, "judgement": judgement})
        (folder / SCAN_FILE).write_bytes(scan_json(scan))


def distance(family: Path, name: str, kind: str) -> Weights:
    """How far the encoders are from those of the reference."""
    reference = reference_of(family, name, kind)
    assert reference is not None
    first, second = (open_checkpoint(p).inspection for p in (reference, place(family, name)))
    towers = by_tower(list(compare_checkpoints(first, second, lambda: False)))
    image, text = (tower.relative for tower in towers[:2])
    return Weights(image=image, text=text, most=())


def calibrate(family: Path, out: Path) -> None:
    """Write what scans with the first seed said of clean models, by kind of scan."""
    said: dict[str, list[str]] = {}
    for folder in sorted(out.iterdir()):
        name, _, seed = folder.name.rsplit(".", 2)
        if seed == "0" and planted(family, name) is None and (folder / SCAN_FILE).is_file():
            scan = read_scan(folder / SCAN_FILE)
            said.setdefault(json.dumps(kind_of(scan)), []).append(scan.judgement.verdict)
    with safe_open(place(family, "twin"), "pt") as file:
        config = json.loads(file.metadata()["open_clip_config"])["model_cfg"]
    table = [
        {
            "vision_cfg": config["vision_cfg"], "kind": json.loads(kind),
            "said": {"scans": len(verdicts)}
            | {name: verdicts.count(name) for name in ("found", "suspicious")},
        }
        for kind, verdicts in said.items()
    ]  # fmt: skip
    path = ROOT / "resources" / "scan" / "clean_models.json"
    path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("family", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", choices=FAMILY, default=list(FAMILY))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    kinds = ("parent", "other", "none")
    parser.add_argument("--references", nargs="*", choices=kinds, default=["parent"])
    parser.add_argument("--stages", default=",".join(USUAL))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--calibrate", action="store_true")
    args = parser.parse_args()
    family, out = args.family.resolve(), args.out.resolve()
    for name in [] if args.judge or args.table or args.calibrate else args.only:
        if not place(family, name).exists():
            continue
        for kind in args.references:
            reference = None if kind == "none" else reference_of(family, name, kind)
            if kind != "none" and (reference is None or not reference.exists()):
                continue
            for seed in args.seeds:
                folder = out / f"{name}.{kind}.{seed}"
                if (folder / SCAN_FILE).is_file():
                    continue
                spec = ScanSpec(
                    checkpoint=str(place(family, name)),
                    reference=None if reference is None else str(reference),
                    images=ImageSpec(seed=seed), stages=tuple(args.stages.split(",")),
                    seed=seed, output_dir=str(folder), threads=args.threads,
                )  # fmt: skip
                done = [event for event in run_job(spec, Control()) if isinstance(event, Done)][-1]
                if done.error:
                    print(name, kind, seed, done.error, done.details, flush=True)
                else:
                    scan = read_scan(folder / SCAN_FILE)
                    print(line(name, kind, seed, planted(family, name), scan), flush=True)
    if args.judge:
        judge_again(family, out)
    if args.table:
        table(family, out)
    if args.calibrate:
        calibrate(family, out)


if __name__ == "__main__":
    main()
