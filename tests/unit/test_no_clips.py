"""What is published beside CLIPs and is none: said in a sentence, with what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ml_core.checkpoints.inspection_record import assess
from ml_core.cli.app import run_command
from ml_core.reading import inspect
from tests.unit.layout_files import VIT, contiguous, lively

SMALL = torch.zeros(2, 2)
BLOCK = "image_encoder.transformer.resblocks.0"


def tensors(*names: str) -> Callable[[Path], Path]:
    """A safetensors file of these names."""

    def write(folder: Path) -> Path:
        save_file(each(*names), folder / "x.safetensors")
        return folder / "x.safetensors"

    return write


def each(*names: str) -> dict[str, Tensor]:
    return {name: SMALL.clone() for name in names}


def record(made: Callable[[], Any]) -> Callable[[Path], Path]:
    """A torch file of an object."""

    def write(folder: Path) -> Path:
        torch.save(made(), folder / "x.pt")
        return folder / "x.pt"

    return write


def peft_folder(folder: Path) -> Path:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    save_file(each("base_model.model.q_proj.lora_A.weight"), folder / "adapter_model.safetensors")
    return folder


def onnx(folder: Path) -> Path:
    (folder / "m.onnx").write_bytes(b"\x08\x07\x12\x07pytorch" + bytes(100))
    return folder / "m.onnx"


def rvpt() -> dict[str, Any]:
    return {
        "state_dict": contiguous(lively(VIT).state_dict()) | {"visual.prompt_embeddings": SMALL}
    }


CASES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "PEFT LoRA": (
        tensors("base_model.model.vision_model.encoder.layers.0.self_attn.q_proj.lora_A.weight"),
        "holds LoRA weights .* merge them into their base model"),
    "CLIP-LoRA": (record(lambda: {"weights": {"layer_0": {"q_proj": {"w_lora_A": SMALL}}},
                "metadata": {"r": 2}}), "holds LoRA weights"),
    "PEFT folder": (peft_folder, "folder with an adapter .* merge it into its base model"),
    "CLIP-Adapter": (tensors("adapter.fc.0.weight", "adapter.fc.2.weight"), "holds an adapter"),
    "CoOp": (record(lambda: {"state_dict": {"prompt_learner.ctx": SMALL}, "epoch": 50}),
        "holds learned prompts .* open the CLIP that they were trained on"),
    "RVPT in a whole CLIP": (record(rvpt), "holds learned prompts"),
    "timm": (tensors("cls_token", "patch_embed.proj.weight"), "of the timm library"),
    "timm inside open_clip": (
        tensors("visual.trunk.patch_embed.proj.weight", "text.token_embedding.weight"),
        r"encoder of the timm library .* put its open_clip_config\.json beside it"),
    "ONNX": (onnx, "is an ONNX model"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_in_one_sentence(case, tmp_path, capsys):
    write, words = CASES[case]
    path = write(tmp_path)
    assessed = assess(inspect(path))
    assert (assessed.verdict, assessed.reason_code) == ("unsupported", "unsupported")
    assert assessed.words == "Refused: unsupported"
    sentence = assessed.reasons[0]
    assert re.search(words, sentence), sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert run_command(["inspect", str(path)]) == 2
    assert "Traceback" not in capsys.readouterr().err
