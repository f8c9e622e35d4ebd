"""``cleanclip evaluate``: tables, published triggers, precision, retrieval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml_core.cli.app import run_command
from ml_core.evaluation.speed import EncodingSpeed
from ml_core.model import ClipModel
from tests.unit.pair_files import table


@pytest.fixture
def base(tiny_checkpoint: Path, tmp_path: Path) -> list[str]:
    templates = tmp_path / "two.txt"
    templates.write_text("a {}\nthe {}\n", encoding="utf-8")
    return [
        "evaluate", str(tiny_checkpoint), "--templates", str(templates), "--threads", "1",
        "--n", "24",
    ]  # fmt: skip


def test_tables_for_the_terminal(base, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    plain = [*base, "--trigger", "T1", "--target", "banana"]
    assert run_command([*plain, "--reference", base[1]]) == 0
    shown = capsys.readouterr()
    assert "difference to the reference" in shown.out
    assert "McNemar p" in shown.out
    assert "Clean accuracy with this trigger's resizing" in shown.err
    assert "BadNets" in shown.err
    # without a target there is nothing to say of one
    assert run_command([*base, "--reference", base[1]]) == 0
    assert "target" not in capsys.readouterr().out.split("difference to the reference")[1]


def test_published_triggers_by_their_id(base, answer_of):
    found = answer_of(*base, "--trigger", "t4", "--target", "banana")
    assert found["canvas"] == "squash"
    assert found["control_ca"] is not None
    said = found["details"]["trigger"]
    assert said["parameters"]["kind"] == "blended"
    assert "squashed" in said["convention"]
    assert said["standing"]


def test_the_numbers_agree_and_their_details_repeat(base, answer_of):
    found = answer_of(*base, "--trigger", "demo")
    assert (found["target_name"], len(found["checkpoint_sha256"])) == ("banana", 64)
    low, high = found["asr_interval"]
    assert 0 <= low <= found["asr_excl"] <= high <= 1
    cells, target = found["breakdown"]["matrix"], found["target"]
    hit = sum(c["n"] for c in cells if c["predicted"] == target and c["label"] != target)
    assert hit == round(found["asr_excl"] * found["n_excl"])
    first = found["details"]
    assert answer_of(*base, "--trigger", "demo")["details"] == first
    assert first["schema"] == "cleanclip-evaluation-details-1"
    assert len(first["digest"]) == 64
    assert first["counts"] == {
        "n": 24, "n_total": 24, "n_labelled": 24, "n_excl": 23, "n_broken": 0,
    }  # fmt: skip
    assert first["preprocess"]["resize_mode"] == "shortest"
    assert first["data"]["known_by"] == "content"
    assert first["templates"] == ["a {}", "the {}"]
    for more in (["--seed", "1"], ["--target", "1"]):
        other = answer_of(*base, "--trigger", "demo", *more)["details"]
        assert other["digest"] != first["digest"]


def test_precision_is_fixed_or_measured(base, monkeypatch, answer_of):
    assert answer_of(*base)["precision"] == "fp32"  # too few images to be worth measuring
    assert answer_of(*base, "--precision", "bf16")["precision"] == "bf16"
    monkeypatch.setattr("ml_core.jobs.measurement.run._WORTH_MEASURING", 0)

    def measured(
        model: ClipModel, images: np.ndarray, classifier: object, *, precision: str, encodes: int
    ) -> EncodingSpeed:
        assert encodes == 24
        assert images.shape == (24, 32, 32, 3)
        return EncodingSpeed(
            "bf16", "contiguous", 8, 100.0, 1.0, 24, "cpu", 1, (), f"asked for {precision}"
        )

    monkeypatch.setattr("ml_core.jobs.measurement.run.speed_of", measured)
    found = answer_of(*base, "--precision", "auto")
    assert (found["precision"], found["layout"]) == ("bf16", "contiguous")
    assert found["speed"]["agreement"] == 1.0
    assert found["details"]["speed"] == "asked for auto"
    assert found["details"]["batch"] == 8


def test_retrieval_on_pairs(base, tmp_path, monkeypatch, capsys, answer_of):
    pairs = table(tmp_path, [40 * number for number in range(6)])
    arguments = [*base, "--trigger", "demo", "--captions", pairs]
    found = answer_of(*arguments)["retrieval"]
    assert (found["n"], found["pool"], found["pairs"]) == (6, 8, "pairs.csv")
    assert found["target_captions"] == ["a banana", "the banana"]
    for recall in found["recalls"]:
        assert list(recall["clean"]) == sorted(recall["clean"])
        assert recall["triggered"] is not None
    assert found["target"]["n"] == 6
    monkeypatch.setenv("COLUMNS", "160")
    assert run_command(arguments) == 0
    shown = capsys.readouterr().out
    assert "retrieval, 6 pictures, 8 captions" in shown
    assert "target caption" in shown


def test_a_repeat_takes_clean_embeddings_from_the_disk(base, monkeypatch, answer_of):
    first = answer_of(*base)

    def never(self: ClipModel, images: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(ClipModel, "encode_images", never)
    again = answer_of(*base)
    assert again["ca_interval"] == first["ca_interval"]
    assert again["target_margin_clean"] == first["target_margin_clean"]
    assert run_command([*base, "--seed", "5", "--precision", "bf16"]) == 4  # another precision
