"""Files far too large for a door: ``python -m tests.hostile.door_giants FOLDER [DOOR...]``.

Every door reads each of them in this process, whose memory may grow by 300 MB. Printed is a line of
JSON for each: what came of it, in how many seconds, and by how much memory had grown at most.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path

from tests.hostile.doors import Door, doors

MEGABYTES = 300
_PIECE = 1 << 20
_STANDING = '{"value":1,"rank":1,"share":0.5}'


def repeated(start: bytes, one: bytes, count: int, end: bytes) -> Iterator[bytes]:
    """Text that repeats, in pieces of about a megabyte."""
    at_once = max(1, _PIECE // len(one))
    yield start
    for _ in range(count // at_once):
        yield one * at_once
    yield one * (count % at_once)
    yield end


def _numbered(start: bytes, one: str, count: int, end: bytes) -> Iterator[bytes]:
    """As `repeated`, with a number in each."""
    yield start
    for first in range(0, count, 10_000):
        numbers = range(first, min(count, first + 10_000))
        yield "".join(one.replace("%", str(number)) for number in numbers).encode()
    yield end


def _pairs() -> Iterator[bytes]:
    names = ("dao", "slof", "k_distance", "lid", "closeness", "isolation", "clip_score")
    standings = ",".join(f'"{name}":{_STANDING}' for name in names)
    one = (
        '{"index":%,"member":"' + "a" * 64 + '","name":"","caption":"","evaluated":false,'
        '"size":null,"standings":{' + standings + "}},"
    )
    return _numbered(b'{"pairs":[', one, 25_000, b"{}]}")


GIANTS: dict[str, Callable[[], Iterator[bytes]]] = {
    "deep": lambda: iter((b'{"a":' + b"[" * 100_000,)),
    "deep objects": lambda: repeated(b"", b'{"a":', 100_000, b""),
    "a million keys": lambda: _numbered(b"{", '"k%":%,', 1_000_000, b'"z":0}'),
    "a million objects": lambda: repeated(b'{"a":[', b'{"a":1},', 1_000_000, b"{}]}"),
    "a million lists": lambda: repeated(b'{"a":[', b"[],", 1_200_000, b"[]]}"),
    "a wide text": lambda: chain((b'{"a":"',),
        repeated("\U0001f600".encode(), b"a", 15_000_000, b'"}')),
    "a text of 60 MB": lambda: repeated(b'{"a":"', b"a", 60_000_000, b'"}'),
    "lines": lambda: repeated(b"", b"a\n", 4_000_000, b""),
    "NULs": lambda: repeated(b"", b"\0", 3_000_000, b""),
    "no UTF-8": lambda: repeated(b"\xff\xfe", b"{\0", 3_000_000, b""),
    "a line of events": lambda: repeated(b'{"event": "metric", "a": [', b"0,", 9_000_000, b"0]}"),
    "many events": lambda: _numbered(b"",
        '{"event": "metric", "step": %, "total_steps": 9, "values": {"ca": 1}}\n', 60_000, b""),
    "audited pairs": _pairs,
    "excluded pairs": lambda: _numbered(b'{"pairs":[', '{"identity":"' + "a" * 54 + '%"},', 10,
        b"{}]}"),
    "many excluded pairs": lambda: repeated(b'{"pairs":[', b'{"identity":"' + b"a" * 64 + b'"},',
        160_000, b"{}]}"),
    "classes": lambda: repeated(b'{"classes":[', b"'a',", 900_000, b"]}"),
    "sums": lambda: repeated(b'{"classes":[', b"1+", 900_000, b"1]}"),
    "signs": lambda: repeated(b'{"classes":[', b"-", 900_000, b"1]}"),
    "brackets": lambda: repeated(b'{"classes":', b"(", 4_000_000, b""),
    "images": lambda: repeated(b'{"x":[', b"[1],", 300_000, b'], "images":[]}'),
}  # fmt: skip
SPARSE = "a sparse terabyte"


def write(folder: Path) -> dict[str, Path]:
    """All of them as files, none taking much room."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Path] = {}
    for number, (name, pieces) in enumerate(GIANTS.items()):
        made[name] = folder / f"{number}"
        with made[name].open("wb") as file:
            file.writelines(pieces())
    made[SPARSE] = folder / "sparse"
    with made[SPARSE].open("wb") as file:
        file.truncate(1 << 40)
    return made


def concerned(door: Door) -> Iterator[str]:
    """The giants that a door is shown: those read in pieces see all, wrapped texts the small."""
    wanted = GIANTS if door.wrap is bytes else ("deep", "deep objects", "NULs")
    yield from wanted
    if door.wrap is bytes:
        yield SPARSE


def ask(door: Door, folder: Path, giant: Path) -> str:
    """What comes of one: ``answer`` (or it was passed over), or what was raised."""
    place = folder / door.file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    if door.wrap is bytes:
        os.link(giant, place)
    else:
        place.write_bytes(door.wrap(giant.read_bytes()))
    try:
        taken = door.ask(folder)
    except BaseException as error:
        return f"{type(error).__name__} {str(error)[:200]}"
    finally:
        place.unlink()
    return "taken" if taken and not door.quiet else "answer"


def _virtual() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main(folder: Path, names: list[str]) -> None:
    logging.disable(logging.CRITICAL)
    giants = write(folder / "giants")
    for number, (name, door) in enumerate(doors().items()):
        if door.inner or (names and name not in names):
            continue
        own = folder / f"door-{number}"
        own.mkdir()
        door.before(own)
        for document in islice(chain(door.documents, repeat(b"{}")), 3):  # all is loaded
            door.lay(own, document)
            door.ask(own)
        limit = _virtual() + (MEGABYTES << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        for giant in concerned(door):
            clear_peak()
            idle, start = peak(), time.perf_counter()
            outcome = ask(door, own, giants[giant])
            seconds = time.perf_counter() - start
            row = {"door": name, "giant": giant, "outcome": outcome, "seconds": round(seconds, 2)}
            print(json.dumps(row | {"megabytes": peak() - idle}), flush=True)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)


def clear_peak() -> None:
    """Let `peak` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Most megabytes in memory at once."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
