"""Six steps of CleanCLIP against a loop in plain torch, written anew from the paper.

In training the loss of an encoder with BatchNorm depends on what is encoded together: originals
and views are one batch, as in CleanCLIP's own code. Nothing that trains is imported for the
reference; only the pictures, the tokens and open_clip's module are the same.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from ml_core.cleaning.batches import Batch
from ml_core.cleaning.loop import train
from ml_core.cleaning.recipes import make_recipe
from ml_core.data.demo import compose
from ml_core.events import Control
from tests.unit.draining import drain, losses_of

STEPS, WARMUP, BATCH = 6, 2, 16
RATE, DECAY, IN_MODAL = 1e-3, 0.1, 1.0


def made_batches(model):
    """Pictures of the demo; a view is mirrored and washed out, and begins at the third word."""
    batches = []
    for step in range(STEPS):
        drawn = compose("clean", range(BATCH * step, BATCH * (step + 1)), size=model.image_size)
        images = torch.from_numpy(drawn.images).permute(0, 3, 1, 2)
        words = [caption.split() for caption in drawn.captions]
        views = model.tokenize([" ".join(each[2:] + each[:1]) for each in words])
        batches.append(
            Batch(images, images.flip(3) // 2 + 90, model.tokenize(list(drawn.captions)), views)
        )
    return batches


def cross_entropy(a, b, scale):
    return F.cross_entropy(scale * a @ b.T, torch.arange(len(a)))


class Reference:
    """CleanCLIP (Bansal et al. 2023)."""

    def __init__(self, model):
        self.module = copy.deepcopy(model.module).requires_grad_(True).float()
        self.mean = torch.tensor(model.preprocess.mean).view(3, 1, 1)
        self.std = torch.tensor(model.preprocess.std).view(3, 1, 1)
        decayed, plain = [], []
        for name, parameter in self.module.named_parameters():
            exempt = parameter.ndim < 2 or name.endswith("bias") or name == "logit_scale"
            (plain if exempt else decayed).append(parameter)
        groups = [
            {"params": decayed, "weight_decay": DECAY},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.999), foreach=False)

    def pixels(self, images):
        return ((images.float() / 255 - self.mean) / self.std).contiguous()

    def loss(self, batch):
        pictures = torch.cat([self.pixels(batch.images), self.pixels(batch.image_views)])
        texts = torch.cat([batch.tokens, batch.token_views])
        i, iv = F.normalize(self.module.encode_image(pictures), dim=-1).chunk(2)
        t, tv = F.normalize(self.module.encode_text(texts), dim=-1).chunk(2)
        s = self.module.logit_scale.exp()
        clip = (cross_entropy(i, t, s) + cross_entropy(t, i, s)) / 2
        in_modal = (cross_entropy(i, iv, s) + cross_entropy(t, tv, s)) / 2
        return clip + IN_MODAL * in_modal

    def train(self, batches):
        self.module.train()
        losses = []
        for step, batch in enumerate(batches):
            if step < WARMUP:
                rate = RATE * (step + 1) / WARMUP
            else:
                rate = RATE * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) / 2
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.zero_grad()
            loss = self.loss(batch)
            loss.backward()
            self.optimizer.step()
            self.module.logit_scale.data.clamp_(0.0, math.log(100))
            losses.append(float(loss.detach()))
        return losses


def test_six_steps_are_those_of_a_plain_loop(tiny_model):
    recipe = make_recipe(
        {
            "method": "cleanclip", "pairs": STEPS * BATCH, "batch_size": BATCH, "lr": RATE,
            "warmup_steps": WARMUP, "weight_decay": DECAY, "grad_clip": 0.0,
            "lambda_image": IN_MODAL, "lambda_text": IN_MODAL, "eval_every": 0, "save_every": 0,
            "precision": "fp32",
        }
    )  # fmt: skip
    batches = made_batches(tiny_model)
    before = {name: value.clone() for name, value in tiny_model.module.state_dict().items()}
    reference = Reference(tiny_model)
    expected = reference.train(batches)
    events, _ = drain(train(tiny_model, recipe, lambda step: batches[step], Control()))
    losses = losses_of(events)
    assert losses[0] == pytest.approx(expected[0], abs=2e-5)
    assert losses == pytest.approx(expected, rel=2e-2)
    ours, theirs = tiny_model.module.state_dict(), reference.module.state_dict()
    counts = [name for name in before if name.endswith("num_batches_tracked")]
    assert counts
    assert {int(ours[name] - before[name]) for name in counts} == {STEPS}  # not two a step
    # Running statistics too; of the words, most are in no caption and hardly move.
    names = [n for n in theirs if n not in counts and n != "token_embedding.weight"]
    off = torch.cat([(ours[n] - theirs[n]).abs().flatten() for n in names])
    moved = torch.cat([(theirs[n] - before[n]).abs().flatten() for n in names])
    assert float(moved.median()) > 1e-3
    assert float((off < 3e-4).float().mean()) > 0.98
