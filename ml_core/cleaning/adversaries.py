"""Triggers that are sharpened while a model learns to ignore them.

Even an unknown backdoor is a pattern that moves every picture. So patterns are
drawn at random (patches, textures over the whole picture, warps), and while the model is trained
not to be moved by them each is improved by gradient ascent on how far it moves the embeddings;
after some steps another one takes its place. A pattern is the same for all pictures, as a trigger
is: universal adversarial training (Shafahi et al., AAAI 2020, arXiv 1811.11304), with the gradient
of the training step itself (Shafahi et al., NeurIPS 2019, arXiv 1904.12843), over perturbations
that triggers consist of.

A small patch of any pattern hardly moves an embedding, and its gradient leads to no backdoor. So
before the first step textures are grown over the whole picture, as far as they move all pictures
together, which is easy: where they lead are the directions that the checkpoint gives way to. Each
patch then grows along one of them before the model meets it, as the inversion of a trigger does
towards a class (Neural Cleanse, Wang et al., S&P 2019), without a class; the best are met again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ml_core.triggers.render import PLACE, paste, uniform

Kind = Literal["patch", "spot", "texture", "warp"]
Encode = Callable[[Tensor], Tensor]
_KINDS: tuple[Kind, ...] = get_args(Kind)
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
_DIRECTIONS, _REMEMBERED = 16, 16
_DIRECTION_CLIMBS, _PATCH_CLIMBS, _CLIMB = 20, 30, 1.0  # steps of growth, and their rate
_LOOKED_AT = 16  # pictures of a step of growth
_DIRECTION_RATIO = 0.2
_FACTS = 5  # of a shape
_AGAIN = 0  # the slot in which every other patch is one that was met before
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
        Size of the pattern in pixels; for a warp, of its grid of control points.
    place
        Row and column of a spot's upper left corner.
    ratio
        Weight of a texture in the picture, 0 to 1.
    """

    kind: Kind
    side: int
    place: tuple[int, int] = (0, 0)
    ratio: float = 1.0

    @property
    def is_patch(self) -> bool:
        return self.kind in ("patch", "spot")


class Adversaries:
    """A number of adversaries; each acts on its own share of a batch.

    Seed and step alone decide which adversaries there are. How far they have been sharpened is in
    `tensors`, so that a resumed run goes on as before.

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
        Seed of the run.
    width
        Width of an embedding.

    Attributes
    ----------
    patterns
        float [count, 3, S, S]. Each adversary uses a corner of its own pattern. A step's gradient
        reaches them.
    """

    def __init__(
        self, size: int, count: int, life: int, seed: int, device: torch.device, width: int
    ) -> None:
        self.size, self.count, self.life, self.seed = size, count, life, seed
        self.device = device
        self._step = torch.zeros(1, dtype=torch.int64)
        self._grown = -1  # the step whose patches have grown
        self.patterns = torch.zeros(count, 3, size, size, device=device)
        self._first = torch.zeros_like(self.patterns)
        self._second = torch.zeros_like(self.patterns)
        self._directions = torch.zeros(_DIRECTIONS, width, device=device)
        most = _side(_AREAS[1], size)
        self._memory = torch.zeros(_REMEMBERED, 3, most, most, device=device)
        self._effects = torch.zeros(_REMEMBERED)  # 0: nothing is remembered there
        self._remembered = torch.zeros(_REMEMBERED, _FACTS)
        self._now = torch.zeros(count, _FACTS)
        self._shapes = [Shape("warp", 0)] * count
        for slot in range(count):
            self._begin(slot)
        self.patterns.requires_grad_()

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The state of the adversaries (step, patterns, moments, memory), changed in place."""
        return {
            "step": self._step,
            "patterns": self.patterns.detach(),
            "first": self._first,
            "second": self._second,
            "shapes": self._now,
            "directions": self._directions,
            "memory": self._memory,
            "effects": self._effects,
            "remembered": self._remembered,
        }

    def taken_up(self) -> None:
        """Call this after `tensors` were filled from a saved run."""
        self._shapes = [_shape(facts) for facts in self._now]
        self._grown = -1

    @property
    def due(self) -> bool:
        """Whether a patch that has to grow first begins with this step."""
        return self._grown != int(self._step) and bool(self._growing())

    def grow(self, encode: Encode, images: Tensor) -> None:
        """Let the patches that begin with this step grow, before the model meets them.

        Parameters
        ----------
        encode
            float [n, 3, S, S] in [0, 1] to unit embeddings [n, D], with gradients of the pictures;
            of the present model, in evaluation mode.
        images
            float [N, 3, S, S] in [0, 1], the step's pictures.
        """
        self._grown = int(self._step)
        with torch.no_grad():
            plain = encode(images)
        if not bool(self._directions.any()):
            for number in range(_DIRECTIONS):
                self._directions[number] = self._direction(encode, images, plain, number)
        for slot in self._growing():
            draw = self._numbers(slot, 2)
            toward = self._directions[int(draw.integers(_DIRECTIONS))]
            shape = self._shapes[slot]
            begin = self.patterns[slot, :, : shape.side, : shape.side].detach()

            def near(moved: Tensor, _: Tensor, toward: Tensor = toward) -> Tensor:
                return (moved @ toward).mean()

            grown = self._climb(encode, images, shape, begin, draw, _PATCH_CLIMBS, near)
            with torch.no_grad():
                self.patterns[slot, :, : shape.side, : shape.side] = grown
                moved = encode(self._put(shape, grown, images, self._places(shape, draw, images)))
            self._remember(shape, grown, float(((moved - plain) @ toward).mean()))

    def zero_grad(self) -> None:
        """Drop the patterns' gradients, for example after a step that ran out of memory."""
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
        patterned = torch.empty_like(images)
        for slot in range(self.count):
            rows = torch.nonzero(numbers % self.count == slot).flatten().to(images.device)
            if len(rows):
                patterned[rows] = self._on(slot, images[rows], numbers[rows.cpu()])
        return patterned

    def sharpen(self) -> None:
        """Move the patterns up their gradient by a step of Adam; replace those that are done."""
        grad = self.patterns.grad
        if grad is not None:
            with torch.no_grad():
                for slot, shape in enumerate(self._shapes):
                    age = self._age(slot) + 1
                    change = _adam(grad[slot], self._first[slot], self._second[slot], age)
                    self.patterns[slot].add_(change, alpha=_RATES[shape.kind])
            self.zero_grad()
        self._step += 1
        for slot in range(self.count):
            if self._age(slot) == 0:
                self._begin(slot)

    def _growing(self) -> list[int]:
        """Slots of patches that begin with this step and live longer than the shortest."""
        begins = [not int(self._step) or self._age(slot) == 0 for slot in range(self.count)]
        return [
            slot for slot, shape in enumerate(self._shapes)
            if begins[slot] and self._life(slot) > self.life and shape.is_patch
        ]  # fmt: skip

    def _direction(self, encode: Encode, images: Tensor, plain: Tensor, number: int) -> Tensor:
        """The direction of a texture that was grown to move all pictures together."""
        draw = np.random.default_rng([self.seed, number, 0, 3])
        shape = Shape("texture", self.size, ratio=_DIRECTION_RATIO)
        begin = torch.from_numpy(texture(self.size, draw)).logit().to(self.device)

        def together(moved: Tensor, rows: Tensor) -> Tensor:
            shifts = moved - plain[rows]
            count = len(shifts)
            pairs = shifts.sum(0).square().sum() - shifts.square().sum()
            return pairs / max(1, count * (count - 1))

        grown = self._climb(encode, images, shape, begin, draw, _DIRECTION_CLIMBS, together)
        with torch.no_grad():
            moved = encode(self._put(shape, grown, images, None))
        return F.normalize(moved.mean(0), dim=0)

    def _climb(
        self,
        encode: Encode,
        images: Tensor,
        shape: Shape,
        begin: Tensor,
        draw: np.random.Generator,
        steps: int,
        score: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """A pattern after some steps up a score of (embeddings, rows of pictures)."""
        pattern = begin.clone().requires_grad_()
        first, second = torch.zeros_like(begin), torch.zeros_like(begin)
        for step in range(steps):
            count = min(_LOOKED_AT, len(images))
            rows = torch.from_numpy(draw.choice(len(images), count, replace=False))
            chosen = images[rows.to(images.device)]
            shown = self._put(shape, pattern, chosen, self._places(shape, draw, chosen))
            (grad,) = torch.autograd.grad(score(encode(shown), rows.to(images.device)), pattern)
            with torch.no_grad():
                pattern.add_(_adam(grad, first, second, step + 1), alpha=_CLIMB)
        return pattern.detach()

    def _remember(self, shape: Shape, pattern: Tensor, effect: float) -> None:
        """Keep a pattern that moves pictures further than the weakest that is kept."""
        place = int(self._effects.argmin())
        if effect <= float(self._effects[place]):
            return
        self._effects[place] = effect
        self._remembered[place] = _facts(shape)
        self._memory[place].zero_()
        self._memory[place, :, : shape.side, : shape.side] = pattern

    def _begin(self, slot: int) -> None:
        """A fresh adversary, or one that was met before."""
        known = torch.nonzero(self._effects).flatten()
        with torch.no_grad():
            for part in (self.patterns, self._first, self._second):
                part[slot].zero_()
            if slot == _AGAIN and self._birth(slot) % 2 and len(known):
                place = known[int(self._numbers(slot, 4).integers(len(known)))]
                shape = _shape(self._remembered[place])
                drawn = self._memory[place, :, : shape.side, : shape.side]
            else:
                shape = self._born(slot)
                drawn = self._drawn(shape, self._numbers(slot, 1)).to(self.device)
            self.patterns[slot, :, : shape.side, : shape.side] = drawn
        self._now[slot] = _facts(shape)
        self._shapes[slot] = _shape(self._now[slot])  # as a run that is taken up reads it

    def _age(self, slot: int) -> int:
        """Steps since a slot's adversary was drawn."""
        return self._since(slot) % self._life(slot)

    def _life(self, slot: int) -> int:
        return self.life * _SLOTS[slot % len(_SLOTS)][1]

    def _since(self, slot: int) -> int:
        """Steps so far, shifted so that not all slots change at once."""
        return int(self._step) + slot * self.life // self.count

    def _birth(self, slot: int) -> int:
        """How many adversaries the slot held before the present one."""
        return self._since(slot) // self._life(slot)

    def _numbers(self, slot: int, what: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, slot, self._birth(slot), what])

    def _born(self, slot: int) -> Shape:
        """Kind and size of the adversary that a slot holds now."""
        draw = self._numbers(slot, 0)
        kinds, _ = _SLOTS[slot % len(_SLOTS)]
        kind = kinds[self._birth(slot) % len(kinds)]
        if kind == "texture":
            return Shape(kind, self.size, ratio=float(draw.uniform(*_RATIOS)))
        if kind == "warp":
            return Shape(kind, _KNOTS)
        side = _side(draw.uniform(*_AREAS), self.size)
        row, column = (int(draw.integers(self.size - side + 1)) for _ in range(2))
        return Shape(kind, side, (row, column))

    def _drawn(self, shape: Shape, draw: np.random.Generator) -> Tensor:
        """A first pattern; for a patch and a texture the logits of its values."""
        if shape.kind == "warp":
            return 0.3 * torch.from_numpy(
                draw.standard_normal((3, shape.side, shape.side), np.float32)
            )
        first = texture if shape.kind == "texture" else patch
        return torch.from_numpy(first(shape.side, draw)).logit()

    def _on(self, slot: int, images: Tensor, numbers: Tensor) -> Tensor:
        """One adversary on its pictures."""
        shape = self._shapes[slot]
        pattern = self.patterns[slot, :, : shape.side, : shape.side]
        places = None
        if shape.is_patch:
            chance = uniform(numbers, 2, seed=self.seed + int(self._step), stream=PLACE)
            places = (chance * (self.size - shape.side + 1)).long()
        return self._put(shape, pattern, images, places)

    def _places(self, shape: Shape, draw: np.random.Generator, images: Tensor) -> Tensor | None:
        """Where a growing patch lies on each picture."""
        if not shape.is_patch:
            return None
        return torch.from_numpy(draw.integers(0, self.size - shape.side + 1, (len(images), 2)))

    def _put(self, shape: Shape, pattern: Tensor, images: Tensor, places: Tensor | None) -> Tensor:
        """A pattern on pictures, a patch at places [n, 2] unless it keeps to its own."""
        if shape.kind == "texture":
            return (1 - shape.ratio) * images + shape.ratio * pattern.sigmoid()
        if shape.kind == "warp" or places is None:
            return bent(images, pattern[:2])
        if shape.kind == "spot":
            places = torch.tensor([shape.place]).expand(len(images), 2)
        patches = pattern.sigmoid().expand(len(images), -1, -1, -1)
        return paste(images, patches, places.to(images.device))


def _adam(grad: Tensor, first: Tensor, second: Tensor, age: int) -> Tensor:
    """The change by Adam of an adversary's ``age``-th step; its moments change in place."""
    first.lerp_(grad, 1 - _BETAS[0])
    second.lerp_(grad.square(), 1 - _BETAS[1])
    spread = (second / (1 - _BETAS[1] ** age)).sqrt_().add_(_EPS)
    return first / (1 - _BETAS[0] ** age) / spread


def _side(area: float, size: int) -> int:
    """Pixels of a patch's side, of its part of the picture."""
    return max(2, round(math.sqrt(area) * size))


def _facts(shape: Shape) -> Tensor:
    """A shape as float32 [5], to be kept in a file."""
    return torch.tensor([_KINDS.index(shape.kind), shape.side, *shape.place, shape.ratio])


def _shape(facts: Tensor) -> Shape:
    """What :func:`_facts` wrote."""
    kind, side, row, column, ratio = facts.tolist()
    return Shape(_KINDS[int(kind)], int(side), (int(row), int(column)), ratio)


def texture(size: int, draw: np.random.Generator) -> np.ndarray:
    """A random texture float32 [3, S, S] in (0, 1): noise in blocks, smooth noise or waves."""
    kind = int(draw.integers(3))
    if kind == 2:
        lines = (np.arange(size, dtype=np.float32) / size) * 2 * np.pi
        waves = 3 if draw.random() < 0.5 else 1
        turned, shift = draw.uniform(0, np.pi, waves), draw.uniform(0, 2 * np.pi, waves)
        frequency = draw.uniform(1, 12)
        along = [np.cos(t) * lines[None] + np.sin(t) * lines[:, None] for t in turned]
        channels = [
            0.5 + 0.5 * np.sin(frequency * a + s) for a, s in zip(along, shift, strict=True)
        ]
        values = np.broadcast_to(np.stack(channels), (3, size, size))
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
