"""Pairs that a cleaning run has not seen and whose captions do not name the target class."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ml_core.data.order import kept_blocks
from ml_core.data.pairs import PairSet
from ml_core.reading.errors import InputError
from ml_core.reading.square import Canvases

Indices = NDArray[np.int64]
_BLOCK = 4096


class ChosenPairs:
    """Some pairs of a set, by their numbers in it."""

    def __init__(self, pairs: PairSet, chosen: Indices) -> None:
        self._pairs = pairs
        self._chosen = chosen
        self.blocks = kept_blocks(pairs.blocks, chosen)
        self.window = pairs.window
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

    def canvas(self, indices: Indices, size: int) -> Canvases:
        """Pictures of some pairs."""
        return self._pairs.canvas(self._chosen[indices], size)


def names_class(class_name: str) -> re.Pattern[str]:
    """Finds a class's name in a caption, as a word, in the singular or with an s."""
    words = r"[\s_\-]+".join(re.escape(word) for word in re.split(r"[\s_\-]+", class_name.strip()))
    return re.compile(rf"(?<!\w){words}(?:s|es)?(?!\w)", re.IGNORECASE)


def unseen_pairs(
    pairs: PairSet,
    seen: PairSet | None,
    class_name: str,
    wanted: int,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[ChosenPairs, dict[str, int]]:
    """Choose pairs in their order until there are enough.

    Parameters
    ----------
    pairs
        Where to choose from.
    seen
        What the cleaning trained on; its pictures are left out.
    class_name
        Captions with this name are left out.
    wanted
        Pairs to choose at most.
    cancelled
        Asked for every picture that is read.

    Returns
    -------
    tuple
        The pairs, and how many were passed over, by reason: ``seen`` and ``target``.

    Raises
    ------
    InputError
        If none is left.
    InterruptedError
        If ``cancelled`` says so.
    """
    known = _digests(seen, cancelled) if seen is not None else frozenset()
    pattern = names_class(class_name)
    left_out = {"seen": 0, "target": 0}
    chosen: list[int] = []
    for start in range(0, len(pairs), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(pairs)), dtype=np.int64)
        for number, texts in zip(block.tolist(), pairs.pictures.texts(block), strict=True):
            if any(pattern.search(text) for text in texts):
                left_out["target"] += 1
            elif known and _digest(pairs, number) in known:
                left_out["seen"] += 1
            else:
                chosen.append(number)
            if len(chosen) == wanted:
                return ChosenPairs(pairs, np.array(chosen, np.int64)), left_out
        if cancelled():
            raise InterruptedError("cancelled")
    if not chosen:
        raise InputError(
            f"No pair is left of {pairs.name}: {left_out['seen']} were seen by the cleaning and "
            f"{left_out['target']} name {class_name!r}. Name other pairs."
        )
    return ChosenPairs(pairs, np.array(chosen, np.int64)), left_out


def _digests(pairs: PairSet, cancelled: Callable[[], bool]) -> frozenset[bytes]:
    """SHA-256 of the pictures of a set."""
    found = set()
    for number in range(len(pairs)):
        if cancelled():
            raise InterruptedError("cancelled")
        found.add(_digest(pairs, number))
    return frozenset(found - {b""})


def _digest(pairs: PairSet, number: int) -> bytes:
    """SHA-256 of a picture's bytes; empty if it cannot be read."""
    try:
        return hashlib.sha256(pairs.pictures.raw(number)).digest()
    except InputError:
        return b""
