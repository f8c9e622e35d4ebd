"""Pictures without captions, and captions without pictures, for self-supervision on one of them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ml_core.cli.app import run_command
from ml_core.data.detect import detect
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.jobs.proofs import holdouts_of
from ml_core.jobs.specs import check_spec
from ml_core.reading.errors import InputError
from tests.unit.small_jobs import drawn_here, small_recipe, small_spec

CAPTIONS = [f"a photo of thing number {n}" for n in range(20)]
IMAGES, TEXTS = {"lambda_text": 0.0}, {"lambda_image": 0.0}


@pytest.fixture(autouse=True)
def _drawn_here(monkeypatch):
    drawn_here(monkeypatch)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    draws = np.random.default_rng(0)
    for n in range(20):
        Image.fromarray(draws.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{n:02}.png")
    return folder


@pytest.fixture
def captions(tmp_path):
    file = tmp_path / "captions.txt"
    file.write_text("\n".join([*CAPTIONS[:10], "", *CAPTIONS[10:]]) + "\n")
    return file


def _spec(checkpoint, path, weights, **changes):
    sides = "images" if weights is IMAGES else "texts"
    recipe = small_recipe(method="ss", pairs=20, batch_size=5, epochs=2, **weights)
    pairs = PairSpec(kind=detect(str(path), sides), path=str(path))
    out = path.parent / "out"
    return small_spec(checkpoint, out, recipe, pairs=pairs, test_images=None, **changes)


def test_captions_of_a_list_and_of_a_table(captions, tmp_path):
    opened = open_pairs(PairSpec(kind="texts", path=str(captions)))
    assert opened.captions(np.arange(20)) == CAPTIONS
    assert opened.pictures.name(19) == "line 21"
    assert not opened.notes
    with pytest.raises(InputError, match="captions alone"):
        opened.pictures.picture(0)
    file = tmp_path / "captions.csv"
    file.write_text('title,n\n"one, two",1\nthree,2,3\n,4\nfour,5\n')
    assert detect(str(file), "texts") == "texts"
    told = open_pairs(PairSpec(kind="texts", path=str(file)))
    assert told.captions(np.arange(2)) == ["one, two", "four"]
    assert told.left_out == 2
    assert "line 3: row 3: 3 fields where the header has 2" in told.notes[0]
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(InputError, match="holds no caption"):
        open_pairs(PairSpec(kind="texts", path=str(tmp_path / "empty.txt")))
    (tmp_path / "long.txt").write_bytes(b"x" * 70_000)
    with pytest.raises(InputError, match="it is no list of captions"):
        open_pairs(PairSpec(kind="texts", path=str(tmp_path / "long.txt")))


def test_who_takes_whole_pairs_says_so(tiny_checkpoint, pictures, captions, tmp_path):
    spec = _spec(tiny_checkpoint, pictures, IMAGES)
    check_spec(spec)
    whole = spec.model_copy(update={"recipe": small_recipe(method="ss")})
    with pytest.raises(InputError, match="set the weight of caption views to 0"):
        check_spec(whole)
    other = _spec(tiny_checkpoint, captions, TEXTS)
    check_spec(other)
    with pytest.raises(InputError, match="holds captions alone: name pairs\\."):
        check_spec(other.model_copy(update={"recipe": small_recipe(method="mmcl")}))
    trigger = tmp_path / "trigger.json"
    proven = spec.model_copy(
        update={"trigger": str(trigger), "images": spec.heldout_images, "label_set": "cifar-10"}
    )
    proven = proven.model_copy(update={"test_images": ImageSpec(split="test", n=8)})
    assert holdouts_of(proven).pairs is None


def test_at_the_command_line(tiny_checkpoint, pictures, captions, capsys):
    small = [part for one in ("pairs=5", "batch_size=5", "epochs=1", "eval_every=0")
             for part in ("--set", one)]  # fmt: skip
    clean = ["clean", str(tiny_checkpoint), "-o", str(pictures.parent / "out"), "--method", "ss",
             "--overwrite", *small, "--threads", "1", "--images", str(pictures)]  # fmt: skip
    assert run_command([*clean, "--pairs", str(pictures), "--set", "lambda_text=0"]) == 0
    assert run_command([*clean, "--pairs", str(captions), "--set", "lambda_image=0"]) == 0
    assert run_command([*clean, "--pairs", str(pictures)]) == 2
    assert "holds no image-caption pairs" in capsys.readouterr().err
