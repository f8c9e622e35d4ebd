"""What each method trains, remembers, draws and refuses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ml_core.cleaning.augment import augment_images
from ml_core.cleaning.batches import Batch, picture_batch
from ml_core.cleaning.loop import train
from ml_core.cleaning.losses import feature_repulsion, pulled, squared_distance, truncated
from ml_core.cleaning.methods.build import build_method
from ml_core.cleaning.methods.method import Extras, FrozenCopy, Remembered, frozen_copy
from ml_core.cleaning.presets import preset
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.cleaning.step import rate_at
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import open_images
from ml_core.data.specs import ImageSpec, shots_of
from ml_core.events import Control, Metric
from ml_core.model import ClipModel
from ml_core.reading.clip_config import CLIP_FIT
from ml_core.triggers import badnets_patch
from tests.unit.draining import drain
from tests.unit.tiny_models import batches, trained

SMALL = {
    "pairs": 24, "batch_size": 4, "epochs": 2, "warmup_steps": 2, "eval_every": 0,
    "save_every": 0, "precision": "fp32",
}  # fmt: skip


# ---- losses by hand ----


def test_distance_is_kept_at_tau_and_nothing_above_it() -> None:
    now = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    before = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    distance = squared_distance(now, before)  # (2 + 0) / 2
    assert distance.item() == 1.0
    assert truncated(distance, 1.0).item() == 1.0
    above = truncated(distance, 0.999)
    assert above.item() == 0.0
    above.backward()
    assert now.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    now.grad = None
    truncated(squared_distance(now, before), 1.0).backward()
    assert now.grad.tolist() == [[1.0, -1.0], [0.0, 0.0]]  # 2 (now - before) / N


def test_pull_and_feature_repulsion_by_hand() -> None:
    now = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    before = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert pulled(now, before).item() == pytest.approx(1 - 0.8)
    tokens = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])  # one image, two blocks
    frozen = torch.tensor([[[5.0, 0.0], [4.0, 0.0]]])
    assert feature_repulsion(tokens, frozen).item() == pytest.approx(0.5)


def test_gradients_match_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    now, before = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    now.requires_grad_(True)
    fixed = F.normalize(before, dim=-1)

    def loss(a: torch.Tensor) -> torch.Tensor:
        unit = F.normalize(a, dim=-1)
        pushed = truncated(squared_distance(unit, fixed), 4.0)
        return pulled(unit, fixed) - pushed / 2 + 2 * feature_repulsion(a[None], before[None])

    assert torch.autograd.gradcheck(loss, (now,))


# ---- PAR ----


def test_par_starts_at_no_distance_and_moves_away(tiny_model: ClipModel) -> None:
    recipe = make_recipe(SMALL | {"method": "par", "epochs": 6, "lr": 3e-3, "batch_norm": "frozen"})
    scale = tiny_model.logit_scale
    events, _ = trained(tiny_model, recipe)
    values = [e.values for e in events if isinstance(e, Metric)]
    assert values[0]["image_distance"] == pytest.approx(0.0, abs=1e-6)
    assert values[0]["text_distance"] == pytest.approx(0.0, abs=1e-6)
    assert values[-1]["image_distance"] > 0.1
    assert values[-1]["text_distance"] > 0.1
    assert tiny_model.logit_scale == scale  # frozen
    names = {n for n, _ in build_method(tiny_model, recipe, Extras()).trained}
    assert "logit_scale" not in names
    assert {"visual.conv1.weight", "token_embedding.weight"} <= names


def test_par_augments_what_both_models_see_and_draws_no_views(tiny_model: ClipModel) -> None:
    plain = make_recipe(SMALL | {"method": "par", "image_augmentation": "none"})
    noisy = make_recipe(SMALL | {"method": "par", "image_augmentation": "noise-erase"})
    one, two = (batches(tiny_model, r)(0) for r in (plain, noisy))
    assert one.image_views is two.image_views is None
    assert one.token_views is None
    assert not torch.equal(one.images, two.images)
    assert torch.equal(one.numbers, two.numbers)


def test_remembered_embeddings_are_those_computed_anew(tiny_model: ClipModel) -> None:
    recipe = make_recipe(SMALL | {"method": "par", "image_augmentation": "none"})
    kept, fresh = frozen_copy(tiny_model, recipe), FrozenCopy(tiny_model)
    make = batches(tiny_model, recipe)
    for step in range(recipe.total_steps):
        batch = make(step)
        first, again = kept.both(batch), fresh.both(batch)
        for name, value in again.items():
            assert torch.equal(first[name], value), (step, name)
    assert kept.images_kept.made == kept.texts_kept.made == 6  # of 12 batches


def _texts(tokens: torch.Tensor) -> Batch:
    return Batch(torch.empty(0), tokens=tokens, numbers=torch.arange(len(tokens)))


def test_captions_that_take_turns_are_not_confused(tiny_model: ClipModel) -> None:
    copy, fresh = FrozenCopy(tiny_model, keep_texts=True), FrozenCopy(tiny_model)
    for captions in (["a cat", "a dog"], ["my cat", "my dog"], ["a dog", "a cat on the mat"]):
        tokens = tiny_model.tokenize(captions)
        assert torch.equal(copy.texts(_texts(tokens[:, :8])), fresh.texts(_texts(tokens)))
    assert copy.texts_kept.made == 3
    turned = _texts(tokens.flip(0))
    assert torch.equal(copy.texts(turned), fresh.texts(turned))
    assert copy.texts_kept.made == 3


def test_augmented_pictures_are_never_remembered(tiny_model: ClipModel) -> None:
    noisy = make_recipe(SMALL | {"method": "par", "image_augmentation": "noise-erase"})
    copy = frozen_copy(tiny_model, noisy)
    assert copy.images_kept is None
    assert copy.texts_kept is not None
    once = frozen_copy(tiny_model, noisy.changed(epochs=1))
    assert once.texts_kept is None
    both = make_recipe(SMALL | {"method": "cleanclip-par"})
    assert frozen_copy(tiny_model, both).images_kept is not None  # its views are beside


def test_what_is_remembered_has_a_limit() -> None:
    kept = Remembered(limit=3 * 8)  # three rows of two floats
    rows = torch.arange(10.0).reshape(5, 2)
    for _ in range(2):
        found = kept.get(range(5), rows, torch.clone)
        assert torch.equal(found, rows)
    assert torch.equal(kept.get(range(3), rows, torch.zeros_like, fill=5), rows[:3])
    assert kept.made == 2


def test_what_is_remembered_was_made_in_one_number() -> None:
    kept, sizes = Remembered(), []

    def make(inputs: torch.Tensor) -> torch.Tensor:
        sizes.append(len(inputs))
        return inputs * 2

    rows = torch.arange(10.0).reshape(5, 2)
    for start in (0, 3):
        part = range(start, min(5, start + 3))
        found = kept.get(part, rows[part.start : part.stop], make, fill=3)
        assert torch.equal(found, rows[part.start : part.stop] * 2)
    assert sizes == [3, 3]
    kept.get(range(2), rows[:2], make, fill=3)
    assert sizes == [3, 3]  # known
    kept.get(range(2), rows[:2], make, fill=2)
    assert sizes == [3, 3, 2]  # in another number they are made anew


@pytest.mark.parametrize(
    "method", ["cleanclip", "par", "cleanclip-par", "supervised", "locked-text", "linear-probe"]
)
def test_resume_gives_the_same_bits(tiny_model: ClipModel, tmp_path: Path, method: str) -> None:
    recipe = make_recipe(SMALL | {"method": method, "save_every": 8, "image_augmentation": "none"})
    extras = Extras(tiny_model.encode_texts(["cat", "dog", "bird"]).clone())
    whole, halves, fresh = (tiny_model.copy() for _ in range(3))
    _, expected = trained(whole, recipe, extras=extras)
    path = tmp_path / "state.safetensors"
    first = train(
        halves, recipe, batches(halves, recipe), Control(), extras=extras, state_path=path
    )
    for event in first:
        if isinstance(event, Metric) and event.step == 9:
            first.close()
            break
    make = batches(fresh, recipe)
    _, outcome = drain(
        train(fresh, recipe, make, Control(), extras=extras, state_path=path, resume=True)
    )
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, fresh.module.state_dict()[name]), name
    if expected.head is not None:
        assert outcome.head is not None
        assert torch.equal(expected.head, outcome.head)


# ---- the others ----


def test_self_supervision_encodes_what_it_needs_alone(tiny_model: ClipModel) -> None:
    for weights, features, parts in (
        ((1.0, 0.0), {"images", "image_views"}, {"loss", "image"}),
        ((0.0, 1.0), {"texts", "text_views"}, {"loss", "text"}),
    ):
        fields = {"method": "ss", "lambda_image": weights[0], "lambda_text": weights[1]}
        recipe = make_recipe(SMALL | fields)
        method, batch = (build_method(tiny_model, recipe, Extras()), batches(tiny_model, recipe)(0))
        encoded = method.encode(batch)
        assert set(encoded) == features
        assert set(method.loss(encoded, batch)) == parts


def test_locked_text_trains_the_image_encoder_alone(tiny_model: ClipModel) -> None:
    recipe = make_recipe(SMALL | {"method": "locked-text"})
    classifier = tiny_model.encode_texts(["cat", "dog", "bird"]).clone()
    before = {k: v.clone() for k, v in tiny_model.module.state_dict().items()}
    _, outcome = trained(tiny_model, recipe, extras=Extras(classifier))
    assert outcome.head is None
    changed = {
        name
        for name, value in tiny_model.module.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert "visual.conv1.weight" in changed
    assert all(name.startswith("visual.") for name in changed)


@pytest.mark.parametrize("augmentation", ["none", "flip"])
def test_a_probe_leaves_every_weight_and_statistic(
    tiny_model: ClipModel, augmentation: str
) -> None:
    recipe = make_recipe(
        SMALL
        | {"method": "linear-probe", "epochs": 4, "lr": 0.05, "image_augmentation": augmentation}
    )
    classifier = tiny_model.encode_texts(["cat", "dog", "bird"]).clone()
    before = {k: v.clone() for k, v in tiny_model.module.state_dict().items()}
    events, outcome = trained(tiny_model, recipe, extras=Extras(classifier))
    for name, value in tiny_model.module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert outcome.head is not None
    assert not torch.equal(outcome.head, classifier)
    losses = [e.values["loss"] for e in events if isinstance(e, Metric)]
    assert sum(losses[-6:]) < sum(losses[:6])


def _clean_images() -> CanvasCache:
    return CanvasCache(open_images(ImageSpec(split="clean", n=24)), 32)


def test_triggers_are_drawn_anew_in_each_step_and_alike_in_each_run() -> None:
    recipe = make_recipe(SMALL | {"method": "unlearn", "pairs": 4})

    def make(step: int, seed: int = 0) -> Batch:
        r = recipe.changed(seed=seed)
        cache = CanvasCache(open_images(ImageSpec(split="clean", n=4)), 32)
        return picture_batch(cache, badnets_patch(), r, 32, CLIP_FIT, step)

    first, again, second, other = make(0), make(0), make(1), make(0, seed=1)
    assert torch.equal(first.image_views, again.image_views)
    assert not torch.equal(first.images.float() / 255, first.image_views)

    def by_number(batch: Batch) -> torch.Tensor:
        return batch.image_views[batch.numbers.argsort()]

    assert not torch.equal(by_number(first), by_number(second))
    assert not torch.equal(by_number(first), by_number(other))


def test_unlearning_brings_triggered_images_back(tiny_model: ClipModel) -> None:
    recipe = make_recipe(
        SMALL | {"method": "unlearn", "epochs": 8, "lr": 2e-3, "batch_norm": "frozen"}
    )
    cache = _clean_images()
    texts = tiny_model.encode_texts(["a cat"])

    def make(step: int) -> Batch:
        return picture_batch(cache, badnets_patch(), recipe, 32, CLIP_FIT, step)

    events, _ = drain(train(tiny_model, recipe, make, Control()))
    values = [e.values for e in events if isinstance(e, Metric)]
    start = sum(v["triggered"] for v in values[:6])
    assert values[0]["clean"] == pytest.approx(0.0, abs=1e-6)
    assert sum(v["triggered"] for v in values[-6:]) < start
    assert torch.equal(texts, tiny_model.encode_texts(["a cat"]))


def test_shots_are_so_many_of_each_class_and_repeat() -> None:
    labels = np.array([0] * 10 + [1] * 3 + [-1] * 4 + [2] * 6)
    kept = shots_of(labels, 4, seed=1)
    assert [(labels[kept] == c).sum() for c in (0, 1, 2, -1)] == [4, 3, 4, 0]
    assert np.array_equal(kept, np.unique(kept))
    assert np.array_equal(kept, shots_of(labels, 4, seed=1))
    assert not np.array_equal(kept, shots_of(labels, 4, seed=2))
    assert np.array_equal(shots_of(labels, None, seed=1), np.arange(len(labels)))


# ---- augmentation ----


def test_noise_is_on_both_sides_and_the_code_only_brightens() -> None:
    grey = np.full((200, 32, 32, 3), 128, np.uint8)
    views = augment_images(grey, "noise-erase", np.random.default_rng(0), (0, 0, 0))
    # most pixels of a view say whether it has noise; the erased squares are black
    untouched = [np.isin(view, (0, 128)).all() for view in views]
    assert 70 <= sum(untouched) <= 130
    noisy = views[~np.array(untouched)].astype(float)
    inside = noisy[(noisy > 0) & (noisy < 255)]
    assert abs((inside - 128).mean()) < 2
    assert (inside - 128).std() / 255 == pytest.approx(0.2, abs=0.02)
    erased = (views == 0).all(axis=-1).sum(axis=(1, 2))
    with_square = erased[erased >= 4]
    assert 70 <= len(with_square) <= 130
    assert with_square.max() <= math.ceil(math.sqrt(0.01 * 1024)) ** 2
    code = augment_images(grey, "noise-erase-code", np.random.default_rng(0), (255, 255, 255))
    assert code.min() == 128
    assert (grey == 128).all()


def test_erased_squares_take_the_colour_that_normalises_to_nothing() -> None:
    white = np.full((50, 32, 32, 3), 255, np.uint8)
    views = augment_images(white, "noise-erase", np.random.default_rng(3), (123, 117, 104))
    squares = (views == (123, 117, 104)).all(axis=-1)
    assert squares.any()
    assert squares.sum(axis=(1, 2)).max() <= 16


# ---- recipes ----


def test_the_two_phase_schedule_is_pars() -> None:
    recipe = preset("par", "paper")
    for total in (2, 3, 22, 23, 1000):
        first = total // 2  # of the steps, the line takes a half and the cosine the rest
        line = np.linspace(3e-5, 3e-6, first)
        turn = np.pi * np.arange(total - first) / (total - first)
        expected = [*line, *(1e-9 + (3e-6 - 1e-9) * (1 + np.cos(turn)) / 2)]
        rates = [rate_at(step, total, recipe) for step in range(total)]
        assert rates == pytest.approx(expected, rel=1e-12)
        assert rate_at(total, total, recipe) == pytest.approx(1e-9)


def test_a_warm_up_goes_before_both_phases() -> None:
    recipe = preset("par", "paper").changed(warmup_steps=4)
    rates = [rate_at(step, 26, recipe) for step in range(26)]
    assert rates[:5] == pytest.approx([0.75e-5, 1.5e-5, 2.25e-5, 3e-5, 3e-5])
    assert rates[14:16] == pytest.approx([3e-6, 3e-6])


def test_paper_presets_are_the_published_numbers() -> None:
    for method in ("cleanclip", "mmcl", "ss", "supervised", "par", "rvpt"):
        assert preset(method, "paper").grad_clip == 0.0  # nobody clips
    clean = preset("cleanclip", "paper")
    assert (clean.pairs, clean.batch_size, clean.epochs, clean.lr) == (100_000, 64, 10, 1e-5)
    assert (clean.warmup_steps, clean.weight_decay, clean.schedule) == (50, 0.1, "cosine")
    assert (clean.lambda_clip, clean.lambda_image, clean.lambda_text) == (1.0, 1.0, 1.0)
    assert (clean.beta1, clean.beta2, clean.image_augmentation) == (0.9, 0.999, "autoaugment")
    par = preset("par", "paper")
    assert (par.batch_size, par.beta1, par.beta2, par.weight_decay) == (512, 0.9, 0.98, 1e-4)
    assert (par.tau, par.lambda_repel, par.pairs) == (2.15, 1.0, 250_000)
    rvpt = preset("rvpt", "paper")
    assert (rvpt.shots, rvpt.batch_size, rvpt.epochs, rvpt.lr) == (16, 32, 50, 0.002)
    assert (rvpt.prompt_depth, rvpt.prompt_length, rvpt.lambda_repel) == (3, 50, 2.0)
    assert (rvpt.optimizer, rvpt.schedule) == ("sgd", "cosine")


def test_titles_fit_the_forms_column() -> None:
    for name, info in Recipe.model_fields.items():
        assert info.title is not None
        assert len(info.title) <= 24, name
