"""What the names in a pickle stand for, by an allow-list; whatever is not on it is unknown code.

Anything that a pickle names is imported by an ordinary loader, and what it calls is run. Here a
name is only ever compared with this list.
"""

from __future__ import annotations

import re
from typing import Literal

from ml_core.reading.pickles.model_classes import MODEL_CLASSES

Group = Literal["tensors", "data", "code", "unknown"]

STORAGES = {
    "ByteStorage": ("U8", 1), "CharStorage": ("I8", 1), "ShortStorage": ("I16", 2),
    "IntStorage": ("I32", 4), "LongStorage": ("I64", 8), "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2), "FloatStorage": ("F32", 4), "DoubleStorage": ("F64", 8),
    "BoolStorage": ("BOOL", 1), "UntypedStorage": ("U8", 1), "ComplexFloatStorage": ("", 8),
    "ComplexDoubleStorage": ("", 16), "QInt8Storage": ("", 1), "QUInt8Storage": ("", 1),
    "QInt32Storage": ("", 4), "QUInt4x2Storage": ("", 1), "QUInt2x4Storage": ("", 1),
}  # fmt: skip
"""Storage classes of torch: the safetensors type ("" where there is none) and the bytes of one
element."""

TYPES = {
    "float8_e4m3fn": ("F8_E4M3", 1), "float8_e5m2": ("F8_E5M2", 1), "float8_e4m3fnuz": ("", 1),
    "float8_e5m2fnuz": ("", 1), "float8_e8m0fnu": ("", 1), "uint16": ("U16", 2),
    "uint32": ("U32", 4), "uint64": ("U64", 8), "complex32": ("", 4),
}  # fmt: skip
"""Types that have no storage class, so that the builder is told of them."""

_DTYPES = {
    *TYPES,
    "float16", "float32", "float64", "bfloat16", "half", "float", "double", "uint8", "int8",
    "int16", "int32", "int64", "short", "int", "long", "bool", "complex64", "complex128",
    "cfloat", "cdouble", "chalf", "quint8", "qint8", "qint32", "quint4x2", "quint2x4",
    "strided", "sparse_coo", "sparse_csr", "contiguous_format", "channels_last",
    "preserve_format", "per_tensor_affine", "per_channel_affine",
}  # fmt: skip

_TENSORS = {
    *(f"torch {name}" for name in STORAGES),
    *(f"torch.storage {name}" for name in ("UntypedStorage", "TypedStorage", "_UntypedStorage")),
    *(f"torch.cuda {name}" for name in STORAGES),
    "torch Tensor",
    "torch Size",
    "torch device",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state",
    "torch._utils _rebuild_qtensor",
    "torch._utils _rebuild_sparse_tensor",
    "torch._utils _rebuild_meta_tensor_no_storage",
    "torch._tensor _rebuild_from_type_v2",
    "torch.nn.parameter Parameter",
    "torch.nn.parameter Buffer",
    "torch.serialization _get_layout",
    *(
        f"torch.jit._pickle {name}"
        for name in (
            "build_intlist",
            "build_doublelist",
            "build_boollist",
            "build_tensorlist",
            "build_tensor_from_id",
            "restore_type_tag",
        )
    ),
}

_DATA = {
    "collections OrderedDict",
    "collections defaultdict",
    "collections Counter",
    "argparse Namespace",
    "types SimpleNamespace",
    "_codecs encode",
    "copy_reg _reconstructor",
    "copyreg _reconstructor",
    "builtins object",
    "__builtin__ object",
    *(
        f"{module} {name}"
        for module in ("builtins", "__builtin__")
        for name in (
            *("set", "frozenset", "bytearray", "complex", "slice", "range"),
            *("list", "dict", "tuple", "int", "float", "str", "bool", "bytes"),
            *("xrange", "unicode", "long"),  # range, str and int in protocols 0 to 2
        )
    ),
    *(f"datetime {name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(
        f"{module} {name}"
        for module in ("pathlib", "pathlib._local")
        for name in (
            *("Path", "PosixPath", "WindowsPath"),
            *("PurePath", "PurePosixPath", "PureWindowsPath"),
        )
    ),
    "timm.layers.format Format",
    "numpy dtype",
    "numpy ndarray",
    *(
        f"{module} {name}"
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("scalar", "_reconstruct")
    ),
    "numpy.core.numeric _frombuffer",
    "numpy._core.numeric _frombuffer",
    *(f"torch {name}" for name in _DTYPES),
}

MAPPINGS = {"collections OrderedDict", "collections defaultdict", "collections Counter"}
"""Classes that are dictionaries: their items are set like those of one."""

_ACTIVATIONS = {
    *(f"torch.nn.functional {name}" for name in ("relu", "gelu", "silu", "tanh", "sigmoid")),
    *("torch._C._nn gelu", "torch._C._nn silu", "torch relu", "torch tanh", "torch sigmoid"),
}
"""Functions that whole modules keep; kept inert like their classes."""
_IDENTIFIER = re.compile(r"[A-Za-z_]\w{0,199}\Z", re.ASCII)


def group_of(module: str, name: str, *, script: bool = False) -> Group:
    """Tell what a named object is for.

    ``tensors`` are builders that this tool does itself, ``data`` plain values, ``code`` classes
    of models whose objects are kept as inert records (and in a TorchScript archive, ``script``,
    those of its own code, ``__torch__``), ``unknown`` everything else, dotted names among it.
    """
    full = f"{module} {name}"
    if full in _TENSORS:
        return "tensors"
    if full in _DATA:
        return "data"
    if full in _ACTIVATIONS or full in MODEL_CLASSES:
        return "code"
    if script and module.partition(".")[0] == "__torch__":
        parts = (*module.split("."), name)
        if all(_IDENTIFIER.match(part) for part in parts):
            return "code"
    return "unknown"
