"""A small ViT CLIP beside conftest's small ResNet."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor

from ml_core.cleaning.batches import Batch, labelled_batch, pair_batch
from ml_core.cleaning.loop import TrainingOutcome, train
from ml_core.cleaning.recipes import Recipe, fields_of
from ml_core.cleaning.stamps import Stamps
from ml_core.events import Control, Event
from ml_core.model import ClipModel, build_model
from ml_core.reading.clip_config import Preprocess
from tests.conftest import TINY_CONFIG
from tests.unit.draining import drain
from tests.unit.fake_pictures import FakePairs


def tiny_vit(**vision: object) -> ClipModel:
    """A random ViT CLIP for 32 px images and 16 tokens."""
    config = copy.deepcopy(TINY_CONFIG)
    small = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    config["vision_cfg"] = small | vision
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(config, Preprocess(32), None, name="tiny-vit")


def batches(
    model: ClipModel, recipe: Recipe, pairs: FakePairs | None = None
) -> Callable[[int], Batch]:
    """Batches of made-up pairs, or of pictures, with stamps where the recipe asks for them."""
    pairs = pairs or FakePairs()

    def make(step: int) -> Batch:
        if not recipe.uses_pairs:
            return labelled_batch(pairs, recipe, 32, step)
        return pair_batch(pairs, recipe, 32, model.tokenize, lambda c, r: c[r.randrange(5) :], step)

    if "stamp_share" not in fields_of(recipe.method):
        return make
    stamps = Stamps.training((), recipe, model)
    return lambda step: stamps.on(make(step), step)


def training(
    model: ClipModel,
    recipe: Recipe,
    control: Control | None = None,
    pairs: FakePairs | None = None,
    **options: Any,
) -> Generator[Event, None, TrainingOutcome]:
    """A training on `batches` that begins when it is asked for events."""
    return train(model, recipe, batches(model, recipe, pairs), control or Control(), **options)


def trained(
    model: ClipModel, recipe: Recipe, **options: Any
) -> tuple[list[Event], TrainingOutcome]:
    """The events of a training on `batches`, and its outcome."""
    return drain(training(model, recipe, **options))


def different(one: ClipModel, two: ClipModel) -> list[str]:
    """Names of the weights and statistics that are not the same to the last bit."""
    other = two.module.state_dict()
    return [k for k, value in one.module.state_dict().items() if not torch.equal(value, other[k])]


def some_classes(model: ClipModel) -> Tensor:
    """A classifier of three classes."""
    return model.encode_texts(["cat", "dog", "bird"]).clone()
