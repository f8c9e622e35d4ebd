"""GGUF files as clip.cpp and llama.cpp write them, against llama.cpp's own package ``gguf``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from safetensors.torch import load_file

from ml_core.checkpoints.compare import compare_checkpoints
from ml_core.checkpoints.convert import convert_to_open_clip, convert_to_safetensors
from ml_core.checkpoints.inspection_record import assess
from ml_core.checkpoints.layouts import SIGLIP, find_layout
from ml_core.checkpoints.open import open_checkpoint
from ml_core.checkpoints.tensor_stats import tensor_stats
from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import examine
from ml_core.reading.clip_config import CLIP_MEAN
from tests.unit.layout_files import assert_equal, hugging, of_transformers  # noqa: F401

# In this order, as clip.cpp's convert_hf_to_gguf.py shortens the library's names.
SHORTER = (
    ("text_model", "t"), ("vision_model", "v"), ("encoder.layers", "blk"), ("embeddings.", ""),
    ("_proj", ""), ("self_attn.", "attn_"), ("layer_norm", "ln"), ("layernorm", "ln"),
    ("mlp.fc1", "ffn_down"), ("mlp.fc2", "ffn_up"), ("embedding", "embd"), ("final", "post"),
    ("layrnorm", "ln"),
)  # fmt: skip
SWAPPED = {"ffn_down": "ffn_up", "ffn_up": "ffn_down"}
TYPES = ("Q8_0", "Q4_0", "F16", "BF16", "F32")


def shorter(name: str, old: bool) -> str:
    """The name in the file; llama.cpp's present ``ffn_up`` widens, clip.cpp's ``ffn_down`` did."""
    if "projection" in name:
        return name
    for theirs, short in SHORTER:
        name = name.replace(theirs, short)
    return name if old else re.sub("ffn_(down|up)", lambda match: SWAPPED[match[0]], name)


def write(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    values: Mapping[str, Any],
    types: tuple[str, ...] = ("F32",),
    architecture: str = "clip",
) -> None:
    """Write tensors, those of two dimensions in these types in turn; bytes are written as such."""
    writer = GGUFWriter(path, architecture)
    for key, value in values.items():
        kind = type(value).__name__
        {"bool": writer.add_bool, "int": writer.add_uint32, "str": writer.add_string,
            "float": writer.add_float32, "list": writer.add_array}[kind](key, value)  # fmt: skip
    kinds = cycle(types)
    for name, tensor in tensors.items():
        kind = GGMLQuantizationType[next(kinds) if tensor.ndim == 2 else "F32"]
        numbers = np.ascontiguousarray(tensor.numpy())
        if numbers.dtype != np.uint8:
            numbers = gguf.quants.quantize(numbers, kind)
        writer.add_tensor(name, numbers, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def oracle(path: Path) -> dict[str, np.ndarray]:
    """The numbers of every tensor, as the package ``gguf`` computes them."""
    return {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(
            tensor.shape.tolist()[::-1]
        )
        for tensor in GGUFReader(path).tensors
    }


def whole_clip(model: Any, path: Path, old: bool) -> dict[str, str]:
    """A CLIP as clip.cpp converts it; the library's name of each tensor of the file."""
    names = {shorter(name, old): name for name in model.state_dict() if name != "logit_scale"}
    names = {short: name for short, name in names.items() if "position_ids" not in name}
    vision, text = model.config.vision_config, model.config.text_config
    values = {
        "clip.has_text_encoder": True,
        "clip.vision.image_size": vision.image_size,
        "clip.vision.attention.head_count": vision.num_attention_heads,
        "clip.text.attention.head_count": text.num_attention_heads,
        "clip.vision.image_mean": list(CLIP_MEAN),
        "clip.vision.image_std": [0.5, 0.25, 0.3],
        "clip.use_gelu": vision.hidden_act == "gelu",
        "tokenizer.ggml.tokens": [f"word{number}" for number in range(1000)],
    }
    state = model.state_dict()
    write(path, {short: state[name] for short, name in names.items()}, values, TYPES)
    return names


@pytest.mark.parametrize("old", [True, False])
def test_a_whole_clip_embeds_as_the_transformers_library_does(hugging, old, tmp_path):  # noqa: F811
    path = tmp_path / "m.gguf"
    names = whole_clip(hugging, path, old)
    rounded = {names[short]: torch.tensor(value) for short, value in oracle(path).items()}
    hugging.load_state_dict(rounded, strict=False)
    checkpoint = open_checkpoint(path)
    assert checkpoint.architecture.questions == ("logit scale",)
    assert checkpoint.architecture.preprocess.mean == CLIP_MEAN
    assert checkpoint.inspection.metadata["clip.vision.image_std"] == "[0.5, 0.25, 0.3]"
    assert checkpoint.inspection.metadata["tokenizer.ggml.tokens"] == "1000 texts"
    expected = of_transformers(hugging, CLIP_MEAN, (0.5, 0.25, 0.3))
    assert_equal(checkpoint.build(), expected)
    convert_to_open_clip(checkpoint.inspection, tmp_path / "out")
    assert_equal(open_checkpoint(tmp_path / "out").build(), expected)


@pytest.mark.parametrize("hugging", ["gelu"], indirect=True)
def test_every_reader_gives_the_numbers_of_llama_cpp(hugging, tmp_path):  # noqa: F811
    path = tmp_path / "m.gguf"
    names = whole_clip(hugging, path, True)
    expected = {names[short]: value for short, value in oracle(path).items()}
    inspection = examine(path)
    assert {info.dtype for info in inspection.tensors} == set(TYPES)
    (reason,) = assess(inspection).reasons
    assert "rounded to 8 bits or fewer (Q8_0 and Q4_0)" in reason
    convert_to_safetensors(inspection, tmp_path / "m.safetensors")
    convert_to_open_clip(examine(tmp_path / "m.safetensors"), tmp_path / "folder")
    for copy in (tmp_path / "m.safetensors", tmp_path / "folder"):
        assert assess(examine(copy)).reasons == (reason,)
    copies = load_file(tmp_path / "m.safetensors")
    read = read_tensors(inspection)
    rows = {row.name: row for row in tensor_stats(inspection)}
    for name, value in expected.items():
        assert np.array_equal(read[name].float().numpy(), value), name
        assert np.array_equal(copies[name].float().numpy(), value), name
        assert rows[name].max == value.max()
        assert rows[name].mean == pytest.approx(value.mean(dtype=np.float64), rel=1e-6, abs=1e-9)
    changes = list(compare_checkpoints(inspection, examine(tmp_path / "m.safetensors")))
    assert {change.state for change in changes} == {"equal"}
    assert not any(change.difference for change in changes)


@pytest.mark.parametrize("hugging", ["gelu"], indirect=True)
def test_the_projector_of_a_language_model_embeds_with_the_end_of_a_donor(hugging, tmp_path):  # noqa: F811
    hugging.save_pretrained(tmp_path / "donor")
    tower = {
        shorter(name, False): value
        for name, value in hugging.state_dict().items()
        if name.startswith("vision_model.") and not re.search("post_|layers.1|_ids", name)
    }
    values = {"clip.projector_type": "mlp", "clip.vision.attention.head_count": 4,
        "clip.use_gelu": True}  # fmt: skip
    write(
        tmp_path / "mmproj.gguf",
        tower | dict.fromkeys(("mm.0.a", "mm.2.a"), torch.ones(32)),
        values,
    )
    assessed = assess(examine(tmp_path / "mmproj.gguf"))
    assert assessed.verdict == "loads"
    assert "without its projection" in assessed.architecture["notes"][0]
    checkpoint = open_checkpoint(tmp_path / "mmproj.gguf", tmp_path / "donor")
    first, second, *_ = checkpoint.architecture.assumptions
    assert "the text encoder, the last normalisation, the projection and the logit scale" in first
    assert "has 1 blocks and the donor's 2" in second
    assert "a projector (2 tensors)" in checkpoint.architecture.notes[0]
    del hugging.vision_model.encoder.layers[1]
    assert_equal(checkpoint.build(), of_transformers(hugging))
    siglip = {"v.patch_embd.weight": torch.zeros(32, 3, 8, 8), "v.patch_embd.bias": torch.zeros(32)}
    write(tmp_path / "siglip.gguf", siglip, {})
    assert find_layout(examine(tmp_path / "siglip.gguf")).title == SIGLIP


REFUSED = {
    "a language model": (
        "llama", "blk.0.attn_q.weight", "Q4_K", r"is a language model \(llama\) .*mmproj file"),
    "Q5_K": ("clip", "v.class_embd", "Q5_K", "tensors of the type Q5_K; take the F16 file"),
    "an encoder of types that are not read": (
        "clip", "v.blk.0.attn_qkv.weight", "Q5_K", "is an image encoder of another family"),
    "a T5 encoder": ("t5encoder", "enc.blk.0.attn_q.weight", "Q8_0", "is a T5 .*clip_l"),
    "a BERT": ("nomic-bert", "token_embd.weight", "Q8_0", "is a text encoder of BERT's kind"),
    "an adapter": ("llama", "blk.0.attn_q.weight.lora_a", "Q8_0", "holds LoRA weights"),
    "Flux": ("flux", "double_blocks.0.img_attn.qkv.weight", "Q4_K",
        "is the diffusion network .*clip_l"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_read_is_named(case, tmp_path):
    architecture, name, kind, words = REFUSED[case]
    blocks = torch.zeros(gguf.GGML_QUANT_SIZES[GGMLQuantizationType[kind]], dtype=torch.uint8)
    write(tmp_path / "m.gguf", {name: blocks}, {}, (kind,), architecture)
    assessed = assess(examine(tmp_path / "m.gguf"))
    assert assessed.verdict == "unsupported"
    assert re.search(words, assessed.reasons[0]), assessed.reasons


@pytest.mark.parametrize("hugging", ["gelu"], indirect=True)
def test_what_the_metadata_say_is_followed_or_refused(hugging, tmp_path):  # noqa: F811
    path = tmp_path / "m.gguf"
    state = hugging.state_dict()
    tensors = {shorter(name, False): value for name, value in state.items() if value.ndim}
    for values, words in (
        ({"clip.use_silu": True}, "the activation SiLU"),
        ({"clip.text.attention.layer_norm_epsilon": 0.1}, "layer_norm_epsilon 0.1 in the text"),
    ):
        write(path, tensors, values)
        assert words in assess(examine(path)).reasons[0]
    for values, quick_gelu, asked in (
        ({}, True, False),
        ({"clip.use_gelu": True}, False, False),
        ({"clip.use_gelu": 1}, True, True),  # a number, where llama.cpp has a truth value
    ):
        write(path, tensors, values | {"clip.vision.attention.layer_norm_epsilon": 1e-5})
        architecture = open_checkpoint(path).architecture
        assert architecture.config["quick_gelu"] == quick_gelu
        assert ("activation" in architecture.questions) == asked
    write(path, tensors, {"open_clip_config": '{"model_cfg": {"embed_dim": 7}}'})
    assert open_checkpoint(path).architecture.source == "shapes"


def test_dense_layers_as_wide_as_the_encoder_are_not_exchanged(tmp_path):
    square = dict.fromkeys(("v.blk.0.ffn_up.weight", "v.blk.0.ffn_down.weight"), torch.eye(4))
    write(tmp_path / "m.gguf", square | {"v.blk.0.ln1.weight": torch.ones(4)}, {})
    first, *_ = examine(tmp_path / "m.gguf").tensors
    assert first.name == "vision_model.encoder.layers.0.mlp.fc1.weight"
