"""Whole pickled CLIP models of the packages that are installed name listed classes only."""

from __future__ import annotations

import io
import pkgutil
import zipfile
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import open_clip
import pytest
import torch
from torch import nn

from ml_core.reading.pickles.machine import read_pickle
from ml_core.reading.pickles.names import MODEL_CLASSES
from tests.hostile.benign import TINY


def named(modules: Iterator[nn.Module]) -> set[str]:
    return {f"{type(module).__module__} {type(module).__name__}" for module in modules}


def open_clip_model(name: str) -> nn.Module:
    with torch.device("meta"):
        return open_clip.model.CLIP(**open_clip.get_model_config(name))


def custom_text() -> nn.Module:
    return open_clip.model.CustomTextCLIP(**TINY)


def transformers_clip() -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    small["intermediate_size"] = 8
    return CLIPModel(CLIPConfig(text_config=small, vision_config=small))


MODELS: dict[str, Callable[[], nn.Module]] = {
    **{
        name: lambda name=name: open_clip_model(name)
        for name in ("RN50", "RN50-quickgelu", "RN50x4", "ViT-B-32", "ViT-B-32-quickgelu")
    },
    "custom text": custom_text,
    "transformers": transformers_clip,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_classes_of_clip_models_are_listed(name: str) -> None:
    assert named(MODELS[name]().modules()) - MODEL_CLASSES == set()


def modules_in(module: Any) -> set[str]:
    """The kinds of modules that a Python module defines."""
    return {
        f"{module.__name__} {name}"
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, nn.Module)
        and kind.__module__ == module.__name__
    }  # fmt: skip


def test_public_classes_of_torch_and_open_clip_are_listed() -> None:
    found: set[str] = set()
    for package in pkgutil.iter_modules(nn.modules.__path__):
        kinds = modules_in(import_module(f"torch.nn.modules.{package.name}"))
        found |= {kind for kind in kinds if not kind.split(" ")[1].startswith(("_", "Lazy"))}
    for name in ("coca_model", "hf_model", "model", "modified_resnet", "timm_model", "transformer"):
        found |= modules_in(import_module(f"open_clip.{name}"))
    assert "open_clip.hf_model HFTextEncoder" in found
    assert found - MODEL_CLASSES == set()


def test_the_list_holds_classes_only() -> None:
    checked = 0
    for full in MODEL_CLASSES:
        module, _, name = full.partition(" ")
        try:
            found: Any = getattr(import_module(module), name, None)
        except ModuleNotFoundError:
            continue
        if found is not None:  # some are there in other versions only
            checked += 1
            assert isinstance(found, type), full
    assert checked > 150


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["custom text", "transformers"])
def test_whole_models_name_nothing_unknown(name: str) -> None:
    raw = io.BytesIO()
    torch.save(MODELS[name](), raw)
    with zipfile.ZipFile(raw) as archive:
        (record,) = [label for label in archive.namelist() if label.endswith("data.pkl")]
        found = read_pickle(archive.read(record))
    assert (found.problem, found.unknown, found.misuse) == ("", [], [])
