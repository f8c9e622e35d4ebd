"""Ordinary image-text finetuning inside a job: no defence, no augmentation."""

from __future__ import annotations

from dataclasses import dataclass

from ml_core.cleaning.batches import Pairs
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.data.images import ImageSet, open_images
from ml_core.data.labels import LabelSet
from ml_core.data.pairs import PairSet, open_pairs
from ml_core.data.picture_set import PictureSet
from ml_core.data.prompt_pairs import PromptPairs
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.data.watch import Watch
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError

_FEWEST = 8
_WARMUP = 20


@dataclass(frozen=True)
class PlainData:
    """What it trains on.

    Attributes
    ----------
    pairs
        Clean pairs; None takes ``images``.
    images
        Labelled images, whose captions are then prompts with the names of their classes.
    wanted
        Pairs at most.
    demo_seed
        Added to the seed of the demo's compositions, so that others are drawn than a run has.
    """

    pairs: PairSpec | None
    images: ImageSpec | None
    wanted: int
    demo_seed: int


def open_plain(data: PlainData, label_set: LabelSet, watch: Watch) -> PictureSet:
    """Open it.

    Raises
    ------
    InputError
        If none is named, or it cannot be read.
    """
    if data.pairs is not None and not data.pairs.one_sided:
        pairs = data.pairs
        if pairs.kind == "demo":
            pairs = pairs.model_copy(update={"seed": pairs.seed + data.demo_seed})
        n = min(pairs.n or data.wanted, data.wanted)
        return open_pairs(pairs.model_copy(update={"n": n}), watch)
    if data.images is None:
        raise InputError(
            "Canaries are planted with image-caption pairs or with labelled images: name some."
        )
    return open_images(data.images, label_set, watch)


def as_pairs(data: PictureSet, model: ClipModel, label_set: LabelSet) -> Pairs:
    """Opened data on the model's canvas, with captions.

    Raises
    ------
    InputError
        If there are too few.
    """
    fitted = data.fitted(model.preprocess.fit).drafted()
    pairs: Pairs
    if isinstance(fitted, PairSet):
        pairs = fitted
    else:
        assert isinstance(fitted, ImageSet)
        pairs = PromptPairs(fitted, label_set.templates)
    if len(pairs) < _FEWEST:
        raise InputError(
            f"{data.name} has {len(pairs)} pairs or labelled images, and canaries need at least "
            f"{_FEWEST}: choose more data."
        )
    return pairs


def plain_recipe(
    pairs: int, steps: int, batch_size: int, lr: float, *, lr_end: float = 0.0, every: int = 0,
    seed: int = 0, preset: str = "plain",
) -> Recipe:  # fmt: skip
    """MMCL without augmentation for so many steps, or a few more where pairs are shown again."""
    batch = min(batch_size, pairs)
    per_epoch = min(steps, pairs // batch)
    return make_recipe(
        {
            "method": "mmcl",
            "preset": preset,
            "pairs": per_epoch * batch,
            "epochs": min(1000, -(-steps // per_epoch)),
            "batch_size": batch,
            "lr": min(1.0, lr),
            "lr_end": lr_end,
            "warmup_steps": min(_WARMUP, steps),
            "lambda_image": 0.0,
            "lambda_text": 0.0,
            "image_augmentation": "none",
            "stop_below_ca": 0.0,
            "eval_every": every,
            "save_every": 0,
            "seed": seed,
        }
    )
