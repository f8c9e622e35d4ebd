"""Configs and tokenizers that want more than data: each is refused in one sentence, at once."""

from __future__ import annotations

import json
import os
import signal
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.inspection_record import assess
from ml_core.reading import InputError, inspect, tokenizer_process
from ml_core.reading.tokenizer_file import TokenizerFile, read_tokenizer
from ml_core.text_tokens import TextTokenizer
from tests.unit.families import (
    BERT,
    FAMILIES,
    HF_CONFIGS,
    TEXTS,
    VIT,
    lively,
    unigram,
    write_folder,
)

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
    "a repository for timm": (with_vision(TIMM, timm_model_name="hf-hub:evil/model"), None,
        "is no plain name"),
    "a path for timm": (with_vision(TIMM, timm_model_name="local-dir:/etc"), None,
        "is no plain name"),
    "arguments for timm": (with_vision(TIMM, timm_model_kwargs={"x": 1}), None,
        "timm_model_kwargs, which this"),
    "a path for transformers": (with_text(HF, hf_model_name="/etc/evil"), KNOWN, "no plain name"),
    "a parent folder": (with_text(HF, hf_model_name="../evil"), KNOWN, "is no plain name"),
    "an unknown text encoder": (with_text(HF, hf_model_name="evil/new-bert"), None,
        "whose kind is not known here"),
    "code for the text encoder": (with_text(HF, hf_model_name="evil/new-bert"),
        {"model_type": "evil", "auto_map": {"AutoModel": "evil.Model"}},
        "whose kind is not known here"),
    "a tokenizer from a path": (with_text(HF, hf_tokenizer_name="/etc/passwd"), KNOWN,
        "is no plain name"),
    "tokenizer arguments": (with_text(HF, tokenizer_kwargs={"trust_remote_code": True}), KNOWN,
        "trust_remote_code, which this version does not know"),
    "a giant text encoder": (HF, KNOWN | {"num_hidden_layers": 10**9},
        "num_hidden_layers 1000000000"),
    "a text encoder too large": (HF,
        KNOWN
        | {"hidden_size": 16384, "num_attention_heads": 1, "num_hidden_layers": 200,
                "intermediate_size": 65536}, "parameters"),
    "a giant decoder": (
        COCA | {"multimodal_cfg": COCA["multimodal_cfg"] | {"width": 16384, "layers": 200}}, None,
        "parameters"),
    "a decoder that is no table": (COCA | {"multimodal_cfg": [1]}, None, "no table multimodal_cfg"),
    "tokens for nobody": (with_vision(COCA, output_tokens=False), None, "without the tokens"),
    "an activation from elsewhere": ({"embed_dim": 8,
            "vision_cfg": VIT | {"act_kwargs": {"layer": "os.system"}}, "text_cfg": {}}, None,
        "layer, which this version does not know"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_wants_more_is_refused(case: str, tmp_path: Path) -> None:
    config, beside, words = CONFIGS[case]
    assessed = assess(inspect(folder_of(config, tmp_path, beside)))
    assert assessed.verdict in ("damaged", "unsupported")
    sentence = assessed.reasons[0]
    assert words in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert sentence.count(". ") == 0


@pytest.mark.parametrize(
    "family", [name for name in FAMILIES if "tokenizer" in str(FAMILIES[name])]
)
def test_a_large_vocabulary_with_its_own_tokenizer_assumes_nothing(family, tmp_path):
    config = with_text(FAMILIES[family], vocab_size=256_000)
    beside = HF_CONFIGS.get(config["text_cfg"].get("hf_model_name", ""))
    beside = None if beside is None else beside | {"vocab_size": 256_000}
    assessed = assess(inspect(folder_of(config, tmp_path, beside)))
    assert assessed.architecture is not None
    assert assessed.architecture["config"]["text_cfg"]["vocab_size"] == 256_000
    assert all(assessed.architecture["assumptions"])


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


def normalised(*steps: dict[str, Any]) -> dict[str, Any]:
    return change(normalizer={"type": "Sequence", "normalizers": list(steps)})


def replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


DOUBLED = replace("a", "aa")
REGEX = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
TOKENIZERS: dict[str, tuple[Any, str]] = {
    "a regular expression that takes for ever": (change(pre_tokenizer=REGEX), "regular expression"),
    "one inside a sequence": (change(normalizer={"type": "Sequence",
                "normalizers": [
                    {"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": ""}]}),
        "regular expression"),
    "an unknown part": (change(normalizer={"type": "Python", "code": "x"}), "of the kind 'Python'"),
    "an unknown model": (model(type="Custom"), "of the kind 'Custom'"),
    "no model": ({"version": "1.0"}, "a model of the kind 'None'"),
    "random tokens": (model(type="BPE", dropout=0.5, merges=[], vocab={}), "at random"),
    "a list": ([1, 2], "not a JSON object"),
    "a piece that is none": (model(vocab=[[1, 2]]), "cannot be used"),
    "an unknown token far away": (model(unk_id=10**12), "cannot be used"),
    "a bad character map": (
        change(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "cannot be used"),
    "a filling token that is none": (change(), "does not say which token fills"),
    "a text doubled 24 times": (normalised(*[DOUBLED] * 24), "24 steps in its normalizer"),
    "steps in nested sequences": (normalised(
            *[normalised(replace(x, "_"), replace(x * 2, "_"))["normalizer"] for x in "abcde"]),
        "10 steps in its normalizer"),
    "a text doubled twice": (normalised(DOUBLED, DOUBLED), "replaces the same text in two"),
    "a letter that becomes five": (normalised(replace("a", "aaaaa")), "more than 4 times as long"),
    "nothing that becomes a letter": (normalised(replace("", "a")), "more than 4 times as long"),
    "spaces that become many letters": (
        normalised({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "_" * 5}),
        "more than 4 times as long"),
    "a beginning of 16 letters": (normalised({"type": "Prepend", "prepend": "_" * 16}),
        "more than 15 letters before"),
    "a long piece": (model(vocab=[*unigram()["model"]["vocab"], ["ä" * 129, -1.0]]),
        "a piece of 258 bytes"),
    "a long piece of a BPE": (model(type="BPE", merges=[], vocab={"a" * 257: 0}),
        "a piece of 257 bytes"),
    "a long end of each word": (model(end_of_word_suffix="_" * 300), "a piece of 300 bytes"),
    "a long token that is added": (change(added_tokens=[{"id": 9, "content": "a" * 257}]),
        "a piece of 257 bytes"),
    "many tokens that are added": (change(added_tokens=[{"id": 9, "content": "a"}] * 10_001),
        "10001 added tokens"),
    "a template that repeats the text": (change(post_processor={"type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 65, "pair": [],
                "special_tokens": {}}), "a template of more than 64 parts"),
    "a token of many numbers": (change(post_processor={"type": "TemplateProcessing", "single": [],
                "pair": [], "special_tokens": {"x": {"id": "x", "ids": [1] * 65}}}),
        "a template of more than 64 parts"),
}  # fmt: skip


@pytest.mark.parametrize("case", TOKENIZERS)
def test_a_tokenizer_that_wants_more_is_refused(case, tmp_path, capfd):
    value, words = TOKENIZERS[case]
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match=words) as caught:
        TextTokenizer(read_tokenizer(tmp_path / "tokenizer.json"), 40)
    assert "\n" not in caught.value.sentence
    assert caught.value.sentence.endswith(".")
    assert capfd.readouterr().err == ""  # such as a panic's words


def test_a_model_with_such_a_tokenizer_does_not_load(tmp_path: Path) -> None:
    folder = write_folder("SigLIP", lively("SigLIP"), tmp_path)
    assert assess(inspect(folder)).verdict == "loads"
    (folder / "tokenizer.json").write_text(json.dumps(normalised(*[DOUBLED] * 24)))
    assessed = assess(inspect(folder))
    assert assessed.verdict != "loads"
    assert "tokenizer.json has 24 steps in its normalizer" in assessed.reasons[0]
    with pytest.raises(InputError, match="24 steps in its normalizer"):
        open_checkpoint(folder).build()


def test_what_passes_the_checks_gets_little_memory(monkeypatch, capfd):
    """A step that nobody thought of; under a limit the library ends its process."""
    monkeypatch.setattr(tokenizer_process, "_MEMORY", 64 << 20)
    raw = json.dumps(normalised(*[DOUBLED] * 40)).encode()
    hungry = TokenizerFile(raw, (), False, False, "</s>", None, {})
    tokenizer = TextTokenizer(hungry, 40, name="m.pt")
    assert tokenizer(["no such letter"], 8).shape == (1, 8)
    with pytest.raises(InputError, match=r"m\.pt cannot be used: .*ended by signal 6 .*memory"):
        tokenizer(["a dog"], 8)
    assert tokenizer(["bon temps"], 8).shape == (1, 8)  # by another process
    assert capfd.readouterr().err == ""


def test_what_takes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = unigram() | {"model": {"type": "WordPiece", "unk_token": "<unk>", "vocab": {"<unk>": 0},
                                  "continuing_subword_prefix": "##",
                                  "max_input_chars_per_word": 10**9}}  # fmt: skip
    file = TokenizerFile(json.dumps(slow).encode(), (), False, False, "<unk>", None, {})
    tokenizer = TextTokenizer(file, 40, name="m.pt")
    monkeypatch.setattr(tokenizer_process, "_SECONDS", 0.5)
    monkeypatch.setattr(tokenizer_process, "_SLOW", 1 << 40)
    with pytest.raises(InputError, match=r"m\.pt cannot be used: it takes more than \d seconds"):
        tokenizer(["b" * 1_000_000], 8)


def test_a_tokenizer_outlives_its_process() -> None:
    """The system ends it with the thread that started it, as at the end of a task."""
    file = TokenizerFile(json.dumps(unigram()).encode(), (), False, False, "</s>", None, {})
    made: list[TextTokenizer] = []
    thread = threading.Thread(target=lambda: made.append(TextTokenizer(file, 40)))
    thread.start()
    thread.join()
    tokens = made[0](TEXTS, 16)
    os.killpg(made[0]._process._worker._process.pid, signal.SIGKILL)
    assert torch.equal(made[0]([f"{text} " for text in TEXTS], 16), tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made[0]._process, "tokens", None)  # known by now
        assert torch.equal(made[0](TEXTS[::-1], 16), tokens.flip(0))
    assert made[0]([], 16).shape == (0, 16)


def tokenizer_of(value: dict[str, Any], folder: Path, size: int = 40) -> TextTokenizer:
    (folder / "tokenizer.json").write_text(json.dumps(value))
    (folder / "tokenizer_config.json").write_text('{"pad_token": "</s>"}')
    return TextTokenizer(read_tokenizer(folder / "tokenizer.json"), size, name="m.pt")


def test_a_tokenizer_that_does_not_fit_the_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"writes the token \d+ and the model has 4"):
        tokenizer_of(unigram(), tmp_path, 4)(["a dog"], 8)
    made = unigram()
    made["post_processor"]["special_tokens"]["</s>"]["ids"] = [1] * 30
    with pytest.raises(InputError, match=r"m\.pt (does not cut texts to 16|cannot be used)"):
        tokenizer_of(made, tmp_path)(["a dog"], 16)


def test_a_tokenizer_that_is_too_large_or_elsewhere_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "inside" / "tokenizer.json"
    path.parent.mkdir()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a" * 300]
    (path.parent / "vocab.txt").write_text("\n".join(pieces))
    with pytest.raises(InputError, match=r"vocab\.txt has a piece of 300 bytes"):
        read_tokenizer(path.parent / "vocab.txt")
    (tmp_path / "tokenizer.json").write_text(json.dumps(unigram()))
    path.symlink_to(tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match="a link to a file outside the folder"):
        read_tokenizer(path)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    with pytest.raises(InputError, match="more than a tokenizer needs"):
        read_tokenizer(path)
    assert tracemalloc.get_traced_memory()[1] < 150 << 20
    tracemalloc.stop()


def pieces(*first: str) -> dict[str, int]:
    return {piece: number for number, piece in enumerate([*first, *"▁adgo", "▁a", "▁dog"])}


def scored(*first: str) -> list[tuple[str, float]]:
    return [(piece, -float(number)) for piece, number in pieces(*first).items()]


PUBLISHED: dict[str, dict[str, Any]] = {
    "CLIPTokenizer": {
        "vocab": pieces("<|startoftext|>", "<|endoftext|>", "a</w>", "d", "o", "g</w>"),
        "merges": []},
    "Siglip2Tokenizer": {"vocab": pieces("<pad>", "<eos>", "<bos>", "<unk>"), "merges": []},
    "GemmaTokenizer": {"vocab": pieces("<pad>", "<eos>", "<bos>", "<unk>"), "merges": []},
    "XLMRobertaTokenizer": {"vocab": scored("<s>", "<pad>", "</s>", "<unk>")},
    "T5Tokenizer": {"vocab": scored("<pad>", "</s>", "<unk>"), "extra_ids": 0},
    "NllbTokenizer": {"vocab": pieces("<s>", "<pad>", "</s>", "<unk>"), "merges": []},
    "BertTokenizer": {"vocab": pieces("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog")},
}  # fmt: skip


@pytest.mark.parametrize("kind", PUBLISHED)
def test_what_transformers_writes_opens(kind: str, tmp_path: Path) -> None:
    theirs = getattr(transformers, kind)(**PUBLISHED[kind], padding_side="right")
    theirs.save_pretrained(tmp_path)
    tokenizer = TextTokenizer(read_tokenizer(tmp_path / "tokenizer.json"), 10**6)
    texts = ["a dog", "a god and a dog", "dog " * 40]
    padded = theirs(texts, padding="max_length", truncation=True, max_length=12)["input_ids"]
    assert tokenizer(texts, 12).tolist() == padded
    assert len({tuple(row) for row in padded}) == 3


@pytest.mark.parametrize(
    "steps",
    [
        [{"type": "Strip", "strip_left": False, "strip_right": True},
         {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}],
        [{"type": "Lowercase"}, replace("``", '"'), replace("''", '"'), {"type": "NFKD"},
         {"type": "StripAccents"}, {"type": "Replace", "pattern": {"Regex": " {2,}"},
                                    "content": " "}],
        [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")],
    ],
    ids=["XLM-RoBERTa of 2021", "ALBERT", "LLaMA"],
)  # fmt: skip
def test_the_steps_of_published_tokenizers_pass(steps: list[Any], tmp_path: Path) -> None:
    value = normalised(*steps)
    value["model"]["vocab"].append(["Ġ" * 128, -9.0])  # the longest piece of a GPT
    assert tokenizer_of(value, tmp_path)(TEXTS, 16).shape == (3, 16)
