"""What the loop asks of a method."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from torch import Tensor, nn

from ml_core.cleaning.adversaries import Adversaries
from ml_core.cleaning.batches import Batch
from ml_core.cleaning.weight_space import Validate, WeightDelta
from ml_core.events import Control, Event
from ml_core.triggers.record import Trigger

Features = dict[str, Tensor]
Parts = dict[str, Tensor]
Named = list[tuple[str, nn.Parameter]]


@dataclass(frozen=True, eq=False)
class Extras:
    """What a method may be given besides batches.

    Attributes
    ----------
    classifier
        Zero-shot classifier [C, D] of the checkpoint before cleaning.
    trigger, target
        The trigger, known or inverted, and the class it aims at.
    reference
        State dict of a clean checkpoint of the same architecture.
    """

    classifier: Tensor | None = None
    trigger: Trigger | None = None
    target: int = 0
    reference: dict[str, Tensor] | None = None


Finish = Callable[[Validate | None, Control], Generator[Event, None, WeightDelta]]


@dataclass(frozen=True, eq=False)
class Method:
    """One method on one model.

    Attributes
    ----------
    encode
        Batch to features, each [N, ...] in float32: what the encoders give, row i of example i
        alone, so that a large batch can be encoded in parts (with BatchNorm frozen). Those of a
        frozen copy have no gradient.
    loss
        Features and batch to scalar parts; ``loss`` is what is minimised. It sees the whole
        batch, and may use parameters that ``encode`` does not (logit scale, head).
    trained
        Names and parameters that the optimizer moves; none where nothing is trained.
    head
        The linear head [C, D], if the method trains one.
    finish
        Run once after the last step, before the result is measured; what it does is not in the
        state that is saved for resuming.
    opponent
        What ascends the loss while the parameters descend it: sharpened after each step, and saved
        with the state.
    """

    encode: Callable[[Batch], Features]
    loss: Callable[[Features, Batch], Parts]
    trained: Named
    head: nn.Parameter | None = None
    finish: Finish | None = None
    opponent: Adversaries | None = None
