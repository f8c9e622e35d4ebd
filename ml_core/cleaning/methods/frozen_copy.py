"""Embeddings of the checkpoint as it was before cleaning, computed once an example."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

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
        self.made = 0

    def get(self, wanted: Sequence[Hashable], make: Callable[[], Tensor]) -> Tensor:
        """Rows [N, D] of a batch.

        If one is not known the whole batch is made: the last bits of a row depend on how many
        are made together, and must not depend on what was known.

        Parameters
        ----------
        wanted
            What decides each of the N rows.
        make
            Gives all N rows.
        """
        if all(key in self._rows for key in wanted):
            return torch.stack([self._rows[key] for key in wanted])
        self.made += 1
        fresh = make()
        most = self._limit // (fresh[0].numel() * fresh.element_size())
        for key, row in zip(wanted, fresh, strict=True):
            if len(self._rows) >= most:
                break
            if key not in self._rows:
                self._rows[key] = row.clone()
        return fresh


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
    def images(self, images: Tensor, numbers: Tensor | None) -> Tensor:
        """Unit embeddings [N, D] of uint8 images [N, 3, S, S], kept by their numbers."""
        if self.images_kept is None or numbers is None:
            return embed_images(self.model, images)
        return self.images_kept.get(
            numbers.tolist(),
            lambda: embed_images(self.model, images),
        )

    @torch.no_grad()
    def texts(self, tokens: Tensor, keep: bool = True) -> Tensor:
        """Unit embeddings [N, D] of tokens [N, L].

        With ``keep`` they are kept by the tokens themselves, since an image may have several
        captions, which take turns from epoch to epoch. What is kept is made of whole rows of
        tokens: the batch's own cut, which moves the last bits, must not tell a resumed run from an
        unbroken one.
        """
        if self.texts_kept is None or not keep:
            return embed_texts(self.model, tokens)
        whole = F.pad(tokens, (0, self.model.context_length - tokens.shape[1]))
        keys = [row.tobytes() for row in whole.to("cpu", torch.int32).numpy()]
        return self.texts_kept.get(keys, lambda: embed_texts(self.model, whole))

    def both(self, batch: Batch) -> Features:
        """``frozen_images`` and ``frozen_texts`` of a batch of pairs."""
        assert batch.tokens is not None
        return {
            "frozen_images": self.images(batch.images, batch.numbers),
            "frozen_texts": self.texts(batch.tokens, keep=batch.numbers is not None),
        }


def frozen_copy(model: ClipModel, recipe: Recipe) -> FrozenCopy:
    """The copy for a recipe; in one epoch each example comes once and nothing is kept."""
    again = recipe.epochs > 1
    augmented = recipe.method == "par" and recipe.image_augmentation != "none"
    return FrozenCopy(model, again and not augmented, again)
