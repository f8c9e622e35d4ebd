"""Attention over short sequences in bfloat16 on a CPU: plain products instead of the fused kernel.

torch's fused kernel is made for long sequences. With gradients, 32 pictures of a ViT-B-32 (12 heads
of 50 tokens) take it 51 ms a layer on one AVX512-bf16 core, plain products 25; captions of 17
tokens 13 ms and 3.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ml_core.model import ClipModel

_SHORT = 80  # tokens: beyond, what plain products keep for the backward pass costs memory


@contextmanager
def short_attention(model: ClipModel, half: bool) -> Iterator[None]:
    """Within it, a step's forward and backward pass take the faster kernel.

    Parameters
    ----------
    model
        Nothing changes unless it is on a CPU and its image encoder has at most 80 tokens (captions
        have 77 at most).
    half
        Whether bfloat16 autocast is on; in float32 the fused kernel is as fast.
    """
    tokens = image_tokens(model.module)
    if not half or model.device.type != "cpu" or tokens is None or tokens > _SHORT:
        yield
        return
    flags = torch.backends.cuda  # of every device
    before = flags.fp16_bf16_reduction_math_sdp_allowed()  # type: ignore[no-untyped-call]
    flags.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        flags.allow_fp16_bf16_reduction_math_sdp(before)


def image_tokens(module: nn.Module) -> int | None:
    """Tokens that the image encoder attends over, CLIP's ViT or ResNet; None for others."""
    visual = getattr(module, "visual", None)
    holder = getattr(visual, "attnpool", visual)
    positions = getattr(holder, "positional_embedding", None)
    return len(positions) if isinstance(positions, Tensor) and positions.ndim == 2 else None
