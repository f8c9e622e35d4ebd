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
from ml_core.data.canvas import CanvasCache, Canvases
from ml_core.data.eda import augment
from ml_core.data.images import ImageSet, open_images
from ml_core.data.labels import LabelSet, load_label_set
from ml_core.data.pairs import PairSet, open_pairs
from ml_core.data.specs import ImageSpec
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.measure import Bench, open_bench
from ml_core.jobs.specs import CleanSpec
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
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
    notes
        Rows and files that were left out, and other remarks.
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
    notes: tuple[str, ...]


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
    notes: list[str] = []
    size = model.image_size

    def bench(part: object) -> Bench:
        assert part is not None
        opened = open_bench(part, label_set, trigger, spec.target, size)  # type: ignore[arg-type]
        notes.extend(f"{opened.images.name}: {problem}" for problem in opened.images.problems)
        return opened

    validation = bench(spec.images) if spec.images is not None else None
    benches: dict[str, Bench] = {}
    if spec.test_images is not None:
        if spec.images is not None and _same_source(spec.images, spec.test_images):
            notes.append(
                "Validation and test images come from the same place: the numbers before and "
                "after are not of unseen images."
            )
        benches["test"] = bench(spec.test_images)
    elif validation is not None:
        benches["test"] = validation
        notes.append(
            "No test images were named: before and after are measured on the "
            "validation images, which the run also watched."
        )
    if spec.heldout_images is not None:
        benches["heldout"] = bench(spec.heldout_images)
    if not benches:
        notes.append("No images were named: nothing is measured before and after.")
    recipe, make_batch, key = _training(spec, model, label_set, notes)
    return Inputs(
        recipe,
        device,
        threads,
        label_set,
        trigger,
        benches,
        validation,
        make_batch,
        key,
        tuple(notes),
    )


def _same_source(first: ImageSpec, second: ImageSpec) -> bool:
    """Whether two specs draw from one folder, table or split of the demo."""
    if first.kind == second.kind == "demo":
        return (first.split, first.seed) == (second.split, second.seed)
    return first.kind == second.kind and first.path == second.path


def _training(
    spec: CleanSpec, model: ClipModel, label_set: LabelSet, notes: list[str]
) -> tuple[Recipe, Callable[[int], Batch], str]:
    """The recipe cut to the data, the maker of batches, and the data's key."""
    recipe, size = spec.recipe, model.image_size
    if recipe.uses_pairs:
        assert spec.pairs is not None
        wanted = spec.pairs
        if wanted.n is None:
            wanted = wanted.model_copy(update={"n": recipe.pairs})
        pairs = open_pairs(wanted)
        notes.extend(f"{pairs.name}: {problem}" for problem in pairs.problems)
        recipe = _cut(recipe, len(pairs), "pairs", notes)
        source: Pairs = _KeptPairs(pairs, size) if recipe.epochs > 1 else pairs
        view = _caption_view(recipe.eda_alpha)
        make = partial(pair_batch, source, recipe, size, model.tokenize, view)
        return recipe, make, pairs.key
    assert spec.training_images is not None
    named = spec.training_images
    if named.n is None:  # a seeded stratified sample, not the first classes of a sorted folder
        share = _DEMO_LABELLED_SHARE if named.kind == "demo" else 1.0
        named = named.model_copy(update={"n": int(recipe.pairs / share)})
    images = open_images(named, label_set)
    notes.extend(f"{images.name}: {problem}" for problem in images.problems)
    recipe = _cut(recipe, int((images.labels >= 0).sum()), "labelled images", notes)
    labelled: Images = _KeptImages(images, size) if recipe.epochs > 1 else images
    return recipe, partial(labelled_batch, labelled, recipe, size), images.key


def _caption_view(alpha: float) -> Callable[[str, random.Random], str]:
    """EDA with the recipe's strength."""
    if alpha == 0.0:
        return lambda caption, _: caption
    return lambda caption, draws: augment(caption, draws, alpha=alpha)


def _cut(recipe: Recipe, count: int, what: str, notes: list[str]) -> Recipe:
    """Fit the recipe to the examples there are."""
    if count < recipe.batch_size:
        raise InputError(
            f"There are {count} usable {what}, fewer than the batch size of {recipe.batch_size}: "
            "name more data or lower the batch size."
        )
    if count < recipe.pairs:
        notes.append(f"The recipe asks for {recipe.pairs} {what}; there are {count}.")
        return recipe.model_copy(update={"pairs": count})
    return recipe


class _KeptPairs:
    """Pairs whose pictures are drawn once and kept, for more than one epoch."""

    def __init__(self, pairs: PairSet, size: int) -> None:
        self._pairs = pairs
        self._cache = CanvasCache(pairs, size)

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def broken(self) -> Mapping[int, str]:
        """Undecodable pictures found so far."""
        return self._pairs.broken

    def captions(self, indices: Indices) -> list[str]:
        """Captions of some pairs."""
        return self._pairs.captions(indices)

    def canvas(self, indices: Indices, size: int) -> Canvases:
        """Pictures from the cache."""
        return self._cache.get(indices)


class _KeptImages:
    """Labelled images whose pictures are drawn once and kept, for more than one epoch."""

    def __init__(self, images: ImageSet, size: int) -> None:
        self.labels = images.labels
        self._cache = CanvasCache(images, size)

    @property
    def broken(self) -> Mapping[int, str]:
        """Undecodable pictures found so far."""
        return self._cache.broken

    def canvas(self, indices: Indices, size: int) -> Canvases:
        """Pictures from the cache."""
        return self._cache.get(indices)
