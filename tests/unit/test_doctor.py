"""The loader doctor finds what the demo was trained with, whatever its file says or leaves out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ml_core.checkpoints import open_checkpoint
from ml_core.cli.app import run_command
from ml_core.data.images import open_images
from ml_core.data.labels import LabelSet, load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.candidates import settings_of
from ml_core.evaluation.doctor import Trial, diagnose
from ml_core.evaluation.zero_shot import zero_shot_classifier
from ml_core.jobs.demo import demo_checkpoint
from ml_core.reading import InputError
from ml_core.reading.clip_config import CLIP_MEAN, CLIP_STD
from tests.unit.draining import drain, until_cancelled
from tests.unit.layout_files import VIT, assert_equal, bare_safetensors, contiguous, lively, theirs

N = 144
"""Images, of which a third shows one of the classes."""


@pytest.fixture(scope="module")
def label_set():
    """A third of the demo's classes: each trial embeds their texts anew."""
    whole = load_label_set("demo")
    return LabelSet("few", whole.class_names[:24], whole.templates[:2])


@pytest.fixture(scope="module")
def images(label_set):
    return open_images(ImageSpec(kind="demo", split="test", n=N), label_set)


def described(folder, change=None):
    """The demo's weights with another config, or with none."""
    tensors = load_file(demo_checkpoint())
    path = folder / "demo.safetensors"
    if change is None:
        save_file(tensors, path)
        return path
    with safe_open(demo_checkpoint(), "pt") as file:
        metadata = dict(file.metadata())
    config = json.loads(metadata["open_clip_config"])
    for name, value in change.items():
        *tables, key = name.split(".")
        table = config
        for part in tables:
            table = table[part]
        table[key] = value
    save_file(tensors, path, metadata | {"open_clip_config": json.dumps(config)})
    return path


def asked(path, images, label_set):
    events, diagnosis = drain(diagnose(open_checkpoint(path), images, label_set))
    # everything that was tried was shown
    assert tuple(event for event in events if isinstance(event, Trial)) == diagnosis.trials
    return diagnosis


def folder_of(module, config, folder):
    """An open_clip folder whose config says this of the module."""
    folder.mkdir()
    preprocess = {"mean": CLIP_MEAN, "std": CLIP_STD} | config.pop("preprocess_cfg", {})
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text)
    save_file(contiguous(module.state_dict()), folder / "open_clip_model.safetensors")
    return folder


def labelled_by(path, images, label_set):
    """The images with what the checkpoint sees in them as labels: as it is, it is always right."""
    model = open_checkpoint(path).build()
    classifier = zero_shot_classifier(model, label_set.class_names, label_set.templates[:4])
    pixels = images.canvas(np.arange(len(images)), model.image_size)
    seen = model.encode_images(torch.from_numpy(pixels).permute(0, 3, 1, 2)) @ classifier.T
    return replace(images, labels=seen.argmax(1).numpy())


TRUE_VIT = {**VIT, "vision_cfg": VIT["vision_cfg"] | {"head_width": 16}}


def test_settings_that_a_file_lacks_are_found(images, label_set, tmp_path):
    module = lively(TRUE_VIT)
    true = folder_of(module, dict(TRUE_VIT), tmp_path / "true")
    seen = labelled_by(true, images, label_set)
    checkpoint = open_checkpoint(bare_safetensors(module, tmp_path))
    wanted = settings_of(open_checkpoint(true).architecture)
    assert settings_of(checkpoint.architecture) != wanted
    diagnosis = asked(checkpoint.path, seen, label_set)
    assert diagnosis.best.settings == wanted
    assert diagnosis.best.accuracy == 1.0
    assert diagnosis.opened.accuracy < 0.8
    assert diagnosis.warnings == ()
    assert len(diagnosis.findings) == 4  # activation, normalisation, heads of both encoders
    model = checkpoint.build(choice=diagnosis.choice)
    assert_equal(model, theirs(module))
    assert diagnosis.choice.evidence in model.assumptions
    assert model.origin["choice"]["text_heads"] == wanted.text_heads


RIGHT = TRUE_VIT | {"quick_gelu": False}
MISTAKES = {
    ("text heads",): {"text_cfg": RIGHT["text_cfg"] | {"heads": 8}},
    ("resolution",): {"vision_cfg": RIGHT["vision_cfg"] | {"image_size": 96}},
}


@pytest.fixture(scope="module")
def right(images, label_set, tmp_path_factory):
    """A ViT, images that it is always right about, and its true settings."""
    module = lively(RIGHT)
    true = folder_of(module, dict(RIGHT), tmp_path_factory.mktemp("right") / "true")
    settings = settings_of(open_checkpoint(true).architecture)
    return module, labelled_by(true, images, label_set), settings


@pytest.mark.parametrize("questions", MISTAKES, ids=str)
def test_a_file_that_is_wrong_is_contradicted(questions, right, label_set, tmp_path):
    module, seen, settings = right
    wrong = folder_of(module, RIGHT | MISTAKES[questions], tmp_path / "wrong")
    diagnosis = asked(wrong, seen, label_set)
    assert diagnosis.best.settings == settings
    assert diagnosis.best.accuracy == 1.0
    assert len(diagnosis.warnings) == len(questions)
    for question, warning in zip(questions, diagnosis.warnings, strict=True):
        assert f"disagree on the {question}" in warning
    assert (diagnosis.opened is None) is (questions == ("resolution",))
    assert_equal(open_checkpoint(wrong).build(choice=diagnosis.choice), theirs(module))


def test_what_the_images_do_not_tell_stays_an_assumption(images, label_set, tmp_path):
    diagnosis = asked(described(tmp_path), images, label_set)
    assert "the images cannot distinguish QuickGELU from GELU" in diagnosis.findings[0]
    assert diagnosis.choice.quick_gelu is True  # as assumed


def test_an_absurd_logit_scale_is_noticed(images, label_set, tmp_path):
    path = described(tmp_path, {})
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    scale = float(tensors["logit_scale"].exp())
    tensors["logit_scale"] = torch.tensor(scale)  # the factor in the place of its logarithm
    save_file(tensors, path, metadata)
    diagnosis = asked(path, images, label_set)
    assert diagnosis.choice.logit_scale is not None
    assert "logit scale" in diagnosis.warnings[0]
    assert open_checkpoint(path).build(choice=diagnosis.choice).logit_scale < 200


def test_a_cancelled_doctor_ends_and_too_few_images_are_refused(images, label_set):
    checkpoint = open_checkpoint(demo_checkpoint())
    assert until_cancelled(diagnose(checkpoint, images, label_set, cancelled=lambda: True)) == []
    few = open_images(ImageSpec(kind="demo", split="test", n=5), label_set)
    with pytest.raises(InputError, match="at least 20 labelled images"):
        next(diagnose(checkpoint, few, label_set))


def test_command_line_proposes_and_saves(tmp_path, capsys):
    change = {"preprocess_cfg.mean": [0.0] * 3, "preprocess_cfg.std": [1.0] * 3}
    path = described(tmp_path, change)
    fixed = tmp_path / "fixed.safetensors"
    arguments = ["doctor", str(path), "--n", "40", "--device", "cpu", "--threads", "1"]
    assert run_command([*arguments, "--json", "--save", str(fixed)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["choice"]["mean"] == list(CLIP_MEAN)
    assert "disagree on the normalisation" in record["warnings"][0]
    assert record["opened"]["accuracy"] + 0.2 < record["best"]["accuracy"]
    saved = open_checkpoint(fixed)
    assert saved.architecture.preprocess.mean == CLIP_MEAN
    assert saved.provenance["choice"]["std"] == list(CLIP_STD)
    assert record["choice"]["evidence"] in saved.architecture.assumptions
