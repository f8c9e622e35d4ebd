"""Whole pickled CLIP models of the packages that are installed name listed classes only."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from importlib import import_module
from typing import Any

import open_clip
import pytest
import torch
from torch import nn

from ml_core.reading.pickles.machine import read_pickle
from ml_core.reading.pickles.names import MODEL_CLASSES
from tests.hostile.benign import TINY


def custom_text() -> nn.Module:
    return open_clip.model.CustomTextCLIP(**TINY)


def transformers_clip() -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    small["intermediate_size"] = 8
    return CLIPModel(CLIPConfig(text_config=small, vision_config=small))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "custom text": custom_text,
    "transformers": transformers_clip,
}


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
@pytest.mark.parametrize("name", MODELS)
def test_whole_models_name_nothing_unknown(name: str) -> None:
    raw = io.BytesIO()
    torch.save(MODELS[name](), raw)
    with zipfile.ZipFile(raw) as archive:
        (record,) = [label for label in archive.namelist() if label.endswith("data.pkl")]
        found = read_pickle(archive.read(record))
    assert (found.problem, found.unknown, found.misuse) == ("", [], [])
