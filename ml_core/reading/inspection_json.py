"""An inspection as JSON and back, for the way from the process that read the file.

What comes back was said by a process that read a hostile file: every value is checked against
the type that the record declares, and tensors against the bytes that they claim.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from itertools import chain
from math import prod
from operator import attrgetter
from pathlib import Path, PurePosixPath
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ml_core.reading.decompression import FREE, MAX_RATIO, METHODS, Piece
from ml_core.reading.errors import ErrorCode, InputError, damaged
from ml_core.reading.inspection import Inspection
from ml_core.reading.safetensors_header import (
    BLOCKS,
    DTYPE_BYTES,
    MAX_RANK,
    TensorInfo,
    packed_bytes,
)
from ml_core.reading.strict_json import JsonError, parse_object

MAX_BYTES = 256 << 20
_MAX_DEPTH = 16
_MAX_SENTENCE = 4000
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _MisfitError(ValueError):
    """A value is not what the record declares; half a sentence."""


def to_json(inspection: Inspection) -> bytes:
    """Write an inspection; tensors as one list a field, so that 100 000 of them are quick."""
    record = {
        item.name: _plain(getattr(inspection, item.name), inspection.path)
        for item in fields(inspection)
    }
    return json.dumps(record, separators=(",", ":")).encode("ascii")


def error_to_json(error: InputError) -> bytes:
    """Write why there is no inspection."""
    fields = [error.sentence, error.code, error.details]
    return json.dumps({"error": fields}).encode("ascii")


def from_json(raw: bytes, path: Path) -> Inspection:
    """Read an inspection of ``path``; see `to_json`.

    Raises
    ------
    InputError
        The one that was written instead, or ``damaged`` if it is neither.
    """
    try:
        record = parse_object(
            raw,
            max_bytes=MAX_BYTES,
            max_depth=_MAX_DEPTH,
            max_parts=MAX_BYTES,
            half_characters=True,  # names in a pickle may hold some, and so may paths
        )
        if "error" in record:
            raise _error_from_json(record["error"])
        hints = _hints(Inspection)
        if record.keys() != hints.keys():
            raise _MisfitError("it lacks a field or has one too many")
        values = {name: _checked(record[name], hint, path) for name, hint in hints.items()}
        inspection = replace(Inspection(**values), path=path, name=path.name)
        _believe(inspection)
    except (JsonError, _MisfitError) as error:
        raise damaged(
            f"{path.name} was not read: what the reading process answered makes no sense "
            f"({error}); treat the file as hostile."
        ) from None
    return inspection


def _error_from_json(value: Any) -> InputError:
    """An error that was written by `error_to_json`."""
    sentence, code, details = _checked(value, tuple[str, ErrorCode, str], Path())
    if not sentence:
        raise _MisfitError("an error has no words")
    return InputError(sentence[:_MAX_SENTENCE], code, details)


@cache
def _hints(record: type) -> dict[str, Any]:
    """The declared types of a record's fields, in their order."""
    hints = get_type_hints(record)
    return {item.name: hints[item.name] for item in fields(record)}


def _plain(value: Any, root: Path) -> Any:
    """What JSON can hold; paths are relative to the chosen one."""
    if isinstance(value, Path):
        return value.relative_to(root).as_posix()
    if isinstance(value, Mapping):
        return {key: _plain(item, root) for key, item in value.items()}
    if is_dataclass(value):
        return {item.name: getattr(value, item.name) for item in fields(value)}
    if isinstance(value, tuple | list):
        if value and is_dataclass(value[0]):
            getters = (attrgetter(item.name) for item in fields(value[0]))
            return [list(map(get, value)) for get in getters]
        return [_plain(item, root) for item in value]
    return value


def _checked(value: Any, hint: Any, root: Path) -> Any:
    """A value of the declared type, or `_MisfitError`."""
    if hint is Any:
        return value
    if hint in (str, int, bool, float):
        _check_types((value,), hint)
        return value
    if hint is Path:
        return _below(value, root)
    if is_dataclass(hint):
        return _record(value, hint, root)
    of, inner = get_origin(hint), get_args(hint)
    if of in (Union, UnionType):
        if value is None and NoneType in inner:
            return None
        (hint,) = (item for item in inner if item is not NoneType)
        return _checked(value, hint, root)
    if of is Literal:
        if not isinstance(value, str) or value not in inner:
            raise _MisfitError(f"{str(value)[:40]!r} is not among the words expected")
        return value
    if of is tuple:
        return _checked_tuple(value, inner, root)
    if of in (dict, Mapping) and isinstance(value, dict):
        return {key: _checked(item, inner[1], root) for key, item in value.items()}
    raise _MisfitError("a value is of another kind than declared")


def _checked_tuple(value: Any, inner: tuple[Any, ...], root: Path) -> tuple[Any, ...]:
    """A list as a tuple: of any length, of a fixed one, or records by their columns."""
    if not isinstance(value, list):
        raise _MisfitError("a list is none")
    if inner[-1] is not Ellipsis:
        if len(value) != len(inner):
            raise _MisfitError("a list has another length than declared")
        return tuple(_checked(item, hint, root) for item, hint in zip(value, inner, strict=True))
    kind = inner[0]
    if kind in (str, int, float):
        _check_types(value, kind)
        return tuple(value)
    if is_dataclass(kind) and isinstance(kind, type):
        return _records(value, kind, root)
    return tuple(_checked(item, kind, root) for item in value)


def _record(value: Any, kind: Any, root: Path) -> Any:
    """A record from a table of its fields."""
    hints = _hints(kind)
    if not isinstance(value, dict) or value.keys() != hints.keys():
        raise _MisfitError("a record lacks a field or has one too many")
    return kind(**{name: _checked(value[name], hint, root) for name, hint in hints.items()})


def _records(columns: list[Any], kind: type, root: Path) -> tuple[Any, ...]:
    """Records from one list a field."""
    if not columns:
        return ()
    hints = _hints(kind)
    if len(columns) != len(hints):
        raise _MisfitError("a list of records has another number of columns than declared")
    checked = [
        _column(column, hint, root) for column, hint in zip(columns, hints.values(), strict=True)
    ]
    if len({len(column) for column in checked}) != 1:
        raise _MisfitError("the columns of a list of records differ in length")
    return tuple(map(kind, *checked))


def _column(values: Any, hint: Any, root: Path) -> list[Any]:
    """A list of values of one type; the types of a tensor's fields at once, others in turn."""
    if not isinstance(values, list):
        raise _MisfitError("a list is none")
    if hint in (str, int):
        _check_types(values, hint)
        return values
    if hint in (tuple[int, ...], tuple[float, ...]):
        _check_types(values, list)
        _check_types(chain.from_iterable(values), get_args(hint)[0])
        return list(map(tuple, values))
    if get_origin(hint) is UnionType and values.count(None) == len(values):
        return [_checked(None, hint, root)] * len(values)
    return [_checked(value, hint, root) for value in values]


def _check_types(values: Any, kind: type) -> None:
    """Refuse values of another type; ``True`` is not a number."""
    if not set(map(type, values)) <= {kind}:
        raise _MisfitError(f"a value is no {kind.__name__}")


def _below(value: Any, root: Path) -> Path:
    """A path at or below the chosen one."""
    if not isinstance(value, str) or "\0" in value or "\\" in value or ":" in value:
        raise _MisfitError("a path is none")
    relative = PurePosixPath(value)
    if relative.is_absolute() or ".." in relative.parts:
        raise _MisfitError("a path leads elsewhere")
    return root / relative


def _believe(inspection: Inspection) -> None:
    """Refuse a record that contradicts itself or points past a file's end."""
    if inspection.size < 0 or (inspection.sha256 and not _SHA256.fullmatch(inspection.sha256)):
        raise _MisfitError("a size or a hash is none")
    words = {
        "loads": ("ok",),
        "caution": ("note",),
        "dangerous": ("dangerous", "unknown_code"),
        "damaged": ("damaged", "truncated"),
        "unsupported": ("unsupported",),
    }
    if inspection.reason_code not in words[inspection.verdict]:
        raise _MisfitError("the verdict and its reason contradict each other")
    if inspection.verdict != "loads" and not (inspection.reasons and inspection.reasons[0]):
        raise _MisfitError("a verdict has no reason")
    if inspection.refused != (inspection.weights_path is None) or (
        inspection.refused and inspection.tensors
    ):
        raise _MisfitError("a refused file has tensors, or one that loads has none")
    if any(
        place.nbytes < 0 or not 0 <= place.offset <= inspection.size - place.nbytes
        for place in inspection.code_places
    ):
        raise _MisfitError("a place in the file is none")
    shards = {tensor.file for tensor in inspection.tensors}
    single = inspection.weights_path in (None, inspection.path) and inspection.graph is None
    if shards not in (set(), {""}) and single:
        raise _MisfitError("a single file has shards")
    if any(set(name) & set("/\\:\0") or name in (".", "..") for name in shards):
        raise _MisfitError("the name of a shard is none")
    sizes = {stamp.file: stamp.size for stamp in inspection.files}
    if not inspection.sha256 and not inspection.files:  # listed, and nothing is read by it
        sizes = dict.fromkeys(shards | {""}, inspection.size)
    elif inspection.tensors and (
        len(sizes) != len(inspection.files)
        or not shards <= sizes.keys() <= shards | {""}
        or sum(sizes.values()) != inspection.size
        or not all(_SHA256.fullmatch(stamp.sha256) for stamp in inspection.files)
    ):
        raise _MisfitError("the files of its tensors are not told")
    _check_pieces(inspection.pieces, sizes)
    unpacked: dict[str, int] = {}
    for piece in inspection.pieces:
        unpacked[piece.file] = unpacked.get(piece.file, 0) + piece.size
    sizes |= unpacked
    for tensor in inspection.tensors:
        _check_tensor(tensor, sizes[tensor.file])


def _check_pieces(pieces: tuple[Piece, ...], sizes: Mapping[str, int]) -> None:
    """Refuse packed pieces that do not lie in their file, or that unpack to too much."""
    for piece in pieces:
        if (
            piece.file not in sizes
            or piece.method not in METHODS
            or not 0 <= piece.offset <= sizes[piece.file] - piece.packed
            or not 0 <= piece.size <= FREE + MAX_RATIO * piece.packed
            or min(piece.packed, piece.crc) < 0
        ):
            raise _MisfitError("a packed piece does not lie in the file")


def _check_tensor(tensor: TensorInfo, size: int) -> None:
    """Refuse a tensor that does not lie in the file as it says."""
    shape, stride, dtype = tensor.shape, tensor.stride, tensor.dtype
    known = dtype in DTYPE_BYTES or (dtype in BLOCKS and stride is None)
    if not known or len(shape) > MAX_RANK or min(shape, default=0) < 0:
        raise _MisfitError("a tensor has no valid type or shape")
    span = prod(shape)
    if dtype in BLOCKS and span % BLOCKS[dtype][0]:
        raise _MisfitError("a tensor has no whole blocks")
    if stride is not None:
        if len(stride) != len(shape) or min(stride, default=0) < 0:
            raise _MisfitError("a tensor's shape and stride do not fit together")
        if span:
            span = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    each = shape[tensor.axis] if 0 <= tensor.axis < len(shape) else 1
    if len(tensor.scales) != len(tensor.zeros) or len(tensor.scales) not in (0, 1, each):
        raise _MisfitError("a tensor has more or fewer scales than it needs")
    if tensor.nbytes != packed_bytes(dtype, span) or not 0 <= tensor.offset <= size - tensor.nbytes:
        raise _MisfitError("a tensor does not lie inside the file")
