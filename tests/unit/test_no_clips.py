"""What is published beside CLIPs and is none: said in a sentence, with what to do."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file

from ml_core.checkpoints.inspection_record import assess
from ml_core.reading import inspect
from tests.unit.layout_files import VIT, contiguous, lively

SMALL = torch.zeros(2, 2)
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
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_in_one_sentence(case, tmp_path):
    made, words = CASES[case]
    path = tmp_path / "x.pt"
    if made is None:
        path = tmp_path
        (path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
        save_file({"base_model.q_proj.lora_A.weight": SMALL}, path / "adapter_model.safetensors")
    else:
        torch.save(made, path)
    assessed = assess(inspect(path))
    assert (assessed.verdict, assessed.words) == ("unsupported", "Refused: unsupported")
    sentence = assessed.reasons[0]
    assert re.search(words, sentence), sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
