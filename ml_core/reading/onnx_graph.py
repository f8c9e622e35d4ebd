"""The graph of an ONNX model: which tensor is which layer's weight, and what is not a CLIP's.

Exporters keep the names of most parameters. A matrix that they turned or folded has a made-up name
(``onnx::MatMul_309``); the node that uses it says whose it is, by the path of its module
(``/vision_model/encoder/layers.0/self_attn/q_proj/MatMul``), or by the bias that is added next.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import BinaryIO

from ml_core.reading.container import Container, Graph, WeightsFile
from ml_core.reading.onnx_arithmetic import (
    CONTROL,
    MASK,
    PIXELS,
    TOKENS,
    Arithmetic,
    Batch,
    Node,
)
from ml_core.reading.onnx_file import Message, OnnxFile, Stored
from ml_core.reading.onnx_tables import LENGTH, PICTURES, SIDE, TEXTS
from ml_core.reading.safetensors_header import TensorInfo
from ml_core.reading.sniff import ONNX

_MAX_NODES = 50_000
_MAX_FUNCTIONS = 1000
_DESCRIBED = 4096  # bytes a node: twice what torch's exporters write
_MAX_INPUTS = 32  # of a node; what follows asks some of them for each of them
_MAX_SHOWN = 20
_ONNX = ("", "ai.onnx")
_PACKED = ("MatMulNBits", "MatMulBnb4", "GatherBlockQuantized", "MatMulFpQ4")

# What follows from the size of its input, or from nothing.
_WITH_TENSOR = ("Constant", "ConstantOfShape", *CONTROL)
_OF_SIZES = ("Shape", "Size")
_PIXELS, _TOKENS = 1, 2  # what a value depends on
_SCOPES = b"pkg.torch.onnx.name_scopes"
_MADE_UP = re.compile(r"onnx::|/|_|val_\d|[\d:]+\Z|[A-Za-z]+_\d+\Z")
_KEPT_ALONE = ("class_embedding", "positional_embedding", "proj", "text_projection", "logit_scale",
    "logit_bias")  # fmt: skip
_TWICE = re.compile(r"\b(\w+)\.\1\.(\d+)")
_SUFFIXES = re.compile(r"(_quantized|_Transposed|_DequantizeLinear)+\Z")
_MAX_NAMES = 4
_ROLES = {
    ("MatMul", 1): "weight", ("MatMulInteger", 1): "weight", ("Gemm", 1): "weight",
    ("Gemm", 2): "bias", ("Conv", 1): "weight", ("ConvInteger", 1): "weight", ("Conv", 2): "bias",
    ("LayerNormalization", 1): "weight", ("LayerNormalization", 2): "bias",
    ("BatchNormalization", 1): "weight", ("BatchNormalization", 2): "bias",
    ("BatchNormalization", 3): "running_mean", ("BatchNormalization", 4): "running_var",
    ("Gather", 0): "weight", ("Expand", 0): "class_embedding", ("Concat", 0): "class_embedding",
    ("Exp", 0): "logit_scale",
}  # fmt: skip
_WHOLE = ("BOOL", "U8", "I8", "U16", "I16", "I32", "I64", "U32", "U64")
_BYTES = ("U8", "I8")
_FLOAT_CODES = (1, 10, 11, 16)
_FLOATS = ("F32", "F16", "BF16", "F64")
_OF_MATRICES = ("MatMul", "MatMulInteger", "Gemm")
_QUANTISED_USES = ("MatMulInteger", "ConvInteger", "Gather")


@dataclass(frozen=True, slots=True)
class _Held:
    """A value that is a tensor of the file: itself, turned, or under another name."""

    stored: Stored
    names: tuple[str, ...]
    turned: bool = False
    scales: tuple[float, ...] = ()
    zeros: tuple[int, ...] = ()
    axis: int = 0


def read_onnx(file: BinaryIO, size: int, name: str, folder: Path | None) -> WeightsFile:
    """Read an open ONNX model of ``size`` bytes.

    Parameters
    ----------
    folder
        Where the files with its tensors lie; None in an archive.

    Raises
    ------
    InputError
        If it is damaged, or holds what this version does not read.
    """
    source = OnnxFile(file, size, name, folder)
    try:
        return _Reading(source).result()
    finally:
        source.close()


class _Reading:
    """One pass over the nodes in their order, which is that of the computation."""

    def __init__(self, source: OnnxFile) -> None:
        self._source = source
        self._model = source.model()
        if "graph" not in self._model or not self._model["opsets"]:
            raise source.damaged("it has no graph or names no operators")
        self._graph: Message = self._model["graph"]
        self._opsets: dict[str, int] = {}
        for item in self._model["opsets"]:
            domain, version = item.get("domain") or "ai.onnx", item.get("version", 0)
            if self._opsets.setdefault(domain, version) != version:
                raise source.damaged(f"it gives the version of {domain[:80]!r} twice")
        if self._graph["sparse"]:
            raise source.unsupported("it holds sparse tensors")
        self._stored: dict[str, Stored] = {}
        self._held: dict[str, _Held] = {}
        self._bits: dict[str, int] = {"": 0}
        self._maker: dict[str, Node] = {}
        self._findings: dict[str, None] = {}
        self._tensors: dict[str, TensorInfo] = {}
        self._aside: set[str] = set()  # tensors of the file that are a size or a mask
        self._scales: set[str] = set()  # those that turn whole numbers into weights
        self._weight_of: dict[int, str] = {}  # of the product at this number in the graph
        # The parameter and its shape there, by a node's number and an input's place.
        self._parameters: dict[tuple[int, int], tuple[str, tuple[int, ...]]] = {}
        self._weights: set[str] = set()  # tensors of the file that are parameters
        self._users: dict[str, list[Node]] = {}
        self._user_of: dict[str, str] = {}
        self._wrapper = ""
        self._operators: Counter[str] = Counter()
        self._control: list[str] = []
        self._unread: list[str] = []

    def result(self) -> WeightsFile:
        """Read the graph and name its tensors."""
        inputs = self._read_ends()
        functions = self._read_functions()
        nodes = [self._node(message, number) for number, message in enumerate(self._graph["nodes"])]
        nodes = self._sorted(nodes)
        for node in nodes:
            self._follow(node)
        alive = self._alive(nodes)
        self._name_tensors(alive)
        self._compare(alive, inputs)
        self._find_unused()
        self._check_places()
        if any(name.endswith("layer1.0.conv1.bias") for name in self._tensors):
            raise self._source.unsupported(
                "its exporter merged the layers of BatchNorm into the convolutions, from which "
                "they cannot be told apart again"
            )
        if self._source.unknown:
            count = self._source.unknown
            self._unread.append(f"fields that ONNX does not define ({count:,} bytes)")
        if count := self._source.long or max(0, self._source.described - _DESCRIBED * len(nodes)):
            self._unread.append(
                f"names and descriptions, longer than an exporter's ({count:,} bytes)"
            )
        if self._model["training"]:
            self._unread.append("training information")
        graph = self._facts(functions)
        return WeightsFile(
            ONNX.format,
            tuple(self._tensors.values()),
            unread=tuple(self._unread),
            notes=graph.findings,
            container=Container("ONNX"),
            graph=graph,
            beside=self._source.sizes_beside(),
        )

    def _facts(self, functions: tuple[str, ...]) -> Graph:
        """What is printed of it."""
        model, graph = self._model, self._graph
        findings = list(self._findings)
        if len(findings) > _MAX_SHOWN:
            more = len(findings) - _MAX_SHOWN
            findings[_MAX_SHOWN:] = [f"{more} more nodes or tensors are not as in a CLIP."]
        return Graph(
            f"{model.get('producer', '')} {model.get('producer_version', '')}".strip(),
            self._opsets,
            dict(self._operators.most_common()),
            functions,
            tuple(_value_words(item) for item in graph["inputs"]),
            tuple(_value_words(item) for item in graph["outputs"]),
            tuple(self._control),
            self._user_of,
            tuple(findings),
            self._source.described,
        )

    def _find(self, sentence: str) -> None:
        self._findings[sentence[0].upper() + sentence[1:]] = None

    def _read_ends(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Initialisers and inputs; what each input is, with its sides."""
        for message in self._graph["initializers"]:
            self._add_tensor(self._source.tensor(message))
        inputs: dict[str, tuple[str, tuple[int, ...]]] = {}
        for value in self._graph["inputs"]:
            name = value.get("name", "")
            if name in self._held:  # old exporters list the initialisers as inputs, too
                continue
            self._give(name)
            kind = value.get("type", {}).get("tensor")
            if kind is None:
                self._find(f"the input {name[:80]!r} is no tensor.")
                continue
            dims = kind.get("shape", {}).get("dims", [])
            is_text = len(dims) < 3 and kind.get("element") in (6, 7)  # whole numbers
            self._bits[name] = _TOKENS if is_text else _PIXELS
            text = MASK if "mask" in name else TOKENS
            inputs[name] = (text if is_text else PIXELS, tuple(dim.get("size", 0) for dim in dims))
        return inputs

    def _give(self, name: str) -> None:
        """Make sure that no other value has this name."""
        if not name or name in self._bits:
            raise self._source.damaged(f"two values have the name {name[:80]!r}")
        self._bits[name] = 0

    def _add_tensor(self, stored: Stored) -> None:
        self._give(stored.name)
        self._stored[stored.name] = stored
        self._held[stored.name] = _Held(stored, (stored.name,))

    def _read_functions(self) -> tuple[str, ...]:
        """Functions of the file, which must not call themselves."""
        calls: dict[tuple[str, str], set[tuple[str, str]]] = {}
        for function in self._model["functions"]:
            key = (function.get("domain", ""), function.get("name", ""))
            if len(calls) == _MAX_FUNCTIONS:
                raise self._source.unsupported(f"it has more than {_MAX_FUNCTIONS:,} functions")
            if key[0] in _ONNX:
                self._find(f"the function {key[1][:80]!r} takes the place of an operator of ONNX.")
            if key in calls:
                raise self._source.damaged(f"it defines the function {key[1][:80]!r} twice")
            nodes = list(self._inside(function["nodes"]))
            calls[key] = {(node.get("domain", ""), node.get("operator", "")) for node in nodes}
            self._unread.append(
                f"the function {key[1][:80]!r} of the domain {key[0][:80]!r} (nodes: {len(nodes)}, "
                f"tensors: {_count_tensors(nodes)})"
            )
        left = {key: called & calls.keys() for key, called in calls.items()}
        while ready := {key for key, called in left.items() if not called}:
            left = {key: called - ready for key, called in left.items() if key not in ready}
        if left:
            raise self._source.damaged(f"its function {min(left)[1][:80]!r} calls itself")
        return tuple(f"{domain}:{name}" for domain, name in calls)

    def _inside(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Nodes of a function or a branch, and of what lies in them; they are counted."""
        for message in messages:
            domain, operator = message.get("domain", ""), message.get("operator", "")
            self._operators[operator if domain in _ONNX else f"{domain}:{operator}"] += 1
            yield message
            for graph in _branches(message):
                yield from self._inside(graph["nodes"])

    def _node(self, message: Message, number: int) -> Node:
        if number >= _MAX_NODES:
            raise self._source.unsupported(f"it has more than {_MAX_NODES:,} nodes")
        outputs = message["outputs"]
        name = message.get("name") or next(filter(None, outputs), "") or f"number {number}"
        node = Node(
            name,
            message.get("operator", ""),
            message.get("domain", ""),
            list(message["inputs"]),
            outputs,
            message,
            number,
        )
        self._operators[node.title] += 1
        if node.operator not in _WITH_TENSOR and (tensors := _count_tensors([message])):
            self._unread.append(f"tensors in attributes of the node {name[:80]!r}: {tensors}")
        names = [item.get("name", "") for item in message["attributes"]]
        if len(set(names)) < len(names) or (node.operator == "Constant" and len(names) != 1):
            raise self._source.damaged(f"{node.words} does not say clearly what its attributes are")
        if node.operator in _PACKED:
            raise self._source.unsupported(
                f"its weights are packed in blocks of a few bits (operator {node.operator}); take "
                "its copy in fp32 or fp16, such as model.onnx or model_fp16.onnx"
            )
        return node

    def _sorted(self, nodes: list[Node]) -> list[Node]:
        """Nodes in an order in which each comes after those that it reads from.

        The format asks for such an order; onnxruntime does not, nor do programs that add casts.
        """
        for node in nodes:
            for name in filter(None, node.outputs):
                self._give(name)
                self._maker[name] = node
        followers: dict[int, list[Node]] = {}
        missing: dict[int, int] = {}
        for node in nodes:
            for graph in _branches(node.message):
                self._enter(node, graph)
            if len(node.inputs) > _MAX_INPUTS:
                raise self._source.unsupported(f"{node.words} reads more than {_MAX_INPUTS} values")
            for name in dict.fromkeys(node.inputs):
                if name not in self._bits:
                    raise self._source.damaged(
                        f"{node.words} reads {name[:80]!r}, which nothing gives"
                    )
                self._users.setdefault(name, []).append(node)
            before = {self._maker[name].number for name in node.inputs if name in self._maker}
            missing[node.number] = len(before)
            for number in before:
                followers.setdefault(number, []).append(node)
        order = [node for node in nodes if not missing[node.number]]
        for node in order:  # which grows
            for follower in followers.get(node.number, ()):
                missing[follower.number] -= 1
                if not missing[follower.number]:
                    order.append(follower)
        if len(order) < len(nodes):
            raise self._source.damaged("some of its nodes wait for each other")
        return order

    def _follow(self, node: Node) -> None:
        """What a node's outputs depend on, and which tensor of the file they are."""
        if node.operator == "Constant" and node.own:
            self._keep_constant(node)
            return
        bits = 0 if node.operator in _OF_SIZES else self._bits_of(node)
        self._bits.update(dict.fromkeys(filter(None, node.outputs), bits))
        self._check(node)
        self._hold(node)

    def _enter(self, node: Node, graph: Message) -> None:
        """Count what lies in a branch; what it takes from outside are inputs of its node."""
        own = {item.get("name", "") for item in (*graph["inputs"], *graph["initializers"])}
        nodes = list(self._inside(graph["nodes"]))
        tensors = len(graph["initializers"]) + _count_tensors(nodes)
        for message in nodes:
            own.update(message["outputs"])
            for inner in _branches(message):
                own.update(item.get("name", "") for item in (*inner["inputs"],
                    *inner["initializers"]))  # fmt: skip
        taken = dict.fromkeys(name for message in nodes for name in message["inputs"])
        taken |= dict.fromkeys(item.get("name", "") for item in graph["outputs"])
        node.inputs += [name for name in taken if name in self._bits and name not in own]
        if tensors:
            self._unread.append(f"{tensors} tensors in a branch of {node.name[:80]!r}")

    def _keep_constant(self, node: Node) -> None:
        """A tensor that stands in a node."""
        (attribute,) = node.message["attributes"]
        name = node.outputs[0] if node.outputs else ""
        if not name:
            return
        if "t" in attribute and attribute.get("name") == "value":
            stored = replace(self._source.tensor(attribute["t"], name), name=name)
        elif "sparse" in attribute:
            raise self._source.unsupported("it holds sparse tensors")
        elif "s" in attribute or attribute["strings"]:
            raise self._source.unsupported(f"{node.words} holds text, which no CLIP computes with")
        else:  # numbers in a row, which only sizes may be
            floats = sum(stop - start for start, stop in attribute["floats"]) // 4
            stored = Stored(name, "F32" if floats else "I64", (floats or len(attribute["ints"]),))
        self._stored[name] = stored
        self._held[name] = _Held(stored, (name,))

    def _check(self, node: Node) -> None:
        """Name a node that chooses what is computed, or whose operator is not ONNX's."""
        if not node.own:
            domain = node.domain[:80]
            self._find(
                f"{node.words} is of the domain {domain!r}: what it computes is not looked into."
            )
        elif node.operator in CONTROL or any(_branches(node.message)):
            self._control.append(node.name)
            bits = self._bits_of(node)
            by = f" by the {PIXELS if bits & _PIXELS else TOKENS}" if bits else ""
            self._find(f"{node.words} chooses{by} what is computed; no exporter of a CLIP does.")

    def _bits_of(self, node: Node) -> int:
        """What the inputs of a node depend on."""
        return reduce(or_, (self._bits[name] for name in node.inputs), 0)

    def _hold(self, node: Node) -> None:
        """Tensors that a node only renames, turns or scales."""
        held = self._held.get(node.inputs[0]) if node.inputs else None
        if held is None or not node.own or not node.outputs:
            return
        name = node.outputs[0]
        held = replace(held, names=(name, *held.names[:_MAX_NAMES]))
        if node.operator == "Transpose":
            order = node.attribute("perm").get("ints", [1, 0])
            if order != [1, 0] or len(held.stored.shape) != 2:
                return
            held = replace(held, turned=not held.turned)
        elif node.operator == "Cast" and (
            (held.stored.dtype in _FLOATS) != (node.attribute("to").get("i") in _FLOAT_CODES)
        ):
            return
        elif node.operator == "DequantizeLinear":
            axis = node.attribute("axis").get("i", 1)
            if held.turned:
                axis = 1 - axis % 2
            scale, zero = [*node.inputs[1:], "", ""][:2]
            held = self._scaled(held, scale, zero, axis)
        elif node.operator not in ("Identity", "Cast"):
            return
        self._held[name] = held

    def _scaled(self, held: _Held, scale: str, zero: str, axis: int) -> _Held:
        """A tensor of whole numbers with what turns them into weights."""
        stored = held.stored
        label = f"the tensor {stored.name[:80]!r}"
        tables = [self._stored.get(name) for name in (scale, zero)]
        scales = None if tables[0] is None else self._source.table(tables[0])
        zeros = (0,) if tables[1] is None else self._source.table(tables[1])
        if scales is None or zeros is None or (zero and tables[1] is None):
            raise self._source.unsupported(f"{label} has whole numbers without a scale in the file")
        if len(zeros) == 1:
            zeros *= len(scales)
        axis = axis + len(stored.shape) if axis < 0 else axis
        if len(scales) != len(zeros) or (
            len(scales) > 1
            and (not 0 <= axis < len(stored.shape) or stored.shape[axis] != len(scales))
        ):
            raise self._source.unsupported(f"{label} is scaled block by block")
        if not all(map(math.isfinite, scales)):
            raise self._source.damaged(f"{label} has a scale that is no number")
        self._scales |= {scale, zero}
        zeros = tuple(map(int, zeros))
        return replace(held, scales=tuple(map(float, scales)), zeros=zeros, axis=axis)

    def _alive(self, nodes: list[Node]) -> list[Node]:
        """Nodes that an output needs, in their order."""
        needed = {item.get("name", "") for item in self._graph["outputs"]}
        for name in needed:
            if name not in self._bits:
                raise self._source.damaged(f"no node gives its output {name[:80]!r}")
        alive = []
        by_numbers = {*needed}
        for node in reversed(nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                alive.append(node)
                if node.operator not in _OF_SIZES and by_numbers.intersection(node.outputs):
                    by_numbers.update(node.inputs)
        self._needed = by_numbers
        return alive[::-1]

    def _name_tensors(self, nodes: list[Node]) -> None:
        """Give each tensor that a layer uses the name of the layer's parameter."""
        self._is_hf = any("text_model." in name or "vision_model." in name for name in self._stored)
        self._has_visual = any(name.startswith("visual.") for name in self._stored)
        uses = [
            (node, place, self._held[name])
            for node in nodes
            if not any(output in self._held for output in node.outputs)
            for place, name in enumerate(node.inputs)
            if name in self._held
        ]
        self._find_wrapper(uses)
        for number, (node, place, held) in enumerate(uses):
            if _is_quantised(node, held):
                uses[number] = (node, place, self._quantised(node, held))
        for node, place, held in uses:
            self._use(node, place, held)
        for item in self._graph["outputs"]:
            output = self._held.get(item.get("name", ""))
            if output is not None and (kept := _kept(output)):
                self._emit(kept, output, output.stored.name)

    def _find_wrapper(self, uses: list[tuple[Node, int, _Held]]) -> None:
        """What stands before every kept name and in no path: the attribute of a wrapper."""
        wrappers: Counter[str] = Counter()
        for node, _, held in uses:
            kept, path = _kept(held), self._path(node)
            if kept and path and kept.rpartition(".")[0].endswith(path):
                wrappers[kept.rpartition(".")[0].removesuffix(path)] += 1
        self._wrapper = max(wrappers, key=lambda name: wrappers[name], default="")

    def _use(self, node: Node, place: int, held: _Held) -> None:
        """One use of a tensor by a node."""
        stored = held.stored
        if stored.name in self._aside | self._scales or node.operator in _OF_SIZES:
            return
        if stored.dtype in _WHOLE and not held.scales:
            self._aside.add(stored.name)
            return
        kept = _kept(held)
        if stored.elements < 2 and not kept and not self._is_scale(node, stored):
            self._aside.add(stored.name)
            return
        if not stored.dtype:
            raise self._source.unsupported(
                f"the tensor {stored.name[:80]!r} has numbers of the type {stored.type_name}"
            )
        of_pixels = self._bits_of(node) & _PIXELS
        is_square = len(stored.shape) > 1 and stored.shape[-1] == stored.shape[-2]  # as a mask is
        if node.operator == "Add" and not kept and not of_pixels and is_square:
            self._aside.add(stored.name)
            return
        path, shape = self._path(node), _shape(held)
        if place == 1 and node.operator in _OF_MATRICES:  # a Linear's weight lies the other way
            of_linear = not kept or kept.endswith("weight")
            turns = of_linear != bool(node.attribute("transB").get("i"))
            held = replace(held, turned=held.turned != turns)
        if kept and (path is None or _agree(kept, path)):
            name = kept
        elif path is None:
            name, held = self._by_neighbours(node, place, held)
        else:
            name, held = self._by_path(node, place, held, path)
        name = name or kept or stored.name
        self._weight_of.setdefault(node.number, name)
        name = self._emit(name, held, stored.name)
        self._parameters[node.number, place] = (name, shape)
        self._weights.add(stored.name)
        first = self._user_of.setdefault(name, node.words[4:])
        if first != node.words[4:]:
            self._find(f"{node.words} uses {name[:120]!r} beside the {first}.")

    def _is_scale(self, node: Node, stored: Stored) -> bool:
        """Whether a number is the scale or the bias of the similarities of images and texts."""
        both = self._bits_of(node) == _PIXELS | _TOKENS
        return stored.dtype in _FLOATS and (
            node.operator == "Exp" or (both and node.operator == "Add")
        )

    def _quantised(self, node: Node, held: _Held) -> _Held:
        """A matrix of whole numbers, with the scale that multiplies what is made of it."""
        axis = 0 if node.operator.startswith("Conv") else len(held.stored.shape) - 1
        users = self._users.get(node.outputs[0], [])
        if node.operator == "Gather":
            ends = {(user.operator, *user.inputs[1:]) for user in users}
            operator, scale, zero = [*(ends.pop() if len(ends) == 1 else ()), "", "", ""][:3]
            return self._scaled(held, scale if operator == "DequantizeLinear" else "", zero, axis)
        product = self._only_user(self._only_user(node))
        makers = [self._maker.get(name) for name in product.inputs] if product else []
        both = [
            name for maker in makers if maker for name in maker.inputs if maker.operator == "Mul"
        ]
        scale = next((name for name in both if name in self._stored), "")
        zero = [*node.inputs[3:], ""][0]
        return self._scaled(held, scale, zero, axis)

    def _only_user(self, node: Node | None) -> Node | None:
        """The one Cast or product that reads a node's output; None if others do, too."""
        outputs = [] if node is None else node.outputs[:1]
        users = [user for name in outputs for user in self._users.get(name, ())]
        only = users[0] if len(users) == 1 else None
        return only if only and only.operator in ("Cast", "Mul") else None

    def _path(self, node: Node) -> str | None:
        """The module that a node belongs to, with dots; None if the exporter did not write it."""
        for span in node.message["metadata"]:
            key, value = self._source.pair(span)
            if key == _SCOPES:
                scopes = value.decode("utf-8", "replace").strip("[]").split(", ")
                return scopes[-2].strip("'\"") if len(scopes) > 1 else ""
        if not node.name.startswith("/"):
            return None
        path = ".".join(node.name[1:].split("/")[:-1])
        return _TWICE.sub(r"\1.\2", path)

    def _by_path(self, node: Node, place: int, held: _Held, path: str) -> tuple[str, _Held]:
        """The parameter's name by the module that uses it; empty if it is none."""
        dot = self._wrapper + (f"{path}." if path else "")
        stored = held.stored
        role = _ROLES.get((node.operator, place), "")
        if node.operator in ("Add", "Mul") or role == "class_embedding":
            return self._by_shape(node, held, dot)
        if role and path.endswith("attn") and not path.endswith("self_attn"):
            rows, columns = _shape(held)[:2] if len(stored.shape) == 2 else (stored.elements, 0)
            joined = rows == 3 * columns if columns else node.operator != "Gemm"
            role = f"in_proj_{role}" if joined else f"out_proj.{role}"
        return (f"{dot}{role}" if role else ""), held

    def _by_shape(self, node: Node, held: _Held, dot: str) -> tuple[str, _Held]:
        """What is added or multiplied: a bias, a factor, or a table of embeddings."""
        stored = held.stored
        shape = tuple(stored.shape)
        if node.operator == "Mul":
            return f"{dot}weight", held
        squeezed = shape
        while len(squeezed) > 1 and squeezed[0] == 1:
            squeezed = squeezed[1:]
        if node.operator == "Add" and stored.elements == 1:
            return f"{dot}logit_bias", held
        if node.operator == "Add" and len(shape) == 1:
            weight = self._weight_before(node)
            return f"{weight.removesuffix('weight') if weight else dot}bias", held
        if node.operator == "Add":
            table = (
                "position_embedding.weight"
                if dot.endswith("embeddings.")
                else ("positional_embedding")
            )
            return f"{dot}{table}", replace(held, stored=replace(stored, shape=squeezed))
        if len(squeezed) == 3 and squeezed[1] == 1 and self._repeats(stored):
            squeezed = squeezed[-1:]  # folded for as many pictures as the exporter was shown
            stored = replace(stored, nbytes=stored.nbytes * squeezed[0] // stored.elements)
        return f"{dot}class_embedding", replace(held, stored=replace(stored, shape=squeezed))

    def _repeats(self, stored: Stored) -> bool:
        """Whether all rows of a tensor are the same."""
        values = self._source.table(stored)
        width = stored.shape[-1]
        return values is not None and values == values[:width] * (len(values) // width)

    def _weight_before(self, node: Node) -> str:
        """The weight of the product that a bias is added to, by its new name."""
        for name in node.inputs[:2]:
            maker = self._maker.get(name)
            for _ in range(3):  # what is around a product of whole numbers
                if maker is not None and maker.inputs and maker.operator in ("Cast", "Mul"):
                    maker = self._maker.get(maker.inputs[0])
            if maker is not None and maker.operator.startswith("MatMul"):
                return self._weight_of.get(maker.number, "")
        return ""

    def _by_neighbours(self, node: Node, place: int, held: _Held) -> tuple[str, _Held]:
        """The parameter's name by the bias that is added next, or by what else reaches the node."""
        image = bool(self._bits_of(node) & _PIXELS) or node.operator in ("Expand", "Concat")
        if node.operator == "MatMul" and place == 1:
            for user in self._users.get(node.outputs[0], ()):
                biases = [self._held[name] for name in user.inputs if name in self._held]
                if user.operator == "Add" and len(biases) == 1 and _kept(biases[0]):
                    return f"{_kept(biases[0]).removesuffix('bias')}weight", held
            if self._is_hf:
                return f"{'visual' if image else 'text'}_projection.weight", held
            return "", held
        if held.stored.elements == 1:
            path = ""
        elif self._is_hf:
            path = "vision_model.embeddings" if image else "text_model.embeddings"
        else:
            path = "visual" if image and self._has_visual else ""
        return self._by_path(node, place, held, path)

    def _emit(self, name: str, held: _Held, own: str) -> str:
        """Add a tensor of the result, under its own name if the other one is taken."""
        stored = held.stored
        if stored.offset < 0:
            raise self._source.unsupported(
                f"the tensor {stored.name[:80]!r} keeps its numbers one by one"
            )
        stride, axis, shape = None, held.axis, _shape(held)
        if held.turned and len(shape) == 2:
            stride, axis = (1, shape[0]), 1 - held.axis
        shared = f"{stored.file}:{stored.offset}"
        info = TensorInfo(
            name, stored.dtype, shape, stored.offset, stored.nbytes, stride, shared, stored.file,
            held.scales, held.zeros, axis if len(held.scales) > 1 else 0,
        )  # fmt: skip
        before = self._tensors.get(name)
        if before is not None and before != info and name != own:
            return self._emit(own, replace(held, turned=False), own)
        if before is not None and before != info:
            self._find(f"two tensors are the parameter {name[:120]!r}.")
        self._tensors.setdefault(name, info)
        return name

    def _compare(self, nodes: list[Node], inputs: dict[str, tuple[str, tuple[int, ...]]]) -> None:
        """Match the nodes with the arithmetic of a CLIP."""
        outputs = [item.get("name", "") for item in self._graph["outputs"]]
        for batch in self._batches(inputs):
            arithmetic = Arithmetic(
                self._source, self._parameters, self._stored, self._scales, inputs, batch,
                self._opsets.get("ai.onnx", 0), self._find,
            )  # fmt: skip
            for node in nodes:
                held = [self._held[name].stored.name for name in node.outputs if name in self._held]
                if node.operator != "Constant" and not self._weights.issuperset(held or [""]):
                    arithmetic.follow(node)
            arithmetic.check(outputs)
            if self._findings:
                break

    def _batches(self, inputs: dict[str, tuple[str, tuple[int, ...]]]) -> Iterator[Batch]:
        """A few batches; what holds for them holds for all, as sizes only add up and multiply.

        In each other one the caller's mask shows what it hid.
        """
        texts, length = next((d for kind, d in inputs.values() if kind != PIXELS), (0, 0))[:2]
        pixels = next(
            (d for kind, d in inputs.values() if kind == PIXELS and len(d) == 4), (0,) * 4
        )
        sizes = (
            (0 if pixels[0] else PICTURES)
            | (0 if pixels[2] and pixels[3] else SIDE)
            | (0 if texts else TEXTS)
            | (0 if length else LENGTH)
        )
        for tokens in dict.fromkeys([length or 77, length or 5]):
            for turn in (0, 1):
                yield Batch(
                    pixels[0] or 3 - turn,
                    texts or 2 + turn,
                    tokens,
                    self._picture_side(),
                    sizes,
                    partial(_is_shown, turn),
                )

    def _picture_side(self) -> int:
        """How many pixels a side of the pictures has, by the table of positions."""
        shapes = self._parameters.values()
        patches = next((shape for _, shape in shapes if len(shape) == 4), (0, 0, 0, 0))
        rows = [
            shape[-2] - 1
            for name, shape in shapes
            if "position" in name and len(shape) > 1 and shape[-1] == patches[0]
        ]
        grids = [math.isqrt(count) for count in rows if math.isqrt(count) ** 2 == count]
        return max(grids, default=0) * patches[-1]

    def _find_unused(self) -> None:
        """Name the tensors that no output needs."""
        for name, stored in self._stored.items():
            if name not in self._needed:
                shape = list(stored.shape)
                self._find(
                    f"no output needs the numbers of the tensor {name[:120]!r} "
                    f"({stored.dtype} {shape})."
                )

    def _check_places(self) -> None:
        """Refuse tensors beside the file that overlap; say what lies between them."""
        places: dict[str, set[tuple[int, int]]] = {}
        for stored in self._stored.values():
            if stored.file and stored.nbytes:
                places.setdefault(stored.file, set()).add((stored.offset, stored.nbytes))
        for name, size in self._source.sizes_beside().items():
            end = gaps = 0
            for start, nbytes in [*sorted(places.get(name, ())), (size, 0)]:
                if start < end:
                    raise self._source.damaged(f"two of its tensors overlap in {name[:80]!r}")
                gaps += 0 if self._source.is_padding(name, end, start) else start - end
                end = start + nbytes
            if gaps:
                self._unread.append(f"{name}: {gaps:,} bytes that no tensor has")


def _branches(message: Message) -> Iterator[Message]:
    """Graphs in the attributes of a node."""
    for attribute in message["attributes"]:
        if "g" in attribute:
            yield attribute["g"]
        yield from attribute["graphs"]


def _count_tensors(messages: list[Message]) -> int:
    """How many tensors stand in nodes and their branches."""
    inner = sum(len(graph["initializers"]) for item in messages for graph in _branches(item))
    own = (attribute for item in messages for attribute in item["attributes"])
    return inner + sum(("t" in item) + len(item["tensors"]) for item in own)


def _is_shown(turn: int, row: int, key: int) -> bool:
    """Whether a mask that stands for the caller's shows a token; the next turn is the opposite."""
    return bool((3 * row + 7 * key) % 5) != bool(turn)


def _value_words(value: Message) -> str:
    """An input or output in words: its name and shape."""
    kind = value.get("type", {}).get("tensor", {})
    dims = kind.get("shape", {}).get("dims", [])
    sides = ", ".join(str(dim.get("symbol") or dim.get("size", "?")) for dim in dims)
    return f"{value.get('name', '')} [{sides}]"


def _kept(held: _Held) -> str:
    """The name of the parameter that the exporter kept; empty for a made-up one."""
    for name in held.names:
        name = _SUFFIXES.sub("", name)
        if name in _KEPT_ALONE or ("." in name and not _MADE_UP.match(name)):
            return name
    return ""


def _agree(name: str, path: str) -> bool:
    """Whether a parameter is one of the module, or of a part that has no nodes of its own."""
    module = name.rpartition(".")[0]
    return any(
        scope == path or scope.endswith(f".{path}") or path.endswith(f".{scope}") or not scope
        for scope in (module, module.rpartition(".")[0])
        if scope or not path
    )


def _is_quantised(node: Node, held: _Held) -> bool:
    """Whether a node uses a table of whole numbers as weights."""
    stored = held.stored
    is_bytes = stored.dtype in _BYTES and len(stored.shape) > 1 and not held.scales
    return is_bytes and node.operator in _QUANTISED_USES


def _shape(held: _Held) -> tuple[int, ...]:
    """Its shape as the parameter has it."""
    shape = held.stored.shape
    return shape[::-1] if held.turned and len(shape) == 2 else shape
