"""What an ONNX graph computes, matched against the arithmetic of a CLIP, node by node.

Each value gets a meaning: the output of a linear layer, of a layer norm, the residual stream behind
block 5. A node whose inputs mean nothing that a CLIP does with this operator is named. Operators
that only move numbers keep the meaning and move its axes, which say what lies where. What follows
from sizes alone is computed, so that a mask is compared as numbers however its exporter wrote it.
All of this holds for one batch of pictures and texts; the caller asks for several.

An axis is a row of parts, the outermost first. A part is what it counts ("pictures", "width"), how
far apart two of its steps lie in that, and how many there are: 768 numbers in 12 heads are
``("width", 64, 12)`` and ``("width", 1, 64)``. Parts that were split and come together again are
one; a side of 1 has none.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any, NamedTuple

from ml_core.reading.onnx_file import Message, OnnxFile, Stored
from ml_core.reading.onnx_tables import (
    CHOICE,
    LENGTH,
    MASKED,
    PICTURES,
    SIDE,
    TEXTS,
    UNCLEAR,
    Table,
    are_sizes,
    compute,
    counts,
    is_constant,
    is_known,
    mask_origin,
)

Part = tuple[str, int, int]
Axis = tuple[Part, ...]
Axes = tuple[Axis, ...]
REPEATED = "repeated"


def axis(name: str, size: int, step: int = 1) -> Axis:
    """Make an axis of one part."""
    return ((name, step, size),) if size != 1 else ()


def side(parts: Axis) -> int:
    """Count the numbers along an axis."""
    return prod(size for _, _, size in parts)


def sides(axes: Axes) -> tuple[int, ...]:
    """Give the shape."""
    return tuple(map(side, axes))


def filled(axes: Axes) -> Axes:
    """Leave sides of 1 out."""
    return tuple(filter(None, axes))


def joined(parts: Iterable[Part]) -> Axis:
    """Make one of parts that belong together."""
    row: list[Part] = []
    for name, step, size in parts:
        if row and row[-1][0] == name and row[-1][1] == step * size:
            row[-1] = (name, step, row[-1][2] * size)
        else:
            row.append((name, step, size))
    return tuple(row)


def reshaped(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """Cut the same numbers, in the same order, into other sides; None where no part allows it."""
    rest = list(joined(chain.from_iterable(axes)))[::-1]
    result: list[Axis] = []
    for wanted in shape:
        taken: list[Part] = []
        while wanted > 1 and rest:
            name, step, size = rest.pop()
            if wanted % size == 0:
                taken.append((name, step, size))
                wanted //= size
            elif size % wanted == 0:
                inner = size // wanted
                taken.append((name, step * inner, wanted))
                rest.append((name, step, inner))
                wanted = 1
            else:
                return None
        if wanted != 1:
            return None
        result.append(joined(taken))
    return None if rest else tuple(result)


def expanded(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """Repeat sides of 1."""
    return aligned([axes, tuple(axis(REPEATED, size, 0) for size in shape)])


def aligned(several: Sequence[Axes]) -> Axes | None:
    """The axes of what is computed number by number; None where unlike numbers meet."""
    rank = max(map(len, several))
    result: list[Axis] = []
    for column in zip(*(((),) * (rank - len(axes)) + axes for axes in several), strict=True):
        sizes = {side(parts) for parts in column if parts}
        kinds = {parts for parts in column if parts and parts[0][0] != REPEATED}
        if len(sizes) > 1 or len(kinds) > 1:
            return None
        result.append(next(iter(kinds), max(column)))
    return tuple(result)


def product(one: Axes, other: Axes, columns: str = "") -> Axes | None:
    """The axes of a product of matrices.

    Parameters
    ----------
    columns
        What the names of the parts of its last axis begin with.
    """
    if min(len(one), len(other)) < 2 or one[-1] != other[-2]:
        return None
    outer = aligned([one[:-2], other[:-2]])
    last = tuple((columns + name, step, size) for name, step, size in other[-1])
    return None if outer is None else (*outer, one[-2], last)


LAYER = re.compile(r"([^\d]+)\.(\d{1,4})\.(.+)")
CONTROL = {"If", "Loop", "Scan", "SequenceMap"}
PIXELS, TOKENS, MASK = "pixels", "tokens", "attention mask"

_ONNX = ("", "ai.onnx")
_MAX_COMPUTED, _FEW = 1 << 21, 16
_END_OF_TEXT = 49407
_MOVING = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout", "Cast",
    "Expand"}  # fmt: skip
_FLOATS, _WHOLE_TYPES = (1, 10, 11, 16), (6, 7)
_STREAMS = ("embedded", "norm", "stream")
_OUTPUTS = ("array", "scale", "logits", "unit", "linear", "pooled", "norm", "stream")
_TOLERANCE = 2e-3  # of numbers in fp16
_SIZES = {"pictures": PICTURES, "high": SIDE, "wide": SIDE, "patches": SIDE, "texts": TEXTS,
    "tokens": LENGTH}  # fmt: skip
_KEY = "key "  # before the parts of what attention looks at

# The attributes that exporters write; others could hold anything.
_OF_SUMS, _OF_PATCHES = (
    "axes keepdims noop_with_empty_axes",
    ("auto_pad dilations group kernel_shape pads strides"),
)
_ATTRIBUTES = {
    "ArgMax": "axis keepdims select_last_index", "Cast": "to saturate", "Concat": "axis",
    "ConstantOfShape": "value", "Conv": _OF_PATCHES, "ConvInteger": _OF_PATCHES,
    "DequantizeLinear": "axis", "Dropout": "ratio seed", "Flatten": "axis", "Gather": "axis",
    "GatherND": "batch_dims", "Gelu": "approximate", "Gemm": "alpha beta transA transB",
    "LayerNormalization": "axis epsilon stash_type", "ReduceL2": _OF_SUMS, "ReduceMean": _OF_SUMS,
    "ReduceSum": _OF_SUMS, "Reshape": "allowzero", "Shape": "start end", "Softmax": "axis",
    "Squeeze": "axes", "Transpose": "perm", "Trilu": "upper", "Unsqueeze": "axes",
}  # fmt: skip

# Operator, inputs, meaning of the output. A letter is one value wherever it stands; "kind:x" is
# a value x of this kind, "kind(x)" one that was computed from x. Add and Mul take both orders.
_RULES = """
Sub x mean(x) = centred(x)
Pow centred:x 2 = squared(x)
Mul centred:x x = squared(x)
Pow linear:x 2 = squared(x)
ReduceMean squared(x) = variance(x)
ReduceMean x = mean(x)
ReduceSum squared(x) = squares(x)
ReduceL2 linear:x = length(x)
Sqrt variance(x) = deviation(x)
Pow variance(x) 0.5 = deviation(x)
Sqrt squares(x) = length(x)
Pow squares(x) 0.5 = length(x)
Div centred:x deviation(x) = standard(x)
Div x length(x) = unit(x)
Mul linear:x 1.702 = steep(x)
Sigmoid steep(x) = gate(x)
Mul linear:x gate(x) = activation(x)
Div linear:x 1.414214 = flat(x)
Mul linear:x 0.707107 = flat(x)
Erf flat(x) = erf(x)
Add erf(x) 1 = double_gate(x)
Mul linear:x double_gate(x) = double_activation(x)
Mul double_activation(x) 0.5 = activation(x)
Mul double_gate(x) 0.5 = gate(x)
Mul linear:x 0.5 = half_linear(x)
Mul half_linear(x) double_gate(x) = activation(x)
IsNaN weights:x = no_weight(x)
Where no_weight(x) 0 weights:x = x
Mul logits:x scale:y = x
"""


@dataclass(slots=True)
class Node:
    """A node, by what the analysis asks of it."""

    name: str
    operator: str
    domain: str
    inputs: list[str]
    outputs: list[str]
    message: Message
    number: int

    @property
    def own(self) -> bool:
        """Whether ONNX defines its operator."""
        return self.domain in _ONNX

    @property
    def title(self) -> str:
        """Its operator, with the domain if that is not ONNX's."""
        return self.operator if self.own else f"{self.domain}:{self.operator}"

    @property
    def words(self) -> str:
        """How sentences name it."""
        return f"the node {self.name[:120]!r} ({self.title[:80]})"

    def real(self, name: str, default: float) -> float:
        """An attribute that is a number."""
        value: float = self.attribute(name).get("f", default)
        return value

    def attribute(self, name: str) -> Message:
        """An attribute's message; empty where there is none."""
        attributes = self.message["attributes"]
        return next((item for item in attributes if item.get("name") == name), Message())

    def integer(self, name: str, default: int) -> int:
        """An attribute that is a whole number."""
        value: int = self.attribute(name).get("i", default)
        return value


@dataclass(eq=False, slots=True)
class _Term:
    """What a value means; values that differ in their layout alone share one.

    Parameters
    ----------
    of
        What it was computed from.
    name
        Of the parameter, or of the layer's parameters up to their last word.
    value
        Numbers: an array's, the factor of a product, the place of a part.
    depth
        How many blocks lie before it in the residual stream.
    """

    kind: str
    of: tuple[_Term, ...] = ()
    name: str = ""
    value: Any = None
    depth: int = 0


class _Value(NamedTuple):
    """What a value means, and how it is laid out; an array has its own shape instead."""

    term: _Term
    axes: Axes = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """What the graph is followed for; 0 where the graph does not say it.

    Parameters
    ----------
    pictures, texts, length
        How many pictures, texts, and tokens a text.
    side
        How many pixels along each side of a picture.
    sizes
        Which of these the caller chooses, as origins of numbers.
    is_shown
        Which tokens the caller's mask shows, by the text and the token.
    """

    pictures: int
    texts: int
    length: int
    side: int
    sizes: int
    is_shown: Callable[[int, int], bool]


@dataclass(slots=True)
class _Block:
    """A block of a transformer: its nodes with their spellings, and that of the whole."""

    tower: str
    layer: int
    nodes: dict[int, Node]
    spelling: int


_UNKNOWN, _NOTHING, _SPARE = _Term("unknown"), _Term("nothing"), _Term("spare output")


class Arithmetic:
    """Matches nodes in the order of the computation.

    Parameters
    ----------
    names
        The parameter that a node uses and its shape there, by the node's number and the place of
        its input.
    stored
        Tensors of the file that are no parameters where they are used: sizes, masks, constants.
    scales
        Those of them that scale the weights.
    inputs
        What each input of the graph is, and its sides; 0 for one that the caller chooses.
    opset
        The version of ONNX's operators.
    find
        Takes a sentence for each node that is not a CLIP's.
    """

    def __init__(
        self,
        source: OnnxFile,
        names: Mapping[tuple[int, int], tuple[str, tuple[int, ...]]],
        stored: Mapping[str, Stored],
        scales: Set[str],
        inputs: Mapping[str, tuple[str, tuple[int, ...]]],
        batch: Batch,
        opset: int,
        find: Callable[[str], None],
    ) -> None:
        self._source, self._names, self._stored, self._find = source, names, stored, find
        self._scales, self._batch, self._opset = scales, batch, opset
        self._values: dict[str, _Value] = {"": _Value(_NOTHING)}
        self._spellings: dict[str, int] = {"": 0}
        self._roots: dict[str, _Term] = {}
        self._inside: dict[int, dict[int, Node]] = {}
        self._blocks: list[_Block] = []
        self._computed = 0
        # By operator, attributes and the identity of what they were computed from, which is kept.
        self._tables: dict[tuple[Any, ...], tuple[list[Table], Table | None]] = {}
        self._same: dict[Table, Table] = {}
        self._answers: dict[tuple[Any, ...], tuple[Table, Any]] = {}  # about whole tables
        for name, (kind, dims) in inputs.items():
            self._values[name] = self._input(kind, dims)
            self._spellings[name] = hash(name)

    def _input(self, kind: str, dims: tuple[int, ...]) -> _Value:
        batch = self._batch
        if kind == PIXELS:
            high, wide = (own or batch.side for own in (*dims, 0, 0, 0, 0)[2:4])
            names = ("pictures", "channels", "high", "wide")
            counts_of = (batch.pictures, 3, high, wide)
            return _Value(_Term(kind), tuple(map(axis, names, counts_of)))
        shape = (batch.texts, batch.length)
        if kind == TOKENS:
            return _Value(_Term(kind, name="texts"), self._tokens())
        places = range(prod(shape))
        shown = [int(batch.is_shown(*divmod(place, shape[1]))) for place in places]
        table = Table(shape, shown, "I64", list(map(mask_origin, places)), batch.sizes > 0)
        return _Value(_Term("array", value=table))

    def follow(self, node: Node) -> None:
        """Give the outputs of a node their meaning; name the node if they have none."""
        given = [self._value(node, place, name) for place, name in enumerate(node.inputs)]
        terms = [value.term for value in given]
        spelling = self._spelling(node, terms)
        root = max(
            (self._roots[name] for name in node.inputs if name in self._roots),
            key=lambda term: term.depth,
            default=None,
        )
        if root is not None:
            self._inside[id(root)].setdefault(spelling, node)
        values = self._match(node, given, spelling)
        if values and (odd := next(_odd_attributes(node), None)):
            self._find(f"{node.words} has {odd}, which no exporter writes.")
        if not values:
            values = [_Value(_UNKNOWN)] * len(node.outputs)
            if node.own and node.operator not in CONTROL and _UNKNOWN not in terms:
                self._find(
                    f"{node.words} computes what no CLIP computes there; what follows from it was "
                    "not compared."
                )
        for place, name in enumerate(node.outputs):
            if not name:
                continue
            value = values[place] if place < len(values) else _Value(_SPARE)
            term = value.term
            self._values[name], self._spellings[name] = value, hash((spelling, place))
            if root is not None:
                self._roots[name] = root
            if term.kind == "array" and term.value is not None:
                self._spellings[name] = self._hash(term.value)
            elif node.operator in ("Cast", "Identity") and term in terms:
                self._spellings[name] = self._spellings.get(node.inputs[0], 0)
            if self._is_new_stream(term, terms):
                if term.kind == "stream" and root is not None:
                    tower, layer = _layer(term.name)
                    self._blocks.append(_Block(tower, layer, self._inside[id(root)], spelling))
                self._inside[id(term)] = {}
                self._roots[name], self._spellings[name] = term, hash("stream")

    def _is_new_stream(self, term: _Term, given: Sequence[_Term]) -> bool:
        """Whether a block may begin here: not where its numbers are only moved."""
        first = term.kind in ("embedded", "stream") or (
            term.kind == "norm" and term.of[0].kind == "embedded" and not _layer(term.name)[0]
        )
        return first and term not in given

    def _value(self, node: Node, place: int, name: str) -> _Value:
        """What an input is."""
        if parameter := self._names.get((node.number, place)):
            name, shape = parameter
            parts = [f"side {place}" for place in range(len(shape))[2:]] + ["rows", "width"]
            names = parts[len(parts) - len(shape) :]
            axes = tuple(axis(*item) for item in zip(names, shape, strict=True))
            return _Value(_Term("parameter", name=name), axes)
        return self._values.get(name) or self._stored_value(name)

    def _stored_value(self, name: str) -> _Value:
        """What a tensor of the file is that is no parameter."""
        if name not in self._values:
            stored = self._stored.get(name)
            if stored is None:  # an input that is no tensor
                return _Value(_UNKNOWN)
            numbers = self._source.table(stored) if stored.elements else ()
            array = (
                None if numbers is None else self._one(Table(stored.shape, numbers, stored.dtype))
            )
            if stored.elements > _FEW and name not in self._scales and not _is_regular(array):
                shape = list(stored.shape)
                self._find(f"the tensor {name[:120]!r} ({stored.dtype} {shape}) is no CLIP's.")
            self._values[name] = _Value(_Term("array", value=array))
            self._spellings[name] = hash(name) if array is None else self._hash(array)
            if name in self._scales:
                self._spellings[name] = hash("scale")
        return self._values[name]

    def _spelling(self, node: Node, given: Sequence[_Term]) -> int:
        """A number for a node and all before it, which blocks that are alike share."""
        parts: list[Any] = [node.title]
        for item in node.message["attributes"]:
            start, stop = item.get("s", (0, 0))
            raw = self._source.raw(start, min(stop, start + _FEW))
            parts += [item.get("name"), item.get("i"), item.get("f"), tuple(item["ints"]), raw]
        for term, name in zip(given, node.inputs, strict=True):
            found = LAYER.match(term.name) if term.kind == "parameter" else None
            role = found[3] if found else term.name
            parts.append(role if term.kind == "parameter" else self._spellings.get(name, 0))
        return hash(tuple(parts))

    def _ask(self, question: Callable[..., Any], table: Table, *more: Any) -> Any:
        """Answer a question about all numbers of a table, once."""
        key = (question, id(table), *more)
        if key not in self._answers:
            self._computed += len(table.values)
            self._answers[key] = (table, question(table, *more))
        return self._answers[key][1]

    def _hash(self, table: Table) -> int:
        spelling: int = self._ask(_spelled, table)
        return spelling

    def check(self, outputs: Sequence[str]) -> None:
        """Compare the blocks of each tower, and look at what the graph gives."""
        depths: Counter[str] = Counter(block.tower for block in self._blocks)
        for tower in depths:
            blocks = [block for block in self._blocks if block.tower == tower]
            counts = Counter(block.spelling for block in blocks)
            model = max(blocks, key=lambda block: counts[block.spelling])
            for block in blocks:
                self._compare(block, model)
        for name in outputs:
            value = self._values.get(name) or self._stored_value(name)
            end = value.term
            if end is _UNKNOWN:
                self._find(f"the output {name[:80]!r} was not compared.")
                continue
            ends = end.of if end.kind == "logits" else (end,)
            if not self._is_output(name, value, ends):
                self._find(f"the output {name[:80]!r} is not what a CLIP gives under this name.")
                continue
            for end in ends:
                stream = end
                while stream.of and stream.kind != "stream":
                    stream = stream.of[0]
                tower, _ = _layer(stream.name)
                if end.kind not in _STREAMS and stream.depth < depths[tower]:
                    self._find(f"the output {name[:80]!r} does not follow from the last block.")

    def _is_output(self, name: str, value: _Value, ends: Sequence[_Term]) -> bool:
        """Whether an output is what its name says: the numbers of each picture or text in a row."""
        term, axes = value.term, filled(value.axes)
        of_image = any(word in name for word in ("image", "visual", "vision"))
        of_text = "text" in name
        if "logits" in name and term.kind != "logits":
            return False
        if ("emb" in name or "feature" in name) and term.kind not in ("linear", "unit"):
            return False
        if term.kind not in _OUTPUTS or term.kind in ("array", "scale"):
            return term.kind == "scale" or _number(term) is not None
        sources = [_source_of(end).name for end in ends]
        batches = {name: axis(name, getattr(self._batch, name)) for name in sources}
        if term.kind == "logits":
            rows = filled(tuple(batches[name] for name in sorted(sources, reverse=of_text)))
            return axes == rows or not (of_image or of_text)
        wanted = {"pictures"} if of_image else {"texts"} if of_text else {*sources}
        (batch,) = batches.values()
        inner = axes[len(filled((batch,))) : -1]
        tokens = inner if term.kind in ("norm", "stream") else ()
        whole = axes[:-1] == (*filled((batch,)), *tokens) and len(tokens) < 2
        return wanted == {*sources} and whole and _is_whole(value.axes)

    def _compare(self, block: _Block, model: _Block) -> None:
        if block.spelling == model.spelling:
            return
        pairs = ((block, model), (model, block))
        for one, other in pairs:
            strange = [node for key, node in one.nodes.items() if key not in other.nodes]
            if strange:
                self._find(
                    f"{strange[0].words} of block {one.layer} of {one.tower[:80]!r} is not in "
                    f"block {other.layer}."
                )
                return

    def _match(self, node: Node, given: list[_Value], spelling: int) -> list[_Value]:
        """What its outputs are; nothing if a CLIP does not compute that."""
        terms = [value.term for value in given]
        if not node.own or node.operator in CONTROL or {_UNKNOWN, _SPARE} & {*terms}:
            return []

        if node.operator == "Shape" and given:
            return [_Value(_Term("array", value=self._shape(node, given[0])))]
        if all(term.kind in ("array", "nothing") for term in terms):
            term = self._of_sizes(node, terms, spelling)
            return [] if term is None else [_Value(term)]
        if node.operator in _MOVING:
            axes = self._moved(node, given) if _keeps(node, given) else None
            return [] if axes is None else [_Value(terms[0], axes)]
        value = self._of_data(node, given)
        if value is not None and value.term.kind == "rounded":
            return [value, *map(_Value, value.term.of[1:])]
        return [] if value is None else [value]

    def _shape(self, node: Node, value: _Value) -> Table | None:
        """The sides of a value, with what they follow from."""
        array = value.term.value if value.term.kind == "array" else None
        if value.term.kind == "array" and array is None:
            return None
        if array is not None:
            numbers = [(size, self._origin(size) if array.varies else 0) for size in array.shape]
        else:
            numbers = [(side(parts), self._origin_along(parts)) for parts in value.axes]
        cut = slice(node.integer("start", 0), node.attribute("end").get("i"))
        values, origins = ([item[at] for item in numbers[cut]] for at in (0, 1))
        return Table((len(values),), values, "I64", origins if any(origins) else ())

    def _of_sizes(self, node: Node, given: list[_Term], spelling: int) -> _Term | None:
        """What follows from sizes, masks and constants."""
        if not is_known(node.operator):
            return None
        table = self._compute(node, [term.value for term in given])
        return None if table is None else _Term("array", value=table)

    def _compute(self, node: Node, arrays: list[Table | None]) -> Table | None:
        """The numbers; None where they are not known or too many."""
        while arrays and arrays[-1] is None and not node.inputs[len(arrays) - 1]:
            arrays.pop()
        if node.operator == "ConstantOfShape":
            message = node.attribute("value").get("t")
            value = self._source.tensor(message, "-") if message else None
            numbers = (0.0,) if value is None else self._source.table(value)
            dtype = "F32" if value is None else value.dtype
            arrays.append(None if numbers is None else self._one(Table((1,), numbers, dtype)))
        given = [item for item in arrays if item is not None]
        if len(given) < len(arrays) or self._computed > _MAX_COMPUTED:
            return None
        options = {item.get("name", ""): item for item in node.message["attributes"]}
        key = (node.operator, repr(options), *map(id, given))
        if key not in self._tables:  # blocks repeat them
            table = compute(node.operator, options, given)
            if table is not None:
                self._computed += len(table.values)
                table = self._one(table)
            self._tables[key] = (given, table)
        return self._tables[key][1]

    def _one(self, table: Table) -> Table:
        """The one table with these numbers."""
        table = table._replace(values=tuple(table.values), origins=tuple(table.origins))
        return self._same.setdefault(table, table)

    def _moved(self, node: Node, given: list[_Value]) -> Axes | None:
        """The axes of a value that an operator moves as sizes say."""
        axes = given[0].axes
        tables = [value.term.value for value in given[1:] if value.term.kind == "array"]
        if node.operator in ("Cast", "Identity", "Dropout"):
            return axes
        if len(tables) < len(given) - 1 or any(t is None or not are_sizes(t) for t in tables):
            return None
        numbers = tables[0].values if tables else node.attribute("axes")["ints"]
        match node.operator:
            case "Reshape":
                return reshaped(axes, _sides(numbers, axes, node.integer("allowzero", 0)))
            case "Flatten":
                cut = node.integer("axis", 1)
                return reshaped(axes, [prod(sides(axes[:cut])), prod(sides(axes[cut:]))])
            case "Expand":
                return expanded(axes, numbers)
            case "Transpose":
                order = node.attribute("perm")["ints"] or range(len(axes))[::-1]
                fits = sorted(order) == [*range(len(axes))]
                return tuple(axes[at] for at in order) if fits else None
            case "Squeeze":
                places = {at % len(axes) for at in numbers} if numbers else {*range(len(axes))}
                left = tuple(parts for at, parts in enumerate(axes) if at not in places or parts)
                return left if not numbers or len(left) == len(axes) - len(places) else None
        rank = len(axes) + len(numbers)
        rest = iter(axes)
        places = {at % rank for at in numbers}
        if len(places) < len(numbers):
            return None
        return tuple(() if at in places else next(rest) for at in range(rank))

    def _of_data(self, node: Node, given: list[_Value]) -> _Value | None:
        """What a CLIP does with pixels, tokens and what follows from them."""
        given = [
            value._replace(axes=((),) * len(value.term.value.shape))
            if isinstance(value.term.value, Table)
            else value
            for value in given
        ]
        if node.operator.startswith("Reduce"):
            axes = given[0].axes
            if not (_is_last_axis(node, given) and _is_whole(axes)):
                return None
            term = _by_rule(node.operator, [given[0].term])
            return _laid(term, (*axes[:-1], ()))
        orders = [given, given[::-1]] if node.operator in ("Add", "Mul") else [given]
        for order in orders:
            laid = [value.axes for value in order]
            term = _by_rule(node.operator, [value.term for value in order])
            if value := _laid(term, aligned(laid)) or self._by_layer(node, *order):
                return value
        return None

    def _by_layer(self, node: Node, first: _Value, *others: _Value) -> _Value | None:
        """What a rule does not say: layers, and what depends on numbers, axes or options."""
        second = others[0] if others else _Value(_NOTHING)
        rest = [value.term for value in others]
        (x, axes), (y, other) = first, second
        both = aligned(
            [axes, *(value.axes for value in others)]
        )  # of what is computed number by number
        number = _number(y) or 0.0

        match node.operator, x.kind, y.kind:
            case "Conv", "pixels", "parameter" if len(rest) == 1:
                return self._patches(node, axes, other)
            case "ConvInteger", "rounded", "parameter" if _is_own_zero(x, rest):
                patches = self._patches(node, axes, other) if x.of[0].kind == PIXELS else None
                return patches and _Value(_Term("unscaled", (patches.term, x.of[0])), patches.axes)
            case "Concat", "parameter", "patches" if node.integer("axis", 0) in (1, -2):
                whole = len(axes) == len(other) == 3 and not axes[1] and axes[2] == other[2]
                if not whole or side(axes[0]) != side(other[0]) or len(other[1]) != 1 or (
                    other[1] != axis("patches", side(other[1]))
                ):  # fmt: skip
                    return None
                return _Value(y, (other[0], axis("patches", side(other[1]) + 1), other[2]))
            case "Add", "patches" | "rows", "parameter":
                ((name, _, rows),) = (*filled(axes)[-2:-1], (("", 0, 0),))[0][-1:]
                fits = name in ("patches", "tokens") and axes[-2] == axis(name, rows)
                fits = fits and filled(other) == (axis("rows", rows), axes[-1])
                return _Value(_Term("embedded", (x,)), axes) if fits and _is_whole(axes) else None
            case "MatMul", _, "parameter":
                return self._linear(first, second)
            case "Gemm", _, "parameter" if _is_plain_product(node):
                turned = other[::-1] if node.integer("transB", 0) else other
                layer = self._linear(first, _Value(y, turned))
                return self._biased(layer, others[1]) if layer and rest[1:] else layer
            case "Add", "linear", "parameter":
                return self._biased(first, second)
            case "DynamicQuantizeLinear", _, _:
                scale, zero = (_Term(kind, (x,)) for kind in ("rounded scale", "rounded zero"))
                return _Value(_Term("rounded", (x, scale, zero)), axes)
            case "MatMulInteger", "rounded", "parameter" if _is_own_zero(x, rest):
                layer = self._linear(_Value(x.of[0], axes), second)
                return layer and _Value(_Term("unscaled", (layer.term, x.of[0])), layer.axes)
            case "Mul", "rounded scale", "array":
                return _Value(_Term("scale of both", x.of))
            case "Mul", "unscaled", "scale of both" if y.of[0] is x.of[1]:
                return _Value(x.of[0], axes)
            case "DequantizeLinear", "rows" | "parameter", "array":
                return first
            case "LayerNormalization", _, "parameter" if len(rest) == 2:
                plain = 0 < node.real("epsilon", 1e-5) <= 1e-4
                last = node.integer("axis", -1) in (-1, len(axes) - 1)
                return _laid(self._norm(first, *rest), both) if plain and last else None
            case "Add", "variance", "array" if 0 < number <= 1e-4:
                return _laid(x, both)
            case "Mul", "standard", "parameter":
                return _laid(_Term("scaled", x.of[0].of, y.name), both)
            case "Add", "scaled", "parameter":
                return _laid(self._norm(_Value(x.of[0], axes), x, y), both)
            case "Gelu", "linear", _ if _text(self._source, node, "approximate") in ("", "none"):
                return _Value(_Term("activation", (x,)), axes)
            case "Mul", "linear" | "third", "array" if 0.05 < number < 1:
                return _laid(_Term("times", (x,), value=number), both)
            case "Mul", "scores", "array":
                factor, width = x.value
                return _scores(x.of, both, number, width) if factor == 1 else None
            case "MatMul", "linear" | "third" | "times", "linear" | "third" | "times":
                (q, one), (k, two) = _factor(x), _factor(y)
                return _scores((q, k), product(axes, other, _KEY), one * two, side(axes[-1]))
            case "Add", "scores", "array" if y.value is not None:
                is_mask = self._ask(self._is_mask, y.value, axes)
                return _Value(_Term("masked", (x,)), axes) if is_mask else None
            case "Softmax", "scores" | "masked", _:
                scores = x if x.kind == "scores" else x.of[0]
                at = node.attribute("axis").get("i", -1 if self._opset >= 13 else 1)
                plain = at in (-1, len(axes) - 1) and axes[-1] == _keys(axes[-2])
                plain = plain and len(axes[-2]) == 1  # of one picture or text
                of_text = any(name == "tokens" for name, _, _ in axes[-2])
                whole = plain and scores.value[0] != 1 and (x.kind == "masked") == of_text
                return _Value(_Term("weights", (scores,)), axes) if whole else None
            case "MatMul", "weights", "linear" | "third":
                laid = product((*axes[:-1], axes[-2]), other)
                return _laid(self._attention(*x.of[0].of, y), laid)
            case "Add", _, "linear":
                return _laid(self._residual(x, y), both) if filled(axes) == filled(other) else None
            case "Gather", "parameter", "tokens" if node.integer("axis", 0) == 0:
                return _Value(_Term("rows", (x, y)), (*other, *axes[1:]))
            case "Gather", "parameter", "array" if node.integer("axis", 0) == 0:
                if y.value is None or not self._ask(counts, y.value) or len(axes) != 2:
                    return None
                count = len(y.value.values)
                laid = reshaped((axis("rows", count),), y.value.shape)
                return _laid(x, laid and (*laid, axes[1])) if count <= side(axes[0]) else None
            case "Slice", "parameter", "array" if len(axes) == 2:
                return _laid(x, self._first_rows(axes, rest))
            case "Gather", "linear" | "norm" | "stream", "array" if y.value is not None:
                return self._picked(node, first, y.value)
            case "Gather", "norm" | "stream", "flat end" | "end" if node.integer("axis", 0) == 0:
                flat = axis("texts", self._batch.texts) + axis("tokens", self._batch.length)
                plain = y.kind == "flat end" or self._batch.texts == 1
                fits = plain and axes[0] == flat and len(axes) == 2
                return _Value(_Term("pooled", (x,)), (*other, axes[1])) if fits else None
            case "GatherND", "norm" | "stream", "end pair" if not node.integer("batch_dims", 0):
                fits = axes[:2] == self._tokens()
                return _Value(_Term("pooled", (x,)), (*other[:-1], *axes[2:])) if fits else None
            case "Equal", "tokens", "array" if _number(y) == _END_OF_TEXT:
                return _laid(_Term("is end", (x,)), both)
            case "ArgMax", "tokens" | "is end", _ if not node.integer("select_last_index", 0):
                last = node.integer("axis", 0) in (-1, len(axes) - 1)
                if not last or filled(axes) != filled(self._tokens()):
                    return None
                kept = ((),) if node.integer("keepdims", 1) else ()
                return _Value(_Term("end", (x,)), (*axes[:-1], *kept))
            case "Add", "end", "array" if y.value is not None and are_sizes(y.value):
                fits = y.value.shape == sides(axes) and counts(y.value, self._batch.length)
                return _Value(_Term("flat end", x.of), axes) if fits else None
            case "Concat", "array", "end" if x.value is not None and are_sizes(x.value):
                fits = x.value.shape == sides(other) and counts(x.value) and not other[-1]
                last = node.integer("axis", 0) in (-1, len(other) - 1)
                pair = (*other[:-1], axis("places", 2))
                return _Value(_Term("end pair", y.of), pair) if fits and last else None
            case "Clip", "length", "array" if 0 <= (_number(y) or 0) <= 1e-4:
                return None if any(term.kind != "nothing" for term in rest[1:]) else first
            case "Exp", "parameter", _ if x.name.endswith("logit_scale"):
                return _Value(_Term("scale", (x,)), axes)
            case "MatMul", "unit", "unit" if _source_of(x) is not _source_of(y):
                return _laid(_Term("logits", (x, y)), product(axes, other))
            case "Mul", "logits", "array" if number > 0:
                return _laid(x, both)
        return None

    def _tokens(self) -> Axes:
        """The axes of the tokens."""
        return axis("texts", self._batch.texts), axis("tokens", self._batch.length)

    def _patches(self, node: Node, pixels: Axes, weight: Axes) -> _Value | None:
        """A convolution whose patches lie side by side and cover the picture."""
        size = [*sides(weight[2:])]
        ints = {name: node.attribute(name)["ints"] for name in _OF_PATCHES.split()}
        padding = _text(self._source, node, "auto_pad")
        plain = (
            len(pixels) == len(weight) == 4
            and ints["strides"] == size
            and ints["kernel_shape"] in ([], size)
            and not any(ints["pads"])
            and {*ints["dilations"]} <= {1}
            and node.integer("group", 1) == 1
            and padding in ("", "NOTSET")
            and side(pixels[1]) == side(weight[1])
        )
        if not plain:
            return None
        high, wide = (side(parts) // by for parts, by in zip(pixels[2:], size, strict=True))
        laid = (axis("width", side(weight[0])), axis("patches", high, wide), axis("patches", wide))
        return _Value(_Term("patches", name="pictures"), (pixels[0], *laid))

    def _picked(self, node: Node, value: _Value, table: Table) -> _Value | None:
        """The class token, or the queries, keys or values of a layer that holds all three."""
        x, axes = value
        at = node.integer("axis", 0) % len(axes)
        place = _number(_Term("array", value=table))
        rest = (*axes[:at], *[()] * len(table.shape), *axes[at + 1 :])
        if x.kind == "linear":
            width = side(axes[-1])
            fits = axes[at] == axis("width", 3, width) and x.name.endswith("in_proj_")
            fits = fits and place in (0, 1, 2) and _is_whole(rest)
            return _Value(_Term("third", (x,), value=place), rest) if fits else None
        fits = axes[at] == axis("patches", side(axes[at])) and place == 0
        return _Value(_Term("pooled", (x,)), rest) if fits else None

    def _first_rows(self, axes: Axes, bounds: Sequence[_Term]) -> Axes | None:
        """The first rows of a table of positions."""
        tables = [term.value for term in bounds if term.value is not None]
        if not all(len(table.values) == 1 and are_sizes(table) for table in tables):
            return None
        numbers = [table.values[0] for table in tables]
        start, stop, at, step = numbers + [0, 0, 0, 1][len(numbers) :]
        rows = min(stop, side(axes[0]))
        plain = (start, at, step) == (0, 0, 1) and rows > 0
        return (axis("rows", rows), axes[1]) if plain else None

    def _origin(self, size: int) -> int:
        """Where a side of a table comes from."""
        batch = self._batch
        sides = {PICTURES: batch.pictures, TEXTS: batch.texts, LENGTH: batch.length}
        origin = sum(bit for bit, own in sides.items() if own == size)
        return 0 if size == 1 else origin & batch.sizes if origin else UNCLEAR

    def _origin_along(self, parts: Axis) -> int:
        """Where the length of an axis comes from."""
        origin = 0
        for name, _, _ in parts:
            origin |= _SIZES.get(name.removeprefix(_KEY), 0) & self._batch.sizes
        return origin

    def _linear(self, first: _Value, second: _Value) -> _Value | None:
        (x, axes), (weight, table) = first, second
        if x.kind not in ("norm", "activation", "attention", "pooled") or not _is_whole(axes):
            return None
        if len(table) != 2 or side(table[0]) != side(axes[-1]):
            return None
        term = _Term("linear", (x,), weight.name.removesuffix("weight"), depth=x.depth)
        return _Value(term, (*axes[:-1], axis("width", side(table[1]))))

    def _biased(self, first: _Value, second: _Value) -> _Value | None:
        """The same layer with the bias of its own name."""
        (x, axes), (bias, table) = first, second
        own = bias.kind == "parameter" and bias.name.removesuffix("bias") == x.name
        return first if own and filled(table) == axes[-1:] and _is_whole(axes) else None

    def _norm(self, first: _Value, weight: _Term, bias: _Term) -> _Term | None:
        """A layer norm of the stream; the first one of a tower may have another before it."""
        x, axes = first
        name = weight.name.removesuffix("weight")
        again = x.kind == "norm" and (x.of[0].kind != "embedded" or _layer(x.name)[0] != "")
        if (
            bias.kind != "parameter"
            or x.kind not in (*_STREAMS, "half", "pooled")
            or again
            or name != bias.name.removesuffix("bias")
            or not _is_whole(axes)
        ):
            return None
        return _Term("norm", (x,), name, depth=x.depth)

    def _is_mask(self, table: Table, scores: Axes) -> bool:
        """Whether it hides later tokens from earlier ones, and those that the caller masks."""
        batch, (queries, keys) = self._batch, ((), (), *scores)[-2:]
        length = batch.length
        tokens = axis("tokens", length)
        if queries != tokens or keys != _keys(tokens) or table.shape[-2:] != (length, length):
            return False
        if len({value for value in table.values if value}) > 2 or len(table.shape) > len(scores):
            return False
        of_caller = any(origin >= MASKED for origin in table.origins)
        by_row = len(table.shape) == 4 and scores[0] == axis("texts", table.shape[0])
        if {*table.shape[of_caller and by_row : -2]} - {1} or (of_caller and not by_row):
            return False
        for place, (value, origin) in enumerate(
            zip(table.values, table.origins or [0] * len(table.values), strict=True)
        ):
            row, (query, key) = place // length**2, divmod(place % length**2, length)
            shown = key <= query
            if shown and of_caller:
                if origin != mask_origin(row * length + key):
                    return False
                shown = batch.is_shown(row, key)
            if 0 < origin < CHOICE or origin < 0 or not (value == 0 if shown else value <= -1e4):
                return False
        return True

    def _attention(self, *parts: _Term) -> _Term | None:
        """Query, key and value of one layer that read the same."""
        layers = [part.of[0] if part.kind == "third" else part for part in parts]
        places = [
            part.value if part.kind == "third" else "qkv".find(f".{part.name}".split(".")[-2][:1])
            for part in parts
        ]
        if len({id(layer.of[0]) for layer in layers}) > 1 or places != [0, 1, 2]:
            return None
        names = {_layer(layer.name) for layer in layers}
        return _Term("attention", layers[0].of, layers[0].name) if len(names) == 1 else None

    def _residual(self, x: _Term, y: _Term) -> _Term | None:
        """The residual stream behind attention, or behind a whole block."""
        inner = y.of[0]
        if inner.kind == "activation":
            hidden = inner.of[0]
            norm, names = hidden.of[0], [y.name, hidden.name]
        else:
            norm, names = (inner.of[0] if inner.of else inner), [y.name, inner.name]
        if norm.kind != "norm" or norm.of[0] is not x:
            return None
        layers = {_layer(name) for name in (*names, norm.name)}
        tower, layer = layers.pop()
        if layers or not tower or layer != x.depth:
            return None
        if inner.kind == "attention" and x.kind in _STREAMS:
            if x.kind == "stream" and _layer(x.name)[0] != tower:
                return None
            return _Term("half", (x,), y.name, depth=x.depth)
        if inner.kind == "activation" and x.kind == "half" and _layer(x.name) == (tower, layer):
            return _Term("stream", (x,), y.name, depth=x.depth + 1)
        return None


def _scores(of: tuple[_Term, ...], axes: Axes | None, factor: float, width: int) -> _Value | None:
    """Scores, not scaled yet or by the root of the width of a head."""
    plain = factor == 1 or abs(factor * width**0.5 - 1) <= _TOLERANCE
    return _laid(_Term("scores", of, value=(factor, width)), axes) if plain else None


def _laid(term: _Term | None, axes: Axes | None) -> _Value | None:
    """A value that has both a meaning and axes."""
    return None if term is None or axes is None else _Value(term, axes)


def _keys(parts: Axis) -> Axis:
    """What attention looks at along an axis."""
    return tuple((_KEY + name, step, size) for name, step, size in parts)


def _is_whole(axes: Axes) -> bool:
    """Whether the last axis is the whole width, in its order."""
    width = [part for parts in axes for part in parts if part[0] == "width"]
    return len(width) == 1 and axes[-1] == tuple(width) and width[0][1] == 1


def _source_of(term: _Term) -> _Term:
    """What it was computed from in the end: the patches of pictures or the tokens of texts."""
    while term.of:
        term = term.of[-1 if term.kind == "rows" else 0]
    return term


def _text(source: OnnxFile, node: Node, name: str) -> str:
    """An attribute that is a word."""
    start, stop = node.attribute(name).get("s", (0, 0))
    return source.raw(start, min(stop, start + _FEW)).decode("latin-1")


def _sides(numbers: Sequence[int], axes: Axes, allow_zero: int) -> list[int]:
    """The sides that Reshape is told."""
    own = sides(axes)
    shape = [
        own[at] if number == 0 and not allow_zero and at < len(own) else int(number)
        for at, number in enumerate(numbers)
    ]
    if shape.count(-1) == 1:
        rest = -prod(shape)
        shape[shape.index(-1)] = prod(own) // rest if rest > 0 else 0
    return shape


def _layer(name: str) -> tuple[str, int]:
    """The tower of a layer's parameter and the number of its block; "" and -1 without a block."""
    found = LAYER.match(name)
    return (found[1], int(found[2])) if found else ("", -1)


def _keeps(node: Node, given: Sequence[_Value]) -> bool:
    """Whether numbers stay what they are: pixels and tables of weights are not moved at all."""
    (term, axes), *rest = given
    if node.operator == "Cast":
        is_whole = term.kind in (TOKENS, "end", "flat end", "end pair", "is end")
        return node.integer("to", 0) in (_WHOLE_TYPES if is_whole else _FLOATS)
    if node.operator == "Dropout":
        off = [_number(value.term) == 0 for value in rest[1:] if value.term is not _NOTHING]
        return all(off)
    moves = node.operator in ("Transpose", "Flatten", "Reshape")
    is_vector = term.kind == "parameter" and node.operator == "Reshape" and len(filled(axes)) < 2
    return not moves or is_vector or term.kind not in (PIXELS, "parameter")


def _odd_attributes(node: Node) -> Iterator[str]:
    """The attributes that exporters do not write, or that hold more than one thing."""
    known = _ATTRIBUTES.get(node.operator, "").split()
    for item in node.message["attributes"]:
        name, fields = item.get("name", ""), item.keys() - {"name", "type", "doc"}
        spans = [span for field in ("floats", "strings") for span in item[field]]
        spans.append(item.get("s", (0, 0)))
        size = sum(stop - start for start, stop in spans) + 8 * len(item["ints"])
        if name not in known or len(fields) > 1 or size > 8 * _FEW:
            yield f"the attribute {name[:80]!r} ({size:,} bytes)"


def _is_plain_product(node: Node) -> bool:
    return node.real("alpha", 1) == node.real("beta", 1) == 1 and not node.integer("transA", 0)


def _is_last_axis(node: Node, given: Sequence[_Value]) -> bool:
    """Whether a sum runs along the last axis and keeps it."""
    numbers = node.attribute("axes")["ints"] or [_number(value.term) for value in given[1:]]
    plain = node.integer("keepdims", 1) and not node.integer("noop_with_empty_axes", 0)
    return bool(plain) and numbers in ([-1], [len(given[0].axes) - 1])


def _is_own_zero(rounded: _Term, rest: Sequence[_Term]) -> bool:
    """Whether rounded data come with the number that stands for their own zero."""
    return len(rest) > 1 and rest[1] is rounded.of[2]


def _factor(x: _Term) -> tuple[_Term, float]:
    """A query or key, and what scales it."""
    return (x.of[0], x.value) if x.kind == "times" else (x, 1.0)


def _by_rule(operator: str, given: Sequence[_Term]) -> _Term | None:
    """The meaning that the first fitting rule gives."""
    for patterns, result in _PARSED.get((operator, len(given)), ()):
        bound: dict[str, _Term] = {}
        if all(map(_fits, patterns, given, [bound] * len(given))):
            kind, _, letter = result.rstrip(")").rpartition("(")
            return _Term(kind, (bound[letter],)) if kind else bound[letter]
    return None


def _fits(pattern: str, term: _Term, bound: dict[str, _Term]) -> bool:
    """Whether a value is as a rule says; its letters are bound."""
    if pattern[0].isdigit():
        number, own = float(pattern), _number(term)
        return own is not None and abs(own - number) <= _TOLERANCE * number
    if pattern.endswith(")"):
        kind, letter = pattern[:-1].split("(")
        return term.kind == kind and bound.setdefault(letter, term.of[0]) is term.of[0]
    kind, _, letter = pattern.rpartition(":")
    return kind in ("", term.kind) and bound.setdefault(letter, term) is term


def _number(term: _Term) -> float | None:
    """A constant that is one number."""
    table = term.value if term.kind == "array" else None
    if table is None or len(table.values) != 1 or not is_constant(table):
        return None
    return float(table.values[0])


def _is_regular(table: Table | None) -> bool:
    """Whether numbers are those of places and masks: they count, in turns, or fill a triangle."""
    if table is None or not table.values:
        return False
    *_, rows, width = (1, *table.shape)
    values = table.values
    inside, outside = values[0], values[width - 1]
    if all(
        value == (inside if place % width <= place // width % rows else outside)
        for place, value in enumerate(values)
    ):
        return True
    pairs = width if width <= 2 < len(table.shape) or (width == 2 and len(values) > 2) else 1
    return all(_counts_in_turns(values[at::pairs]) for at in range(pairs))


def _counts_in_turns(values: Sequence[int]) -> bool:
    """Whether each number stands equally often, and then the next one, again and again."""
    run = next((at for at, value in enumerate(values) if value != values[0]), len(values))
    step = values[run] - values[0] if run < len(values) else 1
    turns = max(values) // step + 1 if step > 0 else 1
    return all(value == at // run % turns * step for at, value in enumerate(values))


def _spelled(table: Table) -> int:
    """A number for a table; constants count as they are in fp16."""
    values = tuple(table.values)
    if len(values) == 1 and isinstance(values[0], float) and abs(values[0]) < 65504:
        values = struct.unpack("<e", struct.pack("<e", *values))
    return hash((table.shape, values, tuple(table.origins)))


_PARSED: dict[tuple[str, int], list[tuple[list[str], str]]] = {}
for _left, _result in (line.split(" = ") for line in _RULES.strip().splitlines()):
    _name, *_patterns = _left.split()
    _PARSED.setdefault((_name, len(_patterns)), []).append((_patterns, _result))
