"""Where two checkpoints differ is told tensor by tensor and layer by layer."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch

import ml_core.checkpoints.tensor_stats as stats
from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.compare import (
    LayerChange,
    TensorChange,
    by_layer,
    compare_checkpoints,
    layer_of,
)
from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import InputError, Inspection, inspect
from tests.unit.draining import until_cancelled


def saved(path: Path, tensors: dict[str, torch.Tensor]) -> Inspection:
    torch.save(tensors, path)
    return inspect(path)


def compared(folder, one, two):
    found = saved(folder / "a.pt", one), saved(folder / "b.pt", two)
    return {change.name: change for change in compare_checkpoints(*found)}


def test_a_tensor_that_became_nan_is_no_small_change(tmp_path: Path) -> None:
    base = torch.arange(1.0, 7.0)
    broken, held = base.clone(), torch.tensor([1.0, math.nan])
    broken[2] = math.nan
    one = {"visual.a.0.w": base, "visual.a.0.b": base, "visual.b.0.w": base, "text": held}
    got = compared(tmp_path, one, one | {"visual.a.0.w": broken, "visual.b.0.w": 2 * base})
    assert (got["visual.a.0.w"].state, got["visual.a.0.w"].not_finite) == ("changed", 1)
    assert math.isnan(got["visual.a.0.w"].relative)
    assert (got["text"].state, got["text"].not_finite, got["text"].relative) == ("equal", 0, 0.0)
    layers = {layer.name: layer for layer in by_layer(got.values())}
    assert math.isnan(layers["visual.a.0"].relative)
    assert layers["visual.a.0"].not_finite == 1
    assert layers["visual.b.0"].relative == 1.0


def test_every_state_is_told(tmp_path: Path) -> None:
    base = torch.arange(1.0, 7.0).reshape(2, 3)
    got = compared(
        tmp_path,
        {"same": base, "new": base, "moved": base, "shape": base, "count": torch.tensor(1)},
        {
            "same": base,
            "old": base,
            "moved": base * 1.5,
            "shape": base.t(),
            "count": torch.tensor(2),
        },
    )
    assert {name: change.state for name, change in got.items()} == {
        "same": "equal",
        "new": "only first",
        "moved": "changed",
        "shape": "other shape",
        "count": "changed",
        "old": "only second",
    }
    assert got["moved"].relative == pytest.approx(0.5)
    assert got["same"].relative == 0
    assert got["count"].relative == 0  # a counter is no weight
    assert math.isnan(got["new"].relative)


def test_layout_and_type_do_not_matter(tmp_path: Path) -> None:
    base = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).half()
    got = compared(
        tmp_path,
        {"turned": base, "wide": base, "whole": torch.ones(2, 3)},
        {
            "turned": base.t().contiguous().t(),
            "wide": base.double(),
            "whole": torch.ones(1).expand(2, 3),
        },
    )
    assert {change.state for change in got.values()} == {"equal"}


def test_what_is_no_number_is_compared_too(tmp_path: Path) -> None:
    inf, nan = math.inf, math.nan
    one = torch.tensor([1.0, -inf, nan, 2.0])
    got = compared(
        tmp_path,
        {"a": one, "b": one, "zero": torch.zeros(2)},
        {"a": one.clone(), "b": torch.tensor([1.0, -inf, nan, inf]), "zero": torch.ones(2)},
    )
    assert got["a"].state == "equal"
    assert (got["b"].state, got["b"].not_finite) == ("changed", 1)
    assert math.isnan(got["b"].relative)
    assert got["zero"].relative == inf


def test_pieces_of_unequal_length_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "_CHUNK", 7)
    base = torch.randn(10, 5, generator=torch.Generator().manual_seed(0))
    other = base.clone()
    other[9, 4] += 1
    got = compared(tmp_path, {"w": base, "v": base}, {"w": base.t().contiguous().t(), "v": other})
    assert (got["w"].state, got["v"].state) == ("equal", "changed")
    assert got["v"].relative == pytest.approx(1 / base.norm().item())


def test_two_clips_are_matched_by_the_models_names(tiny_checkpoint: Path, tmp_path: Path) -> None:
    opened = open_checkpoint(tiny_checkpoint)
    tensors = read_tensors(opened.inspection)
    finetuned = {name: value.clone() for name, value in tensors.items()}
    finetuned["visual.layer2.0.conv1.weight"] *= 1.25
    wrapped = {"state_dict": {f"module.{name}": value for name, value in finetuned.items()}}
    torch.save(wrapped, tmp_path / "m.pt")
    changes = list(compare_checkpoints(opened.inspection, inspect(tmp_path / "m.pt")))
    assert [change.name for change in changes if change.state != "equal"] == [
        "visual.layer2.0.conv1.weight"
    ]
    layers = {layer.name: layer for layer in by_layer(changes)}
    assert layers["visual.layer2.0"].changed == 1
    assert 0 < layers["visual.layer2.0"].relative < 0.25
    assert sum(layer.changed for layer in layers.values()) == 1


def test_layers() -> None:
    names = {
        "visual.layer1.0.downsample.1.weight": "visual.layer1.0",
        "visual.transformer.resblocks.11.attn.in_proj_bias": "visual.transformer.resblocks.11",
        "transformer.resblocks.2.ln_1.weight": "transformer.resblocks.2",
        "visual.attnpool.k_proj.bias": "visual.attnpool",
        "visual.bn1.num_batches_tracked": "visual.bn1",
        "visual.proj": "visual.proj",
        "ln_final.weight": "ln_final",
        "logit_scale": "logit_scale",
    }
    assert {name: layer_of(name) for name in names} == names
    changes = [
        TensorChange("a.0.w", "changed", 9.0, 36.0),
        TensorChange("a.0.b", "equal", 0.0, 64.0),
        TensorChange("a.1.w", "only first"),
    ]
    assert by_layer(changes) == [LayerChange("a.0", 0.3, 2, 1)]
    # Files keep their tensors in any order; a model does not.
    shuffled = [TensorChange(name, "equal", 0.0, 1.0) for name in sorted(names, reverse=True)]
    shuffled.append(TensorChange("transformer.resblocks.10.ln_1.weight", "equal", 0.0, 1.0))
    assert [layer.name for layer in by_layer(shuffled)] == [
        *("visual.bn1", "visual.layer1.0", "visual.transformer.resblocks.11", "visual.attnpool"),
        *("visual.proj", "transformer.resblocks.2", "transformer.resblocks.10", "ln_final"),
        "logit_scale",
    ]


def test_cancelling_a_short_file_and_one_too_far_apart(tmp_path, monkeypatch):
    one = saved(tmp_path / "a.pt", {"w": torch.ones(4, 4), "v": torch.ones(4, 4)})
    two = saved(tmp_path / "b.pt", {"w": torch.ones(4, 4).t(), "v": torch.rand(4, 4).t()})
    assert until_cancelled(compare_checkpoints(one, two, cancelled=lambda: True)) == []
    monkeypatch.setattr(stats, "_MAX_APART", 60)
    with pytest.raises(InputError, match="convert the file to safetensors first"):
        list(compare_checkpoints(one, two))
    os.truncate(tmp_path / "a.pt", 200)
    with pytest.raises(InputError, match="changed while it was read"):
        list(compare_checkpoints(one, one))
