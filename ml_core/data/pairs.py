"""Image-caption pairs to clean with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_core.data.canvas import Canvases
from ml_core.data.pictures import (
    DEMO_SIZES,
    DemoPictures,
    FilePictures,
    Pictures,
    key_of,
    summary,
)
from ml_core.data.sampling import stratified_sample
from ml_core.data.specs import PairSpec
from ml_core.data.table_files import read_files, require_column, table_path
from ml_core.reading.errors import InputError
from ml_core.reading.tables import read_columns


@dataclass(frozen=True, eq=False)
class PairSet:
    """Pictures with captions, drawn on demand.

    As in `ImageSet`, a damaged picture is drawn black and noted in `broken` (index -> sentence)
    when it is decoded: leave these pairs out of the batch.

    Attributes
    ----------
    name
        For the screen.
    key
        SHA-256 over pictures, order and captions.
    images_key
        SHA-256 over pictures and order alone: names the cached canvases.
    notes
        What was left out when the set was opened.
    left_out
        How many rows were left out then.
    """

    name: str
    key: str
    images_key: str
    notes: tuple[str, ...]
    left_out: int
    pictures: Pictures
    texts: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def broken(self) -> Mapping[int, str]:
        """Pictures found undecodable so far, index -> sentence."""
        return self.pictures.broken

    @property
    def problems(self) -> tuple[str, ...]:
        """What was left out, with row numbers; grows as broken pictures are found."""
        broken = list(self.broken.values())
        found = (summary("pictures are damaged and not used", broken),) if broken else ()
        return self.notes + found

    def captions(self, indices: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """Captions of the given pairs, int [n] in 0..N-1."""
        numbers = np.asarray(indices, np.int64).reshape(-1)
        if self.texts is not None:
            return [self.texts[i] for i in numbers.tolist()]
        assert isinstance(self.pictures, DemoPictures)
        return self.pictures.captions(numbers)

    def canvas(self, indices: Sequence[int] | NDArray[np.int64], size: int) -> Canvases:
        """Draw centre-cropped pictures, uint8 [n, size, size, 3]; black where one is broken."""
        return self.pictures.draw(np.asarray(indices, np.int64).reshape(-1), size)


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
        images_key = composed.key()
        title = f"Demo, {spec.split} split"
        return PairSet(title, key_of(images_key, "captions"), images_key, (), 0, composed, None)
    path = table_path(spec.path or "")
    columns = read_columns(path)
    image_column = require_column(path, columns, spec.image_column, "image")
    caption_column = require_column(path, columns, spec.caption_column, "caption")
    files = read_files(path, image_column, caption_column)
    if not files.paths:
        raise InputError(
            f"No picture of {path.name} can be used; its paths are taken from its own folder.",
            "usage",
            details="\n".join(files.problems),
        )
    unlabelled = np.full(len(files.paths), -1, np.int64)
    chosen = stratified_sample(unlabelled, spec.n, spec.seed).tolist()
    pictures = FilePictures([files.paths[i] for i in chosen], [files.names[i] for i in chosen])
    captions = tuple(files.texts[i] for i in chosen)
    try:
        images_key = pictures.key()
    except OSError as error:
        raise InputError(
            f"A picture of {path.name} vanished or cannot be read; open it again.",
            "usage",
            details=str(error),
        ) from error
    key = key_of(images_key, captions)
    return PairSet(path.name, key, images_key, files.problems, files.left_out, pictures, captions)
