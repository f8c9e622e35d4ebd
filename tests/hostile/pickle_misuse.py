"""Known names used in a way that no checkpoint needs, and opcodes that are nonsense."""

from __future__ import annotations

import struct

from tests.hostile.item import Expected
from tests.hostile.ops import Raw, call, named, plain, tensor, text

MISUSE: dict[str, tuple[bytes, Expected]] = {
    "BUILD on a class": (
        named("argparse", "Namespace") + plain({"__init__": Raw(named("torch", "Size"))}) + b"b",
        "dangerous"),
    "BUILD on a module's class": (
        named("torch.nn.modules.linear", "Linear") + plain({"forward": 1}) + b"b", "dangerous"),
    "SETITEM on an object": (
        named("argparse", "Namespace") + b")\x81" + plain("a") + plain(1) + b"s", "dangerous"),
    "APPEND on an object": (named("argparse", "Namespace") + b")\x81K\x01a", "dangerous"),
    "ADDITEMS on an object": (named("argparse", "Namespace") + b")\x81(K\x01\x90", "dangerous"),
    "a module's class is called": (
        named("torch.nn.modules.linear", "Linear") + plain((1, 1)) + b"R", "dangerous"),
    "a module's class is called with nothing": (
        named("torch.nn.modules.linear", "Identity") + b")R", "dangerous"),
    "an open_clip class is called": (named("open_clip.model", "CLIP") + plain((1, {}, {})) + b"R",
        "dangerous"),
    "an open_clip class is made with arguments": (
        named("open_clip.tokenizer", "HFTokenizer") + plain(("a/b",)) + b"\x81", "dangerous"),
    "an object is called": (named("argparse", "Namespace") + b")R)R", "dangerous"),
    "a module's object is called": (
        named("torch.nn.modules.linear", "Identity") + b")\x81" + plain((1,)) + b"R", "dangerous"),
    "a default factory that builds": (
        call("collections", "defaultdict", Raw(named("torch.nn.modules.linear", "Linear"))),
        "dangerous"),
    "a default factory of tensors": (
        call("collections", "defaultdict", Raw(named("torch._utils", "_rebuild_tensor_v2"))),
        "dangerous"),
    "a rebuilt type of a module": (call(*("torch._tensor", "_rebuild_from_type_v2"),
            Raw(named("torch.nn.modules.linear", "Linear")),
            *(Raw(named("torch", "Tensor")), (1 << 20, 1 << 20), {})), "dangerous"),
    "a rebuilt type by bytearray": (call(
            *("torch._tensor", "_rebuild_from_type_v2", Raw(named("builtins", "bytearray"))),
            *(Raw(named("torch", "Tensor")), (1 << 40,), {})), "dangerous"),
    "_reconstructor with an own base": (call(
            *("copyreg", "_reconstructor", Raw(named("argparse", "Namespace"))),
            *(Raw(named("torch.nn.modules.linear", "Linear")), None)), "refused"),
    "a storage is made": (call("torch", "FloatStorage", 1 << 40), "refused"),
    "an untyped storage is made": (call("torch.storage", "UntypedStorage", 1 << 40), "refused"),
    "EXT1": (b"\x82\x01", "refused"),
    "EXT2": (b"\x83\x01\x01", "refused"),
    "EXT4": (b"\x84\x01\x00\x00\x00", "refused"),
    "PERSID": (b"P../../etc/passwd\n", "refused"),
    "BINPERSID of a text": (text("x") + b"Q", "refused"),
    "NEXT_BUFFER": (b"\x97", "refused"),
    "READONLY_BUFFER": (b"\x97\x98", "refused"),
    "BYTEARRAY8 of a lie": (b"\x96" + struct.pack("<Q", 1 << 60), "refused"),
    "BINBYTES8 of a lie": (b"\x8e" + struct.pack("<Q", (1 << 64) - 1), "refused"),
    "LONG4 of a lie": (b"\x8b\xff\xff\xff\x7f", "refused"),
    "LONG4 below zero": (b"\x8b\xff\xff\xff\xff", "refused"),
    "BINUNICODE of a lie": (b"X\xff\xff\xff\xff", "refused"),
    "a dict as a key": (b"}}Ns", "refused"),
    "a list as a key": (b"}]Ns", "refused"),
    "an object as a key": (b"}" + named("torch.nn.modules.linear", "Identity") + b")\x81Ns",
        "refused"),
    "hooks of a module": (tensor().replace(named("collections", "OrderedDict") + b")R",
            plain({0: Raw(named("torch.nn.modules.linear", "Linear"))})), "refused"),
    "a negative memo place": (text("a") + b"p-1\n", "refused"),
    "a name with an escape": (b"ccoll\\x65ctions\nOrderedDict\n)R", "refused"),
    "a name with an odd letter": ("cоs\nsystem\n".encode() + b")R", "refused"),
    "a wide name": ("cｏｓ\nsystem\n".encode() + b")R", "refused"),
    "a name with a line end of Windows": (b"cos\r\nsystem\r\n)R", "dangerous"),
    "a name with a NUL": (b"cos\0\nsystem\n)R", "dangerous"),
    "a numpy scalar of an object": (call(*("numpy.core.multiarray", "scalar"),
            Raw(call("numpy", "dtype", "O8", False, True)), b"\x41" * 8), "refused"),
    "a dtype of a huge text": (call("numpy", "dtype", "V999999999999", False, True), "inert"),
    "bytes in another encoding": (call("_codecs", "encode", "abc", "rot13"), "refused"),
    "a bytearray of a petabyte": (call("builtins", "bytearray", 1 << 50), "inert"),
    "a range of a petabyte": (call("builtins", "list", Raw(call("builtins", "range", 1 << 50))),
        "inert"),
}  # fmt: skip
"""None creates a canary."""
