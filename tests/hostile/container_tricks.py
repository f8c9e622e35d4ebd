"""Payloads in every pickle of an archive, in containers of all kinds, in files that are two."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.archives import NUMBERS, archive, legacy, records, torch_zip
from tests.hostile.container_bytes import (
    legacy_and_zip,
    live_records,
    old_tar,
    packed_member,
    pax_tar,
    safetensors,
    safetensors_and_tar,
    safetensors_and_zip,
    stream_and_tar,
    stream_tar,
    tar_of,
    two_members,
)
from tests.hostile.gadgets import statement
from tests.hostile.item import Expected, Item
from tests.hostile.ops import checkpoint, named, pickled, plain, text
from tests.hostile.pickle_tricks import mkdir

Make = Callable[[Path], bytes]

RECORDS = (
    "constants.pkl", "traced_inputs.pkl", "attributes.pkl", "bytecode.pkl",
    "code/__torch__.py.debug_pkl", "code/__torch__/a/b.py.debug_pkl", "debug/x.debug_pkl",
    "extra/producer_info.json", "extra/notes", "extra/model.pickle", "sub/data.pkl", "sub/DATA.PKL",
    "data/data.pkl", "data/0.pkl", "data/payload", "data/00x", ".data/serialization_id",
    ".data/more", "preload.bin", "optimizer.pt", "x.PKL", "x.Pickle", "x.dat", "x.joblib",
)  # fmt: skip


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
        yield Item(f"record/{record} packed", lambda c, r=record: packed_member(r, _mark_less(c)))
    for name in ("Data.pkl", "DATA.PKL", "data.Pkl"):
        # PyTorch looks names up without regard to case.
        yield Item(
            f"record/only {name}",
            lambda c, n=name: archive(
                {n if key == "data.pkl" else key: data for key, data in live_records(c).items()}
            ),
            live="torch",
        )
        for first in (True, False):
            yield Item(
                f"record/{name} {'before' if first else 'after'} data.pkl",
                lambda c, n=name, f=first: archive(two_members(n, _mark_less(c), f)),
                "refused",
                "torch" if first else "",
            )
    yield Item(
        "record/the pickle is packed",
        lambda c: archive(live_records(c), method=zipfile.ZIP_DEFLATED),
        live="torch",
    )
    yield Item(
        "record/storages that are pickles",
        lambda c: archive(records() | {"data/0": pickled(mkdir(c))[:16]}),
        "inert",
    )


CONTAINERS: dict[str, tuple[Make, Expected, str, str]] = {
    "legacy magic": (lambda c: legacy(magic=pickled(mkdir(c), 2)), "dangerous", "torch", ".pt"),
    "legacy magic without a mark": (
        lambda c: legacy(magic=b"cos\nmkdir\n(V" + str(c).encode() + b"\ntR."), "dangerous",
        "torch", ".pt"),
    "legacy protocol": (lambda c: legacy(protocol=pickled(mkdir(c), 2)), "dangerous", "torch", ""),
    "legacy machine": (lambda c: legacy(machine=pickled(mkdir(c), 2)), "dangerous", "torch", ""),
    "legacy machine inside": (
        lambda c: legacy(machine=pickled(plain({"little_endian": True}) + mkdir(c) + b"0", 2)),
        "dangerous", "torch", ".pth"),
    "legacy object": (lambda c: legacy(pickled(mkdir(c), 2)), "dangerous", "torch", ".bin"),
    "legacy keys": (lambda c: legacy(keys=pickled(mkdir(c), 2)), "dangerous", "torch", ".ckpt"),
    "legacy names in the machine": (
        lambda c: legacy(machine=pickled(named("collections", "OrderedDict") + b")R", 2)),
        "refused", "", ".pt"),
    "legacy another magic": (lambda c: legacy(magic=pickled(plain(5), 2)), "refused", "", ".pt"),
    "legacy bytes after the end": (lambda c: legacy() + b"x", "damaged", "", ".pt"),
    "legacy a second stream after the end": (
        lambda c: legacy() + legacy(magic=pickled(mkdir(c), 2)), "refused", "", ".pt"),
    "legacy cut short": (lambda c: legacy()[:-3], "damaged", "", ".pt"),
    "legacy a storage of another size": (
        lambda c: legacy(data=struct.pack("<q", 5) + NUMBERS + bytes(4)), "damaged", "", ".pt"),
    "legacy a storage below zero": (lambda c: legacy(data=struct.pack("<q", -1) + NUMBERS),
        "damaged", "", ".pt"),
    "legacy a key twice": (lambda c: legacy(keys=pickled(plain(["0", "0"]), 2)), "damaged", "",
        ".pt"),
    "legacy a key that is unknown": (lambda c: legacy(keys=pickled(plain(["0", "7"]), 2)),
        "damaged", "", ".pt"),
    "legacy big-endian": (lambda c: legacy(machine=pickled(plain({"little_endian": False}), 2)),
        "damaged", "", ".pt"),
    "legacy source of a module": (lambda c: legacy(pickled(b"(" + text("module")
                + named("os", "mkdir") + text("/x.py") + text("class A: pass") + b"tQ"
                + plain((str(c),)) + b"R", 2)), "dangerous", "torch", ".pt"),
    "tar of torch 0.1.1": (stream_tar, "dangerous", "torch", ".pt"),
    "tar of torch 0.1.1 without its mark": (old_tar, "dangerous", "torch", ".pt"),
    "tar of torch 0.1.1 as safetensors": (stream_tar, "dangerous", "", ".safetensors"),
    "tar of a checkpoint": (lambda c: tar_of({"m.pt": torch_zip(mkdir(c))}), "dangerous", "",
        ".tar"),
    "tar that leads out": (lambda c: tar_of({"../m.pt": torch_zip(mkdir(c))}), "refused", "",
        ".tar"),
    "tar with another size": (lambda c: pax_tar(c, {"size": "512"}), "refused", "", ".tar"),
    "tar with another name": (lambda c: pax_tar(c, {"path": "../../m.pt"}), "refused", "", ".tar"),
    "tar of torch 0.1.1 with a harmless file": (
        lambda c: stream_tar(c, {"m.safetensors": safetensors(bytes(8))}), "dangerous", "torch",
        ".tar"),
    "tar of torch 0.1.1 by another name": (
        lambda c: stream_tar(c, {"m.safetensors": safetensors(bytes(8))}, "x"), "refused", "torch",
        ".tar"),
    "tar.gz of a checkpoint": (lambda c: tar_of({"m.pt": torch_zip(mkdir(c))}, mode="w:gz"),
        "refused", "", ".tar.gz"),
    "zip of a checkpoint": (lambda c: archive({"epoch.pt": torch_zip(mkdir(c))}, ""), "dangerous",
        "", ".zip"),
    "zip of a bare pickle": (lambda c: archive({"model.pkl": pickled(mkdir(c))}, ""), "dangerous",
        "", ".zip"),
    "zip of a zip of a checkpoint": (
        lambda c: archive({"a.zip": archive({"m.pt": torch_zip(mkdir(c))}, "")}, ""), "refused", "",
        ".zip"),
    "zip of a pickle by another name": (lambda c: archive({"readme.txt": pickled(mkdir(c))}, ""),
        "refused", "", ".zip"),
    "npy of objects": (lambda c: _npy(mkdir(c)), "refused", "numpy", ".npy"),
    "npz of objects": (lambda c: archive({"a.npy": _npy(mkdir(c))}, ""), "refused", "numpy",
        ".npz"),
    "npz with a checkpoint inside": (
        lambda c: archive({"a.npy": _npy(mkdir(c)), "data.pkl": pickled(mkdir(c))}, ""), "refused",
        "numpy", ".npz"),
    "a zip as safetensors": (lambda c: torch_zip(mkdir(c)), "dangerous", "", ".safetensors"),
    "a legacy stream as safetensors": (lambda c: legacy(pickled(mkdir(c))), "dangerous", "",
        ".safetensors"),
    "a pickle without a name": (lambda c: pickled(mkdir(c)), "dangerous", "pickle", ""),
    "a pickle as a picture": (lambda c: pickled(mkdir(c)), "dangerous", "pickle", ".png"),
    "two pickles": (lambda c: pickled(checkpoint().replace(b"Q", b"0")) + pickled(mkdir(c)),
        "refused", "", ".pkl"),
    "a pickle and a zip": (lambda c: pickled(mkdir(c)) + torch_zip(mkdir(c)), "refused", "pickle",
        ".pkl"),
    "legacy stream and tar": (stream_and_tar, "dangerous", "torch", ".pt"),
    "safetensors and tar": (safetensors_and_tar, "dangerous", "torch", ".pt"),
    "safetensors and zip": (safetensors_and_zip, "dangerous", "jit", ".safetensors"),
    "legacy stream and zip": (legacy_and_zip, "dangerous", "jit", ".pt"),
    "a joblib file": (lambda c: b"\x80\x04" + mkdir(c) + b"0" + _array() + b".", "dangerous",
        "pickle", ".joblib"),
    "a shell script": (lambda c: f"#!/bin/sh\ntouch {c}\n".encode(), "damaged", "", ".pt"),
    "a Python program": (lambda c: statement(c).encode(), "damaged", "", ".pt"),
    "ONNX of zeros": (lambda c: b"\x08\x07\x12\x07pytorch" + bytes(50), "damaged", "", ".onnx"),
    "HDF5": (lambda c: b"\x89HDF\r\n\x1a\n" + bytes(500), "damaged", "", ".h5"),
    "7z": (lambda c: b"7z\xbc\xaf\x27\x1c" + bytes(60), "damaged", "", ".7z"),
    "SVG as a checkpoint": (lambda c: b"<?xml version='1.0'?><svg/>", "damaged", "", ".pt"),
    "LFS pointer": (lambda c: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        "damaged", "", ".pt"),
    "nothing": (lambda c: b"", "damaged", "", ".pt"),
    "one byte": (lambda c: b"\x80", "damaged", "", ".pt"),
    "noise": (lambda c: bytes((i * i * 31 + 7 * i) % 251 for i in range(5000)), "damaged", "", ""),
}  # fmt: skip


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
