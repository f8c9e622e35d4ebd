"""Which presets suit a checkpoint, at what rates, and what too high a rate needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_core.cleaning.catalogue import FACTS, METHODS
from ml_core.cleaning.presets import (
    about_rate,
    default_preset,
    highest_rate,
    preset,
    preset_title,
    presets,
    warn_of_rate,
)
from ml_core.cleaning.pretraining import DEMO, UNKNOWN, Pretraining
from ml_core.cleaning.recipes import fields_of, write_recipe
from ml_core.cli.app import run_command
from ml_core.jobs.demo import demo_checkpoint, is_of_demo
from ml_core.jobs.specs import read_spec
from tests.conftest import TINY_CONFIG

CLIP = Pretraining(5e-4, "RN50: Radford et al. 2021, table 19", "architecture")
OTHERS = (CLIP, UNKNOWN, Pretraining(2e-5, "its name", "known"), Pretraining(2e-3, "it", "file"))


def test_the_demo_begins_with_quick_and_has_what_it_had() -> None:
    for method in METHODS:
        assert default_preset(method) == "quick"
        assert "adapted" not in presets(method)
        assert preset_title(preset(method, "default")) == "Quick"
        assert about_rate(preset(method, "quick"), DEMO) == ""


@pytest.mark.parametrize("known", OTHERS)
def test_another_checkpoint_begins_with_what_is_published_or_adapted_to_it(
    known: Pretraining,
) -> None:
    for method in METHODS:
        names = list(presets(method, known))
        if "paper" in presets(method):
            assert names[0] == "paper"
            assert preset(method, "default", known) == preset(method, "paper")
        elif FACTS[method].frozen:
            assert names[0] == "quick"  # its rate is that of a head
        else:
            assert names[0] == "adapted"


@pytest.mark.parametrize("known", OTHERS)
def test_nothing_that_suits_a_checkpoint_is_above_a_fifth_of_its_pretraining(
    known: Pretraining,
) -> None:
    for method in ("cleanclip-par", "locked-text", "unlearn", "tbar"):
        adapted = preset(method, "default", known)
        assert adapted.lr <= 0.2 * known.assumed * (1 + 1e-9)
        assert warn_of_rate(adapted, known) == ""
        rest = adapted.model_copy(update={"lr": 1.0, "preset": ""})
        assert rest == preset(method, "quick").model_copy(update={"lr": 1.0, "preset": ""})
    for method in METHODS:
        assert warn_of_rate(preset(method, "default", known), known) == ""


def test_an_adapted_rate_is_the_demos_in_proportion_unless_that_is_too_high() -> None:
    assert preset("tbar", "default", CLIP).lr == 3.3e-5  # 1e-4 of 1.5e-3
    assert preset("locked-text", "default", CLIP).lr == 1e-4  # 1.4e-3 would be 4.7e-4


def test_a_rate_far_above_what_is_safe_is_warned_of_whoever_chose_it() -> None:
    for method in METHODS:
        for name, recipe in presets(method).items():
            moves = "lr" in fields_of(method) and not FACTS[method].frozen
            too_high = moves and recipe.lr > highest_rate(method, CLIP)
            assert bool(warn_of_rate(recipe, CLIP)) == too_high, (method, name)
            assert warn_of_rate(recipe, DEMO) == ""
    warning = warn_of_rate(preset("mmcl", "quick"), CLIP)
    assert "2e-3, which was chosen on the demo, is 4 times the peak of 5e-4" in warning
    assert "Up to 1e-4 is safer" in warning
    assert warn_of_rate(preset("mmcl", "quick").changed(lr=1e-4), CLIP) == ""
    assert warn_of_rate(preset("mmcl", "paper").changed(lr=1.1e-4), CLIP)
    assert about_rate(preset("mmcl", "quick"), CLIP) == warning


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
        (False, [], "paper", "is the published one: 1/36 of a peak of 3.6e-4"),
        (False, ["--method", "unlearn"], "adapted", "the demo's in proportion"),
        (False, ["--preset", "quick", "--accept-rate"], "quick", "chosen on the demo"),
        (False, ["--preset", "quick", "--set", "lr=1e-3"], "custom", "2.8 times"),
        (False, ["--preset", "quick", "--set", "lr=5e-5"], "custom", ""),
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
    trigger = ["--trigger", "demo"] if "unlearn" in given else []
    arguments = ["clean", str(source), "-o", str(tmp_path / "o"), *given, *trigger]
    assert run_command([*arguments, "--export", str(tmp_path / "job")]) == 0
    assert read_spec(tmp_path / "job" / "job.json").recipe.preset == name
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("as_file", [False, True])
def test_clean_and_bench_refuse_a_rate_that_would_destroy_the_checkpoint(
    as_file: bool, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_recipe(preset("mmcl", "quick"), tmp_path / "shared.json")
    chosen = ["--recipe", str(file)] if as_file else ["--preset", "quick"]
    arguments = ["clean", str(tiny_checkpoint), "-o", str(tmp_path / "o"), *chosen]
    assert run_command([*arguments, "--export", str(tmp_path / "job")]) == 3
    assert "--accept-rate" in capsys.readouterr().err
    named = str(file) if as_file else "mmcl:quick"
    assert run_command(["bench", named, "--checkpoint", str(tiny_checkpoint)]) == 3
    assert "may take most of the clean accuracy" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
