"""Pairs that a cleaning run has not seen, also those whose captions do not name a class."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.images import open_images
from ml_core.data.labels import LabelSet
from ml_core.data.order import epoch_order, kept_blocks
from ml_core.data.pairs import PairSet, open_pairs
from ml_core.data.picture_set import PictureSet
from ml_core.data.pictures import key_of
from ml_core.data.specs import PairSpec
from ml_core.jobs.proofs import HoldoutSpec, ReboundSpec
from ml_core.reading.clip_config import Fit
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.resize import Canvases

Indices = NDArray[np.int64]
_BLOCK = 4096


class ChosenPairs:
    """Some pairs of a set, by their numbers in it."""

    def __init__(self, pairs: PairSet, chosen: Indices) -> None:
        self._pairs = pairs
        self._chosen = chosen
        self.blocks = kept_blocks(pairs.blocks, chosen)
        self.window = pairs.window
        self.fit = pairs.fit
        self.key = key_of(pairs.key, chosen)
        self.images_key = key_of(pairs.images_key, chosen)
        self._places = {int(number): place for place, number in enumerate(chosen)}

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def broken(self) -> Mapping[int, str]:
        """Undecodable pictures found so far."""
        return {self._places[i]: s for i, s in self._pairs.broken.items() if i in self._places}

    def captions(self, indices: Indices, epoch: int = 0) -> list[str]:
        """A caption of each of some pairs."""
        return self._pairs.captions(self._chosen[indices], epoch)

    def canvas(self, indices: Sequence[int] | Indices, size: int) -> Canvases:
        """Pictures of some pairs."""
        return self._pairs.canvas(self._chosen[np.asarray(indices, np.int64)], size)

    def picture(self, index: int) -> Image.Image:
        """The picture of a pair as it is in its file."""
        return self._pairs.picture(int(self._chosen[index]))

    def fitted(self, fit: Fit) -> ChosenPairs:
        """The same pairs, made square as a checkpoint's preprocessing asks."""
        return ChosenPairs(self._pairs.fitted(fit), self._chosen)


def names_class(class_name: str) -> re.Pattern[str]:
    """Finds a class's name in a caption, as a word, in the singular or with an s."""
    words = r"[\s_\-]+".join(re.escape(word) for word in re.split(r"[\s_\-]+", class_name.strip()))
    return re.compile(rf"(?<!\w){words}(?:s|es)?(?!\w)", re.IGNORECASE)


def open_seen(spec: ReboundSpec | HoldoutSpec, label_set: LabelSet) -> PictureSet | None:
    """What the cleaning trained on; None if that is known to share no picture with the pairs."""
    seen, pairs = spec.seen, spec.pairs
    if seen is None or pairs is None:
        return None
    demo = pairs.kind == seen.kind == "demo"
    if demo and (pairs.split, pairs.seed) != (seen.split, seen.seed):
        return None  # composed from other seeds or splits
    if isinstance(seen, PairSpec):
        return open_pairs(seen)
    return open_images(seen, label_set if spec.seen_labels else None)


def unseen_pairs(
    pairs: PairSet,
    seen: PictureSet | None,
    class_name: str | None,
    most: int,
    cancelled: Callable[[], bool] = lambda: False,
    seed: int = 0,
) -> tuple[ChosenPairs, dict[str, int]]:
    """Choose pairs, a fair sample of the set, until there are enough.

    Parameters
    ----------
    pairs
        Where to choose from.
    seen
        What the cleaning trained on; its pictures are left out.
    class_name
        Captions with this name are left out; None leaves out none.
    most
        Pairs to choose at most.
    cancelled
        Asked for every picture that is read.
    seed
        Seed of the order in which they are chosen: a set may be sorted.

    Returns
    -------
    tuple
        The pairs as they stand, and how many were passed over, by reason: ``seen`` and ``target``.

    Raises
    ------
    CancelledError
        If ``cancelled`` says so.
    """
    known = _digests(seen, cancelled) if seen is not None else frozenset()
    pattern = None if class_name is None else names_class(class_name)
    order = epoch_order(seed, 0, len(pairs), pairs.blocks, pairs.window)
    left_out = {"seen": 0, "target": 0}
    chosen: list[int] = []
    for start in range(0, len(pairs), _BLOCK):
        block = order[start : start + _BLOCK]
        texts_of = pairs.pictures.texts(block) if pattern is not None else [()] * len(block)
        for number, texts in zip(block.tolist(), texts_of, strict=True):
            if cancelled():
                raise CancelledError
            if pattern is not None and any(pattern.search(text) for text in texts):
                left_out["target"] += 1
            elif known and _digest(pairs, number) in known:
                left_out["seen"] += 1
            else:
                chosen.append(number)
            if len(chosen) == most:
                return _chosen(pairs, chosen), left_out
    return _chosen(pairs, chosen), left_out


def _chosen(pairs: PairSet, numbers: list[int]) -> ChosenPairs:
    """The pairs of some numbers, as they stand in the set."""
    return ChosenPairs(pairs, np.sort(np.array(numbers, np.int64)))


def _digests(pairs: PictureSet, cancelled: Callable[[], bool]) -> frozenset[bytes]:
    """SHA-256 of the pictures of a set."""
    digests = set()
    for number in range(len(pairs)):
        if cancelled():
            raise CancelledError
        digests.add(_digest(pairs, number))
    return frozenset(digests - {b""})


def _digest(pairs: PictureSet, number: int) -> bytes:
    """SHA-256 of a picture's bytes; empty if it cannot be read."""
    try:
        return hashlib.sha256(pairs.pictures.raw(number)).digest()
    except InputError:
        return b""
