"""The scores against their formulas, computed in loops, and against what is known of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from ml_core.detection.embed_pairs import EncodedPairs
from ml_core.detection.neighbours import LARGEST_LID, dao, density, lid, nearest, slof
from ml_core.evaluation.embedding_cache import EmbeddingStore
from tests.unit.fake_pictures import FakePairs

K = 5


def cloud(n=60, d=8, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))


def formulas(points, others, k, own):
    """r_k, LID, SLOF and DAO of each point, in plain loops."""

    def sorted_others(x, skip):
        found = [
            (math.dist(x.astype(float), y.astype(float)), j)
            for j, y in enumerate(others)
            if j != skip
        ]
        return sorted(found)[:k]

    def dimension(near):
        return -k / sum(math.log(r / near[-1][0]) for r, _ in near)

    mine = [sorted_others(x, i if own else -1) for i, x in enumerate(points)]
    theirs = [sorted_others(y, j) for j, y in enumerate(others)]
    radius, theirs_radius = [m[-1][0] for m in mine], [t[-1][0] for t in theirs]
    dims = [dimension(t) for t in theirs]
    return {
        "k": radius,
        "lid": [dimension(m) for m in mine],
        "slof": [
            sum(r / theirs_radius[j] for _, j in m) / k for r, m in zip(radius, mine, strict=True)
        ],
        "dao": [
            sum(dims[j] * math.log(r / theirs_radius[j]) for _, j in m) / k
            for r, m in zip(radius, mine, strict=True)
        ],
    }


@pytest.mark.parametrize("alone", [True, False])
def test_scores_are_the_published_formulas(alone):
    others = cloud() + 30
    points = others if alone else cloud(20, seed=1) + 30
    among = nearest(others, K)
    own = among if alone else nearest(points, K, others)
    wanted = formulas(points.numpy(), others.numpy(), K, own=alone)
    assert own.radius.tolist() == pytest.approx(wanted["k"], rel=1e-5)
    assert lid(own).tolist() == pytest.approx(wanted["lid"], rel=1e-4)
    assert slof(own, density(among)).tolist() == pytest.approx(wanted["slof"], rel=1e-5)
    assert dao(own, density(among)).tolist() == pytest.approx(wanted["dao"], rel=1e-4, abs=1e-5)


def test_the_kth_is_the_kth_other_point():
    """On a line at 0, 1, 2, ..., the first point's k-th other point lies at k."""
    line = torch.arange(12.0)[:, None]
    for k in (1, 2, 5):
        own = nearest(line, k)
        assert own.radius[0] == k
        assert own.places[0].tolist() == list(range(1, k + 1))
    for k in (0, 12):
        with pytest.raises(ValueError, match="neighbours"):
            nearest(line, k)


def test_a_close_group_larger_than_the_candidates_is_ordered(monkeypatch):
    """Almost the same picture often: a product in float32 takes any of them for the nearest."""
    monkeypatch.setattr("ml_core.detection.neighbours._BLOCK", 16)
    group = 10 * functional.normalize(cloud(1, 32, seed=4), dim=1) + 1e-4 * cloud(60, 32, seed=5)
    points = torch.cat([cloud(60, 32), group])
    own = nearest(points, K)
    every = torch.cdist(
        points.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    every.fill_diagonal_(torch.inf)
    wanted = every.sort(dim=1)
    assert torch.equal(own.places, wanted.indices[:, :K])
    assert torch.allclose(own.distances, wanted.values[:, :K], rtol=1e-6)


def test_exact_duplicates_have_finite_scores():
    """More than k of the same picture: radius 0, dimension 0, and nobody divides by it."""
    points = torch.cat([cloud(50), cloud(1, seed=7).expand(K + 3, -1), cloud(1, seed=8)])
    points = torch.cat([points, points[-1:]])  # and one pair of duplicates
    own = nearest(points, K)
    assert own.radius[50 : 50 + K + 3].tolist() == [0.0] * (K + 3)
    assert lid(own)[50 : 50 + K + 3].tolist() == [0.0] * (K + 3)
    assert own.distances[-1, 0] == 0.0
    for values in (lid(own), slof(own, density(own)), dao(own, density(own))):
        assert torch.isfinite(values).all()
    assert 0 < lid(own)[-1] < lid(own)[:50].median()  # one duplicate lowers it, no more
    assert lid(nearest(torch.eye(8), 3)).tolist() == [LARGEST_LID] * 8  # all are equally far


class SeveralCaptions(FakePairs):
    """Up to five captions of a picture; some have none that can be read."""

    def all_captions(self, indices):
        return [tuple(f"thing {number} {part}" for part in range(number % 6)) for number in indices]


def test_every_caption_is_looked_at_and_the_worst_is_kept(tiny_model, tmp_path):
    pairs, store = SeveralCaptions(), EmbeddingStore(tmp_path)
    tiny_model.sha256 = "a" * 64
    parts = [np.arange(0, 11, 2), np.arange(1, 11, 2)]
    seen = {}
    for _ in range(2):  # encoded, and from the store
        for found in EncodedPairs(tiny_model, pairs, "x", 2, store).embed(parts):
            if found.chunk is not None:
                rows = zip(found.chunk.captions.tolist(), found.chunk.texts, strict=True)
                seen |= dict(zip(found.chunk.indices.tolist(), rows, strict=True))
        assert sorted(seen) == list(range(11))
        for index, (number, vector) in seen.items():
            pixels = torch.from_numpy(pairs.canvas(np.array([index]), 32)).permute(0, 3, 1, 2)
            own = tiny_model.encode_texts(list(pairs.all_captions([index])[0]) or [""])
            alike = (tiny_model.encode_images(pixels) @ own.T)[0]
            assert number == int(alike.argmin())
            torch.testing.assert_close(vector, own[number], rtol=0, atol=1e-5)
        seen.clear()
