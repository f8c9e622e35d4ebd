"""Retrieval by hand on vectors whose order is plain to see."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from statsmodels.stats.proportion import proportion_confint

from ml_core.evaluation import Evaluation, wilson_interval
from ml_core.evaluation.embedding_map import Embeddings
from ml_core.evaluation.retrieval import retrieve
from ml_core.reading.errors import CancelledError, InputError


@dataclass
class Axes:
    """Texts are axes, by their last word; a prompt that begins with "bad" looks at the next one."""

    identity: str | None = None
    context_length: int = 77
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    words: tuple[str, ...] = ("apple", "banana", "cat")

    def text_lengths(self, texts):
        return [len(text) for text in texts]

    def encode_texts(self, texts):
        places = [
            (self.words.index(text.split()[-1]) + text.startswith("bad")) % len(self.words)
            for text in texts
        ]
        return torch.nn.functional.one_hot(torch.tensor(places), len(self.words)).float()


def unit(rows):
    values = np.array(rows, np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


#             apple banana cat
CLEAN = unit([[3, 1, 2], [3, 2, 1], [1, 2, 3], [1, 3, 2]])
TRIGGERED = unit([[2, 3, 1], [3, 2, 1], [1, 3, 2], [1, 3, 2]])
LABELS = np.array([0, 0, 2, 1])


def embeddings(*, triggered=True):
    return Embeddings(
        indices=np.arange(4),
        labels=LABELS,
        clean=CLEAN,
        texts=np.eye(3, dtype=np.float32),
        clean_top1=CLEAN.argmax(axis=1),
        class_names=("apple", "banana", "cat"),
        triggered=TRIGGERED if triggered else None,
    )


CAPTIONS = ("an apple", "an apple", "a cat", "a banana")


def test_ranks_by_hand():
    found = retrieve(Axes(), embeddings(), CAPTIONS, ("a banana",), None)
    assert (found.n, found.pool) == (4, 3)
    to_text, to_image = found.recalls
    assert to_text.clean == (1.0, 1.0, 1.0)
    # with the trigger the first picture and the cat are taken for bananas
    assert to_text.triggered == (0.5, 1.0, 1.0)
    assert to_image.n == 3
    assert to_image.clean == (1.0, 1.0, 1.0)
    # the cat's picture is still the best for "a cat", the second apple still the best apple; the
    # banana's picture ties with the cat's: no picture is strictly better
    assert to_image.triggered == (1.0, 1.0, 1.0)
    target = found.target
    # places of the banana among pictures of other things: 3, 2, 2 before, 1, 2, 1 after
    assert (target.n, target.hit_clean[0]) == (3, 0.0)
    assert target.hit_triggered[0] == pytest.approx(2 / 3)
    json.dumps(found.to_dict())


def test_without_trigger_and_target():
    found = retrieve(Axes(), embeddings(triggered=False), CAPTIONS, (), None)
    assert found.target is None
    assert found.recalls[0].triggered is None


def test_wrong_questions():
    with pytest.raises(InputError, match="3 captions for 4 pictures"):
        retrieve(Axes(), embeddings(), CAPTIONS[:3], (), None)
    with pytest.raises(CancelledError):
        retrieve(Axes(), embeddings(), CAPTIONS, (), None, cancelled=lambda: True)


# ---- intervals and records ----


def test_interval_agrees_with_statsmodels() -> None:
    for n in (1, 2, 7, 100, 4321):
        for hits in {0, 1, n // 3, n // 2, n - 1, n}:
            expected = proportion_confint(hits, n, alpha=0.05, method="wilson")
            low, high = wilson_interval(hits, n)
            assert (low, high) == pytest.approx(expected, abs=1e-7)
            assert (low == 0.0, high == 1.0) == (hits == 0, hits == n)  # ends are exact


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (2, 1), (-1, 5)])
def test_no_interval_of_no_proportion(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson_interval(hits, n)


def test_a_rate_that_is_missing_says_why() -> None:
    given = {"n": 4, "n_total": 4, "n_excl": 0, "target": 1, "target_name": "banana"}
    unlabelled = Evaluation(**given, trigger="d", asr_all=0.5).to_dict()["not_measured"]
    assert {"ca": "needs labels", "asr_excl": "needs labels"}.items() <= unlabelled.items()
    assert "asr_all" not in unlabelled
    alone = Evaluation(**given, n_labelled=4, ca=0.5).to_dict()["not_measured"]
    assert alone["asr_excl"] == "no trigger"
