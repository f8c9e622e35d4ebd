"""A vision transformer with learned prompts in its deeper blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ml_core.model import ClipModel
from ml_core.reading.errors import InputError


class PromptedVisual(nn.Module):
    """Deep visual prompts (Jia et al. 2022; RVPT, NeurIPS 2025) around a frozen ViT.

    Block d + 1 of L sees class token, prompts p_d and patches; what it makes of the prompts is
    dropped and the next block gets its own, for d = depth .. L - 1.

    Parameters
    ----------
    inner
        open_clip's ``VisionTransformer``, left as it is.
    prompts
        [L - depth, b, width].
    depth
        Blocks at the beginning that have no prompts.
    """

    def __init__(self, inner: nn.Module, prompts: Tensor, depth: int) -> None:
        super().__init__()
        self.inner = inner
        self.prompts = nn.Parameter(prompts)
        self.depth = depth
        self.grad_checkpointing = False  # open_clip's name for its transformers' switch

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings [N, D], as the inner encoder gives them, of normalised images."""
        return self._run(self._begin(images), self.prompts)[0]

    def with_features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings [N, D]; class tokens [N, L - depth, width] with prompts; and without.

        Those without have no gradient.
        """
        begun = self._begin(images)
        with torch.no_grad():
            _, plain = self._run(begun, None)
        embedded, prompted = self._run(begun, self.prompts)
        return embedded, prompted, plain

    def _begin(self, images: Tensor) -> Tensor:
        """Tokens [N, T, width] after the blocks without prompts."""
        embeds = cast(Callable[[Tensor], Tensor], self.inner._embeds)
        tokens = embeds(images)
        for block in self._blocks()[: self.depth]:
            tokens = block(tokens)
        return tokens

    def _run(self, tokens: Tensor, prompts: Tensor | None) -> tuple[Tensor, Tensor]:
        """The other blocks: the embedding, and the class token after each block."""
        seen = []
        count = 0 if prompts is None else prompts.shape[1]
        for number, block in enumerate(self._blocks()[self.depth :]):
            if prompts is not None:
                own = prompts[number].to(tokens.dtype).expand(len(tokens), -1, -1)
                tokens = torch.cat([tokens[:, :1], own, tokens[:, 1:]], dim=1)
            if self.grad_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
            if count:
                tokens = torch.cat([tokens[:, :1], tokens[:, 1 + count :]], dim=1)
            seen.append(tokens[:, 0])
        pool = cast(Callable[[Tensor], tuple[Tensor, Tensor]], self.inner._pool)
        pooled = pool(tokens)[0]
        projection = self.inner.proj
        if isinstance(projection, Tensor):
            pooled = pooled @ projection
        return pooled, torch.stack(seen, dim=1)

    def _blocks(self) -> list[nn.Module]:
        transformer = cast(nn.Module, self.inner.transformer)
        return list(cast(nn.ModuleList, transformer.resblocks))


def vit_blocks(model: ClipModel, what: str) -> tuple[int, int]:
    """Blocks and width of a model's ViT.

    Raises
    ------
    InputError
        ``unsupported`` if its image encoder is none; ``what`` begins the sentence.
    """
    visual = plain_visual(model)
    transformer: Any = getattr(visual, "transformer", None)
    blocks = getattr(transformer, "resblocks", None)
    plain = getattr(transformer, "batch_first", False) and not visual.output_tokens  # as a CoCa's
    if model.convolutional or blocks is None or not plain:
        kind = "a ResNet" if model.convolutional else "of another kind"
        raise InputError(
            f"{what} a vision transformer, and the image encoder of {model.name or 'this model'} "
            f"is {kind}: choose another method or checkpoint.",
            "unsupported",
        )
    return len(blocks), int(transformer.width)


def plain_visual(model: ClipModel) -> nn.Module:
    """The image encoder without prompts."""
    visual = cast(nn.Module, model.module.visual)
    return visual.inner if isinstance(visual, PromptedVisual) else visual


def add_prompts(model: ClipModel, prompts: Tensor, depth: int) -> PromptedVisual:
    """Put prompts on a model's image encoder in place; earlier ones go."""
    prompted = PromptedVisual(plain_visual(model), prompts.to(model.device), depth)
    prompted.train(model.module.training)
    model.module.visual = prompted
    return prompted
