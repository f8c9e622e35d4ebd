"""Class texts: short ones first, known again by the text encoder, told and ended on the way."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from ml_core.cache import ResultCache
from ml_core.checkpoints import open_checkpoint
from ml_core.data.labels import LabelSet, load_label_set, prompts
from ml_core.data.specs import ImageSpec
from ml_core.evaluation import zero_shot
from ml_core.evaluation.zero_shot import (
    CPU_TEXT_BATCH,
    ClassTexts,
    cached_classifier,
    known_classifier,
    zero_shot_classifier,
)
from ml_core.events import Control, Progress
from ml_core.jobs.measure import classifier_of
from ml_core.model import ClipModel
from tests.unit.draining import drain, finished, until_cancelled
from tests.unit.small_jobs import small_recipe, small_spec

NAMES = [f"{word} {number}" for word in ("cat", "a very long eared desert fox") for number in "ab"]
NAMES += [f"thing {number} of {number * 7919}" for number in range(60)]
TEMPLATES = ("{}", "a photo of a {}.", "a rather bad and blurry photo of one {}", "the {}", "my {}")


class Counted:
    """Counts the texts that a model embeds, and the tokens that its encoder is given."""

    def __init__(self, monkeypatch):
        self.texts = self.tokens = 0
        encode = ClipModel.encode_texts

        def encode_texts(model, texts):
            self.texts += len(texts)
            self.tokens += len(texts) * max(model.text_lengths(texts))
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


def by_hand(model):
    """One class after another."""
    rows = []
    for name in NAMES:
        texts = functional.normalize(model.encode_texts(prompts(name, TEMPLATES)), dim=-1)
        rows.append(functional.normalize(texts.mean(0), dim=-1))
    return torch.stack(rows)


def test_short_texts_come_first_and_the_classes_stay_in_order(tiny_model, counted):
    wanted = by_hand(tiny_model)
    every = [text for name in NAMES for text in prompts(name, TEMPLATES)]
    counted.tokens = 0
    for start in range(0, len(every), CPU_TEXT_BATCH):
        tiny_model.encode_texts(every[start : start + CPU_TEXT_BATCH])
    unsorted, needed = counted.tokens, sum(tiny_model.text_lengths(every))
    counted.tokens = 0
    found = zero_shot_classifier(tiny_model, NAMES, TEMPLATES)
    assert torch.allclose(found, wanted, atol=1e-6)
    assert needed <= counted.tokens <= 1.1 * needed < unsorted


def test_a_sample_of_batches_changes_nothing(tiny_model):
    texts = ClassTexts(tiny_model, NAMES, TEMPLATES)
    assert texts.embed_sample(tiny_model, 0.0) == CPU_TEXT_BATCH
    assert texts.embed_sample(tiny_model, 1.0) == CPU_TEXT_BATCH
    assert texts.done == 0
    while texts.done < texts.total:
        texts.embed_next(tiny_model)
    assert torch.equal(
        texts.classifier(tiny_model), zero_shot_classifier(tiny_model, NAMES, TEMPLATES)
    )


def test_another_process_finds_them_on_disk_for_the_same_text_encoder(
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


def test_a_damaged_file_is_passed_over(tiny_checkpoint, counted, monkeypatch, tmp_path):
    monkeypatch.setattr(zero_shot, "cache_dir", lambda: tmp_path)
    model = open_checkpoint(tiny_checkpoint).build()
    found = cached_classifier(model, NAMES, TEMPLATES)
    counted.texts = 0
    forget(monkeypatch)
    again = open_checkpoint(tiny_checkpoint).build()  # opened again, the disk is asked alone
    assert known_classifier(again, NAMES, TEMPLATES) is not None
    assert counted.texts == 0
    (kept,) = (tmp_path / "class-texts").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1] + b"\xff")
    forget(monkeypatch)
    assert torch.equal(cached_classifier(model, NAMES, TEMPLATES), found)
    assert counted.texts == len(NAMES) * len(TEMPLATES)


def test_a_model_in_training_leaves_nothing_on_disk_and_is_known_while_its_texts_stay(
    tiny_model, counted, monkeypatch, tmp_path
):
    monkeypatch.setattr(zero_shot, "cache_dir", lambda: tmp_path)
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
    assert not (tmp_path / "class-texts").exists()


def test_a_job_tells_how_far_they_are_and_ends_between_two_batches(tiny_model, counted):
    label_set = LabelSet("own", tuple(NAMES), TEMPLATES)
    total = len(NAMES) * len(TEMPLATES)
    events, found = drain(classifier_of(tiny_model.copy(), label_set, Control()))
    assert len(found) == len(NAMES)
    told = [event for event in events if isinstance(event, Progress)]
    assert {event.stage for event in told} == {"texts"}
    assert (told[0].done, told[-1].done, told[-1].total) == (0, total, total)
    forget_and_count = counted.texts
    control = Control()
    with torch.no_grad():
        tiny_model.module.positional_embedding.add_(0.1)
    steps = classifier_of(tiny_model, label_set, control)
    next(steps)
    control.cancel()
    assert until_cancelled(steps) == []
    assert counted.texts - forget_and_count == CPU_TEXT_BATCH


def texts_of_a_run(method, source, folder, counted, **fields):
    """How often a run embeds its class texts, and what was estimated."""
    spec = small_spec(
        source,
        folder,
        small_recipe(method=method, eval_every=3, **fields),
        images=ImageSpec(split="val", n=20),
        training_images=ImageSpec(split="clean", n=120),
        templates=load_label_set("demo").templates,
    )
    done = finished(spec, estimate=True)
    counted.texts = 0
    finished(spec)
    return counted.texts, done.result


@pytest.mark.parametrize(
    ("method", "fields", "times"),
    [
        ("locked-text", {}, 1),  # trains the image encoder alone
        # as it came, after steps 3 and 6; the file holds the weights of step 6
        ("mmcl", {"lambda_image": 0.0, "lambda_text": 0.0}, 3),
    ],
)
def test_a_run_embeds_them_anew_only_where_the_text_encoder_changes(
    method, fields, times, tiny_checkpoint, tmp_path, counted, monkeypatch
):
    every = 72 * 7
    embedded, estimated = texts_of_a_run(method, tiny_checkpoint, tmp_path / "a", counted, **fields)
    assert embedded == times * every
    assert estimated["text_seconds"] > 0
    forget(monkeypatch)
    again, estimated = texts_of_a_run(method, tiny_checkpoint, tmp_path / "b", counted, **fields)
    assert again == embedded - every  # those of the suspect are on disk
    assert (estimated["text_seconds"] == 0) == (method == "locked-text")
