"""Tables, shards and Parquet files far too large for what they are, and what opening them takes.

``python -m tests.hostile.set_giants FOLDER [NAME...]`` opens each as the program does, in this
process, and prints a line of JSON: what came of it, in how many seconds, and by how many megabytes
memory had grown at most. Those in `SLOW` are made only when they are named.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ml_core.data.images import open_images
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.reading.errors import InputError
from tests.hostile.door_giants import clear_peak, peak, repeated
from tests.hostile.doors import check_sentence

Pieces = Iterator[bytes]


@dataclass(frozen=True)
class Giant:
    """A file, and how it is opened.

    ``sparse`` is the size that it has at last, 0 for that of its pieces.
    """

    name: str
    pieces: Callable[[], Pieces]
    open: Callable[[Path], object]
    sparse: int = 0


def images(path: Path) -> object:
    return open_images(ImageSpec(kind="csv", path=str(path)))


def pairs(path: Path) -> object:
    return open_pairs(PairSpec(kind="csv", path=str(path)))


def captions(path: Path) -> object:
    return open_pairs(PairSpec(kind="texts", path=str(path)))


def shard(path: Path) -> object:
    return open_pairs(PairSpec(kind="shards", path=str(path)))


def labelled_shard(path: Path) -> object:
    return open_images(ImageSpec(kind="file", path=str(path)))


def table(path: Path) -> object:
    return open_pairs(PairSpec(kind="parquet", path=str(path)))


# Tables

_WIDE = "\U0001f600".encode()
_HEAD = b"image,label\n"


def _lines(one: str, count: int, head: bytes = _HEAD) -> Pieces:
    """A header, and rows with their numbers in place of ``%``."""
    yield head
    for first in range(0, count, 10_000):
        numbers = range(first, min(count, first + 10_000))
        yield "".join(one.replace("%", str(number)) for number in numbers).encode()


# Shards


def tar_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def _members(count: int, endings: tuple[str, ...] = (".jpg", ".txt")) -> Pieces:
    """Empty members, so many of each ending."""
    head = tar_header("@" * 12, 0)
    at = head.index(b"@" * 12)
    total = sum(head) - sum(head[148:156]) + 8 * 32 - 12 * ord("@")
    for first in range(0, count, 1000):
        made = []
        for number in range(first, min(count, first + 1000)):
            for ending in endings:
                own = b"%08d%s" % (number, ending.encode())
                checksum = b"%06o\0 " % (total + sum(own))
                made.append(head[:at] + own + head[at + 12 : 148] + checksum + head[156:])
        yield b"".join(made)
    yield bytes(1024)


# Parquet footers: Thrift's compact protocol


def varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def number(value: int) -> bytes:
    return varint(value << 1)


def listed(kind: int, items: list[bytes]) -> bytes:
    head = bytes([len(items) << 4 | kind]) if len(items) < 15 else bytes([0xF0 | kind])
    return head + (varint(len(items)) if len(items) >= 15 else b"") + b"".join(items)


def text(value: bytes) -> bytes:
    return varint(len(value)) + value


def record(**fields: tuple[int, bytes]) -> bytes:
    """A record of fields ``_NUMBER=(type, value)``, in order."""
    made, last = b"", 0
    for name, (kind, value) in fields.items():
        key = int(name[1:])
        made += bytes([(key - last) << 4 | kind]) + value
        last = key
    return made + b"\0"


def column(more: bytes = b"", path: bytes = b"\x18\x01a") -> bytes:
    """A column of a row group as small as it may be: number, encodings, path, packing, counts."""
    facts = record(
        _1=(5, number(1)), _2=(9, listed(5, [])), _3=(9, path), _4=(5, number(0)),
        _5=(6, number(0)), _6=(6, number(0)), _7=(6, number(0)), _9=(6, number(4)),
    )  # fmt: skip
    return b"\x26" + number(0) + b"\x1c" + facts[:-1] + more + b"\0\0"


def group(columns: list[bytes]) -> bytes:
    return record(_1=(9, listed(12, columns)), _2=(6, number(0)), _3=(6, number(0)))


def schema(names: list[bytes]) -> bytes:
    root = record(_4=(8, text(b"m")), _5=(5, number(len(names))))
    return listed(12, [root, *(record(_1=(5, number(1)), _4=(8, text(name))) for name in names)])


def parquet_file(names, groups, metadata=None):
    kept = [record(_1=(8, text(k)), _2=(8, text(v))) for k, v in (metadata or {}).items()]
    fields = {
        "_1": (5, number(2)), "_2": (9, schema(names)), "_3": (6, number(0)),
        "_4": (9, listed(12, groups)),
    }  # fmt: skip
    if kept:
        fields["_5"] = (9, listed(12, kept))
    footer = record(**fields)
    yield b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _rows(count: int) -> Pieces:
    """Row groups that say how many rows they have, and hold none."""
    one = record(_1=(9, listed(12, [column()])), _2=(6, number(0)), _3=(6, number(1_000_000)))
    return parquet_file([b"image"], [one] * (count // 1_000_000))


def _each(count: int, more: bytes = b"") -> Pieces:
    """So many row groups of one column each, with something more in each."""
    groups = [group([column(more)])] * count
    return parquet_file([b"image"], groups)


def _wide(columns: int, groups: int) -> Pieces:
    return parquet_file([b"%d" % n for n in range(columns)], [group([column()] * columns)] * groups)


def arrow_schema(fan: int, depth: int, padding: int = 0) -> bytes:
    """Arrow's own schema in which each field has the same child so many times, as base64.

    A flatbuffer is a graph: the next field is written once, and named ``fan`` times. Arrow limits
    the fields by the bytes, to which ``padding`` is added.
    """
    raw = bytearray()

    def put(data: bytes) -> int:
        raw.extend(data)
        return len(raw) - len(data)

    def u32(value: int) -> bytes:
        return struct.pack("<I", value)

    # The root, a message, holds a schema, which holds fields; all offsets go forward.
    put(u32(0))  # to the message
    message_table = put(struct.pack("<HHHHH2x", 4 + 2 * 3, 16, 4, 6, 8))
    raw[0:4] = u32(len(raw))
    message = put(struct.pack("<iHBxI4x", len(raw) - message_table, 4, 1, 0))
    schema_table = put(struct.pack("<HHHH", 8, 12, 0, 4))
    raw[message + 8 : message + 12] = u32(len(raw) - message - 8)
    own = put(struct.pack("<iI4x", len(raw) - schema_table, 0))
    raw[own + 4 : own + 8] = u32(len(raw) - own - 4)
    place = put(u32(1) + u32(0)) + 4
    for level in range(depth):
        last = level == depth - 1
        # name, nullable, type kind, type, dictionary, children
        field_table = put(struct.pack("<8H", 16, 20, 4, 0, 8, 12, 0, 16))
        start = len(raw)
        for at in (place,) if not level else range(place, place + 4 * fan, 4):
            raw[at : at + 4] = u32(start - at)
        put(struct.pack("<iIB3xII", start - field_table, 0, 1 if last else 13, 0, 0))
        raw[start + 4 : start + 8] = u32(len(raw) - start - 4)
        put(u32(1) + b"a\0\0\0")
        empty_table = put(struct.pack("<HH4x", 4, 4))
        raw[start + 12 : start + 16] = u32(len(raw) - start - 12)
        put(struct.pack("<i", len(raw) - empty_table))
        raw[start + 16 : start + 20] = u32(len(raw) - start - 16)
        count = 0 if last else fan
        place = put(u32(count) + bytes(4 * count)) + 4
    put(bytes(padding - padding % 8 + -len(raw) % 8))
    return base64.b64encode(b"\xff" * 4 + u32(len(raw)) + bytes(raw))


def _arrow(fan: int, depth: int, padding: int) -> Pieces:
    told = {b"ARROW:schema": arrow_schema(fan, depth, padding)}
    return parquet_file([b"image"], [group([column()])], told)


NOTES = b"\x19"  # a list as a column's next field
SOME = 101_000
ROW = b"a.png,b\n"
NOTE = b"\x18\0\0"
GIANTS: dict[str, Giant] = {
    giant.name: giant
    for giant in (
        Giant("a sparse table.csv", lambda: iter((_HEAD,)), images, sparse=1 << 30),
        Giant("a sparse terabyte.csv", lambda: iter((_HEAD,)), images, sparse=1 << 40),
        Giant("a sparse list.txt", lambda: iter((b"a\n",)), captions, sparse=1 << 40),
        Giant("no line end.csv", lambda: iter(()), images, sparse=1 << 30),
        Giant("commas.csv", lambda: repeated(b"", b",", 5_000_000, b"\n"), images),
        Giant("wide names.csv", lambda: repeated(b"", _WIDE + b"a,", 3_000_000, b"\n"), images),
        Giant("columns.csv", lambda: _lines("%,", 500_000, b""), images),
        Giant("many columns.csv", lambda: _lines("%,", 100_000, b""), images),
        Giant("long columns.csv", lambda: _lines("%" + "x" * 100_000 + ",", 15, b""), images),
        Giant("a row of lines.csv", lambda: repeated(_HEAD, b'"a\n",', 1_000_000, b"\n"), images),
        Giant("rows.csv", lambda: repeated(_HEAD, ROW, SOME, b""), images),
        Giant("labels.csv", lambda: _lines("a.png,%\n", SOME), images),
        Giant(
            "long labels.csv", lambda: _lines("a.png,%" + "y" * 9000 + "\n", 3000), images
        ),
        Giant(
            "captions.csv",
            lambda: _lines("a.png,%" + "y" * 90_000 + "\n", 300, b"image,caption\n"),
            pairs,
        ),
        Giant("a sparse.tar", lambda: iter((tar_header("a.jpg", 0),)), shard, sparse=1 << 40),
        Giant("a giant picture.tar", lambda: iter((tar_header("a.jpg", 1 << 39),)), shard,
              sparse=1 << 40),
        Giant(
            "a giant label.tar",
            lambda: iter((tar_header("a.jpg", 0), tar_header("a.cls", 1 << 39))),
            labelled_shard,
            sparse=1 << 40,
        ),
        Giant("a lie.tar", lambda: iter((tar_header("a.jpg", 1 << 60),)), shard),
        Giant("many members.tar", lambda: _members(199_000), shard),
        Giant("many samples.tar", lambda: _members(399_000, (".jpg",)), labelled_shard),
        Giant("labelled members.tar", lambda: _members(199_000, (".jpg", ".cls")), labelled_shard),
        Giant("a million members.tar", lambda: _members(500_000), shard),
        Giant("millions of rows.csv", lambda: repeated(_HEAD, ROW, 2_400_000, b""), images),
        Giant("rows of nothing.parquet", lambda: _rows(50_000_000), labelled_shard),
        Giant("row groups.parquet", lambda: _each(49_000), table),
        Giant("columns.parquet", lambda: _wide(250, 250), table),
        Giant("wide.parquet", lambda: _wide(49_000, 1), table),
        Giant("empty lists.parquet", lambda: _each(60, NOTES[:1] + listed(9, [b"\x0c"] * 49_000)),
              table),
        Giant("paths.parquet", lambda: parquet_file(
            [b"image"], [group([column(path=listed(8, [b"\0"] * 49_000))])] * 80), table),
        Giant("notes.parquet", lambda: _each(20, NOTES + listed(12, [NOTE] * 30_000)), table),
        Giant("a graph.parquet", lambda: _arrow(10, 5, 60_000), table),
        Giant("a large graph.parquet", lambda: _arrow(10, 7, 2_000_000), table),
    )
}  # fmt: skip
SLOW = (
    "many members.tar", "many samples.tar", "labelled members.tar", "a million members.tar",
    "millions of rows.csv", "row groups.parquet", "wide.parquet", "empty lists.parquet",
    "paths.parquet",
)  # fmt: skip
GOOD = ("rows.csv", "many samples.tar", "millions of rows.csv")
"""What is large and can be used."""


def ask(giant: Giant, path: Path) -> str:
    """What comes of one: an ``answer``, ``taken``, or what was raised."""
    try:
        giant.open(path)
    except InputError as error:
        check_sentence(error)
        return f"answer {error.sentence[:200]}"
    return "taken"


def main(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.png").write_bytes(_png())
    (folder / "first.csv").write_bytes(_HEAD + b"a.png,b\n")
    images(folder / "first.csv")  # all is loaded
    for name in names or [name for name in GIANTS if name not in SLOW]:
        giant = GIANTS[name]
        path = folder / name
        with path.open("wb") as file:
            file.writelines(giant.pieces())
            if giant.sparse:
                file.truncate(giant.sparse)
        clear_peak()
        idle, start = peak(), time.perf_counter()
        try:
            outcome = ask(giant, path)
        except BaseException as error:
            outcome = f"{type(error).__name__} {str(error)[:200]}"
        seconds = round(time.perf_counter() - start, 2)
        row = {"giant": name, "size": path.stat().st_size, "outcome": outcome, "seconds": seconds}
        print(json.dumps(row | {"megabytes": peak() - idle}), flush=True)
        path.unlink()


def _png() -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (2, 2)).save(out, "PNG")
    return out.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
