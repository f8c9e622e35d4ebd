"""What is known of the peak learning rate that a checkpoint was pretrained at."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.known import KnownFile, add_known
from ml_core.cleaning.pretraining import DEMO, UNKNOWN, Pretraining, carried, pretraining_of
from ml_core.reading import examine
from tests.conftest import TINY_CONFIG


def of_file(path, architecture=""):
    opened = open_checkpoint(path)
    if architecture:
        opened = replace(opened, architecture=replace(opened.architecture, name=architecture))
    return pretraining_of(opened)


def trained(tiny_model, path, **beside):
    """A checkpoint as training scripts save it."""
    torch.save({"state_dict": tiny_model.module.state_dict(), **beside}, path)
    return path


def optimizer(lr, **more):
    return {"state": {}, "param_groups": [{"lr": np.float64(lr), "params": [0], **more}]}


def test_a_published_architecture_tells_it_and_of_others_the_lowest_is_assumed(tiny_checkpoint):
    for name, rate in (("RN50", 5e-4), ("ViT-B-32-quickgelu", 5e-4), ("ViT-L-14-336", 2e-5)):
        known = of_file(tiny_checkpoint, name)
        assert (known.rate, known.kind) == (rate, "architecture")
        assert name.removesuffix("-quickgelu") in known.sentence
    assert of_file(tiny_checkpoint) == UNKNOWN
    assert UNKNOWN.assumed == 3.6e-4
    assert "not known" in UNKNOWN.sentence


@pytest.mark.parametrize(
    ("beside", "rate", "words"),
    [
        ({"args": argparse.Namespace(lr=3e-4)}, 3e-4, "training options"),
        ({"optimizer": optimizer(1e-9, initial_lr=2e-4)}, 2e-4, "state of the training"),
        ({"scheduler": {"base_lrs": [2e-4, 1e-4]}}, 2e-4, "state of the training"),
        ({"optimizer": optimizer(7e-4)}, 7e-4, "optimizer stopped"),
    ],
)
def test_a_training_checkpoint_tells_it(beside, rate, words, tiny_model, tmp_path):
    known = of_file(trained(tiny_model, tmp_path / "epoch_3.pt", **beside))
    assert (known.rate, known.kind) == (rate, "file")
    assert words in known.source


def test_where_an_optimizer_stopped_is_no_peak(tiny_model, tmp_path):
    path = trained(tiny_model, tmp_path / "epoch_64.pt", optimizer=optimizer(1.2e-9))
    assert dict(examine(path).facts)["optimizer.param_groups.0.lr"] == "1.2e-09"
    assert of_file(path) == UNKNOWN
    assert of_file(path, "RN50").rate == 5e-4
    # ... and a short finetuning's is not the pretraining's either.
    path = trained(tiny_model, tmp_path / "best.pt", args=argparse.Namespace(lr=1e-5))
    assert of_file(path, "RN50").kind == "architecture"


@pytest.mark.parametrize("claimed", [0.5, 1e-9, float("nan"), "inf", True])
def test_a_file_is_not_believed_what_nobody_trains_a_clip_at(
    claimed, tiny_model, tiny_checkpoint, tmp_path
):
    options = argparse.Namespace(lr=claimed)
    path = trained(tiny_model, tmp_path / "a.pt", args=options, optimizer=optimizer(float(claimed)))
    assert of_file(path) == UNKNOWN
    (tiny_checkpoint.parent / "params.txt").write_text(f"lr: {claimed}\n")
    assert of_file(tiny_checkpoint) == UNKNOWN


def test_options_of_a_training_lie_beside_its_checkpoints(tiny_model, tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    path = trained(tiny_model, folder / "epoch_1.pt")
    options = tmp_path / "run" / "params.txt"
    options.write_text("beta1: 0.9\nlr: 0.001\nlr_cooldown_end: 0.0\nmodel: RN50\n")
    known = of_file(path, "RN50")
    assert (known.rate, known.kind) == (1e-3, "file")
    assert "params.txt" in known.source
    options.write_bytes(b"\xff\x00lr: many\n")
    assert of_file(path) == UNKNOWN


def test_a_known_file_tells_it_by_its_hash_and_may_by_its_name(
    tiny_checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setattr("ml_core.checkpoints.known.data_dir", lambda: tmp_path / "data")
    entry = {"title": "my victim", "source": "here", "pretraining_rate": 1e-3}
    add_known(KnownFile(**entry, names=("tiny*",)))
    known = of_file(tiny_checkpoint)
    assert (known.rate, known.kind) == (1e-3, "known")
    assert "looks like my victim" in known.source
    add_known(KnownFile(**entry, sha256=examine(tiny_checkpoint).sha256))
    assert of_file(tiny_checkpoint, "RN50").source == "it is my victim"
    (tmp_path / "data" / "known_files.json").write_text("{")
    assert of_file(tiny_checkpoint) == UNKNOWN


def test_a_cleaned_checkpoint_carries_the_rate_of_its_source(tiny_model, tmp_path):
    parent = Pretraining(8e-4, "from params.txt of its training", "file")
    path = tmp_path / "cleaned.safetensors"
    state = {k: v.contiguous() for k, v in tiny_model.module.state_dict().items()}
    metadata = {
        "open_clip_config": json.dumps({"model_cfg": TINY_CONFIG}),
        "provenance": json.dumps({"made_by": "cleaning", **carried(parent)}),
    }
    save_file(state, path, metadata)
    known = of_file(path)
    assert (known.rate, known.kind) == (8e-4, "file")
    for known in (DEMO, UNKNOWN, Pretraining(5e-4, "RN50", "architecture")):
        assert carried(known) == {}
