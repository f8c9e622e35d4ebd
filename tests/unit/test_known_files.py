"""A set too large to hash at once is known by its content once it was read."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from ml_core.data import digests
from ml_core.data.images import open_images
from ml_core.data.known_files import CONTENT, EARLIER, LISTING
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


def test_after_a_full_pass_a_large_set_is_known_by_content(folder, monkeypatch):
    small = opened(folder)
    assert small.known_by == CONTENT
    limit(monkeypatch, 0.5, folder)
    first = opened(folder)
    assert first.known_by == LISTING
    assert first.key != small.key
    first.canvas(range(11), 8)
    assert opened(folder).known_by == LISTING  # one was not read
    first.canvas([11], 8)
    assert first.known_by == LISTING  # what its key was made of
    again = opened(folder)
    assert again.known_by == EARLIER
    assert again.key == small.key


def test_each_opening_hashes_as_much_as_it_may_and_the_lasting_key_stays(folder, monkeypatch):
    small = opened(folder)
    assert small.lasting_key == small.key
    limit(monkeypatch, 5.5, folder)
    sets = [opened(folder) for _ in range(3)]
    assert [images.known_by for images in sets] == [LISTING, LISTING, EARLIER]
    assert sets[2].key == small.key
    assert len({images.lasting_key for images in sets}) == 1
    assert sets[0].lasting_key == sets[0].key != sets[2].key
    write(folder / "03.png", 200)
    os.utime(folder / "03.png", (OLD + 1, OLD + 1))
    assert opened(folder).lasting_key != sets[0].lasting_key


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
