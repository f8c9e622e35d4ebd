"""Ordinary image-text finetuning inside a job: no defence, no augmentation."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

from ml_core.cleaning.batches import Pairs, pair_batch
from ml_core.cleaning.loop import MakeBatch, TrainingOutcome, train
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.data.images import ImageSet, PromptPairs, open_images
from ml_core.data.labels import LabelSet
from ml_core.data.pairs import PairSet, open_pairs
from ml_core.data.picture_set import PictureSet
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.data.watch import Watch
from ml_core.events import Control, Event, Progress, forwarded
from ml_core.jobs.inputs import CachedSet
from ml_core.jobs.opening import opening
from ml_core.model import ClipModel
from ml_core.reading.errors import CancelledError, DivergedError, InputError

_FEWEST = 8


def opening_plain(
    pairs: PairSpec | None, images: ImageSpec | None, most: int, label_set: LabelSet,
    control: Control,
) -> Generator[Event, None, PictureSet]:  # fmt: skip
    """Open what is trained on; see `opening`.

    Parameters
    ----------
    pairs
        Clean pairs; None takes ``images``.
    images
        Labelled images, whose captions are then prompts with the names of their classes.
    most
        Pairs at most.

    Raises
    ------
    InputError
        If none is named, or it cannot be read.
    """

    def act(watch: Watch) -> PictureSet:
        if pairs is not None:
            few = {"n": min(pairs.n or most, most)}
            return open_pairs(pairs.model_copy(update=few), watch)
        if images is None:
            raise InputError(
                "Triggers are planted with image-caption pairs or with labelled images: name some."
            )
        return open_images(images, label_set, watch)

    return (yield from opening(act, control))


def as_pairs(
    data: PictureSet, model: ClipModel, label_set: LabelSet, *, cached: bool = False
) -> Pairs:
    """Opened data on the model's canvas, with captions; pairs that are shown again may be cached.

    Raises
    ------
    InputError
        If there are too few.
    """
    fitted = data.fitted(model.preprocess.fit).drafted()
    pairs: Pairs
    if isinstance(fitted, PairSet):
        pairs = CachedSet(fitted, model.image_size) if cached else fitted
    else:
        assert isinstance(fitted, ImageSet)
        pairs = PromptPairs(fitted, label_set.templates)
    if len(pairs) < _FEWEST:
        raise InputError(
            f"{data.name} has {len(pairs)} pairs or labelled images, and planting needs at "
            f"least {_FEWEST}: choose more data."
        )
    return pairs


def plain_recipe(
    pairs: int, steps: int, batch_size: int, lr: float, *, every: int = 0,
    seed: int = 0, preset: str = "plain", warmup: int = 20, even: bool = False,
) -> Recipe:  # fmt: skip
    """MMCL without augmentation for this number of steps, or a few more if pairs repeat.

    With ``even``, epochs are shortened instead, since whole epochs could double the steps.
    """
    batch = min(batch_size, pairs)
    per_epoch = min(steps, pairs // batch)
    epochs = -(-steps // per_epoch)
    if even:
        per_epoch = -(-steps // epochs)
    return make_recipe(
        {
            "method": "mmcl",
            "preset": preset,
            "pairs": per_epoch * batch,
            "epochs": epochs if even else min(1000, epochs),
            "batch_size": batch,
            "lr": lr,
            "lr_end": 0.0,
            "warmup_steps": min(warmup, steps),
            "lambda_image": 0.0,
            "lambda_text": 0.0,
            "image_augmentation": "none",
            "stop_below_ca": 0.0,
            "eval_every": every,
            "save_every": 0,
            "seed": seed,
        }
    )


def plain_batches(pairs: Pairs, recipe: Recipe, model: ClipModel) -> MakeBatch:
    """Batches of pairs as they are, on the model's canvas."""
    size, tokenize = model.image_size, model.tokenize
    return lambda step: pair_batch(pairs, recipe, size, tokenize, lambda caption, _: caption, step)


def trained(
    model: ClipModel,
    recipe: Recipe,
    make_batch: MakeBatch,
    control: Control,
    event_of: Callable[[Event], Event | None] = lambda event: event,
    *,
    stage: str = "train",
    **options: Any,
) -> Generator[Event, None, TrainingOutcome]:
    """Train a copy of a model inside a job; only the model is kept of the training.

    Parameters
    ----------
    model
        Trained in place.
    recipe, make_batch, **options
        As in `train`.
    control
        Cancel, pause and stop of the training, see `Control.part`.
    event_of
        The job's event for an event of the training; None for no event.
    stage
        Name of the steps in Progress events.

    Returns
    -------
    Outcome
        The generator's return value.

    Raises
    ------
    CancelledError
        If it was cancelled.
    DivergedError
        If the loss is not a number.
    """
    model.sha256 = None  # it changes: no cached embedding is its own
    steps = train(model, recipe, make_batch, control, **options)

    def named(event: Event) -> Event | None:
        if isinstance(event, Progress) and event.stage == "train":
            event = replace(event, stage=stage)
        return event_of(event)

    try:
        outcome = yield from forwarded(steps, named)
    except DivergedError:
        if control.cancelled:
            raise CancelledError from None
        raise
    if control.cancelled:
        raise CancelledError
    return outcome
