"""Which tensors a config asks for, against open_clip's own modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip import get_model_config
from safetensors.torch import load_file, save_file

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.choice import Choice
from ml_core.checkpoints.expected import check_tensors, expected_shapes
from ml_core.checkpoints.inspection_record import assess
from ml_core.reading import InputError, examine
from ml_core.reading.clip_config import check_model_config
from ml_core.towers import make_module
from tests.conftest import TINY_CONFIG

VIT: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 48, "patch_size": 16, "layers": 2, "width": 64, "mlp_ratio": 1.5},
    "text_cfg": {"width": 64, "heads": 1, "layers": 1},
}
LAYER_SCALE = VIT["vision_cfg"] | {"ls_init_value": 0.1, "no_ln_pre": True}


@pytest.mark.parametrize(
    "config",
    [
        TINY_CONFIG, VIT, VIT | {"vision_cfg": LAYER_SCALE},
        VIT | {"custom_text": True, "quick_gelu": True},
        VIT | {"init_logit_bias": -10, "nonscalar_logit_scale": True},
        *(get_model_config(name) for name in ("RN50", "RN50x4", "ViT-B-32", "ViT-bigG-14")),
    ],
)  # fmt: skip
def test_tensors_are_open_clips(config: dict[str, Any]) -> None:
    checked = check_model_config(config, "test")
    with torch.device("meta"):
        theirs = make_module(checked).state_dict()
    assert expected_shapes(checked) == {key: tuple(value.shape) for key, value in theirs.items()}
    vision = VIT["vision_cfg"] | {"attentional_pool": True}  # left to the model
    assert expected_shapes(check_model_config(VIT | {"vision_cfg": vision}, "test")) is None


def test_a_missing_tensor_is_told_without_building(tiny_checkpoint: Path, tmp_path: Path) -> None:
    whole = open_checkpoint(tiny_checkpoint)
    check_tensors(whole.architecture, whole.inspection)
    tensors = load_file(tiny_checkpoint)
    tensors["logit_scale"] = tensors["logit_scale"].reshape(1)
    save_file(tensors, tmp_path / "m.safetensors", dict(whole.inspection.metadata))
    reshaped = open_checkpoint(tmp_path / "m.safetensors")
    check_tensors(reshaped.architecture, reshaped.inspection)
    del tensors["ln_final.bias"]
    save_file(tensors, tmp_path / "m.safetensors", dict(whole.inspection.metadata))
    part = open_checkpoint(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=r"1 missing.*first: ln_final.bias"):
        check_tensors(part.architecture, part.inspection)


@pytest.mark.parametrize(
    ("name", "dtype"), [("logit_scale", torch.int64), ("visual.conv1.weight", torch.int8)]
)
def test_whole_numbers_in_the_place_of_weights_are_told_by_the_inspection(
    tiny_checkpoint, tmp_path, name, dtype
):
    """A chosen logit scale makes up for the file's."""
    tensors = load_file(tiny_checkpoint)
    metadata = dict(open_checkpoint(tiny_checkpoint).inspection.metadata)
    tensors[name] = tensors[name].to(dtype)
    save_file(tensors, tmp_path / "m.safetensors", metadata)
    assessed = assess(examine(tmp_path / "m.safetensors"))
    assert assessed.verdict == "damaged"
    assert f"the tensor {name} holds I" in assessed.reasons[0]
    opened = open_checkpoint(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=f"{name} holds I"):
        check_tensors(opened.architecture, opened.inspection)
    if name == "logit_scale":
        check_tensors(opened.architecture, opened.inspection, scale_chosen=True)
        assert opened.build(choice=Choice(logit_scale=20.0)).logit_scale == pytest.approx(20)
