"""Everything a cleaning job reads besides the checkpoint, opened and checked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ml_core.cleaning.augment import Colour
from ml_core.cleaning.batches import (
    Batch,
    Images,
    Pairs,
    labelled_batch,
    labelled_drawing,
    pair_batch,
    pair_drawing,
    picture_batch,
)
from ml_core.cleaning.picture_workers import PictureWorkers, can_travel
from ml_core.cleaning.pictures import Drawing, PictureSource
from ml_core.cleaning.recipes import Recipe, fields_of
from ml_core.cleaning.stamps import Stamps
from ml_core.data.canvas import CanvasCache
from ml_core.data.eda import augment
from ml_core.data.images import ImageSet
from ml_core.data.labels import LabelSet
from ml_core.data.pairs import PairSet, open_pairs
from ml_core.data.picture_set import PictureSet, shared, shared_by_each
from ml_core.data.pictures import DemoPictures
from ml_core.data.specs import SMALLEST_SPLIT, ImageSpec, PairSpec
from ml_core.data.watch import Watch
from ml_core.events import Control, Event
from ml_core.figures import count
from ml_core.jobs.devices import choose_device, cores, picture_processes, set_threads
from ml_core.jobs.measure import Bench, OpenSetting, open_attack
from ml_core.jobs.opening import opening, opening_images
from ml_core.jobs.specs import CleanSpec, trained_on
from ml_core.model import ClipModel
from ml_core.ranks import ALONE, Ranks
from ml_core.reading.errors import InputError
from ml_core.reading.resize import Canvases
from ml_core.triggers import Trigger, load_trigger


class CachedSet:
    """Pictures of a set from a cache, with the captions or the labels of the set.

    A copy in another process has its cache in a file, which all of them share.
    """

    def __init__(self, source: PairSet | ImageSet, size: int) -> None:
        self._source, self._size = source, size
        self._cache = CanvasCache(source, size)

    def __len__(self) -> int:
        return len(self._source)

    def __getstate__(self) -> tuple[PairSet | ImageSet, int]:
        return self._source, self._size

    def __setstate__(self, state: tuple[Any, int]) -> None:
        self._source, self._size = state
        self._cache = CanvasCache(self._source, self._size, memory_limit=0)

    @property
    def blocks(self) -> Indices | None:
        return self._source.blocks

    @property
    def window(self) -> int:
        return self._source.window

    @property
    def broken(self) -> Mapping[int, str]:
        """Undecodable pictures found so far."""
        return self._source.broken

    def canvas(self, indices: Indices, size: int) -> Canvases:
        return self._cache.get(indices)

    def captions(self, indices: Indices, epoch: int = 0) -> list[str]:
        """A caption of each of some pairs."""
        assert isinstance(self._source, PairSet)
        return self._source.captions(indices, epoch)

    @property
    def labels(self) -> Indices:
        """Class of every image, -1 where unknown."""
        assert isinstance(self._source, ImageSet)
        return self._source.labels


_IMAGES = {"test": "test", "heldout": "held-out"}

Indices = npt.NDArray[np.int64]
_Training = tuple[Recipe, Callable[[int], Batch], PictureSet | None, PictureWorkers | None]


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
        The training data's `PictureSet.lasting_key`, so that a resumed run is recognised; empty
        where nothing is trained.
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

    @property
    def training_data(self) -> str:
        """What is trained on, for a reader: name, size and key; empty where nothing is."""
        if not self.training_key:
            return ""
        used = self.sets[-1]
        return f"{used.name}: {count(len(used))} examples, key {self.training_key}"

    def close(self) -> None:
        """End the processes that read pictures."""
        if self.workers is not None:
            self.workers.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """Rows and files that are left out, and remarks; grows as broken pictures are found."""
        problems = [f"{part.name}: {problem}" for part in self.sets for problem in part.problems]
        return tuple(dict.fromkeys([*problems, *self.remarks]))


@dataclass(frozen=True, eq=False)
class Sets:
    """What a job names, opened without its model: columns, labels and trigger can be used.

    ``stamps`` are the triggers that are trained on, ``images`` those of the benches by their names;
    ``validation`` and ``training`` are None where the job has none.
    """

    label_set: LabelSet
    trigger: Trigger | None
    stamps: tuple[Trigger, ...]
    images: dict[str, OpenSetting]
    validation: OpenSetting | None
    training: PairSet | ImageSet | None


def opening_sets(spec: CleanSpec, control: Control) -> Generator[Event, None, Sets]:
    """Open the data of a job before its model, so that errors in the data show within seconds.

    Yields
    ------
    Event
        Progress of the stage ``data`` where a set takes its time.

    Raises
    ------
    InputError
        If a file, a column or the labels cannot be used, or the target is no class.
    CancelledError
        If it was cancelled.
    """
    label_set, trigger = open_attack(spec)
    stamps = tuple(dict.fromkeys(load_trigger(path) for path in spec.stamps))
    if not stamps and trigger is not None and trigger.changes_pictures:
        stamps = (trigger,)
    validation_spec, test_spec = spec.images, spec.test_images
    if validation_spec is not None and test_spec in (None, validation_spec):
        validation_spec, test_spec = validation_spec.halves()

    def opened(part: ImageSpec) -> Generator[Event, None, OpenSetting]:
        images = yield from opening_images(part, label_set, control)
        return OpenSetting(part, images, label_set, trigger, spec.target)

    validation = (yield from opened(validation_spec)) if validation_spec is not None else None
    images: dict[str, OpenSetting] = {}
    for name, part in (("test", test_spec), ("heldout", spec.heldout_images)):
        if part is not None:
            images[name] = yield from opened(part)
    named = trained_on(spec)
    training: PairSet | ImageSet | None = None
    if isinstance(named, PairSpec):
        pairs = named
        training = yield from opening(lambda watch: open_pairs(pairs, watch), control)
    elif named is not None:
        # Images that are stamped need no labels.
        classes = None if spec.recipe.facts.data == "images" else label_set
        training = yield from opening_images(named, classes, control)
    return Sets(label_set, trigger, stamps, images, validation, training)


def opening_inputs(
    spec: CleanSpec,
    model: ClipModel,
    control: Control,
    ranks: Ranks = ALONE,
    *,
    sets: Sets | None = None,
) -> Generator[Event, None, Inputs]:
    """Make the data of a job ready for a model; batches are this process's part of them.

    ``sets`` are those of `opening_sets`, which are opened here where they are not given.

    Yields
    ------
    Event
        Progress of the stage ``data`` where a set takes its time.

    Raises
    ------
    InputError
        If a file cannot be used, the target is no class, or there are too few examples.
    CancelledError
        If it was cancelled.
    """
    device = choose_device(spec.device, ranks.local)
    threads = set_threads(spec.threads, ranks.local_world)
    if sets is None:
        sets = yield from opening_sets(spec, control)
    label_set, trigger = sets.label_set, sets.trigger
    remarks = list(model.assumptions)
    if spec.recipe.compile and device.type != "cuda":
        remarks.append(f"Compile is for CUDA; on {device.type} the encoders run without it.")

    validation = None if sets.validation is None else sets.validation.on(model.preprocess)
    chooses_alpha = "alpha" in fields_of(spec.recipe.method) and spec.recipe.alpha_choice == "auto"
    if chooses_alpha:
        _check_watched(validation)
    benches = {name: setting.on(model.preprocess) for name, setting in sets.images.items()}
    if not benches and validation is None:
        remarks.append("No images were given: nothing is measured before and after.")
    recipe, make_batch, training, workers = _training(spec, model, sets, remarks, device, ranks)
    watched = validation if recipe.eval_every or chooses_alpha else None
    remarks += yield from opening(partial(_overlap_remarks, benches, watched, training), control)
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
        "" if training is None else training.lasting_key,
        (*(bench.images for bench in measured), *([] if training is None else [training])),
        tuple(remarks),
        workers,
    )


def _check_watched(validation: Bench | None) -> None:
    """Refuse to choose alpha without validation images."""
    if validation is None or not bool((validation.images.labels >= 0).any()):
        raise InputError(
            "Alpha can only be chosen on labelled validation images: add some (--images), or set "
            "the choice of alpha to given."
        )


def _overlap_remarks(
    benches: dict[str, Bench], watched: Bench | None, training: PictureSet | None, watch: Watch
) -> list[str]:
    """Say which images the run sees elsewhere, so that its numbers are not of unseen ones."""
    remarks = []
    sets = {_IMAGES[name]: bench.images for name, bench in benches.items()}
    if watched is not None:
        for name, images in sets.items():
            if both := shared(images, watched.images, watch):
                split = f", or one set of at least {SMALLEST_SPLIT} images, which is then split"
                remarks.append(
                    f"{both} of the {len(images)} {name} images are also used for validation: "
                    f"choose other ones{split if name == 'test' else ''}."
                )
        sets["validation"] = watched.images
    if training is None or not sets:
        return remarks
    counts = shared_by_each(tuple(sets.values()), training, watch)
    for (name, images), numbers in zip(sets.items(), counts, strict=True):
        if len(numbers):
            effect = "the validation numbers look too good"
            if name != "validation":
                effect = "the numbers after the run look too good"
            remarks.append(
                f"{len(numbers)} of the {len(images)} {name} images are also trained on: {effect}; "
                f"choose other {name} images."
            )
    return remarks


def _training(
    spec: CleanSpec,
    model: ClipModel,
    sets: Sets,
    remarks: list[str],
    device: torch.device,
    ranks: Ranks,
) -> _Training:
    """The recipe cut to the data, the maker of batches, the data, and who reads its pictures."""
    recipe, size, share = spec.recipe, model.image_size, (ranks.rank, ranks.world)
    if recipe.facts.data == "none" or sets.training is None:
        return recipe, _no_batch, None, None
    if recipe.facts.data == "images":
        # Labels or captions, if any, are of no use.
        unlabelled = sets.training.fitted(model.preprocess.fit)
        recipe = _cut(recipe, len(unlabelled), "images", unlabelled, remarks)
        cache = CanvasCache(unlabelled, size)
        plain = partial(picture_batch, cache, recipe, share=share)
        return recipe, _stamped(plain, sets, recipe, model), unlabelled, None
    fill = _mean_colour(model)
    if isinstance(sets.training, PairSet):
        pairs = sets.training.fitted(model.preprocess.fit).drafted()
        recipe = _cut(recipe, len(pairs), "pairs", pairs, remarks)
        source: Pairs = CachedSet(pairs, size) if recipe.epochs > 1 else pairs
        eda = partial(augment, alpha=recipe.eda_alpha)  # with the recipe's strength
        view = eda if recipe.eda_alpha else lambda caption, _: caption
        drawing = pair_drawing(source, recipe, size, fill, share)
        draw = _workers(pairs, source, drawing, device, ranks)
        how: dict[str, Any] = {"fill": fill, "share": share, "draw": draw}
        make = partial(pair_batch, source, recipe, size, model.tokenize, view, **how)
        return recipe, _stamped(make, sets, recipe, model), pairs, draw
    images = sets.training.fitted(model.preprocess.fit).drafted()
    labels = int((images.labels >= 0).sum())
    recipe = _cut(recipe, labels, "labelled images", images, remarks)
    labelled: Images = CachedSet(images, size) if recipe.epochs > 1 else images
    drawing = labelled_drawing(labelled, recipe, size, fill, share)
    draw = _workers(images, labelled, drawing, device, ranks)
    make = partial(labelled_batch, labelled, recipe, size, fill=fill, share=share, draw=draw)
    return recipe, make, images, draw


def _stamped(
    make: Callable[[int], Batch], sets: Sets, recipe: Recipe, model: ClipModel
) -> Callable[[int], Batch]:
    """Batches with the triggers of a recipe on them, if it stamps any."""
    if "stamp_share" not in fields_of(recipe.method):
        return make
    stamps = Stamps.training(sets.stamps, recipe, model)
    return lambda step: stamps.on(make(step), step)


def _no_batch(step: int) -> Batch:
    """Refuse to make a batch: nothing is trained, so no step ever asks for one."""
    raise AssertionError(f"step {step} of a method that takes none")


def _mean_colour(model: ClipModel) -> Colour:
    """The colour that normalises to 0."""
    red, green, blue = (min(255, max(0, round(255 * part))) for part in model.preprocess.mean)
    return red, green, blue


def _workers(
    opened: PictureSet, source: PictureSource, drawing: Drawing, device: torch.device, ranks: Ranks
) -> PictureWorkers | None:
    """Processes for pictures that are decoded; what the demo composes is made in a thread."""
    if isinstance(opened.pictures, DemoPictures) or not can_travel(source):
        return None
    count = picture_processes(cores() // ranks.local_world, device)
    return PictureWorkers(source, drawing, count, drawing.recipe.total_steps) if count else None


def _cut(recipe: Recipe, count: int, what: str, source: PictureSet, remarks: list[str]) -> Recipe:
    """Fit the recipe to the examples there are."""
    if count < recipe.batch_size:
        raise InputError(
            f"There are {count} usable {what}, fewer than the batch size of {recipe.batch_size}: "
            "add more data or lower the batch size.",
            details="\n".join(source.problems),
        )
    if count < recipe.pairs:
        remarks.append(f"The recipe asks for {recipe.pairs} {what}; there are {count}.")
        return recipe.model_copy(update={"pairs": count})
    return recipe
