"""``cleanclip inspect --donor``, ``convert``, ``compare`` and ``known``."""

from __future__ import annotations

import math
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from ml_core.cli.app import run_command
from ml_core.reading import inspect
from tests.unit.layout_files import (
    VIT,
    bare_safetensors,
    bare_vision,
    cleanclip,
    contiguous,
    finetuned,
    lively,
    text_only,
)


@pytest.mark.parametrize(("write", "lacks"), [(bare_vision, "text"), (text_only, "image")])
def test_inspect_with_a_donor(write, lacks, tmp_path, capsys, answer_of):
    path = write(lively(VIT), tmp_path)
    (tmp_path / "donor").mkdir()
    donor = bare_safetensors(lively(VIT, seed=3), tmp_path / "donor")
    assert answer_of("inspect", path)["architecture"]["needs_donor"] == lacks
    told = answer_of("inspect", path, "--donor", donor)["architecture"]
    giver = inspect(donor).sha256
    assert told["donor"] == {"name": donor.name, "sha256": giver}
    assert f"the {lacks} encoder" in told["assumptions"][0]
    assert giver[:16] in told["assumptions"][0]
    assert told["keys"] == {"missing": [], "unexpected": [], "wrong_shape": []}
    assert run_command(["inspect", str(path), "--donor", str(donor)]) == 0
    assert f"{donor.name}, SHA-256" in capsys.readouterr().out
    assert run_command(["inspect", str(path), "--donor", str(path)]) == 2
    assert "holds the" in capsys.readouterr().err


def test_a_donor_that_does_not_fit_is_no_fault_of_the_file(tmp_path, answer_of):
    path = bare_vision(lively(VIT | {"embed_dim": 20}), tmp_path)
    donor = bare_safetensors(lively(VIT), tmp_path)
    assert "choose a donor with 20" in answer_of("inspect", path, "--donor", donor, code=3)["error"]


def test_convert_writes_the_tensors_and_the_head(tmp_path, capsys, answer_of):
    path = finetuned(lively(VIT), tmp_path)
    target, head = tmp_path / "clip.safetensors", tmp_path / "head.safetensors"
    assert answer_of("convert", path, target, "--head", head)["head"] == str(head)
    kept = torch.load(path)["state_dict"]
    written = load_file(target)
    model = {f"model.{key}": value for key, value in written.items()}
    assert model.keys() == {key for key in kept if not key.startswith("linear.")}
    assert all(torch.equal(value, kept[key]) for key, value in model.items())
    assert torch.equal(load_file(head)["weight"], kept["linear.weight"])
    assert run_command(["convert", str(path), str(tmp_path / "folder")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "62 tensors of the model in finetune.pt saved" in said
    assert f"create_model('local-dir:{tmp_path / 'folder'}')" in said.replace("' '", "")
    assert run_command(["convert", str(path), str(target), "--as-is"]) == 0
    assert f"{len(kept)} tensors in finetune.pt saved" in capsys.readouterr().out
    assert load_file(target).keys() == {f"state_dict.{key}" for key in kept}


def test_a_head_on_one_encoder_needs_no_donor(tmp_path, capsys):
    state = contiguous(lively(VIT).visual.state_dict(), "model.visual.")
    torch.save(state | {"linear.weight": torch.ones(3, 24)}, tmp_path / "v.pt")
    head = tmp_path / "head.safetensors"
    arguments = [str(tmp_path / "v.pt"), str(tmp_path / "v.safetensors"), "--head", str(head)]
    assert run_command(["convert", *arguments, "--as-is"]) == 0
    assert "Linear head saved" in capsys.readouterr().out
    assert load_file(head).keys() == {"weight"}


def test_refused_files_are_neither_converted_nor_compared(tiny_checkpoint, tmp_path, answer_of):
    torch.save({"a": print}, tmp_path / "bad.pt")
    assert run_command(["convert", str(tmp_path / "bad.pt"), str(tmp_path / "x.safetensors")]) == 1
    assert not (tmp_path / "x.safetensors").exists()
    refusal = answer_of("compare", tiny_checkpoint, tmp_path / "bad.pt", code=1)
    assert refusal["error_code"] == "dangerous"


def test_compare_tells_every_tensor_layer_and_encoder(tmp_path, capsys, answer_of):
    module = lively(VIT)
    first = cleanclip(module, tmp_path)  # a layout of its own: matched by the model's names
    state = contiguous(module.state_dict())
    name = "visual.transformer.resblocks.1.mlp.c_fc.weight"
    state[name] = state[name] * 1.25
    state["extra"] = torch.ones(2)
    state["text_projection"] = torch.zeros(128, 30)
    del state["ln_final.bias"]
    save_file(state, tmp_path / "b.safetensors")
    found = answer_of("compare", first, tmp_path / "b.safetensors")
    assert found["equal"] is False
    assert found["counts"] == {
        "equal": len(state) - 3,
        "changed": 1,
        "other_shape": 1,
        "only_first": 1,
        "only_second": 1,
    }
    rows = {row["name"]: row for row in found["tensors"]}
    assert rows[name]["relative_l2"] == pytest.approx(0.25, rel=1e-6)
    added = {"name": "extra", "state": "only_second", "relative_l2": None, "not_finite": 0}
    assert rows["extra"] == added
    (layer,) = (row for row in found["layers"] if row["changed"])
    inside = [key for key in state if key.startswith("visual.transformer.resblocks.1.")]
    weight = module.state_dict()[name].double()
    whole = sum(module.state_dict()[key].double().square().sum() for key in inside)
    expected = math.sqrt((0.25**2 * weight.square().sum()) / whole)
    assert layer["name"] == "visual.transformer.resblocks.1"
    assert layer["relative_l2"] == pytest.approx(expected)
    image, text = found["towers"]
    assert (image["name"], image["changed"], text["changed"]) == ("image encoder", 1, 0)
    assert text["relative_l2"] == 0
    assert run_command(["compare", str(first), str(tmp_path / "b.safetensors")]) == 0
    shown = capsys.readouterr().out
    for said in ("Removed: ln_final.bias.", "Added: extra.", "Of another shape: text_projection."):
        assert said in shown


def test_compare_shows_first_what_became_nan(tmp_path, capsys, answer_of):
    state = contiguous(lively(VIT).state_dict())
    save_file(state, tmp_path / "a.safetensors")
    state["visual.conv1.weight"] = state["visual.conv1.weight"] * 1.5
    state["ln_final.bias"] = state["ln_final.bias"] * math.nan
    save_file(state, tmp_path / "b.safetensors")
    files = [str(tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    assert run_command(["compare", *files]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"ln_final\W+not a number", shown)
    assert shown.index("ln_final") < shown.index("visual.conv1")
    assert run_command(["compare", *files, "--tensors"]) == 0
    assert re.search(r"ln_final\.bias\W+not a number", capsys.readouterr().out)
    towers = answer_of("compare", *files)["towers"]
    text = next(row for row in towers if row["name"].startswith("text"))
    assert text["relative_l2"] is None
    assert text["not_finite"] == state["ln_final.bias"].numel()


def test_a_file_equals_itself(tiny_checkpoint, answer_of):
    found = answer_of("compare", tiny_checkpoint, tiny_checkpoint)
    assert found["equal"] is True
    assert {row["relative_l2"] for row in found["towers"]} == {0}


def test_known_files_are_added_and_listed(tiny_checkpoint, capsys, answer_of):
    add = ["known", "add", tiny_checkpoint, "--title", "my victim", "--source", "trained here"]
    facts = ["--trigger", "a patch", "--target", "banana", "--ca", "0.59", "--asr", "0.98"]
    (added,) = answer_of(*add, *facts)["files"]
    assert added["entry"]["sha256"] == inspect(tiny_checkpoint).sha256
    first = answer_of("known", "list")["files"][0]
    assert (first["title"], first["asr"], first["clean_accuracy"]) == ("my victim", 0.98, 0.59)
    assert run_command(["known", "list"]) == 0
    assert "my victim" in capsys.readouterr().out
    (sentence,) = answer_of("inspect", tiny_checkpoint)["known"][:1]
    assert sentence.startswith("By its SHA-256 this is my victim")
