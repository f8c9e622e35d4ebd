"""The few calls in a checkpoint's pickle that are carried out, by own code: they make tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ml_core.reading.pickles.names import TYPES
from ml_core.reading.pickles.records import Global, Object, Storage, Table, Tensor

MAX_RANK = 16
_PLAIN_TENSORS = ("torch Tensor", "torch.nn.parameter Parameter", "torch.nn.parameter Buffer")
BUILDERS = {
    "torch Size",
    "torch device",
    "torch.serialization _get_layout",
    "torch._tensor _rebuild_from_type_v2",
    *(
        f"torch._utils _rebuild_{name}"
        for name in (
            *("tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state", "qtensor"),
            *("sparse_tensor", "meta_tensor_no_storage"),
        )
    ),
    *(
        f"torch.jit._pickle {name}"
        for name in (
            *("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist"),
            *("build_tensor_from_id", "restore_type_tag"),
        )
    ),
}
"""Functions of torch that a checkpoint calls; its other names are only mentioned."""


def build(called: Global, arguments: tuple[Any, ...]) -> Any:
    """Make a tensor if ``called`` builds one, else an inert record of the call.

    Raises
    ------
    ValueError
        With half a sentence, if a tensor's arguments are not those of one.
    """
    if called.full in ("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor"):
        return _tensor(arguments)
    if called.full == "torch._utils _rebuild_tensor_v3":
        return _typed_tensor(arguments)
    if called.full == "torch._utils _rebuild_qtensor" and len(arguments) == 7:
        _no_hooks(arguments[6])
    if called.full == "torch._utils _rebuild_parameter":
        return _parameter(arguments)
    if called.full == "torch._utils _rebuild_parameter_with_state" and len(arguments) == 4:
        return _parameter(arguments[:3])
    if called.full == "torch._tensor _rebuild_from_type_v2" and len(arguments) == 4:
        function, kind, inner, _ = arguments
        plain = isinstance(kind, Global) and kind.full in _PLAIN_TENSORS
        if plain and isinstance(function, Global) and isinstance(inner, tuple):
            if function.full == "torch._utils _rebuild_tensor_v2":
                return _tensor(inner)
            if function.full == "torch._utils _rebuild_tensor_v3":
                return _typed_tensor(inner)
    if called.full == "torch Size" and len(arguments) == 1 and isinstance(arguments[0], tuple):
        return arguments[0]
    if called.full == "_codecs encode":
        return _encoded(arguments)
    if called.name == "_reconstructor":
        return _reconstructed(arguments)
    return Object(called, arguments)


def _tensor(arguments: tuple[Any, ...]) -> Tensor:
    """(storage, offset, shape, stride[, requires_grad, hooks[, metadata]])."""
    if not 4 <= len(arguments) <= 7 or not isinstance(arguments[0], Storage):
        raise ValueError("a tensor is built from something that is no storage")
    storage, offset, shape, stride = arguments[:4]
    if len(arguments) > 5:
        _no_hooks(arguments[5])
    if not _is_whole(offset) or not _are_whole(shape) or not _are_whole(stride):
        raise ValueError("a tensor has no valid offset, shape or stride")
    if len(shape) != len(stride):
        raise ValueError("a tensor's shape and stride do not fit together")
    return Tensor(storage, offset, shape, stride)


def _typed_tensor(arguments: tuple[Any, ...]) -> Tensor:
    """(storage of bytes, offset, shape, stride, requires_grad, hooks, type[, metadata])."""
    kind = arguments[6] if len(arguments) in (7, 8) else None
    if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in TYPES:
        raise ValueError("a tensor is of a type that is none")
    return replace(_tensor(arguments[:6]), typed=TYPES[kind.name])


def _parameter(arguments: tuple[Any, ...]) -> Any:
    """(tensor, requires_grad, hooks)."""
    if len(arguments) != 3 or not isinstance(arguments[0], Tensor | Object):
        raise ValueError("a parameter is built from something that is no tensor")
    _no_hooks(arguments[2])
    return arguments[0]


def _no_hooks(hooks: Any) -> None:
    """Refuse functions that run when gradients flow, also such as come later."""
    if hooks is not None and not (isinstance(hooks, Table) and not hooks.items):
        raise ValueError("a tensor carries hooks")
    if hooks is not None:
        hooks.given = True


def _encoded(arguments: tuple[Any, ...]) -> bytes:
    """Bytes of a pickle of protocol 2, which are kept as Latin-1 text."""
    if (
        len(arguments) != 2
        or not isinstance(arguments[0], str)
        or arguments[1] not in ("latin1", "latin-1")
    ):
        raise ValueError("bytes are kept in an unknown encoding")
    return arguments[0].encode("latin-1")


def _reconstructed(arguments: tuple[Any, ...]) -> Object:
    """An object in a pickle of protocol 0 or 1: (class, object, None)."""
    of, base = arguments[:2] if len(arguments) == 3 else (None, None)
    plain = isinstance(base, Global) and base.full in ("builtins object", "__builtin__ object")
    if not isinstance(of, Global) or not plain or arguments[2] is not None:
        raise ValueError("an object is made in a way that checkpoints do not need")
    return Object(of)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _are_whole(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) <= MAX_RANK
        and all(_is_whole(item) for item in value)
    )
