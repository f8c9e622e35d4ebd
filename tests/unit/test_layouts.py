"""Every layout that CLIPs are published in gives the embeddings of the library that wrote it."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from pathlib import Path

import pytest
import torch
from open_clip.tokenizer import tokenize
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.choice import Choice
from ml_core.checkpoints.compare import compare_checkpoints
from ml_core.checkpoints.convert import convert_to_safetensors
from ml_core.checkpoints.expected import check_tensors
from ml_core.checkpoints.inspection_record import assess
from ml_core.checkpoints.recognise import DonorNeeded
from ml_core.checkpoints.save import save_checkpoint
from ml_core.checkpoints.tensor_stats import tensor_stats
from ml_core.checkpoints.tensors import read_state
from ml_core.checkpoints.write_safetensors import save_head
from ml_core.reading import InputError, inspect
from ml_core.reading.clip_config import CLIP_MEAN, CLIP_STD, Fit
from tests.unit.layout_files import (
    RESNET,
    TEXT,
    TEXTS,
    VIT,
    apart,
    as_transformers,
    assert_equal,
    bare_safetensors,
    bare_vision,
    contiguous,
    decree,
    finetuned,
    hugging,  # noqa: F401 - a fixture
    in_shards,
    lively,
    of_transformers,
    openai_archive,
    par,
    pixels,
    tecoa,
    text_only,
    theirs,
)


@pytest.mark.parametrize("colour", [255, [124, 116, 104]])
def test_padding_of_another_colour_is_refused_where_pictures_are_padded(colour, tmp_path):
    save_file(contiguous(lively(VIT).state_dict()), tmp_path / "open_clip_model.safetensors")

    def fit(**changes: object) -> Fit:
        record = {"model_cfg": VIT, "preprocess_cfg": {"resize_mode": "longest"} | changes}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(record))
        return open_checkpoint(tmp_path).build().preprocess.fit

    with pytest.raises(InputError, match=r"preprocess_cfg\.fill_color is .*with 0 \(black\)"):
        fit(fill_color=colour)
    assert fit(fill_color=0) == Fit("longest")
    assert fit(fill_color=colour, resize_mode="squash") == Fit("squash")  # nothing is padded


def test_openai_archive(tmp_path: Path) -> None:
    module = lively(VIT)
    path = openai_archive(module, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        reference = torch.jit.load(path).float()
    mean, std = torch.tensor(CLIP_MEAN).view(3, 1, 1), torch.tensor(CLIP_STD).view(3, 1, 1)
    images = (pixels(int(reference.input_resolution)) - mean) / std
    with torch.inference_mode():
        expected = (
            reference.encode_image(images),
            reference.encode_text(tokenize(TEXTS, TEXT["context_length"]).int()),
        )
    expected = tuple(nn.functional.normalize(value, dim=-1) for value in expected)
    checkpoint = open_checkpoint(path)
    assert checkpoint.architecture.config["quick_gelu"] is VIT["quick_gelu"]
    assert checkpoint.architecture.questions == ("heads",)
    assert_equal(checkpoint.build(), expected)


# One encoder, and a donor for the other.


@pytest.fixture
def donor(tmp_path: Path) -> tuple[nn.Module, Path]:
    folder = tmp_path / "donor"
    folder.mkdir()
    config = VIT | {"vision_cfg": VIT["vision_cfg"] | {"layers": 1}}
    module = lively(config, seed=5)
    module.logit_scale.data.fill_(math.log(42.0))
    return module, bare_safetensors(module, folder)


@pytest.mark.parametrize("write", [tecoa, bare_vision, decree], ids=lambda write: write.__name__)
def test_an_image_encoder_borrows_the_text_encoder(write, donor, tmp_path):
    module = lively(VIT)
    path = write(module, tmp_path)
    assessed = assess(inspect(path))
    assert (assessed.problem, assessed.architecture["needs_donor"]) == (None, "text")
    with pytest.raises(DonorNeeded, match="choose a complete CLIP") as caught:
        open_checkpoint(path)
    assert caught.value.tower == "text"
    checkpoint = open_checkpoint(path, donor[1])
    check_tensors(checkpoint.architecture, checkpoint.inspection)
    model = checkpoint.build()
    assert_equal(model, (theirs(module)[0], theirs(donor[0])[1]))
    assert model.logit_scale == pytest.approx(42.0)
    giver = inspect(donor[1]).sha256
    assert giver[:16] in model.assumptions[0]
    assert model.origin["donor"] == {"name": donor[1].name, "sha256": giver}
    saved = save_checkpoint(model, tmp_path / "pair.safetensors", provenance={"a": 1})
    again = open_checkpoint(saved)
    assert again.provenance["donor"]["sha256"] == giver
    assert_equal(again.build(), (theirs(module)[0], theirs(donor[0])[1]))


def test_a_text_encoder_borrows_the_image_encoder(donor, tmp_path):
    module = lively(VIT | {"text_cfg": TEXT | {"layers": 1}})
    module.logit_scale.data.fill_(math.log(7.0))
    path = text_only(module, tmp_path)
    with pytest.raises(DonorNeeded, match="text encoder of a CLIP and no image encoder"):
        open_checkpoint(path)
    checkpoint = open_checkpoint(path, donor[1])
    check_tensors(checkpoint.architecture, checkpoint.inspection)
    model = checkpoint.build()
    assert_equal(model, (theirs(donor[0])[0], theirs(module)[1]))
    assert model.logit_scale == pytest.approx(7.0)


# What is beside the model, and what is none.


def test_a_classifiers_head_is_kept_and_an_optimizer_left_out(tmp_path):
    checkpoint = open_checkpoint(finetuned(lively(RESNET), tmp_path))
    head = checkpoint.architecture.layout.head
    assert (head.classes, head.features) == (10, 24)
    assert "linear head of 10 classes over 24 features" in checkpoint.architecture.notes[0]
    kept = torch.load(checkpoint.path)["state_dict"]
    path = save_head(checkpoint.inspection, tmp_path / "head.safetensors")
    saved = load_file(path)
    assert torch.equal(saved["weight"], kept["linear.weight"])
    assert torch.equal(saved["bias"], kept["linear.bias"])
    checkpoint = open_checkpoint(par(lively(VIT), tmp_path))
    state = read_state(checkpoint.inspection, checkpoint.architecture.layout)
    assert not any("exp_avg" in key for key in state)


# The transformers library's names; the library itself writes them further down.


@pytest.mark.parametrize("beside", [{}, {f"optimizer.state.{n}": torch.ones(1) for n in range(5)}])
def test_transformers_names_without_a_config(beside: dict[str, Tensor], tmp_path: Path) -> None:
    module = lively(VIT)
    state = as_transformers(module) | beside
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(state, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path / "model.safetensors")
    check_tensors(checkpoint.architecture, checkpoint.inspection)
    assert_equal(checkpoint.build(), theirs(module))
    (note,) = checkpoint.architecture.notes
    assert "text_model.embeddings.position_ids" in note
    assert "vision_model.embeddings.position_ids" in note
    assert ("optimizer (5 tensors)" in note) is bool(beside)


def long_clip_texts(module: nn.Module, rest: Tensor, texts: list[str]) -> Tensor:
    """Text embeddings as Long-CLIP's ``encode_text`` computes them (model_longclip.py)."""
    length = len(rest)
    early = (torch.arange(length) < 20).float()[:, None]
    tokens = tokenize(texts, length)
    x = module.token_embedding(tokens)
    x = x + module.positional_embedding * early + rest * (1 - early)
    mask = torch.full((length, length), -math.inf).triu(1)
    for block in module.transformer.resblocks:
        normed = block.ln_1(x)
        attended, _ = block.attn(normed, normed, normed, need_weights=False, attn_mask=mask)
        x = x + attended
        x = x + block.mlp(block.ln_2(x))
    x = module.ln_final(x)
    x = x[torch.arange(len(texts)), tokens.argmax(-1)] @ module.text_projection
    return x / x.norm(dim=-1, keepdim=True)


def test_long_clip_adds_its_second_table_of_positions(tmp_path: Path) -> None:
    module = lively(VIT | {"text_cfg": TEXT | {"context_length": 248}})
    state = contiguous(module.state_dict())
    rest = torch.randn_like(state["positional_embedding"]) * 0.3
    torch.save(state | {"positional_embedding_res": rest}, tmp_path / "longclip.pt")
    texts = ["a photo of a dog", " ".join(["a very long sentence"] * 14), "dog " * 300]
    with torch.inference_mode():
        expected = long_clip_texts(module, rest, texts)
        short = F.normalize(module.encode_text(tokenize(texts, 248)), dim=-1)
    assert F.cosine_similarity(short[1], expected[1], dim=0) < 0.95  # if it were left out
    path = tmp_path / "longclip.pt"
    model = open_checkpoint(path).build()
    assert "as Long-CLIP computes" in " ".join(model.assumptions)
    assert (model.encode_texts(texts) - expected).abs().max() < 1e-5
    saved = save_checkpoint(model, tmp_path / "saved.safetensors", provenance={})
    again = open_checkpoint(saved).build()
    assert "as Long-CLIP computes" in " ".join(again.assumptions)
    assert torch.equal(again.encode_texts(texts), model.encode_texts(texts))
    changes = compare_checkpoints(inspect(path), inspect(saved))
    assert {change.state for change in changes} == {"equal"}


# A checkpoint in several files.


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    module = lively(RESNET)
    folder = tmp_path / "sharded"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": RESNET}))
    in_shards(contiguous(module.state_dict()), folder, "safetensors")
    found = inspect(folder)
    assert found.verdict == "loads", found.reasons
    parts = sorted(path for path in folder.iterdir() if "-of-" in path.name)
    lines = [f"{hashlib.sha256(part.read_bytes()).hexdigest()}  {part.name}\n" for part in parts]
    assert found.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    checkpoint = open_checkpoint(folder)
    assert_equal(checkpoint.build(), theirs(module))
    state = module.state_dict()
    for row in tensor_stats(found):
        assert row.max == pytest.approx(state[row.name].max().item())
    merged = convert_to_safetensors(found, tmp_path / "merged.safetensors")
    assert merged is not None
    assert_equal(open_checkpoint(merged).build(), theirs(module))
    parts[1].write_bytes(parts[0].read_bytes())
    with pytest.raises(InputError, match="changed since it was examined"):
        checkpoint.build()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.update({"a": "../x.safetensors"}), "no file name of its folder"),
        (lambda weights: weights.update({"a": "b.safetensors"}), "b.safetensors is missing"),
        (lambda weights: weights.update({"a": "model-00001-of-00002.safetensors"}),
         "which does not hold it"),
        (lambda weights: weights.pop("logit_scale"), "not in the index"),
        (lambda weights: weights.update(
            logit_scale=(set(weights.values()) - {weights["logit_scale"]}).pop()), "'logit_scale'"),
        (lambda weights: weights.clear(), "has no weight_map"),
    ],
)  # fmt: skip
def test_an_index_that_lies_is_refused(change, words, tmp_path):
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": VIT}))
    state = {f"a{number}": torch.zeros(2) for number in range(6)} | {"logit_scale": torch.ones(1)}
    index = in_shards(state, tmp_path)
    record = json.loads(index.read_text())
    change(record["weight_map"])
    index.write_text(json.dumps(record))
    found = inspect(tmp_path)
    assert found.verdict == "damaged"
    assert words in found.reasons[0], found.reasons


def test_a_dangerous_shard_decides(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": VIT}))
    in_shards({"a": torch.zeros(2), "b": torch.zeros(2)}, tmp_path, "bin")
    torch.save({"b": print}, tmp_path / "pytorch_model-00002-of-00002.bin")
    found = inspect(tmp_path)
    assert found.verdict == "dangerous"
    assert "print" in found.reasons[0]


# What the transformers library itself writes.


@pytest.mark.parametrize("kind", ["shards", "bin"])
def test_transformers_folder(hugging, kind, tmp_path):  # noqa: F811
    hugging.save_pretrained(tmp_path, max_shard_size="2MB" if kind == "shards" else "5GB")
    if kind == "bin":
        torch.save(hugging.state_dict(), tmp_path / "pytorch_model.bin")
        (tmp_path / "model.safetensors").unlink()
    assert (kind == "shards") is (tmp_path / "model.safetensors.index.json").exists()
    mean, std = (0.5, 0.4, 0.3), (0.9, 1.1, 0.7)
    preprocessor = {"image_mean": mean, "image_std": std, "resample": 2, "do_normalize": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    checkpoint = open_checkpoint(tmp_path)
    check_tensors(checkpoint.architecture, checkpoint.inspection)
    assert checkpoint.inspection.format == "transformers folder"
    assert checkpoint.architecture.questions == ()
    assert checkpoint.architecture.preprocess.interpolation == "bilinear"
    assert_equal(checkpoint.build(), of_transformers(hugging, mean, std))
    wrong = Choice(quick_gelu=not checkpoint.architecture.config["quick_gelu"])
    assert min(apart(checkpoint.build(choice=wrong), of_transformers(hugging, mean, std))) > 1e-4


def test_a_transformers_vision_folder_borrows(hugging, donor, tmp_path):  # noqa: F811
    transformers = pytest.importorskip("transformers")
    vision = transformers.CLIPVisionModelWithProjection(hugging.config.vision_config).eval()
    vision.load_state_dict(
        {key: value for key, value in hugging.state_dict().items() if key.startswith("visi")},
        strict=False,
    )
    vision.visual_projection = hugging.visual_projection
    folder = tmp_path / "vision"
    vision.config.projection_dim = 24
    vision.save_pretrained(folder)
    if hugging.config.vision_config.hidden_act == "gelu":  # the donor uses QuickGELU
        with pytest.raises(InputError, match="does not use QuickGELU"):
            open_checkpoint(folder, donor[1])
        return
    model = open_checkpoint(folder, donor[1]).build()
    assert_equal(model, (of_transformers(hugging)[0], theirs(donor[0])[1]))


def test_code_that_a_config_asks_for_is_said_and_not_run(tmp_path: Path) -> None:
    save_file(as_transformers(lively(VIT)), tmp_path / "model.safetensors")
    config = {"model_type": "clip", "auto_map": {"AutoModel": "evil.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("raise SystemExit")
    found = inspect(tmp_path)
    assert found.verdict == "caution"
    assert "auto_map" in found.reasons[0]
    assert "evil.py" in found.reasons[1]
