"""Detectors of the literature, beside the scan: `packaging/zoo.py OUT --baselines`.

Neural Cleanse (Wang et al., S&P 2019): a mask and a pattern for each class; the anomaly index of
the smallest by the median absolute deviation, over 2 is an alarm. DECREE (Feng et al., CVPR 2023):
one mask and pattern that draw all embeddings together, without classes; the mask's share of the
picture (PL1), under 0.1 is an alarm. Cognitive Distillation (Huang et al., ICLR 2023): the smallest
part of a picture that keeps its embedding; it looks at pictures, not at models, so what is told is
how well it tells pictures with the planted trigger from clean ones. All three re-implemented from
the papers and with fewer steps than published.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.data.demo import compose, demo_classes, demo_templates
from ml_core.detection.scan.patches import SCALE, settle
from ml_core.detection.scan.sides import Side, generator
from ml_core.evaluation.stamping import stamped, to_pictures
from ml_core.evaluation.zero_shot import zero_shot_classifier
from ml_core.triggers import Trigger

_RATE, _WEIGHT, _PATIENCE = 0.1, 1e-3, 5
_CLASSES_AT_ONCE, _PICTURES = 9, 8


def _masked(pictures: Tensor, mask: Tensor, pattern: Tensor) -> Tensor:
    return pictures * (1 - mask) + pattern * mask


def neural_cleanse(side: Side, pictures: Tensor, steps: int) -> dict[str, object]:
    """L1 of the mask of each class, and the anomaly index of the smallest."""
    size, sizes, reached = pictures.shape[-1], [], []
    for first in range(0, len(side.classifier), _CLASSES_AT_ONCE):
        classes = torch.arange(first, min(first + _CLASSES_AT_ONCE, len(side.classifier)))
        draw = generator(0, 5, first)
        mask = torch.full((len(classes), 1, size, size), -2.0).requires_grad_()
        pattern = torch.randn(len(classes), 3, size, size, generator=draw).requires_grad_()
        optimizer = torch.optim.Adam([mask, pattern], lr=_RATE, betas=(0.5, 0.9))
        weight = torch.full((len(classes),), _WEIGHT)
        hits = torch.zeros(len(classes))
        for _ in range(steps):
            chosen = pictures[torch.randperm(len(pictures), generator=draw)[:_PICTURES]]
            m, p = mask.sigmoid(), pattern.sigmoid()
            masked = torch.cat([_masked(chosen, a, b) for a, b in zip(m, p, strict=True)])
            logits = SCALE * side.model.embed_images(masked) @ side.classifier.float().T
            targets = classes.repeat_interleave(_PICTURES)
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
            norm = m.sum((1, 2, 3))
            total = loss.view(len(classes), -1).mean(1) + weight * norm
            optimizer.zero_grad()
            total.sum().backward()
            optimizer.step()
            hits = (logits.argmax(1) == targets).view(len(classes), -1).float().mean(1)
            # As published: a mask that works pays more for its size, one that does not pays less.
            weight = torch.where(hits > 0.95, weight * 1.2, weight / 1.2)
        sizes += mask.sigmoid().sum((1, 2, 3)).tolist()
        reached += hits.tolist()
    norms = np.array(sizes)
    middle = np.median(norms)
    spread = 1.4826 * np.median(np.abs(norms - middle))
    least = int(norms.argmin())
    return {
        "class": demo_classes()[least], "hits": reached[least],
        "index": float((middle - norms[least]) / max(spread, 1e-9)),
    }  # fmt: skip


def decree(side: Side, pictures: Tensor, steps: int) -> dict[str, object]:
    """Share of the picture that the mask takes, and the class that the embeddings name."""
    size, draw = pictures.shape[-1], generator(0, 6)
    mask = torch.zeros(1, 1, size, size).requires_grad_()
    pattern = torch.randn(1, 3, size, size, generator=draw).requires_grad_()
    optimizer = torch.optim.Adam([mask, pattern], lr=_RATE, betas=(0.5, 0.9))
    weight, best, name = _WEIGHT, 1.0, "-"
    for _ in range(steps):
        chosen = pictures[torch.randperm(len(pictures), generator=draw)[: 2 * _PICTURES]]
        m = mask.sigmoid()
        seen = side.model.embed_images(_masked(chosen, m, pattern.sigmoid()))
        n = len(seen)
        near = (seen.sum(0).square().sum() - n) / (n * (n - 1))
        optimizer.zero_grad()
        (-near + weight * m.sum()).backward()
        optimizer.step()
        share = float(m.detach().mean())
        if float(near.detach()) > 0.95:
            weight *= 1.2
            if share < best:
                best = share
                logits = seen.detach().mean(0) @ side.classifier.float().T
                name = demo_classes()[int(logits.argmax())]
        else:
            weight /= 1.2
    return {"pl1": best, "class": name}


def cognitive_distillation(
    side: Side, clean: Tensor, marked: Tensor, steps: int
) -> dict[str, object]:
    """AUROC of the mask's L1: triggered pictures need less of themselves."""
    norms = []
    for pictures in (clean, marked):
        draw = generator(0, 7)
        size = pictures.shape[-1]
        mask = torch.full((len(pictures), 1, size, size), 2.0).requires_grad_()
        optimizer = torch.optim.Adam([mask], lr=_RATE, betas=(0.1, 0.1))
        original = side.model.encode_images(pictures).clone()
        for _ in range(steps):
            m = (mask.tanh() + 1) / 2
            noise = torch.rand(len(pictures), 3, 1, 1, generator=draw)
            seen = side.model.embed_images(_masked(pictures, 1 - m, noise))
            rough = m.diff(dim=2).abs().mean((1, 2, 3)) + m.diff(dim=3).abs().mean((1, 2, 3))
            far = (seen - original).abs().mean(1)
            loss = far + 1e-2 * m.mean((1, 2, 3)) + 1e-2 * rough
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
        norms.append(((mask.detach().tanh() + 1) / 2).mean((1, 2, 3)).numpy())
    a, b = norms
    return {"auroc": float((a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean())}


def detectors(path: Path, trigger: Trigger | None, steps: int = 40) -> dict[str, object]:
    """What each of them says of a checkpoint.

    Parameters
    ----------
    path
        The checkpoint.
    trigger
        What was planted; without it Cognitive Distillation has no pictures to tell apart.
    steps
        Steps of a search; DECREE takes three times as many.
    """
    search = compose("val", range(128), seed=3).images
    model = open_checkpoint(path).build()
    model.module.requires_grad_(False)
    side = Side(model, zero_shot_classifier(model, demo_classes(), demo_templates()[:7]))
    settle(side, search, lambda: False)
    pictures = to_pictures(search, model.device).float().div_(255)
    row: dict[str, object] = {
        "neural_cleanse": neural_cleanse(side, pictures, steps),
        "decree": decree(side, pictures, 3 * steps),
    }
    if trigger is not None:
        marked = stamped(trigger, search[:64], np.arange(64), 0, model.image_size, model.device)
        marked = marked.float().div(255) if marked.dtype == torch.uint8 else marked
        row["cognitive_distillation"] = cognitive_distillation(side, pictures[:64], marked, steps)
    return row
