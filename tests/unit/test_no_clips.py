"""What is published beside CLIPs and is none: said in a sentence, with what to do."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file

from ml_core.checkpoints.inspection_record import assess
from ml_core.cli.app import run_command
from ml_core.reading import inspect
from ml_core.reading.folder import list_folder
from tests.unit.layout_files import VIT, contiguous, lively

SMALL = torch.zeros(2, 2)


def named(*names: str) -> dict[str, torch.Tensor]:
    return dict.fromkeys(names, SMALL)


CASES = {
    "PEFT LoRA": (
        {"base_model.model.vision_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": SMALL},
        "holds LoRA weights .* merge them into their base model"),
    "CLIP-LoRA": ({"weights": {"layer_0": {"q_proj": {"w_lora_A": SMALL}}},
                "metadata": {"r": 2}}, "holds LoRA weights"),
    "PEFT folder": (None, "folder with an adapter .* merge it into its base model"),
    "CLIP-Adapter": ({"adapter.fc.0.weight": SMALL}, "holds an adapter"),
    "CoOp": ({"state_dict": {"prompt_learner.ctx": SMALL}, "epoch": 50},
        "holds learned prompts .* open the CLIP that they were trained on"),
    "RVPT in a whole CLIP": (
        {"state_dict": contiguous(lively(VIT).state_dict()) | {"visual.prompt_embeddings": SMALL}},
        "holds learned prompts"),
    "timm": ({"cls_token": SMALL, "patch_embed.proj.weight": SMALL}, "of the timm library"),
    "timm inside open_clip": (
        {"visual.trunk.patch_embed.proj.weight": SMALL, "text.token_embedding.weight": SMALL},
        r"encoder of the timm library .* put its open_clip_config\.json beside it"),
    "jina-clip": (named("vision_model.patch_embed.proj.weight", "vision_model.blocks.0.norm1.bias",
        "text_model.transformer.embeddings.word_embeddings.weight"), "is a jina-clip"),
    "BLIP": (named("visual_encoder.patch_embed.proj.weight", "visual_encoder.blocks.0.norm1.bias",
        "text_decoder.bert.embeddings.word_embeddings.weight"), "is a BLIP or an ALBEF"),
    "BLIP of transformers": (named("vision_model.embeddings.class_embedding",
        "vision_model.embeddings.patch_embedding.bias", "text_proj.weight",
        "vision_model.encoder.layers.0.self_attn.qkv.weight"), "is a BLIP or a BLIP-2"),
    "BLIP-2": (named("query_tokens", "Qformer.bert.encoder.layer.0.output.dense.bias",
        "visual_encoder.patch_embed.proj.weight"), "is a BLIP-2 or its Q-Former"),
    "GeoCLIP": (named("LocEnc0.capsule.0.b", "LocEnc0.head.0.weight"),
        "location encoder of a GeoCLIP .* OpenAI's ViT-L/14"),
    "AIMv2": (named("preprocessor.patchifier.proj.weight", "trunk.blocks.0.attn.qkv.weight"),
        "is an AIMv2"),
    "AIMv2 of transformers": (named("vision_model.embeddings.patch_embed.weight", "logit_scale",
        "vision_model.encoder.layers.0.ffn.gate_proj.weight",
        "text_model.embeddings.token_embedding.weight"), "is an AIMv2"),
    "nomic-embed-vision": (named("embeddings.cls_token", "layers.0.mlp.fc11.weight"),
        "is a nomic-embed"),
    "FLAVA": (named("image_model.embeddings.cls_token", "multimodal_model.cls_token"),
        "of another family .*FLAVA"),
    "SD's UNet": (named("model.diffusion_model.input_blocks.0.0.weight",
        "first_stage_model.encoder.down.0.block.0.conv1.weight"),
        "is the diffusion network of an image generator .* the folder text_encoder"),
    "a UNet of diffusers": (named("down_blocks.0.resnets.0.conv1.weight", "conv_in.weight"),
        "is the diffusion network"),
    "Flux": (named("double_blocks.0.img_attn.qkv.weight", "img_in.weight"),
        "is the diffusion network"),
    "a VAE": (named("encoder.down_blocks.0.resnets.0.conv1.weight", "quant_conv.weight"),
        "is the autoencoder"),
    "T5": (named("shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"),
        "is a T5 .* clip_l"),
    "a language model": (named("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.bias"),
        "is a language model, or a shard of one .* its vision tower"),
    "Qwen3-VL": (named("model.visual.blocks.0.attn.qkv.weight",
        "model.language_model.layers.0.self_attn.q_proj.weight"), "is a Qwen-VL"),
    "a shard of Qwen3-VL": (named("model.language_model.layers.9.self_attn.q_proj.weight"),
        "is a language model, or a shard of one"),
    "BERT": (named("bert.embeddings.word_embeddings.weight"), "of BERT's kind"),
    "DINOv2": (named("embeddings.patch_embeddings.projection.weight"), "such as ViT or DINOv2"),
    "an encoder of llama.cpp": (named("v.patch_embd.weight.1", "v.blk.0.attn_qkv.weight"),
        "is an encoder of llama.cpp"),
    "Core ML": (b"\x08\x04\x12\x0a\x0a\x08\x0a\x05image" + bytes(50), "is a Core ML model; open"),
    "OpenVINO": (b'<?xml version="1.0"?>\n<net name="clip" version="11">', "is an OpenVINO model"),
    "TensorRT": (b"ftrt" + bytes(100), "is a TensorRT engine; open the model"),
    "ExecuTorch": (b"\x20\0\0\0ET12" + bytes(100), "is an ExecuTorch program"),
    "PaddlePaddle": (b"\n\x99\x01\x08\0\x10" + b"\xff" * 9 + b"\x01\x1a\x05",
        "is a PaddlePaddle program"),
    "ncnn": (b"7767517\n75 83\nInput data 0 1", "is an ncnn network"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_in_one_sentence(case, tmp_path):
    made, words = CASES[case]
    path = tmp_path / "x.pt"
    if made is None:
        path = tmp_path
        (path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
        save_file({"base_model.q_proj.lora_A.weight": SMALL}, path / "adapter_model.safetensors")
    elif isinstance(made, bytes):
        path.with_suffix(".bin").write_bytes(made)
        path = path.with_suffix(".bin")
    else:
        torch.save(made, path)
    assessed = assess(inspect(path))
    assert (assessed.verdict, assessed.words) == ("unsupported", "Refused: unsupported")
    check_sentence(assessed.reasons[0], words)
    assert run_command(["inspect", str(path)]) == 2


@pytest.mark.parametrize("case", ["jina-clip", "BLIP of transformers", "BLIP-2", "T5", "BERT"])
def test_a_folder_of_it_is_told_by_the_same_sentence(case, tmp_path):
    tensors, words = CASES[case]
    (tmp_path / "config.json").write_text('{"model_type": "other"}')
    save_file({name: SMALL.clone() for name in tensors}, tmp_path / "model.safetensors")
    check_sentence(assess(inspect(tmp_path)).reasons[0], words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Manifest.json", r"a Core ML package \(\.mlpackage\); open the model that"),
        ("coremldata.bin", "a compiled Core ML model"),
        ("openvino_model.xml", "an OpenVINO model"),
        ("saved_model.pb", "a TensorFlow SavedModel"),
        ("inference.pdmodel", "a PaddlePaddle program"),
    ],
)
def test_a_folder_of_another_program_is_named(name, words, tmp_path):
    for file in (name, "config.json", "openvino_model.bin"):
        (tmp_path / file).write_text("{}")
    assert inspect(tmp_path).verdict == "unsupported"
    check_sentence(inspect(tmp_path).reasons[0], words)


@pytest.mark.parametrize("weights", ["pytorch_model.bin.index.json", "epoch_10.pt"])
def test_weights_beside_another_program_are_chosen(weights, tmp_path):
    for file in ("openvino_model.xml", "Manifest.json", "config.json", weights):
        (tmp_path / file).write_text("{}")
    assert list_folder(tmp_path).weights.name == weights


def test_a_folder_of_diffusers_names_the_class(tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    save_file({"conv_in.weight": SMALL}, tmp_path / "diffusion_pytorch_model.safetensors")
    words = r"diffusers library \(UNet2DConditionModel\) .* open the folder text_encoder"
    check_sentence(assess(inspect(tmp_path)).reasons[0], words)


def check_sentence(sentence: str, words: str) -> None:
    assert re.search(words, sentence), sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
