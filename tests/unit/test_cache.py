"""The cache is emptied, but for what is in use."""

import os
import time

from ml_core.cache import Freed, cache_bytes, clear_cache


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
