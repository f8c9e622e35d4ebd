from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from ml_core.cleaning.losses import (
    clip_loss,
    feature_repulsion,
    head_loss,
    match,
    pulled,
    scale_of,
    sigmoid_loss,
    squared_distance,
)
from ml_core.cleaning.methods.supervised import new_head
from ml_core.cleaning.recipes import make_recipe

E1, E2 = [1.0, 0.0], [0.0, 1.0]


def test_clip_loss_averages_both_directions() -> None:
    images, texts = torch.tensor([E1, E1]), torch.tensor([E1, E2])
    # rows of images: [1, 0] twice -> (ln(e+1) - 1 + ln(e+1)) / 2
    # rows of texts: [1, 1] and [0, 0] -> ln 2
    image_to_text = math.log(math.e + 1) - 0.5
    assert match(images, texts, 1.0).item() == pytest.approx(image_to_text, rel=1e-6)
    assert match(texts, images, 1.0).item() == pytest.approx(math.log(2), rel=1e-6)
    assert clip_loss(images, texts, 1.0).item() == pytest.approx(
        (image_to_text + math.log(2)) / 2, rel=1e-6
    )


def test_scale_is_clamped() -> None:
    assert scale_of(torch.tensor(math.log(50.0))).item() == pytest.approx(50.0, rel=1e-5)
    assert scale_of(torch.tensor(9.0)).item() == pytest.approx(100.0, rel=1e-5)
    assert scale_of(torch.tensor([-3.0])).item() == 1.0


def test_sigmoid_loss_by_hand() -> None:
    vectors = torch.tensor([E1, E2])
    # logits [[2 - 1, -1], [-1, 2 - 1]]: each row has a pair (1) and a stranger (-1 turned to 1)
    expected = 2 * math.log(1 + math.exp(-1.0))
    assert sigmoid_loss(vectors, vectors, 2.0, -1.0).item() == pytest.approx(expected, rel=1e-6)
    swapped = torch.tensor([E2, E1])  # the pairs at 0 - 1, the strangers at 2 - 1
    expected = 2 * math.log(1 + math.exp(1.0))
    assert sigmoid_loss(vectors, swapped, 2.0, -1.0).item() == pytest.approx(expected, rel=1e-6)


def test_gradients_match_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    images.requires_grad_(True)
    texts.requires_grad_(True)
    scale = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)

    def loss(a: torch.Tensor, b: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
        first, second = match(a, b.flip(0), scale_of(s)), match(b, a, scale_of(s))
        return clip_loss(a, b, scale_of(s)) + first + second

    assert torch.autograd.gradcheck(loss, (images, texts, scale))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_head_losss_gradients_match_finite_differences(smoothing: float) -> None:
    """Of embeddings (the trained encoders), of a head (the probe's) and of the scale."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    head = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 3, 1, 1, 2])

    def loss(a: torch.Tensor, b: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return head_loss(F.normalize(a, dim=-1), b, labels, scale_of(s), smoothing)

    assert torch.autograd.gradcheck(loss, (images, head, scale))


def test_random_head_is_unit_rows_from_the_seed() -> None:
    recipe = make_recipe({"method": "supervised", "head_init": "random", "seed": 5})
    first, again = (new_head(recipe, torch.zeros(6, 8)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.norm(dim=1).tolist() == pytest.approx([1.0] * 6, rel=1e-5)
    assert not torch.equal(first, new_head(recipe.changed(seed=6), torch.zeros(6, 8)))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n", [2, 48])
def test_half_precision_embeddings_lose_nothing_more(kind: torch.dtype, n: int) -> None:
    """Of the embeddings as they are rounded, each loss is that of float64."""
    generator = torch.Generator().manual_seed(n)
    shared = torch.randn(1, 32, generator=generator)
    a, b = (
        F.normalize(shared + torch.randn(n, 32, generator=generator), dim=-1).to(kind)
        for _ in range(2)
    )
    labels = torch.arange(n) % 2

    def all_of(a: torch.Tensor, b: torch.Tensor) -> list[float]:
        found = [
            clip_loss(a, b, 100.0),
            match(a, b, 100.0),
            head_loss(a, b[:2], labels, 100.0),
            squared_distance(a, b),
            pulled(a, b),
            feature_repulsion(a[:, None], b[:, None]),
        ]
        return [float(value) for value in found]

    assert all_of(a, b) == pytest.approx(all_of(a.double(), b.double()), rel=1e-5)
