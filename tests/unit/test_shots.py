"""So many labelled images of each class, drawn from all there are."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from ml_core.checkpoints.save import save_checkpoint
from ml_core.data.images import open_images
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.jobs.specs import trained_on
from ml_core.reading.errors import InputError
from tests.unit.draining import finished
from tests.unit.small_jobs import drawn_here, open_inputs, small_recipe, small_spec

MEMBERS = {"ant": 40, "bee": 3, "cow": 9}


@pytest.fixture(autouse=True)
def _drawn_here(monkeypatch):
    drawn_here(monkeypatch)


@pytest.fixture
def photos(tmp_path):
    """A folder a class, unequal."""
    draws = np.random.default_rng(0)
    for name, count in MEMBERS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            picture = Image.fromarray(draws.integers(0, 256, (32, 32, 3), np.uint8))
            picture.save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "classes.txt").write_text("\n".join(MEMBERS) + "\n")
    return tmp_path / "photos"


def _spec(model, photos, **fields):
    source = photos.parent / "source.safetensors"
    if not source.exists():
        save_checkpoint(model, source, provenance={})
    own = {"method": "linear-probe", "pairs": 8, "batch_size": 4, "shots": 6, "epochs": 2}
    return small_spec(
        source,
        photos.parent / "out",
        small_recipe(**own | fields),
        training_images=ImageSpec(kind="folder", path=str(photos)),
        test_images=None,
        label_set=str(photos.parent / "classes.txt"),
    )


def test_they_are_drawn_from_all_images_for_the_estimate_and_the_run(tiny_model, photos):
    spec = _spec(tiny_model, photos)
    images = open_images(trained_on(spec), load_label_set(spec.label_set))
    assert Counter(images.labels.tolist()) == {0: 6, 1: 3, 2: 6}
    inputs = open_inputs(spec, tiny_model)
    assert any("fewer of 1 of the 3 classes, the fewest of 'bee': 3" in n for n in inputs.notes)
    estimated, done = finished(spec, estimate=True).result, finished(spec).result
    assert estimated["steps"] == done["steps"] == done["total_steps"] == 6
    assert estimated["pairs"] == done["recipe"]["pairs"] == 15
    assert finished(spec, resume=True).result["steps"] == 6
    with pytest.raises(InputError, match="There are 3 usable labelled images, fewer than"):
        open_inputs(_spec(tiny_model, photos, shots=1), tiny_model)
