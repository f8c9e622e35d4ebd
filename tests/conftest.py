"""Fixtures for all tests: a home of their own, one thread, a tiny random CLIP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ml_core.model import ClipModel

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

TINY_CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 2,
    },
}


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def _tiny_original() -> Iterator[ClipModel]:
    import torch

    from ml_core.model import Preprocess, build_model

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(TINY_CONFIG, Preprocess(32), None, name="tiny")
        for key, value in model.module.named_parameters():
            if key.endswith("bn3.weight"):  # zero at first, which would hide the branch
                torch.nn.init.uniform_(value, 0.5, 1.0)
    yield model
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_model(_tiny_original: ClipModel) -> ClipModel:
    """A random ResNet CLIP for 32 px images and 16 tokens; each test has its own copy."""
    return _tiny_original.copy()


@pytest.fixture
def tiny_checkpoint(tiny_model: ClipModel, tmp_path: Path) -> Path:
    """`tiny_model` saved as one safetensors file."""
    from ml_core.checkpoints.save import save_checkpoint

    return save_checkpoint(tiny_model, tmp_path / "tiny.safetensors", provenance={"made": "test"})


@pytest.fixture
def tiny_vit() -> ClipModel:
    """A random ViT CLIP of three blocks for 32 px images and 16 tokens."""
    import torch

    from ml_core.model import Preprocess, build_model

    vision = {"image_size": 32, "patch_size": 8, "layers": 3, "width": 32, "head_width": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(
            TINY_CONFIG | {"vision_cfg": vision}, Preprocess(32), None, name="tiny vit"
        )
