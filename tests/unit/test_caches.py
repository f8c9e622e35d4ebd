"""Caches of canvases and embeddings: what comes back, what goes first, and how all are emptied."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import numpy as np
import pytest

from ml_core.cache import Freed, cache_bytes, clear_cache
from ml_core.data.canvas import CanvasCache
from ml_core.evaluation.embedding_cache import EmbeddingStore
from tests.unit.fake_pictures import values


class Counting:
    """A source whose picture i is filled with i; counts what it draws."""

    images_key = "k"

    def __init__(self, n):
        self.n = n
        self.broken: dict[int, str] = {}
        self.drawn: list[int] = []

    def __len__(self):
        return self.n

    def canvas(self, indices, size):
        numbers = np.asarray(indices)
        self.drawn += numbers.tolist()
        return np.broadcast_to(
            numbers.astype(np.uint8)[:, None, None, None], (len(numbers), size, size, 3)
        ).copy()


def on_disk(source, folder, disk_limit=1 << 20):
    return CanvasCache(source, 4, folder=folder, memory_limit=0, disk_limit=disk_limit)


def test_memory_cache_draws_once_and_gives_copies():
    source = Counting(10)
    cache = CanvasCache(source, 4)
    got = cache.get([3, 5, 3])
    assert values(got) == [3, 5, 3]
    got[:] = 0
    assert values(cache.get([5, 7, 3])) == [5, 7, 3]
    assert sorted(source.drawn) == [3, 3, 5, 7]


@pytest.mark.parametrize("damage", ["entry", "header", "short", "empty"])
def test_damaged_cache_is_drawn_again(tmp_path, damage):
    cache = on_disk(Counting(10), tmp_path)
    cache.get(range(10))
    cache.close()
    (path,) = tmp_path.glob("*.canvas")
    content = bytearray(path.read_bytes())
    if damage == "entry":
        content[8192 + 48 * 4 + 7] ^= 1  # one bit of the fifth canvas
    elif damage == "header":
        content[0] ^= 1
    path.write_bytes({"short": content[:8300], "empty": b""}.get(damage, bytes(content)))
    source = Counting(10)
    assert values(on_disk(source, tmp_path).get(range(10))) == list(range(10))
    if damage == "entry":
        assert source.drawn == [4]
    again = Counting(10)
    assert values(on_disk(again, tmp_path).get(range(10))) == list(range(10))
    assert again.drawn == []


def test_oldest_files_go_when_the_folder_is_full(tmp_path):
    for name, age in (("old", 300), ("new", 100)):
        path = tmp_path / f"{name}.canvas"
        path.write_bytes(b"x" * 20_480)
        os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    on_disk(Counting(10), tmp_path, disk_limit=40_000).get([1])
    assert not (tmp_path / "old.canvas").exists()
    assert (tmp_path / "new.canvas").exists()


def test_of_a_set_above_the_limit_the_first_part_is_kept(tmp_path):
    source = Counting(10)
    cache = on_disk(source, tmp_path, disk_limit=48 * 4)
    for _ in range(2):
        assert values(cache.get(range(10))) == list(range(10))
    assert source.drawn == [*range(10), *range(4, 10)]


def test_full_disk_gets_no_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 30))
    source = Counting(3)
    assert values(on_disk(source, tmp_path).get([2, 1])) == [2, 1]
    assert list(tmp_path.iterdir()) == []


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


def write(path, size, age=3600.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_files_go_and_folders_stay(tmp_path):
    write(tmp_path / "canvases" / "a.bin", 100)
    write(tmp_path / "b.json", 20)
    fresh = write(tmp_path / "canvases" / "fresh.tmp", 7, age=1.0)
    assert cache_bytes(tmp_path) == 127
    assert clear_cache(tmp_path) == Freed(files=2, bytes=120, left=1)
    assert (tmp_path / "canvases").is_dir()
    assert fresh.exists()
    assert cache_bytes(tmp_path) == 7


def test_a_link_is_not_followed(tmp_path):
    kept = write(tmp_path / "elsewhere" / "kept.txt", 5)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "link").symlink_to(kept.parent, target_is_directory=True)
    (cache / "file").symlink_to(kept)
    assert clear_cache(cache).files == 0
    assert kept.exists()


def test_a_cancelled_clearing_a_file_that_the_system_keeps_and_no_folder(tmp_path, monkeypatch):
    write(tmp_path / "a", 3)
    assert clear_cache(tmp_path, lambda: True) == Freed(0, 0, 0)
    assert cache_bytes(tmp_path / "none") == 0

    def refuse(self):
        raise PermissionError(13, "in use")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    assert clear_cache(tmp_path) == Freed(0, 0, 1)
