"""A checkpoint in a zip or tar archive is read in place, by the same rules."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import inspect
from ml_core.reading.tar_members import tar_members
from ml_core.reading.zip_members import ZipError
from tests.unit.file_bytes import tarred, torch_bytes, zipped

TENSORS = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.arange(5).half()}
LONG = "folder/" + "very_long_name_" * 9 + ".pt"


WRAPS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": zipped,
    "tar": tarred,
    "old tar": partial(tarred, form=tarfile.USTAR_FORMAT),
    "gnu tar": partial(tarred, form=tarfile.GNU_FORMAT),
}


def written(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS.keys())
def test_tensors_come_through(tmp_path: Path, wrap: Any) -> None:
    members = {"readme.txt": b"hello", "run/epoch.pt": torch_bytes(TENSORS)}
    path = written(tmp_path / "m.zip", wrap(members))
    found = inspect(path)
    assert (found.verdict, found.format) == ("loads", "PyTorch file (zip) in an archive")
    assert "readme.txt" in found.unread
    tensors = read_tensors(found)
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())


def test_long_names_of_gnu_tar(tmp_path: Path) -> None:
    raw = tarred({LONG: torch_bytes(TENSORS)}, form=tarfile.GNU_FORMAT)
    assert inspect(written(tmp_path / "m.tar", raw)).verdict == "loads"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a.pt": b"x", "b.bin": b"x"}, "2 files that may be checkpoints"),
        ({"readme.txt": b"x"}, "no checkpoint"),
        ({"a.pt": b"x"}, "a.pt is of a format that is not known"),
        ({"a.pt": b""}, "a.pt is empty"),
    ],
)
@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS.keys())
def test_other_archives_are_refused(tmp_path, wrap, members, words):
    found = inspect(written(tmp_path / "m", wrap(members)))
    assert found.verdict == ("damaged" if "empty" in words else "unsupported")
    assert words in found.reasons[0]


def raw_tar(change: Callable[[bytearray], None]) -> bytes:
    raw = bytearray(tarred({"a.pt": b"abc"}, form=tarfile.USTAR_FORMAT))
    change(raw)
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    return bytes(raw)


def setting(start: int, value: bytes) -> Callable[[bytearray], None]:
    def change(raw: bytearray) -> None:
        raw[start : start + len(value)] = value

    return change


def test_an_honest_tar_lists_its_members() -> None:
    raw = raw_tar(lambda raw: None)
    (member,) = tar_members(io.BytesIO(raw), len(raw))
    assert (member.name, member.size, member.offset) == ("a.pt", 3, 512)


@pytest.mark.parametrize(
    "change",
    [
        setting(156, b"2"),
        setting(156, b"3"),
        setting(156, b"S"),
        setting(0, b"../x"),
        setting(0, b"/etc"),
        setting(124, b"77777777777"),
        setting(124, b"-1         "),
        setting(124, b"9          "),
        setting(124, b"\xff" * 12),
        setting(124, b"\x80" + b"\xff" * 11),
        setting(0, b"\xff\xfe"),
        setting(0, b"\0"),
    ],
)
def test_doctored_tars_are_refused(change: Callable[[bytearray], None]) -> None:
    raw = raw_tar(change)
    with pytest.raises(ZipError):
        tar_members(io.BytesIO(raw), len(raw))


def test_a_wrong_sum_and_a_short_tar_are_refused() -> None:
    raw = raw_tar(lambda raw: None)
    for bad in (raw[:300] + b"x" + raw[301:], raw[:700], raw[:0]):
        with pytest.raises(ZipError):
            tar_members(io.BytesIO(bad), len(bad))


def test_what_macos_keeps_beside_a_file_is_listed_and_counts_by_content(tmp_path: Path) -> None:
    beside = "__MACOSX/._epoch.pt"
    double = b"\0\x05\x16\x07\0\x02\0\0" + bytes(100)
    found = inspect(
        written(tmp_path / "m", zipped({"epoch.pt": torch_bytes(TENSORS), beside: double}))
    )
    assert found.verdict == "loads"
    assert beside in found.unread
    two = {"epoch.pt": torch_bytes(TENSORS), beside: torch_bytes(TENSORS)}
    assert (
        "2 files that may be checkpoints"
        in inspect(written(tmp_path / "n", zipped(two))).reasons[0]
    )
