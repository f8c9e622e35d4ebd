"""What tensors a config asks for, and what a file lacks, has beside or has in another shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip import get_model_config
from safetensors.torch import load_file, save_file
from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.choice import Choice
from ml_core.checkpoints.expected import check_tensors, expected_shapes
from ml_core.checkpoints.inspection_record import assess, inspection_record
from ml_core.cli.app import run_command
from ml_core.reading import InputError, examine, inspect
from ml_core.reading.clip_config import check_model_config
from ml_core.reading.key_mismatch import KeyLists
from ml_core.reports.html.fields import inspection_page
from ml_core.towers import make_module
from tests.unit.layout_files import (
    TEXT,
    VIT,
    assert_equal,
    bare_safetensors,
    contiguous,
    lively,
    theirs,
    vision_names,
)


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("extra.weight", True),
        ("visual.transformer.resblocks.2.mlp.c_fc.bias", False),
        ("visual.layer3.0.conv9.weight", False),
        ("vision_model.encoder.layers.0.weird.weight", False),
    ],
)
def test_what_the_model_would_compute_with_is_not_left_out(name: str, fits: bool) -> None:
    assert KeyLists(unexpected=(name,)).fits is fits


def with_strangers(count: int) -> dict[str, Tensor]:
    state = contiguous(lively(VIT).state_dict())
    return state | {f"probe.{number}": torch.zeros(2) for number in range(count)}


def broken(tmp_path: Path) -> Path:
    """One tensor of each kind of trouble."""
    state = with_strangers(1)
    del state["ln_final.bias"]
    state["text_projection"] = torch.zeros(128, 25)
    save_file(state, tmp_path / "m.safetensors", {"open_clip_config": json.dumps(VIT)})
    return tmp_path / "m.safetensors"


def test_every_export_tells_the_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = broken(tmp_path)
    assessed = assess(inspect(path))
    record = inspection_record(assessed)
    assert record["verdict"] == "damaged"
    assert record["architecture"]["keys"] == {
        "missing": ["ln_final.bias"],
        "unexpected": ["probe.0"],
        "wrong_shape": [{"name": "text_projection", "found": [128, 25], "expected": [128, 24]}],
    }
    page = inspection_page(record)
    for words in ("Missing tensors", "Unexpected tensors", "Tensors of another shape"):
        assert words in page
    assert "text_projection: [128, 25] instead of [128, 24]" in page
    assert run_command(["inspect", str(path)]) == 2
    assert "1: text_projection: [128, 25] instead of [128, 24]" in capsys.readouterr().out
    with pytest.raises(InputError, match="1 missing, 1 unexpected, 1 of another shape") as caught:
        open_checkpoint(path).build()
    assert "missing: ln_final.bias" in caught.value.details


def test_one_encoder_is_checked_without_a_donor(tmp_path: Path) -> None:
    state = vision_names(lively(VIT))
    save_file(state | {"probe": torch.zeros(1)}, tmp_path / "m.safetensors")
    assert assess(inspect(tmp_path / "m.safetensors")).verdict == "caution"
    del state["ln_post.bias"]
    save_file(state, tmp_path / "m.safetensors")
    assessed = assess(inspect(tmp_path / "m.safetensors"))
    assert assessed.verdict == "damaged"
    assert assessed.keys.missing == ("visual.ln_post.bias",)


@pytest.mark.parametrize("size", [600, 49500])
def test_another_vocabulary_opens_with_caution(size: int, tmp_path: Path) -> None:
    module = lively(VIT | {"text_cfg": TEXT | {"vocab_size": size}})
    path = bare_safetensors(module, tmp_path)
    assessed = assess(inspect(path))
    assert assessed.verdict == "caution"
    assert f"vocabulary has {size} tokens" in assessed.reasons[0]
    model = open_checkpoint(path).build()
    tokens = torch.randint(0, size, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model.module.encode_text(tokens), module.encode_text(tokens))
    if size < 49408:
        with pytest.raises(InputError, match=r"m\.safetensors cannot be given texts: .* 600"):
            model.encode_texts(["a dog"])
    else:
        assert_equal(model, theirs(module))
        assert assessed.reasons[0] in model.assumptions


# Against open_clip's own modules


SMALL_VIT: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 48, "patch_size": 16, "layers": 2, "width": 64, "mlp_ratio": 1.5},
    "text_cfg": {"width": 64, "heads": 1, "layers": 1},
}
LAYER_SCALE = SMALL_VIT["vision_cfg"] | {"ls_init_value": 0.1, "no_ln_pre": True}


@pytest.mark.parametrize(
    "config",
    [
        SMALL_VIT | {"vision_cfg": LAYER_SCALE},
        SMALL_VIT | {"custom_text": True, "quick_gelu": True},
        SMALL_VIT | {"init_logit_bias": -10, "nonscalar_logit_scale": True},
        *(get_model_config(name) for name in ("RN50x4", "ViT-bigG-14")),
    ],
)  # fmt: skip
def test_tensors_are_open_clips(config: dict[str, Any]) -> None:
    checked = check_model_config(config, "test")
    with torch.device("meta"):
        theirs = make_module(checked).state_dict()
    assert expected_shapes(checked) == {key: tuple(value.shape) for key, value in theirs.items()}
    vision = SMALL_VIT["vision_cfg"] | {"attentional_pool": True}  # left to the model
    assert expected_shapes(check_model_config(SMALL_VIT | {"vision_cfg": vision}, "test")) is None


def test_whole_numbers_in_the_place_of_weights_are_told(tiny_checkpoint, tmp_path):
    """A chosen logit scale makes up for the file's."""
    tensors = load_file(tiny_checkpoint)
    metadata = dict(open_checkpoint(tiny_checkpoint).inspection.metadata)
    tensors["logit_scale"] = tensors["logit_scale"].to(torch.int64)
    save_file(tensors, tmp_path / "m.safetensors", metadata)
    assessed = assess(examine(tmp_path / "m.safetensors"))
    assert assessed.verdict == "damaged"
    assert "the tensor logit_scale holds I" in assessed.reasons[0]
    opened = open_checkpoint(tmp_path / "m.safetensors")
    check_tensors(opened.architecture, opened.inspection, scale_chosen=True)
    assert opened.build(choice=Choice(logit_scale=20.0)).logit_scale == pytest.approx(20)
