"""States, classes and numbers that lie about what they are, in whole pickled objects."""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.archives import archive, legacy, records
from tests.hostile.item import Expected, Item
from tests.hostile.ops import Raw, call, checkpoint, named, pickled, plain, tensor

_OPTIONS = named("argparse", "Namespace") + b")\x81"
_MODULE = named("torch.nn.modules.linear", "Linear") + b")\x81"
_ORDERED = named("collections", "OrderedDict") + b")R"
_OBJECTS = call("numpy", "dtype", "O8", False, True)


def _array(kind: bytes, held: object, shape: tuple[int, ...] = (1,)) -> bytes:
    begun = plain((Raw(named("numpy", "ndarray")), (0,), b"b"))
    made = named("numpy.core.multiarray", "_reconstruct") + begun + b"R"
    return made + plain((1, shape, Raw(kind), False, held)) + b"b"


def _record(size: int = 8, at: int = 0, inner: bytes = b"", flags: int = 16) -> bytes:
    """The state of a type with one field, set."""
    field = (Raw(inner or call("numpy", "dtype", "f8", False, True)), at)
    return plain((3, "|", None, ("a",), {"a": field}, size, 1, flags)) + b"b"


_V8 = call("numpy", "dtype", "V8", False, True)
_KEPT, _AGAIN = b"q\x07", b"h\x07"
_LATE = _AGAIN + _record(inner=_OBJECTS, flags=27)
_OUTER = _V8 + _record(inner=_AGAIN)
_LATE_HOOKS = plain({0: Raw(named("torch.nn.modules.linear", "Identity"))})[2:]


def _dangerous() -> Iterator[tuple[str, bytes]]:
    for what, onto in {"options": _OPTIONS, "module": _MODULE, "table": _ORDERED}.items():
        for name in ("__class__", "__reduce__", "__setstate__", "__del__", "__getattr__"):
            table = {name: Raw(named("torch.nn.modules.linear", "Identity"))}
            yield f"{name} of {what}", onto + plain(table) + b"b"
            yield f"{name} of {what} in its slots", onto + plain((None, table)) + b"b"
    for module, name in {
        "torch.nn.modules.lazy": "LazyModuleMixin",
        "torch.nn.modules.module": "Evil",
        "torch.nn.modules._functions": "SyncBatchNorm",
        "open_clip.tokenizer": "SimpleTokenizer",
        "open_clip.transform": "PreprocessCfg",
        "timm.models.vision_transformer": "Evil",
        "transformers.models.clip.tokenization_clip": "CLIPTokenizer",
        "__torch__": "Model",
        "__torch__.torch.nn": "Module",
    }.items():
        yield f"{module} {name} outside its archive", named(module, name) + b")\x81}b"


STATES: dict[str, tuple[bytes, Expected]] = {
    **{name: (ops, "dangerous") for name, ops in _dangerous()},
    "a type that holds objects later": (
        b"](" + _array(_V8 + _KEPT, b"A" * 8) + _LATE + b"e",
        "dangerous",
    ),
    "a type inside a type that holds objects later": (
        b"](" + _V8 + _KEPT + _array(_OUTER, b"A" * 8) + _LATE + b"e",
        "dangerous",
    ),
    "a type of a number that holds objects later": (
        b"](" + call("numpy.core.multiarray", "scalar", Raw(_V8 + _KEPT), b"A" * 8) + _LATE + b"e",
        "dangerous",
    ),
    "a field beyond its element": (_array(_V8 + _record(at=1 << 30), b"A" * 8), "damaged"),
    "a field before its element": (_array(_V8 + _record(at=-4096), b"A" * 8), "damaged"),
    "an element that is larger than told": (_array(_V8 + _record(16), b"A" * 8), "damaged"),
    "numbers that are told to be objects": (_array(_V8 + _record(flags=17), b"A" * 8), "damaged"),
    "objects that are told to be numbers": (
        _array(_V8 + _record(inner=_OBJECTS, flags=16), [None]),
        "damaged",
    ),
    "an array with a side below zero": (_array(_V8, b"A" * 8, (-1,)), "damaged"),
    "an array of fewer bytes than told": (_array(_V8, b"A" * 8, (1 << 40,)), "damaged"),
    "a type by several letters": (_array(call("numpy", "dtype", "f4,O"), b"A" * 8), "damaged"),
    "hooks that come later": (
        tensor().replace(b")R", b")R" + _KEPT) + b"0" + _AGAIN + _LATE_HOOKS,
        "damaged",
    ),
    "the class of a rebuilt parameter": (
        call(
            *("torch._utils", "_rebuild_parameter_with_state", Raw(tensor()), False, None),
            {"__class__": Raw(named("torch.nn.modules.linear", "Identity"))},
        ),
        "dangerous",
    ),
    "overloads of a module": (_MODULE + plain({"__overloads__": {"a": 1}}) + b"b", "dangerous"),
    "overloads of a module that come later": (
        _MODULE
        + b"}"
        + plain("__overloads__")
        + b"}"
        + _KEPT
        + b"s"
        + b"b0"
        + _AGAIN
        + plain({"a": 1})[1:],
        "damaged",
    ),
    "a path with a state": (
        call("pathlib", "PosixPath", "x") + plain({"a": 1}) + b"b",
        "dangerous",
    ),
    "a dict with a state": (b"}" + plain({"a": 1}) + b"b", "damaged"),
    "a list with a state": (b"]" + plain({"a": 1}) + b"b", "damaged"),
    "a number with a state": (b"K\x01" + plain({"a": 1}) + b"b", "damaged"),
    "options with a list as state": (_OPTIONS + plain([1]) + b"b", "damaged"),
    "options with numbers as names": (_OPTIONS + plain({1: 2}) + b"b", "damaged"),
    "a state that changes later": (
        _OPTIONS + b"\x94}\x94bh\x01" + plain("__class__") + b"Ns",
        "damaged",
    ),
    "two states": (_OPTIONS + plain({"a": 1}) + b"b" + plain({"b": 1}) + b"b", "damaged"),
    "bytes as objects": (_array(_OBJECTS, b"\x41" * 8), "damaged"),
    "text as objects": (_array(_OBJECTS, "A" * 8), "damaged"),
    "bytes as objects in a field": (
        _array(
            call("numpy", "dtype", "V8", False, True)
            + plain((3, "|", None, ("a",), {"a": (Raw(_OBJECTS), 0)}, 8, 1, 0))
            + b"b",
            b"\x41" * 8,
        ),
        "damaged",
    ),
    "a buffer as objects": (
        call("numpy.core.numeric", "_frombuffer", b"\x41" * 8, Raw(_OBJECTS), (1,), "C"),
        "damaged",
    ),
    "an array that is made at once": (
        call("numpy", "ndarray", (1,), Raw(_OBJECTS), b"\x41" * 8),
        "damaged",
    ),
}


def state_items() -> Iterator[Item]:
    for name, (ops, expect) in STATES.items():
        raw = pickled(checkpoint(ops))
        yield Item(
            f"state-zip/{name}", lambda c, raw=raw: archive(records() | {"data.pkl": raw}), expect
        )
        yield Item(f"state-legacy/{name}", lambda c, raw=raw: legacy(raw), expect)
