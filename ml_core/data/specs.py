"""Which images and which image-caption pairs a run uses, as records that live in JSON.

The records are torch-free, so that the window's session can name them before torch is loaded.
"""

from __future__ import annotations

import os
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from ml_core.options import passes_over
from ml_core.records import Record

PairKind = Literal["demo", "csv", "folder", "coco", "shards", "parquet", "images", "texts"]
Part = Literal["all", "validation", "test"]


_PLACES = ("path", "pictures", "exclude")
_LONGEST_PATH, _LONGEST_PART = 4096, 255


def _path(text: str) -> str:
    """A text that can be used as a path; for others every call to the system would raise."""
    if "\0" in text:
        raise ValueError("it holds a NUL character, which no path has")
    parts = os.fsencode(text).replace(b"\\", b"/").split(b"/")
    if len(text) > _LONGEST_PATH or max(map(len, parts)) > _LONGEST_PART:
        raise ValueError("it is too long for a path")
    return text


PathText = Annotated[str, AfterValidator(_path)]
"""A path as text."""
PATH_FIELDS = frozenset({
    "adapter", "adapter_path", "after", "before", "checkpoint", "checkpoints", "donor",
    "donor_path", "embeddings", "exclude", "label_set", "measurements", "other_labels", "out",
    "output_dir", "path", "pictures", "reference", "runs", "scanned", "scans", "stamps", "training",
    "trigger", "variants",
})  # fmt: skip
"""Fields of jobs and measurements that hold paths, whose bytes need not be UTF-8."""
_Number = Field(default=None, ge=1, lt=2**53)
_Seed = Field(default=0, ge=0, lt=2**63)


class _OnDisk(Record):
    """Data that may lie in files."""

    path: PathText | None = None

    @property
    def paths(self) -> dict[str, str]:
        """The places that are named, by field."""
        given: dict[str, str] = self.model_dump(include=set(_PLACES), exclude_none=True)
        return given


class ImageSpec(_OnDisk):
    """A set of evaluation images.

    Attributes
    ----------
    kind
        ``demo`` (built-in compositions), ``folder`` (a folder per class, a folder of unlabelled
        images, or a published set that is known by its files, see
        :func:`ml_core.data.detect.find_set`), ``file`` (one WebDataset shard or Parquet file)
        or ``csv`` (a CSV or TSV with an image column, labels optional).
    path
        The folder, the file or the table; unused for ``demo``.
    split
        Split of the demo. A published set gives its training pictures for ``train``, its test
        pictures otherwise. Unused for other folders.
    image_column, label_column
        Columns of the table; None detects the common names.
    class_map
        Class of the label set to take for a label of the folder or table.
    part
        ``all``, or one of the two parts that have no image in common: ``validation`` (to watch)
        and ``test`` (to report). See :func:`ml_core.data.specs.part_of`.
    n
        Size of the seeded, stratified subsample of the part; None takes every image. The demo gives
        its first images, whose classes take turns; another seed composes other pictures.
    seed
        Seed of the parts and the subsample, and of the demo's compositions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["demo", "folder", "file", "csv"] = "demo"
    path: PathText | None = None
    split: Literal["val", "test", "heldout", "train", "clean"] = "test"
    image_column: str | None = None
    label_column: str | None = None
    class_map: dict[str, str] = Field(default_factory=dict)
    part: Part = "all"
    n: int | None = _Number
    seed: int = _Seed

    _passed_over = passes_over("shots", "shots_seed")

    @model_validator(mode="after")
    def _needs_path(self) -> Self:
        """A folder or table needs its path."""
        if self.kind != "demo" and not self.path:
            raise ValueError(f"image set of kind {self.kind!r} needs a path")
        return self

    def halves(self) -> tuple[ImageSpec, ImageSpec]:
        """The set's validation part and its test part."""
        return (
            self.model_copy(update={"part": "validation"}),
            self.model_copy(update={"part": "test"}),
        )


class PairSpec(_OnDisk):
    """A set of image-caption pairs to clean with.

    Attributes
    ----------
    kind
        ``demo`` (the built-in clean split), ``csv`` (a CSV or TSV), ``folder`` (pictures with text
        files of their names beside them, a caption a line), ``coco`` (a COCO captions JSON),
        ``shards`` (WebDataset) or ``parquet`` (Hugging Face); :func:`ml_core.data.detect.detect`
        finds it. Records of earlier versions may have ``images`` (pictures alone) or ``texts``
        (captions alone), which cannot be opened any more.
    path
        The table, the folder, the JSON, or the shards: one ``.tar``, a folder of them, or a pattern
        like ``cc3m/{00000..00331}.tar``; a Parquet file or a folder of them. Unused for ``demo``.
    pictures
        Folder of a COCO file's pictures; None looks beside it.
    split
        Split of the demo; unused otherwise.
    image_column, caption_column
        Columns of the table or the Parquet file, by default CleanCLIP's names; where a default is
        absent the common variants are tried.
    exclude
        An exclusions file: pairs that an audit found are left out.
    n
        Size of the seeded subsample; None takes every pair.
    seed
        Seed of the subsample, and of the demo's compositions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: PairKind = "demo"
    path: PathText | None = None
    pictures: PathText | None = None
    split: Literal["clean", "train"] = "clean"
    image_column: str = "image"
    caption_column: str = "caption"
    exclude: PathText | None = None
    n: int | None = _Number
    seed: int = _Seed

    @model_validator(mode="after")
    def _needs_path(self) -> Self:
        """Whatever is not built in needs its path."""
        if self.kind != "demo" and not self.path:
            raise ValueError(f"pair set of kind {self.kind!r} needs a path")
        return self


# A smaller set is not split: neither part would tell anything.
SMALLEST_SPLIT = 50
SAMPLING = "stratified by label, PCG64; each image's draws from (seed, position in the set)"
"""How `stratified_order` orders, for records."""
_VALIDATION_SHARE, _VALIDATION_MOST = 5, 500


def stratified_order(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Shuffle so that each prefix holds each label in about its share.

    The k-th of a label's m shuffled members gets the place (k + u) / m with u uniform in
    [0, 1); a prefix with the fraction f of all images then holds between f m - 1 and f m + 1 of
    them.

    Parameters
    ----------
    labels
        int64 [N]; -1 (no label) is a stratum of its own.
    seed
        Seed of the shuffle.

    Returns
    -------
    numpy.ndarray
        int64 [N], a permutation of 0..N-1.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    labels = np.asarray(labels)
    shuffled = rng.permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]  # members of a label adjoin
    _, starts, counts = np.unique(labels[by_label], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(starts, counts)
    place = (rank + rng.random(len(labels))) / np.repeat(counts, counts)
    order: NDArray[np.int64] = by_label[np.argsort(place, kind="stable")].astype(np.int64)
    return order


def stratified_sample(labels: NDArray[np.int64], n: int | None, seed: int) -> NDArray[np.int64]:
    """Ascending numbers of a stratified sample of n images; of all where n is None or too large."""
    if n is None or n >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    return np.sort(stratified_order(labels, seed)[:n])


def part_of(labels: NDArray[np.int64], part: Part, seed: int) -> NDArray[np.int64]:
    """Ascending numbers of the images of a part.

    One image in five, at most 500, is validation; the rest is test. Both are stratified, and the
    same labels and seed always give the same two. If a set has fewer than `SMALLEST_SPLIT` images,
    each part is the whole set.
    """
    if part == "all" or len(labels) < SMALLEST_SPLIT:
        return np.arange(len(labels), dtype=np.int64)
    order = stratified_order(labels, seed)
    first_test = min(len(labels) // _VALIDATION_SHARE, _VALIDATION_MOST)
    return np.sort(order[:first_test] if part == "validation" else order[first_test:])
