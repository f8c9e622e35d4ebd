"""Random bytes and changed files: an answer in time, and no reader understands more than ours.

`python -m tests.hostile.fuzz` does the same for as long as one likes.
"""

from __future__ import annotations

import json
import random
import struct
import zipfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.archives import Entry, archive, entries, legacy, raw_zip, records, torch_zip
from tests.hostile.container_bytes import safetensors, small_onnx
from tests.hostile.gguf_lies import BLOCKS, gguf
from tests.hostile.mutate import NUMBERS, PIECES, mutated, reordered, repacked
from tests.hostile.ops import checkpoint, pickled
from tests.hostile.properties import CHECKS, check_file, check_pickle, check_safetensors, check_zip

EXAMPLES = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
SEEDS = {
    "pickle": [records()["data.pkl"], pickled(checkpoint(), 2)],
    "zip": [torch_zip(), raw_zip(entries())],
    "safetensors": [safetensors(bytes(8), "note")],
    "gguf": [gguf(), BLOCKS],
    "onnx": [small_onnx()],
    "file": [small_onnx(), *(torch_zip(), legacy(), safetensors(bytes(8)), BLOCKS),
        archive(records(), method=zipfile.ZIP_DEFLATED)],
}  # fmt: skip


@EXAMPLES
@given(
    st.lists(st.sampled_from(PIECES), max_size=25), st.sampled_from([b"", b"\x80\x02", b"\x80\x04"])
)
def test_opcodes_in_any_order(pieces: list[bytes], mark: bytes) -> None:
    check_pickle(mark + b"".join(pieces) + b".")


small = st.integers(0, 3) | st.sampled_from(NUMBERS).map(lambda n: n & 0xFFFF)
wide = st.none() | st.integers(0, 100) | st.sampled_from(NUMBERS).map(lambda n: n & 0xFFFFFFFF)
entry = st.builds(
    Entry,
    name=st.sampled_from([b"m/a", b"m/A", b"m/", b"m/b", b"m//a", b"m/./a", b"a", b"\xff", b""]),
    data=st.binary(max_size=20),
    flags=st.sampled_from([0, 0, 0, 1, 8, 1 << 11, 0x2000]),
    method=st.sampled_from([0, 0, 0, 8, 12]),
    crc=st.sampled_from([None, None, None, 0, 7]),
    packed=st.none() | wide,
    size=st.none() | wide,
    mode=st.sampled_from([0, 0, 0o100644, 0o40755, 0o120777]),
    extra=st.sampled_from([b"", b"", b"\x01\x00\x00\x00", b"\x01\x00\x08\x00" + bytes(8)]),
    local_name=st.sampled_from([None, None, b"m/a"]),
    local_flags=st.sampled_from([None, None, 0, 8]),
    local_size=st.none() | wide,
    local_extra=st.sampled_from([b"", b"", b"FB\x04\x00ZZZZ"]),
    descriptor=st.sampled_from([b"", b"", b"PK\x07\x08" + bytes(12)]),
    needed=st.sampled_from([20, 20, 45, 100]),
    listed=st.sampled_from([True, True, True, False]),
    header=st.sampled_from([None, None, None, 0]),
)


@EXAMPLES
@given(
    st.lists(entry, max_size=4),
    st.sampled_from([{}, {}, {"gap": b"x"}, {"after": b"x"}, {"before": b"x"}, {"comment": b"x"}]),
    st.dictionaries(st.sampled_from(["count", "length", "start"]), st.integers(0, 300), max_size=1),
)
def test_archives_of_any_headers(members, around, end):
    check_zip(raw_zip(members, end=end, **around))


value = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.sampled_from([0.5, "F32", 1 << 64]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
tensor = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F32", "U8", "F64", "BOOL", "F33"]) | value,
        "shape": st.lists(st.integers(0, 3), max_size=3) | value,
        "data_offsets": st.tuples(st.integers(0, 24), st.integers(0, 24)).map(list) | value,
    }
)


@EXAMPLES
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "__metadata__", ""]), tensor | value, max_size=3
    ),
    st.binary(max_size=24),
    st.integers(-1, 1),
)
def test_safetensors_of_any_header(header: dict[str, Any], data: bytes, off: int) -> None:
    raw = json.dumps(header).encode()
    check_safetensors(struct.pack("<Q", max(0, len(raw) + off)) + raw + data)


@pytest.mark.parametrize("kind", sorted(CHECKS))
def test_changed_files(kind: str) -> None:
    draw = random.Random(5)
    accepted = 0
    for _ in range(2000):
        begun = draw.choice(SEEDS[kind])
        if kind == "pickle" and draw.random() < 0.5:
            raw = reordered(begun, draw)
        elif kind == "file" and draw.random() < 0.5:
            raw = repacked(begun, draw, SEEDS["pickle"])
        else:
            raw = mutated(begun, draw, SEEDS[kind])
        accepted += CHECKS[kind](raw)
    assert accepted  # the changes leave some files whole, so what is asked of those is asked


@EXAMPLES
@given(st.binary(max_size=600))
def test_any_bytes(raw: bytes) -> None:
    check_file(raw)
    check_file(b"PK\x03\x04" + raw)
    check_file(b"\x80\x02" + raw)
    check_file(b"GGUF\x03\0\0\0" + raw)
