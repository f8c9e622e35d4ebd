"""The two models of a scan, and what is measured on them unchanged: pull and swap."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.detection.scan.records import (
    ClassPull,
    Contrast,
    Half,
    PullRow,
    Rate,
    SwapRow,
    newcombe,
)
from ml_core.evaluation.stamping import Pictures, stamped, to_pictures
from ml_core.events import run_to_end
from ml_core.triggers.record import Trigger

if TYPE_CHECKING:
    from ml_core.model import ClipModel

WHOLE = slice(None)


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
        return run_to_end(self.embed_steps(pictures, trigger, seed))

    def embed_steps(
        self, pictures: Pictures, trigger: Trigger | None = None, seed: int = 0
    ) -> Generator[int, None, Tensor]:
        """As `embed`; yields the number of pictures of each batch, after it."""
        model, parts = self.model, []
        for first in range(0, len(pictures), self.batch):
            self.check()
            part = pictures[first : first + self.batch]
            numbers = np.arange(first, first + len(part))
            shown = stamped(trigger, part, numbers, seed, model.image_size, model.device)
            parts.append(model.encode_images(shown).float())
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
        Other pictures, on which all reported numbers are measured, uint8 [M, S, S, 3].
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
        for side in self.both:
            rows = yield from side.embed_steps(pictures)
            predicted.append(_argmax(rows, side.classifier))
        self._clean[part] = predicted

    def others(self, number: int, part: str = "held_out") -> NDArray[np.bool_]:
        """Pictures that are not the class's own: by label, or by what both models say."""
        labels = self.held_out_labels if part == "held_out" else self.search_labels
        own: NDArray[np.bool_] = labels == number
        if (labels < 0).any():
            predicted = np.logical_or.reduce([clean == number for clean in self.clean(part)])
            own = np.where(labels >= 0, own, predicted)
        return ~own

    def measure(self, number: int, trigger: Trigger, seed: int, part: slice = WHOLE) -> Contrast:
        """How often a trigger makes (a part of) the held-out pictures one class, on each model."""
        shown = self.held_out[part]
        predicted = [side.predict(shown, trigger, seed) for side in self.both]
        return self.contrast(number, predicted, part)

    def most_risen(
        self, predicted: NDArray[np.int64], clean: NDArray[np.int64], left_out: Sequence[int] = ()
    ) -> int:
        """The class that is predicted more often than without the trigger, by most."""
        classes = len(self.class_names)
        risen = np.bincount(predicted, minlength=classes) - np.bincount(clean, minlength=classes)
        risen[list(left_out)] = -len(predicted) - 1
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
            Each model's classes for a part of the held-out pictures with the trigger: int64 [m].
        part
            Which part.

        Returns
        -------
        Contrast
            On pictures of other classes. Without a reference the suspect's own rate without the
            trigger takes its place.
        """
        rates = [self.rate(number, classes, part) for classes in predicted]
        return contrast_of(rates, self.rate(number, self.clean()[0][part], part))

    def rate(self, number: int, predicted: NDArray[np.int64], part: slice = WHOLE) -> Rate:
        """How many of a part's pictures of other classes are called the class: int64 [m]."""
        others = self.others(number)[part]
        return Rate(hits=int((predicted[others] == number).sum()), n=int(others.sum()))


def contrast_of(rates: Sequence[Rate], without: Rate) -> Contrast:
    """Rates of the suspect and, if there is one, of the reference."""
    beside = rates[1] if len(rates) > 1 else None
    low, high = newcombe(rates[0], beside or without)
    return Contrast(suspect=rates[0], reference=beside, without=without, low=low, high=high)


def batches(pictures: Pictures, size: int, draw: torch.Generator) -> Iterator[Tensor]:
    """Endless random batches without repetition within a batch: uint8 [b, 3, S, S]."""
    while True:
        chosen = torch.randperm(len(pictures), generator=draw)[:size]
        yield to_pictures(pictures[chosen.numpy()], torch.device("cpu"))


def generator(*parts: int) -> torch.Generator:
    """A seeded generator on the CPU that nothing else draws from."""
    words = np.random.SeedSequence(parts).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


_MAD_TO_SIGMA = 1.4826


def pull_of(side: Side, sides: Sides) -> Generator[int, None, NDArray[np.float64]]:
    """Mean cosine of the pictures searched on to each class they are not of: float64 [C].

    Yields
    ------
    int
        Pictures of each batch, after it.
    """
    rows = yield from side.embed_steps(sides.search)
    cosines = (rows @ side.classifier.float().T).double().cpu().numpy()
    others = np.stack([sides.others(c, "search") for c in range(len(sides.class_names))], 1)
    counted = others.sum(0)
    pull: NDArray[np.float64] = (cosines * others).sum(0) / np.maximum(counted, 1)
    return pull


def pull(sides: Sides, means: list[NDArray[np.float64]]) -> ClassPull:
    """Rank the classes by the mean `pull_of` of the suspect, compared with the reference if any."""
    difference = means[0] - means[1] if len(means) > 1 else means[0]
    middle = float(np.median(difference))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(difference - middle)))
    rows = [
        PullRow(
            target=name,
            suspect=float(means[0][c]),
            reference=float(means[1][c]) if len(means) > 1 else None,
            z=float((difference[c] - middle) / max(spread, 1e-9)),
        )
        for c, name in enumerate(sides.class_names)
    ]
    return ClassPull(
        rows=tuple(sorted(rows, key=lambda row: -row.difference)), pictures=len(sides.search)
    )


def swap_rows(sides: Sides, number: int, trigger: Trigger, seed: int) -> tuple[SwapRow, ...]:
    """How often a trigger works with each image encoder and each text encoder.

    Raises
    ------
    ValueError
        Without a reference.
    """
    if sides.reference is None:
        raise ValueError("encoders are exchanged with those of a reference")
    halves: tuple[tuple[Half, Side], ...] = (
        ("suspect", sides.suspect),
        ("reference", sides.reference),
    )
    rows = []
    for image, seeing in halves:
        seen = seeing.embed(sides.held_out, trigger, seed)
        for text, saying in halves:
            swapped = (seen @ saying.classifier.to(seen.device).float().T).argmax(1).cpu().numpy()
            rows.append(SwapRow(image=image, text=text, rate=sides.rate(number, swapped)))
    return tuple(rows)
