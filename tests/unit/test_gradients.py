from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ml_core.cleaning.gradients import backward
from ml_core.cleaning.loop import prepared, train
from ml_core.cleaning.methods.build import build_method
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.cleaning.speed import Speed
from ml_core.cleaning.step import cut_texts, forward, training_mode
from ml_core.data.specs import ImageSpec
from ml_core.events import Control, Message, Metric
from ml_core.jobs.runner import run_job
from ml_core.jobs.specs import halved
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError, TooLittleMemoryError
from tests.unit.small_jobs import small_recipe, small_spec
from tests.unit.tiny_models import batches, tiny_vit, trained

SMALL = {
    "pairs": 24,
    "batch_size": 8,
    "warmup_steps": 1,
    "eval_every": 0,
    "save_every": 0,
    "precision": "fp32",
    "batch_norm": "frozen",
}


def _model(kind: str, tiny_model: ClipModel) -> ClipModel:
    return tiny_model if kind == "resnet" else tiny_vit()


def _whole(model: ClipModel, recipe: Recipe, half: bool) -> tuple[dict[str, torch.Tensor], float]:
    """Gradients of the whole batch by plain backpropagation."""
    method = build_method(model, recipe, _given(model))
    for _, parameter in method.trained:
        parameter.requires_grad_(True)
    training_mode(model, recipe)
    parts = forward(model, method, _batch(model, recipe), Speed(half))
    parts["loss"].backward()
    return _taken(method.trained), float(parts["loss"].detach())


def _given(model: ClipModel) -> Extras:
    return Extras(model.encode_texts(["cat", "dog", "bird"]))


def _batch(model: ClipModel, recipe: Recipe):  # type: ignore[no-untyped-def]
    if recipe.uses_pairs:
        return cut_texts(model, batches(model, recipe)(1))
    from ml_core.cleaning.batches import labelled_batch
    from tests.unit.fake_pictures import FakePairs

    return labelled_batch(FakePairs(), recipe, 32, 1)


def _taken(trained):  # type: ignore[no-untyped-def]
    found = {name: p.grad.clone() for name, p in trained if p.grad is not None}
    for _, parameter in trained:
        parameter.grad = None
    return found


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("method", ["cleanclip", "mmcl", "supervised"])
@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_chunks_give_the_gradients_of_the_whole_batch(
    kind: str, method: str, half: bool, tiny_model: ClipModel
) -> None:
    model = _model(kind, tiny_model)
    recipe = make_recipe(SMALL | {"method": method})
    whole, loss = _whole(model, recipe, half)
    made = build_method(model, recipe, _given(model))
    before = torch.get_rng_state()
    parts = backward(model, made, _batch(model, recipe), half, chunk=3)
    assert torch.equal(before, torch.get_rng_state())
    chunked = _taken(made.trained)
    assert whole.keys() == chunked.keys()
    assert ("logit_scale" in whole) == (method != "supervised")
    assert ("head" in whole) == (method == "supervised")
    assert float(parts["loss"]) == pytest.approx(loss, rel=1e-3 if half else 1e-6)
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    assert largest > 1e-3
    for name, gradient in whole.items():
        size = max(float(gradient.norm()), 1e-3 * largest)
        off = float((chunked[name] - gradient).norm()) / size
        assert off < (0.05 if half else 1e-4), (name, off)


def test_dropout_is_the_same_when_a_chunk_is_encoded_again() -> None:
    model = tiny_vit(patch_dropout=0.5)
    recipe = make_recipe(SMALL)
    method = build_method(model, recipe, Extras())
    for _, parameter in method.trained:
        parameter.requires_grad_(True)
    training_mode(model, recipe)
    batch = _batch(model, recipe)
    torch.manual_seed(5)
    with torch.no_grad():
        drawn = [method.encode(batch.part(slice(i, i + 4))) for i in (0, 4)]
    features = {
        name: torch.cat([part[name] for part in drawn]).requires_grad_() for name in drawn[0]
    }
    method.loss(features, batch)["loss"].backward()
    torch.manual_seed(5)
    for rows in (slice(0, 4), slice(4, 8)):
        again = method.encode(batch.part(rows))
        torch.autograd.backward(list(again.values()), [features[n].grad[rows] for n in again])
    wanted = _taken(method.trained)
    torch.manual_seed(5)
    backward(model, method, batch, False, chunk=4)
    found = _taken(method.trained)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_caching_is_refused_while_batch_norm_is_trained(tiny_model: ClipModel) -> None:
    recipe = make_recipe(SMALL | {"cache_chunk": 4, "batch_norm": "train"})
    run = train(tiny_model, recipe, batches(tiny_model, recipe), Control())
    with pytest.raises(InputError, match="set BatchNorm to frozen"):
        next(run)
    vit = tiny_vit()
    next(train(vit, recipe, batches(vit, recipe), Control()))


def test_encoders_that_do_not_train_may_be_encoded_in_pieces(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Their BatchNorm takes no statistics, whatever the recipe says."""
    recipe = small_recipe(method="linear-probe", cache_chunk=4, pairs=16, batch_norm="train")
    images = ImageSpec(split="clean", n=80)
    spec = small_spec(
        tiny_checkpoint, tmp_path / "out", recipe, training_images=images, test_images=None
    )
    *_, done = run_job(spec, Control())
    assert done.status == "finished", done.error
    *_, told = run_job(spec.model_copy(update={"processes": 2}), Control(), estimate=True)
    assert told.status == "finished", told.error
    smaller = halved(spec).recipe
    assert (smaller.batch_size, smaller.cache_chunk) == (8, 2)


def _weights(model: ClipModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.module.state_dict().items()}


def test_a_cached_run_ends_where_the_plain_one_does(tiny_model: ClipModel) -> None:
    losses = []
    for chunk in (0, 3):
        model = tiny_model.copy()
        recipe = make_recipe(SMALL | {"cache_chunk": chunk})
        events, outcome = trained(model, recipe)
        losses.append([e.values["loss"] for e in events if isinstance(e, Metric)])
        assert outcome.chunk == chunk
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert losses[0][0] != losses[0][-1]


@pytest.mark.parametrize("kind", ["vit", "resnet"])
@pytest.mark.parametrize("norm", ["train", "frozen"])
def test_checkpointed_activations_change_nothing(
    kind: str, norm: str, tiny_model: ClipModel
) -> None:
    found = []
    source = _model(kind, tiny_model)
    for switch in (False, True):
        model = source.copy()
        recipe = make_recipe(SMALL | {"checkpoint_activations": switch, "batch_norm": norm})
        events, _ = trained(model, recipe)
        losses = [e.values["loss"] for e in events if isinstance(e, Metric)]
        found.append((losses, _weights(model)))
        for part in model.module.modules():  # nothing is left that a copy would share
            assert not {"forward", "stem"} & vars(part).keys()
    assert found[0][0] == found[1][0]
    for name, value in found[0][1].items():
        assert torch.equal(value, found[1][1][name]), name


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_checkpointing_keeps_fewer_activations(kind: str, tiny_model: ClipModel) -> None:
    model = _model(kind, tiny_model)
    recipe = make_recipe(SMALL | {"checkpoint_activations": True})
    method = build_method(model, recipe, Extras())
    for _, parameter in method.trained:
        parameter.requires_grad_(True)
    training_mode(model, recipe)
    batch = _batch(model, recipe)

    def kept() -> int:
        sizes: list[int] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            forward(model, method, batch, Speed(False))
        return sum(sizes)

    plain = kept()
    with prepared(model, recipe):
        assert kept() < 0.75 * plain
    assert kept() == plain


def test_compile_is_left_out_without_cuda_and_said(tiny_model: ClipModel) -> None:
    recipe = make_recipe(SMALL | {"compile": True})
    events, _ = trained(tiny_model, recipe)
    assert any(isinstance(e, Message) and "Compile is left out" in e.text for e in events)


# ---- too little memory ----


class _Memory:
    """An encoder that runs out of memory over a number of images."""

    def __init__(self, model: ClipModel, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        whole = model.module.encode_image

        def encode(images: torch.Tensor) -> torch.Tensor:
            self.sizes.append(len(images))
            if len(images) > most:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return whole(images)  # type: ignore[operator, no-any-return]

        monkeypatch.setattr(model.module, "encode_image", encode, raising=False)


def test_a_batch_that_does_not_fit_is_halved_through_caching(
    tiny_model: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(SMALL)
    plain = tiny_model.copy()
    events, _ = trained(plain, recipe)
    wanted = [e.values["loss"] for e in events if isinstance(e, Metric)]
    memory = _Memory(tiny_model, 4, monkeypatch)  # two images of an example go together
    events, outcome = trained(tiny_model, recipe)
    said = [e.text for e in events if isinstance(e, Message) and e.level == "warning"]
    assert outcome.chunk == 2
    assert len(said) == 2
    assert "from step 1 on 2 are encoded at a time" in said[1]
    assert memory.sizes[:3] == [16, 8, 4]
    assert set(memory.sizes[3:]) == {4}
    losses = [e.values["loss"] for e in events if isinstance(e, Metric)]
    assert losses == pytest.approx(wanted, abs=1e-5)


def test_a_batch_that_cannot_be_divided_is_a_sentence(
    tiny_model: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(SMALL | {"batch_norm": "train"})
    _Memory(tiny_model, 2, monkeypatch)
    with pytest.raises(TooLittleMemoryError, match="set BatchNorm to frozen"):
        trained(tiny_model, recipe)


def test_one_example_that_does_not_fit_ends_the_run(
    tiny_model: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(SMALL)
    _Memory(tiny_model, 0, monkeypatch)
    with pytest.raises(TooLittleMemoryError, match="even for one example"):
        trained(tiny_model, recipe)
