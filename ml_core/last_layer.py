"""The image encoder's last attention, computed for the one token that the embedding is made of.

CLIP's ResNet pools with the query of the mean feature and CLIP's ViT takes the class token (Radford
et al. 2021, section 2.4). open_clip computes the last attention, and a ViT's last MLP, for the
other tokens too and drops what comes out: it reaches neither the embedding nor a gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ml_core.open_clip_parts import AttentionPool2d, ResidualAttentionBlock, VisionTransformer


class FirstQueryPool(AttentionPool2d):  # type: ignore[misc]
    """Attention pooling of a ResNet's feature map with the mean's query alone."""

    def forward(self, x: Tensor) -> Tensor:
        """Pooled features [N, D] of a feature map [N, C, h, w]."""
        tokens = x.flatten(2).permute(2, 0, 1)  # [hw, N, C]
        tokens = torch.cat([tokens.mean(dim=0, keepdim=True), tokens])
        tokens = tokens + self.positional_embedding[:, None].to(tokens.dtype)
        pooled, _ = F.multi_head_attention_forward(
            query=tokens[:1],
            key=tokens,
            value=tokens,
            embed_dim_to_check=tokens.shape[-1],
            num_heads=self.num_heads,
            q_proj_weight=self.q_proj.weight,
            k_proj_weight=self.k_proj.weight,
            v_proj_weight=self.v_proj.weight,
            in_proj_weight=None,
            in_proj_bias=torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=self.c_proj.weight,
            out_proj_bias=self.c_proj.bias,
            use_separate_proj_weight=True,
            training=self.training,
            need_weights=False,
        )
        return pooled[0]


class FirstTokenBlock(ResidualAttentionBlock):  # type: ignore[misc]
    """A transformer block that gives out its first token alone: [N, 1, width] of [N, L, width]."""

    def forward(
        self,
        q_x: Tensor,
        k_x: Tensor | None = None,
        v_x: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """Self-attention of the first token over all; open_clip passes nothing else but None."""
        along = 1 if self.attn.batch_first else 0
        tokens = self.ln_1(q_x)
        attended = self.attention(tokens.narrow(along, 0, 1), tokens, tokens)
        x = q_x.narrow(along, 0, 1) + self.ls_1(attended)
        out: Tensor = x + self.ls_2(self.mlp(self.ln_2(x)))
        return out


def spare_last_layer(module: nn.Module) -> None:
    """Let a CLIP's image encoder leave out what its pooling drops; others stay as they are.

    Only the classes of the parts change: names, values and the order of the parameters stay.

    Parameters
    ----------
    module
        open_clip's ``CLIP`` or ``CustomTextCLIP``.
    """
    visual: Any = getattr(module, "visual", None)
    pool = getattr(visual, "attnpool", None)
    if type(pool) is AttentionPool2d:
        pool.__class__ = FirstQueryPool
    if (
        type(visual) is VisionTransformer
        and visual.pool_type == "tok"
        and visual.attn_pool is None
        and not visual.output_tokens
    ):
        last = visual.transformer.resblocks[-1]
        if type(last) is ResidualAttentionBlock:
            last.__class__ = FirstTokenBlock
