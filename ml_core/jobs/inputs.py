"""Everything a cleaning job reads besides the checkpoint, opened and checked."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ml_core.cleaning.batches import (
    Batch,
    Images,
    Pairs,
    labelled_batch,
    labelled_drawing,
    pair_batch,
    pair_drawing,
)
from ml_core.cleaning.picture_workers import PictureWorkers, can_travel
from ml_core.cleaning.pictures import Drawing, PictureSource
from ml_core.cleaning.ranks import ALONE, Ranks
from ml_core.cleaning.recipes import Recipe
from ml_core.data.eda import augment
from ml_core.data.images import ImageSet, open_images
from ml_core.data.labels import LabelSet, load_label_set
from ml_core.data.pairs import open_pairs
from ml_core.data.picture_set import PictureSet, shared
from ml_core.data.pictures import DemoPictures
from ml_core.data.sampling import SMALLEST_SPLIT
from ml_core.data.specs import ImageSpec
from ml_core.jobs.devices import choose_device, cores, picture_processes, set_threads
from ml_core.jobs.kept import KeptImages, KeptPairs
from ml_core.jobs.measure import Bench, open_bench
from ml_core.jobs.specs import CleanSpec
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.triggers.files import load_trigger
from ml_core.triggers.record import Trigger

# Of the demo's clean compositions about half show one object of one class.
_DEMO_LABELLED_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Inputs:
    """Opened data of a job.

    Attributes
    ----------
    recipe
        The spec's, with ``pairs`` cut to what there is.
    benches
        ``test`` and, where asked for, ``heldout``.
    validation
        Watched while training.
    make_batch
        Step to batch.
    training_key
        Hash of the training data.
    sets
        Everything opened, to say what is wrong with it.
    remarks
        What else the user should know.
    workers
        Processes that read training pictures; None where a thread does.
    """

    recipe: Recipe
    device: torch.device
    threads: int
    label_set: LabelSet
    trigger: Trigger | None
    benches: dict[str, Bench]
    validation: Bench | None
    make_batch: Callable[[int], Batch]
    training_key: str
    sets: tuple[PictureSet, ...]
    remarks: tuple[str, ...]
    workers: PictureWorkers | None = None

    def close(self) -> None:
        """End the processes that read pictures."""
        if self.workers is not None:
            self.workers.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """Rows and files that are left out, and remarks; grows as broken pictures are found."""
        found = [f"{part.name}: {problem}" for part in self.sets for problem in part.problems]
        return tuple(dict.fromkeys([*found, *self.remarks]))


def open_inputs(spec: CleanSpec, model: ClipModel, ranks: Ranks = ALONE) -> Inputs:
    """Open the data of a job for a model; batches are this process's part of them.

    Raises
    ------
    InputError
        If a file cannot be used, the target is no class, or there are too few examples.
    """
    device = choose_device(spec.device, ranks.local)
    threads = set_threads(spec.threads, ranks.local_world)
    label_set = load_label_set(spec.label_set)
    if spec.templates is not None:
        label_set = replace(label_set, templates=spec.templates)
    if spec.target >= len(label_set.class_names):
        raise InputError(
            f"The target class {spec.target} does not exist: the label set {label_set.name} has "
            f"the classes 0 to {len(label_set.class_names) - 1}."
        )
    trigger = load_trigger(Path(spec.trigger)) if spec.trigger is not None else None
    remarks = list(model.assumptions)
    validation_spec, test_spec = spec.images, spec.test_images
    if validation_spec is not None and test_spec in (None, validation_spec):
        validation_spec, test_spec = validation_spec.halves()

    def bench(part: ImageSpec) -> Bench:
        return open_bench(part, label_set, trigger, spec.target, model.preprocess)

    validation = bench(validation_spec) if validation_spec is not None else None
    benches: dict[str, Bench] = {}
    if test_spec is not None:
        benches["test"] = bench(test_spec)
    if spec.heldout_images is not None:
        benches["heldout"] = bench(spec.heldout_images)
    if not benches:
        remarks.append("No images were named: nothing is measured before and after.")
    recipe, make_batch, training, workers = _training(
        spec, model, label_set, remarks, device, ranks
    )
    if "test" in benches:
        watched = validation if recipe.eval_every else None
        remarks += _seen(benches["test"].images, watched, training)
    measured = [*([validation] if validation else []), *benches.values()]
    return Inputs(
        recipe,
        device,
        threads,
        label_set,
        trigger,
        benches,
        validation,
        make_batch,
        training.key,
        (*(bench.images for bench in measured), training),
        tuple(remarks),
        workers,
    )


def _seen(test: ImageSet, validation: Bench | None, training: PictureSet) -> list[str]:
    """Say which test images the run sees elsewhere, so that its numbers are not of unseen ones."""
    remarks = []
    watched = 0 if validation is None else shared(test, validation.images)
    if watched:
        remarks.append(
            f"{watched} of the {len(test)} test images are also watched while training: choose "
            f"other ones, or one set of at least {SMALLEST_SPLIT} images, which is then split."
        )
    trained = shared(test, training)
    if trained:
        remarks.append(
            f"{trained} of the {len(test)} test images are also trained on: the numbers after the "
            "run flatter it; choose other test images."
        )
    return remarks


def _training(
    spec: CleanSpec,
    model: ClipModel,
    label_set: LabelSet,
    remarks: list[str],
    device: torch.device,
    ranks: Ranks,
) -> tuple[Recipe, Callable[[int], Batch], PictureSet, PictureWorkers | None]:
    """The recipe cut to the data, the maker of batches, the data, and who reads its pictures."""
    recipe, size, share = spec.recipe, model.image_size, (ranks.rank, ranks.world)
    if recipe.uses_pairs:
        assert spec.pairs is not None
        wanted = spec.pairs
        if wanted.n is None:
            wanted = wanted.model_copy(update={"n": recipe.pairs})
        pairs = open_pairs(wanted).fitted(model.preprocess.fit)
        recipe = _cut(recipe, len(pairs), "pairs", pairs, remarks)
        source: Pairs = KeptPairs(pairs, size) if recipe.epochs > 1 else pairs
        view = _caption_view(recipe.eda_alpha)
        draw = _workers(pairs, source, pair_drawing(source, recipe, size, share), device, ranks)
        make = partial(
            pair_batch, source, recipe, size, model.tokenize, view, share=share, draw=draw
        )
        return recipe, make, pairs, draw
    assert spec.training_images is not None
    named = spec.training_images
    if named.n is None:  # a seeded stratified sample, not the first classes of a sorted folder
        share_used = _DEMO_LABELLED_SHARE if named.kind == "demo" else 1.0
        named = named.model_copy(update={"n": int(recipe.pairs / share_used)})
    images = open_images(named, label_set).fitted(model.preprocess.fit)
    labels = int((images.labels >= 0).sum())
    recipe = _cut(recipe, labels, "labelled images", images, remarks)
    labelled: Images = KeptImages(images, size) if recipe.epochs > 1 else images
    drawing = labelled_drawing(labelled, recipe, size, share)
    draw = _workers(images, labelled, drawing, device, ranks)
    make = partial(labelled_batch, labelled, recipe, size, share=share, draw=draw)
    return recipe, make, images, draw


def _workers(
    opened: PictureSet,
    source: PictureSource,
    drawing: Drawing,
    device: torch.device,
    ranks: Ranks,
) -> PictureWorkers | None:
    """Processes for pictures that are decoded; what the demo composes is made in a thread."""
    if isinstance(opened.pictures, DemoPictures) or not can_travel(source):
        return None
    count = picture_processes(cores() // ranks.local_world, device)
    return PictureWorkers(source, drawing, count, drawing.recipe.total_steps) if count else None


def _caption_view(alpha: float) -> Callable[[str, random.Random], str]:
    """EDA with the recipe's strength."""
    if alpha == 0.0:
        return lambda caption, _: caption
    return lambda caption, draws: augment(caption, draws, alpha=alpha)


def _cut(recipe: Recipe, count: int, what: str, source: PictureSet, remarks: list[str]) -> Recipe:
    """Fit the recipe to the examples there are."""
    if count < recipe.batch_size:
        raise InputError(
            f"There are {count} usable {what}, fewer than the batch size of {recipe.batch_size}: "
            "name more data or lower the batch size.",
            details="\n".join(source.problems),
        )
    if count < recipe.pairs:
        remarks.append(f"The recipe asks for {recipe.pairs} {what}; there are {count}.")
        return recipe.model_copy(update={"pairs": count})
    return recipe
