"""Files that are replaced whole or not at all."""

from __future__ import annotations

import os
import time
from typing import BinaryIO

import pytest

from ml_core.atomic import HalfReplacedError, replace_files


def test_each_of_two_writers_has_a_part_of_its_own(tmp_path):
    place = tmp_path / "file"

    def slowly(file: BinaryIO) -> None:
        file.write(b"the first half, ")
        replace_files({place: b"another's"})
        assert place.read_bytes() == b"another's"
        file.write(b"the second")

    replace_files({place: slowly})
    assert place.read_bytes() == b"the first half, the second"
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_killed_process_left_goes_after_an_hour(tmp_path):
    hour = time.time() - 3700
    for name, old in (
        (".file.part", True), (".file.00112233.part", True), (".file.44556677.part", False),
        (".other.00112233.part", True), (".file.counterpart", True),
    ):  # fmt: skip
        (tmp_path / name).touch()
        if old:
            os.utime(tmp_path / name, (hour, hour))
    replace_files({tmp_path / "file": b"new"})
    assert sorted(os.listdir(tmp_path)) == [
        ".file.44556677.part", ".file.counterpart", ".other.00112233.part", "file"
    ]  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_the_mode_of_a_file_is_that_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        replace_files({tmp_path / "file": b"new"})
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_failed_write_changes_no_file(tmp_path):
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


def test_a_failed_second_move_says_that_half_is_done(tmp_path):
    first, folder = tmp_path / "first", tmp_path / "second"
    folder.mkdir()
    with pytest.raises(HalfReplacedError) as caught:
        replace_files({first: b"new", folder: b"a file cannot replace a folder"})
    assert caught.value.strerror
    assert first.read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["first", "second"]
