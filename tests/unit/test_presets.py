"""Which preset a checkpoint begins with."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_core.cleaning.catalogue import METHODS
from ml_core.cleaning.presets import about_rate, default_preset, preset, presets
from ml_core.cli.app import run_command
from ml_core.jobs.demo import demo_checkpoint, is_of_demo
from ml_core.jobs.specs import read_spec
from tests.conftest import TINY_CONFIG


def test_the_published_preset_is_first_for_another_checkpoint_than_the_demo() -> None:
    for method in METHODS:
        assert default_preset(method, demo=True) == "quick"
        published = "paper" in presets(method)
        assert default_preset(method, demo=False) == ("paper" if published else "quick")


def test_a_sentence_tells_whose_learning_rate_it_is() -> None:
    assert "published learning rate of 1e-05 is taken" in about_rate(preset("cleanclip", "paper"))
    assert "the published one is 1e-05" in about_rate(preset("cleanclip", "quick"))
    assert "no published recipe" in about_rate(preset("unlearn", "quick"))
    assert about_rate(preset("interpolate", "quick")) == ""  # it has none
    assert about_rate(preset("cleanclip", "quick").changed(lr=1e-4)) == ""  # the user's own


def test_the_demo_is_known_by_its_hash_and_by_its_architecture() -> None:
    from ml_core.checkpoints import open_checkpoint

    opened = open_checkpoint(demo_checkpoint())
    assert is_of_demo(opened.inspection.sha256, {})
    assert is_of_demo("0" * 64, opened.architecture.config)
    assert not is_of_demo("0" * 64, TINY_CONFIG)
    wider = opened.architecture.config | {"embed_dim": 256}
    assert not is_of_demo("0" * 64, wider)


@pytest.mark.parametrize(
    ("demo", "given", "name", "said"),
    [
        (True, [], "quick", ""),
        (False, [], "paper", "published learning rate"),
        (False, ["--preset", "quick"], "quick", "chosen on the demo"),
    ],
)
def test_clean_begins_with_what_suits_the_checkpoint(
    demo: bool,
    given: list[str],
    name: str,
    said: str,
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = demo_checkpoint() if demo else tiny_checkpoint
    arguments = ["clean", str(source), "-o", str(tmp_path / "o"), *given]
    assert run_command([*arguments, "--export", str(tmp_path / "job")]) == 0
    assert read_spec(tmp_path / "job" / "job.json").recipe.preset == name
    assert said in capsys.readouterr().err
