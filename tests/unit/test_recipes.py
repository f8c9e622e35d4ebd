"""Recipes, their presets and files; which preset suits a checkpoint, and at what rate."""

from __future__ import annotations

import json
import subprocess
import sys

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
from ml_core.cleaning.recipes import fields_of, make_recipe, read_recipe, write_recipe
from ml_core.cli.app import run_command
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.jobs.demo import demo_checkpoint, is_of_demo
from ml_core.jobs.specs import CleanSpec, check_spec, read_spec, write_spec
from ml_core.reading.errors import InputError
from tests.conftest import TINY_CONFIG

CLIP = Pretraining(5e-4, "RN50: Radford et al. 2021, table 19", "architecture")
OTHERS = (CLIP, UNKNOWN, Pretraining(2e-5, "its name", "known"), Pretraining(2e-3, "it", "file"))


def test_the_demo_begins_with_quick_and_every_preset_comes_back_from_its_file(
    tmp_path,
):
    for method in METHODS:
        named = presets(method)
        assert next(iter(named)) == default_preset(method) == "quick"
        assert set(named) <= {"quick", "talk", "thorough", "paper"}
        assert preset_title(preset(method, "default")) == "Quick"
        assert about_rate(preset(method, "quick"), DEMO) == ""
        for name, recipe in named.items():
            assert (recipe.method, recipe.preset) == (method, name)
            assert make_recipe(recipe.model_dump()) == recipe
            assert read_recipe(write_recipe(recipe, tmp_path / f"{method}-{name}.json")) == recipe


PUBLISHED: dict[str, dict[str, object]] = {
    "cleanclip": {
        "pairs": 100_000, "batch_size": 64, "epochs": 10, "lr": 1e-5, "warmup_steps": 50,
        "weight_decay": 0.1, "schedule": "cosine", "lambda_clip": 1.0, "lambda_image": 1.0,
        "lambda_text": 1.0, "beta1": 0.9, "beta2": 0.999, "image_augmentation": "autoaugment",
    },
    "mmcl": {"lr": 1e-5, "lambda_image": 0.0, "lambda_text": 0.0},
    "ss": {"lr": 1e-5, "lambda_image": 1.0, "lambda_text": 1.0},
    "supervised": {"lr": 1e-4, "warmup_steps": 500, "weight_decay": 0.01},
    "par": {
        "batch_size": 512, "beta1": 0.9, "beta2": 0.98, "weight_decay": 1e-4, "tau": 2.15,
        "lambda_repel": 1.0, "pairs": 250_000,
    },
    "rvpt": {
        "shots": 16, "batch_size": 32, "epochs": 50, "lr": 0.002, "prompt_depth": 3,
        "prompt_length": 50, "lambda_repel": 2.0, "optimizer": "sgd", "schedule": "cosine",
    },
}  # fmt: skip


@pytest.mark.parametrize("method", PUBLISHED)
def test_paper_presets_are_the_published_numbers(method):
    fields = preset(method, "paper").model_dump()
    expected = PUBLISHED[method] | {"grad_clip": 0.0}  # nobody clips
    assert {name: fields[name] for name in expected} == expected


def test_changing_a_number_makes_the_preset_custom_but_a_seed_does_not():
    recipe = preset("cleanclip", "default")
    assert recipe.changed(lr=recipe.lr / 2).preset == "custom"
    assert (recipe.changed(seed=7).preset, recipe.changed(seed=7).seed) == ("quick", 7)


def test_recipes_are_listed_and_shown_as_json(capsys):
    assert run_command(["recipes", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert set(listed) == set(METHODS)
    assert all(all(method["presets"].values()) for method in listed.values())
    assert run_command(["recipes", "show", "par", "paper", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lr"] == 3e-5


def test_recipes_and_specs_import_no_torch():
    code = (
        "import sys, ml_core.cleaning.recipes, ml_core.jobs.specs, ml_core.jobs.demo, "
        "ml_core.jobs.worker; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_job_names_what_it_needs_by_paths_that_start_at_its_file(tmp_path):
    pairs = PairSpec(kind="coco", path="c/x.json", pictures="c/p", exclude="out.json")
    spec = CleanSpec(
        checkpoint="m.safetensors", recipe=preset("cleanclip", "talk"), pairs=pairs,
        images=ImageSpec(split="val"), output_dir="out", trigger="t.json",
    )  # fmt: skip
    read, root = read_spec(write_spec(spec, tmp_path / "spec.json")), tmp_path.resolve()
    paths = read.checkpoint, read.output_dir, read.trigger
    assert paths == tuple(str(root / name) for name in ("m.safetensors", "out", "t.json"))
    paths = read.pairs.path, read.pairs.pictures, read.pairs.exclude
    assert paths == tuple(str(root / name) for name in ("c/x.json", "c/p", "out.json"))
    for changes, words in (
        ({"pairs": None}, "choose a pair table"),
        ({"recipe": preset("supervised", "talk")}, "labelled images"),
        ({}, "There is no checkpoint at"),
    ):
        with pytest.raises(InputError, match=words):
            check_spec(read.model_copy(update=changes))


# ---- another checkpoint than the demo ----


@pytest.mark.parametrize("known", OTHERS)
def test_another_checkpoint_begins_with_what_is_published_or_adapted_to_it(
    known,
):
    for method in METHODS:
        names = list(presets(method, known))
        if "paper" in presets(method):
            assert names[0] == "paper"
            assert preset(method, "default", known) == preset(method, "paper")
        elif FACTS[method].frozen:
            assert names[0] == "quick"  # its rate is that of a head
        else:
            assert names[0] == "adapted"
            adapted = preset(method, "default", known)
            assert adapted.lr <= 0.2 * known.assumed * (1 + 1e-9)
            rest = adapted.model_copy(update={"lr": 1.0, "preset": ""})
            assert rest == preset(method, "quick").model_copy(update={"lr": 1.0, "preset": ""})
        assert warn_of_rate(preset(method, "default", known), known) == ""


def test_an_adapted_rate_is_the_demos_in_proportion_unless_that_is_too_high():
    assert preset("tbar", "default", CLIP).lr == 3.3e-5  # 1e-4 of 1.5e-3
    assert preset("locked-text", "default", CLIP).lr == 1e-4  # 1.4e-3 would be 4.7e-4


def test_a_rate_far_above_what_is_safe_is_warned_of_whoever_chose_it():
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


def test_the_demo_is_known_by_its_hash_and_by_its_architecture():
    from ml_core.checkpoints import open_checkpoint

    opened = open_checkpoint(demo_checkpoint())
    assert is_of_demo(opened.inspection.sha256, {})
    assert is_of_demo("0" * 64, opened.architecture.config)
    assert not is_of_demo("0" * 64, TINY_CONFIG)
    wider = opened.architecture.config | {"embed_dim": 256}
    assert not is_of_demo("0" * 64, wider)


@pytest.mark.parametrize(
    ("demo", "given", "name", "words"),
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
    demo,
    given,
    name,
    words,
    tiny_checkpoint,
    tmp_path,
    capsys,
):
    source = demo_checkpoint() if demo else tiny_checkpoint
    trigger = ["--trigger", "demo"] if "unlearn" in given else []
    arguments = ["clean", str(source), "-o", str(tmp_path / "o"), *given, *trigger]
    assert run_command([*arguments, "--export", str(tmp_path / "job")]) == 0
    assert read_spec(tmp_path / "job" / "job.json").recipe.preset == name
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("as_file", [False, True])
def test_clean_and_bench_refuse_a_rate_that_would_destroy_the_checkpoint(
    as_file, tiny_checkpoint, tmp_path, capsys
):
    file = write_recipe(preset("mmcl", "quick"), tmp_path / "shared.json")
    chosen = ["--recipe", str(file)] if as_file else ["--preset", "quick"]
    arguments = ["clean", str(tiny_checkpoint), "-o", str(tmp_path / "o"), *chosen]
    assert run_command([*arguments, "--export", str(tmp_path / "job")]) == 3
    assert "--accept-rate" in capsys.readouterr().err
    named = str(file) if as_file else "mmcl:quick"
    assert run_command(["bench", named, "--checkpoint", str(tiny_checkpoint)]) == 3
    assert "may take most of the clean accuracy" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
