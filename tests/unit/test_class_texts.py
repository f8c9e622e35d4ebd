"""Class texts: short ones first, known again by the text encoder, told and ended on the way."""

from __future__ import annotations

import pytest
import torch

from ml_core.cache import ResultCache
from ml_core.evaluation import zero_shot
from ml_core.evaluation.zero_shot import cached_classifier, known_classifier
from ml_core.model import ClipModel
from ml_core.paths import cache_dir

NAMES = [f"{word} {number}" for word in ("cat", "a very long eared desert fox") for number in "ab"]
NAMES += [f"thing {number} of {number * 7919}" for number in range(60)]
TEMPLATES = ("{}", "a photo of a {}.", "a rather bad and blurry photo of one {}", "the {}", "my {}")


class Counted:
    """Counts the texts that a model embeds."""

    def __init__(self, monkeypatch):
        self.texts = 0
        encode = ClipModel.encode_texts

        def encode_texts(model, texts):
            self.texts += len(texts)
            return encode(model, texts)

        monkeypatch.setattr(ClipModel, "encode_texts", encode_texts)


@pytest.fixture
def counted(monkeypatch):
    forget(monkeypatch)
    return Counted(monkeypatch)


def forget(monkeypatch):
    """As a new process: nothing is in memory."""
    for name, size in (("_classifiers", 16), ("_keys", 64), ("_begun", 4)):
        monkeypatch.setattr(zero_shot, name, ResultCache(size))


def test_another_process_finds_them_undamaged_on_disk_for_the_same_text_encoder(
    tiny_model, counted, monkeypatch
):
    tiny_model.sha256 = "1" * 64
    assert known_classifier(tiny_model, NAMES, TEMPLATES) is None
    found = cached_classifier(tiny_model, NAMES, TEMPLATES)
    assert counted.texts == len(NAMES) * len(TEMPLATES)
    counted.texts = 0
    forget(monkeypatch)
    # a cleaned checkpoint: another file, another image encoder, another logit scale
    cleaned = tiny_model.copy()
    cleaned.sha256 = "2" * 64
    with torch.no_grad():
        cleaned.module.visual.conv1.weight.add_(0.1)
        cleaned.module.logit_scale.add_(0.1)
    assert torch.equal(cached_classifier(cleaned, NAMES, TEMPLATES), found)
    assert counted.texts == 0
    weights, config = tiny_model.copy(), tiny_model.copy()  # another text encoder, or activation
    weights.sha256, config.sha256 = "3" * 64, "4" * 64
    with torch.no_grad():
        weights.module.token_embedding.weight[5] += 1e-3
    config.config = config.config | {"quick_gelu": True}
    for model, names, templates in (
        (weights, NAMES, TEMPLATES),
        (config, NAMES, TEMPLATES),
        (tiny_model, NAMES[::-1], TEMPLATES),
        (tiny_model, NAMES, TEMPLATES[::-1]),
    ):
        assert known_classifier(model, names, templates) is None
    tiny_model.precision = "bf16"
    assert known_classifier(tiny_model, NAMES, TEMPLATES) is None
    (kept,) = (cache_dir() / "class-texts").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1] + b"\xff")
    forget(monkeypatch)
    assert torch.equal(cached_classifier(cleaned, NAMES, TEMPLATES), found)
    assert counted.texts == len(NAMES) * len(TEMPLATES)


def test_a_model_in_training_leaves_nothing_on_disk_and_is_known_while_its_texts_stay(
    tiny_model, counted
):
    assert tiny_model.identity is None
    cached_classifier(tiny_model, NAMES, TEMPLATES)
    with torch.no_grad():
        tiny_model.module.visual.conv1.weight.add_(0.1)
    cached_classifier(tiny_model, NAMES, TEMPLATES)
    assert counted.texts == len(NAMES) * len(TEMPLATES)
    with torch.no_grad():
        tiny_model.module.positional_embedding.add_(0.1)
    cached_classifier(tiny_model, NAMES, TEMPLATES)
    assert counted.texts == 2 * len(NAMES) * len(TEMPLATES)
    assert not (cache_dir() / "class-texts").exists()
