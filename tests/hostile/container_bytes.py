"""Bytes of containers, among them those of two formats at once, for `container_tricks`."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from tests.hostile.archives import legacy, records, torch_zip
from tests.hostile.ops import checkpoint, pickled, plain, text
from tests.hostile.pickle_tricks import mkdir
from tests.hostile.torchscript_tricks import acting_script, script_records


def live_records(canary: Path) -> dict[str, bytes]:
    return records(mkdir(canary))


def packed_member(record: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in records().items():
            made.writestr(zipfile.ZipInfo(f"m/{name}"), content)
        made.writestr(zipfile.ZipInfo(f"m/{record}"), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def two_members(name: str, data: bytes, first: bool) -> dict[str, bytes]:
    return {name: data} | records() if first else records() | {name: data}


def stream_tar(canary: Path, more: dict[str, bytes] | None = None, renamed: str = "") -> bytes:
    """The layout of torch 0.1.1: a tar whose pickles are loaded one by one.

    ``renamed``: the member has this name in its header, its own in an extra header.
    """
    members = {
        "sys_info": pickled(plain({"protocol_version": 1000, "little_endian": True}), 2),
        "pickle": pickled(checkpoint(), 2),
        renamed or "storages": pickled(mkdir(canary), 2),
        "tensors": pickled(plain(0), 2),
    }
    return tar_of((more or {}) | members, names={renamed: {"path": "storages"}})


def pax_tar(canary: Path, changes: dict[str, str]) -> bytes:
    return tar_of({"m.pt": torch_zip(mkdir(canary))}, names={"m.pt": changes})


def tar_of(members, mode="w", names=None):
    """A tar; ``names`` holds extra headers of members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=tarfile.USTAR_FORMAT) as made:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if changes := (names or {}).get(name):
                records = b""
                for key, value in changes.items():
                    line = f" {key}={value}\n".encode()
                    records += b"%d" % (len(line) + 2) + line
                extra = tarfile.TarInfo("pax")
                extra.type, extra.size = tarfile.XHDTYPE, len(records)
                made.addfile(extra, io.BytesIO(records))
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


def old_tar(canary: Path) -> bytes:
    """The same without the mark that newer tar files carry."""
    raw = bytearray(stream_tar(canary))
    for start in range(0, len(raw), 512):
        if raw[start + 257 : start + 262] == b"ustar":
            raw[start + 257 : start + 265] = bytes(8)
            raw[start : start + 512] = with_sum(raw[start : start + 512])
    return bytes(raw)


def with_sum(block: bytes | bytearray) -> bytes:
    made = bytearray(block)
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def stream_and_tar(canary: Path) -> bytes:
    """A harmless legacy stream whose first block is also the header of a tar.

    torch.load tries tar first. A text in the pickle of the machine covers the header's fields,
    the one storage is the rest of the tar.
    """
    tar = old_tar(canary)
    rest = tar + bytes(-len(tar) % 4)
    ahead = 1536  # bytes before the real tar: our pickles, which the tar takes for one member
    begin = legacy(machine=b"", value=b"", keys=b"", data=b"")
    begin += b"\x80\x02}(" + text("little_endian") + b"\x88" + text("x")
    value = checkpoint().replace(plain(4) + b"tQ", plain(len(rest) // 4) + b"tQ")
    after = pickled(value, 2) + pickled(plain(["0"]), 2) + struct.pack("<q", len(rest) // 4)
    length = ahead - len(begin) - 5 - 2 - len(after)
    raw = bytearray(begin + b"X" + struct.pack("<I", length) + bytes(length) + b"u." + after)
    for place, number in ((100, 0o644), (108, 0), (116, 0), (136, 0)):
        raw[place : place + 8] = b"%07o\0" % number
    raw[124:136] = b"%011o\0" % (ahead - 512)
    raw[136:148] = b"%011o\0" % 0
    raw[156:157] = b"0"
    raw[:512] = with_sum(raw[:512])
    return bytes(raw) + rest


def safetensors(data: bytes, metadata: str = "") -> bytes:
    """One tensor of bytes."""
    header = {"a": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}
    if metadata:
        header["__metadata__"] = {"note": metadata}  # type: ignore[assignment]
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw + data


def shifted_zip(members: dict[str, bytes], start: int) -> bytes:
    """A zip whose offsets count from ``start`` bytes before it."""
    out = io.BytesIO()
    out.write(bytes(start))
    with zipfile.ZipFile(out, "a") as made:
        for name, data in members.items():
            made.writestr(zipfile.ZipInfo(f"m/{name}"), data)
    return out.getvalue()[start:]


def safetensors_and_zip(canary: Path) -> bytes:
    """A safetensors file whose tensor is a whole TorchScript archive."""
    members = script_records(acting_script(canary))
    size = len(shifted_zip(members, 200))
    start = len(safetensors(bytes(size))) - size
    return safetensors(shifted_zip(members, start))


def safetensors_and_tar(canary: Path) -> bytes:
    """A safetensors file whose header is also the header of a tar."""
    tar = old_tar(canary)
    begin = b'{"__metadata__":{"note":"'
    end = b'"},"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(tar), len(tar))
    raw = bytearray(begin + b" " * (1024 - 8 - len(begin) - len(end)) + end)
    raw[:0] = struct.pack("<Q", len(raw))
    for place in (100, 108, 116):
        raw[place : place + 8] = b" 000644 "
    raw[124:136] = b" 0000001000 "  # 512 in octal
    raw[136:148] = b" 0000000000 "
    raw[156:157] = b"0"
    raw[148:156] = b" " * 8
    raw[148:156] = b" %06o " % sum(raw[:512])
    return bytes(raw) + tar


def legacy_and_zip(canary: Path) -> bytes:
    """A legacy stream whose last storage is an archive."""

    def stream(numbers: bytes) -> bytes:
        value = checkpoint().replace(plain(4) + b"tQ", plain(len(numbers) // 4) + b"tQ")
        return legacy(pickled(value, 2), data=struct.pack("<q", len(numbers) // 4) + numbers)

    members = script_records(acting_script(canary))
    size = len(shifted_zip(members, 1000))
    start = len(stream(bytes(size + -size % 4))) - size
    return stream(bytes(-size % 4) + shifted_zip(members, start))


def small_onnx() -> bytes:
    """A model of a few nodes with tensors of each kind, a branch and a function."""
    number = onnx.TensorProto.FLOAT
    kinds = [
        helper.make_tensor("raw", number, [2, 2], np.ones(4, "<f4").tobytes(), raw=True),
        helper.make_tensor("listed", number, [2], [0.5, 2.0]),
        helper.make_tensor("sizes", onnx.TensorProto.INT64, [2], [-1, 2]),
        helper.make_tensor("halves", onnx.TensorProto.FLOAT16, [1], [0.5]),
    ]
    value = helper.make_tensor_value_info("deep", number, [None, 2])
    branch = helper.make_graph([helper.make_node("Neg", ["y"], ["deep"])], "branch", [], [value])
    nodes = [
        helper.make_node("Constant", [], ["c"], "constant", value=kinds[1]),
        helper.make_node("MatMul", ["x", "raw"], ["y"], "/part/MatMul"),
        helper.make_node("Add", ["y", "listed"], ["z"], "/part/Add"),
        helper.make_node("If", ["x"], ["w"], then_branch=branch, else_branch=branch),
    ]
    given = helper.make_tensor_value_info("x", number, ["batch", 2])
    graph = helper.make_graph(nodes, "graph", [given], [helper.make_empty_tensor_value_info("z")],
        initializer=kinds)  # fmt: skip
    opset = helper.make_opsetid("", 17)
    function = helper.make_function("own", "f", ["a"], ["b"],
        [helper.make_node("Identity", ["a"], ["b"])], [opset])  # fmt: skip
    model = helper.make_model(graph, functions=[function], opset_imports=[opset])
    return model.SerializeToString()
