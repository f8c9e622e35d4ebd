"""From what is open to a job on disk."""

import pytest

from cleanclip_gui.clean.job import write_job
from cleanclip_gui.session import Session
from ml_core.cleaning.presets import preset
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.jobs.specs import read_spec
from tests.gui.factories import facts, images


def _job(spec, n, folder):
    session = Session()
    session.checkpoint = facts(folder / "a.safetensors")
    session.images = images(n, spec=spec, name="own")
    recipe = preset("cleanclip", "talk")
    path = write_job(session, recipe, folder, pairs=PairSpec(), training_images=None)
    return read_spec(path)


@pytest.mark.parametrize(("n", "watched", "tested"), [(9000, 500, 4000), (60, 60, 60)])
def test_own_images_are_watched_and_tested_in_two_parts(tmp_path, n, watched, tested):
    own = ImageSpec(kind="folder", path=str(tmp_path), seed=4)
    spec = _job(own, n, tmp_path)
    assert spec.images == own.model_copy(update={"part": "validation", "n": watched})
    assert spec.test_images == own.model_copy(update={"part": "test", "n": tested})
    assert spec.heldout_images is None


def test_the_demo_is_watched_on_a_split_of_its_own(tmp_path):
    spec = _job(ImageSpec(split="heldout"), 1000, tmp_path)
    assert spec.images == ImageSpec(split="val", n=500)
    assert spec.test_images == ImageSpec(split="heldout", n=1000)
    spec = _job(ImageSpec(split="val"), 1000, tmp_path)
    assert spec.images == ImageSpec(split="val", part="validation", n=500)
    assert spec.test_images == ImageSpec(split="val", part="test", n=1000)


def test_a_borrowed_encoder_is_borrowed_for_cleaning_too(tmp_path):
    session = Session()
    session.checkpoint = facts(tmp_path / "a.safetensors", donor="donor.pt")
    recipe = preset("cleanclip", "talk")
    path = write_job(session, recipe, tmp_path, pairs=PairSpec(), training_images=None)
    assert read_spec(path).donor == str(path.parent / "donor.pt")
