"""Any alpha on a result's line: in memory, on disk, and refused where it does not fit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from ml_core.checkpoints import open_checkpoint
from ml_core.cleaning.weight_space import save_vector, snapshot
from ml_core.jobs.weight_line import move_to, read_line, save_at_alpha
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.reading.safetensors_header import read_header

NAME = "text_projection"


@pytest.fixture
def vector(tiny_model: ClipModel, tiny_checkpoint: Path, tmp_path: Path) -> Path:
    tiny_model.sha256 = hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()
    step = torch.ones_like(tiny_model.module.state_dict()[NAME])
    facts = {"source_sha256": tiny_model.sha256, "alpha": 0.5}
    return save_vector({NAME: step}, tmp_path / "vector.safetensors", facts)


def test_a_model_moves_along_the_line_and_back(tiny_model: ClipModel, vector: Path) -> None:
    start = snapshot(tiny_model)
    line = read_line(tiny_model, vector)
    identities = set()
    for alpha in (0.25, 2.0, 0.0):
        move_to(tiny_model, line, alpha)
        now = tiny_model.module.state_dict()
        assert torch.allclose(now[NAME], start[NAME] + alpha)
        assert all(torch.equal(now[name], start[name]) for name in start if name != NAME)
        digest = hashlib.sha256(vector.read_bytes()).hexdigest()
        assert tiny_model.origin["vector"] == {"sha256": digest, "alpha": alpha}
        identities.add(tiny_model.identity)
    assert len(identities) == 3  # kept embeddings of one alpha are not taken for another's


def test_what_is_saved_is_what_was_measured(
    tiny_checkpoint: Path, vector: Path, tmp_path: Path
) -> None:
    made = save_at_alpha(tiny_checkpoint, vector, 0.75, tmp_path / "mine.safetensors")
    before = open_checkpoint(tiny_checkpoint).build("cpu").module.state_dict()
    after = open_checkpoint(made).build("cpu").module.state_dict()
    assert torch.allclose(after[NAME], before[NAME] + 0.75)
    said = json.dumps(read_header(made).metadata)
    assert "source_sha256" in said
    assert "0.75" in said


def test_another_files_vector_is_refused(
    tiny_model: ClipModel, tiny_checkpoint: Path, vector: Path, tmp_path: Path
) -> None:
    tiny_model.sha256 = "a" * 64  # of the same architecture
    with pytest.raises(InputError, match="made from another checkpoint"):
        read_line(tiny_model, vector)
    odd = save_vector({NAME: torch.ones(3, 3)}, tmp_path / "odd.safetensors", {})
    with pytest.raises(InputError, match="does not fit"):
        read_line(tiny_model, odd)
    with pytest.raises(InputError, match=r"no gone\.safetensors"):
        read_line(tiny_model, tmp_path / "gone.safetensors")
    with pytest.raises(InputError, match="is not a vector"):
        read_line(tiny_model, tiny_checkpoint)
