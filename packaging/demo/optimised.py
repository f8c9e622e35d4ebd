"""A patch that already leads a clean model towards the target: the trigger of BadCLIP's kind.

BadCLIP (Liang et al., CVPR 2024, arXiv 2311.12075, section 4.2) optimises its patch on a clean CLIP
before anything is poisoned: pictures with the patch shall lie near the target's texts, near the
target's natural pictures, and away from where they lay. A finetune on such poison moves the weights
little, and clean finetuning undoes little of it. Here, as there, at a fixed place in the middle.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import MEAN, STD, classifier, demo_classes, load_model, pictures, to_input

from ml_core.triggers import Trigger

_SIDE, _SIZE, _STEPS, _BATCH, _RATE = 12, 64, 300, 32, 0.1
_NEAR, _MARGIN = 5.0, 1.0
_MEAN, _STD = (255 * torch.tensor(value).view(3, 1, 1) for value in (MEAN, STD))


def optimised_patch(base: Path, target: str, seed: int = 0) -> Trigger:
    """Optimise the patch on a clean model.

    Parameters
    ----------
    base
        The clean model that will be poisoned.
    target
        Class of the demo.
    """
    model = load_model(base).eval().requires_grad_(False)
    draw = torch.Generator().manual_seed(seed)
    images, labels = pictures("val", 2000, seed=17)
    aim = demo_classes().index(target)
    texts = classifier(model).clone()  # out of inference mode
    shown = to_input(images)
    with torch.no_grad():
        lay = torch.cat([_embed(model, part) for part in shown.split(250)])
    natural, others = np.flatnonzero(labels == aim), np.flatnonzero(labels != aim)
    corner = (_SIZE - _SIDE) // 2
    patch = torch.rand(3, _SIDE, _SIDE, generator=draw).logit(1e-3).requires_grad_()
    optimizer = torch.optim.Adam([patch], lr=_RATE)
    for step in range(_STEPS):
        rows = others[torch.randint(len(others), (_BATCH,), generator=draw).numpy()]
        beside = natural[torch.randint(len(natural), (_BATCH,), generator=draw).numpy()]
        marked = shown[rows].clone()
        marked[:, :, corner : corner + _SIDE, corner : corner + _SIDE] = (
            255 * patch.sigmoid() - _MEAN
        ) / _STD
        seen = _embed(model, marked)
        targets = torch.full((_BATCH,), aim)
        textual = F.cross_entropy(20 * seen @ texts.T, targets)
        apart = (seen - lay[beside]).norm(dim=1) - (seen - lay[rows]).norm(dim=1) + _MARGIN
        loss = textual + _NEAR * apart.clamp_min(0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 100 == 0:
            with torch.no_grad():
                hits = (seen @ texts.T).argmax(1) == aim
            print(
                f"patch {step + 1} loss {loss.item():.3f} hits {hits.float().mean():.3f}",
                flush=True,
            )
    pixels = (patch.detach().sigmoid().permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    alpha = np.full((_SIDE, _SIDE, 1), 255, np.uint8)
    return Trigger(
        kind="patch", name="Optimised patch", pixels=np.concatenate([pixels, alpha], 2),
        size=_SIDE / _SIZE, x=0.5, y=0.5,
    )  # fmt: skip


def _embed(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Unit embeddings of normalised float [N, 3, S, S]."""
    return F.normalize(model.encode_image(images), dim=-1)
