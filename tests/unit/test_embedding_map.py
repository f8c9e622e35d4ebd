"""Embeddings in the plane: PCA against numpy's SVD, one plane for two checkpoints, t-SNE."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ml_core.evaluation.embed import embed
from ml_core.evaluation.embedding_map import Embeddings, principal_plane
from ml_core.evaluation.scorer import Subject
from ml_core.evaluation.tsne import tsne_map
from ml_core.reading.errors import InputError
from ml_core.triggers import badnets_patch
from tests.unit.draining import until_cancelled

NAMES = ("a", "b", "c")


def unit(points):
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def clouds(n=30, width=16, seed=0, shift=0.0):
    """Clean images in one heap, triggered ones in another."""
    rng = np.random.default_rng(seed)
    clean = unit(np.eye(width)[0] + 0.05 * rng.standard_normal((n, width)))
    triggered = unit(
        np.eye(width)[1] + shift * np.eye(width)[2] + 0.05 * rng.standard_normal((n, width))
    )
    texts = unit(np.eye(width)[3:6] + 0.1)
    return Embeddings(
        np.arange(10, 10 + n), np.arange(n) % 3, clean, texts, np.zeros(n, np.int64), NAMES,
        triggered, np.ones(n, np.int64), trigger="t",
    )  # fmt: skip


def test_the_plane_is_the_svds():
    points = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32)
    plane = principal_plane(points)
    centred = points - points.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs((plane.axes * axes[:2]).sum(axis=1)), 1, atol=1e-6)
    np.testing.assert_allclose(plane.shares, (sizes**2 / (sizes**2).sum())[:2], rtol=1e-5)
    assert (plane.axes[np.arange(2), np.abs(plane.axes).argmax(axis=1)] > 0).all()
    np.testing.assert_array_equal(plane.place(points), principal_plane(points).place(points))


class Source:
    broken: dict[int, str]

    def __init__(self, broken=None):
        self.broken = broken or {}

    def get(self, indices):
        rng = np.random.default_rng(0)
        return rng.integers(0, 255, (40, 32, 32, 3), np.uint8)[indices]


def embedded(model, **options):
    return list(embedding(model, **options))


def embedding(model, **options):
    options = {"n": 20, "batch": 8, "trigger": badnets_patch(), "source": Source()} | options
    classifier = F.normalize(torch.randn(3, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    asked = Subject(model, options.pop("source"), classifier, NAMES, np.arange(40) % 3)
    return embed(asked, options.pop("trigger"), **options)


def test_embedding_leaves_broken_pictures_out_and_can_be_cancelled(tiny_model):
    found = embedded(tiny_model, n=None, source=Source({3: "torn"}), trigger=None)[-1].result
    assert 3 not in found.indices
    assert len(found.indices) == 39
    assert found.triggered is None
    asked = iter([False, True])
    steps = until_cancelled(embedding(tiny_model, cancelled=lambda: next(asked)))
    assert [step.result for step in steps] == [None]
    with pytest.raises(InputError, match="could be read"):
        embedded(tiny_model, source=Source(dict.fromkeys(range(40), "torn")))
    with pytest.raises(InputError, match="no images"):
        embedded(tiny_model, n=0)


def test_tsne_keeps_heaps_apart():
    part, other = clouds(), clouds(n=10)
    steps = list(tsne_map([part, other], iterations=250, seed=3))
    found = steps[-1].result
    assert any(0 < step.done < step.total for step in steps)
    kinds, (places, few) = part.kinds(), found.places
    assert (len(places), len(few)) == (63, 23)
    clean, triggered = places[kinds == 0], places[kinds == 1]
    between = np.linalg.norm(clean.mean(axis=0) - triggered.mean(axis=0))
    assert between > 2 * max(clean.std(), triggered.std()) / 2
    assert found.settings["seed"] == 3
    assert found.settings["perplexity"] <= 30


def test_tsne_is_ended_by_cancel_at_once():
    program = "import time; print('Iteration 1', flush=True); time.sleep(60)"
    sleeper = [sys.executable, "-c", program]
    begun = time.monotonic()
    asked = iter([False] * 3)
    steps = until_cancelled(
        tsne_map([clouds()], command=sleeper, cancelled=lambda: next(asked, True))
    )
    assert all(step.result is None for step in steps)
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("import sys; sys.exit(3)", "ended unexpectedly"),
        ("raise ModuleNotFoundError(\"No module named 'sklearn'\")", "needs scikit-learn"),
        ("pass", "left no result"),
    ],
)
def test_a_child_that_fails_becomes_a_sentence(program, sentence):
    with pytest.raises(InputError, match=sentence):
        list(tsne_map([clouds()], command=[sys.executable, "-c", program]))
