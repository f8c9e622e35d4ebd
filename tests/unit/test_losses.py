"""Every loss against numpy, written anew from the papers' equations; what it leaves by hand.

The first part imports nothing of ``ml_core.cleaning.losses``: embeddings are taken from the model
in evaluation mode, and what a method makes of them is computed again in float64.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ml_core.cleaning.batches import Batch
from ml_core.cleaning.gradients import with_targets
from ml_core.cleaning.losses import scale_of, sigmoid_loss
from ml_core.cleaning.methods.build import build_method
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.methods.supervised import new_head
from ml_core.cleaning.recipes import make_recipe

Array = NDArray[np.float64]
CAPTIONS = ["a cat", "the dog", "one bird", "two fish", "red car", "old house"]
VIEWS = ["cat a", "dog", "a bird", "fish two", "the red car", "house"]
LABELS = [0, 1, 2, 2, 1, 0]


def softmax_ce(logits, labels, smoothing=0.0):
    """Mean of -sum_c q_c log p_c, with q the smoothed one-hot label."""
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    q = np.full_like(log_p, smoothing / log_p.shape[1])
    q[np.arange(len(labels)), labels] += 1 - smoothing
    return float(-(q * log_p).sum(axis=1).mean())


def info_nce(a, b, s):
    """CE(s A B^T) with the diagonal as the labels."""
    return softmax_ce(s * a @ b.T, list(range(len(a))))


def clip(i, t, s):
    return (info_nce(i, t, s) + info_nce(t, i, s)) / 2


def push(now, before, tau):
    """PAR's trunc of the mean squared distance."""
    distance = float(((now - before) ** 2).sum(axis=1).mean())
    return distance if distance <= tau else 0.0


class Case:
    """One batch, and the embeddings of it before and after a disturbance of the weights."""

    def __init__(self, model):
        generator = torch.Generator().manual_seed(11)
        size = model.image_size
        self.pixels = torch.randint(
            0, 256, (3, 6, 3, size, size), generator=generator, dtype=torch.uint8
        )
        self.classes = model.encode_texts(["cat", "dog", "bird"]).clone()
        self.batch = Batch(
            self.pixels[0],
            self.pixels[1],
            model.tokenize(CAPTIONS),
            model.tokenize(VIEWS),
            torch.tensor(LABELS),
            torch.arange(6),
        )

    def seen(self, model):
        def images(part):
            return model.encode_images(self.pixels[part]).double().numpy()

        return {
            "i": images(0),
            "iv": images(1),
            "t": model.encode_texts(CAPTIONS).double().numpy(),
            "tv": model.encode_texts(VIEWS).double().numpy(),
        }


def disturb(model, size=0.03):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.module.parameters():
            if parameter.ndim > 1:
                parameter += size * torch.randn(parameter.shape, generator=generator)


def disturbed(model, fields, case):
    """The method's loss after a disturbance, and what the models see before and after it."""
    before = case.seen(model)
    method = build_method(model, make_recipe(fields), Extras(case.classes))
    disturb(model)
    model.module.eval()
    terms = [method] if method.here is None else [method, method.here]
    batch = with_targets(model, method, case.batch, False)
    losses = [term.loss(term.encode(batch), batch)["loss"] for term in terms]
    return float(sum(losses).detach()), before, case.seen(model)


@pytest.mark.parametrize(
    ("fields", "weights"),
    [
        ({"method": "mmcl", "lambda_clip": 0.8}, (0.8, 0.0, 0.0, 0.0)),
        ({"method": "cleanclip", "lambda_image": 2.0, "lambda_text": 0.7}, (1.0, 2.0, 0.7, 0.0)),
        ({"method": "par", "lambda_repel": 1.5}, (1.0, 0.0, 0.0, 1.5)),
        ({"method": "par", "lambda_repel": 1.5, "tau": 1e-3}, (1.0, 0.0, 0.0, 1.5)),
    ],
)
def test_cleanclip_mmcl_and_par(tiny_model, fields, weights):
    case, tau = Case(tiny_model), fields.get("tau", 2.15)
    if fields["method"] in ("mmcl", "par"):  # neither draws views
        case.batch = Batch(case.pixels[0], tokens=case.batch.tokens, numbers=case.batch.numbers)
    loss, p, e = disturbed(tiny_model, fields, case)
    s = tiny_model.logit_scale
    contrast, images, texts, repel = weights
    pushed = push(e["i"], p["i"], tau) + push(e["t"], p["t"], tau)
    assert (pushed == 0) == (tau < 1)
    expected = contrast * clip(e["i"], e["t"], s) - repel / 2 * pushed
    expected += images / 2 * info_nce(e["i"], e["iv"], s) + texts / 2 * info_nce(e["t"], e["tv"], s)
    assert loss == pytest.approx(expected, rel=2e-5)


def test_supervised(tiny_model):
    case = Case(tiny_model)
    loss, _, e = disturbed(tiny_model, {"method": "supervised", "label_smoothing": 0.1}, case)
    logits = tiny_model.logit_scale * e["i"] @ case.classes.double().numpy().T
    assert loss == pytest.approx(softmax_ce(logits, LABELS, 0.1), rel=2e-5)


def test_unlearning(tiny_model):
    case = Case(tiny_model)
    loss, p, e = disturbed(tiny_model, {"method": "unlearning", "lambda_hold": 0.5}, case)
    triggered = 1 - (e["iv"] * p["i"]).sum(axis=1).mean()
    clean = 1 - (e["i"] * p["i"]).sum(axis=1).mean()
    found = softmax_ce(15 * e["iv"] @ p["i"].T, np.arange(len(p["i"])))
    assert loss == pytest.approx(triggered + found / 15 + 0.5 * clean, rel=2e-5)


# ---- by hand ----

E1, E2 = [1.0, 0.0], [0.0, 1.0]


def test_scale_is_clamped():
    assert scale_of(torch.tensor(math.log(50.0))).item() == pytest.approx(50.0, rel=1e-5)
    assert scale_of(torch.tensor(9.0)).item() == pytest.approx(100.0, rel=1e-5)
    assert scale_of(torch.tensor([-3.0])).item() == 1.0


def test_sigmoid_loss_by_hand():
    vectors = torch.tensor([E1, E2])
    # logits [[2 - 1, -1], [-1, 2 - 1]]: each row has a pair (1) and a stranger (-1 turned to 1)
    expected = 2 * math.log(1 + math.exp(-1.0))
    assert sigmoid_loss(vectors, vectors, 2.0, -1.0).item() == pytest.approx(expected, rel=1e-6)
    swapped = torch.tensor([E2, E1])  # the pairs at 0 - 1, the strangers at 2 - 1
    expected = 2 * math.log(1 + math.exp(1.0))
    assert sigmoid_loss(vectors, swapped, 2.0, -1.0).item() == pytest.approx(expected, rel=1e-6)


def test_random_head_is_unit_rows_from_the_seed():
    recipe = make_recipe({"method": "supervised", "head_init": "random", "seed": 5})
    first, again = (new_head(recipe, torch.zeros(6, 8)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.norm(dim=1).tolist() == pytest.approx([1.0] * 6, rel=1e-5)
    assert not torch.equal(first, new_head(recipe.changed(seed=6), torch.zeros(6, 8)))
