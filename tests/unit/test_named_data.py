"""Whose training data is taken where none is named at the command line."""

from __future__ import annotations

import pytest

from ml_core.cli.app import run_command
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.detection.records import FIVE_POISONS
from ml_core.events import Done
from ml_core.jobs.demo import demo_checkpoint
from tests.unit.pair_files import table


@pytest.fixture
def started(monkeypatch):
    """Jobs that would have begun."""
    begun = []

    def cancelled(spec, *_, **__):
        begun.append(spec)
        yield Done("cancelled")

    monkeypatch.setattr("ml_core.jobs.clean.run.run", cancelled)
    monkeypatch.setattr("ml_core.jobs.bench.bench", cancelled)
    return begun


@pytest.fixture
def own(tmp_path, tiny_checkpoint):
    """A checkpoint and a label set that are not the demo's."""
    (tmp_path / "own.txt").write_text("cat\ndog\n")
    tiny_checkpoint.rename(tmp_path / "own.safetensors")
    return [str(tmp_path / "own.safetensors"), "-o", str(tmp_path / "out"),
            "--labels", str(tmp_path / "own.txt")]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "option"),
    [("mmcl", "--pairs"), ("supervised", "--training-images"), ("tbar", "--training-images")],
)
def test_own_classes_are_not_trained_on_the_demos_art(own, method, option, started, capsys):
    assert run_command(["clean", *own, "--method", method]) == 3
    said = capsys.readouterr().err
    assert f" with {option}: the demo's are used only with" in said
    assert not started
    asked = "demo" if option == "--pairs" else "demo:clean"
    assert run_command(["clean", *own, "--method", method, option, asked]) == 130
    assert len(started) == 1


def test_the_demos_checkpoint_or_labels_take_them(own, started, capsys):
    demo = [str(demo_checkpoint()), *own[1:]]
    assert run_command(["clean", *demo, "--method", "mmcl"]) == 130
    assert run_command(["clean", *own[:3], "--method", "mmcl"]) == 130
    assert run_command(["clean", *demo, "--method", "supervised"]) == 130
    assert [spec.pairs for spec in started] == [PairSpec(), PairSpec(), None]
    assert started[2].training_images == ImageSpec(split="clean")
    assert FIVE_POISONS not in capsys.readouterr().err


def test_the_pictures_of_pairs_are_images(own, started, tmp_path, capsys):
    pairs = PairSpec(kind="csv", path=str(table(tmp_path / "pairs", range(4))))
    named = ["--pairs", str(pairs.path)]
    method = ["--method", "adversarial", "--accept-rate"]
    assert run_command(["clean", *own, *method]) == 3
    assert "Name image-caption pairs with --pairs, or images" in capsys.readouterr().err
    assert run_command(["clean", *own, *method, *named]) == 130
    assert run_command(["clean", *own[:3], *method, *named]) == 130  # beside the demo's labels
    assert run_command(["bench", "adversarial", "mmcl", "--checkpoint", *own, *named]) == 130
    for spec in (*started[:2], started[2].base):
        assert (spec.pairs, spec.training_images) == (pairs, None)
    images = ["--training-images", "demo:clean"]
    assert run_command(["clean", *own, *method, *named, *images]) == 130
    assert started[3].training_images == ImageSpec(split="clean")
    supervised = ["bench", "adversarial", "supervised", "--checkpoint", *own, *named]
    assert run_command(supervised) == 3
    assert "Name images to train on with --training-images" in capsys.readouterr().err


def test_a_comparison_asks_for_what_its_recipes_take(own, started, capsys):
    bench = ["bench", "supervised", "--checkpoint", *own]
    assert run_command(bench) == 3
    assert "--training-images" in capsys.readouterr().err
    images = ["--training-images", "demo:clean"]
    assert run_command([*bench, *images]) == 130
    assert (started[0].base.pairs, started[0].base.training_images.kind) == (None, "demo")
    assert run_command([*bench, *images, "--pairs", "demo"]) == 130
    assert started[1].base.pairs == PairSpec()  # for its proofs
    assert run_command([*bench, *images, "--rebound"]) == 3
    assert "--pairs" in capsys.readouterr().err
    assert run_command(["bench", "mmcl", "--checkpoint", *own]) == 3
    assert "--pairs" in capsys.readouterr().err
    assert run_command(["bench", "mmcl", "supervised", "-o", own[2]]) == 130
    base = started[2].base
    assert (base.pairs, base.training_images) == (PairSpec(), ImageSpec(split="clean"))


def test_what_a_few_poisons_do_is_said_before_own_pairs_are_trained_on(
    own, tmp_path, started, capsys
):
    table = tmp_path / "pairs.csv"
    table.write_text("image,caption\na.png,a cat\n")
    clean = ["clean", *own, "--method", "mmcl", "--pairs", str(table), "--json"]
    assert run_command(clean) == 130
    assert f"{FIVE_POISONS} `cleanclip audit` looks for them." in capsys.readouterr().err
    assert run_command([*clean, "--resume"]) == 130
    assert FIVE_POISONS not in capsys.readouterr().err
    assert run_command(["clean", "--help"]) == 0
    assert "Even 5 poisoned pairs in 100 000" in " ".join(capsys.readouterr().out.split())
