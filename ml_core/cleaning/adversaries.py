"""Triggers that are sharpened while a model learns to ignore them.

A backdoor of which nothing is known is still a pattern that moves every picture. So patterns are
drawn at random (patches, textures over the whole picture, warps), and while the model is trained
not to be moved by them each is improved by gradient ascent on how far it moves the embeddings;
after some steps another one takes its place. A pattern is the same for all pictures, as a trigger
is: universal adversarial training (Shafahi et al., AAAI 2020, arXiv 1811.11304), with the gradient
of the training step itself (Shafahi et al., NeurIPS 2019, arXiv 1904.12843), over perturbations
that triggers consist of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ml_core.triggers.counter import PLACE, uniform
from ml_core.triggers.paste import paste

Kind = Literal["patch", "spot", "texture", "warp"]
# The kinds of each slot, one life after the other, and its lives' length; slots beyond begin anew.
# A patch and a texture act in every step: with kinds drawn by chance a backdoor came back in steps
# without its kind. Some triggers are met by many fresh patterns, others only by sharp ones.
_SLOTS: tuple[tuple[tuple[Kind, ...], int], ...] = (
    (("patch",), 1),
    (("texture",), 1),
    (("patch", "patch", "spot"), 3),
    (("texture", "texture", "texture", "warp"), 3),
    (("texture",), 10),
    (("spot", "patch"), 10),
    (("texture",), 25),
    (("spot", "patch"), 25),
)
_AREAS = (0.01, 0.06)  # of a patch, as a part of the picture
_CELLS = 8  # across a patch, at most
_RATIOS = (0.05, 0.3)  # of a texture, blended over the picture
_KNOTS = 6
_BEND = 4 / 64  # a warp's largest way, as a part of the side
_RATES: Mapping[Kind, float] = {"patch": 0.3, "spot": 0.3, "texture": 0.3, "warp": 0.1}
_BETAS, _EPS = (0.5, 0.9), 1e-8
_DEEPEST = 0.98


@dataclass(frozen=True)
class Shape:
    """What an adversary is, but for its pattern.

    Attributes
    ----------
    kind
        ``patch`` at a random place of each picture, ``spot`` at one place, ``texture`` blended
        over the picture, ``warp`` of its geometry.
    side
        Of the pattern, in pixels; of a warp, its control points.
    place
        Row and column of a spot's upper left corner.
    ratio
        Of a texture in the picture, 0 to 1.
    """

    kind: Kind
    side: int
    place: tuple[int, int] = (0, 0)
    ratio: float = 1.0


class Adversaries:
    """So many adversaries, each of which acts on its share of a batch.

    Which they are follows from seed and step alone; how far they have been sharpened is in
    `tensors`, so that a run that is taken up again goes on as it was.

    Parameters
    ----------
    size
        Side of the pictures in pixels.
    count
        How many act at a time.
    life
        Steps until one is replaced by a fresh one; slots keep theirs for 1, 3, 10 or 25 times as
        long.
    seed
        Of the run.

    Attributes
    ----------
    patterns
        float [count, 3, S, S], of which each adversary uses its own corner; what the gradient of a
        step reaches.
    """

    def __init__(self, size: int, count: int, life: int, seed: int, device: torch.device) -> None:
        self.size, self.count, self.life, self.seed = size, count, life, seed
        self.device = device
        self._step = torch.zeros(1, dtype=torch.int64)
        self.patterns = torch.zeros(count, 3, size, size, device=device)
        self._first = torch.zeros_like(self.patterns)
        self._second = torch.zeros_like(self.patterns)
        self._shapes = [self._born(slot) for slot in range(count)]
        for slot in range(count):
            self._draw(slot)
        self.patterns.requires_grad_()

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What they have become: the step, patterns and moments, changed in place."""
        return {
            "step": self._step,
            "patterns": self.patterns.detach(),
            "first": self._first,
            "second": self._second,
        }

    def taken_up(self) -> None:
        """After `tensors` were filled from a saved run."""
        self._shapes = [self._born(slot) for slot in range(self.count)]

    def zero_grad(self) -> None:
        """Forget what reached the patterns, as of a trial or of a step that did not fit."""
        self.patterns.grad = None

    def apply(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Pictures with an adversary on each.

        Parameters
        ----------
        images
            float [n, 3, S, S] in [0, 1].
        numbers
            int64 [n]: which example each is; decides who acts on it and where.

        Returns
        -------
        Tensor
            float [n, 3, S, S] in [0, 1]; gradients reach the patterns.
        """
        made = torch.empty_like(images)
        for slot in range(self.count):
            rows = torch.nonzero(numbers % self.count == slot).flatten().to(images.device)
            if len(rows):
                made[rows] = self._on(slot, images[rows], numbers[rows.cpu()])
        return made

    def sharpen(self) -> None:
        """Climb the gradient that reached the patterns by a step of Adam; replace who is done."""
        grad = self.patterns.grad
        if grad is not None:
            with torch.no_grad():
                for slot, shape in enumerate(self._shapes):
                    age = self._age(slot) + 1
                    first = self._first[slot].lerp_(grad[slot], 1 - _BETAS[0])
                    second = self._second[slot].lerp_(grad[slot].square(), 1 - _BETAS[1])
                    change = first / (1 - _BETAS[0] ** age)
                    change /= (second / (1 - _BETAS[1] ** age)).sqrt_().add_(_EPS)
                    self.patterns[slot].add_(change, alpha=_RATES[shape.kind])
            self.zero_grad()
        self._step += 1
        for slot in range(self.count):
            if self._age(slot) == 0:
                self._shapes[slot] = self._born(slot)
                self._draw(slot)

    def _age(self, slot: int) -> int:
        """Steps since a slot's adversary was drawn."""
        return self._since(slot) % self._life(slot)

    def _life(self, slot: int) -> int:
        return self.life * _SLOTS[slot % len(_SLOTS)][1]

    def _since(self, slot: int) -> int:
        """Steps so far, shifted so that not all slots change at once."""
        return int(self._step) + slot * self.life // self.count

    def _birth(self, slot: int) -> int:
        """How many adversaries a slot had before."""
        return self._since(slot) // self._life(slot)

    def _numbers(self, slot: int, what: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, slot, self._birth(slot), what])

    def _born(self, slot: int) -> Shape:
        """Kind and size of the adversary of a slot as of now."""
        draw = self._numbers(slot, 0)
        kinds, _ = _SLOTS[slot % len(_SLOTS)]
        kind = kinds[self._birth(slot) % len(kinds)]
        if kind == "texture":
            return Shape(kind, self.size, ratio=float(draw.uniform(*_RATIOS)))
        if kind == "warp":
            return Shape(kind, _KNOTS)
        side = max(2, round(math.sqrt(draw.uniform(*_AREAS)) * self.size))
        row, column = (int(draw.integers(self.size - side + 1)) for _ in range(2))
        return Shape(kind, side, (row, column))

    def _draw(self, slot: int) -> None:
        """A first pattern; for a patch and a texture the logits of its values."""
        shape, draw = self._shapes[slot], self._numbers(slot, 1)
        with torch.no_grad():
            for part in (self.patterns, self._first, self._second):
                part[slot].zero_()
            if shape.kind == "warp":
                normal = draw.standard_normal((3, shape.side, shape.side), np.float32)
                drawn = 0.3 * torch.from_numpy(normal)
            else:
                first = texture if shape.kind == "texture" else patch
                drawn = torch.from_numpy(first(shape.side, draw)).logit()
            self.patterns[slot, :, : shape.side, : shape.side] = drawn.to(self.device)

    def _on(self, slot: int, images: Tensor, numbers: Tensor) -> Tensor:
        """One adversary on its pictures."""
        shape = self._shapes[slot]
        pattern = self.patterns[slot, :, : shape.side, : shape.side]
        if shape.kind == "texture":
            return (1 - shape.ratio) * images + shape.ratio * pattern.sigmoid()
        if shape.kind == "warp":
            return bent(images, pattern[:2])
        if shape.kind == "spot":
            places = torch.tensor([shape.place]).expand(len(images), 2)
        else:
            chance = uniform(numbers, 2, seed=self.seed + int(self._step), stream=PLACE)
            places = (chance * (self.size - shape.side + 1)).long()
        patches = pattern.sigmoid().expand(len(images), -1, -1, -1)
        return paste(images, patches, places.to(images.device))


def texture(size: int, draw: np.random.Generator) -> np.ndarray:
    """A random texture float32 [3, S, S] in (0, 1): noise in blocks, smooth noise or waves."""
    kind = int(draw.integers(3))
    if kind == 2:
        lines = (np.arange(size, dtype=np.float32) / size) * 2 * np.pi
        waves = 3 if draw.random() < 0.5 else 1
        turned, shift = draw.uniform(0, np.pi, waves), draw.uniform(0, 2 * np.pi, waves)
        frequency = draw.uniform(1, 12)
        along = [np.cos(t) * lines[None] + np.sin(t) * lines[:, None] for t in turned]
        made = [0.5 + 0.5 * np.sin(frequency * a + s) for a, s in zip(along, shift, strict=True)]
        values = np.broadcast_to(np.stack(made), (3, size, size))
    else:
        block = 2 ** int(draw.integers(5)) * size / 64
        cells = max(2, round(size / block))
        noise = torch.from_numpy(draw.random((1, 3, cells, cells), np.float32))
        mode = "nearest" if kind == 0 else "bicubic"
        values = F.interpolate(noise, (size, size), mode=mode)[0].numpy()
    return np.ascontiguousarray(values.clip(1 - _DEEPEST, _DEEPEST), dtype=np.float32)


def patch(side: int, draw: np.random.Generator) -> np.ndarray:
    """A random patch float32 [3, s, s] in (0, 1): cells of all colours or of two, or noise."""
    cells = int(draw.integers(1, min(side, _CELLS) + 1))
    kind = int(draw.integers(3))
    if kind == 0:
        values = draw.random((3, cells, cells), np.float32)
    elif kind == 1:
        row, column = np.indices((cells, cells))
        chance = draw.random((cells, cells)) < 0.5
        second = ((row + column) % 2 == 1, row % 2 == 1, chance)[int(draw.integers(3))]
        colours = draw.random((2, 3, 1, 1), np.float32)
        values = np.where(second, colours[1], colours[0])
    else:
        values = draw.random((3, side, side), np.float32)
    if kind < 2 and draw.random() < 0.5:
        values = (values > 0.5).astype(np.float32)
    grown = F.interpolate(torch.from_numpy(values)[None], (side, side), mode="nearest")[0].numpy()
    return np.ascontiguousarray(grown.clip(1 - _DEEPEST, _DEEPEST), dtype=np.float32)


def bent(images: Tensor, knots: Tensor) -> Tensor:
    """Pictures float [n, 3, S, S] sampled along a smooth field given at knots [2, K, K]."""
    size = images.shape[-1]
    field = F.interpolate(knots.tanh()[None], (size, size), mode="bicubic", align_corners=True)
    line = torch.linspace(-1, 1, size, device=images.device)
    there = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    grid = (there + 2 * _BEND * field[0].permute(1, 2, 0)).clamp(-1, 1)
    return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), align_corners=True)
