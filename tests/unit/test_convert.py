"""What `convert` writes is what stock open_clip loads, or a copy; nothing is left half done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.architecture import config_from_shapes
from ml_core.checkpoints.choice import Choice, remember
from ml_core.checkpoints.convert import _call, convert_to_open_clip, convert_to_safetensors
from ml_core.cli.app import run_command
from ml_core.model import ClipModel
from ml_core.reading import InputError, inspect
from ml_core.reading.clip_config import Preprocess, check_model_config
from ml_core.reading.errors import CancelledError
from tests.unit.layout_files import (
    RESNET,
    VIT,
    bare_safetensors,
    bare_vision,
    cleanclip,
    contiguous,
    finetuned,
    hugging,  # noqa: F401 - a fixture
    in_shards,
    invertune,
    lively,
    openai_archive,
    par,
    pickled,
)
from tests.unit.stock_open_clip import TEXTS, pixels, stock_embeddings

Made = tuple[Path, Path | None]  # the file and its donor


def training(module: nn.Module, folder: Path) -> Path:
    """open_clip's own ``epoch_N.pt``: moments of three times the model, names with ``module.``."""
    optimizer = torch.optim.AdamW(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = {f"module.{key}": value for key, value in module.state_dict().items()}
    record = {"epoch": 10, "name": "run", "state_dict": state, "optimizer": optimizer.state_dict()}
    torch.save(record, folder / "epoch_10.pt")
    return folder / "epoch_10.pt"


def plain(module: nn.Module, folder: Path) -> Path:
    torch.save(module.state_dict(), folder / "plain.pt")
    return folder / "plain.pt"


def half(module: nn.Module, folder: Path) -> Path:
    torch.save({"state_dict": module.half().state_dict()}, folder / "half.pt")
    return folder / "half.pt"


def no_scale(module: nn.Module, folder: Path) -> Path:
    state = {key: value for key, value in module.state_dict().items() if key != "logit_scale"}
    torch.save(state, folder / "scale.pt")
    return folder / "scale.pt"


WRITERS: dict[str, tuple[Callable[[nn.Module, Path], Path], dict[str, Any]]] = {
    "plain state dict, ResNet": (plain, RESNET),
    "open_clip training checkpoint, ViT": (training, VIT),
    "CleanCLIP": (cleanclip, VIT),
    "PAR": (par, RESNET),
    "InverTune": (invertune, VIT),
    "finetuned": (finetuned, VIT),
    "whole module": (pickled, VIT),
    "safetensors, text encoder of its own": (bare_safetensors, VIT | {"custom_text": True}),
    "OpenAI archive, ViT": (openai_archive, VIT),
    "fp16": (half, RESNET),
    "no logit scale": (no_scale, VIT),
}


@pytest.mark.slow
@pytest.mark.parametrize("hugging", ["quick_gelu"], indirect=True)
def test_stock_open_clip_loads_every_layout_converted(hugging, tmp_path):  # noqa: F811
    sources: dict[str, Made] = {}
    for number, (case, (write, config)) in enumerate(WRITERS.items()):
        folder = tmp_path / f"source{number}"
        folder.mkdir()
        sources[case] = write(lively(config, seed=number), folder), None
    for case, size in {"transformers": "5GB", "transformers, shards": "2MB"}.items():
        hugging.save_pretrained(tmp_path / case, max_shard_size=size)
        sources[case] = tmp_path / case, None
    folder = tmp_path / "open_clip shards"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": VIT}))
    in_shards(contiguous(lively(VIT).state_dict()), folder, "open_clip_model.safetensors")
    sources["open_clip folder, shards"] = folder, None
    sources["image encoder and donor"] = bare_vision(lively(VIT), tmp_path), sources["CleanCLIP"][0]

    saved, models = {}, {}
    for number, (case, (path, donor)) in enumerate(sources.items()):
        target = tmp_path / (f"folder{number}" if number % 2 else f"{number}.safetensors")
        made = convert_to_open_clip(inspect(path), target, donor=donor)
        models[case] = open_checkpoint(path, donor).build()
        saved[target] = models[case].image_size
        weights = load_file(target / "open_clip_model.safetensors" if number % 2 else target)
        assert len(weights) == made.tensors
        if case.startswith("OpenAI"):  # half precision stays as small
            floats = (value for value in weights.values() if value.is_floating_point())
            assert {value.dtype for value in floats} == {torch.float16}
        assert weights.keys() == models[case].module.state_dict().keys()
    for (case, model), stock in zip(models.items(), stock_embeddings(saved, tmp_path), strict=True):
        ours: tuple[Tensor, Tensor] = (
            model.encode_images(pixels(model.image_size)),
            model.encode_texts(TEXTS),
        )
        for name, value in zip(("images", "texts"), ours, strict=True):
            apart = (value - stock[name]).abs().max().item()
            assert apart <= 1e-5, f"{case}: {name} differ by {apart}"
        assert stock["scale"].item() == pytest.approx(model.logit_scale), case


def test_cancelling_leaves_the_old_file(tmp_path: Path) -> None:
    path, target = plain(lively(VIT), tmp_path), tmp_path / "m.safetensors"
    found = inspect(path)
    steps: list[int] = []

    def cancelled() -> bool:
        steps.append(1)
        return len(steps) > len(found.tensors) + 3  # while the tensors are written

    with pytest.raises(CancelledError):
        convert_to_safetensors(found, target, cancelled=lambda: True)
    assert os.listdir(tmp_path) == ["plain.pt"]
    target.write_bytes(b"old")
    with pytest.raises(CancelledError):
        convert_to_open_clip(found, target, cancelled=cancelled)
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["m.safetensors", "plain.pt"]


def test_a_remembered_choice_is_in_the_file(tmp_path: Path) -> None:
    path = plain(lively(VIT), tmp_path)
    found = inspect(path)
    remember(found.sha256, found.name, Choice(quick_gelu=False, logit_scale=50.0))
    made = convert_to_open_clip(found, tmp_path / "m.safetensors")
    model = open_checkpoint(made.path).build()
    assert model.config["quick_gelu"] is False
    assert model.logit_scale == pytest.approx(50.0)
    made = convert_to_open_clip(found, tmp_path / "m.safetensors", use_choice=False)
    assert open_checkpoint(made.path).build().config["quick_gelu"] is True


B_32 = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
    "text_cfg": {"width": 512, "heads": 8, "layers": 12, "context_length": 77},
}


@pytest.mark.parametrize(
    ("config", "mean", "name"),
    [
        (B_32 | {"quick_gelu": True}, 0.0, "ViT-B-32-quickgelu"),
        (B_32 | {"quick_gelu": False}, 0.0, "ViT-B-32"),
        (B_32 | {"quick_gelu": True}, 0.5, ""),  # stock open_clip would normalise otherwise
        (VIT, 0.0, ""),
    ],
)
def test_the_call_names_open_clips_own_model(config, mean, name):
    size = config["vision_cfg"]["image_size"]
    preprocess = Preprocess(size, (mean,) * 3, (1.0,) * 3) if mean else Preprocess(size)
    arguments = json.loads(json.dumps(config))
    quick_gelu = arguments["quick_gelu"]
    with torch.device("meta"):
        shapes = {key: tuple(v.shape) for key, v in CLIP(**arguments).state_dict().items()}
    told = config_from_shapes(shapes, "x").config | {"quick_gelu": quick_gelu}
    model = ClipModel(nn.Identity(), check_model_config(told, "x"), preprocess)
    call = f"open_clip.create_model({name!r}, pretrained='/x/m.safetensors')" if name else ""
    assert _call(Path("/x/m.safetensors"), model) == call
    assert _call(Path("/"), model) == "open_clip.create_model('local-dir:/')"


def test_what_is_no_whole_clip_says_what_it_needs(tmp_path, capsys):
    def convert(source: Path, *options: str) -> tuple[int, str]:
        code = run_command(["convert", str(source), str(target), *options])
        return code, " ".join(capsys.readouterr().err.split())

    target, tensors = tmp_path / "x.safetensors", tmp_path / "m.safetensors"
    save_file({"a": torch.ones(2)}, tensors)
    code, said = convert(tensors)
    assert (code, target.exists()) == (2, False)
    assert "add --as-is" in said
    assert convert(tensors, "--as-is")[0] == 0
    assert load_file(target).keys() == {"a"}
    target.unlink()
    path, donor = bare_vision(lively(VIT), tmp_path), str(plain(lively(VIT, seed=2), tmp_path))
    code, said = convert(path)
    assert (code, "donor of the text encoder" in said) == (2, True)
    assert convert(path, "--donor", donor)[0] == 0
    assert open_checkpoint(target).architecture.layout.missing is None


def test_the_source_is_never_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": VIT}))
    in_shards(contiguous(lively(VIT).state_dict()), folder, "open_clip_model.safetensors")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    shard = next(path for path in before if "-of-" in path.name)
    for target in (folder, shard):
        assert run_command(["convert", str(folder), str(target)]) == 3
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


# Copied as it is

BASE = torch.arange(24.0).reshape(4, 6)
TENSORS = {
    "fp32": torch.randn(3, 5, generator=torch.Generator().manual_seed(1)),
    "bf16": torch.arange(7).bfloat16(),
    "fp16": torch.tensor([1.0, float("nan"), -float("inf")]).half(),
    "int64": torch.tensor(7),
    "bool": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
    "turned": BASE.t(),
    "sliced": BASE[1:3, ::2],
    "repeated": torch.ones(1).expand(4, 3),
}


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    one, other = one.contiguous(), other.contiguous()
    raw = one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(*raw)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_are_bit_identical(tmp_path: Path, legacy: bool) -> None:
    torch.save(TENSORS, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    told: list[tuple[int, int]] = []
    target = convert_to_safetensors(
        inspect(tmp_path / "m.pt"), tmp_path / "m.safetensors", progress=lambda *of: told.append(of)
    )
    assert target is not None
    again = inspect(target)
    assert (again.verdict, again.format) == ("loads", "safetensors")
    loaded = load_file(target)
    assert set(loaded) == set(TENSORS)
    assert all(same_bits(loaded[name], TENSORS[name]) for name in TENSORS)
    source = json.loads(again.metadata["provenance"])["source"]
    assert source["sha256"] == inspect(tmp_path / "m.pt").sha256
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]


def _replaced(path: Path) -> None:
    torch.save({"a": torch.ones(3)}, path)


def _cut(path: Path) -> None:
    os.truncate(path, 40)


@pytest.mark.parametrize("change", [_replaced, _cut])
def test_a_source_that_changed_is_not_copied(tmp_path: Path, change: Callable[[Path], Any]) -> None:
    path, target = tmp_path / "m.pt", tmp_path / "m.safetensors"
    torch.save({"a": torch.zeros(3)}, path)
    found = inspect(path)
    target.write_bytes(b"old")
    change(path)
    with pytest.raises(InputError, match="changed since"):
        convert_to_safetensors(found, target)
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["m.pt", "m.safetensors"]
