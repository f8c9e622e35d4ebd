"""Which published set a folder or file holds, by the files that are in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ml_core.data.sets.cifar import find_cifar
from ml_core.data.sets.found import FoundSet
from ml_core.data.sets.listed import find_food101, find_gtsrb, find_pets
from ml_core.data.sets.parquet import find_parquet
from ml_core.data.sets.shards import find_shards
from ml_core.data.watch import Watch, unwatched
from ml_core.reading.errors import InputError

FILES = (".tar", ".parquet")
"""Endings of single files that are a set by themselves."""

_Reader = Callable[[Path, bool], FoundSet | None]
_READERS: tuple[_Reader, ...] = (find_cifar, find_food101, find_pets, find_gtsrb)
_INNER = (
    "cifar-10-batches-bin", "cifar-10-batches-py", "cifar-100-binary", "cifar-100-python",
    "food-101", "oxford-iiit-pet", "gtsrb",
)  # fmt: skip


def find_set(path: Path, *, train: bool = False, watch: Watch = unwatched) -> FoundSet | None:
    """Open a published set; None for a plain folder of pictures.

    Parameters
    ----------
    path
        Its folder, the folder that holds it alone (torchvision's ``root``), a shard (``.tar``) or
        a Parquet file.
    train
        The training pictures instead of the test pictures.
    watch
        Is told how far it is, and may end it.

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
            published = reader(folder, train)
            if published is not None:
                return published
    return None
