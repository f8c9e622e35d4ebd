"""Image-caption pairs to clean with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_core.data.exclusions import Excluded, excluded
from ml_core.data.picture_set import PictureSet, hashed
from ml_core.data.pictures import DEMO_SIZES, DemoPictures, FilePictures, Pictures, key_of
from ml_core.data.sampling import stratified_sample
from ml_core.data.specs import PairSpec
from ml_core.data.table_files import read_files, require_column, table_path
from ml_core.reading.tables import read_columns


@dataclass(frozen=True, eq=False, kw_only=True)
class PairSet(PictureSet):
    """Pictures with captions; ``texts`` is None for the demo, which composes its captions."""

    texts: tuple[str, ...] | None

    def captions(self, indices: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """Captions of the given pairs, int [n] in 0..N-1."""
        numbers = np.asarray(indices, np.int64).reshape(-1)
        if self.texts is not None:
            return [self.texts[i] for i in numbers.tolist()]
        assert isinstance(self.pictures, DemoPictures)
        return self.pictures.captions(numbers)

    def excluded(self, index: int, reason: str) -> Excluded:
        """What an exclusions file says of a pair."""
        picture, name = self.pictures.raw(index), self.pictures.name(index)
        sized = self.pictures.sizes() is not None
        return excluded(picture, self.captions([index]), name, reason, sized=sized)


def open_pairs(spec: PairSpec) -> PairSet:
    """Open the pairs a spec names.

    Parameters
    ----------
    spec
        What to open. ``n`` takes a seeded random part.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a column (the sentence lists those it has), or names
        no picture that is there.
    """
    if spec.kind == "demo":
        numbers = np.arange(spec.n or DEMO_SIZES[spec.split], dtype=np.int64)
        composed = DemoPictures(spec.split, numbers, spec.seed)
        return _pair_set(f"Demo, {spec.split} split", composed, None)
    path = table_path(spec.path or "")
    columns = read_columns(path)
    image_column = require_column(path, columns, spec.image_column, "image")
    caption_column = require_column(path, columns, spec.caption_column, "caption")
    files = read_files(path, image_column, caption_column)
    unlabelled = np.full(len(files.paths), -1, np.int64)
    chosen = stratified_sample(unlabelled, spec.n, spec.seed).tolist()
    pictures = FilePictures([files.paths[i] for i in chosen], [files.names[i] for i in chosen])
    captions = tuple(files.texts[i] for i in chosen)
    return _pair_set(path.name, pictures, captions, files.problems, files.left_out)


def _pair_set(
    name: str,
    pictures: Pictures,
    texts: tuple[str, ...] | None,
    notes: tuple[str, ...] = (),
    left_out: int = 0,
) -> PairSet:
    """Hash and freeze."""
    images_key = hashed(pictures, name)
    return PairSet(
        name=name,
        key=key_of(images_key, "captions" if texts is None else texts),
        images_key=images_key,
        notes=notes,
        left_out=left_out,
        pictures=pictures,
        texts=texts,
    )
