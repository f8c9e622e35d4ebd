"""A killed run is known again and ends in the same bits, whatever was remembered meanwhile."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ml_core.cleaning.batches import labelled_batch
from ml_core.cleaning.loop import train
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.speed import Speed
from ml_core.data import digests
from ml_core.data.known_files import EARLIER
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import PairSpec
from ml_core.events import Control, Saved
from ml_core.jobs.runner import run_job
from tests.unit.draining import drain
from tests.unit.fake_pictures import FakePairs
from tests.unit.pair_files import table
from tests.unit.small_jobs import few_climbs, small_recipe, small_spec
from tests.unit.tiny_models import batches, tiny_vit


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    few_climbs(monkeypatch)


def test_a_set_that_is_known_by_content_meanwhile_is_still_the_same(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(digests, "_RACY_NS", -(10**18))
    monkeypatch.setattr("ml_core.data.known_files.CONTENT_LIMIT", 300)  # about four pictures
    pairs = PairSpec(kind="csv", path=str(table(tmp_path / "pairs", range(6))))
    recipe = small_recipe(method="mmcl", pairs=6, batch_size=2, save_every=1)
    spec = small_spec(tiny_checkpoint, tmp_path / "out", recipe, pairs=pairs, test_images=None)
    killed = run_job(spec, Control())
    for event in killed:
        if isinstance(event, Saved) and event.what == "resume" and event.step == 2:
            killed.close()
    assert open_pairs(pairs).known_by == EARLIER
    *_, last = run_job(spec, Control(), resume=True)
    assert last.status == "finished", last.error


@pytest.mark.parametrize("method", ["linear-probe", "cleanclip-par", "adversarial"])
def test_what_the_trial_of_a_precision_computed_is_not_kept(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trial(recipe: Any, device: Any, loss: Any, *_: Any) -> Speed:
        loss(Speed(False))
        return Speed(True)

    monkeypatch.setattr("ml_core.cleaning.loop.measure_speed", trial)
    recipe = small_recipe(
        method=method, pairs=24, epochs=2, lr=1e-3, save_every=1, precision="auto",
        image_augmentation="none",
    )  # fmt: skip

    def begun(path: Path, resume: bool = False) -> tuple[Any, Any]:
        model = tiny_vit()
        given = Extras(classifier=model.encode_texts(["cat", "dog", "bird"]).clone())
        make = batches(model, recipe)
        if method == "linear-probe":
            make = partial(labelled_batch, FakePairs(), recipe, 32)
        training = train(
            model, recipe, make, Control(), extras=given, state_path=path, resume=resume
        )  # fmt: skip
        return model, training

    whole, training = begun(tmp_path / "whole.safetensors")
    _, wanted = drain(training)
    _, killed = begun(tmp_path / "killed.safetensors")
    for event in killed:
        if isinstance(event, Saved) and event.step == 3:  # the first epoch's end
            killed.close()
    again, training = begun(tmp_path / "killed.safetensors", resume=True)
    _, found = drain(training)
    assert wanted.speed == found.speed == Speed(True)
    if wanted.head is not None:
        assert torch.equal(wanted.head, found.head)
    one, two = whole.module.state_dict(), again.module.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("method", ["linear-probe", "cleanclip-par"])
@pytest.mark.parametrize("uneven", ["chunks", "memory", "damaged"])
def test_embeddings_that_are_kept_do_not_tell_in_which_piece_they_were_made(
    uneven: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of 4, 4 and 2; of 3, 3, 3 and 1 from some step on; pictures that are damaged."""
    recipe = small_recipe(
        method=method, pairs=24, batch_size=10, epochs=3, lr=1e-3, save_every=1,
        image_augmentation="none", cache_chunk=4 if uneven == "chunks" else 0,
    )  # fmt: skip
    pairs = FakePairs()
    if uneven == "damaged":
        pairs.broken.update(dict.fromkeys(range(16), "It is torn."))

    def begun(path: Path, resume: bool = False) -> tuple[Any, Any]:
        model = tiny_vit()
        given = Extras(classifier=model.encode_texts(["cat", "dog", "bird"]).clone())
        make = batches(model, recipe, pairs)
        if method == "linear-probe":
            make = partial(labelled_batch, pairs, recipe, 32)
        return model, train(
            model, recipe, make, Control(), extras=given, state_path=path, resume=resume
        )

    def stepped(model: Any, training: Any, last: int) -> None:
        """Until a step is saved; from the second one on a third of a batch fits into memory."""
        whole = model.module.encode_image

        def little(images: torch.Tensor) -> torch.Tensor:
            if len(images) > (3 if method == "linear-probe" else 6):  # images and views together
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return whole(images)  # type: ignore[no-any-return]

        for event in training:
            if isinstance(event, Saved) and event.step == 1 and uneven == "memory":
                monkeypatch.setattr(model.module, "encode_image", little, raising=False)
            if isinstance(event, Saved) and event.step == last:
                training.close()

    whole, training = begun(tmp_path / "whole.safetensors")
    stepped(whole, training, 6)
    killed, training = begun(tmp_path / "killed.safetensors")
    stepped(killed, training, 3)
    again, training = begun(tmp_path / "killed.safetensors", resume=True)
    _, outcome = drain(training)
    assert outcome.chunk == {"chunks": 4, "memory": 3, "damaged": 0}[uneven]
    one, two = load_file(tmp_path / "whole.safetensors"), again.module.state_dict()
    assert all(torch.equal(one[f"model/{name}"], value) for name, value in two.items())
    if outcome.head is not None:
        assert torch.equal(one["head"], outcome.head)
