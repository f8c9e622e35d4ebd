"""ONNX models that lie: one sentence, soon, and within the memory of the reading process."""

from __future__ import annotations

import io
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ml_core.reading import examine
from ml_core.reading.onnx_file import OnnxFile
from tests.hostile.container_bytes import small_onnx
from tests.hostile.properties import check_onnx

SECONDS = 12.0  # of a busy machine
MANY = 40_000


def field(number: int, content: bytes | int) -> bytes:
    """One field of a message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def model(graph: bytes) -> bytes:
    """A model around the fields of a graph."""
    return field(1, 8) + field(2, b"pytorch") + field(8, field(2, 17)) + field(7, graph)


def tensor(*dims: int, name: bytes = b"w", more: bytes = b"") -> bytes:
    return b"".join(field(1, side) for side in dims) + field(2, 1) + field(8, name) + more


def _deep(levels: int) -> bytes:
    graph = b""
    for _ in range(levels):
        graph = field(1, field(4, b"If") + field(5, field(1, b"g") + field(6, graph)))
    return model(graph)


def _chain(operator: str, extra: tuple[str, ...] = (), count: int = MANY) -> bytes:
    """Each node reads from the one before it."""
    nodes = [
        helper.make_node(operator, [f"v{n}" if n else "w", *extra], [f"v{n + 1}"])
        for n in range(count)
    ]
    return _whole(nodes, [numpy_helper.from_array(np.ones((3, 3), np.float32), "w")], f"v{count}")


def _whole(nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto], output: str) -> bytes:
    ends = [helper.make_empty_tensor_value_info(output)]
    pixels = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 4, 4])
    graph = helper.make_graph(nodes, "g", [pixels], ends, tensors)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset]).SerializeToString()


def _functions() -> bytes:
    """Two functions that call each other."""
    made = onnx.load_from_string(small_onnx())
    for name, other in (("f", "g"), ("g", "f")):
        function = made.functions[0] if name == "f" else made.functions.add()
        function.name, function.domain = name, "own"
        del function.node[:]
        function.node.append(helper.make_node(other, ["a"], ["b"], domain="own"))
    return made.SerializeToString()


def _circle() -> bytes:
    nodes = [helper.make_node("Neg", ["b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    return _whole(nodes, [], "b")


def _tables() -> bytes:
    """Tables of a million whole numbers that do not count."""
    table = np.arange(1 << 20) % 7
    tensors = [numpy_helper.from_array(table, f"t{n}") for n in range(6)]
    nodes = [helper.make_node("Gather", ["x", item.name], [f"o{item.name}"]) for item in tensors]
    nodes.append(helper.make_node("Sum", [node.output[0] for node in nodes], ["o"]))
    return _whole(nodes, tensors, "o")


def _masks() -> bytes:
    """Biases whose product is many nodes before them."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["v0"])]
    nodes += [helper.make_node("Mul", [f"v{n}", "x"], [f"v{n + 1}"]) for n in range(MANY // 2)]
    nodes += [helper.make_node("Add", [f"v{MANY // 2}", "b"], [f"s{n}"]) for n in range(MANY // 4)]
    for n in range(MANY // 4):
        nodes.append(helper.make_node("Sum", [f"t{n}" if n else "x", f"s{n}"], [f"t{n + 1}"]))
    tensors = [numpy_helper.from_array(np.ones(side, np.float32), name)
        for side, name in (((3, 3), "w"), (3, "b"))]  # fmt: skip
    return _whole(nodes, tensors, f"t{MANY // 4}")


def _counting() -> bytes:
    """One long table under twenty thousand names."""
    ends = {"a": 0, "b": 1 << 17, "c": 1}
    nodes = [helper.make_node("Range", [*ends], ["v0"])]
    nodes += [helper.make_node("Identity", [f"v{n}"], [f"v{n + 1}"]) for n in range(MANY // 2)]
    nodes += [helper.make_node("Gather", ["w", f"v{MANY // 2}"], ["o"])]
    tensors = [numpy_helper.from_array(np.array(value), name) for name, value in ends.items()]
    return _whole(nodes, [*tensors, numpy_helper.from_array(np.ones((3, 3), "f4"), "w")], "o")


def _wide(count: int) -> bytes:
    """A node that reads one value many times."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["v"], "first")]
    nodes.append(helper.make_node("Add", ["v"] * count, ["o"], "wide"))
    return _whole(nodes, [numpy_helper.from_array(np.ones((3, 3), np.float32), "w")], "o")


LIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a length past the end": (lambda: model(b"")[:-1] + b"\x7f", "longer than what it lies in"),
    "half of it": (lambda: small_onnx()[:-40], "longer than what it lies in"),
    "eleven bytes of a number": (
        lambda: model(field(5, tensor() + b"\x08" + b"\xff" * 10 + b"\x01")), "ten bytes"),
    "65 bits": (lambda: model(field(5, b"\x08" + b"\xff" * 9 + b"\x02")), "more than 64 bits"),
    "2^63 numbers": (lambda: model(field(5, tensor((1 << 63) - 1))), "no valid shape"),
    "-1 numbers": (lambda: model(field(5, tensor((1 << 64) - 1))), "no valid shape"),
    "a product of 2^64": (lambda: model(field(5, tensor(1 << 32, 1 << 32))), "no valid shape"),
    "a million dimensions": (lambda: model(field(5, field(1, b"\1" * 1_000_000) + tensor())),
        "fields"),
    "seventeen dimensions": (lambda: model(field(5, tensor(*[1] * 17))), "no valid shape"),
    "too few bytes": (lambda: model(field(5, tensor(4, more=field(9, b"1234")))), "needs 16 bytes"),
    "no bytes": (lambda: model(field(5, tensor(4))), "nowhere"),
    "bytes twice": (lambda: model(field(5, tensor(1, more=field(9, b"1234") + field(4, b"1234")))),
        "twice"),
    "a place that ONNX does not have": (
        lambda: model(field(5, tensor(1, more=field(9, b"1234") + field(14, 1 << 32)))),
        "where its numbers lie"),
    "two attributes of a name": (
        lambda: model(field(1, field(2, b"o") + field(5, field(1, b"axis")) * 2)),
        "what its attributes are"),
    "raw bytes twice": (lambda: model(field(5, tensor(1, more=field(9, b"1234") * 2))), "twice"),
    "two graphs": (lambda: small_onnx() + field(7, b""), "graph twice"),
    "two tensors of a name": (
        lambda: model(field(5, tensor(1, more=field(9, b"1234"))) * 2), "the name 'w'"),
    "no name": (
        lambda: model(field(5, tensor(1, name=b"", more=field(9, b"1234")))), "the name ''"),
    "a group": (lambda: model(b"\x0b"), "wire type 3"),
    "ten million nodes": (lambda: model(field(1, b"") * 10_000_000), "more than 400,000 fields"),
    "a name of 60 MB": (lambda: model(field(2, b"n" * 60_000_000)), "longer than those of any"),
    "names of 300 MB": (
        lambda: model(field(1, field(3, b"n" * 1000)) * 300_000), "longer than those of any CLIP"),
    "a thousand graphs in each other": (lambda: _deep(1000), "too deep"),
    "functions in a circle": (_functions, "calls itself"),
    "nodes in a circle": (_circle, "wait for each other"),
    "a value from nowhere": (
        lambda: _whole([helper.make_node("Neg", ["gone"], ["o"])], [], "o"), "which nothing gives"),
    "an output from nowhere": (lambda: _whole([], [], "o"), "no node gives its output"),
    "a type that is none": (
        lambda: model(field(5, field(2, 99) + field(8, b"w"))), "no valid type"),
    "text that is no UTF-8": (lambda: model(field(2, b"\xff\xfe")), "not UTF-8"),
    "a chain of names": (lambda: _chain("Identity"), "no tensors"),
    "a long table under many names": (_counting, "Gather"),
    "a chain of sums": (lambda: _chain("Add", ("x",)), "Add"),
    "a tensor that all nodes use": (lambda: _chain("MatMul", ("w",)), "parameter 'w'"),
    "too many nodes": (lambda: _chain("Neg", count=50_001), "more than 50,000 nodes"),
    "one node of many inputs": (lambda: _wide(300_000), "node 'wide' (Add) reads more than 32"),
    "two versions of one domain": (
        lambda: small_onnx() + field(8, field(1, b"ai.onnx") + field(2, 18)), "of 'ai.onnx' twice"),
    "large tables": (_tables, "holds no tensors"),
    "distant biases": (_masks, "uses 'bias' beside"),
}  # fmt: skip


@pytest.mark.parametrize("case", LIES)
def test_a_lie_is_said_in_one_sentence(case, tmp_path):
    write, words = LIES[case]
    path = tmp_path / "model.onnx"
    path.write_bytes(write())
    start = time.perf_counter()
    inspection = examine(path)
    assert time.perf_counter() - start < SECONDS
    sentence = (*inspection.reasons, "Nothing.")[0]
    assert words in sentence
    assert sentence.endswith(".")
    assert inspection.verdict != "loads"
    assert "memory" not in sentence
    assert "unexpected" not in sentence


def test_empty_messages_take_little_memory():
    raw = model(field(1, field(5, field(11, b"") * 60_000)))  # each is a graph
    tracemalloc.start()
    try:
        OnnxFile(io.BytesIO(raw), len(raw), "model.onnx", None).model()
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_the_small_model_is_read_as_onnx_reads_it():
    assert check_onnx(small_onnx())
