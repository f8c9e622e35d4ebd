"""Which published image set, or which kind of pairs, a path holds, by what is in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

from ml_core.data.readers.cifar import find_cifar
from ml_core.data.readers.folders import TEXT_SUFFIXES
from ml_core.data.readers.listed import find_food101, find_gtsrb, find_pets
from ml_core.data.readers.parquet import find_parquet
from ml_core.data.readers.samples import Samples
from ml_core.data.readers.shards import find_shards, is_pattern
from ml_core.data.readers.tables import TABLE_SUFFIXES
from ml_core.data.specs import PairKind
from ml_core.data.watch import Watch, unwatched
from ml_core.reading.errors import InputError
from ml_core.reading.images import IMAGE_SUFFIXES
from ml_core.reading.regular_file import open_regular

KINDS: dict[PairKind, str] = {
    "demo": "the demo's pairs",
    "csv": "a table",
    "folder": "pictures with text files",
    "coco": "COCO captions",
    "shards": "WebDataset shards",
    "parquet": "Parquet files",
}
"""Each kind in words."""
_LOOKED_AT = 5000
_HEAD = 1 << 16


def detect(text: str) -> PairKind:
    """The kind of the pairs at a path.

    A file is known by its first bytes, a folder by the files in it: shards, Parquet files, a COCO
    ``annotations`` folder, or pictures with text files.

    Raises
    ------
    InputError
        ``usage`` if nothing is there, ``unsupported`` if it is something else; the sentence lists
        what is taken.
    """
    if is_pattern(text):
        return "shards"
    path = Path(text)
    if os.path.isdir(text):
        return _of_folder(path)
    if not os.path.exists(text):  # of a name that is too long, Path.exists raises an error
        raise InputError(f"There are no pairs at {text}; give {_TAKEN}.", "usage")
    if not path.is_file():
        raise InputError(f"{path.name} is no regular file; give {_TAKEN}.", "unsupported")
    file, size = open_regular(path)
    with file:
        head = file.read(_HEAD)
    return _of_file(path, head, size)


_TAKEN = (
    "a CSV or TSV, a folder of pictures with text files, a COCO captions JSON, WebDataset shards "
    "(.tar, a folder, or a pattern like {000..123}.tar) or Parquet files"
)


def _of_file(path: Path, head: bytes, size: int) -> PairKind:
    """By the first bytes; a table is what remains of text."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head[257:262] == b"ustar" or (path.suffix.lower() == ".tar" and len(head) >= 512):
        return "shards"
    if head.startswith(
        (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd")
    ):
        raise InputError(
            f"{path.name} is compressed; unpack it (shards are read in place and stay plain .tar).",
            "unsupported",
        )
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        return "coco"
    if size and b"\0" not in head:
        return "csv"
    if path.suffix.lower() in TABLE_SUFFIXES and b"\0" in head:
        row = head[: head.index(b"\0")].count(b"\n") + 1
        raise InputError(
            f"{path.name} is no table: row {row} holds a NUL character; save it as UTF-8 text.",
            "damaged",
        )
    raise InputError(f"{path.name} holds no image-caption pairs; give {_TAKEN}.", "unsupported")


def _of_folder(path: Path) -> PairKind:
    """Recognise a folder by its files; a very large folder by some of them."""
    if _has(path, ".tar") or _has(path / "train", ".tar"):
        return "shards"
    if _has(path, ".parquet") or _has(path / "data", ".parquet"):
        return "parquet"
    annotations = path / "annotations"
    if annotations.is_dir() and any(annotations.glob("captions_*.json")):
        return "coco"
    pictures, texts = _endings(path)
    if pictures and texts:
        return "folder"
    if (path / "labels.csv").is_file():
        return "csv"
    tables = [
        file for file in islice(path.iterdir(), _LOOKED_AT) if file.suffix in (".csv", ".tsv")
    ]
    hint = f" (its table {tables[0].name}?)" if tables else ""
    raise InputError(
        f"{path.name} holds no image-caption pairs{hint}; give {_TAKEN}.", "unsupported"
    )


def _has(folder: Path, ending: str) -> bool:
    """Whether a file with the ending lies in a folder."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith(ending) for entry in islice(entries, _LOOKED_AT))
    except OSError:
        return False


def _endings(path: Path) -> tuple[bool, bool]:
    """Whether pictures, and whether text files, are somewhere below."""
    pictures = texts = False
    left = _LOOKED_AT
    for _, folders, files in os.walk(path):
        folders.sort()
        for name in files:
            ending = os.path.splitext(name)[1].lower()
            pictures = pictures or ending in IMAGE_SUFFIXES
            texts = texts or ending in TEXT_SUFFIXES
        left -= 1 + len(files)
        if (pictures and texts) or left < 0:
            break
    return pictures, texts


FILES = (".tar", ".parquet")
"""Endings of single files that are a set by themselves."""

_Reader = Callable[[Path, bool], Samples | None]
_READERS: tuple[_Reader, ...] = (find_cifar, find_food101, find_pets, find_gtsrb)
_INNER = (
    "cifar-10-batches-bin", "cifar-10-batches-py", "cifar-100-binary", "cifar-100-python",
    "food-101", "oxford-iiit-pet", "gtsrb",
)  # fmt: skip


def find_set(path: Path, *, train: bool = False, watch: Watch = unwatched) -> Samples | None:
    """Open a published set; None for a plain folder of pictures.

    Parameters
    ----------
    path
        Its folder, the folder that holds it alone (torchvision's ``root``), a shard (``.tar``) or
        a Parquet file.
    train
        The training pictures instead of the test pictures.
    watch
        Called with how far it is; it may end it.

    Raises
    ------
    InputError
        If it is one and a file of it is damaged or missing, or the folder holds several.
    """
    inside = [path / name for name in _INNER if (path / name).is_dir()]
    if len(inside) > 1:
        names = ", ".join(folder.name for folder in inside)
        raise InputError(f"{path.name} holds several image sets ({names}); choose one of them.")
    readers: tuple[_Reader, ...] = (*_READERS, partial(find_shards, watch=watch), find_parquet)
    for folder in (path, *inside):
        for reader in readers:
            watch("Looking at the files", 0, 0)
            samples = reader(folder, train)
            if samples is not None:
                return samples
    return None
