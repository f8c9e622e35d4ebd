"""Payloads in every pickle of an archive, in containers of all kinds, in files that are two."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.archives import (
    NUMBERS,
    archive,
    legacy,
    records,
    torch_zip,
)
from tests.hostile.gadgets import statement
from tests.hostile.item import Expected, Item
from tests.hostile.ops import checkpoint, named, pickled, plain, text
from tests.hostile.pickle_tricks import mkdir
from tests.hostile.torchscript_tricks import acting_script, script_records

Make = Callable[[Path], bytes]

RECORDS = (
    "constants.pkl",
    "traced_inputs.pkl",
    "attributes.pkl",
    "bytecode.pkl",
    "code/__torch__.py.debug_pkl",
    "code/__torch__/a/b.py.debug_pkl",
    "debug/x.debug_pkl",
    "extra/producer_info.json",
    "extra/notes",
    "extra/model.pickle",
    "sub/data.pkl",
    "sub/DATA.PKL",
    "data/data.pkl",
    "data/0.pkl",
    "data/payload",
    "data/00x",
    ".data/serialization_id",
    ".data/more",
    "preload.bin",
    "optimizer.pt",
    "x.PKL",
    "x.Pickle",
    "x.dat",
    "x.joblib",
)


def _mark_less(canary: Path) -> bytes:
    """A payload of protocol 0, whose first byte tells nothing."""
    return b"cos\nmkdir\n(V" + str(canary).encode() + b"\ntR."


def record_items() -> Iterator[Item]:
    for record in RECORDS:
        yield Item(
            f"record/{record} marked",
            lambda c, r=record: archive(records() | {r: pickled(mkdir(c), 2)}),
        )
        yield Item(
            f"record/{record} without a mark",
            lambda c, r=record: archive(records() | {r: _mark_less(c)}),
        )
        yield Item(
            f"record/{record} packed",
            lambda c, r=record: _packed(r, _mark_less(c)),
        )
    for name in ("Data.pkl", "DATA.PKL", "data.Pkl"):
        # PyTorch looks names up without regard to case.
        yield Item(
            f"record/only {name}",
            lambda c, n=name: archive(
                {n if key == "data.pkl" else key: data for key, data in _live(c).items()}
            ),
            live="torch",
        )
        for first in (True, False):
            yield Item(
                f"record/{name} {'before' if first else 'after'} data.pkl",
                lambda c, n=name, f=first: archive(_two(n, _mark_less(c), f)),
                "refused",
                "torch" if first else "",
            )
    yield Item(
        "record/the pickle is packed",
        lambda c: archive(_live(c), method=zipfile.ZIP_DEFLATED),
        live="torch",
    )
    yield Item(
        "record/storages that are pickles",
        lambda c: archive(records() | {"data/0": pickled(mkdir(c))[:16]}),
        "inert",
    )


def _live(canary: Path) -> dict[str, bytes]:
    return records(mkdir(canary))


def _packed(record: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in records().items():
            made.writestr(zipfile.ZipInfo(f"m/{name}"), content)
        made.writestr(zipfile.ZipInfo(f"m/{record}"), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _two(name: str, data: bytes, first: bool) -> dict[str, bytes]:
    return {name: data} | records() if first else records() | {name: data}


def _stream_tar(canary: Path, more: dict[str, bytes] | None = None, renamed: str = "") -> bytes:
    """The layout of torch 0.1.1: a tar whose pickles are loaded one by one.

    ``renamed``: the member has this name in its header, its own in an extra header.
    """
    members = {
        "sys_info": pickled(plain({"protocol_version": 1000, "little_endian": True}), 2),
        "pickle": pickled(checkpoint(), 2),
        renamed or "storages": pickled(mkdir(canary), 2),
        "tensors": pickled(plain(0), 2),
    }
    return _tar((more or {}) | members, names={renamed: {"path": "storages"}})


def _pax(canary: Path, changes: dict[str, str]) -> bytes:
    return _tar({"m.pt": torch_zip(mkdir(canary))}, names={"m.pt": changes})


def _tar(
    members: dict[str, bytes],
    mode: str = "w",
    names: dict[str, dict[str, str]] | None = None,
) -> bytes:
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


def _old_tar(canary: Path) -> bytes:
    """The same without the mark that newer tar files carry."""
    raw = bytearray(_stream_tar(canary))
    for start in range(0, len(raw), 512):
        if raw[start + 257 : start + 262] == b"ustar":
            raw[start + 257 : start + 265] = bytes(8)
            raw[start : start + 512] = _with_sum(raw[start : start + 512])
    return bytes(raw)


def _with_sum(block: bytes | bytearray) -> bytes:
    made = bytearray(block)
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def _stream_and_tar(canary: Path) -> bytes:
    """A harmless legacy stream whose first block is also the header of a tar.

    torch.load tries tar first. A text in the pickle of the machine covers the header's fields,
    the one storage is the rest of the tar.
    """
    tar = _old_tar(canary)
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
    raw[:512] = _with_sum(raw[:512])
    return bytes(raw) + rest


def safetensors(data: bytes, metadata: str = "") -> bytes:
    """One tensor of bytes."""
    header = {"a": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}
    if metadata:
        header["__metadata__"] = {"note": metadata}  # type: ignore[assignment]
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw + data


def _shifted_zip(members: dict[str, bytes], start: int) -> bytes:
    """A zip whose offsets count from ``start`` bytes before it."""
    out = io.BytesIO()
    out.write(bytes(start))
    with zipfile.ZipFile(out, "a") as made:
        for name, data in members.items():
            made.writestr(zipfile.ZipInfo(f"m/{name}"), data)
    return out.getvalue()[start:]


def _safetensors_and_zip(canary: Path) -> bytes:
    """A safetensors file whose tensor is a whole TorchScript archive."""
    members = script_records(acting_script(canary))
    size = len(_shifted_zip(members, 200))
    start = len(safetensors(bytes(size))) - size
    return safetensors(_shifted_zip(members, start))


def _safetensors_and_tar(canary: Path) -> bytes:
    """A safetensors file whose header is also the header of a tar."""
    tar = _old_tar(canary)
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


def _legacy_and_zip(canary: Path) -> bytes:
    """A legacy stream whose last storage is an archive."""

    def stream(numbers: bytes) -> bytes:
        value = checkpoint().replace(plain(4) + b"tQ", plain(len(numbers) // 4) + b"tQ")
        return legacy(pickled(value, 2), data=struct.pack("<q", len(numbers) // 4) + numbers)

    members = script_records(acting_script(canary))
    size = len(_shifted_zip(members, 1000))
    start = len(stream(bytes(size + -size % 4))) - size
    return stream(bytes(-size % 4) + _shifted_zip(members, start))


CONTAINERS: dict[str, tuple[Make, Expected, str, str]] = {
    "legacy magic": (lambda c: legacy(magic=pickled(mkdir(c), 2)), "dangerous", "torch", ".pt"),
    "legacy magic without a mark": (
        lambda c: legacy(magic=b"cos\nmkdir\n(V" + str(c).encode() + b"\ntR."),
        "dangerous",
        "torch",
        ".pt",
    ),
    "legacy protocol": (lambda c: legacy(protocol=pickled(mkdir(c), 2)), "dangerous", "torch", ""),
    "legacy machine": (lambda c: legacy(machine=pickled(mkdir(c), 2)), "dangerous", "torch", ""),
    "legacy machine inside": (
        lambda c: legacy(machine=pickled(plain({"little_endian": True}) + mkdir(c) + b"0", 2)),
        "dangerous",
        "torch",
        ".pth",
    ),
    "legacy object": (lambda c: legacy(pickled(mkdir(c), 2)), "dangerous", "torch", ".bin"),
    "legacy keys": (lambda c: legacy(keys=pickled(mkdir(c), 2)), "dangerous", "torch", ".ckpt"),
    "legacy names in the machine": (
        lambda c: legacy(machine=pickled(named("collections", "OrderedDict") + b")R", 2)),
        "refused",
        "",
        ".pt",
    ),
    "legacy another magic": (
        lambda c: legacy(magic=pickled(plain(5), 2)),
        "refused",
        "",
        ".pt",
    ),
    "legacy bytes after the end": (lambda c: legacy() + b"x", "damaged", "", ".pt"),
    "legacy a second stream after the end": (
        lambda c: legacy() + legacy(magic=pickled(mkdir(c), 2)),
        "refused",
        "",
        ".pt",
    ),
    "legacy cut short": (lambda c: legacy()[:-3], "damaged", "", ".pt"),
    "legacy a storage of another size": (
        lambda c: legacy(data=struct.pack("<q", 5) + NUMBERS + bytes(4)),
        "damaged",
        "",
        ".pt",
    ),
    "legacy a storage below zero": (
        lambda c: legacy(data=struct.pack("<q", -1) + NUMBERS),
        "damaged",
        "",
        ".pt",
    ),
    "legacy a key twice": (
        lambda c: legacy(keys=pickled(plain(["0", "0"]), 2)),
        "damaged",
        "",
        ".pt",
    ),
    "legacy a key that is unknown": (
        lambda c: legacy(keys=pickled(plain(["0", "7"]), 2)),
        "damaged",
        "",
        ".pt",
    ),
    "legacy big-endian": (
        lambda c: legacy(machine=pickled(plain({"little_endian": False}), 2)),
        "damaged",
        "",
        ".pt",
    ),
    "legacy source of a module": (
        lambda c: legacy(
            pickled(
                b"("
                + text("module")
                + named("os", "mkdir")
                + text("/x.py")
                + text("class A: pass")
                + b"tQ"
                + plain((str(c),))
                + b"R",
                2,
            )
        ),
        "dangerous",
        "torch",
        ".pt",
    ),
    "tar of torch 0.1.1": (_stream_tar, "dangerous", "torch", ".pt"),
    "tar of torch 0.1.1 without its mark": (_old_tar, "dangerous", "torch", ".pt"),
    "tar of torch 0.1.1 as safetensors": (_stream_tar, "dangerous", "", ".safetensors"),
    "tar of a checkpoint": (lambda c: _tar({"m.pt": torch_zip(mkdir(c))}), "dangerous", "", ".tar"),
    "tar that leads out": (lambda c: _tar({"../m.pt": torch_zip(mkdir(c))}), "refused", "", ".tar"),
    "tar with another size": (
        lambda c: _pax(c, {"size": "512"}),
        "refused",
        "",
        ".tar",
    ),
    "tar with another name": (
        lambda c: _pax(c, {"path": "../../m.pt"}),
        "refused",
        "",
        ".tar",
    ),
    "tar of torch 0.1.1 with a harmless file": (
        lambda c: _stream_tar(c, {"m.safetensors": safetensors(bytes(8))}),
        "dangerous",
        "torch",
        ".tar",
    ),
    "tar of torch 0.1.1 by another name": (
        lambda c: _stream_tar(c, {"m.safetensors": safetensors(bytes(8))}, "x"),
        "refused",
        "torch",
        ".tar",
    ),
    "tar.gz of a checkpoint": (
        lambda c: _tar({"m.pt": torch_zip(mkdir(c))}, mode="w:gz"),
        "refused",
        "",
        ".tar.gz",
    ),
    "zip of a checkpoint": (
        lambda c: archive({"epoch.pt": torch_zip(mkdir(c))}, ""),
        "dangerous",
        "",
        ".zip",
    ),
    "zip of a bare pickle": (
        lambda c: archive({"model.pkl": pickled(mkdir(c))}, ""),
        "dangerous",
        "",
        ".zip",
    ),
    "zip of a zip of a checkpoint": (
        lambda c: archive({"a.zip": archive({"m.pt": torch_zip(mkdir(c))}, "")}, ""),
        "refused",
        "",
        ".zip",
    ),
    "zip of a pickle by another name": (
        lambda c: archive({"readme.txt": pickled(mkdir(c))}, ""),
        "refused",
        "",
        ".zip",
    ),
    "npy of objects": (lambda c: _npy(mkdir(c)), "refused", "numpy", ".npy"),
    "npz of objects": (
        lambda c: archive({"a.npy": _npy(mkdir(c))}, ""),
        "refused",
        "numpy",
        ".npz",
    ),
    "npz with a checkpoint inside": (
        lambda c: archive({"a.npy": _npy(mkdir(c)), "data.pkl": pickled(mkdir(c))}, ""),
        "refused",
        "numpy",
        ".npz",
    ),
    "a zip as safetensors": (lambda c: torch_zip(mkdir(c)), "dangerous", "", ".safetensors"),
    "a legacy stream as safetensors": (
        lambda c: legacy(pickled(mkdir(c))),
        "dangerous",
        "",
        ".safetensors",
    ),
    "a pickle without a name": (lambda c: pickled(mkdir(c)), "dangerous", "pickle", ""),
    "a pickle as a picture": (lambda c: pickled(mkdir(c)), "dangerous", "pickle", ".png"),
    "two pickles": (
        lambda c: pickled(checkpoint().replace(b"Q", b"0")) + pickled(mkdir(c)),
        "refused",
        "",
        ".pkl",
    ),
    "a pickle and a zip": (
        lambda c: pickled(mkdir(c)) + torch_zip(mkdir(c)),
        "refused",
        "pickle",
        ".pkl",
    ),
    "legacy stream and tar": (_stream_and_tar, "dangerous", "torch", ".pt"),
    "safetensors and tar": (_safetensors_and_tar, "dangerous", "torch", ".pt"),
    "safetensors and zip": (_safetensors_and_zip, "dangerous", "jit", ".safetensors"),
    "legacy stream and zip": (_legacy_and_zip, "dangerous", "jit", ".pt"),
    "a joblib file": (
        lambda c: b"\x80\x04" + mkdir(c) + b"0" + _array() + b".",
        "dangerous",
        "pickle",
        ".joblib",
    ),
    "a shell script": (lambda c: f"#!/bin/sh\ntouch {c}\n".encode(), "damaged", "", ".pt"),
    "a Python program": (lambda c: statement(c).encode(), "damaged", "", ".pt"),
    "ONNX": (lambda c: b"\x08\x07\x12\x07pytorch" + bytes(50), "damaged", "", ".onnx"),
    "HDF5": (lambda c: b"\x89HDF\r\n\x1a\n" + bytes(500), "damaged", "", ".h5"),
    "GGUF": (lambda c: b"GGUF" + bytes(60), "damaged", "", ".gguf"),
    "7z": (lambda c: b"7z\xbc\xaf\x27\x1c" + bytes(60), "damaged", "", ".7z"),
    "SVG as a checkpoint": (lambda c: b"<?xml version='1.0'?><svg/>", "damaged", "", ".pt"),
    "LFS pointer": (
        lambda c: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        "damaged",
        "",
        ".pt",
    ),
    "nothing": (lambda c: b"", "damaged", "", ".pt"),
    "one byte": (lambda c: b"\x80", "damaged", "", ".pt"),
    "noise": (lambda c: bytes((i * i * 31 + 7 * i) % 251 for i in range(5000)), "damaged", "", ""),
}


def _array() -> bytes:
    """A numpy array as a plain pickle holds it."""
    return (
        named("numpy.core.multiarray", "_reconstruct")
        + b"("
        + named("numpy", "ndarray")
        + plain((0,))
        + plain(b"b")
        + b"tR"
    )


def _npy(payload: bytes) -> bytes:
    """An array of one object in numpy's own format."""
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + pickled(payload)


def container_items() -> Iterator[Item]:
    yield from record_items()
    for name, (make, expect, live, ending) in CONTAINERS.items():
        yield Item(f"container/{name}", make, expect, live, ending)
