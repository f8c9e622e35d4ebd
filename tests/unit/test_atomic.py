"""Files that are replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from ml_core.atomic import HalfReplacedError, replace_files


def test_bytes_and_writers_replace_what_was_there(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"old")
    (tmp_path / ".first.part").write_bytes(b"left by a killed process, and longer")
    replace_files({first: b"new", second: lambda file: file.write(b"more")})
    assert (first.read_bytes(), second.read_bytes()) == (b"new", b"more")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_a_failed_write_changes_no_file(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"old")

    def full(file: BinaryIO) -> None:
        file.write(b"ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        replace_files({first: b"new", second: full})
    assert not isinstance(caught.value, HalfReplacedError)
    assert first.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_a_failed_second_move_says_that_half_is_done(tmp_path: Path) -> None:
    first, folder = tmp_path / "first", tmp_path / "second"
    folder.mkdir()
    with pytest.raises(HalfReplacedError) as caught:
        replace_files({first: b"new", folder: b"a file cannot replace a folder"})
    assert caught.value.strerror
    assert first.read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["first", "second"]
