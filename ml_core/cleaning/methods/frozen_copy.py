"""Embeddings of the checkpoint as it was before cleaning, computed once an example."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ml_core.cleaning.batches import Batch
from ml_core.cleaning.methods.embed import embed_images, embed_texts
from ml_core.cleaning.methods.method import Features
from ml_core.cleaning.recipes import Recipe
from ml_core.model import ClipModel

CACHE_BYTES = 256 << 20


class Remembered:
    """Rows by example number, at most ``limit`` bytes; the first ones stay.

    An epoch sees each example once, so keeping the newest instead would find nothing.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        self._rows: dict[int, Tensor] = {}
        self.computed = 0

    def get(self, numbers: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
        """Rows [N, D] of the examples; ``make`` computes those of some places in the batch.

        Parameters
        ----------
        numbers
            int64 [N], which example each row belongs to.
        make
            Places, int64 [M], to rows [M, D].
        """
        wanted = numbers.tolist()
        missing = [place for place, number in enumerate(wanted) if number not in self._rows]
        if not missing:
            return torch.stack([self._rows[number] for number in wanted])
        self.computed += len(missing)
        fresh = make(torch.tensor(missing))
        row_bytes = fresh[0].numel() * fresh.element_size()
        room = self._limit // row_bytes - len(self._rows)
        made = dict(zip(missing, fresh, strict=True))
        found = [made[place] if place in made else self._rows[n] for place, n in enumerate(wanted)]
        for place in missing[: max(0, room)]:
            self._rows[wanted[place]] = made[place].clone()
        return torch.stack(found)


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
        """Unit embeddings [N, D] of uint8 images [N, 3, S, S]."""
        return _rows(self.images_kept, numbers, images, lambda part: embed_images(self.model, part))

    @torch.no_grad()
    def texts(self, tokens: Tensor, numbers: Tensor | None) -> Tensor:
        """Unit embeddings [N, D] of tokens [N, L].

        What is kept is made of whole rows of tokens: the batch's own cut, which moves the last
        bits, must not tell a resumed run from an unbroken one.
        """
        if self.texts_kept is not None:
            tokens = F.pad(tokens, (0, self.model.context_length - tokens.shape[1]))
        return _rows(self.texts_kept, numbers, tokens, lambda part: embed_texts(self.model, part))

    def both(self, batch: Batch) -> Features:
        """``frozen_images`` and ``frozen_texts`` of a batch of pairs."""
        assert batch.tokens is not None
        return {
            "frozen_images": self.images(batch.images, batch.numbers),
            "frozen_texts": self.texts(batch.tokens, batch.numbers),
        }


def frozen_copy(model: ClipModel, recipe: Recipe) -> FrozenCopy:
    """The copy for a recipe; in one epoch each example comes once and nothing is kept."""
    again = recipe.epochs > 1
    augmented = recipe.method == "par" and recipe.image_augmentation != "none"
    return FrozenCopy(model, again and not augmented, again)


def _rows(
    kept: Remembered | None,
    numbers: Tensor | None,
    inputs: Tensor,
    embed: Callable[[Tensor], Tensor],
) -> Tensor:
    """Embed what is not known."""
    if kept is None or numbers is None:
        return embed(inputs)
    return kept.get(numbers, lambda places: embed(inputs[places.to(inputs.device)]))
