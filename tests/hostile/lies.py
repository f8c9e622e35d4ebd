"""Tensors that are not where, what or as large as they say; safetensors headers that lie."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from tests.hostile.archives import NUMBERS, archive, legacy, records
from tests.hostile.item import Expected, Item
from tests.hostile.ops import Raw, named, pickled, plain, storage, tensor, text

BIG = 1 << 47

TENSORS: dict[str, tuple[bytes, Expected]] = {
    "an offset beyond": (tensor(offset=1), "damaged"),
    "an offset far beyond": (tensor(offset=1 << 60), "damaged"),
    "an offset below zero": (tensor(offset=-1, shape=(1,)), "damaged"),
    "an offset of 2^64": (tensor(offset=1 << 64, shape=(1,)), "damaged"),
    "an offset that is a bool": (tensor(offset=True, shape=(1,)), "damaged"),
    "an offset that is a text": (tensor(offset="0"), "damaged"),
    "an offset that is a float": (tensor(offset=0.0), "damaged"),
    "a shape beyond": (tensor(shape=(5,)), "damaged"),
    "a shape far beyond": (tensor(shape=(BIG,)), "damaged"),
    "a shape that overflows": (tensor(shape=(1 << 32, 1 << 32), stride=(0, 0)), "damaged"),
    "a shape that overflows to one": (tensor(shape=((1 << 47) + 1,) * 2, stride=(0, 0)), "damaged"),
    "a shape below zero": (tensor(shape=(-4,)), "damaged"),
    "a shape twice below zero": (tensor(shape=(-2, -2), stride=(1, 1)), "damaged"),
    "a shape of bools": (tensor(shape=(True, True), stride=(1, 1)), "damaged"),
    "a shape of floats": (tensor(shape=(4.0,)), "damaged"),
    "a shape that is a list": (tensor(shape=[4]), "damaged"),
    "a shape that is a number": (tensor(shape=4), "damaged"),
    "rank 17": (tensor(shape=(1,) * 17, stride=(1,) * 17), "damaged"),
    "rank 5000": (tensor(shape=(1,) * 5000, stride=(1,) * 5000), "damaged"),
    "a stride beyond": (tensor(shape=(2, 2), stride=(3, 1)), "damaged"),
    "a stride far beyond": (tensor(shape=(2,), stride=(1 << 46,)), "damaged"),
    "a stride that overflows": (tensor(shape=(3,), stride=((1 << 63) - 1,)), "damaged"),
    "a stride below zero": (tensor(offset=3, shape=(4,), stride=(-1,)), "damaged"),
    "fewer strides": (tensor(shape=(2, 2), stride=(1,)), "damaged"),
    "more strides": (tensor(shape=(4,), stride=(1, 1)), "damaged"),
    "repeated a billion times": (tensor(shape=(1 << 40,), stride=(0,)), "damaged"),
    "repeated in windows": (tensor(shape=(1 << 40, 4), stride=(0, 1)), "damaged"),
    "nothing of huge sides": (tensor(shape=(BIG, BIG, 0), stride=(1, 1, 1)), "damaged"),
    "nothing of many huge sides": (tensor(shape=(0, *[BIG] * 15), stride=(1,) * 16), "damaged"),
    "nothing far beyond": (tensor(offset=9, shape=(0,)), "damaged"),
    "more elements than bytes": (tensor(elements=5), "damaged"),
    "fewer elements than bytes": (tensor(elements=3, shape=(3,)), "damaged"),
    "elements below zero": (tensor(elements=-4), "damaged"),
    "elements of 2^62": (tensor(elements=1 << 62), "damaged"),
    "another type": (tensor(kind="DoubleStorage"), "damaged"),
    "a type that is none": (tensor(kind="OrderedDict"), "refused"),
    "a key that leads out": (tensor(key="../../0"), "damaged"),
    "a key that is missing": (tensor(key="7"), "damaged"),
    "a key that is a number of another script": (tensor(key="٠"), "damaged"),
    "a key that is very long": (tensor(key="0" * 3000), "damaged"),
    "two types of one storage": (
        plain({"a": Raw(tensor()), "b": Raw(tensor(kind="IntStorage"))}),
        "damaged",
    ),
    "two sizes of one storage": (
        plain({"a": Raw(tensor()), "b": Raw(tensor(elements=2, shape=(2,)))}),
        "damaged",
    ),
    "two tensors of one name": (
        plain({"a": {"b": Raw(tensor())}, "a.b": Raw(tensor())}),
        "damaged",
    ),
    "a key twice": (b"}(" + (text("a") + tensor()) * 2 + b"u", "damaged"),
    "a name of a million letters": (plain({"x" * 1_000_000: Raw(tensor())}), "damaged"),
    "a name of control characters": (plain({"\x1b[2J\u202e\r\n": Raw(tensor())}), "inert"),
    "a name that is HTML": (plain({"<img src=x onerror=alert(1)>": Raw(tensor())}), "inert"),
    "a name that is a formula": (plain({"=cmd|'/c calc'!A1": Raw(tensor())}), "inert"),
    "a view of a storage": (
        tensor().replace(text("cpu") + plain(4), text("cpu") + plain(4) + plain(("1", 0, 4))),
        "damaged",
    ),
    "a storage and no tensor": (plain({"a": Raw(storage())}), "damaged"),
    "a storage as a tensor's shape": (
        tensor().replace(plain((4,)) + plain((1,)), storage() * 2),
        "damaged",
    ),
    "a tensor without a shape": (
        named("torch._utils", "_rebuild_tensor_v2") + plain((Raw(storage()),)) + b"R",
        "damaged",
    ),
    "a tensor of nothing": (named("torch._utils", "_rebuild_tensor_v2") + b")R", "damaged"),
    "a sparse tensor that lies": (
        named("torch._utils", "_rebuild_sparse_tensor")
        + b"("
        + named("torch", "sparse_coo")
        + plain((Raw(tensor(kind="LongStorage")), Raw(tensor()), (1, 1)))
        + b"tR",
        "damaged",
    ),
    "a quantised tensor": (
        named("torch._utils", "_rebuild_qtensor") + plain((Raw(storage()), 0, (4,), (1,))) + b"R",
        "damaged",
    ),
    "a device of another machine": (tensor().replace(text("cpu"), text("cuda:99")), "inert"),
    "a device of a long text": (tensor().replace(text("cpu"), text("x" * 500)), "damaged"),
    "no tensors": (plain({"a": 1}), "damaged"),
}

STORAGES: dict[str, dict[str, bytes | None]] = {
    "a storage that is missing": {"data/0": None},
    "a storage that is short": {"data/0": NUMBERS[:12]},
    "a storage that is long": {"data/0": NUMBERS + bytes(4)},
    "a storage that is empty": {"data/0": b""},
    "another byte order": {"byteorder": b"big"},
    "a byte order that is none": {"byteorder": b"x" * 100},
    "another byte order in another case": {"byteorder": None, "ByteOrder": b"big"},
    "a version that is text": {"version": b"3;rm"},
    "a version that is nothing": {"version": b""},
    "an alignment that is text": {".storage_alignment": b"6X"},
    "a format version of a megabyte": {".format_version": b"1" * (1 << 20)},
    "no pickle": {"data.pkl": None},
    "a pickle that is empty": {"data.pkl": b""},
    "a pickle that is cut": {"data.pkl": pickled(tensor())[:-20]},
    "a pickle that is text": {"data.pkl": b"hello"},
}


def lies() -> Iterator[Item]:
    for name, (ops, expect) in TENSORS.items():
        top = ops if ops.startswith(b"}") else plain({"a": Raw(ops)})
        yield Item(
            f"tensor/{name}", lambda c, o=top: archive(records() | {"data.pkl": pickled(o)}), expect
        )
        if "name" not in name:
            yield Item(f"tensor-legacy/{name}", lambda c, o=top: legacy(pickled(o, 2)), expect)
    for name, changes in STORAGES.items():
        yield Item(f"storage/{name}", lambda c, ch=changes: archive(_changed(ch)), "damaged")
    yield from _shared()
    for name, raw in SAFETENSORS.items():
        yield Item(f"safetensors/{name}", lambda c, r=raw: r, "damaged", ending=".safetensors")


def _changed(changes: dict[str, bytes | None]) -> dict[str, bytes]:
    made = records()
    for name, data in changes.items():
        if data is None:
            del made[name]
        else:
            made[name] = data
    return made


def _shared() -> Iterator[Item]:
    """One megabyte under 20 000 names would be 20 GB in memory."""
    elements = 1 << 18
    one = tensor(elements=elements, shape=(elements,))

    def many(canary: Any) -> bytes:
        ops = [one, b"\x940}("]
        ops += [text(str(number)) + b"h\x00" for number in range(20_000)]
        data = {"data.pkl": pickled(b"".join([*ops, b"u"])), "data/0": bytes(4 * elements)}
        return archive(records() | data)

    yield Item("storage/shared by 20 000 tensors", many, "damaged")

    def apart(canary: Any) -> bytes:
        ops = [b"}("]
        for number in range(3_000):
            ops.append(
                text(str(number)) + tensor(elements=elements, offset=number, shape=(200_000,))
            )
        data = {"data.pkl": pickled(b"".join([*ops, b"u"])), "data/0": bytes(4 * elements)}
        return archive(records() | data)

    yield Item("storage/3 000 views that overlap", apart, "damaged")


def header(raw: bytes | Any, data: bytes = b"") -> bytes:
    made = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    return struct.pack("<Q", len(made)) + made + data


def entry(shape: Any, begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


ONE = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
FOUR = bytes(4)
SAFETENSORS: dict[str, bytes] = {
    "a length of 2^64": struct.pack("<Q", (1 << 64) - 1) + b'{"a":1}' + FOUR,
    "a length of 2^39": struct.pack("<Q", 1 << 39) + b'{"a":1}' + FOUR,
    "a length beyond the file": struct.pack("<Q", 500) + b'{"a":1}' + FOUR,
    "a length of nothing": struct.pack("<Q", 0) + b"{" + FOUR,
    "a length that is short": struct.pack("<Q", 10) + b'{"a":' + ONE + b"}" + FOUR,
    "a name twice": header(b'{"a":' + ONE + b',"a":' + ONE + b"}", FOUR),
    "a name twice by an escape": header(b'{"a":' + ONE + b',"\\u0061":' + ONE + b"}", FOUR),
    "a field twice": header(b'{"a":{"dtype":"F64",' + ONE[1:] + b"}", FOUR),
    "metadata twice": header(
        b'{"__metadata__":{},"a":' + ONE + b',"__metadata__":{"x":"y"}}', FOUR
    ),
    "metadata of numbers": header({"__metadata__": {"a": 1}, "a": entry([1], 0, 4)}, FOUR),
    "metadata of tables": header({"__metadata__": {"a": {"b": "c"}}}, b""),
    "metadata that is a list": header({"__metadata__": ["a"], "a": entry([1], 0, 4)}, FOUR),
    "a field that is unknown": header({"a": entry([1], 0, 4) | {"code": "x"}}, FOUR),
    "a field that is missing": header({"a": {"dtype": "F32", "shape": [1]}}, FOUR),
    "a gap": header({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)),
    "a gap before the first": header({"a": entry([1], 4, 8)}, bytes(8)),
    "an overlap": header({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
    "the same bytes twice": header({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, FOUR),
    "bytes after the last": header({"a": entry([1], 0, 4)}, bytes(5)),
    "cut short": header({"a": entry([2], 0, 8)}, bytes(7)),
    "offsets that are turned": header({"a": entry([1], 4, 0)}, FOUR),
    "offsets below zero": header({"a": entry([1], -4, 0)}, FOUR),
    "offsets that are floats": header({"a": entry([1], 0.0, 4.0)}, FOUR),
    "offsets that are bools": header({"a": entry([], False, True, "U8")}, b"x"),
    "offsets of 2^70": header({"a": entry([1], 1 << 70, (1 << 70) + 4)}, FOUR),
    "three offsets": header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2, 4]}}, FOUR),
    "a shape that does not fit": header({"a": entry([3], 0, 4)}, FOUR),
    "a shape below zero": header({"a": entry([-1, -1], 0, 4)}, FOUR),
    "a shape that overflows": header({"a": entry([1 << 32, 1 << 32], 0, 0)}, b""),
    "a shape of bools": header({"a": entry([True], 0, 4)}, FOUR),
    "a shape of texts": header({"a": entry(["1"], 0, 4)}, FOUR),
    "nothing of huge sides": header({"a": entry([BIG, BIG, 0], 0, 0)}, b""),
    "rank 17": header({"a": entry([1] * 17, 0, 4)}, FOUR),
    "a type that is unknown": header({"a": entry([1], 0, 4, "F33")}, FOUR),
    "a type that is a list": header({"a": entry([1], 0, 4, ["F32"])}, FOUR),
    "a tensor that is a list": header({"a": [1, 2, 3]}, FOUR),
    "a name of nothing": header({"": entry([1], 0, 4)}, FOUR),
    "a name of 2 000 letters": header({"x" * 2000: entry([1], 0, 4)}, FOUR),
    "NaN": header(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', FOUR),
    "Infinity": header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,Infinity]}}', FOUR),
    "a number of 5 000 digits": header(
        b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}', FOUR
    ),
    "a number of 1e999": header(
        b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', FOUR
    ),
    "deep lists": header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "deep tables": header(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "not closed": header(b'{"a":' + ONE, FOUR),
    "text after it": header(b'{"a":' + ONE + b"} {}", FOUR),
    "a comment in it": header(b'{/* x */"a":' + ONE + b"}", FOUR),
    "a list": header(b"[1,2]   ", FOUR),
    "a byte order mark": header(b'\xef\xbb\xbf{"a":' + ONE + b"}", FOUR),
    "UTF-16": header('{"a":1}'.encode("utf-16"), FOUR),
    "bytes that are no text": header(b'{"\xff\xfe":' + ONE + b"}", FOUR),
    "half a surrogate": header(b'{"\\ud800":' + ONE + b"}", FOUR),
    "a NUL in it": header(b'{"a":' + ONE + b"}\0\0\0", FOUR),
    "no tensors": header({"__metadata__": {"a": "b"}}),
    "200 000 tensors": header(
        b"{" + b",".join(b'"%d":' % n + ONE for n in range(200_000)) + b"}", FOUR
    ),
    "a million keys": header(
        b'{"__metadata__":{'
        + b",".join(b'"%d":""' % n for n in range(1_000_000))
        + b'},"a":'
        + ONE
        + b',"b":[]}',
        FOUR,
    ),
    "ten million lists": header(b'{"a":[' + b"[]," * 10_000_000 + b"[]]}"),
    "ten million numbers": header(b'{"a":[' + b"1," * 10_000_000 + b"1]}"),
    "a text of 30 megabytes": header(b'{"a":"' + b"x" * (30 << 20) + b'"}'),
}
