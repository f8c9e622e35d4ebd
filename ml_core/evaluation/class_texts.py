"""The texts of a zero-shot classifier, a batch at a time: ImageNet has 80 000 of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ml_core.data.labels import fill
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.model import ClipModel

TEXT_BATCH = 256
CPU_TEXT_BATCH = 32
"""Texts at a time on the CPU, where more are no faster and only make others wait."""


class ClassTexts:
    """A zero-shot classifier in the making (CLIP, Radford et al. 2021, section 3.1.4).

    Each prompt's embedding is normalised, averaged over the templates, normalised again; the mean
    of unnormalised ones gives other answers. Short texts come first, so that a batch holds texts
    of a like length and little padding.

    Parameters
    ----------
    model
        Gives unit text embeddings.
    class_names
        C names.
    templates
        T prompts, each with one ``{}`` for the name.

    Raises
    ------
    InputError
        Without classes or templates, or for a template without ``{}``.
    """

    def __init__(
        self, model: ClipModel, class_names: Sequence[str], templates: Sequence[str]
    ) -> None:
        if not class_names or not templates:
            raise InputError("A zero-shot classifier needs class names and prompt templates.")
        for number, template in enumerate(templates, start=1):
            if "{}" not in template:
                raise InputError(
                    f"Prompt template {number} ({template!r}) has no {{}} for the class name; "
                    "add it."
                )
        self._names, self._templates = tuple(class_names), tuple(templates)
        self._order = self._short_first(model)
        self._size = CPU_TEXT_BATCH if model.device.type == "cpu" else TEXT_BATCH
        self._sums: Tensor | None = None  # [C, D], on the CPU: a GPU adds in any order
        self.done = 0

    @property
    def total(self) -> int:
        """Texts, C * T."""
        return len(self._order)

    def embed_next(self, model: ClipModel) -> None:
        """Embed one more batch; ``model`` is kept by nobody, it may have been closed since."""
        classes, found = self._embed(model, self.done)
        if self._sums is None:
            self._sums = torch.zeros(len(self._names), found.shape[1])
        self._sums.index_add_(0, classes, found)
        self.done += len(found)

    def embed_sample(self, model: ClipModel, place: float) -> int:
        """Embed a batch for the time it takes, and forget it.

        Parameters
        ----------
        model
            As for `embed_next`.
        place
            0 for the shortest texts, 1 for the longest.

        Returns
        -------
        int
            Texts in the batch.
        """
        start = round(place * max(0, self.total - self._size))
        return len(self._embed(model, start)[1])

    def _embed(self, model: ClipModel, start: int) -> tuple[Tensor, Tensor]:
        """Classes [n] and unit embeddings float32 [n, D] of a batch, on the CPU."""
        numbers = self._order[start : start + self._size]
        classes = numbers // len(self._templates)
        texts = [
            fill(self._templates[number % len(self._templates)], self._names[of])
            for number, of in zip(numbers.tolist(), classes.tolist(), strict=True)
        ]
        return classes, functional.normalize(model.encode_texts(texts).float(), dim=-1).cpu()

    def classifier(self, model: ClipModel) -> Tensor:
        """float32 [C, D] on the model's device, rows of unit length; all texts must be done.

        Raises
        ------
        InputError
            If the model's text embeddings are not numbers, or all the same.
        """
        assert self._sums is not None
        assert self.done == self.total
        rows = functional.normalize(self._sums / len(self._templates), dim=-1)
        if not bool(torch.isfinite(rows).all()):
            raise InputError(
                "The model's text embeddings are not numbers (NaN or infinite); "
                "its text tower is damaged.",
                "damaged",
            )
        if len(set(self._names)) > 1 and bool((rows == rows[0]).all()):
            raise InputError(
                "All classes have the same text embedding: shorten the prompt templates, which may "
                f"reach beyond the model's {model.context_length} tokens before they name "
                "the class."
            )
        return rows.to(model.device)

    def _short_first(self, model: ClipModel) -> Tensor:
        """Numbers of all texts (class times T plus template) by their length, int64 [C * T].

        The length of a text is that of its template and that of its name, but for a token where
        they touch: what is cut from a batch is decided by its tokens.
        """
        names = torch.tensor(model.text_lengths(self._names))
        templates = torch.tensor(model.text_lengths([fill(t, "") for t in self._templates]))
        return (names[:, None] + templates).flatten().argsort(stable=True)
