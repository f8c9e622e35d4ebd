"""An archive that could be read in two ways is refused."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_core.reading.zip_members import ZipError, read_member, zip_members
from tests.unit.file_bytes import zipped


def members_of(raw: bytes) -> dict[str, bytes]:
    file = io.BytesIO(raw)
    return {m.name: read_member(file, m, 1 << 20) for m in zip_members(file, len(raw))}


CONTENT = {"m/data.pkl": b"abc" * 50, "m/data/0": bytes(100), "m/version": b"3\n"}
GOOD = zipped(CONTENT)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_come_through(method: int) -> None:
    assert members_of(zipped(CONTENT, method)) == CONTENT


def test_streamed_members_with_sizes_after_the_data() -> None:
    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.parts.append(bytes(data))  # type: ignore[call-overload]
            return len(self.parts[-1])

    out = Stream()
    with zipfile.ZipFile(out, "w") as made:  # type: ignore[arg-type]
        for name, data in CONTENT.items():
            made.writestr(name, data)
    assert members_of(b"".join(out.parts)) == CONTENT


def test_64_bit_members() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made, made.open("m/a", "w", force_zip64=True) as member:
        member.write(b"hello")
    assert members_of(out.getvalue()) == {"m/a": b"hello"}


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_gives_an_answer(place: int, value: int) -> None:
    raw = GOOD[:place] + bytes([value]) + GOOD[place + 1 :]
    try:
        found = members_of(raw)
    except ZipError:
        return
    assert len(found) == len(CONTENT)
