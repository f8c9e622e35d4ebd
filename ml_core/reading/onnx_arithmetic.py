"""What an ONNX graph computes, matched against the arithmetic of a CLIP, node by node.

Each value gets a meaning: the output of a linear layer, of a layer norm, the residual stream behind
block 5. A node whose inputs mean nothing that a CLIP does with this operator is named. Operators
that only move numbers keep the meaning; what follows from sizes alone is computed, for texts of one
length, so that a mask is compared as numbers however its exporter wrote it.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from ml_core.reading.onnx_file import Message, OnnxFile, Stored
from ml_core.reading.onnx_tables import Table, compute, is_known

LAYER = re.compile(r"([^\d]+)\.(\d{1,4})\.(.+)")
CONTROL = {"If", "Loop", "Scan", "SequenceMap"}
PIXELS, TOKENS, MASK = "pixels", "tokens", "attention mask"

_ONNX = ("", "ai.onnx")
_BATCH, _LENGTH = 2, 77  # of the texts for which sizes and masks are computed
_MAX_COMPUTED, _FEW = 1 << 21, 16
_ENDS_OF_TEXT = {49407, 49406, 0, 1, 2, 3, -1}
_MOVING = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout", "Cast",
    "Expand"}  # fmt: skip
_FLOATS, _WHOLE_TYPES = (1, 10, 11, 16), (6, 7)
_STREAMS = ("embedded", "norm", "stream")
_OUTPUTS = ("array", "scale", "logits", "unit", "linear", "pooled", *_STREAMS)
_TOLERANCE = 2e-3  # of numbers in fp16

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
Mul linear:x 0.5 = half_linear(x)
Mul half_linear(x) double_gate(x) = activation(x)
Gelu linear:x = activation(x)
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
    sides
        Its shape, where that follows from the shape of the tokens.
    """

    kind: str
    of: tuple[_Term, ...] = ()
    name: str = ""
    value: Any = None
    depth: int = 0
    sides: tuple[int, ...] | None = None


@dataclass(slots=True)
class _Block:
    """A block of a transformer: its nodes with their spellings, and that of the whole."""

    tower: str
    layer: int
    nodes: dict[int, Node]
    spelling: int


_UNKNOWN, _NOTHING, _SHAPE = _Term("unknown"), _Term("nothing"), _Term("array", name="size")
_POWER = _Term("power", value=1.0)  # of the width of a head


class Arithmetic:
    """Matches nodes in the order of the computation.

    Parameters
    ----------
    names
        The parameter that a node uses, by the node's number and the place of its input.
    stored
        Tensors of the file that are no parameters where they are used: sizes, masks, constants.
    scales
        Those of them that scale the weights.
    inputs
        What each input of the graph is, and its sides; 0 for one that the caller chooses.
    find
        Takes a sentence for each node that is not a CLIP's.
    """

    def __init__(
        self,
        source: OnnxFile,
        names: Mapping[tuple[int, int], str],
        stored: Mapping[str, Stored],
        scales: Set[str],
        inputs: Mapping[str, tuple[str, tuple[int, ...]]],
        find: Callable[[str], None],
    ) -> None:
        self._source, self._names, self._stored, self._find = source, names, stored, find
        self._scales, self._length = scales, _LENGTH
        self._terms: dict[str, _Term] = {"": _NOTHING}
        self._spellings: dict[str, int] = {"": 0}
        self._roots: dict[str, _Term] = {}
        self._inside: dict[int, dict[int, Node]] = {}
        self._blocks: list[_Block] = []
        self._computed = 0
        self._tables: dict[int, Table | None] = {}  # by the spelling: blocks repeat them
        self._masks: dict[int, bool] = {}  # by the identity of the table
        for name, (kind, dims) in inputs.items():
            term = _Term(kind)
            if kind != PIXELS:
                self._length = length = next((side for side in dims[1:] if side), _LENGTH)
            if kind == MASK:
                shown = [_is_shown(row, key) for row in range(_BATCH) for key in range(length)]
                term = _Term("array", value=Table((_BATCH, length), shown))
            elif kind == TOKENS:
                term.sides = (_BATCH, length)
            self._terms[name] = term
            self._spellings[name] = hash(name)

    def follow(self, node: Node) -> None:
        """Give the outputs of a node their meaning; name the node if they have none."""
        given = [self._term(node, place, name) for place, name in enumerate(node.inputs)]
        spelling = self._spelling(node, given)
        root = max(
            (self._roots[name] for name in node.inputs if name in self._roots),
            key=lambda term: term.depth,
            default=None,
        )
        if root is not None:
            self._inside[id(root)].setdefault(spelling, node)
        terms = self._match(node, given, spelling)
        if not terms:
            terms = [_UNKNOWN]
            if node.own and node.operator not in CONTROL and _UNKNOWN not in given:
                self._find(
                    f"{node.words} computes what no CLIP computes there; what follows from it was "
                    "not compared."
                )
        for place, name in enumerate(node.outputs):
            if not name:
                continue
            term = terms[place] if place < len(terms) else _UNKNOWN
            self._terms[name], self._spellings[name] = term, hash((spelling, place))
            if root is not None:
                self._roots[name] = root
            if term.kind == "array" and term.value is not None:
                self._spellings[name] = _hash(term.value)
            elif node.operator in ("Cast", "Identity") and term in given:
                self._spellings[name] = self._spellings.get(node.inputs[0], 0)
            if self._is_new_stream(term, given):
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

    def _term(self, node: Node, place: int, name: str) -> _Term:
        """The meaning of an input."""
        parameter = self._names.get((node.number, place))
        if parameter is not None:
            stored = self._stored.get(name)
            is_vector = stored is not None and stored.elements == max(stored.shape, default=1)
            return _Term("parameter", name=parameter, value=is_vector)
        return self._terms.get(name) or self._stored_term(name)

    def _stored_term(self, name: str) -> _Term:
        """The meaning of a tensor of the file that is no parameter."""
        if name not in self._terms:
            stored = self._stored.get(name)
            if stored is None:  # an input that is no tensor
                return _UNKNOWN
            numbers = self._source.table(stored) if stored.elements else ()
            array = None if numbers is None else Table(stored.shape, numbers)
            if stored.elements > _FEW and name not in self._scales and not _is_regular(array):
                shape = list(stored.shape)
                self._find(f"the tensor {name[:120]!r} ({stored.dtype} {shape}) is no CLIP's.")
            places = stored.elements > 1 and _counts(array, 1)
            self._terms[name] = _Term("array", name="places" if places else "", value=array)
            self._spellings[name] = hash(name) if array is None else _hash(array)
            if name in self._scales:
                self._spellings[name] = hash("scale")
        return self._terms[name]

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
            term = self._terms.get(name) or self._stored_term(name)
            if term.kind not in _OUTPUTS:
                if term is not _UNKNOWN:
                    self._find(f"the output {name[:80]!r} is no embedding or similarity of a CLIP.")
                continue
            for end in term.of if term.kind == "logits" else (term,):
                stream = end
                while stream.of and stream.kind != "stream":
                    stream = stream.of[0]
                tower, _ = _layer(stream.name)
                if end.kind not in _STREAMS and stream.depth < depths[tower]:
                    self._find(f"the output {name[:80]!r} does not follow from the last block.")

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

    def _match(self, node: Node, given: list[_Term], spelling: int) -> list[_Term]:
        """The meanings of its outputs; none if a CLIP does not compute that."""
        if not node.own or node.operator in CONTROL or _UNKNOWN in given:
            return []
        if node.operator == "Shape" and given:
            return [self._sides(given[0])]
        if all(term.kind in ("array", "power", "nothing") for term in given):
            term = self._of_sizes(node, given, spelling)
        else:
            term = self._of_data(node, given)
            if term is not None and term.kind == "rounded":
                return [term, *term.of[1:]]
        return [] if term is None else [term]

    def _sides(self, term: _Term) -> _Term:
        sides = term.value.shape if isinstance(term.value, Table) else term.sides
        return _SHAPE if sides is None else _Term("array", (), "size", Table((len(sides),), sides))

    def _of_sizes(self, node: Node, given: list[_Term], spelling: int) -> _Term | None:
        """What follows from sizes and constants: numbers, or a power of the width of a head."""
        first = given[0] if given else _NOTHING
        second = given[1] if len(given) > 1 else _NOTHING
        value = _number(second)
        match node.operator:
            case "Slice" | "Gather" if first is _SHAPE and value in (-1, -2):
                return _POWER if value == -1 else _Term("array", value=Table((1,), [self._length]))
            case "Sqrt" if first.kind == "power":
                return _Term("power", value=first.value / 2)
            case "Div" if second.kind == "power" and _number(first) == 1:
                return _Term("power", value=-second.value)
            case "Cast" | "Squeeze" | "Unsqueeze" if first.kind == "power":
                return first
            case "ConstantOfShape" if node.attribute("value").get("t") and first.value is None:
                return _Term("array", name="filled")
            case "Mul" if first.name == "filled" and value == -1:
                return _Term("array", name="filled")
            case "Equal" if not (
                second.name == "filled"
                or _all(second, -1)
                or (first.name == "triangle" and value == 0)
            ):
                return None
            case "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual":
                if any(term.name != "places" for term in given):
                    return None
        if not is_known(node.operator):
            return None
        if spelling not in self._tables or node.operator == "ConstantOfShape":
            arrays = [None if term.kind == "power" else term.value for term in given]
            self._tables[spelling] = self._compute(node, arrays)
        table = self._tables[spelling]
        return _Term("array", name=self._kind_of_numbers(node, given), value=table)

    def _kind_of_numbers(self, node: Node, given: list[_Term]) -> str:
        """Places count; sizes may not become data, nor may what is computed from them."""
        names = [term.name for term in given]
        if node.operator in ("Range", "Trilu"):
            return "places" if node.operator == "Range" else "triangle"
        moved = node.operator in _MOVING or node.operator in ("Slice", "Gather", "GatherND")
        if names[:1] == ["places"] and (
            moved or (node.operator == "Add" and _number(given[1]) == 1)
        ):
            return "places"
        if node.operator == "ConstantOfShape":
            return ""
        return "size" if "size" in (names[:1] if moved else names) else ""

    def _compute(self, node: Node, arrays: list[Table | None]) -> Table | None:
        """The numbers; None where they follow from a size that is not known here."""
        while arrays and arrays[-1] is None and not node.inputs[len(arrays) - 1]:
            arrays.pop()
        if node.operator == "ConstantOfShape":
            value = node.attribute("value").get("t")
            numbers = self._source.table(self._source.tensor(value, "-")) if value else (0.0,)
            arrays.append(None if numbers is None else Table((1,), numbers))
        given = [item for item in arrays if item is not None]
        if len(given) < len(arrays) or self._computed > _MAX_COMPUTED:
            return None
        options = {item.get("name", ""): item for item in node.message["attributes"]}
        table = compute(node.operator, options, given)
        self._computed += 0 if table is None else len(table.values)
        return table

    def _of_data(self, node: Node, given: list[_Term]) -> _Term | None:
        """What a CLIP does with pixels, tokens and what follows from them."""
        x, *rest = given
        if node.operator in _MOVING:
            by_sizes = all(term.kind in ("array", "power") for term in rest)
            return x if by_sizes and _keeps(node, x) else None
        if node.operator.startswith("Reduce"):
            if not (_is_last_axis(node, rest) and node.integer("keepdims", 1)):
                return None
            given = [x]
        orders = [given, given[::-1]] if node.operator in ("Add", "Mul") else [given]
        terms = (_by_rule(node.operator, order) or self._by_layer(node, *order) for order in orders)
        return next(filter(None, terms), None)

    def _by_layer(self, node: Node, x: _Term, *rest: _Term) -> _Term | None:
        """What a rule does not say: layers, and what depends on numbers or options."""
        y = rest[0] if rest else _NOTHING
        match node.operator, x.kind, y.kind:
            case "Conv", "pixels", "parameter" if len(rest) == 1 and _is_side_by_side(node):
                return _Term("patches")
            case "ConvInteger", "rounded", "parameter" if x.of[0].kind == PIXELS:
                plain = _is_side_by_side(node) and _is_own_zero(x, rest)
                return _Term("unscaled", (_Term("patches"), x.of[0])) if plain else None
            case "Concat", "parameter", "patches" if node.integer("axis", 0) == 1:
                return y
            case "Add", "patches" | "rows", "parameter":
                return _Term("embedded", (x,), sides=x.sides)
            case "MatMul", _, "parameter":
                return self._linear(x, y)
            case "Gemm", _, "parameter" if _is_plain_product(node):
                layer = self._linear(x, y)
                return self._biased(layer, rest[1]) if layer and rest[1:] else layer
            case "Add", "linear", "parameter":
                return self._biased(x, y)
            case "DynamicQuantizeLinear", _, _:
                scale, zero = (_Term(kind, (x,)) for kind in ("rounded scale", "rounded zero"))
                return _Term("rounded", (x, scale, zero))
            case "MatMulInteger", "rounded", "parameter" if _is_own_zero(x, rest):
                layer = self._linear(x.of[0], y)
                return layer and _Term("unscaled", (layer, x.of[0]))
            case "Mul", "rounded scale", "array":
                return _Term("scale of both", x.of)
            case "Mul", "unscaled", "scale of both" if y.of[0] is x.of[1]:
                return x.of[0]
            case "DequantizeLinear", "rows" | "parameter", "array":
                return x
            case "LayerNormalization", _, "parameter" if len(rest) == 2:
                plain = 0 < node.real("epsilon", 1e-5) <= 1e-4
                return (
                    self._norm(x, *rest) if plain and node.integer("axis", -1) in (-1, 2) else None
                )
            case "Add", "variance", "array" if 0 < (_number(y) or 0) <= 1e-4:
                return x
            case "Mul", "standard", "parameter":
                return _Term("scaled", x.of[0].of, y.name)
            case "Add", "scaled", "parameter":
                return self._norm(x.of[0], x, y)
            case "Mul", "linear" | "third" | "scores", "array" | "power":
                return self._scaled(x, y)
            case "MatMul", "linear" | "third" | "times", "linear" | "third" | "times":
                (q, one), (k, other) = _factor(x), _factor(y)
                factor = (one[0] * other[0], one[1] + other[1])
                return _Term("scores", (q, k), value=(factor, False))
            case "Add", "scores", "array" if y.name != "size":
                if id(y.value) not in self._masks:
                    self._masks[id(y.value)] = _is_mask(y.value)
                masked = self._masks[id(y.value)]
                return _Term("scores", x.of, value=(x.value[0], True)) if masked else None
            case "Softmax", "scores", _ if node.integer("axis", -1) in (-1, 2, 3):
                factor, masked = x.value
                of_text = _layer_of(x.of[0]).of[0].sides is not None
                return _Term("weights", (x,)) if _is_root(factor) and masked == of_text else None
            case "MatMul", "weights", "linear" | "third":
                return self._attention(*x.of[0].of, y)
            case "Add", _, "linear":
                return self._residual(x, y)
            case "Gather", "parameter", "tokens" if node.integer("axis", 0) == 0:
                return _Term("rows", (x, y), sides=(*(y.sides or ()), 0))
            case "Gather", "parameter", "array":
                return x if y.name == "places" and _counts(y.value, 1) else None
            case "Slice", "parameter", "array" if _number(y) == 0:
                return x if len(rest) < 4 or _all(rest[3], 1) else None
            case "Gather", "linear", "array" if (place := _number(y)) in (0, 1, 2):
                return _Term("third", (x,), value=place)
            case "Gather", "norm" | "stream", "array" if node.integer("axis", 0) == 1:
                return _Term("pooled", (x,)) if _number(y) == 0 else None
            case "Gather" | "GatherND", "norm" | "stream", "end":
                return _Term("pooled", (x,))
            case "Equal", "tokens", "array" if _number(y) in _ENDS_OF_TEXT:
                return _Term("is end", (x,))
            case "ArgMax", "tokens" | "is end", _ if node.integer("axis", 0) in (-1, 1):
                return None if node.integer("select_last_index", 0) else _Term("end", (x,))
            case "Add", "end", "array" if _counts(y.value):
                return x
            case "Concat", "array", "end" if _counts(x.value):
                return y
            case "Clip", "length", "array" if 0 < (_number(y) or 0) <= 1e-4:
                return None if any(term.kind != "nothing" for term in rest[1:]) else x
            case "Exp", "parameter", _ if x.name.endswith("logit_scale"):
                return _Term("scale", (x,))
            case "MatMul", "unit", "unit":
                return _Term("logits", (x, y))
            case "Mul", "logits", "array" if (_number(y) or 0) > 0:
                return x
        return None

    def _linear(self, x: _Term, weight: _Term) -> _Term | None:
        if x.kind not in ("norm", "activation", "attention", "pooled"):
            return None
        return _Term("linear", (x,), weight.name.removesuffix("weight"), depth=x.depth)

    def _biased(self, x: _Term, bias: _Term) -> _Term | None:
        """The same layer with the bias of its own name."""
        own = bias.name.removesuffix("bias")
        return x if bias.kind == "parameter" and own == x.name else None

    def _norm(self, x: _Term, weight: _Term, bias: _Term) -> _Term | None:
        name = weight.name.removesuffix("weight")
        if (
            bias.kind != "parameter"
            or x.kind not in (*_STREAMS, "half", "pooled")
            or name != bias.name.removesuffix("bias")
        ):
            return None
        return _Term("norm", (x,), name, depth=x.depth, sides=x.sides)

    def _scaled(self, x: _Term, by: _Term) -> _Term | None:
        """Queries, keys or scores, scaled by the width of a head or a number that stands for it."""
        factor = (1.0, by.value) if by.kind == "power" else (_number(by) or 0.0, 0.0)
        if x.kind != "scores":
            plain = factor[1] or _is_root(factor) or _is_root((factor[0] ** 2, 0.0))
            return _Term("times", (x,), value=factor) if plain else None
        before, masked = x.value
        factor = (factor[0] * before[0], factor[1] + before[1])
        plain = _is_root(factor) and not masked
        return _Term("scores", x.of, value=(factor, False)) if plain else None

    def _attention(self, *parts: _Term) -> _Term | None:
        """Query, key and value of one layer that read the same."""
        layers = [_layer_of(part) for part in parts]
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
            return _Term("half", (x,), y.name, depth=x.depth, sides=x.sides)
        if inner.kind == "activation" and x.kind == "half" and _layer(x.name) == (tower, layer):
            return _Term("stream", (x,), y.name, depth=x.depth + 1, sides=x.sides)
        return None


def _is_shown(row: int, key: int) -> bool:
    """Whether the mask that stands for a caller's shows a token."""
    return (3 * row + 7 * key) % 5 != 0


def _is_mask(table: Table | None) -> bool:
    """Whether it hides later tokens from earlier ones, and those that the caller masks."""
    if table is None or len(table.shape) < 2 or {*table.shape[1:-2]} - {1}:
        return False
    queries, keys = table.shape[-2:]
    causal, both = [], []
    for place in range(len(table.values)):
        row, query, key = place // (queries * keys), place // keys % queries, place % keys
        causal.append(key <= query)
        both.append(key <= query and _is_shown(row, key))
    shown = [value == 0 for value in table.values]
    hides = all(value == 0 or value <= -1e4 for value in table.values)
    return hides and queries == keys and shown in (causal, both)


def _layer_of(term: _Term) -> _Term:
    """A linear layer, or the one that this is a part of."""
    return term.of[0] if term.kind == "third" else term


def _layer(name: str) -> tuple[str, int]:
    """The tower of a layer's parameter and the number of its block; "" and -1 without a block."""
    found = LAYER.match(name)
    return (found[1], int(found[2])) if found else ("", -1)


def _keeps(node: Node, term: _Term) -> bool:
    """Whether numbers stay what they are: pixels and tables of weights are not moved at all."""
    if node.operator == "Cast":
        is_whole = term.kind in (TOKENS, "end", "is end")
        return node.integer("to", 0) in (_WHOLE_TYPES if is_whole else _FLOATS)
    moves = node.operator in ("Transpose", "Flatten", "Reshape")
    is_vector = term.kind == "parameter" and node.operator == "Reshape" and term.value
    return not moves or is_vector or term.kind not in (PIXELS, "parameter")


def _is_plain_product(node: Node) -> bool:
    return node.real("alpha", 1) == node.real("beta", 1) == 1 and not node.integer("transA", 0)


def _is_side_by_side(node: Node) -> bool:
    """Whether the patches of a convolution lie side by side."""
    strides, sides = (node.attribute(name)["ints"] for name in ("strides", "kernel_shape"))
    return strides == sides and not any(node.attribute("pads")["ints"])


def _is_last_axis(node: Node, rest: Sequence[_Term]) -> bool:
    return node.attribute("axes")["ints"] == [-1] or any(_number(term) == -1 for term in rest)


def _is_own_zero(rounded: _Term, rest: Sequence[_Term]) -> bool:
    """Whether rounded data come with the number that stands for their own zero."""
    return len(rest) > 1 and rest[1] is rounded.of[2]


def _factor(x: _Term) -> tuple[_Term, tuple[float, float]]:
    """A query or key, and what scales it."""
    return (x.of[0], x.value) if x.kind == "times" else (x, (1.0, 0.0))


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
    table = term.value if term.kind == "array" and term.name != "size" else None
    return None if table is None or len(table.values) != 1 else float(table.values[0])


def _all(term: _Term, number: float) -> bool:
    return term.value is not None and all(value == number for value in term.value.values)


def _is_root(factor: tuple[float, float]) -> bool:
    """Whether it is 1 by the root of the width of a head, which is a multiple of 8."""
    number, exponent = factor
    if exponent:
        return exponent == -0.5 and number == 1
    width = 1 / number**2 if number > 1e-3 else 0
    return width > 4 and abs(width - round(width / 8) * 8) < 2 * _TOLERANCE * width


def _counts(table: Table | None, step: int = 0) -> bool:
    """Whether numbers count from 0, by a step if that is given."""
    if table is None or not table.values:
        return False
    step = step or table.values[min(1, len(table.values) - 1)]
    return list(table.values) == [number * step for number in range(len(table.values))]


def _is_regular(table: Table | None) -> bool:
    """Whether numbers are those of places and masks: they count, or fill a triangle."""
    if table is None or isinstance(table.values[0], float):
        return table is not None
    *_, rows, side = (1, *table.shape)
    top, width = max(table.values), 1 if side > 2 else side  # places may stand in pairs
    columns = [table.values[place::width] for place in range(width)]
    return all({*map(operator.sub, c[1:], c)} <= {0, 1, -max(c)} for c in columns) or all(
        value == (top if place % side <= place // side % rows else 0)
        for place, value in enumerate(table.values)
    )


def _hash(table: Table) -> int:
    return hash((table.shape, tuple(table.values)))


_PARSED: dict[tuple[str, int], list[tuple[list[str], str]]] = {}
for _left, _result in (line.split(" = ") for line in _RULES.strip().splitlines()):
    _name, *_patterns = _left.split()
    _PARSED.setdefault((_name, len(_patterns)), []).append((_patterns, _result))
