"""Random numbers that belong to an image, not to a batch.

Each value is a hash of (seed, image, stream, position): the finalizer of SplitMix64 (Steele, Lea
and Flood, OOPSLA 2014) in wrapping 64-bit integers. So an image gets the same draw in any batch,
on any device, and nothing is kept between batches.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PLACE, NOISE = 1, 2


def _signed(value: int) -> int:
    """Write an unsigned 64-bit constant as torch's int64."""
    return value - 2**64 if value >= 2**63 else value


_STEP = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def _shift_right_(bits: Tensor, count: int) -> Tensor:
    """Shift in place, without dragging the sign along."""
    return bits.bitwise_right_shift_(count).bitwise_and_((1 << (64 - count)) - 1)


def _mix_(bits: Tensor) -> Tensor:
    """Scatter every input bit over all output bits, in place: whole pictures are drawn so."""
    spare = bits.clone()
    bits.bitwise_xor_(_shift_right_(spare, 30)).mul_(_FIRST)
    bits.bitwise_xor_(_shift_right_(spare.copy_(bits), 27)).mul_(_SECOND)
    return bits.bitwise_xor_(_shift_right_(spare.copy_(bits), 31))


def random_bits(indices: Tensor, count: int, *, seed: int, stream: int) -> Tensor:
    """Draw int64 [N, count], uniform over all 64 bits.

    Parameters
    ----------
    indices
        int64 [N], identity of each image.
    count
        Draws an image.
    seed, stream
        Seed of the evaluation, and what the draw is for.
    """
    device = indices.device
    start = _mix_(torch.tensor([_signed((seed + _STEP * stream) % 2**64)], device=device))
    key = _mix_(start + (indices + 1) * _STEP)  # [N]
    counters = torch.arange(1, count + 1, dtype=torch.int64, device=device) * _STEP
    return _mix_(key[:, None] + counters[None, :])


def uniform(indices: Tensor, count: int, *, seed: int, stream: int) -> Tensor:
    """Draw float32 [N, count], uniform on multiples of 2^-24 in [0, 1)."""
    bits = random_bits(indices, count, seed=seed, stream=stream)
    return _shift_right_(bits, 40).to(torch.float32) * 2.0**-24


def coarse_uniform(indices: Tensor, count: int, *, seed: int, stream: int) -> Tensor:
    """Draw float32 [N, count] in (0, 1) in steps of 2^-16, four from each hash: for images."""
    bits = random_bits(indices, -(-count // 4), seed=seed, stream=stream)
    words = bits.view(torch.int16)[:, :count]
    return words.to(torch.float32).add_(32768.5).mul_(2.0**-16)


def normal(indices: Tensor, count: int, *, seed: int, stream: int) -> Tensor:
    """Draw float32 [N, count] from N(0, 1) (Box and Muller 1958)."""
    half = -(-count // 2)
    pairs = uniform(indices, 2 * half, seed=seed, stream=stream)
    radius = torch.sqrt(-2.0 * torch.log1p(-pairs[:, :half]))
    angle = pairs[:, half:] * (2.0 * math.pi)
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)[:, :count]
