"""Files of earlier versions, with methods and fields that are gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ml_core.cleaning.catalogue import method_title
from ml_core.cleaning.presets import run_title
from ml_core.cleaning.progress import check_state
from ml_core.cleaning.recipes import read_recipe
from ml_core.cli.app import run_command
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Control, Saved
from ml_core.jobs.proofs import holdouts_of
from ml_core.jobs.runner import run_job
from ml_core.jobs.specs import SPEC_FILE, CleanSpec, check_spec, read_spec, write_spec
from ml_core.reading.errors import InputError
from ml_core.reports.sessions.record import SavedSession
from tests.unit.draining import finished, killed
from tests.unit.small_jobs import small_recipe, small_spec

# What every recipe of earlier versions held beside the present fields.
FIELDS = {
    "shots": 0, "prompt_length": 50, "prompt_depth": 3, "prompt_std": 0.02, "lambda_unlearn": 1.0,
}  # fmt: skip
FORMER = {
    "ss": ("Self-supervision only (control)", "CleanCLIP"),
    "cleanclip-par": ("CleanCLIP + PAR", "CleanCLIP or PAR"),
    "locked-text": ("Locked-text finetuning", "Trigger unlearning"),
    "linear-probe": ("Linear probe (control)", "Supervised finetuning"),
    "rvpt": ("RVPT", "Supervised finetuning"),
    "tbar": ("TBAR", "Stamped finetuning"),
    "unlearn": ("Unlearn the trigger", "Stamped finetuning or Trigger unlearning"),
    "adversarial": ("Adversarial unlearning", "Trigger unlearning"),
}


def earlier(path: Path, **changed: object) -> Path:
    """Write a job's file as an earlier version did, with some fields of its recipe changed."""
    spec = json.loads(path.read_text())
    spec["recipe"] |= FIELDS | changed
    for name in ("images", "test_images", "training_images"):
        if spec[name] is not None:
            spec[name] |= {"shots": None, "shots_seed": 0}
    path.write_text(json.dumps(spec))
    return path


def job(tmp_path: Path) -> tuple[CleanSpec, Path]:
    spec = small_spec(
        tmp_path / "m.safetensors", tmp_path, small_recipe(), images=ImageSpec(n=9),
        training_images=ImageSpec(split="clean"),
    )  # fmt: skip
    return spec, write_spec(spec, tmp_path / SPEC_FILE)


@pytest.mark.parametrize("method", FORMER)
def test_a_run_of_a_former_method_reads_as_before_and_does_not_run(method, tmp_path):
    title, instead = FORMER[method]
    spec, path = job(tmp_path)
    read = read_spec(earlier(path, method=method, alpha=4.0, prompt_depth=1, shots=16))
    assert (read.recipe.method, read.images, read.pairs) == (method, spec.images, spec.pairs)
    assert method_title(method) == title
    assert run_title({"method": method, "preset": "quick"}) == f"{title}, quick"
    sentence = f"{title.removesuffix(' (control)')} is no longer offered: take {instead} instead."
    with pytest.raises(InputError) as caught:
        check_spec(read)
    assert caught.value.sentence == sentence


def test_a_job_of_a_present_method_is_the_same_job(tmp_path):
    spec, path = job(tmp_path)
    assert read_spec(earlier(path)) == spec


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"method": "tbar", "alpha": 4.0}, "TBAR is no longer offered: take Stamped finetuning"),
        ({"method": "supervised", "shots": 16}, r"Images a class \(shots\) are no longer offered"),
        (
            {"method": "wash"},
            "Unknown method 'wash'; choose one of stamped, cleanclip, mmcl, par, super",
        ),
    ],
)
def test_a_recipe_file_says_what_is_gone(recipe, words, tmp_path):
    path = tmp_path / "mine.json"
    content = {"format": "cleanclip-recipe", "version": 1, "recipe": FIELDS | recipe}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"^mine\.json: {words}"):
        read_recipe(path)
    content["recipe"] = FIELDS
    path.write_text(json.dumps(content))
    assert read_recipe(path).method == "cleanclip"


@pytest.mark.parametrize("command", ["recipes show", "bench", "clean --method"])
def test_the_command_line_names_what_to_take_instead(command, tiny_checkpoint, tmp_path, capsys):
    more = [str(tiny_checkpoint), "-o", str(tmp_path)] if command.startswith("clean") else []
    assert run_command([*command.split(), "rvpt", *more]) == 2
    assert "RVPT is no longer offered: take Supervised finetuning" in capsys.readouterr().err


def test_a_run_that_an_earlier_version_began_goes_on(tiny_checkpoint, tmp_path):
    recipe = small_recipe(pairs=24, save_every=1)
    spec = small_spec(tiny_checkpoint, tmp_path / "out", recipe)
    killed(run_job(spec, Control()), 2, Saved)
    earlier(tmp_path / "out" / SPEC_FILE)
    before = recipe.model_dump(exclude={"stamp_share", "made_up_share", "random_share"}) | FIELDS
    check_state({"identity": "a", "recipe": before}, recipe, "a")
    with pytest.raises(InputError, match="another recipe"):
        check_state({"identity": "a", "recipe": recipe.model_dump() | {"lr": 1}}, recipe, "a")
    finished(read_spec(tmp_path / "out" / SPEC_FILE), resume=True)


@pytest.mark.parametrize(("kind", "what"), [("images", "pictures"), ("texts", "captions")])
def test_one_side_of_pairs_is_read_but_not_opened(kind, what, tmp_path):
    spec, path = job(tmp_path)
    pairs = PairSpec(kind=kind, path=str(tmp_path / "mine"))
    write_spec(spec.model_copy(update={"pairs": pairs, "trigger": "t.json"}), path)
    read = read_spec(earlier(path, method="ss"))
    assert read.pairs == pairs
    assert holdouts_of(read).trigger == read.trigger
    with pytest.raises(InputError, match=f"mine holds {what} alone, which are no longer taken"):
        open_pairs(pairs)


@pytest.mark.parametrize(("adapter", "opens"), [("", True), ("/data/a.safetensors", False)])
def test_a_session_leaves_out_a_model_with_an_adapter(adapter, opens):
    cleaned = {"checkpoint": "/data/c.pt", "adapter": adapter, "shown": True}
    session = SavedSession.model_validate({"checkpoint": "/data/m.pt", "cleaned": cleaned})
    assert (session.cleaned is not None) == opens  # without it the weights would pass for clean
