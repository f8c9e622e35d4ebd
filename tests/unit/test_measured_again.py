"""Top five and margins of each picture, and pictures that are predicted again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml_core.data.demo import demo_classes
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.events import Control, run_to_end
from ml_core.jobs.measure import measure_images
from ml_core.jobs.remeasure import Asked, open_again, predict_again
from ml_core.paths import resource
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reports.rows import rows_of
from ml_core.triggers.published import published


@pytest.fixture(scope="module")
def asked() -> Asked:
    labels = load_label_set("demo")
    return Asked(
        checkpoint=resource("demo", "poisoned.safetensors"),
        images=ImageSpec(n=60),
        label_set=labels.name,
        class_names=labels.class_names,
        templates=labels.templates,
        trigger=published("T1", 32),
        target=demo_classes().index("banana"),
    )


def test_pictures_predicted_again_are_those_of_the_evaluation(asked: Asked) -> None:
    opened = run_to_end(open_again(asked, Control()))
    evaluation, per_image = run_to_end(
        measure_images(opened.model, opened.bench, opened.classifier, Control(), "test")
    )
    whole = rows_of(per_image, opened.bench.images.labels)
    assert len(whole) == evaluation.n == 60
    chosen = np.array([41, 3, 17, 59])
    found = run_to_end(predict_again(opened, chosen, Control(), batch=3))
    assert found.rows.indices.tolist() == [3, 17, 41, 59]
    at = found.rows.indices
    assert (found.rows.clean_top == whole.clean_top[at]).all()
    assert (found.rows.triggered_top == whole.triggered_top[at]).all()
    assert np.allclose(found.rows.clean_margin, whole.clean_margin[at], atol=1e-3)


def test_what_cannot_be_predicted_again_is_told_and_it_can_be_cancelled(asked: Asked) -> None:
    opened, control = run_to_end(open_again(asked, Control())), Control()
    with pytest.raises(InputError, match="holds 60"):
        run_to_end(predict_again(opened, np.array([60]), control, batch=8))
    asking = predict_again(opened, np.arange(60), control, batch=8)
    next(asking)
    control.cancel()
    with pytest.raises(CancelledError):
        run_to_end(asking)
    other = replace(asked, classifier=np.zeros((len(asked.class_names), 3), np.float32))
    with pytest.raises(InputError, match="another model"):
        run_to_end(open_again(other, Control()))
