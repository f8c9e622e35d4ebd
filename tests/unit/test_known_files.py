"""A set too large to hash at once is known by its content once it was read."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from ml_core.data import digests
from ml_core.data.images import open_images
from ml_core.data.known_files import EARLIER, LISTING
from ml_core.data.specs import ImageSpec
from ml_core.paths import cache_dir

OLD = 1_600_000_000


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve pictures from long ago, in an empty home."""
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(digests, "_RACY_NS", -(10**18))  # ctime cannot be set
    place = tmp_path / "set"
    place.mkdir()
    for number in range(12):
        write(place / f"{number:02}.png", number)
    return place


def write(path, level):
    Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(path)
    os.utime(path, (OLD, OLD))


def opened(folder):
    return open_images(ImageSpec(kind="folder", path=str(folder)))


def limit(monkeypatch, files, folder):
    size = (folder / "00.png").stat().st_size
    monkeypatch.setattr("ml_core.data.known_files.CONTENT_LIMIT", int(files * size))


@pytest.mark.parametrize("same_time", [False, True])
def test_a_changed_file_is_read_anew(folder, monkeypatch, same_time):
    limit(monkeypatch, 1.5, folder)
    opened(folder).canvas(range(12), 8)
    before = opened(folder)
    write(folder / "03.png", 200)
    if not same_time:
        os.utime(folder / "03.png", (OLD + 1, OLD + 1))
    after = opened(folder)
    assert after.key != before.key
    limit(monkeypatch, 100, folder)
    assert opened(folder).key == after.key  # the change was hashed, not taken from the index


def test_an_index_holds_no_young_files_and_a_damaged_one_begins_anew(folder, monkeypatch):
    limit(monkeypatch, 0.5, folder)
    with monkeypatch.context() as patch:
        patch.setattr(digests, "_RACY_NS", 10**12)  # files of this moment are not kept
        opened(folder).canvas(range(12), 8)
        assert opened(folder).known_by == LISTING
    opened(folder).canvas(range(12), 8)
    (cache_dir() / "digests-1.sqlite").write_bytes(b"no database" * 1000)
    assert opened(folder).known_by == LISTING
    opened(folder).canvas(range(12), 8)
    assert opened(folder).known_by == EARLIER
