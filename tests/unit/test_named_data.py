"""Whose training data is taken where none is named at the command line."""

from __future__ import annotations

import pytest

from ml_core.cli.app import run_command
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done


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
    ("method", "option"), [("mmcl", "--pairs"), ("supervised", "--training-images")]
)
def test_own_classes_are_not_trained_on_the_demos_art(own, method, option, started, capsys):
    assert run_command(["clean", *own, "--method", method]) == 3
    said = capsys.readouterr().err
    assert f" with {option}: the demo's are used only with" in said
    assert not started
    asked = "demo" if option == "--pairs" else "demo:clean"
    assert run_command(["clean", *own, "--method", method, option, asked]) == 130
    assert len(started) == 1


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
