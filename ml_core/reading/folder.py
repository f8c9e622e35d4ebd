"""Which files of an open_clip folder are read, and which are not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ml_core.reading.errors import InputError

CONFIG_NAME = "open_clip_config.json"
# The order in which open_clip itself looks, without what is no safetensors file.
_PREFERRED = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_RISKY = (*_PICKLES, ".py", ".so", ".dll", ".sh", ".exe")
_MAX_FILES = 5000


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The config and the weights of a folder; ``risky`` are unread pickles and programs."""

    config: Path
    weights: Path
    unread: tuple[str, ...]
    risky: tuple[str, ...]


def list_folder(path: Path) -> FolderFiles:
    """Choose the files to read; opens none of them.

    A link is followed only within the folder, or to the ``blobs`` of the same repository in a
    Hugging Face cache.

    Raises
    ------
    InputError
        ``unsupported`` if the folder is not in open_clip's layout, ``dangerous`` if its weights
        are kept in a pickle only, ``usage`` if it may not be read.
    """
    try:
        with os.scandir(path) as entries:
            found = sorted(entry.name for entry in islice(entries, _MAX_FILES + 1))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "usage") from None
    if len(found) > _MAX_FILES:
        raise InputError(
            f"{path.name} holds more than {_MAX_FILES} files; choose the folder of one checkpoint.",
            "unsupported",
        )
    _check_layout(path, found)
    weights = _choose_weights(path, found)
    _check_link(path, path / CONFIG_NAME)
    _check_link(path, path / weights)
    unread = tuple(name for name in found if name not in (CONFIG_NAME, weights))
    risky = tuple(name for name in unread if name.lower().endswith(_RISKY))
    return FolderFiles(path / CONFIG_NAME, path / weights, unread, risky)


def _check_layout(path: Path, found: list[str]) -> None:
    """Refuse folders of other layouts by name."""
    if CONFIG_NAME in found:
        return
    if "config.json" in found:
        raise InputError(
            f"{path.name} is a folder in the layout of the transformers library; this version "
            "opens open_clip folders and safetensors files.",
            "unsupported",
        )
    raise InputError(
        f"{path.name} is a folder without {CONFIG_NAME}; choose an open_clip folder or a "
        "safetensors file.",
        "unsupported",
    )


def _choose_weights(path: Path, found: list[str]) -> str:
    """Take the file that open_clip itself would take, if it is safetensors."""
    if any(name.endswith(".safetensors.index.json") for name in found):
        raise InputError(
            f"{path.name} holds a checkpoint in several shards, which this version does not "
            "open; merge it into one safetensors file.",
            "unsupported",
        )
    candidates = [name for name in found if name.lower().endswith(".safetensors")]
    for name in _PREFERRED:
        if name in candidates:
            return name
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise InputError(
            f"{path.name} holds {len(candidates)} safetensors files and none is called "
            f"{_PREFERRED[0]}; choose one of them.",
            "unsupported",
        )
    pickles = [name for name in found if name.lower().endswith(_PICKLES)]
    if pickles:
        return pickles[0]
    raise InputError(f"{path.name} holds a config and no weights; get it again.", "damaged")


def _check_link(folder: Path, file: Path) -> None:
    """Refuse a link that leads out of the repository."""
    if not file.is_symlink():
        return
    allowed = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        allowed.append(folder.resolve().parent.parent / "blobs")
    if not any(file.resolve().is_relative_to(root) for root in allowed):
        raise InputError(
            f"{folder.name}/{file.name} is a link to a file outside the folder, which is not "
            "followed; put the file itself there.",
            "unsupported",
        )
