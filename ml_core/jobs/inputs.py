"""Everything a cleaning job reads besides the checkpoint, opened and checked."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ml_core.cleaning.batches import Batch, Images, Pairs, labelled_batch, pair_batch
from ml_core.cleaning.recipes import Recipe
from ml_core.data.canvas import CanvasCache
from ml_core.data.eda import augment
from ml_core.data.images import ImageSet, open_images
from ml_core.data.labels import LabelSet, load_label_set
from ml_core.data.pairs import PairSet, open_pairs
from ml_core.data.picture_set import PictureSet, shared
from ml_core.data.sampling import SMALLEST_SPLIT
from ml_core.data.specs import ImageSpec
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.measure import Bench, open_bench
from ml_core.jobs.specs import CleanSpec
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.reading.square import Canvases
from ml_core.triggers.files import load_trigger
from ml_core.triggers.record import Trigger

# Of the demo's clean compositions about half show one object of one class.
_DEMO_LABELLED_SHARE = 0.5
Indices = npt.NDArray[np.int64]


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

    @property
    def notes(self) -> tuple[str, ...]:
        """Rows and files that are left out, and remarks; grows as broken pictures are found."""
        found = [f"{part.name}: {problem}" for part in self.sets for problem in part.problems]
        return tuple(dict.fromkeys([*found, *self.remarks]))


def open_inputs(spec: CleanSpec, model: ClipModel) -> Inputs:
    """Open the data of a job for a model.

    Raises
    ------
    InputError
        If a file cannot be used, the target is no class, or there are too few examples.
    """
    device = choose_device(spec.device)
    threads = set_threads(spec.threads)
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
    recipe, make_batch, training = _training(spec, model, label_set, remarks)
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
    spec: CleanSpec, model: ClipModel, label_set: LabelSet, remarks: list[str]
) -> tuple[Recipe, Callable[[int], Batch], PictureSet]:
    """The recipe cut to the data, the maker of batches, and the data."""
    recipe, size = spec.recipe, model.image_size
    if recipe.uses_pairs:
        assert spec.pairs is not None
        wanted = spec.pairs
        if wanted.n is None:
            wanted = wanted.model_copy(update={"n": recipe.pairs})
        pairs = open_pairs(wanted).fitted(model.preprocess.fit).drafted()
        recipe = _cut(recipe, len(pairs), "pairs", pairs, remarks)
        source: Pairs = _KeptPairs(pairs, size) if recipe.epochs > 1 else pairs
        view = _caption_view(recipe.eda_alpha)
        make = partial(pair_batch, source, recipe, size, model.tokenize, view)
        return recipe, make, pairs
    assert spec.training_images is not None
    named = spec.training_images
    if named.n is None:  # a seeded stratified sample, not the first classes of a sorted folder
        share = _DEMO_LABELLED_SHARE if named.kind == "demo" else 1.0
        named = named.model_copy(update={"n": int(recipe.pairs / share)})
    images = open_images(named, label_set).fitted(model.preprocess.fit).drafted()
    labels = int((images.labels >= 0).sum())
    recipe = _cut(recipe, labels, "labelled images", images, remarks)
    labelled: Images = _KeptImages(images, size) if recipe.epochs > 1 else images
    return recipe, partial(labelled_batch, labelled, recipe, size), images


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


class _KeptPairs:
    """Pairs whose pictures are drawn once and kept, for more than one epoch."""

    def __init__(self, pairs: PairSet, size: int) -> None:
        self._pairs = pairs
        self._cache = CanvasCache(pairs, size)
        self.blocks, self.window = pairs.blocks, pairs.window

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def broken(self) -> Mapping[int, str]:
        """Undecodable pictures found so far."""
        return self._pairs.broken

    def captions(self, indices: Indices, epoch: int) -> list[str]:
        """Captions of some pairs."""
        return self._pairs.captions(indices, epoch)

    def canvas(self, indices: Indices, size: int) -> Canvases:
        """Pictures from the cache."""
        return self._cache.get(indices)


class _KeptImages:
    """Labelled images whose pictures are drawn once and kept, for more than one epoch."""

    def __init__(self, images: ImageSet, size: int) -> None:
        self.labels = images.labels
        self.blocks, self.window = images.blocks, images.window
        self._cache = CanvasCache(images, size)

    @property
    def broken(self) -> Mapping[int, str]:
        """Undecodable pictures found so far."""
        return self._cache.broken

    def canvas(self, indices: Indices, size: int) -> Canvases:
        """Pictures from the cache."""
        return self._cache.get(indices)
