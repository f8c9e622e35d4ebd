"""A job of each kind that takes a second or two, for tests over the whole table of jobs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel

from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.jobs.audit import AuditSpec
from ml_core.jobs.auto import AutoSpec
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.doctor import DoctorSpec
from ml_core.jobs.examination import ExamineSpec
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.jobs.plant import CurveSpec, PlantSpec
from ml_core.jobs.proofs import HoldoutSpec, ReboundSpec
from ml_core.jobs.rates import RateSpec
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.scan import ScanSettings, ScanSpec, Stage
from ml_core.jobs.search import SearchSpec
from ml_core.jobs.search.canary_spec import CanarySettings
from ml_core.jobs.specs import BenchSpec
from ml_core.jobs.verify import VerifySpec
from ml_core.triggers import badnets_patch, save_trigger
from tests.unit.draining import finished
from tests.unit.small_jobs import TEMPLATES, small_recipe, small_spec

_HERE: dict[str, Any] = {"device": "cpu", "threads": 1}
CANARIES = CanarySettings(kinds=("patch", "sine"), share=0.2, steps=2, batch_size=8, wanted=0.0)


def folder_of(spec: BaseModel) -> Path:
    """Where a job writes what it leaves."""
    base = getattr(spec, "base", spec)
    for name in ("output_dir", "out", "bundle"):
        if hasattr(base, name):
            return Path(getattr(base, name))
    raise AssertionError(f"{type(spec).__name__} names no folder")


def _trigger(folder: Path) -> str:
    return str(save_trigger(badnets_patch(size=0.3), folder / "patch")[1])


def _clean(source: Path, folder: Path, **changes: Any) -> Any:
    recipe = small_recipe(eval_every=3)
    watched = {"images": ImageSpec(split="val", n=24)} | changes
    return small_spec(source, folder / "out", recipe, **watched)


def _bench(source: Path, folder: Path) -> BenchSpec:
    recipes = (small_recipe(method="mmcl", pairs=16), small_recipe(method="mmcl", pairs=24))
    return BenchSpec(base=_clean(source, folder), recipes=recipes)


def _auto(source: Path, folder: Path) -> AutoSpec:
    base = _clean(source, folder, trigger=_trigger(folder))
    scan = ScanSettings(search=32, held_out=128, starts=2, stages=("pull",), anyway=True)
    return AutoSpec(base=base, scan=scan, scan_images=ImageSpec(), rounds=1, rebound_steps=2)


def _audit(source: Path, folder: Path) -> AuditSpec:
    pictures = folder / "set"
    pictures.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    lines = ["image,caption"]
    for number in range(24):
        pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(pictures / f"{number:02d}.png")
        lines.append(f"{number:02d}.png,thing number {number}")
    (pictures / "pairs.csv").write_text("\n".join(lines) + "\n")
    return AuditSpec(
        checkpoint=str(source), pairs=PairSpec(kind="csv", path=str(pictures / "pairs.csv")),
        images=(ImageSpec(n=24),), k=4, worst=7, batch_size=8, output_dir=str(folder / "out"),
        **_HERE,
    )  # fmt: skip


def _scan(source: Path, folder: Path) -> ScanSpec:
    return ScanSpec(
        checkpoint=str(source), images=ImageSpec(), search=32, held_out=128, starts=2,
        stages=("pull", "probes"), anyway=True, output_dir=str(folder / "out"), **_HERE,
    )  # fmt: skip


def _examine(source: Path, folder: Path) -> ExamineSpec:
    scan = ScanSettings(search=32, held_out=128, starts=2, stages=("pull", "probes"), anyway=True)
    return ExamineSpec(
        checkpoint=str(source), images=ImageSpec(), scan=scan, auto=_auto(source, folder),
        output_dir=str(folder / "out"), **_HERE,
    )  # fmt: skip


def _rebound(source: Path, folder: Path) -> ReboundSpec:
    return ReboundSpec(
        checkpoint=str(source), pairs=PairSpec(kind="demo", split="clean", seed=5, n=200),
        images=ImageSpec(n=36), trigger=_trigger(folder), templates=TEMPLATES,
        output_dir=str(folder / "out"), steps=4, batch_size=6, every=2, factors=(0.1, 1.0),
        **_HERE,
    )  # fmt: skip


def _holdouts(source: Path, folder: Path) -> HoldoutSpec:
    return HoldoutSpec(
        before=str(source), after=str(source), images=ImageSpec(n=12), trigger=_trigger(folder),
        templates=TEMPLATES, output_dir=str(folder / "out"), **_HERE,
    )  # fmt: skip


def _plant(source: Path, folder: Path) -> PlantSpec:
    return PlantSpec(
        checkpoint=str(source), pairs=PairSpec(split="train"), images=ImageSpec(n=24),
        trigger=_trigger(folder), target=1, templates=TEMPLATES, count=6, steps=6, batch_size=8,
        output_dir=str(folder / "out"), **_HERE,
    )  # fmt: skip


def _curve(source: Path, folder: Path) -> CurveSpec:
    base = _plant(source, folder).model_copy(update={"count": None})
    return CurveSpec(base=base, counts=(2, 9))


def _search(source: Path, folder: Path) -> SearchSpec:
    recipes = tuple(small_recipe(method="mmcl", lr=lr) for lr in (1e-3, 1e-4))
    return SearchSpec(base=_clean(source, folder), recipes=recipes, images=16, canaries=CANARIES)


def _rates(source: Path, folder: Path) -> RateSpec:
    return RateSpec(
        job=_clean(source, folder, test_images=None), steps=10, points=2, pictures=20, low=1e-6,
        high=1e-3, output_dir=str(folder / "out"),
    )  # fmt: skip


def _measurement(source: Path, folder: Path) -> MeasurementSpec:
    return MeasurementSpec(
        checkpoint=str(source), images=ImageSpec(n=24), trigger=_trigger(folder), target=2,
        output_dir=str(folder / "out"), **_HERE,
    )  # fmt: skip


DEMO_STAGES: tuple[Stage, ...] = ("pull", "probes", "patches", "words", "swap", "weights")


def demo_scan(out: Path, **changes: Any) -> ScanSpec:
    """The demo's poisoned model beside its twin, with few pictures."""
    asked = {
        "checkpoint": str(demo_checkpoint()), "reference": str(demo_checkpoint(twin=True)),
        "images": ImageSpec(), "search": 32, "held_out": 128, "starts": 5,
        "stages": ("patches",), "output_dir": str(out),
    }  # fmt: skip
    return ScanSpec(**(asked | _HERE | changes))


_PLACE = tempfile.TemporaryDirectory()


def _copied(name: str, source: Path, folder: Path) -> Path:
    """A measurement or a bundle of it, which are made once for all tests."""
    place = Path(_PLACE.name)
    if not (place / name).exists():
        checkpoint = shutil.copy(source, place)
        if name == "measured":
            spec = _measurement(Path(checkpoint), place)
            finished(spec.model_copy(update={"output_dir": str(place / name)}))
        else:
            finished(_report(source, place).model_copy(update={"out": str(place / name)}))
    if folder != place:
        shutil.copytree(place / name, folder / name)
    return folder / name


def _report(source: Path, folder: Path) -> ReportSpec:
    return ReportSpec(
        measurements=(str(_copied("measured", source, folder)),), out=str(folder / "out.evidence"),
        tau_pictures=8, thumbnails=False, **_HERE,
    )  # fmt: skip


def _verify(source: Path, folder: Path) -> VerifySpec:
    bundle = _copied("bundle.evidence", source, folder)
    return VerifySpec(bundle=str(bundle), checkpoints=(str(source),), sample=8, seed=1, **_HERE)


SMALL: Mapping[str, Callable[[Path, Path], BaseModel]] = {
    "clean": _clean,
    "auto": _auto,
    "bench": _bench,
    "doctor": lambda source, folder: DoctorSpec(
        checkpoint=str(source), images=ImageSpec(split="val", n=40), **_HERE
    ),
    "audit": _audit,
    "examine": _examine,
    "report": _report,
    "rebound": _rebound,
    "holdouts": _holdouts,
    "scan": _scan,
    "plant": _plant,
    "curve": _curve,
    "search": _search,
    "measurement": _measurement,
    "verify": _verify,
    "rates": _rates,
}
"""From a checkpoint and a folder to a spec of each kind; its work goes into ``out`` there."""
