"""Orders, samples and parts of a set; an epoch is a permutation of (seed, epoch), and local."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml_core.data.order import epoch_order, order_slice, runs
from ml_core.data.specs import part_of, stratified_order, stratified_sample

blocks_of = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@given(blocks_of, st.integers(0, 5), st.integers(0, 3), st.integers(1, 60), st.data())
def test_every_part_of_an_epoch_is_a_slice_of_one_permutation(sizes, seed, epoch, window, data):
    blocks = np.array(sizes, np.int64)
    count = data.draw(st.integers(1, int(blocks.sum())))
    whole = epoch_order(seed, epoch, count, blocks, window)
    assert whole.dtype == np.int64
    assert np.array_equal(np.sort(whole), np.arange(count))
    start = data.draw(st.integers(0, count))
    stop = data.draw(st.integers(start, count))
    part = order_slice(seed, epoch, count, blocks, window, start, stop)
    assert np.array_equal(part, whole[start:stop])


@given(st.integers(1, 300), st.integers(0, 5), st.integers(0, 3), st.data())
def test_without_blocks_it_is_one_permutation(count, seed, epoch, data):
    whole = epoch_order(seed, epoch, count)
    assert np.array_equal(np.sort(whole), np.arange(count))
    start = data.draw(st.integers(0, count))
    part = order_slice(seed, epoch, count, None, 10, start, count)
    assert np.array_equal(part, whole[start:])
    part[:] = 0  # the caller's own
    assert np.array_equal(epoch_order(seed, epoch, count), whole)


def test_epochs_and_seeds_differ():
    blocks = np.full(20, 100)
    orders = [epoch_order(seed, epoch, 2000, blocks, 400) for seed in (0, 1) for epoch in (0, 1)]
    for place, one in enumerate(orders):
        for other in orders[place + 1 :]:
            assert (one != other).mean() > 0.9


def test_it_is_local_and_mixes_shards():
    shards, each, window, run = 50, 1000, 5000, 125
    order = epoch_order(3, 1, shards * each, runs(np.full(shards, each), run), window)
    for start in range(0, len(order), window):
        part = order[start : start + window]
        assert len(np.unique(part // run)) == window // run  # read of the disk in whole runs
        assert len(np.unique(part // each)) >= 15
        assert len(np.unique(part[:128] // each)) >= 10  # mixed within a batch, too
    shards_first = np.unique(order[:window] // each)
    assert not np.array_equal(shards_first, np.arange(len(shards_first)))


def test_a_small_set_is_one_permutation_of_all():
    order = epoch_order(0, 0, 60, np.array([30, 30]), 8192)
    assert (np.abs(np.diff(order)) > 1).mean() > 0.8
    assert set((order[:20] >= 30).tolist()) == {True, False}


def test_one_large_file_is_mixed_over_all_of_it():
    pieces = runs(np.array([100_000]), 256)
    assert (pieces.sum(), pieces.max() <= 256, pieces.min() >= 255) == (100_000, True, True)
    order = epoch_order(0, 0, 100_000, pieces, 8192)
    assert order[:8192].min() < 10_000
    assert order[:8192].max() > 90_000


def test_every_prefix_is_stratified():
    labels = np.repeat([0, 1, -1], [60, 30, 10]).astype(np.int64)
    order = stratified_order(labels, 7)
    assert sorted(order.tolist()) == list(range(100))
    for n in range(1, 101):
        for label, count in ((0, 60), (1, 30), (-1, 10)):
            got = int((labels[order[:n]] == label).sum())
            assert abs(got - n * count / 100) <= 1.5
    assert stratified_order(labels, 7).tolist() == order.tolist()
    assert stratified_order(labels, 8).tolist() != order.tolist()
    labels = np.arange(40, dtype=np.int64) % 10
    assert sorted(labels[stratified_order(labels, 0)[:10]].tolist()) == list(range(10))


def test_sample_is_ascending_and_whole_when_large():
    labels = np.zeros(9, np.int64)
    sample = stratified_sample(labels, 4, 1)
    assert len(sample) == 4
    assert (np.diff(sample) > 0).all()
    assert stratified_sample(labels, None, 1).tolist() == list(range(9))
    assert stratified_sample(labels, 20, 1).tolist() == list(range(9))
    assert stratified_order(np.zeros(0, np.int64), 0).tolist() == []


def test_parts_are_stratified_and_have_nothing_in_common():
    labels = np.repeat([0, 1, -1], [50, 30, 20])
    watched, tested = (part_of(labels, part, 3) for part in ("validation", "test"))
    assert (len(watched), len(tested)) == (20, 80)
    assert sorted([*watched, *tested]) == list(range(100))
    assert np.bincount(labels[watched] + 1).tolist() == [4, 10, 6]
    assert part_of(labels, "validation", 3).tolist() == watched.tolist()
    assert part_of(labels, "validation", 4).tolist() != watched.tolist()
    many = np.zeros(4000, np.int64)
    assert [len(part_of(many, part, 0)) for part in ("validation", "test")] == [500, 3500]
    few = labels[:49]
    assert part_of(few, "validation", 0).tolist() == part_of(few, "test", 0).tolist()
    assert len(part_of(few, "test", 0)) == 49
