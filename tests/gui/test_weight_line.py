"""The engine moves an open checkpoint along its line without opening it anew."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from cleanclip_gui.inference.engine import Engine
from cleanclip_gui.inference.questions import OpenCheckpoint
from ml_core.cleaning.weight_space import save_vector

NAME = "text_projection"


def test_a_slider_moves_the_open_model(tiny_model, tiny_checkpoint: Path, tmp_path: Path) -> None:
    engine = Engine()
    engine.set_device("cpu")
    step = torch.ones_like(tiny_model.module.state_dict()[NAME])
    facts = {"source_sha256": hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()}
    vector = save_vector({NAME: step}, tmp_path / "vector.safetensors", facts)
    engine.open_checkpoint(OpenCheckpoint(str(tiny_checkpoint)))
    start = engine._models["suspect"].module.state_dict()[NAME].clone()

    def at(alpha: float) -> object:
        request = OpenCheckpoint(str(tiny_checkpoint), "cleaned", vector=str(vector), alpha=alpha)
        opened = engine.open_checkpoint(request)
        assert f"At alpha {alpha:g} of the run's vector." in opened.notes
        model = engine._models["cleaned"]
        assert torch.allclose(model.module.state_dict()[NAME], start + alpha)
        return model

    first = at(0.5)
    assert at(1.5) is first
    assert at(0.0) is first
    assert torch.equal(engine._models["suspect"].module.state_dict()[NAME], start)
    engine.open_checkpoint(OpenCheckpoint(str(tiny_checkpoint), "cleaned"))
    assert torch.allclose(engine._models["cleaned"].module.state_dict()[NAME], start)
    assert at(0.25) is not first
