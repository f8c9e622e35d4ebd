"""The window's engine: what its models see, long answers, cancel, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cleanclip_gui.inference.engine import Engine
from cleanclip_gui.inference.questions import (
    Attribute,
    ComparePair,
    Evaluate,
    LoadImages,
    MapEmbeddings,
    OpenCheckpoint,
    Pair,
    Predict,
    TellDetails,
    Thumbnails,
)
from cleanclip_gui.ticket import TicketProgress
from ml_core.checkpoints.save import save_checkpoint
from ml_core.data.specs import ImageSpec
from ml_core.reading.errors import CancelledError, InputError
from ml_core.triggers import demo_trigger


def test_a_donor_gives_the_encoder_that_is_not_there(tiny_checkpoint, tmp_path):
    whole, engine = load_file(tiny_checkpoint), Engine()
    visual = {key: value for key, value in whole.items() if key.startswith("visual.")}
    path = tmp_path / "visual.pt"
    torch.save(visual, path)
    with pytest.raises(InputError, match="no text encoder") as caught:
        engine.open_checkpoint(OpenCheckpoint(str(path)))
    assert getattr(caught.value, "tower", "") == "text"  # what the window asks for
    donor = str(tiny_checkpoint)
    facts = engine.open_checkpoint(OpenCheckpoint(str(path), "suspect", donor))
    assert facts.donor == donor
    assert any("image encoder only" in sentence for sentence in facts.assumptions)
    assert engine.open_checkpoint(OpenCheckpoint(donor, "suspect", donor)).donor == ""


def test_thumbnails_with_the_trigger_are_what_the_model_sees(engine):
    trigger = replace(demo_trigger(), placement="random")
    drawn = engine.thumbnails(Thumbnails((4, 1), 32, trigger)).images
    for row, index in enumerate((4, 1)):
        seen = engine.predict(Predict(index, trigger)).triggered_image
        assert np.array_equal(drawn[row], seen)


@pytest.fixture
def engine(tiny_checkpoint, tiny_vit, tmp_path):
    engine = Engine()
    vit = save_checkpoint(tiny_vit, tmp_path / "vit.safetensors", provenance={})
    engine.open_checkpoint(OpenCheckpoint(str(tiny_checkpoint)))
    engine.open_checkpoint(OpenCheckpoint(str(tiny_checkpoint), "cleaned"))
    engine.open_checkpoint(OpenCheckpoint(str(vit), "reference"))
    engine.load_images(LoadImages(ImageSpec(n=40), "demo"))
    return engine


def never():
    return False


def last(steps):
    return list(steps)[-1]


def test_before_and_after_lie_in_one_plane(engine):
    asked = MapEmbeddings(demo_trigger(), ("suspect", "cleaned"), 20)
    *steps, found = engine.map_embeddings(asked, never)
    np.testing.assert_allclose(found.places[0], found.places[1], atol=1e-5)  # the same weights
    shares = [step.share for step in steps if not step.what]  # after the class texts
    assert shares == sorted(shares)


def test_each_model_is_explained_by_what_goes_with_it(engine):
    first, *_, resnet = engine.attribute(Attribute(3, 0, demo_trigger()), never)
    assert (resnet.method, first.methods) == ("grad-cam", ("grad-cam", "occlusion"))
    asked = Attribute(3, 0, demo_trigger(), "reference", "grad-cam", "layer2")
    first, *_, vit = engine.attribute(asked, never)
    assert (vit.method, first.methods) == ("attention", ("attention", "occlusion"))


def test_a_comparison_needs_both_sides_whole(engine):
    asked = ComparePair(demo_trigger(), 0, ("suspect", "reference"), 24)
    found = last(engine.compare_pair(asked, never))
    assert isinstance(found, Pair)
    assert [one.n for one in found.evaluations] == [24, 24]
    assert {one.name for one in found.differences} >= {"ca", "asr_excl", "target_margin"}
    answers = iter([False, False, True, True, True, True])
    steps = []
    with pytest.raises(CancelledError):
        steps.extend(engine.compare_pair(asked, lambda: next(answers, True)))
    assert all(isinstance(step, TicketProgress) for step in steps)


def test_the_record_is_of_the_number_or_refused(engine):
    evaluation, _ = last(engine.evaluate(Evaluate(demo_trigger(), 0, 16), never))
    found = engine.tell_details(TellDetails(evaluation, demo_trigger()))
    assert found["counts"]["n"] == 16
    assert found["classes"]["label_set"] == "demo"
    with pytest.raises(InputError, match="have changed since this was measured"):
        engine.tell_details(TellDetails(evaluation, demo_trigger(), "reference"))
