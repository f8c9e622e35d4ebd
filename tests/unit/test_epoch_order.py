"""Orders, samples and parts of a set; an epoch is a permutation of (seed, epoch), and local."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml_core.data.order import epoch_order, order_slice, runs
from ml_core.data.specs import part_of, stratified_order

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
