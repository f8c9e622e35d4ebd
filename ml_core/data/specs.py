"""Which images and which image-caption pairs a run uses, as records that live in JSON.

The records are torch-free, so that the window's session can name them before torch is loaded.
"""

import os
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

PairKind = Literal["demo", "csv", "folder", "coco", "shards", "parquet", "images", "texts"]
Sides = Literal["both", "images", "texts"]
"""What of image-caption pairs a recipe trains on."""
Part = Literal["all", "validation", "test"]


_PLACES = ("path", "pictures", "exclude")
_LONGEST_PATH, _LONGEST_PART = 4096, 255


def _path(text: str) -> str:
    """A text that can be asked for as a path: the system raises for others, whatever is asked."""
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
    "output_dir", "path", "pictures", "reference", "runs", "scans", "training", "trigger",
})  # fmt: skip
"""Fields of jobs and measurements that hold paths, whose bytes need not be UTF-8."""
_Number = Field(default=None, ge=1, lt=2**53)
_Seed = Field(default=0, ge=0, lt=2**63)


class _OnDisk(BaseModel):
    """Data that may lie in files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
        :func:`ml_core.data.sets.detect.find_set`), ``file`` (one WebDataset shard or Parquet file)
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
        and ``test`` (to report). See :func:`ml_core.data.sampling.part_of`.
    n
        Size of the seeded, stratified subsample of the part; None takes every image. Of the demo
        its first ones, whose classes come in turn; another seed composes other pictures.
    shots, shots_seed
        At most so many pictures of each label are taken of these, drawn by a seed of their own, and
        none without a label; None takes them all.
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
    shots: int | None = _Number
    shots_seed: int = _Seed
    seed: int = _Seed

    @model_validator(mode="after")
    def _needs_path(self) -> Self:
        """A folder or table needs its path."""
        if self.kind != "demo" and not self.path:
            raise ValueError(f"image set of kind {self.kind!r} needs a path")
        return self

    def halves(self) -> tuple["ImageSpec", "ImageSpec"]:
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
        ``shards`` (WebDataset) or ``parquet`` (Hugging Face); where a recipe takes no more,
        ``images`` (a folder of pictures) or ``texts`` (a caption a line, or a table of captions).
        :func:`ml_core.data.captioned.detect.detect` finds it.
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

    @property
    def one_sided(self) -> bool:
        """Whether these are pictures alone, or captions alone."""
        return self.kind in ("images", "texts")

    @model_validator(mode="after")
    def _needs_path(self) -> Self:
        """Whatever is not built in needs its path."""
        if self.kind != "demo" and not self.path:
            raise ValueError(f"pair set of kind {self.kind!r} needs a path")
        return self
