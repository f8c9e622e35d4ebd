"""What must hold for any bytes; where it does not, a function raises AssertionError.

The readers of Python, zipfile and safetensors are asked too: whatever ours accepts they must
understand in the same way. The unpickler that is asked can import and call nothing.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import tempfile
import time
import zipfile
from collections.abc import Callable
from typing import Any

import onnx
from gguf import MODEL_ARCH, GGUFReader, get_tensor_name_map
from safetensors import SafetensorError, deserialize

from ml_core.reading.archive_members import ZipError, read_member, zip_members
from ml_core.reading.decompression import Unpacked
from ml_core.reading.errors import InputError
from ml_core.reading.gguf_file import read_gguf
from ml_core.reading.onnx_file import OnnxFile
from ml_core.reading.pickles.machine import read_pickle
from ml_core.reading.safetensors_header import TensorInfo, packed_bytes, parse_header
from ml_core.reading.sniff import sniff
from ml_core.reading.weights_reader import read_weights

SECONDS = 5.0
LIMIT = 1 << 20


class _Stub:
    """Stands for everything that a pickle names; it can be called, set and added to."""

    def __new__(cls, *arguments: Any, **named: Any) -> _Stub:
        return object.__new__(cls)

    def __call__(self, *arguments: Any, **named: Any) -> _Stub:
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


class _Asked(pickle.Unpickler):
    """Python's own unpickler, which notes names instead of importing them."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(io.BytesIO(raw))
        self.names: set[str] = set()
        self.marks = 0

    def find_class(self, module: str, name: str) -> Any:
        self.names.add(f"{module} {name}")
        return type("Stub", (_Stub,), {})

    def persistent_load(self, pid: Any) -> Any:
        self.marks += 1
        return _Stub()


def _older(name: str) -> str:
    """A name of Python 2 as Python 3 maps it in protocols 0 to 2."""
    import _compat_pickle

    module, _, attribute = name.partition(" ")
    module, attribute = _compat_pickle.NAME_MAPPING.get((module, attribute), (module, attribute))
    return f"{_compat_pickle.IMPORT_MAPPING.get(module, module)} {attribute}"


def _last_place(raw: bytes) -> int:
    """The last memo place that a pickle chooses."""
    return max(
        (
            argument
            for opcode, argument, _ in pickletools.genops(raw)
            if opcode.name.endswith("PUT") and isinstance(argument, int)
        ),
        default=0,
    )


def check_pickle(raw: bytes) -> bool:
    """Ours names all that Python's would import; tell whether ours found nothing wrong."""
    start = time.perf_counter()
    found = read_pickle(raw)
    assert time.perf_counter() - start < SECONDS, "slow"
    if found.problem:
        return False  # among them every memo place for which Python's would take gigabytes
    assert _last_place(raw) < len(raw)
    asked = _Asked(raw)
    try:
        asked.load()
    except (MemoryError, RecursionError):
        return False
    except Exception:
        pass  # what it asked for before it stumbled counts
    ours = set(found.names)
    ours |= {_older(name) for name in ours}
    assert asked.names <= ours, f"Python imports {asked.names - ours}, ours found {ours}"
    return True


def check_zip(raw: bytes) -> bool:
    """What ours lists, zipfile lists and unpacks to the same bytes."""
    file = io.BytesIO(raw)
    try:
        members = zip_members(file, len(raw))
        contents = {member.name: read_member(file, member, LIMIT) for member in members}
    except ZipError:
        return False
    with zipfile.ZipFile(io.BytesIO(raw)) as other:
        assert {info.filename for info in other.infolist()} == set(contents)
        for info in other.infolist():
            if info.CRC:
                assert other.read(info) == contents[info.filename], info.filename
    return True


def check_safetensors(raw: bytes) -> bool:
    """What ours accepts, the library reads to the same tensors."""
    try:
        header = parse_header(io.BytesIO(raw), len(raw), "x")
    except InputError:
        return False
    try:
        others = dict(deserialize(raw))
    except SafetensorError as error:
        raise AssertionError(f"the library refuses it: {error}") from None
    assert {tensor.name for tensor in header.tensors} == set(others)
    for tensor in header.tensors:
        other = others[tensor.name]
        assert list(tensor.shape) == list(other["shape"])
        assert raw[tensor.offset : tensor.offset + tensor.nbytes] == bytes(other["data"])
    return True


_SHORT = get_tensor_name_map(MODEL_ARCH.MMPROJ, 100)


def _is_renamed(ours: str, theirs: str) -> bool:
    """Whether llama.cpp's package shortens ours to theirs, or to that of the other dense layer."""
    tower = {"vision_model": "v", "text_model": "t"}.get(ours.partition(".")[0], "")
    library = f"vision_tower.vision_model.{ours.partition('.')[2]}"
    short = _SHORT.get_name(library, (".weight", ".bias")) or f"v.{theirs[2:]}"
    same = short[1:].replace("ffn_down", "ffn_up") == theirs[1:].replace("ffn_down", "ffn_up")
    return same and tower == theirs[:1]


def check_gguf(raw: bytes) -> bool:
    """What ours accepts, llama.cpp's package reads to the same tensors."""
    if not raw.startswith(b"GGUF"):  # as `sniff` tells
        return False
    try:
        ours = read_gguf(io.BytesIO(raw), len(raw), "x")
    except InputError:
        return False
    with tempfile.NamedTemporaryFile() as file:
        file.write(raw)
        file.flush()
        try:
            theirs = GGUFReader(file.name)
        except Exception as error:
            raise AssertionError(f"the package gguf refuses it: {error!r}") from error
    assert len(ours.tensors) == len(theirs.tensors)
    others = {tensor.data_offset: tensor for tensor in theirs.tensors if tensor.n_bytes}
    for tensor in ours.tensors:
        if tensor.nbytes:
            other = others[tensor.offset]
            assert tensor.name == other.name or _is_renamed(tensor.name, other.name)
            assert tensor.nbytes == other.n_bytes
            assert tensor.dtype == other.tensor_type.name
            assert list(tensor.shape) == other.shape.tolist()[::-1]
    keys = {key for key in theirs.fields if not key.startswith("GGUF.")}
    assert ours.metadata.keys() == {key for key in keys if "." in key}
    assert bool(ours.unread) == any("." not in key for key in keys)
    return True


# Ours refuses these where protobuf takes the last of two, skips what it does not expect, or has no
# opinion: no exporter writes them, and another reader may take the first.
STRICTER = ("twice", "is no ", "no valid shape", "no valid type", "no graph", "nowhere", "needs ",
    "longer than those", "is not UTF-8", "fields", "one by one", "another type", "several pieces",
    "another file", "too deep", "more or fewer numbers", "the number", "64 bits",
    "wire type", "clearly")  # fmt: skip


class _Watched(OnnxFile):
    """Notes whether there is something that ours passes over and onnx takes apart."""

    passed = False

    def _read(self, *arguments: Any) -> dict[str, Any]:
        message = super()._read(*arguments)
        self.passed |= any(message.get(name) for name in PASSED)
        return message


PASSED = ("doc", "metadata", "values", "quantization", "devices", "training", "denotation",
    "sparse", "sparses", "strings", "tp", "tps", "floats", "s", "segment", "sequence",
    "map", "opaque", "optional")  # fmt: skip


def check_onnx(raw: bytes) -> bool:
    """What ours accepts, onnx reads to the same nodes and tensors; the contrary is explained."""
    start = time.perf_counter()
    source = _Watched(io.BytesIO(raw), len(raw), "x", None)
    sentence = ""
    try:
        graph = source.model().get("graph")
        tensors = [] if graph is None else [source.tensor(item) for item in graph["initializers"]]
        for node in [] if graph is None else graph["nodes"]:
            tensors_inside = [item["t"] for item in node["attributes"] if "t" in item]
            for item in map(source.tensor, tensors_inside):
                source.table(item)
        for item in tensors:
            source.table(item)
    except InputError as error:
        sentence = error.sentence
    assert time.perf_counter() - start < SECONDS, "slow"
    try:
        other = onnx.load_from_string(raw)
    except Exception:
        other = None
    if other is None:
        assert sentence or source.passed, "onnx refuses it"
        return False
    if sentence:
        assert any(words in sentence for words in STRICTER), f"onnx reads it: {sentence}"
        return False
    if graph is None:
        return False
    for ours, theirs in zip(graph["nodes"], other.graph.node, strict=True):
        assert ours.get("operator", "") == theirs.op_type
        assert ours.get("name", "") == theirs.name
        assert (ours["inputs"], ours["outputs"]) == (list(theirs.input), list(theirs.output))
    for tensor, theirs in zip(tensors, other.graph.initializer, strict=True):
        assert (tensor.name, tensor.shape) == (theirs.name, tuple(theirs.dims))
        if tensor.dtype and theirs.HasField("raw_data"):
            assert raw[tensor.offset : tensor.offset + tensor.nbytes] == theirs.raw_data
        elif tensor.dtype == "F32" and theirs.float_data:
            assert repr(source.table(tensor)) == repr(tuple(theirs.float_data))  # NaN, too
    return True


def check_file(raw: bytes) -> bool:
    """A sentence or tensors that lie inside the file, within some time; whatever the format."""
    start = time.perf_counter()
    file = io.BytesIO(raw)
    try:
        found = read_weights(file, len(raw), "x", sniff(file, len(raw)))
        sentence = ""
    except InputError as error:
        sentence = error.sentence
    assert time.perf_counter() - start < SECONDS, "slow"
    if sentence:
        assert sentence.endswith("."), sentence
        return False
    names = {tensor.name for tensor in found.tensors}
    assert len(names) == len(found.tensors)
    # Where numbers are packed, offsets count in what they are unpacked.
    size = sum(piece.size for piece in found.pieces) if found.pieces else len(raw)
    for piece in found.pieces:
        assert 0 <= piece.offset <= len(raw) - piece.packed
    image = Unpacked(file, found.pieces) if found.pieces else file
    for tensor in found.tensors:
        _check_tensor(tensor, size)
        if size <= LIMIT:
            image.seek(tensor.offset)
            assert len(image.read(tensor.nbytes)) == tensor.nbytes
    json.dumps([found.facts, found.metadata, found.names, sorted(names)]).encode()
    "".join(names).encode()
    return True


def _check_tensor(tensor: TensorInfo, size: int) -> None:
    """Its elements lie in the file, and its shape is one that can be made."""
    assert 0 <= tensor.offset <= size
    assert 0 <= tensor.nbytes <= size - tensor.offset
    assert all(0 <= side <= 1 << 48 for side in tensor.shape)
    stride = tensor.stride
    if 0 in tensor.shape:
        assert tensor.nbytes == 0
    elif stride is None:
        assert tensor.nbytes == packed_bytes(tensor.dtype, tensor.elements)
    else:
        assert len(stride) == len(tensor.shape)
        last = sum((n - 1) * s for n, s in zip(tensor.shape, stride, strict=True))
        assert tensor.nbytes == packed_bytes(tensor.dtype, last + 1)
        assert packed_bytes(tensor.dtype, tensor.elements) <= tensor.nbytes + (64 << 20)


CHECKS: dict[str, Callable[[bytes], bool]] = {
    "pickle": check_pickle,
    "zip": check_zip,
    "safetensors": check_safetensors,
    "gguf": check_gguf,
    "onnx": check_onnx,
    "file": check_file,
}
