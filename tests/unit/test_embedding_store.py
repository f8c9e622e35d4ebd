"""Embeddings on disk: what comes back, what is passed over, what is deleted."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from ml_core.evaluation.embedding_cache import EmbeddingCache, EmbeddingStore

KEY = ("identity", "data", "cpu", "fp32")


def embeddings(rows=6, width=4):
    values = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    return values, np.arange(rows) % 3 != 0


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "embeddings")


def only(store):
    (path,) = store.folder.iterdir()
    return path


def test_what_was_saved_comes_back(store):
    values, known = embeddings()
    assert store.load(KEY, 6, 4) is None
    assert store.save(KEY, values, known)
    found = store.load(KEY, 6, 4)
    assert np.array_equal(found[0], values)
    assert np.array_equal(found[1], known)


def test_what_is_not_asked_for_is_not_given(store):
    store.save(KEY, *embeddings())
    assert store.load(("another", *KEY[1:]), 6, 4) is None
    assert store.load(KEY, 7, 4) is None
    assert store.load(KEY, 6, 5) is None
    # a file under the name of another key
    other = ("x",)
    store._path(other).write_bytes(only(store).read_bytes())
    assert store.load(other, 6, 4) is None


@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "empty", "text", "folder"])
def test_damaged_files_are_passed_over(store, damage):
    store.save(KEY, *embeddings())
    path = only(store)
    raw = bytearray(path.read_bytes())
    if damage == "flip":
        raw[-5] ^= 1
    new = {"cut": raw[:-4], "longer": raw + b"x", "empty": b"", "text": b"hello" * 99}
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        path.write_bytes(bytes(new.get(damage, raw)))
    assert store.load(KEY, 6, 4) is None
    if damage != "folder":
        assert store.save(KEY, *embeddings())
        assert store.load(KEY, 6, 4) is not None


def test_the_file_used_longest_ago_goes_first(tmp_path):
    size = 32 + 6 * 17
    store = EmbeddingStore(tmp_path, limit=3 * size)
    for number, name in enumerate("abc"):
        store.save((name,), *embeddings())
        os.utime(store._path((name,)), (number, number))
    assert store.load(("a",), 6, 4) is not None  # used now
    for name in "de":
        store.save((name,), *embeddings())
    assert store.load(("a",), 6, 4) is not None
    assert store.load(("b",), 6, 4) is None
    assert store.load(("e",), 6, 4) is not None
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 * size
    assert not EmbeddingStore(tmp_path, limit=100).save(("big",), *embeddings())


def test_a_cache_starts_with_what_is_on_disk(store):
    rows, values = np.arange(4), torch.randn(4, 4)
    first = EmbeddingCache(store=store)
    table = first.table(KEY, 6, 4)
    table.put(rows, values)
    first.save()
    before = only(store).stat().st_mtime_ns
    first.save()  # nothing is new
    assert only(store).stat().st_mtime_ns == before
    again = EmbeddingCache(store=store).table(KEY, 6, 4)
    assert again.missing(np.arange(6)).tolist() == [False] * 4 + [True] * 2
    assert torch.equal(again.get(rows), values)
    again.put(np.array([5]), torch.ones(1, 4))
    assert not again.missing(np.array([5])).any()
    assert EmbeddingCache().table(KEY, 6, 4) is not None
