"""Configs and tokenizers that want more than data: each is refused in one sentence, at once."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.inspection_record import assess
from ml_core.reading import InputError, inspect
from ml_core.reading.tokenizer_file import read_tokenizer
from ml_core.text_tokens import TextTokenizer
from tests.unit.families import BERT, FAMILIES, VIT, unigram

TIMM = FAMILIES["EVA-CLIP"]
HF = FAMILIES["multilingual (XLM-RoBERTa)"]
KNOWN = BERT | {"model_type": "bert"}
COCA = FAMILIES["CoCa"]


def folder_of(config: dict[str, Any], folder: Path, beside: dict[str, Any] | None = None) -> Path:
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    names = ("visual.trunk.x", "text.transformer.x", "visual.conv1.weight", "logit_scale")
    save_file({name: torch.zeros(2, 2) for name in names}, folder / "open_clip_model.safetensors")
    if beside is not None:
        (folder / "config.json").write_text(json.dumps(beside))
    return folder


def with_vision(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return config | {"vision_cfg": config["vision_cfg"] | changes}


def with_text(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return config | {"text_cfg": config["text_cfg"] | changes}


CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str]] = {
    "an unknown name": (with_vision(TIMM, timm_model_name="no_such_vit"), None, "does not have"),
    "a repository for timm": (
        with_vision(TIMM, timm_model_name="hf-hub:evil/model"), None, "is no plain name"
    ),
    "a path for timm": (
        with_vision(TIMM, timm_model_name="local-dir:/etc"), None, "is no plain name"
    ),
    "arguments for timm": (
        with_vision(TIMM, timm_model_kwargs={"x": 1}), None, "timm_model_kwargs, which this"
    ),
    "a path for transformers": (with_text(HF, hf_model_name="/etc/evil"), KNOWN, "no plain name"),
    "a parent folder": (with_text(HF, hf_model_name="../evil"), KNOWN, "is no plain name"),
    "an unknown text encoder": (
        with_text(HF, hf_model_name="evil/new-bert"), None, "whose kind is not known here"
    ),
    "code for the text encoder": (
        with_text(HF, hf_model_name="evil/new-bert"),
        {"model_type": "evil", "auto_map": {"AutoModel": "evil.Model"}},
        "whose kind is not known here",
    ),
    "a tokenizer from a path": (
        with_text(HF, hf_tokenizer_name="/etc/passwd"), KNOWN, "is no plain name"
    ),
    "tokenizer arguments": (
        with_text(HF, tokenizer_kwargs={"trust_remote_code": True}),
        KNOWN,
        "trust_remote_code, which this version does not know",
    ),
    "a giant text encoder": (
        HF, KNOWN | {"num_hidden_layers": 10**9}, "num_hidden_layers 1000000000"
    ),
    "a text encoder too large": (
        HF,
        KNOWN | {"hidden_size": 16384, "num_attention_heads": 1,
                "num_hidden_layers": 200, "intermediate_size": 65536},
        "parameters",
    ),
    "a giant decoder": (
        COCA | {"multimodal_cfg": COCA["multimodal_cfg"] | {"width": 16384, "layers": 200}},
        None,
        "parameters",
    ),
    "a decoder that is no table": (COCA | {"multimodal_cfg": [1]}, None, "no table multimodal_cfg"),
    "tokens for nobody": (with_vision(COCA, output_tokens=False), None, "without the tokens"),
    "an activation from elsewhere": (
        {"embed_dim": 8, "vision_cfg": VIT | {"act_kwargs": {"layer": "os.system"}},
         "text_cfg": {}},
        None,
        "layer, which this version does not know",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_wants_more_is_refused(case: str, tmp_path: Path) -> None:
    config, beside, words = CONFIGS[case]
    assessed = assess(inspect(folder_of(config, tmp_path, beside)))
    assert assessed.verdict == "damaged"
    sentence = assessed.reasons[0]
    assert words in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert sentence.count(". ") == 0


def test_a_name_of_timm_does_not_allocate_its_gigabytes(tmp_path: Path) -> None:
    """A name is a few bytes: what it stands for is not made before the tensors are its."""
    big = {"timm_model_name": "maxvit_xlarge_tf_512", "timm_pool": "avg", "image_size": 512}
    folder = folder_of(TIMM | {"vision_cfg": big}, tmp_path)
    with pytest.raises(InputError, match=r"does not hold the tensors|much larger than what"):
        open_checkpoint(folder).build()


def change(**changes: Any) -> dict[str, Any]:
    return unigram() | changes


def model(**changes: Any) -> dict[str, Any]:
    made = unigram()
    return made | {"model": made["model"] | changes}


REGEX = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
TOKENIZERS: dict[str, tuple[Any, str]] = {
    "a regular expression that takes for ever": (change(pre_tokenizer=REGEX), "regular expression"),
    "one inside a sequence": (
        change(normalizer={"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": ""}]}),
        "regular expression",
    ),
    "an unknown part": (change(normalizer={"type": "Python", "code": "x"}), "of the kind 'Python'"),
    "an unknown model": (model(type="Custom"), "of the kind 'Custom'"),
    "no model": ({"version": "1.0"}, "a model of the kind 'None'"),
    "random tokens": (model(type="BPE", dropout=0.5, merges=[], vocab={}), "at random"),
    "a list": ([1, 2], "not a JSON object"),
    "a piece that is none": (model(vocab=[[1, 2]]), "cannot be used"),
    "an unknown token far away": (model(unk_id=10**12), "cannot be used"),
    "a bad character map": (
        change(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "cannot be used"
    ),
    "a filling token that is none": (change(), "does not say which token fills"),
}  # fmt: skip


@pytest.mark.parametrize("case", TOKENIZERS)
def test_a_tokenizer_that_wants_more_is_refused(case: str, tmp_path: Path) -> None:
    value, words = TOKENIZERS[case]
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match=words) as caught:
        TextTokenizer(read_tokenizer(tmp_path / "tokenizer.json"), 40)
    assert "\n" not in caught.value.sentence
    assert caught.value.sentence.endswith(".")


def test_a_tokenizer_of_another_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(unigram()))
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "</s>"}')
    small = TextTokenizer(read_tokenizer(tmp_path / "tokenizer.json"), 4, name="m.pt")
    with pytest.raises(InputError, match=r"writes the token \d+ and the model has 4"):
        small(["a dog"], 8)


def test_a_tokenizer_larger_than_any_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    with pytest.raises(InputError, match="more than a tokenizer needs"):
        read_tokenizer(tmp_path / "tokenizer.json")
    assert tracemalloc.get_traced_memory()[1] < 150 << 20
    tracemalloc.stop()


def test_a_tokenizer_outside_the_folder_is_not_followed(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "tokenizer.json").write_text(json.dumps(unigram()))
    (inside / "tokenizer.json").symlink_to(tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match="a link to a file outside the folder"):
        read_tokenizer(inside / "tokenizer.json")
