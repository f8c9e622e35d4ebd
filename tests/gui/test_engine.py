"""The window's models see pictures as the checkpoint asks, as they do at the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from cleanclip_gui.inference.questions import LoadImages, OpenCheckpoint, Predict, Thumbnails
from ml_core.data.specs import ImageSpec
from ml_core.triggers import demo_trigger


def test_pictures_are_made_square_as_the_checkpoint_asks(tmp_path: Path) -> None:
    from cleanclip_gui.inference.engine import Engine
    from ml_core.checkpoints.save import save_checkpoint
    from ml_core.model import Preprocess, build_model
    from tests.conftest import TINY_CONFIG

    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 64:] = 255  # the right third, which a centre crop does not show
    (tmp_path / "apple").mkdir()
    Image.fromarray(wide).save(tmp_path / "apple" / "wide.png")
    engine = Engine()
    engine.load_images(LoadImages(ImageSpec(kind="folder", path=str(tmp_path)), "demo"))
    seen = {}
    for mode in ("shortest", "squash"):
        model = build_model(TINY_CONFIG, Preprocess(32, resize_mode=mode), None, name=mode)
        path = save_checkpoint(model, tmp_path / f"{mode}.safetensors", provenance={})
        engine.open_checkpoint(OpenCheckpoint(str(path)))
        seen[mode] = engine.predict(Predict(0, None)).clean_image
    assert seen["shortest"].max() == 0
    assert (seen["squash"] > 200).mean() > 0.25


def test_what_lies_beside_the_model_is_told(tmp_path: Path) -> None:
    import torch

    from cleanclip_gui.inference.engine import Engine
    from ml_core.model import Preprocess, build_model
    from tests.conftest import TINY_CONFIG

    model = build_model(TINY_CONFIG, Preprocess(32), None, name="tiny")
    path = tmp_path / "m.pt"
    beside = {"optimizer": {"exp_avg": torch.zeros(2)}}
    torch.save({"state_dict": model.module.state_dict()} | beside, path)
    facts = Engine().open_checkpoint(OpenCheckpoint(str(path)))
    assert any("optimizer" in note for note in facts.notes)


def test_how_a_checkpoint_was_pretrained_is_told(tiny_checkpoint: Path) -> None:
    from cleanclip_gui.inference.engine import Engine
    from ml_core.cleaning.pretraining import DEMO
    from ml_core.jobs.demo import demo_checkpoint

    engine = Engine()
    (tiny_checkpoint.parent / "params.txt").write_text("lr: 0.001\n")
    other = engine.open_checkpoint(OpenCheckpoint(str(tiny_checkpoint)))
    assert (other.of_demo, other.pretraining.kind, other.pretraining.rate) == (False, "file", 1e-3)
    demo = engine.open_checkpoint(OpenCheckpoint(str(demo_checkpoint())))
    assert (demo.of_demo, demo.pretraining) == (True, DEMO)


def test_a_donor_gives_the_encoder_that_is_not_there(tmp_path: Path) -> None:
    import pytest
    import torch

    from cleanclip_gui.inference.engine import Engine
    from ml_core.checkpoints.save import save_checkpoint
    from ml_core.model import Preprocess, build_model
    from ml_core.reading import InputError
    from tests.conftest import TINY_CONFIG

    model = build_model(TINY_CONFIG, Preprocess(32), None, name="tiny")
    donor = save_checkpoint(model, tmp_path / "donor.safetensors", provenance={})
    state = model.module.state_dict()
    visual = {key: value for key, value in state.items() if key.startswith("visual.")}
    path = tmp_path / "visual.pt"
    torch.save(visual, path)
    engine = Engine()
    with pytest.raises(InputError, match="no text encoder") as caught:
        engine.open_checkpoint(OpenCheckpoint(str(path)))
    assert getattr(caught.value, "tower", "") == "text"  # what the window asks for
    facts = engine.open_checkpoint(OpenCheckpoint(str(path), "suspect", str(donor)))
    assert facts.donor == str(donor)
    assert any("image encoder only" in sentence for sentence in facts.assumptions)
    whole = engine.open_checkpoint(OpenCheckpoint(str(donor), "suspect", str(donor)))
    assert whole.donor == ""


def test_thumbnails_with_the_trigger_are_what_the_model_sees(tiny_checkpoint: Path) -> None:
    from cleanclip_gui.inference.engine import Engine

    engine = Engine()
    engine.open_checkpoint(OpenCheckpoint(str(tiny_checkpoint)))
    engine.load_images(LoadImages(ImageSpec(kind="demo", split="test", n=6), "demo"))
    trigger = replace(demo_trigger(), placement="random")
    drawn = engine.thumbnails(Thumbnails((4, 1), 96, trigger))
    plain = engine.thumbnails(Thumbnails((4, 1), 96))
    assert plain.images.shape == (2, 96, 96, 3)
    for row, index in enumerate((4, 1)):
        seen = engine.predict(Predict(index, trigger)).triggered_image
        assert np.array_equal(drawn.images[row], seen)
