"""The engine's long answers: one plane for before and after, cancel, a ViT, and refusals."""

import numpy as np
import pytest

from cleanclip_gui.inference.questions import (
    Attribute,
    ComparePair,
    Evaluate,
    LoadImages,
    MapEmbeddings,
    OpenCheckpoint,
    Pair,
    TellDetails,
)
from cleanclip_gui.ticket import Progress
from ml_core.data.specs import ImageSpec
from ml_core.reading.errors import CancelledError, InputError
from ml_core.triggers import demo_trigger

VIT = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 32, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8,
    },
    "text_cfg": {
        "context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1,
    },
}  # fmt: skip


@pytest.fixture
def engine(tiny_checkpoint, tmp_path):
    from cleanclip_gui.inference.explain_engine import ExplainingEngine
    from ml_core.checkpoints.save import save_checkpoint
    from ml_core.model import Preprocess, build_model

    engine = ExplainingEngine()
    vit = save_checkpoint(
        build_model(VIT, Preprocess(32), None, name="vit"), tmp_path / "vit.safetensors",
        provenance={},
    )  # fmt: skip
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
    assert len(found.parts) == 2
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
    assert all(isinstance(step, Progress) for step in steps)


def test_the_record_is_of_the_number_or_refused(engine):
    evaluation, _ = last(engine.evaluate(Evaluate(demo_trigger(), 0, 16), never))
    found = engine.tell_details(TellDetails(evaluation, demo_trigger()))
    assert found["counts"]["n"] == 16
    assert found["classes"]["label_set"] == "demo"
    with pytest.raises(InputError, match="have changed since this was measured"):
        engine.tell_details(TellDetails(evaluation, demo_trigger(), "reference"))
