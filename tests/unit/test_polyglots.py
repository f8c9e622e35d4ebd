"""A file that a lenient reader takes for something else is found; chance is not taken for it."""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ml_core.reading import inspect
from ml_core.reading.sniff import ends_as_zip, fits_tar, looks_pickle, names_code, sniff
from tests.hostile.archives import torch_zip
from tests.hostile.container_bytes import tar_of
from tests.hostile.lenient_tricks import ODD, safetensors_and_pickle
from tests.hostile.ops import call, named


def test_an_archive_that_was_put_whole_into_another_is_not_two() -> None:
    tar = tar_of({"m.pt": torch_zip()})
    assert ends_as_zip(io.BytesIO(tar), len(tar))
    assert not ends_as_zip(io.BytesIO(tar), len(tar), shifted=False)
    assert sniff(io.BytesIO(tar), len(tar)).format == "tar archive"


@pytest.mark.parametrize("ops", [*ODD.values(), b"0"])
def test_a_pickle_in_a_tensor_is_found(ops: bytes) -> None:
    raw = safetensors_and_pickle(ops + call("os", "getcwd"))
    assert names_code(io.BytesIO(raw), len(raw))
    assert "pickle" in sniff(io.BytesIO(raw), len(raw)).format
    plain = safetensors_and_pickle(ops)
    assert not names_code(io.BytesIO(plain), len(plain))
    assert sniff(io.BytesIO(plain), len(plain)).code is None


@pytest.mark.parametrize("length", [10, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_long_texts_are_passed_over(length: int) -> None:
    behind = named("os", "system") + b"."
    for begin in (b"V" + b"-" * length + b"\n", b"X" + struct.pack("<L", length) + b"-" * length):
        raw = begin + behind
        assert names_code(io.BytesIO(raw), len(raw))
        assert not names_code(io.BytesIO(raw[:-11] + b"."), len(raw) - 10)
    raw = b"\x8e" + struct.pack("<Q", 1 << 62)  # more than the file has
    assert not names_code(io.BytesIO(raw), len(raw))


@pytest.mark.parametrize("wrapped", [gzip.compress, lambda raw: tar_of({"m.safetensors": raw})])
def test_a_long_text_in_a_packed_file_hides_no_call(
    wrapped: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    header, numbers = b'{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}', 2 << 20
    begin = struct.pack("<Q", ord("V")) + (header % (numbers, numbers)).ljust(ord("V"))
    behind = b"\n" + call("os", "getcwd") + b"."
    file = tmp_path / "m"
    file.write_bytes(wrapped(begin + b"-" * (numbers - len(behind)) + behind))
    assert inspect(file).verdict == "dangerous"


@pytest.mark.parametrize("text", [b"cat\ndog\nbanana\n", b"Look at this\n.\n", b"In short\n..\n"])
def test_lines_of_text_are_no_pickle(text: bytes) -> None:
    assert not looks_pickle(text)
    assert sniff(io.BytesIO(text), len(text)).format == "unknown format"


@pytest.mark.parametrize("form", ["%06o\0 ", "+%o", "0_%o", "0o%o", "\x1c%o", "%o\x85", "0x%o"])
def test_every_tar_header_that_python_takes_is_found(form: str) -> None:
    for filler in (b"a", b'{"a":', b"\xff\0"):
        head = bytearray((filler * 512)[:512])
        for start, end in ((100, 136), (136, 148), (156, 157), (329, 345)):
            head[start:end] = bytes(end - start)
        head[148:156] = b" " * 8
        head[148:156] = (form % sum(head)).encode("latin-1")[:8].ljust(8)
        with contextlib.suppress(tarfile.HeaderError):
            tarfile.TarInfo.frombuf(bytes(head), "utf-8", "surrogateescape")
            assert fits_tar(bytes(head))
