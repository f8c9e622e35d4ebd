"""The scores against their formulas, computed in loops, and against what is known of them."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from ml_core.detection.embed_pairs import EncodedPairs
from ml_core.detection.neighbours import (
    LARGEST_LID,
    Forest,
    clip_score,
    dao,
    density,
    lid,
    nearest,
    slof,
)
from ml_core.evaluation.embedding_cache import EmbeddingStore

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


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_scores_are_the_published_formulas(offset):
    points = cloud() + offset
    own = nearest(points, K)
    wanted = formulas(points.numpy(), points.numpy(), K, own=True)
    assert own.radius.tolist() == pytest.approx(wanted["k"], rel=1e-5)
    assert lid(own).tolist() == pytest.approx(wanted["lid"], rel=1e-4)
    assert slof(own, density(own)).tolist() == pytest.approx(wanted["slof"], rel=1e-5)
    assert dao(own, density(own)).tolist() == pytest.approx(wanted["dao"], rel=1e-4, abs=1e-5)


def test_scores_against_a_reference():
    points, others = cloud(20, seed=1), cloud(50)
    own, among = nearest(points, K, others), nearest(others, K)
    wanted = formulas(points.numpy(), others.numpy(), K, own=False)
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


def test_scores_by_hand():
    """Points at 0, 1, 3 and 7: the two nearest lie at 1 3, 1 2, 2 3, and 4 6."""
    own = nearest(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), 2)
    assert own.radius.tolist() == [3.0, 2.0, 3.0, 6.0]
    dims = [2 / math.log(3), 2 / math.log(2), 2 / math.log(3 / 2), 2 / math.log(3 / 2)]
    assert lid(own).tolist() == pytest.approx(dims)
    assert slof(own, density(own))[3] == pytest.approx((6 / 3 + 6 / 2) / 2)
    assert dao(own, density(own))[3] == pytest.approx(
        (dims[2] * math.log(6 / 3) + dims[1] * math.log(6 / 2)) / 2
    )


def test_small_distances_far_from_the_origin_are_exact():
    """A matrix product alone would lose them: LID depends on the logarithm of the smallest."""
    base = functional.normalize(cloud(40, 64), dim=1)
    close = base + 1e-5 * functional.normalize(cloud(40, 64, seed=3), dim=1)
    points = torch.cat([base, close])
    wanted = (base.double() - close.double()).norm(dim=1)
    found = nearest(points, 3).distances[:40, 0]
    assert found.tolist() == pytest.approx(wanted.tolist(), rel=1e-6)


def test_a_close_group_larger_than_the_candidates_is_ordered():
    """Almost the same picture often: a product in float32 takes any of them for the nearest."""
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


def test_blocks_change_nothing(monkeypatch):
    points = cloud(70)
    whole = nearest(points, K)
    monkeypatch.setattr("ml_core.detection.neighbours._BLOCK", 16)
    parts = nearest(points, K)
    assert torch.equal(whole.places, parts.places)
    assert torch.allclose(whole.distances, parts.distances)


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


def test_equally_far_neighbours_have_the_largest_lid():
    corners = torch.eye(8)
    own = nearest(corners, 3)
    assert lid(own).tolist() == [LARGEST_LID] * 8
    assert slof(own, density(own)).tolist() == pytest.approx([1.0] * 8)
    assert dao(own, density(own)).tolist() == pytest.approx([0.0] * 8, abs=1e-3)


def test_lid_finds_the_dimension():
    """Uniform in a cube of 3 dimensions within 20."""
    points = torch.zeros(3000, 20)
    points[:, :3] = torch.from_numpy(np.random.default_rng(0).random((3000, 3))).float()
    found = lid(nearest(points, 32))
    assert float(found.median()) == pytest.approx(3, abs=0.4)


def test_clip_score_is_the_cosine():
    images, texts = cloud(9), cloud(9, seed=1)
    wanted = [
        float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))
        for a, b in zip(images.double().numpy(), texts.double().numpy(), strict=True)
    ]
    assert clip_score(images, texts).tolist() == pytest.approx(wanted)
    assert clip_score(images * 100, texts).tolist() == pytest.approx(wanted)


class SeveralCaptions:
    """Pictures of noise with up to five captions, some with none that can be read."""

    broken: ClassVar[dict[int, str]] = {}
    blocks, window = None, 1024
    texts = tuple(
        tuple(f"thing {number} {part}" for part in range(number % 6)) for number in range(11)
    )

    def __len__(self):
        return len(self.texts)

    def canvas(self, indices, size):
        return np.stack(
            [
                np.random.default_rng(int(i)).integers(0, 256, (size, size, 3), np.uint8)
                for i in indices
            ]
        )

    def all_captions(self, indices):
        return [self.texts[i] for i in indices]


@pytest.mark.parametrize("batch", [2, 64])
def test_every_caption_is_looked_at_and_the_worst_is_kept(tiny_model, tmp_path, batch):
    pairs, store = SeveralCaptions(), EmbeddingStore(tmp_path)
    tiny_model.sha256 = "a" * 64
    parts = [np.arange(0, 11, 2), np.arange(1, 11, 2)]
    seen = {}
    for _ in range(2):  # encoded, and from the store
        for found in EncodedPairs(tiny_model, pairs, "x", batch, store).embed(parts):
            if found.chunk is not None:
                rows = zip(found.chunk.captions.tolist(), found.chunk.texts, strict=True)
                seen |= dict(zip(found.chunk.indices.tolist(), rows, strict=True))
        assert sorted(seen) == list(range(11))
        for index, (number, vector) in seen.items():
            pixels = torch.from_numpy(pairs.canvas(np.array([index]), 32)).permute(0, 3, 1, 2)
            own = tiny_model.encode_texts(list(pairs.texts[index]) or [""])
            alike = (tiny_model.encode_images(pixels) @ own.T)[0]
            assert number == int(alike.argmin())
            torch.testing.assert_close(vector, own[number], rtol=0, atol=1e-5)
        seen.clear()


def test_the_forest_is_seeded_and_high_for_outliers():
    points = cloud(400)
    points[0] = 20
    first, again = Forest(points, 3).score(points), Forest(points, 3).score(points)
    assert torch.equal(first, again)
    assert int(first.argmax()) == 0
    assert 0 < float(first.min()) < float(first.max()) < 1


def planted_cluster(members):
    """A chunk on a thick 12-dimensional manifold, and a small cluster away from it."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1024, 12)) @ rng.normal(size=(12, 64))
    points[:members] = 3 * points.std() * np.ones(64) + 0.5 * rng.normal(size=(members, 64))
    planted = np.zeros(1024, bool)
    planted[:members] = True
    return torch.from_numpy(points.astype(np.float32)), planted


def test_a_cluster_below_k_is_found_by_all_but_lid_and_above_k_by_lid_alone():
    """How they fail: it is said with every result, see ml_core/detection/summary.py."""
    table = {}
    for members in (4, 60):
        points, planted = planted_cluster(members)
        own = nearest(points, 16)
        scores = {"k": own.radius, "slof": slof(own, density(own)), "dao": dao(own, density(own))}
        scores["lid"] = lid(own)
        table[members] = {name: roc_auc_score(planted, v.numpy()) for name, v in scores.items()}
    assert min(table[4][name] for name in ("k", "slof", "dao")) > 0.99
    assert table[4]["lid"] < 0.1  # LID misses small groups
    assert max(table[60][name] for name in ("k", "slof", "dao")) < 0.5
    assert table[60]["k"] < 0.01  # they are called the least suspicious of all
    assert table[60]["lid"] > 0.95
