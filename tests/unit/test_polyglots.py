"""A file that a lenient reader takes for something else is found; chance is not taken for it."""

from __future__ import annotations

import io
import random
import struct
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_core.reading import inspect
from ml_core.reading.polyglots import ends_as_zip, fits_tar, names_code
from ml_core.reading.sniff import looks_pickle, sniff
from tests.hostile.archives import torch_zip
from tests.hostile.container_bytes import safetensors, tar_of
from tests.hostile.lenient_tricks import ODD, safetensors_and_pickle
from tests.hostile.ops import call, named

FORMS = (
    "%06o\0 ", "%o", "+%o", "0_%o", "0o%o", "0O%o", "\x1c%o", "\t%o\x0b", " %o\0z", "0%o\r",
    "%o,", "%o\x85", "0x%o",
)  # fmt: skip


def python_takes(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def header(filler: bytes, field: bytes) -> bytes:
    """A tar header without other numbers, so that only its sum decides."""
    made = bytearray((filler * 512)[:512])
    for start, end in ((100, 136), (136, 148), (156, 157), (329, 345)):
        made[start:end] = bytes(end - start)
    made[148:156] = field
    return bytes(made)


def sums(filler: bytes) -> tuple[int, int]:
    made = header(filler, b" " * 8)
    return sum(made), sum(byte - 256 * (byte > 127) for byte in made)


@settings(max_examples=400, deadline=None)
@given(
    filler=st.binary(min_size=1, max_size=40),
    form=st.sampled_from(FORMS),
    signed=st.booleans(),
    off=st.sampled_from([0, 0, 0, 1]),
)
def test_every_tar_header_that_python_takes_is_found(filler, form, signed, off):
    told = sums(filler)[signed] + off
    field = (form % told).encode("latin-1")[:8].ljust(8)
    head = header(filler, field)
    if python_takes(head):
        assert fits_tar(head)
    if not off and told >= 0 and form in FORMS[:5]:
        assert fits_tar(head)


@settings(max_examples=400, deadline=None)
@given(filler=st.binary(min_size=1, max_size=40), field=st.binary(min_size=8, max_size=8))
def test_any_bytes_as_a_sum(filler: bytes, field: bytes) -> None:
    head = header(filler, field)
    if python_takes(head):
        assert fits_tar(head)


@settings(max_examples=100, deadline=None)
@given(filler=st.binary(min_size=1, max_size=40), signed=st.booleans())
def test_sums_as_bytes(filler: bytes, signed: bool) -> None:
    told = sums(filler)[signed]
    first = b"\x80" if told >= 0 else b"\xff"
    head = header(filler, first + (told % (1 << 56)).to_bytes(7, "big"))
    assert python_takes(head)
    assert fits_tar(head)


def test_an_empty_sum_is_zero() -> None:
    # 256 for the sum itself, and 256 bytes of -1.
    head = bytes(200) + b"\xff" * 256 + bytes(56)
    assert python_takes(head)
    assert fits_tar(head)


def test_a_sum_that_is_another_is_none() -> None:
    for field in (b"000000\0 ", b"1\0      ", b"[0,65536", b"\x80" + bytes(7), b"\xff" * 8):
        assert not fits_tar(header(b'{"a":', field))
    assert not fits_tar(bytes(100))


def test_marks_of_a_zip_by_chance_are_none() -> None:
    marks = (b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02")
    chance = random.Random(0)
    numbers = bytearray(chance.randbytes(1 << 18))
    for _ in range(2000):
        place = chance.randrange(len(numbers) - 4)
        numbers[place : place + 4] = chance.choice(marks)
    raw = safetensors(bytes(numbers))
    assert not ends_as_zip(io.BytesIO(raw), len(raw))
    assert sniff(io.BytesIO(raw), len(raw)).code is None


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


def test_a_file_that_cannot_be_read_is_no_answer() -> None:
    class Closed(io.RawIOBase):
        def seek(self, offset: int, whence: int = 0) -> int:
            return 0

        def read(self, size: int = -1) -> bytes:
            raise io.UnsupportedOperation

    with pytest.raises(io.UnsupportedOperation):
        names_code(Closed(), 100)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [10, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_long_texts_are_passed_over(length: int) -> None:
    behind = named("os", "system") + b"."
    for begin in (b"V" + b"-" * length + b"\n", b"X" + struct.pack("<L", length) + b"-" * length):
        raw = begin + behind
        assert names_code(io.BytesIO(raw), len(raw))
        assert not names_code(io.BytesIO(raw[:-11] + b"."), len(raw) - 10)


def test_a_text_longer_than_the_file_is_not_read() -> None:
    raw = b"\x8e" + struct.pack("<Q", 1 << 62)
    assert not names_code(io.BytesIO(raw), len(raw))


@pytest.mark.parametrize("text", [b"cat\ndog\nbanana\n", b"Look at this\n.\n", b"In short\n..\n"])
def test_lines_of_text_are_no_pickle(text: bytes) -> None:
    assert not looks_pickle(text)
    assert sniff(io.BytesIO(text), len(text)).format == "unknown format"


def test_a_pickle_that_is_no_accident_is_not_to_be_loaded_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02I0x1\n.")
    assert "do not load this one elsewhere" in inspect(tmp_path / "a.pkl").reasons[0]
    (tmp_path / "b.pkl").write_bytes(b"\x80\x02K\x01")
    assert inspect(tmp_path / "b.pkl").reasons[0].endswith("get the file again.")
