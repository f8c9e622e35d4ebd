"""Orders, samples and parts of a set."""

import numpy as np

from ml_core.data.specs import part_of, stratified_order, stratified_sample


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


def test_balanced_prefix_has_each_class_once():
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
