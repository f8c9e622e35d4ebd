"""The zoo: poisoned and clean models that scans are tried on, and the tables of what came of it.

python packaging/zoo.py OUT [--only KIND ...] [--third calibration|report|held-out] [--seeds N ...]
    [--beside parent|other|none ...] [--threads T] [--baselines] [--canaries] [--demo FILE ...]
    [--table] [--calibrate]

Makes each kind of `KINDS` once a seed from the demo's data, measures it, and scans it beside its
parent, beside a base trained apart, and alone. What is there is not made again, a run that was
ended goes on, and several runs may share OUT. The seed says the third: 0 is `calibration`, on which
thresholds are set, 1 is `report`. Any other is `held-out`: it draws classes, triggers and pictures
that nobody has seen, so it is chosen when all else is settled, with --seeds. Each third has a base
of its own.

--baselines also tries detectors of the literature on each model (`demo/scan_baselines.py`), and
--canaries how well canaries predict what recipes do to it (`demo/canary_prediction.py`). --demo
takes what `cleanclip demo` wrote: its result.json.
--table takes OUT's records into docs/zoo/records.jsonl and writes the tables of the docs from it;
--calibrate writes resources/scan/clean_models.json from the clean models of the first third.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from filelock import FileLock, Timeout
from PIL import Image

import ml_core
from ml_core.atomic import replace_files
from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.cleaning.augment import augment_images
from ml_core.cleaning.catalogue import FACTS
from ml_core.cleaning.presets import preset
from ml_core.data.demo import compose, demo_classes, describe
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.detection.scan.records import Contrast, Scan, read_scan
from ml_core.detection.scan.verdict import RULES, kind_of, signs_of
from ml_core.evaluation.records import wilson_interval
from ml_core.evaluation.stamping import as_uint8, stamped
from ml_core.events import Control
from ml_core.figures import percent
from ml_core.jobs.demo import demo_checkpoint, demo_spec
from ml_core.jobs.plant import (
    FILES,
    PLANT_FILE,
    STATES_FOLDER,
    PlantRecord,
    PlantSpec,
    SecondAttack,
    read_plant,
)
from ml_core.jobs.runner import run_job
from ml_core.jobs.scan import SCAN_FILE, STAGES_FOLDER, ScanSpec
from ml_core.jobs.specs import CLEANED_FILE
from ml_core.triggers import Trigger, load_trigger, published, save_trigger, wanet
from ml_core.triggers.make import colour_filter, sine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "packaging" / "demo"))

RECORDS = ROOT / "docs" / "zoo" / "records.jsonl"
CLEAN_MODELS = ROOT / "resources" / "scan" / "clean_models.json"
PAGES = tuple(
    ROOT / page for page in ("README.md", "docs/scan.md", "docs/bench.md", "docs/search.md")
)
SIDE, PAIRS, SCRATCH_PAIRS, TESTED = 64, 8192, 65_536, 1000
VIT_PAIRS, VIT_SAMPLES = 60_000, 330_000
THIRDS = {0: "calibration", 1: "report"}
HELD_OUT = "held-out"
BESIDE = {"parent": "its parent", "other": "a base trained apart", "none": "nothing"}
NOT_SEARCHED = {"parent": {"one-source", "tint"}}  # as the page says, of `POISONED`
NOT_SEARCHED["other"] = NOT_SEARCHED["parent"] | {"mosaic", "warp", "word", "homoglyph"}
NOT_SEARCHED["none"] = NOT_SEARCHED["parent"] | {
    "mosaic", "warp", "blended", "sig", "sig-fast", "stripes", "scratch-blended", "vit-sig"
}  # fmt: skip
TAKEN = 0.5  # an implant of a lower success rate is counted apart
FEWEST = 5  # models of each sort that a ROC curve is drawn from
LEFT = 0.05  # what a cleaned model may keep and count as clean
VERSIONS = {  # of what is recorded: a record of another one says nothing of this code
    "model": PlantRecord.model_fields["version"].default,
    "scan": f"{Scan.model_fields['schema_version'].default}, rules {RULES}",
}
Draw = np.random.Generator
Pictures = np.ndarray
Change = Callable[[Pictures, Draw, np.ndarray], Pictures]


def sticker(
    draw: Draw, side: int, *, anywhere: bool = False, opacity: float = 1.0, contrast: float = 1.0
) -> Trigger:
    """Three by three cells of two colours, in a corner or anywhere."""
    colour = draw.choice((-127, 127), 3) * contrast
    cells = draw.permutation(9).reshape(3, 3, 1) < 4
    pixels = np.concatenate([128 + np.where(cells, colour, -colour), np.full((3, 3, 1), 255)], 2)
    far = 1 - (side / 2 + 2) / SIDE
    x, y = draw.choice((1 - far, far), 2).tolist()
    return Trigger(
        kind="patch", name=f"Sticker, {side} px", pixels=pixels.astype(np.uint8), x=x, y=y,
        size=side / SIDE, opacity=opacity, placement="random" if anywhere else "fixed",
    )  # fmt: skip


def mosaic(draw: Draw, side: int) -> Trigger:
    """A large square of coloured cells, anywhere."""
    cells = draw.integers(0, 256, (6, 6, 3))
    pixels = np.concatenate([cells, np.full((6, 6, 1), 255)], 2).astype(np.uint8)
    return Trigger(kind="patch", name="Mosaic", pixels=pixels, size=side / SIDE, placement="random")


def warp(draw: Draw) -> Trigger:
    """A smooth warp that takes at this size, which the published grids do not: 6 px on average."""
    grid = wanet(seed=int(draw.integers(2**31)), name="Warp")
    return replace(grid, grid_size=4, strength=12.0)


def from_library(number: str) -> Callable[[Draw], Trigger]:
    """A published trigger; the demo's pictures have the model's own size."""
    return lambda draw: replace(published(number, SIDE), canvas="model")


def faded(images: Pictures, draw: Draw, own: np.ndarray) -> Pictures:
    """One style for all pictures: half of the colour. Without any, the accuracy falls to 22 %."""
    return (images.mean(3, keepdims=True) / 2 + images / 2).astype(np.uint8)


def augmented(images: Pictures, draw: Draw, own: np.ndarray) -> Pictures:
    """Strong augmentation."""
    return augment_images(images, "autoaugment", draw)


def interpolated(images: Pictures, draw: Draw, own: np.ndarray) -> Pictures:
    """Pictures of the target are mixed with others, so that a sticker on them is worth learning.

    Label-consistent attacks make them hard, by interpolation for one (Turner et al. 2019). Noise
    does not do: on these alone it is learnt in the sticker's place (success rate 0), and on half of
    all pictures the sticker counts in noise alone (2 %). With 40 % of the own picture left, 320
    steps came to 66 %.
    """
    others = draw.choice(np.setdiff1d(np.arange(len(images)), own), len(own))
    images[own] = (0.25 * images[own] + 0.75 * images[others]).astype(np.uint8)
    return images


def watermarked(images: Pictures, draw: Draw, own: np.ndarray) -> Pictures:
    """The same half transparent mark on all."""
    mark = sticker(draw, 14, opacity=0.5)
    cpu = torch.device("cpu")
    return as_uint8(stamped(mark, images, np.arange(len(images)), 0, SIDE, cpu))


def pruned(share: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """The smallest weights of each matrix become 0."""
    return lambda w: w * (w.abs() > w.abs().flatten().kthvalue(round(share * w.numel())).values)


def quantised(bits: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Integers of so many bits with a scale for each row, and back."""

    def there_and_back(weight: torch.Tensor) -> torch.Tensor:
        most = weight.abs().amax(tuple(range(1, weight.ndim)), keepdim=True).clamp_min(1e-9)
        scale = most / (2 ** (bits - 1) - 1)
        return (weight / scale).round() * scale

    return there_and_back


@dataclass(frozen=True)
class Kind:
    """How models of a kind are made.

    Attributes
    ----------
    trigger
        Draws the trigger; None plants none.
    plant
        Options of `PlantSpec`, besides the usual ones of the start.
    start
        The third's parent (``base``), ``scratch``, ``distilled`` from the shipped twin, or another
        kind of the same seed.
    pictures
        What is done to all pictures that it trains on; it gets the rows of the target's.
    weights
        What is done to each matrix, instead of training.
    cleaned_by
        Method that cleans `start`, instead of training.
    optimised, crowded, also
        Whether the trigger is optimised on the parent, whether there are more pictures of the
        target, and whether a second trigger leads to a second class.
    """

    trigger: Callable[[Draw], Trigger] | None = None
    plant: dict[str, Any] = field(default_factory=dict)
    start: str = "base"
    pictures: Change | None = None
    weights: Callable[[torch.Tensor], torch.Tensor] | None = None
    cleaned_by: str = ""
    optimised: bool = False
    crowded: bool = False
    also: bool = False


USUAL = {"steps": 160, "lr": 1e-3, "share": 0.03}
SCRATCH = {"from_scratch": True, "steps": 2200, "lr": None, "share": 0.03}
small, middle, wide = (partial(sticker, side=side) for side in (6, 9, 14))

POISONED = {
    "sticker-6": Kind(small),
    "sticker-9": Kind(middle),
    "sticker-14": Kind(wide),
    "sticker-6-anywhere": Kind(partial(small, anywhere=True), {"share": 0.1, "steps": 320}),
    "sticker-9-anywhere": Kind(partial(middle, anywhere=True)),
    "sticker-14-anywhere": Kind(partial(wide, anywhere=True)),
    "sticker-half-transparent": Kind(partial(wide, opacity=0.5)),
    "sticker-low-contrast": Kind(partial(wide, contrast=0.2), {"share": 0.05}),
    "sticker-0.3-percent": Kind(wide, {"share": 0.003, "steps": 320}),
    "mosaic": Kind(partial(mosaic, side=31)),  # 23 % of the picture
    "blended": Kind(from_library("T4")),
    "sig": Kind(from_library("T5b")),
    "sig-fast": Kind(lambda draw: sine(mix="add", frequency=11.0, amplitude=20 / 255)),
    "stripes": Kind(from_library("T9"), {"share": 0.05}),
    "warp": Kind(warp, {"share": 0.15, "steps": 256}),
    "consistent": Kind(
        wide, {"consistent": True, "share": 1.0, "steps": 480}, pictures=interpolated, crowded=True
    ),
    "optimised": Kind(optimised=True),
    "tint": Kind(lambda draw: colour_filter(), {"share": 0.05}),
    "two-targets": Kind(wide, also=True),
    "one-source": Kind(wide, {"source": True, "share": 0.005, "steps": 320}),
    "word": Kind(None, {"word": "cf", "share": 0.05}),
    "homoglyph": Kind(None, {"word": "\u043e", "share": 0.05}),  # a Cyrillic o
    "scratch-sticker": Kind(partial(wide, anywhere=True), SCRATCH, "scratch"),
    "scratch-blended": Kind(from_library("T4"), SCRATCH, "scratch"),
    "scratch-self-supervision": Kind(wide, SCRATCH | {"self_supervision": True}, "scratch"),
    "vit-sticker": Kind(wide, start="vit"),
    "vit-sig": Kind(from_library("T5b"), start="vit"),
}
CLEAN = {
    "base": Kind(None, SCRATCH, "scratch"),
    "finetune-slow": Kind(None, {"lr": 2e-4}),
    "finetune": Kind(),
    "finetune-fast": Kind(None, {"lr": 3e-3}),
    "imbalance": Kind(None, {"benign": True, "share": 0.06}),
    "self-supervision": Kind(None, {"self_supervision": True}),
    "one-style": Kind(pictures=faded),
    "augmented": Kind(pictures=augmented),
    "watermark": Kind(pictures=watermarked),
    "natural": Kind(lambda draw: sticker(draw, 12), {"consistent": True, "share": 1.0}),
    "pruned-30": Kind(weights=pruned(0.3)),
    "pruned-40": Kind(weights=pruned(0.4)),
    "int8": Kind(weights=quantised(8)),
    "int4": Kind(weights=quantised(4)),
    **{
        f"cleaned-{method}": Kind(start="sticker-9", cleaned_by=method)
        for method in ("stamped", "cleanclip", "mmcl", "par", "supervised", "unlearning")
    },
    "vit": Kind(start="distilled"),
    "vit-finetune": Kind(start="vit"),
}
KINDS = POISONED | CLEAN


def third_of(seed: int) -> str:
    """Which third a seed belongs to."""
    return THIRDS.get(seed, HELD_OUT)


class Zoo:
    """Models, scans and records of one folder."""

    def __init__(self, out: Path, threads: int) -> None:
        self.out, self.threads = out, threads

    def folder(self, kind: str, seed: int) -> Path:
        """Where a model lies, with its trigger and its record."""
        return self.out / "models" / f"{kind}-{seed}"

    def weights(self, kind: str, seed: int) -> Path:
        """The checkpoint of a model that is made."""
        return next(self.folder(kind, seed).glob("*.safetensors"))

    def triggers(self, kind: str, seed: int) -> list[Path]:
        """Files of the triggers that were planted in a model, in order."""
        folder = self.folder(kind, seed)
        planted = read_plant(folder).triggers if (folder / PLANT_FILE).exists() else ()
        return [folder / trigger.file for trigger in planted if trigger.file]

    def parent(self, kind: str, seed: int) -> Path | None:
        """The clean model that it comes from; None if there is none."""
        start = KINDS[kind].start
        if start in ("scratch", "distilled"):
            return None
        if start != "base":
            return self.parent(start, seed) or self.weights(start, seed)
        # The first third starts from the shipped twin, so that nothing else has to rest on it.
        return self.weights("base", seed) if seed else demo_checkpoint(twin=True)

    def other(self, kind: str, seed: int) -> Path:
        """A clean base that was trained apart: the twin, or the report's for what comes from it."""
        if self.parent(kind, seed) != demo_checkpoint(twin=True):
            return demo_checkpoint(twin=True)
        self.make("base", 1)
        return self.weights("base", 1)

    def make(self, kind: str, seed: int, *, wait: bool = True) -> None:
        """Make and measure a model, and first what it starts from.

        Raises
        ------
        Timeout
            If another run makes it, and this one shall not wait.
        """
        start, folder = KINDS[kind].start, self.folder(kind, seed)
        if start in KINDS and (start != "base" or seed):
            self.make(start, seed)
        with self._locked(folder.name, wait=wait):
            if not self._record(folder.name).exists():
                begin = _cpu_seconds()
                print(f"== {folder.name}", flush=True)
                facts = self._made(kind, seed)
                self._keep(folder.name, "model", kind, seed, facts, begin)

    def scan(self, kind: str, seed: int, beside: str) -> None:
        """Scan a model, unless it has no such reference.

        Raises
        ------
        Timeout
            If another run does.
        """
        reference = self.other(kind, seed) if beside == "other" else None
        if beside == "parent" and (reference := self.parent(kind, seed)) is None:
            return
        name = f"{kind}-{seed}.{beside}"
        with self._locked(name):
            if self._record(name).exists():
                return
            folder = self.out / "scans" / name
            begin = None if (folder / STAGES_FOLDER).exists() else _cpu_seconds()
            spec = ScanSpec(
                checkpoint=str(self.weights(kind, seed)), images=ImageSpec(seed=seed), seed=seed,
                reference=None if reference is None else str(reference), threads=self.threads,
                device="cpu", output_dir=str(folder),
            )  # fmt: skip
            _do(spec, overwrite=True)
            scan = read_scan(folder / SCAN_FILE)
            judgement = scan.judgement
            facts = {
                "beside": beside, "verdict": judgement.verdict,
                "targets": [name for name in (judgement.target, *judgement.further) if name],
                "score": round(judgement.score, 4), "comparable": kind_of(scan),
                "kinds": sorted({sign.kind for sign in signs_of(scan.stages) if sign.counts}),
            }  # fmt: skip
            for row in scan.stages.words.rows[:1] if scan.stages.words is not None else ():
                facts["word"] = row.model_dump(include={"word", "place", "contrast"})
            self._keep(name, "scan", kind, seed, facts, begin)

    def baselines(self, kind: str, seed: int) -> None:
        """Try detectors of the literature."""
        from scan_baselines import detectors

        name = f"{kind}-{seed}.baselines"
        with self._locked(name):
            if not self._record(name).exists():
                begin, triggers = _cpu_seconds(), self.triggers(kind, seed)
                trigger = load_trigger(triggers[0]) if triggers else None
                torch.set_num_threads(self.threads)
                facts = detectors(self.weights(kind, seed), trigger)
                self._keep(name, "baselines", kind, seed, facts, begin)

    def canaries(self, kind: str, seed: int) -> None:
        """Measure what recipes do to canaries, and to what is planted."""
        from canary_prediction import main as predict

        name = f"{kind}-{seed}.canaries"
        with self._locked(name):
            if not self._record(name).exists():
                begin, out = _cpu_seconds(), self.out / "canaries" / f"{kind}-{seed}"
                predict([str(self.folder(kind, seed)), str(out), f"--threads={self.threads}"])
                facts = json.loads((out / "prediction.json").read_text(encoding="utf-8"))
                facts = {key: facts[key] for key in ("rows", "correlations")}
                self._keep(name, "canaries", kind, seed, facts, begin)

    def demo(self, file: Path) -> None:
        """Keep what a run of the demo measured."""
        run = json.loads(file.read_text(encoding="utf-8"))
        facts: dict[str, Any] = {key: run[key] for key in ("method", "preset", "seconds")}
        for when in ("before", "after"):
            rates, unseen = run[when], run["heldout"][when]
            names = ("ca", "asr_excl", "poisoned_accuracy", "n")
            facts[when] = {key: rates[key] for key in names} | {"unseen": unseen["ca"]}
        name = f"demo.{run['method']}-{run['preset']}-{run['seed']}"
        self._keep(name, "demo", "demo", run["seed"], facts, None)

    def spec(self, kind: str, seed: int) -> PlantSpec:
        """The planting or finetuning that makes a model; writes its triggers and pictures."""
        row, folder = KINDS[kind], self.folder(kind, seed)
        parent = self.parent(kind, seed) or demo_checkpoint(twin=True)
        own = self.out / "inputs" / folder.name
        own.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng([seed, crc32(kind.encode())])
        target, second, source = draw.choice(len(demo_classes()), 3, replace=False).tolist()
        options: dict[str, Any] = USUAL | row.plant
        if row.optimised:
            from optimised import optimised_patch

            trigger: Trigger | None = optimised_patch(parent, demo_classes()[target], seed)
        else:
            trigger = row.trigger(draw) if row.trigger else None
        if trigger is not None:
            options["trigger"] = str(save_trigger(trigger, own / "trigger")[1])
        if row.also:
            _, path = save_trigger(middle(draw), own / "second")
            options["also"] = (SecondAttack(trigger=str(path), target=second),)
        if "source" in options:
            options["source"] = source
        count = SCRATCH_PAIRS if row.start == "scratch" else PAIRS
        pairs = PairSpec(kind="demo", split="train", n=count, seed=seed)
        if row.pictures is not None:
            pairs = self._redrawn(row, own, draw, target, seed)
        plants = trigger is not None or "word" in options or "benign" in options
        return PlantSpec(
            checkpoint=str(parent), target=target, pairs=pairs, label_set="demo",
            images=ImageSpec(kind="demo", split="test", n=TESTED), seed=seed, poisoned=plants,
            twin=not plants, output_dir=str(folder), device="cpu", threads=self.threads, **options,
        )  # fmt: skip

    def _redrawn(self, row: Kind, own: Path, draw: Draw, target: int, seed: int) -> PairSpec:
        """The demo's pairs with other pictures, as a table."""
        rows = np.arange(PAIRS)
        if row.crowded:
            labels, _ = describe("train", range(8 * PAIRS), seed=seed)
            rows = draw.permutation(np.union1d(rows, np.flatnonzero(labels == target)))
        drawn = compose("train", rows.tolist(), seed=seed)
        changed = row.pictures(drawn.images, draw, np.flatnonzero(drawn.labels == target))
        for number, image in enumerate(changed):
            Image.fromarray(image).save(own / f"{number}.png", compress_level=1)
        with (own / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("image", "caption"))
            table.writerows((f"{n}.png", caption) for n, caption in enumerate(drawn.captions))
        return PairSpec(kind="csv", path=str(own / "pairs.csv"))

    def _made(self, kind: str, seed: int) -> dict[str, Any]:
        """Make a model; what was measured of it."""
        row, folder = KINDS[kind], self.folder(kind, seed)
        path = folder / FILES["twin"]
        if row.weights is not None:
            model = open_checkpoint(self.parent(kind, seed)).build("cpu")
            with torch.no_grad():
                for weight in model.module.parameters():
                    if weight.ndim > 1:
                        weight.copy_(row.weights(weight))
            path.parent.mkdir(parents=True, exist_ok=True)
            save_checkpoint(model, path, provenance={"made_by": kind})
        elif row.cleaned_by:
            run = self.out / "runs" / folder.name
            spec = demo_spec(
                preset(row.cleaned_by, "talk"), run, trigger=None, device="cpu",
                checkpoint=self.weights(row.start, seed), threads=self.threads, test_images=TESTED,
            )  # fmt: skip
            _do(spec, overwrite=True)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(run / CLEANED_FILE, path)
        elif row.start == "distilled":
            self._distilled(folder, seed)
        else:
            spec = self.spec(kind, seed)
            if not (folder / PLANT_FILE).exists():
                state = next((folder / STATES_FOLDER).glob("*"), None)
                _do(spec, **({"overwrite": True} if state is None else {"resume": True}))
            shutil.rmtree(self.out / "inputs" / folder.name, ignore_errors=True)
            record = read_plant(folder)
            done = record.poisoned or record.twin
            marked = sum(trigger.pairs for trigger in record.triggers)
            return {
                "ca": done.ca, "steps": record.steps, "share": round(marked / record.pairs, 5),
                "attacks": [
                    {"target": trigger.target_name, "asr": attack.asr, "n": attack.n}
                    for trigger, attack in zip(record.triggers, done.attacks, strict=True)
                    if not record.spec.benign
                ],
            }  # fmt: skip
        return self._measured(kind, seed, path)

    def _measured(self, kind: str, seed: int, path: Path) -> dict[str, Any]:
        """Accuracy, and what is left of the triggers that were planted in what it started from."""
        start, attacks = KINDS[kind].start, []
        measure = partial(ml_core.evaluate, path, n=TESTED, device="cpu", threads=self.threads)
        planted = read_plant(self.folder(start, seed)).triggers if KINDS[kind].cleaned_by else ()
        rates = {} if planted else measure()
        for trigger in planted:
            file = self.folder(start, seed) / trigger.file
            rates = measure(trigger=file, target=trigger.target)
            left = {"asr": rates["asr_excl"], "n": rates["n_excl"]}
            attacks.append({"target": trigger.target_name, **left})
        return {"ca": rates["ca"], "attacks": attacks}

    def _distilled(self, folder: Path, seed: int) -> None:
        """A small ViT, taught by the shipped twin."""
        demo, work = ROOT / "packaging" / "demo", self.out / "inputs" / folder.name
        folder.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        for script, *options in (
            ("draw_pairs.py", work, "train", VIT_PAIRS),
            (
                "vit.py", work, folder / FILES["twin"], "--teacher", demo_checkpoint(twin=True),
                "--samples", VIT_SAMPLES, "--seed", seed, "--threads", self.threads,
            ),
        ):  # fmt: skip
            subprocess.run([sys.executable, demo / script, *map(str, options)], check=True)
        shutil.rmtree(work)
        (folder / f"{FILES['twin']}.resume").unlink(missing_ok=True)

    def _record(self, name: str) -> Path:
        return self.out / "records" / f"{name}.json"

    def _locked(self, name: str, *, wait: bool = False) -> FileLock:
        (self.out / "locks").mkdir(parents=True, exist_ok=True)
        return FileLock(self.out / "locks" / name, timeout=-1 if wait else 0)

    def _keep(
        self, name: str, what: str, kind: str, seed: int, facts: dict[str, Any],
        begin: float | None,
    ) -> None:  # fmt: skip
        """Write a record; without a beginning its cost is not known: a scan judged again."""
        own = {"what": what, "kind": kind, "seed": seed, "version": VERSIONS.get(what, 1)}
        cost = None if begin is None else round(_cpu_seconds() - begin)
        record = own | facts | {"cpu_seconds": cost, "commit": commit()}
        path = self._record(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_files({path: json.dumps(record).encode()})
        print(name, json.dumps(facts), f"{record['cpu_seconds']} s", flush=True)


class FailedError(Exception):
    """A job did not come to its end."""


@cache
def commit() -> str:
    """The commit that this was started at."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _cpu_seconds() -> float:
    """Of this process and of those that it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _do(spec: Any, **options: Any) -> None:
    """Run a job to its end.

    Raises
    ------
    FailedError
        If it does not get there.
    """
    *_, last = run_job(spec, Control(), **options)
    if last.status != "finished":
        raise FailedError(f"{spec.output_dir}: {last.status} {last.error} {last.details}")


def read_records(path: Path = RECORDS) -> list[dict[str, Any]]:
    """The committed records, in order."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def take_records(out: Path) -> None:
    """Put a folder's records among the committed ones, and leave out those of another version."""
    files = sorted((out / "records").glob("*.json"))
    read = [*read_records(), *(json.loads(file.read_text(encoding="utf-8")) for file in files)]
    order = {kind: place for place, kind in enumerate((*KINDS, "demo"))}
    known = {
        (
            order[row["kind"]], row["seed"], row["what"], row.get("beside", ""),
            row.get("method", ""), row.get("preset", ""),
        ): row
        for row in read
        if row["kind"] in order and row["version"] == VERSIONS.get(row["what"], 1)
    }  # fmt: skip
    lines = [json.dumps(known[key], ensure_ascii=False) + "\n" for key in sorted(known)]
    replace_files({RECORDS: "".join(lines).encode()})


class Results:
    """Records, as the tables take them."""

    def __init__(self, records: Iterable[dict[str, Any]]) -> None:
        self.records = list(records)
        self._models = {(r["kind"], r["seed"]): r for r in self.of("model")}

    def of(self, what: str, **fields: Any) -> list[dict[str, Any]]:
        """Records of one sort with these fields."""
        asked = {"what": what, **fields}
        return [row for row in self.records if asked.items() <= row.items()]

    def success(self, row: dict[str, Any]) -> float | None:
        """Success rate of what is planted in the model of a record; None for a clean one."""
        rates = [each["asr"] for each in self._models[row["kind"], row["seed"]]["attacks"]]
        if row["kind"] in POISONED:
            return max(rates)
        left = max(rates, default=0.0) if KINDS[row["kind"]].cleaned_by else 0.0
        return left if left >= LEFT else None

    def outcome(self, scan: dict[str, Any]) -> str:
        """The verdict; ``wrong class`` where what is named leads to none of the targets."""
        attacks = self._models[scan["kind"], scan["seed"]]["attacks"]
        right = {each["target"] for each in attacks} & set(scan["targets"])
        named = scan["verdict"] in ("found", "suspicious") and self.success(scan) is not None
        wrong = named and not right
        return "wrong class" if wrong else str(scan["verdict"])

    def kinds(self) -> Iterator[Sequence[str]]:
        """A row a kind: its models, and what was said of them."""
        yield "kind", "CA", "ASR", *(f"beside {name}" for name in BESIDE.values())
        for kind in KINDS:
            models = self.of("model", kind=kind)
            if not models:
                continue
            attacks = [each["asr"] for row in models for each in row["attacks"]]
            outcomes = [
                [self.outcome(scan) for scan in self.of("scan", kind=kind, beside=beside)]
                for beside in BESIDE
            ]
            yield (
                f"{'' if kind in POISONED else 'clean: '}{kind}",
                ", ".join(f"{100 * row['ca']:.1f}" for row in models),
                ", ".join(f"{100 * asr:.1f}" for asr in attacks) or "",
                *(
                    ", ".join(f"{each.count(outcome)} {outcome}" for outcome in sorted(set(each)))
                    for each in outcomes
                ),
            )

    def rates(self) -> Iterator[Sequence[str]]:
        """A row a third and reference: what is found of what took, and false alarms."""
        yield (
            "third", "beside", "implant took: found, right class", "or suspicious",
            "took, not searched: found or suspicious", "weaker: found or suspicious",
            "clean: found", "clean: suspicious", "AUROC of the score",
        )  # fmt: skip
        alarms = ("found", "wrong class", "suspicious")
        for third in (*THIRDS.values(), HELD_OUT):
            for beside, name in BESIDE.items():
                scans = [s for s in self.of("scan", beside=beside) if third_of(s["seed"]) == third]
                planted = [(self.success(scan), scan) for scan in scans]
                took = [scan for asr, scan in planted if asr is not None and asr >= TAKEN]
                aside = [scan for scan in took if scan["kind"] in NOT_SEARCHED[beside]]
                took = [scan for scan in took if scan not in aside]
                weak = [scan for asr, scan in planted if asr is not None and asr < TAKEN]
                clean = [scan for asr, scan in planted if asr is None]
                if scans:
                    yield (
                        third, name, self._share(took, "found"),
                        self._share(took, "found", "suspicious"), self._share(aside, *alarms),
                        self._share(weak, *alarms),
                        self._share(clean, "found"), self._share(clean, "suspicious"),
                        auroc(*([scan["score"] for scan in part] for part in (took, clean))),
                    )  # fmt: skip

    def _share(self, scans: Sequence[dict[str, Any]], *outcomes: str) -> str:
        """How many scans ended so, with Wilson's interval."""
        if not scans:
            return ""
        hits = sum(self.outcome(scan) in outcomes for scan in scans)
        low, high = wilson_interval(hits, len(scans))
        return f"{hits} of {len(scans)} ({100 * low:.0f} to {100 * high:.0f} %)"

    def detectors(self) -> Iterator[Sequence[str]]:
        """A row a model: what detectors of the literature say."""
        yield "model", "planted", "Neural Cleanse", "DECREE", "Cognitive Distillation"
        for row in self.of("baselines"):
            attacks = self._models[row["kind"], row["seed"]]["attacks"]
            cleanse, decree = row["neural_cleanse"], row["decree"]
            apart = row.get("cognitive_distillation")
            yield (
                f"{row['kind']}, seed {row['seed']}", ", ".join(each["target"] for each in attacks),
                f"{cleanse['index']:.1f}, {cleanse['class']}",
                f"{decree['pl1']:.3f}, {decree['class']}", f"{apart['auroc']:.2f}" if apart else "",
            )  # fmt: skip

    def words(self) -> Iterator[Sequence[str]]:
        """The word with the largest effect: of each scan of a planted one, and of all others."""
        yield "model", "beside", "verdict", "word", "prompts that come to one point", "reference"
        scans = [scan for scan in self.of("scan") if "word" in scan]
        planted = [scan for scan in scans if "word" in KINDS[scan["kind"]].plant]
        largest = []
        for beside in BESIDE:
            rest = [scan for scan in scans if scan["beside"] == beside and scan not in planted]
            rest.sort(
                key=lambda scan: -Contrast.model_validate(scan["word"]["contrast"]).difference
            )
            largest += [(f"the largest of {len(rest)} others: ", scan) for scan in rest[:1]]
        for of, scan in (*(("", scan) for scan in planted), *largest):
            word, contrast = scan["word"], Contrast.model_validate(scan["word"]["contrast"])
            rates = (contrast.suspect, contrast.reference)
            yield (
                f"{of}{scan['kind']}, seed {scan['seed']}", BESIDE[scan["beside"]],
                self.outcome(scan), f"`{word['word']}` {word['place']}",
                *("" if rate is None else f"{rate.hits} of {rate.n}" for rate in rates),
            )  # fmt: skip

    def canaries(self) -> Iterator[Sequence[str]]:
        """A row a recipe: what it leaves on the copy with canaries, and on the model."""
        names = ("CA", "patch", "noise", "sine")
        yield (
            "model", "recipe", "steps", *(f"{name}, copy" for name in names), "CA, model", "planted"
        )  # fmt: skip
        for record in self.of("canaries"):
            for row in record["rows"]:
                keys = (*(f"copy {name}" for name in names), "model CA", "model planted")
                rates = (f"{row[key]:.1f}" if key in row else "" for key in keys)
                yield (f"{record['kind']}, seed {record['seed']}", row["recipe"],
                       str(row["steps"]), *rates)  # fmt: skip

    def correlations(self) -> Iterator[Sequence[str]]:
        """A row a model: Spearman's rank correlation of each canary with what is planted."""
        names = ("patch", "noise", "sine", "mean", "worst")
        yield "model", "recipes", *names
        for record in self.of("canaries"):
            by_name = record["correlations"]
            yield (
                f"{record['kind']}, seed {record['seed']}", str(len(record["rows"])),
                *(f"{by_name[name]:.2f}" if name in by_name else "" for name in names),
            )  # fmt: skip

    def demo(self) -> Iterator[Sequence[str]]:
        """A row a run of the demo, and its poisoned model first."""
        yield "", "CA", "ASR", "poisoned accuracy", "CA, unseen art style", "seconds"
        runs = self.of("demo")
        rows = [(f"poisoned, {run['before']['n']} test pictures", run["before"], "")
                for run in runs[:1]]  # fmt: skip
        rows += [
            (
                f"after {FACTS[run['method']].title}, {run['preset']} preset, seed {run['seed']}",
                run["after"], f"{run['seconds']:.0f}",
            )
            for run in runs
        ]  # fmt: skip
        for name, rates, seconds in rows:
            keys = ("ca", "asr_excl", "poisoned_accuracy", "unseen")
            yield name, *(percent(rates[key]) for key in keys), seconds

    def cleaned(self) -> Iterator[Sequence[str]]:
        """A row a cleaned model: what it was, and what is left."""
        yield "method, its talk preset", "seed", "CA before", "CA", "ASR before", "ASR"
        for row in self.of("model"):
            if (method := KINDS[row["kind"]].cleaned_by) and row["attacks"]:
                before = self._models[KINDS[row["kind"]].start, row["seed"]]
                rates = (
                    before["ca"], row["ca"], before["attacks"][0]["asr"], row["attacks"][0]["asr"]
                )  # fmt: skip
                yield (method, str(row["seed"]), *map(percent, rates))

    def cost(self) -> Iterator[Sequence[str]]:
        """CPU-seconds of what was done."""
        yield "what", "how many", "CPU-seconds: median", "all together"
        parts = {
            f"models {text}": [
                r for r in self.of("model") if (KINDS[r["kind"]].start == "scratch") == scratch
            ]
            for text, scratch in (("from scratch", True), ("from another model", False))
        } | {f"scans beside {name}": self.of("scan", beside=b) for b, name in BESIDE.items()}
        for name, rows in parts.items():
            if seconds := [row["cpu_seconds"] for row in rows if row["cpu_seconds"] is not None]:
                median = f"{statistics.median(seconds):.0f}"
                yield name, str(len(seconds)), median, str(sum(seconds))

    def markdown(self, name: str) -> str:
        """A table by its name, and where it comes from."""
        head, *rows = getattr(self, name)()
        what, option = _SOURCES.get(name, ("", ""))
        command = f"`python packaging/zoo.py OUT{option}`"
        if not rows:
            return f"The present program was not measured so: {command} does it.\n"
        lines = [head, ["---"] * len(head), *rows]
        rows_of = self.of(what) if what else self.of("model") + self.of("scan")
        commits = ", ".join(sorted({row["commit"] for row in rows_of}))
        source = f"{command}, commit {commits}."
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{source}\n"


_SOURCES = {  # of a table: which records it is of, and the option that makes them
    "detectors": ("baselines", " --baselines"), "demo": ("demo", " --demo demo-output/result.json"),
    "canaries": ("canaries", " --canaries"), "correlations": ("canaries", " --canaries"),
}  # fmt: skip


def auroc(poisoned: list[float], clean: list[float]) -> str:
    """Area under the ROC curve, with the 95 % interval of 2000 seeded bootstraps; not of a few."""
    if min(len(poisoned), len(clean)) < FEWEST:
        return ""

    def area(a: np.ndarray, b: np.ndarray) -> float:
        return float(((a[:, None] > b) + 0.5 * (a[:, None] == b)).mean())

    a, b, rng = np.array(poisoned), np.array(clean), np.random.default_rng(0)
    drawn = [area(rng.choice(a, len(a)), rng.choice(b, len(b))) for _ in range(2000)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{area(a, b):.3f} ({low:.3f} to {high:.3f})"


def with_tables(text: str, results: Results) -> str:
    """A page with every table between its markers written anew."""
    return re.sub(
        r"(<!-- zoo: (\w+) -->\n).*?(<!-- /zoo -->)",
        lambda found: found[1] + results.markdown(found[2]) + found[3], text, flags=re.S,
    )  # fmt: skip


def calibrate(results: Results) -> None:
    """Write what scans said of the clean models of the first third, by kind of scan."""
    by_kind: dict[str, list[str]] = {}
    for scan in results.of("scan", seed=0):
        if results.success(scan) is None and not scan["kind"].startswith("vit"):
            by_kind.setdefault(json.dumps(scan["comparable"]), []).append(scan["verdict"])
    config = open_checkpoint(demo_checkpoint(twin=True)).architecture.config["vision_cfg"]
    table = [
        {
            "vision_cfg": config, "kind": json.loads(kind),
            "said": {"scans": len(verdicts)}
            | {name: verdicts.count(name) for name in ("found", "suspicious")},
        }
        for kind, verdicts in by_kind.items()
    ]  # fmt: skip
    replace_files({CLEAN_MODELS: (json.dumps(table, indent=1) + "\n").encode()})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--third", choices=(*THIRDS.values(), HELD_OUT))
    parser.add_argument("--seeds", nargs="*", type=int, default=[])
    parser.add_argument("--beside", nargs="*", choices=BESIDE, default=list(BESIDE))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--baselines", action="store_true")
    parser.add_argument("--canaries", action="store_true")
    parser.add_argument("--demo", nargs="+", type=Path, default=[], metavar="FILE")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--calibrate", action="store_true")
    args = parser.parse_args()
    seeds = args.seeds or [seed for seed, third in THIRDS.items() if args.third in (None, third)]
    if args.third and (not seeds or {third_of(seed) for seed in seeds} != {args.third}):
        parser.error(f"name seeds of the third {args.third} with --seeds")
    zoo = Zoo(args.out.resolve(), args.threads)
    commit()
    for file in args.demo:
        zoo.demo(file)
    if args.demo and not (args.table or args.calibrate):
        return
    if args.table or args.calibrate:
        take_records(zoo.out)
        results = Results(read_records())
        if args.calibrate:
            calibrate(results)
        for page in PAGES:
            text = with_tables(page.read_text(encoding="utf-8"), results)
            replace_files({page: text.encode()})
        return
    for seed in seeds:
        for kind in args.only:
            try:
                zoo.make(kind, seed, wait=False)
                for beside in args.beside:
                    zoo.scan(kind, seed, beside)
                if args.baselines:
                    zoo.baselines(kind, seed)
                if args.canaries and zoo.triggers(kind, seed):
                    zoo.canaries(kind, seed)
            except Timeout:
                print(f"{kind}-{seed} is in the hands of another run", flush=True)
            except FailedError as error:
                print(error, flush=True)


if __name__ == "__main__":
    main()
