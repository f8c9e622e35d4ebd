"""Files that only lenient readers take for a tar, a zip or a pickle, and that those then run."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.archives import archive, records
from tests.hostile.container_bytes import (
    live_records,
    safetensors,
    safetensors_and_tar,
    shifted_zip,
    stream_and_tar,
    stream_tar,
    tar_of,
)
from tests.hostile.item import Item
from tests.hostile.ops import checkpoint, plain, short
from tests.hostile.pickle_tricks import mkdir
from tests.hostile.torchscript_tricks import acting_script, script_records

# How Python's tarfile may find a sum written.
SUMS = {"a sign": b"+%o", "an underscore": b"0_%o", "a prefix": b"0o%o", "a separator": b"\x1c%o"}
# Arguments that unpicklers take and pickletools does not, each with the object's removal.
ODD = {
    "a hexadecimal INT": b"I0x1\n0",
    "an octal INT": b"I0o7\n0",
    "a hexadecimal LONG": b"L0x1L\n0",
    "a STRING of other letters": b"S'\xc3\xa9'\n0",
}


def with_odd_sum(raw: bytes, form: bytes) -> bytes:
    made = bytearray(raw)
    made[148:156] = b" " * 8
    made[148:156] = (form % sum(made[:512])).ljust(8)
    return bytes(made)


def with_tar_fields(raw: bytes) -> bytes:
    """Its first 512 bytes as the header of an empty member."""
    made = bytearray(raw)
    for place, length in ((100, 8), (108, 8), (116, 8), (124, 12), (136, 12)):
        made[place : place + length] = b"0" * (length - 1) + b"\0"
    made[156:157] = b"0"
    return with_odd_sum(bytes(made), b"%o")


def safetensors_and_pickle(ops: bytes) -> bytes:
    """The length of the header is a short text; the header is a line; its last brace is a dict."""
    tensor = ops + b"."
    begin = '{"__metadata__":{"note":"'
    size = len(tensor)
    end = f'"}},"a":{{"dtype":"U8","shape":[{size}],"data_offsets":[0,{size}]}}\n}}'
    begin += "-" * (2 + 0x40 - 8 - len(begin)) + "V"
    header = begin + "-" * (0x4055 - len(begin) - len(end)) + end
    return struct.pack("<Q", 0x4055) + header.encode() + tensor


def safetensors_and_zip64(canary: Path) -> bytes:
    """A safetensors file whose tensor is a TorchScript archive with 64-bit records."""
    members = script_records(acting_script(canary))

    def packed(start: int) -> bytes:
        raw = shifted_zip(members, start)
        count, length, begin = struct.unpack_from("<H2L", raw, len(raw) - 12)
        at = start + len(raw) - 22
        return (
            raw[:-22]
            + struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, begin)
            + struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
            + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
        )

    size = len(packed(200))
    return safetensors(packed(len(safetensors(bytes(size))) - size))


def tar_and_zip(canary: Path) -> bytes:
    """A tar of a harmless checkpoint, and of an archive that says where it lies in the tar."""
    harmless = safetensors(bytes(8))
    start = 512 + len(harmless) + -len(harmless) % 512 + 512
    zipped = shifted_zip(script_records(acting_script(canary)), start)
    return tar_of({"m.safetensors": harmless, "notes": zipped})


def zip_and_tar(canary: Path) -> bytes:
    """A zip that begins as a tar of a harmless checkpoint does."""
    tar = tar_of({"m.safetensors": safetensors(bytes(8))})
    begin = 30 + len("m/notes")
    return with_tar_fields(archive({"notes": bytes(512 - begin) + tar} | live_records(canary)))


def gzip_and_tar(canary: Path) -> bytes:
    """A gzip file of a harmless checkpoint whose extra field is a tar."""
    tar = stream_tar(canary)
    extra = bytes(512 - 12) + tar
    packed = gzip.compress(safetensors(bytes(8)), mtime=0)
    head = packed[:3] + b"\x04" + packed[4:10] + struct.pack("<H", len(extra))
    return with_tar_fields(head + extra + packed[10:])


def gzip_and_zip(canary: Path) -> bytes:
    """The same with a zip archive."""
    extra = shifted_zip(script_records(acting_script(canary)), 12)
    packed = gzip.compress(safetensors(bytes(8)), mtime=0)
    head = packed[:3] + b"\x04" + packed[4:10] + struct.pack("<H", len(extra))
    return head + extra + packed[10:]


def array_of_objects(payload: bytes, descr: str = "|O") -> bytes:
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + b"\x80\x02" + payload + b"."


def _mark_less(canary: Path) -> bytes:
    return b"cos\nmkdir\n(V" + str(canary).encode() + b"\ntR."


def _zip(ops: bytes) -> bytes:
    return archive(records() | {"data.pkl": b"\x80\x02" + ops + checkpoint() + b"."})


def _timed(canary: Path) -> tuple[str, str]:
    """What timeit runs, twice."""
    return f"import os; os.path.exists({str(canary)!r}) or os.mkdir({str(canary)!r})", "0"


MADE_UP: dict[str, Callable[[Path], bytes]] = {
    "one text is module and name": lambda c: short("timeit") + b"2\x93" + plain(_timed(c)) + b"R",
    "two texts are taken away": lambda c: (
        # What checkpoints do not need comes first, so that this is no longer followed.
        b"N20"
        + short("os")
        + short("mkdir")
        + short("collections")
        + short("OrderedDict")
        + b"00\x93"
        + plain((str(c),))
        + b"R"
    ),
}

FILES: dict[str, tuple[Callable[[Path], bytes], str, str]] = {
    "safetensors and a pickle": (lambda c: safetensors_and_pickle(mkdir(c)), "torch", ".pt"),
    "safetensors and a pickle without a mark": (
        lambda c: safetensors_and_pickle(b"0" + _mark_less(c)[:-1]),
        "pickle",
        ".safetensors",
    ),
    "safetensors and a pickle with an odd number": (
        lambda c: safetensors_and_pickle(ODD["a hexadecimal INT"] + mkdir(c)),
        "torch",
        ".pt",
    ),
    "safetensors and a 64-bit zip": (safetensors_and_zip64, "jit", ".pt"),
    "tar and zip": (tar_and_zip, "jit", ".tar"),
    "zip and tar": (zip_and_tar, "torch", ".pt"),
    "gzip and tar": (gzip_and_tar, "torch", ".pt"),
    "gzip and zip": (gzip_and_zip, "jit", ".gz"),
    "an odd tar sum in a gzip file": (
        lambda c: gzip.compress(with_odd_sum(stream_and_tar(c), b"+%o"), mtime=0),
        "",
        ".pt.gz",
    ),
    "an odd tar sum in a zip": (
        lambda c: archive({"m.pt": with_odd_sum(stream_and_tar(c), b"+%o")}, ""),
        "",
        ".zip",
    ),
    "a name beyond ASCII": (lambda c: "cös\nmkdir\n)R.".encode(), "", ".pkl"),
    "a text that is longer than what is sniffed": (
        lambda c: b"X" + struct.pack("<L", 1 << 17) + b"-" * (1 << 17) + b"0" + _mark_less(c),
        "pickle",
        ".bin",
    ),
    "an array of objects": (lambda c: array_of_objects(mkdir(c)), "numpy", ".npy"),
    "an array of the type object": (
        lambda c: array_of_objects(mkdir(c), "object"),
        "numpy",
        ".npy",
    ),
    "an npz whose array has no ending": (
        lambda c: archive({"a": array_of_objects(mkdir(c))}, ""),
        "numpy",
        ".npz",
    ),
    "an npz with an array of the type object": (
        lambda c: archive({"a.npy": array_of_objects(mkdir(c), "object")}, ""),
        "numpy",
        ".npz",
    ),
}


def lenient_items() -> Iterator[Item]:
    for name, form in SUMS.items():
        for what, make in (("stream", stream_and_tar), ("safetensors", safetensors_and_tar)):
            # No header of JSON has a separator.
            if what == "stream" or form[0] > 0x20:
                yield Item(
                    f"lenient/{what} and tar whose sum has {name}",
                    lambda c, m=make, f=form: with_odd_sum(m(c), f),
                    live="torch",
                )
    for name, ops in ODD.items():
        yield Item(
            f"lenient/{name} in a zip", lambda c, o=ops: _zip(o + mkdir(c) + b"0"), live="torch"
        )
        # Python's own unpickler takes letters only where it is told their encoding.
        live = "" if "STRING" in name else "pickle"
        yield Item(
            f"lenient/{name} in a pickle",
            lambda c, o=ops: o + _mark_less(c),
            live=live,
            ending=".pkl",
        )
    for name, make in MADE_UP.items():
        yield Item(f"lenient/{name}", lambda c, m=make: _zip(m(c) + b"0"), live="torch")
        yield Item(
            f"lenient/{name} and no more",
            lambda c, m=make: b"\x80\x04" + m(c) + b".",
            live="pickle",
            ending=".pkl",
        )
    for name, (make, live, ending) in FILES.items():
        yield Item(f"lenient/{name}", make, live=live, ending=ending)
