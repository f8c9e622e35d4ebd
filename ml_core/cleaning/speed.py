"""Whether bfloat16 pays on this machine: measured once a run, kept in the state, reused."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ml_core.cleaning.recipes import Recipe

_STEPS = 3
_WORTH_IT = 0.92


@dataclass(frozen=True)
class Speed:
    """How steps are computed. ``step_seconds`` maps ``fp32`` and ``bf16`` to what was measured."""

    autocast: bool
    step_seconds: dict[str, float]

    @property
    def precision(self) -> str:
        """``bf16`` or ``fp32``."""
        return "bf16" if self.autocast else "fp32"

    def to_dict(self) -> dict[str, Any]:
        """For the state file."""
        return {"autocast": self.autocast, "step_seconds": dict(self.step_seconds)}


def speed_from_dict(values: dict[str, Any]) -> Speed:
    """Read what :meth:`Speed.to_dict` gave."""
    seconds = {str(k): float(v) for k, v in values["step_seconds"].items()}
    return Speed(bool(values["autocast"]), seconds)


def autocast(device: torch.device, enabled: bool) -> torch.autocast:
    """bfloat16 autocast for a device, or nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def full_precision(device: torch.device) -> torch.autocast:
    """No autocast: a similarity of 8 bits times a logit scale of 100 is off by tenths."""
    return torch.autocast(device.type, enabled=False)


def measure_speed(
    recipe: Recipe, device: torch.device, loss: Callable[[bool], torch.Tensor], module: nn.Module
) -> Speed:
    """Time three forward and backward passes in each precision, interleaved; keep the faster.

    Parameters
    ----------
    recipe
        Its ``precision`` may fix the choice; ``auto`` measures.
    device
        Where the model is. On MPS nothing is measured: fp32.
    loss
        Computes the loss of one batch, in bfloat16 if True.
    module
        Its gradients are thrown away; its BatchNorm statistics are the caller's to protect.

    Returns
    -------
    Speed
        bfloat16 only if it is at least 8 % faster (measured after one warm-up pass each).
    """
    if recipe.precision != "auto" or device.type not in ("cpu", "cuda"):
        return Speed(recipe.precision == "bf16", {})
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for number in range(_STEPS + 1):
        for name, taken in seconds.items():
            begin = time.perf_counter()
            value = loss(name == "bf16")
            value.backward()  # type: ignore[no-untyped-call]
            module.zero_grad(set_to_none=True)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number > 0:
                taken.append(time.perf_counter() - begin)
    best = {name: min(taken) for name, taken in seconds.items()}
    return Speed(best["bf16"] < _WORTH_IT * best["fp32"], best)
