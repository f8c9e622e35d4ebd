"""A file that a lenient reader takes for something else is found; chance is not taken for it."""

from __future__ import annotations

import io
import struct
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_core.reading.polyglots import ends_as_zip, fits_tar, names_code
from ml_core.reading.sniff import looks_pickle, sniff
from tests.hostile.archives import torch_zip
from tests.hostile.container_bytes import tar_of
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
    filler=st.binary(min_size=1, max_size=40), form=st.sampled_from(FORMS),
    signed=st.booleans(), off=st.sampled_from([0, 0, 0, 1]),
    any_field=st.none() | st.binary(min_size=8, max_size=8),
)  # fmt: skip
def test_every_tar_header_that_python_takes_is_found(filler, form, signed, off, any_field):
    total = sums(filler)[signed] + off
    head = header(filler, any_field or (form % total).encode("latin-1")[:8].ljust(8))
    if python_takes(head):
        assert fits_tar(head)
    if not any_field and not off and total >= 0 and form in FORMS[:5]:
        assert fits_tar(head)
    first = b"\x80" if total >= 0 else b"\xff"
    head = header(filler, first + (total % (1 << 56)).to_bytes(7, "big"))
    assert off or (python_takes(head) and fits_tar(head))


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


@pytest.mark.parametrize("text", [b"cat\ndog\nbanana\n", b"Look at this\n.\n", b"In short\n..\n"])
def test_lines_of_text_are_no_pickle(text: bytes) -> None:
    assert not looks_pickle(text)
    assert sniff(io.BytesIO(text), len(text)).format == "unknown format"
