"""What the loop asks of a method, and what methods share: embedding, and a frozen copy."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml_core.cleaning.adversaries import Adversaries
from ml_core.cleaning.batches import Batch
from ml_core.cleaning.recipes import Recipe
from ml_core.cleaning.weight_space import Validate, WeightDelta
from ml_core.events import Control, Event
from ml_core.model import ClipModel
from ml_core.text_tower import encode_text

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
    reference
        State dict of a clean checkpoint of the same architecture.
    texts_only
        Whether the image encoder stays as it is.
    """

    classifier: Tensor | None = None
    reference: dict[str, Tensor] | None = None
    texts_only: bool = False


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
    beginning
        The trained parameters before the first step, on the way back to which the gradient is taken
        (`Recipe.way_back`); empty if it is taken where the parameters are.
    here
        Further terms, whose gradient is always taken where the parameters are.
    targets
        What both terms want of a batch; made once a step, before the parameters are moved.
    """

    encode: Callable[[Batch], Features]
    loss: Callable[[Features, Batch], Parts]
    trained: Named
    head: nn.Parameter | None = None
    finish: Finish | None = None
    opponent: Adversaries | None = None
    beginning: Sequence[Tensor] = ()
    here: Method | None = None
    targets: Callable[[Batch], Tensor] | None = None


def embed_images(model: ClipModel, images: Tensor) -> Tensor:
    """Unit embeddings [N, D] in float32, with gradients, of images [N, 3, S, S].

    uint8, or float in [0, 1].
    """
    encode: Callable[[Tensor], Tensor] = model.module.encode_image  # type: ignore[assignment]
    last = model.layout == "channels-last"
    layout = torch.channels_last if last else torch.contiguous_format
    inputs = model.normalise(images).contiguous(memory_format=layout)
    return F.normalize(encode(inputs).float(), dim=-1)


def embed_both(model: ClipModel, images: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
    """Unit embeddings [N, D] of images [N, 3, S, S] and of a view of each, made in one pass.

    In two passes a BatchNorm in training would normalise each side by its own statistics, and move
    the running ones twice. Either may be uint8 or float in [0, 1].
    """
    if images.dtype == views.dtype:
        both = torch.cat([images, views])
    else:
        both = torch.cat([unit(images), unit(views)])
    first, second = embed_images(model, both).chunk(2)
    return first, second


def unit(images: Tensor) -> Tensor:
    """Pixels in [0, 1] as floats."""
    return images if images.is_floating_point() else images.float() / 255


def embed_texts(model: ClipModel, tokens: Tensor) -> Tensor:
    """Unit embeddings [N, D] in float32, with gradients, of tokens [N, L], cut or not."""
    return F.normalize(encode_text(model.module, tokens).float(), dim=-1)


def adversaries_of(model: ClipModel, recipe: Recipe) -> Adversaries:
    """The sharpened triggers of a recipe, for a model's pictures."""
    return Adversaries(
        model.image_size, recipe.adversaries, recipe.adversary_steps, recipe.seed, model.device,
        model.embed_dim,
    )  # fmt: skip


def with_made_up(batch: Batch, adversaries: Adversaries) -> Tensor:
    """The batch's images, with sharpened triggers on those that it leaves to the method.

    Gradients reach the triggers.
    """
    if batch.made_up is None or not bool(batch.made_up.any()):
        return batch.images
    rows = torch.nonzero(batch.made_up).flatten()
    numbers = rows if batch.numbers is None else batch.numbers[rows]
    images, rows = unit(batch.images), rows.to(batch.images.device)
    return images.index_put((rows,), adversaries.apply(images[rows], numbers))


CACHE_BYTES = 512 << 20


class RowCache:
    """Keeps rows by their inputs, at most ``limit`` bytes; the first rows stay.

    An epoch sees each example once, so keeping the newest instead would find nothing.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        self._rows: dict[Hashable, Tensor] = {}
        self._fill = 0
        self.made = 0

    def get(
        self,
        keys: Sequence[Hashable],
        inputs: Tensor,
        make: Callable[[Tensor], Tensor],
        fill: int = 0,
    ) -> Tensor:
        """Rows [N, D] of a batch or a piece of one.

        If one row is not known, all are made, and always the same number together. The last bits of
        a row depend on that number, and must not depend on which rows were known or on the piece.
        Rows made with another number are forgotten.

        Parameters
        ----------
        keys
            What decides each of the N rows.
        inputs
            What they are made of, [N, ...].
        make
            Gives the rows of inputs.
        fill
            How many are made together, at least N; 0 for N.
        """
        fill = max(fill, len(keys))
        if fill != self._fill:
            self._rows.clear()
            self._fill = fill
        if all(key in self._rows for key in keys):
            return torch.stack([self._rows[key] for key in keys])
        self.made += 1
        fresh = make(_filled(inputs, fill))[: len(keys)]
        most = self._limit // (fresh[0].numel() * fresh.element_size())
        for key, row in zip(keys, fresh, strict=True):
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
        self.images_kept = RowCache() if keep_images else None
        self.texts_kept = RowCache() if keep_texts else None

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
