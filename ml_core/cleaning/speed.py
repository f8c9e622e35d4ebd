"""Which arithmetic and layout pay on this machine: measured once, kept in the state, reused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ml_core.cleaning.recipes import Recipe
from ml_core.evaluation.race import race

_SECONDS = 15.0
_WORTH_IT = 0.92
_HOPELESS = 1.5


@dataclass(frozen=True)
class StepSpeed:
    """How steps are computed.

    Attributes
    ----------
    autocast
        Whether encoders run in bfloat16.
    step_seconds
        What was measured: ``fp32``, ``bf16``, and each with ``, channels-last`` where the layout
        was tried too.
    channels_last
        Layout of the image encoder; None is that of its kind.
    """

    autocast: bool
    step_seconds: dict[str, float] = field(default_factory=dict)
    channels_last: bool | None = None

    @property
    def precision(self) -> str:
        """``bf16`` or ``fp32``."""
        return "bf16" if self.autocast else "fp32"

    def to_dict(self) -> dict[str, Any]:
        return {
            "autocast": self.autocast,
            "step_seconds": dict(self.step_seconds),
            "channels_last": self.channels_last,
        }


def speed_from_dict(values: dict[str, Any]) -> StepSpeed:
    """Read what :meth:`StepSpeed.to_dict` gave."""
    seconds = {str(k): float(v) for k, v in values["step_seconds"].items()}
    return StepSpeed(bool(values["autocast"]), seconds, values.get("channels_last"))


def autocast(device: torch.device, enabled: bool) -> torch.autocast:
    """bfloat16 autocast for a device, or nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def full_precision(device: torch.device) -> torch.autocast:
    """No autocast: a similarity of 8 bits times a logit scale of 100 is off by tenths."""
    return torch.autocast(device.type, enabled=False)


def measure_speed(
    recipe: Recipe,
    device: torch.device,
    passes: Callable[[StepSpeed], None],
    module: nn.Module,
    layouts: tuple[bool | None, ...] = (None,),
) -> StepSpeed:
    """Time three forward and backward passes of each way to compute, in turns; keep the fastest.

    Parameters
    ----------
    recipe
        Its ``precision`` may fix everything, so that a run repeats anywhere; ``auto`` measures.
    device
        Where the model is. On MPS nothing is measured: fp32.
    passes
        Computes the loss of one batch in a way, and its gradients.
    module
        Its gradients are thrown away; buffers (BatchNorm's statistics) and torch's random state
        come back.
    layouts
        Values of ``channels_last`` to try, the usual one first.

    Returns
    -------
    Speed
        Another than the first (fp32 in the usual layout) only if it is at least 8 % faster. What
        is 1.5 times slower than the best after the warm-up is dropped, and after 15 seconds each
        way has no more than its second pass.
    """
    if recipe.precision != "auto" or device.type not in ("cpu", "cuda"):
        return StepSpeed(recipe.precision == "bf16")

    def one_pass(way: tuple[bool, bool | None]) -> float:
        begin = time.perf_counter()
        passes(StepSpeed(way[0], {}, way[1]))
        module.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begin

    with _left_alone(module, device):
        result = race(
            [(half, layout) for layout in layouts for half in (False, True)],
            one_pass,
            _SECONDS,
            is_half=lambda way: way[0],
            emulates=device.type == "cpu",
            sure=lambda number, _: number < 2,
            hopeless=_HOPELESS,
        )
    best, usual = result.seconds, (False, layouts[0])
    chosen = min(result.left, key=lambda way: best[way])
    if best[chosen] >= _WORTH_IT * best[usual]:
        chosen = usual
    return StepSpeed(chosen[0], {_name(*way): taken for way, taken in best.items()}, chosen[1])


def _name(half: bool, channels_last: bool | None) -> str:
    """What a way to compute is called in the log."""
    names = {None: "", True: ", channels-last", False: ", contiguous"}
    return ("bf16" if half else "fp32") + names[channels_last]


@contextmanager
def _left_alone(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Put buffers and random state back at the end: a copy of the model would double memory."""
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                buffer.copy_(buffers[name])
