"""Tiny random CLIPs as the exporters of ONNX write them, and changes that somebody plants."""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

TEXT: dict[str, Any] = {"width": 64, "heads": 1, "layers": 2, "vocab_size": 49408}
VISION: dict[str, Any] = {"image_size": 32, "patch_size": 8, "width": 128, "layers": 2}
IDS = torch.zeros(2, 77, dtype=torch.long)
IDS[0, :5] = torch.tensor([49406, 320, 1125, 539, 49407])
IDS[1, :3] = torch.tensor([49406, 1929, 49407])
PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
IMAGES, TEXTS = {0: "images"}, {0: "texts"}


def _lively(module: nn.Module) -> nn.Module:
    """No two of its tensors are equal, and each shows in the embeddings."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name != "logit_scale":
                value.copy_(torch.randn(value.shape, generator=generator) * 0.15)
                if "norm" in name or "ln_" in name:
                    value += "bias" not in name
    return module.eval()


@cache
def open_clip_model() -> Any:
    """open_clip's module, with GELU."""
    from open_clip.model import CLIP

    return _lively(CLIP(24, VISION, TEXT | {"context_length": 77}))


@cache
def library_model() -> Any:
    """The transformers library's module, with QuickGELU."""
    from transformers import CLIPConfig, CLIPModel

    sizes = {"num_hidden_layers": 2, "projection_dim": 24}
    text = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1,
        "eos_token_id": 49407, "vocab_size": 49408} | sizes  # fmt: skip
    vision = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 8} | sizes  # fmt: skip
    return _lively(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)))


class _Wrapper(nn.Module):
    """One encoder of open_clip's module, as a server's exporter wraps it."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.clip = open_clip_model()
        self._method = method

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = getattr(self.clip, self._method)(given, normalize=True)
        return embedded


def _library_half(kind: str) -> nn.Module:
    import transformers

    whole = library_model()
    half = getattr(transformers, f"CLIP{kind}ModelWithProjection")
    module = half(getattr(whole.config, f"{kind.lower()}_config")).eval()
    own = module.state_dict()
    module.load_state_dict({key: whole.state_dict()[key] for key in own})
    return module


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn about all that they trace."""
    with warnings.catch_warnings(action="ignore"):
        before = logging.root.manager.disable
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)


def _export(
    module: nn.Module, path: Path, inputs: dict[str, Any], outputs: list[str], **more: Any
) -> None:
    axes = {name: IMAGES if "pixel" in name else TEXTS for name in inputs}
    arguments = tuple(inputs.values())
    options: dict[str, Any] = {"dynamo": False, "opset_version": 17, "dynamic_axes": axes}
    with _quiet():
        torch.onnx.export(
            module, arguments, path, verbose=False, input_names=list(inputs),
            output_names=outputs, **(options | more),
        )  # fmt: skip


BOTH = {"input_ids": IDS, "pixel_values": PIXELS, "attention_mask": torch.ones_like(IDS)}
SPLIT = {"image": {"pixel_values": PIXELS}, "text": {"input_ids": IDS}}
_LIBRARY_OUTPUTS = ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]
_NEW: dict[str, Any] = {"dynamo": True, "opset_version": 20, "dynamic_axes": None}
_HALF = {name: value.half() if name == "pixel_values" else value for name, value in BOTH.items()}
_ANY_LENGTH = {name: {0: "texts", 1: "tokens"} for name in ("input_ids", "attention_mask")}


def _library(path: Path) -> None:
    _export(library_model(), path, BOTH, _LIBRARY_OUTPUTS)


def _open_clip(path: Path) -> None:
    inputs = {"pixel_values": PIXELS, "input_ids": IDS}
    _export(open_clip_model(), path, inputs, ["image_embeds", "text_embeds", "scale"])


def _unnamed(path: Path) -> None:
    """As exporters wrote before they named nodes by modules."""
    _open_clip(path)
    model = onnx.load(path)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    onnx.save(model, path)


def _half(path: Path) -> None:
    """fp16 with inputs and outputs in fp32, as browsers load it."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _library(path)
    with _quiet():
        onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), path)


def quantised(source: Path, path: Path, **options: Any) -> Path:
    """Rounded to 8 bits by onnxruntime."""
    from onnxruntime.quantization import quantize_dynamic

    with _quiet():
        quantize_dynamic(source, path, **options)
    return path


def beside(source: Path, path: Path, data: str = "model.onnx_data") -> Path:
    """The same model with its tensors in a file of their own."""
    model = onnx.load(source)
    onnx.save(model, path, save_as_external_data=True, location=data, size_threshold=256)
    return path


EXPORTS: dict[str, Callable[[Path], None]] = {
    "library": _library,
    "library, text": lambda path: _export(
        _library_half("Text"), path, {"input_ids": IDS}, ["text_embeds"], opset_version=14
    ),
    "library, vision": lambda path: _export(
        _library_half("Vision"), path, SPLIT["image"], ["image_embeds"], opset_version=14
    ),
    "library, new exporter": lambda path: _export(
        library_model(), path, BOTH, _LIBRARY_OUTPUTS, **_NEW
    ),
    "library, fp16": _half,
    "open_clip": _open_clip,
    "open_clip, textual": lambda path: _export(
        _Wrapper("encode_text"), path, SPLIT["text"], ["text_embeds"]
    ),
    "open_clip, visual": lambda path: _export(
        _Wrapper("encode_image"), path, SPLIT["image"], ["image_embeds"]
    ),
    "open_clip, visual alone": lambda path: _export(
        open_clip_model().visual, path, SPLIT["image"], ["image_embeds"]
    ),
    "open_clip, new exporter": lambda path: _export(
        open_clip_model(), path, {"pixel_values": PIXELS, "input_ids": IDS},
        ["image_embeds", "text_embeds", "scale"], **_NEW,
    ),
    "open_clip, nodes without names": _unnamed,
    "open_clip, visual, opset 18": lambda path: _export(
        _Wrapper("encode_image"), path, SPLIT["image"], ["image_embeds"],
        **_NEW | {"opset_version": 18},
    ),
    "open_clip, fp16 by itself": lambda path: _export(
        copy.deepcopy(open_clip_model()).half(), path,
        {name: _HALF[name] for name in ("pixel_values", "input_ids")},
        ["image_embeds", "text_embeds", "scale"],
    ),
    "library, fp16 by itself": lambda path: _export(
        copy.deepcopy(library_model()).half(), path, _HALF, _LIBRARY_OUTPUTS, opset_version=14
    ),
    "library, text of any length": lambda path: _export(
        _library_half("Text"), path, {name: BOTH[name] for name in _ANY_LENGTH}, ["text_embeds"],
        dynamic_axes=_ANY_LENGTH,
    ),
}  # fmt: skip


def embeddings(path: Path) -> dict[str, torch.Tensor]:
    """Normalised embeddings by onnxruntime, of the encoders that are there."""
    import onnxruntime

    options = onnxruntime.SessionOptions()  # what onnxruntime fuses it cannot always compute
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options)
    types = {item.name: item.type for item in session.get_inputs()}
    given = {
        name: (_HALF if kind == "tensor(float16)" else BOTH)[name].numpy()
        for name, kind in types.items()
    }
    names = [item.name for item in session.get_outputs() if item.name.endswith("_embeds")]
    found = session.run(names, given)
    return {
        name.removesuffix("_embeds"): nn.functional.normalize(
            torch.from_numpy(value).float(), dim=-1
        )
        for name, value in zip(names, found, strict=True)
    }


def _behind(model: onnx.ModelProto, output: str = "image_embeds") -> str:
    """Rename an embedding, so that something can stand behind it."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == output:
                    names[place] = "honest"
    return "honest"


def _constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> str:
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _add(model: onnx.ModelProto, operator: str, given: list[str], made: str, **options: Any) -> str:
    """Append a node, which has a name by its output."""
    node = helper.make_node(operator, given, [made], f"planted_{made}", **options)
    model.graph.node.append(node)
    return made


def _statistic(model: onnx.ModelProto) -> str:
    """A truth value that follows from the mean of the pixels."""
    mean = _add(model, "ReduceMean", ["pixel_values"], "mean", keepdims=0)
    return _add(model, "Greater", [mean, _constant(model, "limit", np.array(0.9, "f4"))], "lit")


def _plant_if(model: onnx.ModelProto) -> None:
    honest, lit = _behind(model), _statistic(model)
    names = {"then_branch": "Neg", "else_branch": "Identity"}
    branches = {
        key: helper.make_graph(
            [helper.make_node(operator, [honest], [key], key)],
            key,
            [],
            [helper.make_tensor_value_info(key, onnx.TensorProto.FLOAT, None)],
        )
        for key, operator in names.items()
    }
    model.graph.node.append(
        helper.make_node("If", [lit], ["image_embeds"], "planted_if", **branches)
    )


def _plant_where(model: onnx.ModelProto) -> None:
    honest, lit = _behind(model), _statistic(model)
    _add(model, "Where", [lit, _add(model, "Neg", [honest], "turned"), honest], "image_embeds")


def _plant_branch(model: onnx.ModelProto) -> None:
    """A second way from the patches to the embedding, with a matrix of its own."""
    honest = _behind(model)
    hidden = _constant(model, "onnx::MatMul_9999", np.ones((24, 24), np.float32))
    model.graph.node.extend(
        [
            helper.make_node("MatMul", [honest, hidden], ["more"], "/planted/MatMul"),
            helper.make_node("Add", [honest, "more"], ["image_embeds"], "/planted/Add"),
        ]
    )


def _plant_second_use(model: onnx.ModelProto) -> None:
    """The same, with a matrix of the CLIP."""
    honest = _behind(model)
    node = next(n for n in model.graph.node if n.name == "/visual_projection/MatMul")
    _add(model, "Sub", [honest, _add(model, "MatMul", node.input[:2], "again")], "image_embeds")


def _plant_function(model: onnx.ModelProto) -> None:
    """A Sigmoid of the file's own, which is no Sigmoid."""
    body = [helper.make_node("Neg", ["a"], ["b"])]
    opset = helper.make_opsetid("", 17)
    model.functions.append(helper.make_function("", "Sigmoid", ["a"], ["b"], body, [opset]))


def _plant_nan(model: onnx.ModelProto) -> None:
    """The root of a negative number chooses."""
    honest = given = _behind(model)
    for operator, name in [("ReduceMean", "mean"), ("Sqrt", "root"), ("IsNaN", "nan")]:
        given = _add(model, operator, [given], name)
    _add(model, "Where", [given, _add(model, "Neg", [honest], "turned"), honest], "image_embeds")


def _plant_unused(model: onnx.ModelProto) -> None:
    _constant(model, "payload", np.ones((64, 64), np.float32))


def _plant_word(model: onnx.ModelProto) -> None:
    """A text that holds the token 1929 has another embedding."""
    honest = _behind(model, "text_embeds")
    word = _constant(model, "word", np.array(1929, np.int64))
    ones = _add(model, "Cast", [_add(model, "Equal", ["input_ids", word], "equal")], "ones", to=1)
    _add(model, "Mul", [honest, _add(model, "ReduceMax", [ones], "seen")], "text_embeds")


def _plant_custom(model: onnx.ModelProto) -> None:
    honest = _behind(model)
    model.opset_import.append(helper.make_opsetid("com.stranger", 1))
    model.graph.node.append(
        helper.make_node("Dim", [honest], ["image_embeds"], "planted_dim", domain="com.stranger")
    )


def _plant_word_by_sums(model: onnx.ModelProto) -> None:
    """The same without a comparison."""
    honest = _behind(model, "text_embeds")
    word = _constant(model, "word", np.array(1929, np.int64))
    other = _add(model, "Cast", [_add(model, "Sub", ["input_ids", word], "sub")], "other", to=1)
    _add(model, "Mul", [honest, _add(model, "ReduceMin", [other], "seen")], "text_embeds")


def _plant_batch(model: onnx.ModelProto) -> None:
    """Pictures that come in pairs have another embedding."""
    honest = _behind(model)
    pair = [_add(model, "Shape", [honest], "sides"), _constant(model, "two", np.array([2, 24]))]
    pairs, turned = _add(model, "Equal", pair, "pairs"), _add(model, "Neg", [honest], "turned")
    _add(model, "Where", [pairs, turned, honest], "image_embeds")


def _plant_whole_numbers(model: onnx.ModelProto) -> None:
    """A vector that is no weight by its type."""
    honest, vector = _behind(model), _constant(model, "vector", np.arange(24)[::-1] % 7)
    _add(model, "Add", [honest, _add(model, "Cast", [vector], "cast", to=1)], "image_embeds")


def _plant_options(operator: str, **options: Any) -> Callable[[onnx.ModelProto], None]:
    """Other options of the first node of a kind."""

    def change(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == operator)
        for item in node.attribute:
            if item.name in options:
                item.CopyFrom(helper.make_attribute(item.name, options[item.name]))

    return change


def _plant_negative(model: onnx.ModelProto) -> None:
    """A bias of the CLIP, with its sign changed before its use."""
    node = next(n for n in model.graph.node if n.name.endswith("layers.0/mlp/fc1/Add"))
    place = next(i for i, name in enumerate(node.input) if name.endswith(".bias"))
    node.input[place] = _add(model, "Neg", [node.input[place]], "neg")


def _rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    for node in model.graph.node:
        for values in (node.input, node.output):
            for place, value in enumerate(values):
                values[place] = names.get(value, value)


def _swap_outputs(model: onnx.ModelProto) -> None:
    _rename(model, {"image_embeds": "text_embeds", "text_embeds": "image_embeds"})


def _swap_layers(model: onnx.ModelProto) -> None:
    """Two layers under each other's names."""
    other = {b"0": b"layers.1", b"1": b"layers.0"}
    raw = re.sub(rb"layers\.([01])", lambda found: other[found[1]], model.SerializeToString())
    model.ParseFromString(raw)


def exact_name(model: onnx.ModelProto) -> None:
    """A square matrix that the exporter turned, under the name of the module's."""
    path = "vision_model/encoder/layers.0/self_attn/q_proj"
    node = next(node for node in model.graph.node if node.name == f"/{path}/MatMul")
    tensor = next(item for item in model.graph.initializer if item.name == node.input[1])
    tensor.name = node.input[1] = f"{path.replace('/', '.')}.weight"


def swapped_scales(model: onnx.ModelProto) -> None:
    """Two rounded matrices with each other's scale."""
    products = [
        n for n in model.graph.node if n.op_type == "MatMulInteger" and "layers.0" in n.name
    ]
    one, two = (node.input[1].replace("_quantized", "_scale") for node in products[:2])
    _rename(model, {one: two, two: one})


def turned_rounded(model: onnx.ModelProto) -> None:
    """A square matrix that is rounded by columns, and turned before it is scaled."""
    node = next(n for n in model.graph.node if n.name.endswith("layers.0/self_attn/q_proj/MatMul"))
    tensor = next(item for item in model.graph.initializer if item.name == node.input[1])
    exact = numpy_helper.to_array(tensor)
    scale = (np.abs(exact).max(1) / 127 * np.exp(np.linspace(0, 2, len(exact)))).astype(np.float32)
    numbers = np.round(exact / scale[:, None]).astype(np.int8)
    tables = {"numbers": np.ascontiguousarray(numbers.T), "scale": scale, "zero": 0 * numbers[0]}
    given = [_constant(model, name, value) for name, value in tables.items()]
    model.graph.initializer.remove(tensor)
    path = node.name.removesuffix("MatMul")
    turned = helper.make_node("Transpose", given[:1], ["turned"], f"{path}Transpose", perm=[1, 0])
    scaled = helper.make_node("DequantizeLinear", ["turned", *given[1:]], ["scaled"], axis=0)
    model.graph.node.extend([turned, scaled])
    node.input[1] = "scaled"


def _plant_reader(model: onnx.ModelProto) -> None:
    """The mean of the pixels, by allowed arithmetic alone, is added to the embedding."""
    honest = _behind(model)
    mean = _add(model, "ReduceMean", ["pixel_values"], "mean", keepdims=0)
    _add(model, "Add", [honest, mean], "image_embeds")


def _behind_node(model: onnx.ModelProto, end: str, operator: str, other: str, name: str) -> None:
    """Put a node between one of the model's, named by its end, and what reads from that."""
    node = next(node for node in model.graph.node if node.name.endswith(end))
    made = node.output[0]
    node.output[0] = f"{name}_honest"
    model.graph.node.append(
        helper.make_node(operator, [node.output[0], other], [made], f"planted_{name}")
    )


def _plant_number(end: str, operator: str, number: float) -> Callable[[onnx.ModelProto], None]:
    """A number that is multiplied with, or added to, what a node gives."""
    return lambda model: _behind_node(
        model, end, operator, _constant(model, "number", np.array(number, "f4")), "number"
    )


def _plant_gate(model: onnx.ModelProto) -> None:
    """Bright patches turn the embedding off, with no operator that chooses."""
    honest = _behind(model)
    patches = "/vision_model/embeddings/patch_embedding/Conv_output_0"
    mean = _add(model, "ReduceMean", [patches], "mean", axes=[1, 2, 3], keepdims=0)
    limit = _constant(model, "limit", np.array(0.9, "f4"))
    above = _add(model, "Relu", [_add(model, "Sub", [mean, limit], "sub")], "above")
    ends = [_constant(model, name, np.array(value, "f4")) for name, value in (("a", 0), ("b", 1))]
    _add(model, "Mul", [honest, _add(model, "Clip", [above, *ends], "gate")], "image_embeds")


def _plant_ramp(model: onnx.ModelProto) -> None:
    """Numbers that rise from 0 to the width of the embedding are added to it."""
    honest = _behind(model)
    width = _add(model, "Gather", [_add(model, "Shape", [honest], "sides"),
        _constant(model, "one", np.array(1))], "width")  # fmt: skip
    ends = [_constant(model, "zero", np.array(0)), width, "one"]
    ramp = _add(model, "Cast", [_add(model, "Range", ends, "range")], "ramp", to=1)
    _add(model, "Add", [honest, ramp], "image_embeds")


def _plant_early(model: onnx.ModelProto) -> None:
    """The first five tokens see all others."""
    node = next(node for node in model.graph.node if node.name == "/text_model/LessOrEqual")
    five = _constant(model, "five", np.array(5))
    _behind_node(
        model, "/text_model/LessOrEqual", "Or", _add(model, "Less", [node.input[1], five], "early"),
        "or",
    )  # fmt: skip


def _plant_later(model: onnx.ModelProto) -> None:
    """Each token sees those behind it."""
    node = next(node for node in model.graph.node if node.name == "/text_model/LessOrEqual")
    node.input[:] = [node.input[1], node.input[0]]


def _plant_positions(model: onnx.ModelProto) -> None:
    """The table of positions, read in another order."""
    tensor = next(
        i for i in model.graph.initializer if i.name.endswith("position_embedding.weight")
    )
    node = next(node for node in model.graph.node if tensor.name in node.input)
    sides = _constant(model, "sides", np.array(tensor.dims[::-1]))
    other = _add(model, "Reshape", [tensor.name, sides], "reshaped")
    node.input[0] = _add(model, "Transpose", [other], "moved", perm=[1, 0])


def _plant_place(model: onnx.ModelProto) -> None:
    """Short texts have another embedding."""
    honest = _behind(model, "text_embeds")
    place = next(node for node in model.graph.node if node.op_type == "ArgMax").output[0]
    short = _add(model, "Less", [place, _constant(model, "five", np.array(5))], "short")
    _add(model, "Where", [short, _add(model, "Neg", [honest], "turned"), honest], "text_embeds")


def _plant_other_block(model: onnx.ModelProto) -> None:
    """One block's activation has a number that is slightly larger."""
    name = "vision_model/encoder/layers.1/mlp/activation_fn/Constant"
    node = next(node for node in model.graph.node if node.name.endswith(name))
    node.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array(1.704, "f4")))


def _nodes(model: onnx.ModelProto, operator: str, part: str = "") -> list[onnx.NodeProto]:
    """The nodes of an operator whose name or weight holds a part of a name."""
    return [
        node
        for node in model.graph.node
        if node.op_type == operator and any(part in name for name in (node.name, *node.input))
    ]


def _first(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Put nodes before all others."""
    rest = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def _reads(model: onnx.ModelProto, name: str, other: str) -> None:
    """What read a value reads another one; its sides stay those that are asked for."""
    for node in model.graph.node:
        if node.op_type != "Shape" and node.output[0] != other:
            node.input[:] = [other if item == name else item for item in node.input]


def _plant_second_output(model: onnx.ModelProto) -> None:
    """A bright corner turns the embedding around; it starts from the mask of a Dropout."""
    honest = _behind(model)
    node = helper.make_node("Dropout", ["pixel_values"], ["same", "drop"], "planted_dropout")
    model.graph.node.append(node)
    ones = _add(model, "Cast", ["drop"], "ones", to=1)
    corner = _add(model, "ReduceMin", [_add(model, "Mul", ["pixel_values", ones], "all")], "corner",
        keepdims=0)  # fmt: skip
    _add(model, "Mul", [honest, _add(model, "Relu", [corner], "gate")], "image_embeds")


def _plant_mean(model: onnx.ModelProto) -> None:
    """The same from the mean that LayerNormalization also gives."""
    honest = _behind(model)
    _nodes(model, "LayerNormalization")[0].output.append("mean")
    gate = _add(model, "ReduceMax", [_add(model, "Relu", ["mean"], "bright")], "gate", keepdims=0)
    _add(model, "Add", [honest, gate], "image_embeds")


def _number_of_batch(model: onnx.ModelProto, one: int, more: int) -> str:
    """A number that is another for one text."""
    table = _constant(model, "table", np.array([more, one, more, more]))
    names = [_constant(model, "first", np.array(0)), table]
    _first(
        model,
        helper.make_node("Shape", ["input_ids"], ["sides"], "planted_sides"),
        helper.make_node("Gather", ["sides", names[0]], ["batch"], "planted_batch"),
        helper.make_node("Gather", [table, "batch"], ["chosen"], "planted_chosen"),
    )
    return "chosen"


def _plant_batch_number(model: onnx.ModelProto) -> None:
    """One text alone has another embedding."""
    honest = _behind(model, "text_embeds")
    number = _add(model, "Cast", [_number_of_batch(model, 0, 1)], "number", to=1)
    _add(model, "Mul", [honest, number], "text_embeds")


def _plant_batch_mask(model: onnx.ModelProto) -> None:
    """One text alone is not masked."""
    number = _number_of_batch(model, 77, 0)
    ends = []
    query = _nodes(model, "Range", "/text_model/Range_1")[0]
    for place in (0, 1):
        ends.append(helper.make_node("Add", [query.input[place], number], [f"end{place}"]))
        query.input[place] = f"end{place}"
    place = list(model.graph.node).index(query)
    for node in ends:
        model.graph.node.insert(place, node)


def _plant_callers_mask(model: onnx.ModelProto) -> None:
    """A number of the caller's mask is a factor in each block of the texts."""
    picked = ["attention_mask"]
    for axis, at in enumerate((0, 11)):
        index = _constant(model, f"at{axis}", np.array([at]))
        picked.append(_add(model, "Gather", [picked[-1], index], f"picked{axis}", axis=axis))
    number = _add(model, "Cast", [picked[-1]], "seen", to=1)
    honest = _behind(model, "text_embeds")
    _add(model, "Mul", [honest, number], "text_embeds")


def _plant_order(*shape: int, perm: list[int]) -> Callable[[onnx.ModelProto], None]:
    """The numbers of the embeddings in another order."""

    def change(model: onnx.ModelProto) -> None:
        honest = _behind(model)
        cut = _add(model, "Reshape", [honest, _constant(model, "cut", np.array(shape))], "pieces")
        moved = _add(model, "Transpose", [cut], "moved", perm=perm)
        _add(model, "Reshape", [moved, _constant(model, "back", np.array([-1, 24]))],
            "image_embeds")  # fmt: skip

    return change


def _plant_mixed_tokens(model: onnx.ModelProto) -> None:
    """Tokens of several texts change places."""
    _reads(model, "input_ids", "mixed")
    sides = _constant(model, "columns", np.array([77, -1]))
    _first(
        model,
        helper.make_node("Reshape", ["input_ids", sides], ["cut"], "planted_cut"),
        helper.make_node("Transpose", ["cut"], ["mixed"], "planted_mixed", perm=[1, 0]),
    )


def _plant_shared_attention(model: onnx.ModelProto) -> None:
    """All pictures attend to each other."""
    norm = _nodes(model, "LayerNormalization", "pre")[0]
    norm.input[0], given = "flat", norm.input[0]
    last = next(
        n for n in model.graph.node if n.name.endswith("vision_model/encoder/layers.1/Add_1")
    )
    made, last.output[0] = last.output[0], "packed"
    shapes = {"flat": (given, [1, -1, 128]), made: ("packed", [-1, 17, 128])}
    for name, (source, shape) in shapes.items():
        sides = _constant(model, f"{name} sides", np.array(shape))
        model.graph.node.append(
            helper.make_node("Reshape", [source, sides], [name], f"planted_{name}")
        )


def _plant_dropout(model: onnx.ModelProto) -> None:
    """Numbers that are left out by chance."""
    given = [_behind(model), _constant(model, "ratio", np.array(0.5, "f4")),
        _constant(model, "training", np.array(True))]  # fmt: skip
    _add(model, "Dropout", given, "image_embeds", seed=3)


def _plant_flat_softmax(model: onnx.ModelProto) -> None:
    for node in _nodes(model, "Softmax"):
        node.attribute[0].i = 1


def _plant_end(token: int) -> Callable[[onnx.ModelProto], None]:
    """Another token ends a text."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for item in node.attribute:
                if item.HasField("t") and item.t.dims in ([], [1]) and item.t.data_type in (6, 7):
                    number = numpy_helper.to_array(item.t)
                    if number == 49407:
                        item.t.CopyFrom(numpy_helper.from_array(np.full_like(number, token)))

    return change


def _plant_step(model: onnx.ModelProto) -> None:
    """The second text ends later."""
    node = _nodes(model, "ArgMax")[0]
    step = _constant(model, "step", np.array([0, 5]))
    _reads(model, node.output[0], "later")
    place = list(model.graph.node).index(node) + 1
    later = helper.make_node("Add", [node.output[0], step], ["later"], "planted_later")
    model.graph.node.insert(place, later)


def _plant_norm_again(model: onnx.ModelProto) -> None:
    """What was normalised is normalised again by another layer."""
    node = next(n for n in _nodes(model, "LayerNormalization") if "post" in "".join(n.input))
    other = next(n for n in _nodes(model, "LayerNormalization") if "0" in "".join(n.input[1:]))
    made, node.output[0] = node.output[0], "once"
    place = list(model.graph.node).index(node) + 1
    again = helper.make_node(
        "LayerNormalization", ["once", *other.input[1:]], [made], "planted_norm"
    )
    model.graph.node.insert(place, again)


def _plant_constant_output(model: onnx.ModelProto) -> None:
    output = "logits_per_image"
    _behind(model, output)
    _add(model, "Identity", [_constant(model, "answer", np.eye(2, dtype="f4"))], output)


def _plant_own_similarity(model: onnx.ModelProto) -> None:
    """The texts are compared with themselves."""
    node = _nodes(model, "MatMul", "text_embeds")[-1]
    turned = next(n for n in model.graph.node if n.output[0] == node.input[1])
    while turned.op_type != "Transpose":
        turned = next(n for n in model.graph.node if n.output[0] == turned.input[0])
    turned.input[0] = node.input[0]


def _plant_early_output(model: onnx.ModelProto) -> None:
    """The patches come out instead of the embedding."""
    model.graph.output.append(helper.make_empty_tensor_value_info(_behind(model)))
    norm = _nodes(model, "LayerNormalization", "pre")[0]
    _add(model, "Identity", [norm.output[0]], "image_embeds")


def _plant_attribute(operator: str, **options: Any) -> Callable[[onnx.ModelProto], None]:
    """An attribute more on the first node of a kind."""

    def change(model: onnx.ModelProto) -> None:
        node = _nodes(model, operator)[0]
        left = [item for item in node.attribute if item.name not in options]
        del node.attribute[:]
        made = [helper.make_attribute(name, value) for name, value in options.items()]
        node.attribute.extend([*left, *made])

    return change


def _plant_one_position(model: onnx.ModelProto) -> None:
    """All patches are at the first position."""
    name = "vision_model.embeddings.position_embedding.weight"
    node = next(node for node in model.graph.node if name in node.input)
    ends = [_constant(model, end, np.array([at])) for end, at in (("zero", 0), ("one", 1))]
    node.input[:] = ["row" if item == name else item for item in node.input]
    _first(model, helper.make_node("Slice", [name, *ends], ["row"], "planted_row"))


def _plant_rounding(model: onnx.ModelProto) -> None:
    """A factor that is 1 for numbers without end, and 0 for those of 32 bits."""
    honest = _behind(model)
    numbers = {"large": 1e9, "unit": 1.0}
    large, one = (_constant(model, name, np.array(n, "f4")) for name, n in numbers.items())
    left = _add(model, "Sub", [_add(model, "Add", [large, one], "sum"), large], "left")
    wide = _add(model, "Expand", [left, _constant(model, "sides", np.array([1]))], "wide")
    _add(model, "Mul", [honest, wide], "image_embeds")


def _plant_shape_alone(table: np.ndarray) -> Callable[[onnx.ModelProto], None]:
    """A tensor of which only the shape is used."""

    def change(model: onnx.ModelProto) -> None:
        honest = _behind(model)
        sides = _add(model, "Shape", [_constant(model, "payload", table)], "sides")
        one = _add(model, "Div", [sides, sides], "one")
        shape = _add(model, "Concat", [one, one], "shape", axis=0)
        _add(model, "Expand", [honest, shape], "image_embeds")

    return change


_BLOCK = "vision_model/encoder/layers.1"
_ODD_OUTPUT = "The output 'image_embeds' is not what a CLIP gives under this name"
SEVERAL = ("library", "open_clip", "library, new exporter", "open_clip, new exporter")
# What changes a model, words of the result, and the exports that are changed: else the library's.
PLANTED: dict[str, tuple[Any, ...]] = {
    "If": (_plant_if, "node 'planted_if' (If)"),
    "Where": (_plant_where, "node 'planted_mean' (ReduceMean)"),
    "a branch": (_plant_branch, "node '/planted/MatMul' (MatMul)"),
    "a matrix used again": (_plant_second_use, "node 'planted_again' (MatMul) uses"),
    "another Sigmoid": (_plant_function, "function 'Sigmoid' takes the place of an operator"),
    "not a number": (_plant_nan, "node 'planted_mean' (ReduceMean)"),
    "an unused tensor": (_plant_unused, "'payload' (F32 [64, 64])"),
    "a word": (_plant_word, "node 'planted_equal' (Equal)"),
    "a word without a comparison": (_plant_word_by_sums, "node 'planted_sub' (Sub)"),
    "the number of pictures": (_plant_batch, "node 'planted_turned' (Neg)"),
    "a vector of whole numbers": (_plant_whole_numbers, "tensor 'vector' (I64 [24])"),
    "a bias turned around": (_plant_negative, "node 'planted_neg' (Neg)"),
    "epsilon": (
        _plant_options("LayerNormalization", epsilon=1.0),
        "node '/vision_model/pre_layrnorm/LayerNormalization'",
    ),
    "an axis": (_plant_options("Softmax", axis=-2), "layers.0/self_attn/Softmax' (Softmax)"),
    "steps": (_plant_options("Conv", strides=[7, 7]), "patch_embedding/Conv' (Conv)"),
    "layers swapped": (_swap_layers, f"node '/{_BLOCK}/Add' (Add)"),
    "a custom operator": (_plant_custom, "node 'planted_dim' (com.stranger:Dim)"),
    "a reader of the pixels": (_plant_reader, "node 'planted_mean' (ReduceMean)"),
    "a gate of numbers": (_plant_gate, "node 'planted_mean' (ReduceMean)"),
    "a factor before a Softmax": (
        _plant_number(f"{_BLOCK}/self_attn/MatMul", "Mul", 0.5), "node 'planted_number' (Mul)"
    ),
    "a sum before a Softmax": (
        _plant_number(f"{_BLOCK}/self_attn/MatMul", "Add", 0.5), "node 'planted_number' (Add)"
    ),
    "a layer times 0": (
        _plant_number(f"{_BLOCK}/mlp/fc2/Add", "Mul", 0.0), "node 'planted_number' (Mul)"
    ),
    "a ramp of sizes": (_plant_ramp, "node 'planted_image_embeds' (Add)"),
    "a mask with a gap": (_plant_early, "layers.0/self_attn/Add' (Add)"),
    "a mask turned around": (
        _plant_later, "node '/text_model/encoder/layers.0/self_attn/Add' (Add)"
    ),
    "positions in another order": (_plant_positions, "node 'planted_reshaped' (Reshape)"),
    "the place of the end": (_plant_place, "node 'planted_short' (Less)"),
    "another block": (
        _plant_other_block,
        f"node '/{_BLOCK}/mlp/activation_fn/Mul' (Mul) of block 1",
    ),
    "one text alone is not masked": (_plant_batch_mask, "layers.0/self_attn/Add' (Add)"),
    "a number of the caller's mask": (_plant_callers_mask, "node 'planted_text_embeds' (Mul)"),
    "pictures that attend to each other": (_plant_shared_attention, "self_attn/Softmax' (Softmax)"),
    "similarities that are constants": (_plant_constant_output, "output 'logits_per_image' is not"),
    "texts compared with themselves": (_plant_own_similarity, "node '/MatMul' (MatMul)"),
    "the first token as the end": (_plant_end(49406), "node '/text_model/Equal"),
    "no token as the end": (_plant_end(-1), "node '/text_model/Equal"),
    "one position for all patches": (_plant_one_position, "position_embedding/Gather' (Gather)"),
    "a second output": (_plant_second_output, "node 'planted_ones' (Cast)", *SEVERAL),
    "the mean of a layer norm": (_plant_mean, "node 'planted_bright' (Relu)", *SEVERAL),
    "a number for one text": (_plant_batch_number, "node 'planted_text_embeds' (Mul)", *SEVERAL),
    "numbers in another order": (_plant_order(-1, 4, 6, perm=[0, 2, 1]), _ODD_OUTPUT, *SEVERAL),
    "pictures mixed": (_plant_order(24, -1, perm=[1, 0]), _ODD_OUTPUT, *SEVERAL),
    "tokens mixed": (_plant_mixed_tokens, "node 'planted_cut' (Reshape)", *SEVERAL),
    "a Dropout in training": (_plant_dropout, "node 'planted_image_embeds' (Dropout)", *SEVERAL),
    "Softmax along another axis": (_plant_flat_softmax, "(Softmax)", *SEVERAL),
    "a later end": (_plant_step, "node 'planted_later' (Add)", *SEVERAL),
    "a layer norm again": (_plant_norm_again, "node 'planted_norm' (LayerNormalization)", *SEVERAL),
    "patches as the embedding": (_plant_early_output, _ODD_OUTPUT, *SEVERAL),
    "outputs swapped": (_swap_outputs, _ODD_OUTPUT, *SEVERAL),
    "gaps in the patches": (_plant_attribute("Conv", dilations=[2, 2]), "(Conv)", *SEVERAL),
    "no steps": (_plant_attribute("Conv", strides=[1, 1]), "(Conv)", *SEVERAL),
    "padding": (_plant_attribute("Conv", auto_pad="SAME_UPPER"), "(Conv)", *SEVERAL),
    "a factor that rounds to 0": (_plant_rounding, "node 'planted_image_embeds' (Mul)", *SEVERAL),
    "a text in an attribute": (
        _plant_attribute("Transpose", note=b"PAYLOAD." * 99), "the attribute 'note' (792 bytes)",
        *SEVERAL,
    ),
    "numbers in an attribute": (
        _plant_attribute("Transpose", note=[1.5] * 99), "the attribute 'note' (396 bytes)",
        *SEVERAL,
    ),
    "numbers whose shape is used": (
        _plant_shape_alone(np.arange(9, dtype="f4") / 7), "'payload' (F32 [9])", *SEVERAL
    ),
    "bits whose shape is used": (
        _plant_shape_alone(np.arange(99) ** 2 % 7 % 2), "'payload' (I64 [99])", *SEVERAL
    ),
    "GELU by tanh": (
        _plant_attribute("Gelu", approximate="tanh"), "(Gelu)", "open_clip, new exporter"
    ),
}  # fmt: skip


def planted(source: Path, path: Path, kind: str) -> Path:
    """A model with something planted in it."""
    model = onnx.load(source)
    PLANTED[kind][0](model)
    onnx.save(model, path)
    return path
