"""Image-caption pairs to clean with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ml_core.data.exclusions import Excluded, excluded, excluded_numbers, read_exclusions
from ml_core.data.order import WINDOW, epoch_order, kept_blocks
from ml_core.data.picture_set import PictureSet, hashed
from ml_core.data.pictures import (
    DEMO_SIZES,
    DemoPictures,
    Pictures,
    ReaderPictures,
    key_of,
    summary,
)
from ml_core.data.readers.coco import open_coco
from ml_core.data.readers.folders import open_folder
from ml_core.data.readers.parquet import open_parquet
from ml_core.data.readers.samples import Samples
from ml_core.data.readers.shards import open_shards
from ml_core.data.readers.tables import open_table
from ml_core.data.specs import PairSpec, stratified_order
from ml_core.data.watch import Watch, unwatched
from ml_core.reading.errors import InputError


def open_source(spec: PairSpec, watch: Watch = unwatched) -> Samples:
    """Open the pairs of a spec, which is not of the demo; errors as the kind's reader."""
    text = spec.path or ""
    path = Path(text)
    match spec.kind:
        case "folder":
            return open_folder(path, watch)
        case "coco":
            return open_coco(path, Path(spec.pictures) if spec.pictures else None, watch)
        case "shards":
            return open_shards(text, watch)
        case "parquet":
            return open_parquet(path, spec.image_column, spec.caption_column, watch)
        case "images" | "texts":
            alone = "pictures" if spec.kind == "images" else "captions"
            raise InputError(
                f"{path.name} holds {alone} alone, which are no longer taken as pairs: choose "
                "image-caption pairs.",
                "unsupported",
            )
        case _:
            return open_table(path, spec.image_column, spec.caption_column, watch)


class PairPictures(Pictures, Protocol):
    """Pictures with captions, by number."""

    def texts(self, indices: NDArray[np.int64], /) -> list[tuple[str, ...]]:
        """All captions of each picture; none, and a note in `broken`, where they are damaged."""

    def texts_key(self) -> str:
        """Hash of the captions where `key` does not cover them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PairSet(PictureSet):
    """Pictures with captions; if a picture has several, each epoch takes the next one.

    A damaged caption can only be found when it is read: `captions` gives an empty text for it and
    notes it in `broken`, as `canvas` does for a picture.

    Attributes
    ----------
    seed
        Seed of the caption that an epoch takes.
    """

    pictures: PairPictures
    seed: int = 0

    def captions(self, indices: Sequence[int] | NDArray[np.int64], epoch: int = 0) -> list[str]:
        """One caption of each of the given pairs.

        Parameters
        ----------
        indices
            int [n], each in 0..N-1.
        epoch
            If a picture has k captions, k epochs take them in turn. Seed and pair decide which
            comes first.
        """
        numbers = np.asarray(indices, np.int64).reshape(-1)
        texts = self.pictures.texts(numbers)
        first = _mixed(numbers, self.seed)
        return [
            own[(start + epoch) % len(own)] if own else ""
            for own, start in zip(texts, first.tolist(), strict=True)
        ]

    def all_captions(self, indices: Sequence[int] | NDArray[np.int64]) -> list[tuple[str, ...]]:
        """All captions of each of the given pairs; none where they are damaged."""
        return self.pictures.texts(np.asarray(indices, np.int64).reshape(-1))

    def excluded(self, index: int, reason: str) -> Excluded:
        """What an exclusions file says of a pair."""
        (texts,) = self.all_captions([index])
        return excluded(self.pictures.raw(index), texts, self.pictures.name(index), reason)


def open_pairs(spec: PairSpec, watch: Watch = unwatched) -> PairSet:
    """Open the pairs a spec names.

    Parameters
    ----------
    spec
        What to open. ``n`` takes a seeded random part; what ``exclude`` lists is left out of it.
    watch
        Called with how far it is; it may end it by raising `CancelledError`.

    Raises
    ------
    InputError
        If the set cannot be read, a table lacks a column (the sentence lists those it has), no
        picture is there, or everything is excluded.
    """
    pictures: PairPictures
    if spec.kind == "demo":
        size = spec.n or DEMO_SIZES[spec.split]
        title = f"Demo, {spec.split} split"
        everything = DemoPictures(spec.split, np.arange(size, dtype=np.int64), spec.seed)
        chosen, notes, left_out = _chosen(spec, everything, title, None, watch)
        pictures = DemoPictures(spec.split, chosen, spec.seed)
        return _pair_set(title, pictures, notes, left_out, spec.seed, watch)
    samples = open_source(spec, watch)
    reader = samples.reader
    together = reader.blocks if reader.whole_blocks else None
    whole = ReaderPictures(reader)
    chosen, notes, left_out = _chosen(spec, whole, samples.name, together, watch)
    notes, left_out = samples.notes + notes, samples.left_out + left_out
    smaller = reader.chosen(chosen)
    if smaller is not None:
        pictures = ReaderPictures(smaller, np.arange(len(chosen), dtype=np.int64))
    else:
        pictures = ReaderPictures(reader, chosen)
    blocks = kept_blocks(reader.blocks, chosen)
    return _pair_set(
        samples.name, pictures, notes, left_out, spec.seed, watch, blocks, reader.window
    )


def _chosen(
    spec: PairSpec, whole: PairPictures, name: str, together: NDArray[np.int64] | None, watch: Watch
) -> tuple[NDArray[np.int64], tuple[str, ...], int]:
    """Ascending numbers of the pairs to use, notes, and how many were excluded.

    As far as possible, the subsample is the same with and without exclusions, so that two such runs
    differ by the excluded pairs alone. ``together`` gives blocks in which one pair costs as much to
    read as all; the subsample then takes whole blocks.
    """
    count = len(whole)
    out: NDArray[np.int64] = np.empty(0, np.int64)
    notes: tuple[str, ...] = ()
    if spec.exclude is not None:
        path = Path(spec.exclude)
        listed = read_exclusions(path)
        out, present = excluded_numbers(whole, listed, watch)
        distinct = len({pair.identity for pair in listed.pairs})
        if len(out):
            names = [whole.name(number) for number in out[:20].tolist()]
            notes += (summary(f"Left out, excluded by {path.name}", names, total=len(out)),)
        if present < distinct:
            notes += (
                f"Of the {distinct} pairs in {path.name} {distinct - present} are not in {name}",
            )
        if len(out) == count:
            raise InputError(
                f"{path.name} excludes all {count} pairs of {name}; choose other pairs.", "usage"
            )
    if spec.kind != "demo" and spec.n is not None and spec.n < count:
        if together is None:
            order = stratified_order(np.full(count, -1, np.int64), spec.seed)
        else:
            order = epoch_order(spec.seed, 0, count, together, window=1)
            notes += (f"The {spec.n} pairs are whole row groups of {name}, drawn at random",)
        numbers = order[~np.isin(order, out)][: spec.n]
        return np.sort(numbers), notes, len(out)
    return np.delete(np.arange(count, dtype=np.int64), out), notes, len(out)


def _pair_set(
    name: str,
    pictures: PairPictures,
    notes: tuple[str, ...],
    left_out: int,
    seed: int,
    watch: Watch,
    blocks: NDArray[np.int64] | None = None,
    window: int = WINDOW,
) -> PairSet:
    """Hash and freeze."""
    images_key, lasting = hashed(pictures, name, watch)
    texts_key = pictures.texts_key()
    return PairSet(
        name=name,
        key=key_of(images_key, texts_key),
        lasting_key=key_of(lasting, texts_key),
        images_key=images_key,
        notes=notes,
        left_out=left_out,
        pictures=pictures,
        seed=seed,
        blocks=blocks,
        window=window,
    )


def _mixed(numbers: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A number below 2**31 for each pair that looks random (SplitMix64's finaliser)."""
    mixed = numbers.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15) & (2**64 - 1))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(33)).astype(np.int64)
