"""Top five and margins of each picture, and pictures that are predicted again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ml_core.data.demo import demo_classes
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.scores import score
from ml_core.events import Control, run_to_end
from ml_core.jobs.measure import measure_images
from ml_core.jobs.remeasure import Asked, open_again, predict_again
from ml_core.paths import resource
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reports.rows import rows_of
from ml_core.triggers.published import published


def test_the_first_of_the_top_five_is_the_top_1_even_in_a_tie():
    logits = torch.zeros(3, 12)
    logits[1, 7] = 1.0
    logits[2, [3, 9]] = 2.0
    found = score(logits, np.array([11, 7, 9]), 0)
    assert (found.top[:, 0] == found.top1).all()
    assert found.top.shape == (3, 5)
    assert all(len(set(row)) == 5 for row in found.top.tolist())
    assert found.margin.tolist() == [0.0, 1.0, 0.0]
    assert set(found.top[2, :2].tolist()) == {3, 9}
    for row, top, margin in (([2.0], [0], 0.0), ([0.5, 2.0, 1.0], [1, 2, 0], 1.0)):
        fewer = score(torch.tensor([row]), np.array([0]), 0)
        assert (fewer.top.tolist(), fewer.margin.tolist()) == ([top], [margin])


@pytest.fixture(scope="module")
def opened(asked):
    return run_to_end(open_again(asked, Control()))


@pytest.fixture(scope="module")
def asked():
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


def test_pictures_predicted_again_are_those_of_the_evaluation(opened):
    evaluation, per_image = run_to_end(
        measure_images(opened.model, opened.bench, opened.classifier, Control(), "test")
    )
    whole = rows_of(per_image, opened.bench.images.labels)
    assert len(whole) == evaluation.n == 60
    chosen = np.array([41, 3, 17, 59])
    threads = torch.get_num_threads()
    found = run_to_end(
        predict_again(opened, chosen, Control(), batch=3, threads=threads + 1, logits=True)
    )
    assert torch.get_num_threads() == threads
    assert found.rows.indices.tolist() == [3, 17, 41, 59]
    assert not len(found.unread)
    at = found.rows.indices
    assert (found.rows.clean_top == whole.clean_top[at]).all()
    assert (found.rows.triggered_top == whole.triggered_top[at]).all()
    assert np.allclose(found.rows.clean_margin, whole.clean_margin[at], atol=1e-3)
    best = np.sort(found.clean_logits, axis=1)
    assert np.array_equal(best[:, -1] - best[:, -2], found.rows.clean_margin)
    assert np.array_equal(found.triggered_logits.argmax(axis=1), found.rows.triggered_top[:, 0])


def test_a_position_outside_of_the_set_is_told_and_the_work_can_be_cancelled(opened):
    with pytest.raises(InputError, match="holds 60"):
        run_to_end(predict_again(opened, np.array([60]), Control(), batch=8))
    control = Control()
    asking = predict_again(opened, np.arange(60), control, batch=8)
    next(asking)
    control.cancel()
    with pytest.raises(CancelledError):
        run_to_end(asking)


def test_a_classifier_of_another_model_is_refused(asked):
    other = replace(asked, classifier=np.zeros((len(asked.class_names), 3), np.float32))
    with pytest.raises(InputError, match="another model"):
        run_to_end(open_again(other, Control()))
