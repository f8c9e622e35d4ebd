from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ml_core.cleaning.catalogue import METHODS
from ml_core.cleaning.presets import preset, presets
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.jobs.specs import CleanSpec, check_spec, read_spec, write_spec
from ml_core.reading.errors import InputError


def test_every_field_has_a_title_a_help_line_and_a_unit_entry() -> None:
    for name, info in Recipe.model_fields.items():
        assert info.title, name
        assert info.description, name
        assert "\n" not in info.description
        assert isinstance(info.json_schema_extra, dict), name
        assert "unit" in info.json_schema_extra, name


def test_presets_are_named_and_within_limits() -> None:
    for method in METHODS:
        found = presets(method)
        assert next(iter(found)) == "quick"
        assert set(found) <= {"quick", "talk", "thorough", "paper"}
        for name, recipe in found.items():
            assert (recipe.method, recipe.preset) == (method, name)
            assert make_recipe(recipe.model_dump()) == recipe


def test_paper_preset_is_the_published_recipe() -> None:
    paper = preset("cleanclip", "paper")
    assert (paper.pairs, paper.batch_size, paper.epochs) == (100_000, 64, 10)
    assert (paper.lr, paper.warmup_steps, paper.weight_decay) == (1e-5, 50, 0.1)
    assert (paper.lambda_clip, paper.lambda_image, paper.lambda_text) == (1.0, 1.0, 1.0)
    supervised = preset("supervised", "paper")
    assert (supervised.lr, supervised.warmup_steps, supervised.weight_decay) == (1e-4, 500, 0.01)


def test_changing_a_number_makes_the_preset_custom_but_a_seed_does_not() -> None:
    recipe = preset("cleanclip", "default")
    assert recipe.changed(lr=recipe.lr / 2).preset == "custom"
    assert recipe.changed(seed=7).preset == "quick"
    assert recipe.changed(seed=7).seed == 7


def test_recipes_and_specs_import_no_torch() -> None:
    code = (
        "import sys, ml_core.cleaning.recipes, ml_core.jobs.specs, ml_core.jobs.demo, "
        "ml_core.jobs.worker; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def _spec(folder: Path, **changes: object) -> CleanSpec:
    fields: dict[str, object] = {
        "checkpoint": str(folder / "model.safetensors"),
        "recipe": preset("cleanclip", "talk"),
        "pairs": PairSpec(),
        "images": ImageSpec(split="val"),
        "output_dir": str(folder / "out"),
    }
    return CleanSpec.model_validate(fields | changes)


def test_relative_paths_start_at_the_spec(tmp_path: Path) -> None:
    spec = _spec(tmp_path, checkpoint="m.safetensors", output_dir="out", trigger="t.json")
    found = read_spec(write_spec(spec, tmp_path / "spec.json"))
    assert found.checkpoint == str(tmp_path / "m.safetensors")
    assert found.output_dir == str(tmp_path / "out")
    assert found.trigger == str(tmp_path / "t.json")


def test_jobs_that_lack_data_or_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose a pair table"):
        check_spec(_spec(tmp_path, pairs=None))
    with pytest.raises(InputError, match="labelled images"):
        check_spec(_spec(tmp_path, recipe=preset("supervised", "talk")))
    with pytest.raises(InputError, match="There is no checkpoint at"):
        check_spec(_spec(tmp_path))
