"""The cache of canvases, in memory and on disk."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from ml_core.data.canvas import CanvasCache
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
