"""Recipes, their presets and files; which preset suits a checkpoint, and at what rate."""

from __future__ import annotations

import pytest

from ml_core.cleaning.catalogue import METHODS
from ml_core.cleaning.presets import preset, presets, warn_of_rate
from ml_core.cleaning.pretraining import UNKNOWN, Pretraining
from ml_core.cleaning.recipes import write_recipe
from ml_core.cli.app import run_command
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.jobs.specs import CleanSpec, check_spec, read_spec, write_spec
from ml_core.reading.errors import InputError

CLIP = Pretraining(5e-4, "RN50: Radford et al. 2021, table 19", "architecture")


PUBLISHED: dict[str, dict[str, object]] = {
    "cleanclip": {
        "pairs": 100_000, "batch_size": 64, "epochs": 10, "lr": 1e-5, "warmup_steps": 50,
        "weight_decay": 0.1, "schedule": "cosine", "lambda_clip": 1.0, "lambda_image": 1.0,
        "lambda_text": 1.0, "beta1": 0.9, "beta2": 0.999, "image_augmentation": "autoaugment",
    },
    "mmcl": {"lr": 1e-5, "lambda_image": 0.0, "lambda_text": 0.0},
    "supervised": {"lr": 1e-4, "warmup_steps": 500, "weight_decay": 0.01},
    "par": {
        "batch_size": 512, "beta1": 0.9, "beta2": 0.98, "weight_decay": 1e-4, "tau": 2.15,
        "lambda_repel": 1.0, "pairs": 250_000,
    },
}  # fmt: skip


@pytest.mark.parametrize("method", PUBLISHED)
def test_paper_presets_are_the_published_numbers(method):
    fields = preset(method, "paper").model_dump()
    expected = PUBLISHED[method] | {"grad_clip": 0.0}  # nobody clips
    assert {name: fields[name] for name in expected} == expected


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


@pytest.mark.parametrize("known", [CLIP, UNKNOWN])
def test_another_checkpoint_begins_with_what_is_published_or_adapted_to_it(known):
    for method in METHODS:
        names = list(presets(method, known))
        if "paper" in presets(method):
            assert names[0] == "paper"
            assert preset(method, "default", known) == preset(method, "paper")
        else:
            assert names[0] == "adapted"
            adapted = preset(method, "default", known)
            share = 1.0 if method in ("stamped", "unlearning") else 0.2
            assert adapted.lr <= share * known.assumed * (1 + 1e-9)
            rest = adapted.model_copy(update={"lr": 1.0, "preset": ""})
            assert rest == preset(method, "quick").model_copy(update={"lr": 1.0, "preset": ""})
        assert warn_of_rate(preset(method, "default", known), known) == ""


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
