"""An archive that could be read in two ways is refused."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_core.reading.zip_members import MAX_MEMBERS, ZipError, read_member, zip_members


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return out.getvalue()


def members_of(raw: bytes) -> dict[str, bytes]:
    file = io.BytesIO(raw)
    return {m.name: read_member(file, m, 1 << 20) for m in zip_members(file, len(raw))}


CONTENT = {"m/data.pkl": b"abc" * 50, "m/data/0": bytes(100), "m/version": b"3\n"}
GOOD = archive(CONTENT)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_come_through(method: int) -> None:
    assert members_of(archive(CONTENT, method)) == CONTENT


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


def at(raw: bytes, mark: bytes, offset: int, new: bytes, last: bool = False) -> bytes:
    start = (raw.rfind(mark) if last else raw.find(mark)) + offset
    return raw[:start] + new + raw[start + len(new) :]


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
DOCTORED: dict[str, Callable[[], bytes]] = {
    "another name in the header": lambda: at(GOOD, LOCAL, 30, b"n"),
    "another method in the header": lambda: at(GOOD, LOCAL, 8, b"\x08"),
    "another size in the header": lambda: at(GOOD, LOCAL, 22, b"\x01"),
    "another checksum in the header": lambda: at(GOOD, LOCAL, 14, b"\x01"),
    "encrypted": lambda: at(at(GOOD, LOCAL, 6, b"\x01"), CENTRAL, 8, b"\x01"),
    "an unusual method": lambda: at(at(GOOD, LOCAL, 8, b"\x0c"), CENTRAL, 10, b"\x0c"),
    "a stored member with two sizes": lambda: at(
        at(GOOD, LOCAL, 22, b"\x01"), CENTRAL, 24, b"\x01"
    ),
    "bytes before the archive": lambda: b"x" + GOOD,
    "bytes after the archive": lambda: GOOD + b"x",
    "a comment": lambda: at(GOOD, END, 20, b"\x01\x00") + b"x",
    "an overlap": lambda: at(GOOD, CENTRAL, 42, b"\x00\x00\x00\x00", last=True),
    "a count that is too small": lambda: at(GOOD, END, 8, b"\x02\x00\x02\x00"),
    "two disks": lambda: at(GOOD, END, 4, b"\x01"),
    "a link": lambda: at(GOOD, CENTRAL, 38, struct.pack("<L", 0o120777 << 16)),
    "an archive cut short": lambda: GOOD[:-30],
    "nothing": lambda: b"",
    "two members of one name": lambda: archive({"m/a": b"1", "m/b": b"2"}).replace(b"m/b", b"m/a"),
}


@pytest.mark.parametrize("make", DOCTORED.values(), ids=DOCTORED.keys())
def test_doctored_archives_are_refused(make: Callable[[], bytes]) -> None:
    with pytest.raises(ZipError):
        members_of(make())


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "C:/a", "a\\b", "x" * 2000])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(ZipError):
        members_of(archive({name: b""}))


def test_members_that_grow_too_large_are_refused() -> None:
    raw = archive({"m/data.pkl": bytes(1 << 21)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ZipError, match="larger"):
        members_of(raw)
    lying = at(raw, CENTRAL, 24, struct.pack("<L", 1000))
    with pytest.raises(ZipError):
        members_of(at(lying, LOCAL, 22, struct.pack("<L", 1000)))


def test_too_many_members_are_refused() -> None:
    raw = archive({f"m/{number}": b"" for number in range(MAX_MEMBERS + 1)})
    with pytest.raises(ZipError, match=str(MAX_MEMBERS)):
        zip_members(io.BytesIO(raw), len(raw))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_gives_an_answer(place: int, value: int) -> None:
    raw = GOOD[:place] + bytes([value]) + GOOD[place + 1 :]
    try:
        found = members_of(raw)
    except ZipError:
        return
    assert len(found) == len(CONTENT)
