"""The built-in demo as a job: its files, target, data and splits. Torch-free."""

from __future__ import annotations

import filecmp
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ml_core.checkpoints import Checkpoint
from ml_core.cleaning.presets import preset
from ml_core.cleaning.pretraining import DEMO, Pretraining, pretraining_of, with_parent
from ml_core.cleaning.recipes import Recipe
from ml_core.data.demo_text import TARGET_NAME
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.jobs.auto import AutoSpec
from ml_core.jobs.examination import ExamineSpec
from ml_core.jobs.scan import ScanSettings
from ml_core.jobs.specs import CleanSpec
from ml_core.paths import resource
from ml_core.reading.errors import InputError

TEST_IMAGES = 4000
HELDOUT_IMAGES = 1000
VALIDATION_IMAGES = 512
WATCHED_IMAGES = 500


def demo_checkpoint(twin: bool = False) -> Path:
    """The poisoned checkpoint of the demo, or its clean twin.

    Raises
    ------
    InputError
        If the installation lacks it.
    """
    name = "clean_twin.safetensors" if twin else "poisoned.safetensors"
    try:
        return resource("demo", name)
    except FileNotFoundError as error:
        raise InputError(str(error)) from error


def twin_for(suspect: Path) -> str | None:
    """The demo's clean twin where the suspect is the demo's checkpoint, or a copy of it."""
    shipped = demo_checkpoint()
    with suppress(OSError):  # what cannot be read is none
        if suspect.is_file() and filecmp.cmp(suspect, shipped, shallow=False):
            return str(demo_checkpoint(twin=True))
    return None


def measured_parts(images: ImageSpec, n: int) -> dict[str, ImageSpec]:
    """What a job watches, tests and holds out of ``n`` pictures, as fields of `CleanSpec`.

    No picture is both watched and tested; the demo alone has a style that none trains on.
    """
    watched, tested = images.halves()
    if images.kind == "demo" and images.split != "val":
        watched, tested = ImageSpec(kind="demo", split="val"), images
    parts = {
        "images": watched.model_copy(update={"n": min(WATCHED_IMAGES, n)}),
        "test_images": tested.model_copy(update={"n": min(TEST_IMAGES, n)}),
    }
    if images.kind == "demo":
        parts["heldout_images"] = ImageSpec(kind="demo", split="heldout", n=HELDOUT_IMAGES)
    return parts


def is_of_demo(sha256: str, config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is one of the demo's, or of its architecture: cleaned copies are.

    Parameters
    ----------
    sha256
        SHA-256 of the file.
    config
        open_clip's ``model_cfg``.
    """
    manifest = json.loads(resource("demo", "manifest.json").read_text(encoding="utf-8"))
    shipped = [manifest["sha256"][f"{name}.safetensors"] for name in ("poisoned", "clean_twin")]
    parts = ("embed_dim", "vision_cfg", "text_cfg")
    configs = [manifest["model_cfg"][part] for part in parts]
    return sha256 in shipped or all(
        _within(part, config.get(name)) for name, part in zip(parts, configs, strict=True)
    )


def pretraining_at(opened: Checkpoint, reference: Checkpoint | None = None) -> Pretraining:
    """How a checkpoint was pretrained, the demo's included; see `pretraining_of`.

    A reference of the same architecture may tell what the checkpoint does not.
    """
    if is_of_demo(opened.inspection.sha256, opened.architecture.config):
        return DEMO
    own = pretraining_of(opened)
    if reference is None or reference.architecture.config != opened.architecture.config:
        return own
    return with_parent(own, pretraining_at(reference))


def _within(part: Any, config: Any) -> bool:
    """Whether a config says this; it may say more, such as defaults."""
    if isinstance(part, dict) and isinstance(config, Mapping):
        return all(_within(value, config.get(key)) for key, value in part.items())
    return bool(part == config)


def demo_target() -> int:
    """Index of the demo's target class."""
    from ml_core.data.demo import demo_classes

    return demo_classes().index(TARGET_NAME)


def for_demo(chain: AutoSpec) -> AutoSpec:
    """The chain as the demo runs it: with all else its story takes four minutes on two cores.

    The sticker is known to the demo and not to the program: it is measured, and not learnt from.
    """
    return chain.model_copy(
        update={
            "measure_only": True, "rounds": 1, "preset": "talk", "rebound_steps": 40,
            "proof_images": 150,
        }
    )  # fmt: skip


def demo_chain(folder: Path, *, seed: int = 0, **how: Any) -> ExamineSpec:
    """The whole story of the demo: examined, cleaned, scanned again, proven, reported.

    Parameters
    ----------
    folder
        Of everything that is written.
    trigger
        File of the sticker.
    seed
        Of the scans and of the cleaning.
    checkpoint, device, threads, test_images
        As in `demo_spec`.
    """
    base = demo_spec(preset("stamped", "default"), folder, **how)
    scan = ScanSettings(seed=seed)
    auto = for_demo(AutoSpec(base=base, scan=scan))
    return ExamineSpec(
        checkpoint=base.checkpoint, reference=str(demo_checkpoint(twin=True)), scan=scan,
        auto=auto, report=str(folder / "demo.evidence"), output_dir=str(folder),
        device=base.device, threads=base.threads,
    )  # fmt: skip


def demo_spec(
    recipe: Recipe,
    output_dir: Path,
    *,
    trigger: Path | None,
    checkpoint: Path | None = None,
    device: str = "auto",
    threads: int = 0,
    test_images: int = TEST_IMAGES,
) -> CleanSpec:
    """A cleaning job on the built-in demo.

    Training, validation and test pictures are of disjoint splits; ``heldout`` shows the art
    style that no training picture has. Validation is small, since it is measured while training.

    Parameters
    ----------
    recipe
        What to do.
    output_dir
        Where the job writes.
    trigger
        Trigger file; None measures no ASR.
    checkpoint
        Another checkpoint than the shipped one.
    device, threads
        As in :class:`CleanSpec`.
    test_images
        Size of the test set.
    """
    data = recipe.facts.data
    return CleanSpec(
        checkpoint=str(checkpoint or demo_checkpoint()),
        recipe=recipe,
        pairs=PairSpec(kind="demo", split="clean") if data == "pairs" else None,
        training_images=(
            ImageSpec(kind="demo", split="clean") if data in ("labelled", "images") else None
        ),
        reference=str(demo_checkpoint(twin=True)) if "reference" in recipe.facts.needs else None,
        images=ImageSpec(kind="demo", split="val", n=min(VALIDATION_IMAGES, test_images)),
        test_images=ImageSpec(kind="demo", split="test", n=test_images),
        heldout_images=ImageSpec(kind="demo", split="heldout", n=min(HELDOUT_IMAGES, test_images)),
        trigger=None if trigger is None else str(trigger),
        target=demo_target(),
        label_set="demo",
        output_dir=str(output_dir),
        device=device,
        threads=threads,
    )
