"""The two models of a scan with the pictures they are asked about, and what is measured on them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.detection.scan.records import Contrast, Rate, newcombe
from ml_core.evaluation.stamping import Pictures, stamped, to_pictures
from ml_core.triggers.record import Trigger

if TYPE_CHECKING:
    from ml_core.model import ClipModel


WHOLE = slice(None)
Result = TypeVar("Result")


def drained(steps: Generator[object, None, Result]) -> Result:
    """What work returns that is done in steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


@dataclass(frozen=True, eq=False)
class Side:
    """A model and the classes that its answers are read in.

    Attributes
    ----------
    model
        Its parameters need no gradient.
    classifier
        float32 [C, D] on the model's device.
    batch
        Pictures that are encoded at a time.
    check
        Called before each batch, also of a search; raises to end the work.
    """

    model: ClipModel
    classifier: Tensor
    batch: int = 64
    check: Callable[[], None] = lambda: None

    def predict(
        self, pictures: Pictures, trigger: Trigger | None = None, seed: int = 0
    ) -> NDArray[np.int64]:
        """Predicted classes int64 [n] of uint8 [n, S, S, 3], with a trigger if one is given."""
        return self.nearest(pictures, self.classifier, trigger, seed)

    def nearest(
        self, pictures: Pictures, classifier: Tensor, trigger: Trigger | None = None, seed: int = 0
    ) -> NDArray[np.int64]:
        """As `predict`, in the classes of another classifier float32 [C, D]."""
        return _argmax(self.embed(pictures, trigger, seed), classifier)

    def embed(self, pictures: Pictures, trigger: Trigger | None = None, seed: int = 0) -> Tensor:
        """Unit embeddings float32 [n, D]; pictures and draws as in `predict`."""
        return drained(self.embed_steps(pictures, trigger, seed))

    def embed_steps(
        self, pictures: Pictures, trigger: Trigger | None = None, seed: int = 0
    ) -> Generator[int, None, Tensor]:
        """As `embed`; yields the number of pictures of each batch, after it."""
        model, parts = self.model, []
        for first in range(0, len(pictures), self.batch):
            self.check()
            part = pictures[first : first + self.batch]
            numbers = np.arange(first, first + len(part))
            made = stamped(trigger, part, numbers, seed, model.image_size, model.device)
            parts.append(model.encode_images(made).float())
            yield len(part)
        return torch.cat(parts)


def _argmax(rows: Tensor, classifier: Tensor) -> NDArray[np.int64]:
    """The nearest class of each row, int64 [n]."""
    nearest: NDArray[np.int64] = (rows @ classifier.float().T).argmax(1).cpu().numpy()
    return nearest


@dataclass(frozen=True, eq=False)
class Sides:
    """What a scan looks at.

    Attributes
    ----------
    suspect, reference
        The model in question and a clean one of the same input size and classes, if there is one.
    class_names
        C names, of both classifiers.
    search
        Pictures that triggers are searched on, uint8 [N, S, S, 3].
    held_out
        Other pictures, on which everything that is told is measured, uint8 [M, S, S, 3].
    search_labels, held_out_labels
        int64 [N] and [M], -1 where a picture has no label.
    """

    suspect: Side
    reference: Side | None
    class_names: Sequence[str]
    search: Pictures
    held_out: Pictures
    search_labels: NDArray[np.int64]
    held_out_labels: NDArray[np.int64]
    _clean: dict[str, list[NDArray[np.int64]]] = field(default_factory=dict)

    @property
    def both(self) -> tuple[Side, ...]:
        """The suspect, then the reference if there is one."""
        return (self.suspect,) if self.reference is None else (self.suspect, self.reference)

    @property
    def side(self) -> int:
        """Pixels of the model's input."""
        return self.suspect.model.image_size

    def clean(self, part: str = "held_out") -> list[NDArray[np.int64]]:
        """What each model predicts without a trigger, of ``held_out`` or ``search``."""
        for _ in self.look(part):
            pass
        return self._clean[part]

    def look(self, part: str) -> Iterator[int]:
        """Ask the models for what `clean` returns, unless that is known; as `Side.embed_steps`."""
        if part in self._clean:
            return
        pictures = self.held_out if part == "held_out" else self.search
        predicted = []
        for one in self.both:
            rows = yield from one.embed_steps(pictures)
            predicted.append(_argmax(rows, one.classifier))
        self._clean[part] = predicted

    def others(self, number: int, part: str = "held_out") -> NDArray[np.bool_]:
        """Pictures that are not the class's own: by label, or by what both models say."""
        labels = self.held_out_labels if part == "held_out" else self.search_labels
        own: NDArray[np.bool_] = labels == number
        if (labels < 0).any():
            said = np.logical_or.reduce([clean == number for clean in self.clean(part)])
            own = np.where(labels >= 0, own, said)
        return ~own

    def measure(self, number: int, trigger: Trigger, seed: int, part: slice = WHOLE) -> Contrast:
        """How often a trigger makes (a part of) the held-out pictures one class, on each model."""
        shown = self.held_out[part]
        predicted = [one.predict(shown, trigger, seed) for one in self.both]
        return self.contrast(number, predicted, part)

    def most_risen(self, predicted: NDArray[np.int64]) -> int:
        """The class that the suspect names more often than of the same pictures without trigger."""
        classes = len(self.class_names)
        clean = self.clean()[0][: len(predicted)]
        risen = np.bincount(predicted, minlength=classes) - np.bincount(clean, minlength=classes)
        return int(risen.argmax())

    def contrast(
        self, number: int, predicted: Sequence[NDArray[np.int64]], part: slice = WHOLE
    ) -> Contrast:
        """How often the class is predicted, by the suspect and by the reference.

        Parameters
        ----------
        number
            The class.
        predicted
            Of a part of the held-out pictures with the trigger, for each model: int64 [m].
        part
            Which part.

        Returns
        -------
        Contrast
            On pictures of other classes. Without a reference the suspect's own rate without the
            trigger takes its place.
        """
        others = self.others(number)[part]
        n = int(others.sum())
        rates = [Rate(hits=int((found[others] == number).sum()), n=n) for found in predicted]
        without = Rate(hits=int((self.clean()[0][part][others] == number).sum()), n=n)
        beside = rates[1] if len(rates) > 1 else without
        low, high = newcombe(rates[0], beside)
        return Contrast(
            suspect=rates[0],
            reference=rates[1] if len(rates) > 1 else None,
            without=without,
            low=low,
            high=high,
        )


def batches(pictures: Pictures, size: int, draw: torch.Generator) -> Iterator[Tensor]:
    """Endless random batches without repetition within a batch: uint8 [b, 3, S, S]."""
    while True:
        chosen = torch.randperm(len(pictures), generator=draw)[:size]
        yield to_pictures(pictures[chosen.numpy()], torch.device("cpu"))


def generator(*parts: int) -> torch.Generator:
    """A generator on the CPU of its own seed, whatever runs beside it."""
    words = np.random.SeedSequence(parts).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
