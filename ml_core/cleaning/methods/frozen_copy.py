"""Embeddings of the checkpoint as it was before cleaning, computed once an example."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ml_core.cleaning.batches import Batch
from ml_core.cleaning.methods.embed import embed_images, embed_texts
from ml_core.cleaning.methods.method import Features
from ml_core.cleaning.recipes import Recipe
from ml_core.model import ClipModel

CACHE_BYTES = 512 << 20


class Remembered:
    """Rows by what they were made of, at most ``limit`` bytes; the first ones stay.

    An epoch sees each example once, so keeping the newest instead would find nothing.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        self._rows: dict[Hashable, Tensor] = {}
        self._fill = 0
        self.made = 0

    def get(
        self,
        wanted: Sequence[Hashable],
        inputs: Tensor,
        make: Callable[[Tensor], Tensor],
        fill: int = 0,
    ) -> Tensor:
        """Rows [N, D] of a batch or a piece of one.

        If one is not known all are made, and always as many together: the last bits of a row
        depend on that, and must depend neither on what was known nor on the piece that it was in.
        What was made with another number is forgotten.

        Parameters
        ----------
        wanted
            What decides each of the N rows.
        inputs
            What they are made of, [N, ...].
        make
            Gives the rows of inputs.
        fill
            How many are made together, at least N; 0 for N.
        """
        fill = max(fill, len(wanted))
        if fill != self._fill:
            self._rows.clear()
            self._fill = fill
        if all(key in self._rows for key in wanted):
            return torch.stack([self._rows[key] for key in wanted])
        self.made += 1
        fresh = make(_filled(inputs, fill))[: len(wanted)]
        most = self._limit // (fresh[0].numel() * fresh.element_size())
        for key, row in zip(wanted, fresh, strict=True):
            if len(self._rows) >= most:
                break
            if key not in self._rows:
                self._rows[key] = row.clone()
        return fresh


def _filled(inputs: Tensor, count: int) -> Tensor:
    """The rows, padded to a number of them by repeating the last one."""
    missing = count - len(inputs)
    if not missing:
        return inputs
    return torch.cat([inputs, inputs[-1:].expand(missing, *inputs.shape[1:])])


class FrozenCopy:
    """A copy of the checkpoint that is never trained.

    Parameters
    ----------
    model
        Copied; the copy shares nothing with it.
    keep_images, keep_texts
        Whether an example's pictures and captions are the same in every epoch, so that their
        embeddings can be kept.
    """

    def __init__(
        self, model: ClipModel, keep_images: bool = False, keep_texts: bool = False
    ) -> None:
        self.model = model.copy()
        self.model.module.eval().requires_grad_(False)
        self.images_kept = Remembered() if keep_images else None
        self.texts_kept = Remembered() if keep_texts else None

    @torch.no_grad()
    def images(self, batch: Batch) -> Tensor:
        """Unit embeddings [N, D] of a batch's pictures, kept by their numbers."""
        if self.images_kept is None or batch.numbers is None:
            return embed_images(self.model, batch.images)
        return self.images_kept.get(
            batch.numbers.tolist(), batch.images, partial(embed_images, self.model), batch.fill
        )

    @torch.no_grad()
    def texts(self, batch: Batch) -> Tensor:
        """Unit embeddings [N, D] of a batch's tokens, kept by the tokens themselves.

        An image may have several captions, which take turns from epoch to epoch. What is kept is
        made of whole rows of tokens: the batch's own cut, which moves the last bits, must not tell
        a resumed run from an unbroken one.
        """
        tokens = batch.tokens
        assert tokens is not None
        if self.texts_kept is None or batch.numbers is None:
            return embed_texts(self.model, tokens)
        whole = F.pad(tokens, (0, self.model.context_length - tokens.shape[1]))
        keys = [row.tobytes() for row in whole.to("cpu", torch.int32).numpy()]
        return self.texts_kept.get(keys, whole, partial(embed_texts, self.model), batch.fill)

    def both(self, batch: Batch) -> Features:
        """``frozen_images`` and ``frozen_texts`` of a batch of pairs."""
        return {"frozen_images": self.images(batch), "frozen_texts": self.texts(batch)}


def frozen_copy(model: ClipModel, recipe: Recipe) -> FrozenCopy:
    """The copy for a recipe; in one epoch each example comes once and nothing is kept."""
    again = recipe.epochs > 1
    augmented = recipe.method == "par" and recipe.image_augmentation != "none"
    return FrozenCopy(model, again and not augmented, again)
