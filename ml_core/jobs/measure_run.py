"""Measure the checkpoints of a finished run again, where an older version kept no answers."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.data.labels import LabelSet
from ml_core.events import Control, Event, Message
from ml_core.jobs.artifacts import open_result
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.inputs import Sets, opening_sets
from ml_core.jobs.keep import Head, Measuring, Source, clear_measurements
from ml_core.jobs.measure import bench_of, classifier_of
from ml_core.jobs.specs import HEAD_FILE, CleanSpec
from ml_core.model import ClipModel
from ml_core.reading.arrays import read_safetensors
from ml_core.reading.errors import InputError


def measure_run(
    spec: CleanSpec, result: Mapping[str, Any], control: Control, *, device: str, threads: int
) -> Generator[Event, None, None]:
    """Measure source and result of a run in fp32, and keep it in the run's folder.

    Nothing that was trained on is opened.

    Parameters
    ----------
    spec
        The run's; ``output_dir`` is where its folder is now.
    result
        What ``result.json`` holds.
    control
        Cancel ends it between two batches; what is not whole is not kept.
    device, threads
        As of a `CleanSpec`.

    Yields
    ------
    Event
        Progress of the stages of a run, and a Message that says so.

    Raises
    ------
    InputError
        If checkpoint or images are not there any more, or are others.
    CancelledError
        If it was cancelled.
    """
    folder = Path(spec.output_dir)
    yield Message(
        f"{folder.name} was made by a version that kept no answers: both checkpoints are measured "
        "again in fp32."
    )
    if not Path(spec.checkpoint).exists():
        raise InputError(
            f"{folder.name} was made by a version that kept no answers, and its checkpoint "
            f"{Path(spec.checkpoint).name} is not there to be measured again: run it again, or "
            "measure both with `cleanclip evaluate --keep` and give --measurement."
        )
    sets = yield from opening_sets(
        spec.model_copy(update={"pairs": None, "training_images": None}), control
    )
    used, place = set_threads(threads), choose_device(device)
    opened = open_checkpoint(Path(spec.checkpoint), spec.donor, use_choice=spec.use_choice)
    _check(opened.inspection.sha256, result.get("source_sha256"), Path(spec.checkpoint), folder)
    before = opened.build("cpu").to(place)
    measuring = _measuring(spec, sets, before, used, control)
    clear_measurements(folder)
    classifier = yield from classifier_of(before, sets.label_set, control)
    yield from measuring.run("before", before, Source(opened), classifier)
    del before
    source, after = open_result(spec, str(place))
    path = source.opened.path
    _check(source.opened.inspection.sha256, result.get("checkpoint_sha256"), path, folder)
    heads: dict[Head, Tensor] = {
        "zero-shot": (yield from classifier_of(after, sets.label_set, control))
    }
    if "linear" in (result.get("heads") or {}):
        heads["linear"] = _head(folder / HEAD_FILE, sets.label_set, after).to(place)
    for head, rows in heads.items():
        yield from measuring.run("after", after, source, rows, head)


def _measuring(
    spec: CleanSpec, sets: Sets, model: ClipModel, threads: int, control: Control
) -> Measuring:
    """The benches of the run."""
    benches = {
        name: bench_of(
            images, sets.label_set, sets.trigger, spec.target, model.preprocess, part.seed
        )
        for name, (part, images) in sets.images.items()
    }
    specs = {name: part for name, (part, _) in sets.images.items()}
    return Measuring(Path(spec.output_dir), benches, specs, control, threads, spec.targeted)


def _check(found: str, wanted: object, path: Path, folder: Path) -> None:
    """Refuse another file than the run's."""
    if found != wanted:
        raise InputError(
            f"{path.name} changed since the run {folder.name}: its SHA-256 is {found[:16]}… and "
            f"the run says {str(wanted)[:16]}…. Run it again."
        )


def _head(path: Path, label_set: LabelSet, model: ClipModel) -> Tensor:
    """The linear head of a run, [C, D]."""
    weight = read_safetensors(path).arrays.get("weight")
    if weight is None or weight.shape != (len(label_set.class_names), model.embed_dim):
        raise InputError(f"{path.name} is not the linear head of this run; run it again.")
    return torch.from_numpy(weight.copy())
