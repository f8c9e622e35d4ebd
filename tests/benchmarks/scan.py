"""The searches of a scan against bare passes of the same batches through the same model.

The bare side has its batches ready, on the device and as floats: forward and backward to the
pictures for a search, forward alone for what is measured. What the ratio leaves is pasting,
drawing, the loss and the optimiser. Own processor time with one thread, so that other programs do
not disturb it. `BENCH_CHECKPOINTS` names other files than the demo's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from ml_core.checkpoints import open_checkpoint
from ml_core.children import keep_freed_memory
from ml_core.data.demo import compose, demo_classes, demo_templates
from ml_core.detection.scan.overlays import OverlaySettings, invert_overlays
from ml_core.detection.scan.patches import PatchSettings, invert, settle, together
from ml_core.detection.scan.sides import Side
from ml_core.evaluation.stamping import to_pictures
from ml_core.evaluation.zero_shot import zero_shot_classifier
from ml_core.jobs.demo import demo_checkpoint
from ml_core.model import ClipModel
from ml_core.triggers.published import published
from tests.benchmarks.timing import Row, median, spread

STARTS, CLASSES = 6, 6
RUNS = 3


def run() -> list[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        return [row for name, model in _models() for row in _rows(name, model)]
    finally:
        torch.set_num_threads(threads)


def _models() -> Iterator[tuple[str, ClipModel]]:
    paths = [Path(name) for name in os.environ.get("BENCH_CHECKPOINTS", "").split(os.pathsep)]
    for path in paths if paths != [Path()] else [demo_checkpoint()]:
        yield path.stem, open_checkpoint(path).build()


def _rows(name: str, model: ClipModel) -> Iterator[Row]:
    model.module.eval().requires_grad_(False)
    size = model.image_size
    pictures = compose("val", range(128), seed=3, size=size).images
    classifier = zero_shot_classifier(model, demo_classes(), demo_templates()[:1])
    side = Side(model, classifier)
    settle(side, pictures, lambda: False)
    for what, search, each, count in (
        ("patches", _patches(side, pictures), PatchSettings(side=2).pictures, STARTS),
        ("overlays", _overlays(side, pictures), OverlaySettings().pictures, CLASSES),
    ):
        at_once = min(count, together(size, model.device, count, each))
        batch = to_pictures(pictures[: each * at_once], model.device).float().div_(255)
        assert len(batch) == each * at_once
        passes = _steps(side) * -(-count // at_once)
        bare = _both_ways(model, batch, passes)
        yield _row(
            f"{name}: {what}, goal 0.9 of bare passes", search, bare, count * each * _steps(side)
        )
    batch = to_pictures(pictures, model.device)
    trigger = published("T4", size)
    yield _row(
        f"{name}: measuring a trigger, goal 0.9 of bare passes",
        lambda: side.predict(pictures, trigger),
        lambda: model.encode_images(batch),
        len(pictures),
    )


def _steps(side: Side) -> int:
    """Of a search: enough to time, few enough to wait for."""
    return 4 if side.model.image_size < 128 else 1


def _patches(side: Side, pictures: object) -> Callable[[], object]:
    settings = PatchSettings(
        side=max(2, side.model.image_size // 7), starts=STARTS, steps=_steps(side)
    )
    return lambda: list(invert(side, pictures, settings, 0))  # type: ignore[arg-type]


def _overlays(side: Side, pictures: object) -> Callable[[], object]:
    settings = OverlaySettings(steps=_steps(side))
    return lambda: list(
        invert_overlays(side, pictures, range(CLASSES), settings, 0)  # type: ignore[arg-type]
    )


def _both_ways(model: ClipModel, batch: torch.Tensor, passes: int) -> Callable[[], None]:
    """Forward, and backward to the pictures."""

    def act() -> None:
        for _ in range(passes):
            leaf = batch.clone().requires_grad_()
            model.embed_images(leaf).sum().backward()  # type: ignore[no-untyped-call]

    return act


def processor_seconds(act: Callable[[], object]) -> float:
    begin = time.process_time()
    act()
    return time.process_time() - begin


def _row(what: str, ours: Callable[[], object], bare: Callable[[], object], pictures: int) -> Row:
    ours(), bare()
    pairs = [(processor_seconds(ours), processor_seconds(bare)) for _ in range(RUNS)]
    ratios = [b / a for a, b in pairs]
    a, b = (1000 * median([pair[k] for pair in pairs]) / pictures for k in (0, 1))
    return Row(
        what, f"{a:.2f} ms a picture", f"{b:.2f} ms", f"{median(ratios):.2f}", spread(ratios)
    )
