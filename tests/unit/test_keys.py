"""What a file's tensors lack, have beside the model or have in another shape, told in full."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.inspection_record import assess, inspection_record
from ml_core.checkpoints.inspection_sarif import sarif_log
from ml_core.cli.app import run_command
from ml_core.reading import InputError, inspect
from ml_core.reading.key_mismatch import KeyLists, WrongShape, first_names, key_lists
from ml_core.reports.html.fields import inspection_page
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


def test_lists_are_complete_and_in_order() -> None:
    wanted = {f"a{number}": (number,) for number in range(40)} | {"scale": ()}
    given = {"b": (1,), "a3": (9, 9), "a0": (0,), "c": ()}
    found = key_lists(wanted, given)
    assert found.missing == (*(f"a{n}" for n in range(40) if n not in (0, 3)), "scale")
    assert found.unexpected == ("b", "c")
    assert found.wrong_shape == (WrongShape("a3", (9, 9), (3,)),)
    assert not found.fits
    assert found.left_out == ""
    assert json.loads(json.dumps(found.to_dict()))["wrong_shape"] == [
        {"name": "a3", "found": [9, 9], "expected": [3]}
    ]
    assert key_lists(given, given).same
    assert first_names(found.missing, 2) == "a1, a2 and 37 more"


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("extra.weight", True),
        ("visual.rope.freqs", True),
        ("visual.transformer.resblocks.2.mlp.c_fc.bias", False),
        ("transformer.resblocks.0.ls_1.gamma", False),
        ("visual.layer3.0.conv9.weight", False),
        ("vision_model.encoder.layers.0.weird.weight", False),
        ("visual.ln_pre.weight", False),
    ],
)
def test_what_the_model_would_compute_with_is_not_left_out(name: str, fits: bool) -> None:
    assert KeyLists(unexpected=(name,)).fits is fits


def with_strangers(count: int) -> dict[str, Tensor]:
    state = contiguous(lively(VIT).state_dict())
    return state | {f"probe.{number}": torch.zeros(2) for number in range(count)}


def test_strangers_are_left_out_with_caution(tmp_path: Path) -> None:
    module = lively(VIT)
    torch.save({"state_dict": with_strangers(7)}, tmp_path / "m.pt")
    assessed = assess(inspect(tmp_path / "m.pt"))
    assert (assessed.verdict, assessed.reason_code) == ("caution", "note")
    (sentence,) = assessed.reasons
    assert sentence.startswith("7 tensors are not part of the model and left out: probe.0, ")
    assert "and 2 more" in sentence
    checkpoint = open_checkpoint(tmp_path / "m.pt")
    assert len(checkpoint.architecture.keys.unexpected) == 7
    assert checkpoint.architecture.cautions == (sentence,)
    assert "state_dict" in checkpoint.architecture.notes[0]
    assert_equal(checkpoint.build(), theirs(module))


@pytest.mark.parametrize("start", ["visual.transformer", "transformer"])
def test_a_misshapen_mlp_of_the_first_block_is_named(start: str, tmp_path: Path) -> None:
    state = with_strangers(0)
    key = f"{start}.resblocks.0.mlp.c_fc.weight"
    hidden, width = state[key].shape
    torch.save(state | {key: torch.zeros(6, width)}, tmp_path / "m.pt")
    (sentence,) = assess(inspect(tmp_path / "m.pt")).reasons
    assert f"(first: {key}: [6, {width}] instead of [{hidden}, {width}])" in sentence


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
    (run,) = sarif_log(record)["runs"]
    assert run["properties"]["architecture"]["keys"]["missing"] == ["ln_final.bias"]
    assert run_command(["inspect", str(path)]) == 2
    shown = capsys.readouterr().out
    assert "1: ln_final.bias" in shown
    assert "1: probe.0" in shown
    assert "1: text_projection: [128, 25] instead of [128, 24]" in shown
    with pytest.raises(InputError, match="1 missing, 1 unexpected, 1 of another shape") as caught:
        open_checkpoint(path).build()
    assert "missing: ln_final.bias" in caught.value.details


def test_one_encoder_is_checked_without_a_donor(tmp_path: Path) -> None:
    state = vision_names(lively(VIT))
    save_file(state | {"probe": torch.zeros(1)}, tmp_path / "m.safetensors")
    assessed = assess(inspect(tmp_path / "m.safetensors"))
    assert (assessed.verdict, assessed.problem) == ("caution", None)
    assert assessed.architecture["name"].startswith("CLIP's image encoder by itself (ViT 32 px")
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
