"""Checkpoints packed into something that unpacks to an attack, to a bomb, or to two things."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch

from tests.hostile.archives import NUMBERS, archive, legacy, records, torch_zip
from tests.hostile.container_tricks import safetensors
from tests.hostile.item import Expected, Item
from tests.hostile.ops import pickled
from tests.hostile.pickle_tricks import mkdir

Make = Callable[[Path], bytes]
_GOOD = safetensors(bytes(range(64)) * 4)


def deflated(members: dict[str, bytes]) -> bytes:
    """A zip whose members are packed."""
    return archive(members, "", zipfile.ZIP_DEFLATED)


def tar_gz(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """A packed tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as made:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


@cache
def zeros(size: int) -> bytes:
    """A gzip file of zeros."""
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    out = [pack.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*out, pack.flush()])


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _spoiled(data: bytes, at: int) -> bytes:
    raw = bytearray(data)
    raw[at] ^= 0x55
    return bytes(raw)


def _attack(canary: Path) -> bytes:
    return torch_zip(mkdir(canary))


def _flags(raw: bytes, flags: int, extra: bytes) -> bytes:
    """Another gzip header, with fields that some readers skip and others do not know."""
    return raw[:3] + bytes([flags]) + raw[4:10] + extra + raw[10:]


def _many(canary: Path) -> bytes:
    """Very many packed records, each a whole stream."""
    return archive(
        records() | {f"data/{n}": NUMBERS for n in range(1, 15_000)}, "m", zipfile.ZIP_DEFLATED
    )


def _zip_lie(field: int) -> Make:
    """Sizes and checksums of both headers are wrong alike."""

    def make(canary: Path) -> bytes:
        raw = bytearray(deflated({"m.safetensors": _GOOD}))
        central = raw.index(b"PK\x01\x02")
        for at in (14 + field, central + 16 + field):
            raw[at] = (raw[at] + 1) & 255
        return bytes(raw)

    return make


PACKED: dict[str, tuple[Make, Expected, str]] = {
    "attack in gzip": (lambda c: _gzip(_attack(c)), "dangerous", ".pt.gz"),
    "attack in a legacy stream in gzip": (
        lambda c: _gzip(legacy(pickled(mkdir(c), 2))),
        "dangerous",
        ".pt.gz",
    ),
    "bare pickle in gzip": (lambda c: _gzip(pickled(mkdir(c), 2)), "dangerous", ".pkl.gz"),
    "attack in tar.gz": (lambda c: tar_gz({"a/epoch.pt": _attack(c)}), "dangerous", ".tar.gz"),
    "attack in a packed zip": (lambda c: deflated({"epoch.pt": _attack(c)}), "dangerous", ".zip"),
    "attack beside packed storages": (
        lambda c: archive(
            records() | {"data.pkl": pickled(mkdir(c)), "data/0": NUMBERS},
            method=zipfile.ZIP_DEFLATED,
        ),
        "dangerous",
        ".pt",
    ),
    "two in tar.gz": (
        lambda c: tar_gz({"a.pt": torch_zip(), "b.pt": _attack(c)}),
        "refused",
        ".tgz",
    ),
    "attack in gzip in zip": (lambda c: deflated({"m.zip": _gzip(_attack(c))}), "refused", ".zip"),
    "attack in zip in gzip": (lambda c: _gzip(deflated({"m.pt": _attack(c)})), "refused", ".gz"),
    "attack in gzip in gzip": (lambda c: _gzip(_gzip(_attack(c))), "refused", ".gz"),
    "attack in the second part": (
        lambda c: _gzip(torch_zip()) + _gzip(_attack(c)),
        "refused",
        ".gz",
    ),
    "bytes behind gzip": (lambda c: _gzip(torch_zip()) + _attack(c), "refused", ".gz"),
    "zeros behind gzip": (lambda c: _gzip(torch_zip()) + bytes(512), "refused", ".gz"),
    "wrong checksum of gzip": (lambda c: _spoiled(_gzip(torch_zip()), -6), "damaged", ".gz"),
    "wrong length of gzip": (lambda c: _spoiled(_gzip(torch_zip()), -2), "damaged", ".gz"),
    "short gzip": (lambda c: _gzip(torch_zip())[:-20], "damaged", ".gz"),
    "gzip without its end": (lambda c: _gzip(torch_zip())[:-8], "damaged", ".gz"),
    "gzip of nothing": (lambda c: _gzip(b""), "damaged", ".gz"),
    "gzip header only": (lambda c: _gzip(b"x")[:10], "damaged", ".gz"),
    "gzip with a reserved flag": (lambda c: _flags(_gzip(_attack(c)), 0x80, b""), "refused", ".gz"),
    "gzip with an endless name": (
        lambda c: _flags(_gzip(_attack(c)), 8, b"a" * 100_000),
        "refused",
        ".gz",
    ),
    "gzip with a long extra field": (
        lambda c: _flags(_gzip(_attack(c)), 4, b"\xff\xff" + b"PK\x03\x04" * 16384)[:70_000],
        "refused",
        ".gz",
    ),
    "one byte too few told": (_zip_lie(8), "damaged", ".zip"),
    "another packed size told": (_zip_lie(4), "damaged", ".zip"),
    "another checksum told": (_zip_lie(0), "damaged", ".zip"),
    "random bytes as gzip": (lambda c: b"\x1f\x8b\x08\0" + bytes(range(256)), "damaged", ".gz"),
    "bomb in gzip": (lambda c: zeros(256 << 20), "damaged", ".gz"),
    "bomb in gzip in a name of tar": (lambda c: zeros(256 << 20), "damaged", ".tar.gz"),
    "bomb of a legacy stream": (
        lambda c: gzip.compress(legacy(data=bytes(80 << 20)), mtime=0),
        "damaged",
        ".gz",
    ),
    "bomb in a zip": (lambda c: deflated({"m.safetensors": bytes(80 << 20)}), "damaged", ".zip"),
    "bomb of one storage": (
        lambda c: archive(records() | {"data/1": bytes(80 << 20)}, method=zipfile.ZIP_DEFLATED),
        "damaged",
        ".pt",
    ),
    "tar.gz with a link": (lambda c: _linked(c), "refused", ".tar.gz"),
    "xz": (lambda c: tar_gz({"a.pt": _attack(c)}, "w:xz"), "refused", ".tar.xz"),
    "bz2": (lambda c: tar_gz({"a.pt": _attack(c)}, "w:bz2"), "refused", ".tar.bz2"),
    "a thousand packed storages": (_many, "inert", ".pt"),
}


def _linked(canary: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        info = tarfile.TarInfo("epoch.pt")
        info.type, info.linkname = tarfile.SYMTYPE, os.devnull
        made.addfile(info)
    return out.getvalue()


def packed_items() -> Iterator[Item]:
    """All of them; those that take a second or more are left to the script that counts."""
    for name, (make, expect, ending) in PACKED.items():
        yield Item(f"packed/{name}", make, expect, ending=ending, heavy="bomb of" in name)


# Harmless ones.


def _state() -> dict[str, torch.Tensor]:
    return {
        "a": torch.arange(12.0).reshape(3, 4),
        "b": torch.linspace(-1, 1, 1000).half(),
        "c": torch.tensor([True, False]),
    }


def _torch_bytes(**options: bool) -> bytes:
    out = io.BytesIO()
    torch.save(_state(), out, **options)
    return out.getvalue()


def _npz() -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **{key: value.numpy() for key, value in _state().items()})
    return out.getvalue()


def _repacked() -> bytes:
    with zipfile.ZipFile(io.BytesIO(_torch_bytes())) as made:
        return deflated({name: made.read(name) for name in made.namelist()})


def _safetensors() -> bytes:
    from safetensors.torch import save

    return save(_state())


HARMLESS: dict[str, Callable[[], bytes]] = {
    "packed safetensors in zip.zip": lambda: deflated({"m.safetensors": _safetensors()}),
    "packed torch in zip.zip": lambda: deflated({"run/epoch.pt": _torch_bytes()}),
    "packed torch in tar.tar.gz": lambda: tar_gz({"run/epoch.pt": _torch_bytes(), "r.txt": b"r"}),
    "packed safetensors in tar.tgz": lambda: tar_gz({"m.safetensors": _safetensors()}),
    "packed torch.pt.gz": lambda: _gzip(_torch_bytes()),
    "packed legacy.pt.gz": lambda: _gzip(_torch_bytes(_use_new_zipfile_serialization=False)),
    "packed records.pt": _repacked,
    "packed arrays.npz": _npz,
}


def harmless_packed() -> dict[str, Callable[[Path], dict[str, torch.Tensor]]]:
    """Harmless packed files, as `tests.hostile.benign` wants them."""

    def writer(make: Callable[[], bytes]) -> Callable[[Path], dict[str, torch.Tensor]]:
        def write(path: Path) -> dict[str, torch.Tensor]:
            path.write_bytes(make())
            return _state()

        return write

    return {name: writer(make) for name, make in HARMLESS.items()}
