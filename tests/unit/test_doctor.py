"""The loader doctor finds what the demo was trained with, whatever its file says or leaves out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.tokenizer import tokenize
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.choice import Choice, chosen
from ml_core.cli.app import run_command
from ml_core.data.images import ImageSet, open_images
from ml_core.data.labels import LabelSet, fill, load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.candidates import settings_of, sizes, variants
from ml_core.evaluation.doctor import Diagnosis, Trial, diagnose
from ml_core.evaluation.zero_shot import zero_shot_classifier
from ml_core.jobs.demo import demo_checkpoint
from ml_core.reading import InputError
from ml_core.reading.clip_config import CLIP_MEAN, CLIP_STD
from tests.unit.draining import until_cancelled
from tests.unit.layout_files import (
    RESNET,
    TEXT,
    VIT,
    assert_equal,
    bare_safetensors,
    contiguous,
    lively,
    side,
    theirs,
)

N = 120


@pytest.fixture(scope="module")
def label_set() -> LabelSet:
    return load_label_set("demo")


@pytest.fixture(scope="module")
def images(label_set: LabelSet) -> ImageSet:
    return open_images(ImageSpec(kind="demo", split="test", n=N), label_set)


def described(folder: Path, change: dict[str, Any] | None = None) -> Path:
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


def asked(path: Path, images: ImageSet, label_set: LabelSet) -> Diagnosis:
    work = diagnose(open_checkpoint(path), images, label_set)
    trials = []
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            found = end.value
            break
        if isinstance(event, Trial):
            trials.append(event)
    assert tuple(trials) == found.trials  # everything that was tried was shown
    return found


def truth() -> Choice:
    return settings_of(open_checkpoint(demo_checkpoint()).architecture)


def test_the_demo_is_best_as_it_is(images: ImageSet, label_set: LabelSet) -> None:
    found = asked(demo_checkpoint(), images, label_set)
    assert found.choice is None
    assert found.warnings == ()
    assert found.findings == ()
    assert found.opened is found.best
    assert found.best.settings == truth()
    assert found.best.accuracy > 0.8
    assert {trial.question for trial in found.trials} >= {
        "as opened", "activation", "normalisation", "text heads", "image heads",
    }  # fmt: skip


def folder_of(module: torch.nn.Module, config: dict[str, Any], folder: Path) -> Path:
    """An open_clip folder whose config says this of the module."""
    folder.mkdir()
    preprocess = {"mean": CLIP_MEAN, "std": CLIP_STD} | config.pop("preprocess_cfg", {})
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text)
    save_file(contiguous(module.state_dict()), folder / "open_clip_model.safetensors")
    return folder


def spread(module: torch.nn.Module, images: ImageSet, label_set: LabelSet) -> torch.nn.Module:
    """A ResNet CLIP whose embeddings are moved around zero, so that it tells many classes apart."""
    size = side(module)
    pixels = torch.from_numpy(images.canvas(np.arange(len(images)), size)).permute(0, 3, 1, 2)
    mean, std = torch.tensor(CLIP_MEAN).view(3, 1, 1), torch.tensor(CLIP_STD).view(3, 1, 1)
    tokens = tokenize([fill(label_set.templates[0], n) for n in label_set.class_names], 16)
    kept: list[torch.Tensor] = []
    hook = module.ln_final.register_forward_hook(lambda *call: kept.append(call[2]))
    with torch.no_grad():
        for block in module.transformer.resblocks:  # where the two activations differ most
            block.mlp.c_fc.weight *= 0.5
            block.mlp.c_fc.bias.fill_(-2.5)
            block.mlp.c_proj.weight *= 60
        features = module.encode_image((pixels / 255 - mean) / std)
        module.visual.attnpool.c_proj.bias -= features.mean(0)
        module.encode_text(tokens)
        module.ln_final.bias -= kept[0][torch.arange(len(tokens)), tokens.argmax(1)].mean(0)
    hook.remove()
    return module


def labelled_by(path: Path, images: ImageSet, label_set: LabelSet) -> ImageSet:
    """The images with what the checkpoint sees in them as labels: as it is, it is always right."""
    model = open_checkpoint(path).build()
    classifier = zero_shot_classifier(model, label_set.class_names, label_set.templates[:4])
    pixels = images.canvas(np.arange(len(images)), model.image_size)
    seen = model.encode_images(torch.from_numpy(pixels).permute(0, 3, 1, 2)) @ classifier.T
    return replace(images, labels=seen.argmax(1).numpy())


TRUE_RESNET: dict[str, Any] = {
    **RESNET,
    "quick_gelu": False,
    "vision_cfg": RESNET["vision_cfg"] | {"head_width": 32},
    "text_cfg": TEXT | {"heads": 4},
}
TRUE_VIT: dict[str, Any] = {**VIT, "vision_cfg": VIT["vision_cfg"] | {"head_width": 16}}


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(TRUE_RESNET, id="ResNet", marks=pytest.mark.slow),
        pytest.param(TRUE_VIT, id="ViT"),
    ],
)
def test_settings_that_a_file_lacks_are_found(config, images, label_set, tmp_path):
    module = lively(config)
    if config is TRUE_RESNET:
        spread(module, images, label_set)
    true = folder_of(module, dict(config), tmp_path / "true")
    seen = labelled_by(true, images, label_set)
    checkpoint = open_checkpoint(bare_safetensors(module, tmp_path))
    wanted = settings_of(open_checkpoint(true).architecture)
    assert settings_of(checkpoint.architecture) != wanted
    found = asked(checkpoint.path, seen, label_set)
    assert found.best.settings == wanted
    assert found.best.accuracy == 1.0
    assert found.opened.accuracy < 0.8
    assert found.warnings == ()
    assert len(found.findings) == 4  # activation, normalisation, heads of both encoders
    model = checkpoint.build(choice=found.choice)
    assert_equal(model, theirs(module))
    assert found.choice.evidence in model.assumptions
    assert model.origin["choice"]["text_heads"] == wanted.text_heads


RIGHT = RESNET | {"quick_gelu": False}
MISTAKES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"quick_gelu": True}, ("activation",)),
    ({"preprocess_cfg": {"mean": [0.0] * 3, "std": [1.0] * 3}}, ("normalisation",)),
    ({"text_cfg": TEXT | {"heads": 8}}, ("text heads",)),
    ({"vision_cfg": RESNET["vision_cfg"] | {"head_width": 16}}, ("image heads",)),
    ({"vision_cfg": RESNET["vision_cfg"] | {"image_size": 96}}, ("resolution",)),
    (
        {"quick_gelu": True, "preprocess_cfg": {"mean": [0.0] * 3, "std": [1.0] * 3}},
        ("activation", "normalisation"),
    ),
]


@pytest.mark.parametrize(("change", "questions"), MISTAKES, ids=[str(m[1]) for m in MISTAKES])
def test_a_file_that_is_wrong_is_contradicted(change, questions, images, label_set, tmp_path):
    module = spread(lively(RIGHT), images, label_set)
    true = folder_of(module, dict(RIGHT), tmp_path / "true")
    seen = labelled_by(true, images, label_set)
    wrong = folder_of(module, RIGHT | change, tmp_path / "wrong")
    found = asked(wrong, seen, label_set)
    assert found.best.settings == settings_of(open_checkpoint(true).architecture)
    assert found.best.accuracy == 1.0
    assert len(found.warnings) == len(questions)
    for question, warning in zip(questions, found.warnings, strict=True):
        assert f"disagree on the {question}" in warning
    assert found.choice is not None
    assert (found.opened is None) is (questions == ("resolution",))
    assert_equal(open_checkpoint(wrong).build(choice=found.choice), theirs(module))


def test_what_the_images_do_not_tell_stays_an_assumption(images, label_set, tmp_path):
    found = asked(described(tmp_path), images, label_set)
    assert "the images cannot distinguish QuickGELU from GELU" in found.findings[0]
    assert found.choice.quick_gelu is True  # as assumed


def test_the_demo_without_its_mean_is_contradicted(images, label_set, tmp_path):
    change = {"preprocess_cfg.mean": [0.0] * 3, "preprocess_cfg.std": [1.0] * 3}
    found = asked(described(tmp_path, change), images, label_set)
    assert found.best.settings == truth()
    assert found.opened.accuracy < 0.5 < found.best.accuracy
    assert "the file says no mean and std" in found.warnings[0]


def test_an_absurd_logit_scale_is_noticed(images, label_set, tmp_path):
    path = described(tmp_path, {})
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    scale = float(tensors["logit_scale"].exp())
    tensors["logit_scale"] = torch.tensor(scale)  # the factor in the place of its logarithm
    save_file(tensors, path, metadata)
    found = asked(path, images, label_set)
    assert found.choice.logit_scale is not None
    assert "logit scale" in found.warnings[0]
    assert open_checkpoint(path).build(choice=found.choice).logit_scale < 200


def test_a_cancelled_doctor_ends(images: ImageSet, label_set: LabelSet) -> None:
    work = diagnose(open_checkpoint(demo_checkpoint()), images, label_set, cancelled=lambda: True)
    assert until_cancelled(work) == []


def test_too_few_images_are_refused(label_set: LabelSet) -> None:
    few = open_images(ImageSpec(kind="demo", split="test", n=5), label_set)
    with pytest.raises(InputError, match="at least 20 labelled images"):
        next(diagnose(open_checkpoint(demo_checkpoint()), few, label_set))


def test_sizes_are_those_that_the_positions_allow() -> None:
    architecture = open_checkpoint(demo_checkpoint()).architecture
    assert sizes(architecture) == (64,)
    options = variants(architecture, settings_of(architecture), "image heads")
    assert options[0] == settings_of(architecture)
    assert {option.image_heads for option in options} == {48, 24, 16, 12, 8, 6}


def test_a_choice_that_does_not_fit_is_refused() -> None:
    architecture = open_checkpoint(demo_checkpoint()).architecture
    with pytest.raises(InputError, match="text attention heads"):
        chosen(architecture, Choice(text_heads=5))


def test_command_line_proposes_and_saves(tmp_path, capsys):
    change = {"preprocess_cfg.mean": [0.0] * 3, "preprocess_cfg.std": [1.0] * 3}
    path = described(tmp_path, change)
    fixed = tmp_path / "fixed.safetensors"
    arguments = ["doctor", str(path), "--n", str(N), "--device", "cpu", "--threads", "1"]
    assert run_command([*arguments, "--json", "--save", str(fixed)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["choice"]["mean"] == list(CLIP_MEAN)
    assert "disagree on the normalisation" in record["warnings"][0]
    assert record["best"]["accuracy"] > record["opened"]["accuracy"]
    saved = open_checkpoint(fixed)
    assert saved.architecture.preprocess.mean == CLIP_MEAN
    assert saved.provenance["choice"]["std"] == list(CLIP_STD)
    assert record["choice"]["evidence"] in saved.architecture.assumptions
    assert run_command(arguments) == 0
    shown = capsys.readouterr().out
    assert "File and behaviour disagree on the normalisation" in shown
    assert "QuickGELU" in shown
