"""Each family that open_clip builds computes here what it computes there, and is saved for it."""

from __future__ import annotations

import json
import math
import socket
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from torch import Tensor

from ml_core.checkpoints import architecture as published_shapes
from ml_core.checkpoints import open_checkpoint, transformers_config
from ml_core.checkpoints.architecture import (
    assumed_activation,
    config_from_shapes,
    digest,
    find_published,
)
from ml_core.checkpoints.compare import compare_checkpoints
from ml_core.checkpoints.expected import expected_shapes
from ml_core.checkpoints.inspection_record import assess
from ml_core.checkpoints.save import save_checkpoint
from ml_core.cleaning.batches import Batch, labelled_batch, pair_batch
from ml_core.cleaning.loop import train
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.recipes import make_recipe
from ml_core.evaluation.attribution import attention_map, grad_cam, methods, occlusion
from ml_core.evaluation.candidates import QUESTIONS, settings_of, sizes, variants, words
from ml_core.events import Control, Metric
from ml_core.jobs.demo import demo_checkpoint
from ml_core.model import ClipModel
from ml_core.reading import InputError, inspect
from ml_core.reading.clip_config import CLIP_MEAN, CLIP_STD, Preprocess, check_model_config
from ml_core.towers import make_empty, shapes_of
from tests.unit.draining import drain
from tests.unit.fake_pictures import FakePairs
from tests.unit.families import (
    FAMILIES,
    HF_CONFIGS,
    PIECES,
    TEXTS,
    TINY_SIGLIP,
    checked,
    lively,
    pixels,
    stock,
    write_folder,
    write_tokenizer,
)

ONE_OF_EACH = {"SigLIP", "Chinese (BERT)", "multilingual (XLM-RoBERTa)"}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched, whatever a config names."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        assert self.family not in (socket.AF_INET, socket.AF_INET6), f"connects to {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def _known_hf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stock open_clip finds the text encoders' configs as if they were in its cache."""
    load = transformers.AutoConfig.from_pretrained

    def local(name: str, *args: Any, **options: Any) -> Any:
        if name in HF_CONFIGS:
            folder = tmp_path / "hub" / name.replace("/", "--")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text(json.dumps(HF_CONFIGS[name]))
            name = str(folder)
        return load(name, *args, **options)

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", local)


def ours(model: ClipModel) -> tuple[Tensor, Tensor]:
    return model.encode_images(pixels(model.image_size)), model.encode_texts(TEXTS)


def assert_close(got, expected, tolerance=1e-05):
    for what, one, other in zip(("images", "texts"), got, expected, strict=True):
        apart = (one - other).abs().max().item()
        assert apart <= tolerance, f"{what} differ by {apart}"
        assert (other[0] - other[1]).abs().max() > 1e-3, f"all {what} are alike"


@pytest.mark.usefixtures("_known_hf")
@pytest.mark.parametrize(
    "family",
    [pytest.param(f, marks=[pytest.mark.slow] if f not in ONE_OF_EACH else []) for f in FAMILIES],
)
def test_it_opens_is_cleaned_and_saved_for_open_clip(family: str, tmp_path: Path) -> None:
    module = lively(family)
    folder = write_folder(family, module, tmp_path / "theirs")
    expected = stock(folder)
    assessed = assess(inspect(folder))
    assert (assessed.verdict, assessed.reasons) == ("loads", ())
    assert assessed.architecture["notes"] == []
    assert "by itself" not in assessed.architecture["name"]
    model = open_checkpoint(folder).build()
    assert_close(ours(model), expected)
    saved = save_checkpoint(model, tmp_path / "ours", provenance={})
    assert_close(stock(saved), expected)
    alone = save_checkpoint(model, tmp_path / "cleaned.safetensors", provenance={})
    assert_close(ours(open_checkpoint(alone).build()), expected)
    _clean(model, "mmcl", batch_norm="frozen")
    assert_close(stock(save_checkpoint(model, tmp_path / "ours", provenance={})), ours(model))
    if "hf_model_name" in str(FAMILIES[family]):  # open_clip publishes no config.json of it
        (folder / "config.json").unlink()
        checkpoint = open_checkpoint(folder)
        assert "read off its tensors" in checkpoint.architecture.assumptions[0]
        assert_close(ours(checkpoint.build()), expected)


def test_loose_weights_are_told_by_their_shapes():
    """The shapes alone: the tensors of real sizes would take gigabytes."""
    config = check_model_config(open_clip.get_model_config("ViT-B-16-SigLIP2"), "x")
    (found,) = find_published(shapes_of(config))
    assert (found.name, dict(found.config)) == ("ViT-B-16-SigLIP2", config)


@pytest.mark.parametrize("name", ["ViT-S-16-alt", "ViT-B-32", "RN50"])
def test_the_activation_is_assumed_as_open_clip_has_it(name: str) -> None:
    """QuickGELU where OpenAI's models have these shapes; GELU where no published one has it."""
    shapes = expected_shapes(check_model_config(open_clip.get_model_config(name), name))
    assert shapes is not None
    config = config_from_shapes(shapes, "x").config
    quick_gelu, sentence = assumed_activation(config, shapes)
    assert quick_gelu is (open_clip.get_model_config(f"{name}-quickgelu") is not None)
    assert quick_gelu or f"GELU is assumed, as in open_clip's {name}." in sentence


def test_a_loose_file_of_a_published_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = lively("SigLIP")
    folder = write_folder("SigLIP", module, tmp_path / "folder")
    expected = stock(folder)
    alone = tmp_path / "loose.safetensors"
    alone.write_bytes((folder / "open_clip_model.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"put its open_clip_config\.json beside it"):
        open_checkpoint(alone)
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    entry = {"config": checked(FAMILIES["SigLIP"]), "preprocess": preprocess}
    entries = {digest(shapes): [entry | {"name": "first"}, entry | {"name": "second"}]}
    monkeypatch.setattr(published_shapes, "_entries", lambda: entries)
    (tmp_path / "spiece.model").write_bytes(b"x")
    assessed = assess(inspect(alone))
    assert assessed.verdict == "caution"
    assert "which is not read, lies beside it; put token" in assessed.reasons[0]
    assert "open_clip's first: its config is" in assessed.architecture["assumptions"][0]
    with pytest.raises(InputError, match=r"cannot be given texts.*put tokenizer\.json"):
        open_checkpoint(alone).build().encode_texts(TEXTS)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert assess(inspect(alone)).verdict == "loads"
    assert_close(ours(open_checkpoint(alone).build()), expected)


def test_what_computes_while_it_is_made_gets_memory_and_no_more_than_allowed() -> None:
    config = checked(FAMILIES["a hybrid of timm"])
    assert not any(value.is_meta for value in make_empty(config).parameters())
    assert all(value.is_meta for value in make_empty(checked(FAMILIES["SigLIP"])).parameters())
    with pytest.raises(InputError, match="much larger than what the file holds"):
        make_empty(config, 1_000_000)


# ---- cleaning ----


def _clean(model: ClipModel, method: str, **more: Any) -> list[dict[str, float]]:
    """Two steps on made-up pairs; the values of each."""
    changes = {"pairs": 8, "batch_size": 4, "epochs": 1, "warmup_steps": 0, "eval_every": 0}
    recipe = make_recipe(
        changes | {"save_every": 0, "precision": "fp32", "method": method, "lr": 1e-3} | more
    )
    size = model.image_size
    pairs = FakePairs()

    def make(step: int) -> Batch:
        if not recipe.uses_pairs:
            return labelled_batch(pairs, recipe, size, step)
        return pair_batch(pairs, recipe, size, model.tokenize, lambda c, r: c[::-1], step)

    extras = Extras(classifier=F.normalize(torch.randn(3, model.embed_dim), dim=-1))
    events, _ = drain(train(model, recipe, make, Control(), extras=extras))
    return [event.values for event in events if isinstance(event, Metric)]


def test_a_siglip_keeps_its_scale_and_trains_its_bias(tmp_path: Path) -> None:
    folder = write_folder("SigLIP", lively("SigLIP"), tmp_path / "theirs")
    model = open_checkpoint(folder).build()
    assert model.sigmoid
    assert model.logit_scale == pytest.approx(math.exp(4.7), rel=1e-5)  # beyond CLIP's 100
    _clean(model, "mmcl")
    assert model.logit_scale > 105.0
    assert model.module.logit_bias.item() != -10.0
    fixed = open_checkpoint(folder).build()
    _clean(fixed, "par")
    assert fixed.module.logit_bias.item() == -10.0


# ---- explaining, and the loader doctor ----


def test_it_is_explained() -> None:
    for family, expected in (
        ("SigLIP", ("occlusion",)),
        ("ConvNeXt-CLIP", ("grad-cam", "occlusion")),
    ):
        size = FAMILIES[family]["vision_cfg"]["image_size"]
        model = ClipModel(lively(family), checked(FAMILIES[family]), Preprocess(size))
        assert methods(model) == expected
        direction, pictures = F.normalize(torch.randn(model.embed_dim), dim=0), pixels(size)[:1]
        *_, last = occlusion(model, pictures, direction, side=size // 2, stride=size // 2)
        assert float(last.result.max()) > float(last.result.min())
    heat = grad_cam(model, pictures, direction)
    assert float(heat.max()) > float(heat.min())
    with pytest.raises(InputError, match="choose occlusion"):
        attention_map(model, pictures, direction)


def test_the_doctor_asks_what_the_config_leaves_open(tmp_path: Path) -> None:
    for family, expected in (
        ("SigLIP", {"activation", "normalisation", "text heads"}),
        ("SigLIP 2", {"normalisation", "text heads"}),  # which says its activation
        ("multilingual (XLM-RoBERTa)", {"activation", "normalisation", "image heads"}),
        ("multilingual (NLLB)", {"normalisation"}),
    ):
        folder = write_folder(family, lively(family), tmp_path / family)
        architecture = open_checkpoint(folder).architecture
        settings = settings_of(architecture)
        assert all(words(settings, question) for question in QUESTIONS)
        asked = {q for q in QUESTIONS if len(variants(architecture, settings, q)) > 1}
        assert asked == expected
        assert sizes(architecture)[0] == architecture.preprocess.size


# ---- transformers' SigLIP ----


def shaken(build: Any, config: Any, embeddings: float = 0.15) -> Any:
    """The library's model, with noise on its weights so that every setting shows."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(config).eval()
        with torch.no_grad():
            for name, value in model.named_parameters():
                value.add_(torch.randn_like(value) * (embeddings if "embedding" in name else 0.15))
    return model


def pooled(images: Any, texts: Any) -> tuple[Tensor, Tensor]:
    """The embeddings in what the library's version gives, which may be an object around them."""
    images, texts = (getattr(part, "pooler_output", part) for part in (images, texts))
    return F.normalize(images, dim=-1), F.normalize(texts, dim=-1)


def normal(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(three).view(3, 1, 1) for three in (CLIP_MEAN, CLIP_STD))
    return (images - mean) / std


@pytest.fixture
def siglip_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Path]:
    """A small SiglipModel as the library saves it, with a tokenizer."""
    monkeypatch.setitem(transformers_config.TIMM_NAMES, ((48, 192, 2, 3), 16, 64), TINY_SIGLIP)
    sizes = {"hidden_size": 48, "intermediate_size": 192, "num_hidden_layers": 2}
    common = sizes | {"num_attention_heads": 3}
    config = transformers.SiglipConfig(
        vision_config=common | {"image_size": 64, "patch_size": 16},
        text_config=common | {"vocab_size": 40, "max_position_embeddings": 16},
    )
    model = shaken(transformers.SiglipModel, config, embeddings=0.3)
    model.logit_scale.data.fill_(4.7)
    folder = tmp_path / "siglip"
    model.save_pretrained(folder)
    processor = {
        "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3,
        "size": {"height": 64, "width": 64}, "rescale_factor": 1 / 255,
        "image_processor_type": "SiglipImageProcessor",
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    write_tokenizer("timm/ViT-B-16-SigLIP", folder)
    return model, folder


def test_a_siglip_of_transformers(siglip_folder: tuple[Any, Path], tmp_path: Path) -> None:
    theirs, folder = siglip_folder
    model = open_checkpoint(folder).build()
    assert model.preprocess == Preprocess(64, (0.5,) * 3, (0.5,) * 3, "bicubic", "squash")
    kept = save_checkpoint(model, tmp_path / "kept", provenance={})
    changes = compare_checkpoints(inspect(folder), inspect(kept))
    assert {change.state for change in changes} == {"equal"}
    tokens = model.tokenize(TEXTS)
    with torch.inference_mode():
        images = theirs.get_image_features(pixel_values=pixels(64) * 2 - 1)
        texts = theirs.get_text_features(input_ids=tokens)
    expected = pooled(images, texts)
    assert_close(ours(model), expected)
    saved = save_checkpoint(model, tmp_path / "ours", provenance={})
    assert_close(ours(open_checkpoint(saved).build()), expected)
    stocks = stock(saved)  # which computes GELU exactly in the image encoder
    assert_close((expected[0], stocks[1]), expected)
    assert 1e-6 < (stocks[0] - expected[0]).abs().max() < 5e-3
    assert any("tanh approximation" in sentence for sentence in model.assumptions)


def test_loose_weights_of_transformers_siglip(siglip_folder, monkeypatch):
    _, folder = siglip_folder
    expected = ours(open_checkpoint(folder).build())
    config = checked(FAMILIES["SigLIP"])
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3}
    entry = {"name": "ViT-T-16-SigLIP", "config": config, "preprocess": preprocess}
    entries = {digest(shapes_of(config)): [entry]}
    monkeypatch.setattr(published_shapes, "_entries", lambda: entries)
    checkpoint = open_checkpoint(folder / "model.safetensors")
    assert checkpoint.architecture.name == "ViT-T-16-SigLIP"
    assert_close(ours(checkpoint.build()), expected)


def test_the_vision_tower_of_a_paligemma_takes_its_pooling_from_a_donor(siglip_folder, tmp_path):
    theirs, folder = siglip_folder
    tower = {
        f"model.vision_tower.{key}": value.clone()
        for key, value in theirs.state_dict().items()
        if key.startswith("vision_model.") and ".head." not in key
    }
    path = tmp_path / "paligemma.safetensors"
    save_file(tower | {"model.language_model.layers.0.mlp.lora_A.weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="without its projection, and no text encoder"):
        open_checkpoint(path)
    model = open_checkpoint(path, folder).build()
    assert "the text encoder, the projection and the logit scale" in model.assumptions[0]
    assert_close(ours(model), ours(open_checkpoint(folder).build()))
    with pytest.raises(InputError, match="is no SigLIP"):
        open_checkpoint(path, demo_checkpoint())


@pytest.mark.slow
def test_a_chinese_clip_of_transformers(tmp_path: Path) -> None:
    vision = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    config = transformers.ChineseCLIPConfig(
        text_config=HF_CONFIGS["bert-base-chinese"],
        vision_config=vision | {"num_attention_heads": 1, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    theirs = shaken(transformers.ChineseCLIPModel, config)
    folder = tmp_path / "chinese"
    theirs.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    model = open_checkpoint(folder).build()
    tokens = model.tokenize(TEXTS)
    bert = transformers.BertTokenizer(str(folder / "vocab.txt"))
    assert tokens.tolist() == bert(TEXTS, padding="max_length", max_length=24)["input_ids"]
    with torch.inference_mode():
        images = theirs.get_image_features(pixel_values=normal(pixels(32)))
        texts = theirs.get_text_features(input_ids=tokens, attention_mask=(tokens != 0).long())
    expected = pooled(images, texts)
    assert_close(ours(model), expected)
    saved = save_checkpoint(model, tmp_path / "ours", provenance={})
    assert_close(ours(open_checkpoint(saved).build()), expected)


def test_a_metaclip_2_of_transformers(tmp_path: Path) -> None:
    common = {"num_hidden_layers": 2, "num_attention_heads": 1, "hidden_size": 64}
    common |= {"intermediate_size": 96}
    tokens = {"eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1, "vocab_size": 40}
    config = transformers.MetaClip2Config(
        text_config=common | tokens | {"max_position_embeddings": 16},
        vision_config=common | {"image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    theirs = shaken(transformers.MetaClip2Model, config)
    folder = tmp_path / "metaclip"
    theirs.save_pretrained(folder)
    write_tokenizer("facebook/xlm-v-base", folder)
    assert assess(inspect(folder)).verdict == "loads"
    model = open_checkpoint(folder).build()
    tokens = model.tokenize(TEXTS)
    with torch.inference_mode():
        made = theirs(input_ids=tokens, pixel_values=normal(pixels(32)))
    expected = made.image_embeds, made.text_embeds
    assert_close(ours(model), expected)
    saved = save_checkpoint(model, tmp_path / "ours", provenance={})
    stocks = stock(saved)[1]
    assert_close((expected[0], stocks), expected)


@pytest.mark.parametrize(
    ("sizes", "name"),
    [
        ({}, "hfl/chinese-roberta-wwm-ext"),
        ({"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
            "hfl/chinese-roberta-wwm-ext-large"),
        ({"num_hidden_layers": 3}, "hfl/rbt3"),
    ],
)  # fmt: skip
def test_a_chinese_clip_names_a_bert_of_its_size(sizes: dict[str, int], name: str) -> None:
    record = {"model_type": "chinese_clip", "text_config": sizes}
    told = transformers_config.model_config(record, "x")["text_cfg"]
    assert told["hf_model_name"] == name
    assert told["hf_tokenizer_name"] == "OFA-Sys/chinese-clip-vit-base-patch16"
