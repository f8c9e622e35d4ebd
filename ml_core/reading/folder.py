"""Which files of an open_clip or transformers folder are read, and which are not."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from ml_core.reading.errors import InputError

CONFIG_NAME = "open_clip_config.json"
TRANSFORMERS_CONFIG_NAME = "config.json"
ADAPTER_NAME = "adapter_config.json"
PREPROCESSOR_NAME = "preprocessor_config.json"
# The order in which open_clip itself looks, without what is no safetensors file.
_PREFERRED = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
)
_PREFERRED_PICKLES = ("open_clip_pytorch_model.bin", "pytorch_model.bin")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_INDEX = (".safetensors.index.json", ".bin.index.json")
# What holds pickles, what Python runs, what a system starts or loads, and what a double click runs.
_RISKY = (
    *_PICKLES, ".dill", ".joblib", ".cloudpickle", ".pk", ".pck", ".pcl", ".p", ".mar", ".nemo",
    ".py", ".pyc", ".pyw", ".pyz", ".pyd", ".so", ".dylib", ".dll", ".exe", ".com", ".scr", ".msi",
    ".sh", ".bash", ".command", ".bat", ".cmd", ".ps1", ".vbs", ".vbe", ".js", ".jse", ".wsf",
    ".hta", ".jar", ".desktop", ".lnk", ".appimage",
)  # fmt: skip
_MAX_FILES = 5000
_MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The config and the weights of a folder.

    ``weights`` is the index of the shards if ``sharded``; ``preprocessor`` is there in folders of
    the transformers library.
    """

    config: Path
    weights: Path
    sharded: bool
    preprocessor: Path | None
    unread: tuple[str, ...]

    @property
    def risky(self) -> tuple[str, ...]:
        """Unread pickles and programs."""
        return risky(self.unread)

    @property
    def format(self) -> str:
        named = self.config.name == CONFIG_NAME
        return "open_clip folder" if named else "transformers folder"

    def without(self, read: Collection[str]) -> FolderFiles:
        """The same, when some of the ``unread`` files are read after all."""
        return replace(self, unread=tuple(name for name in self.unread if name not in read))


def list_folder(path: Path) -> FolderFiles:
    """Choose the files to read; opens none of them.

    A link is followed only within the folder, or to the ``blobs`` of the same repository in a
    Hugging Face cache.

    Raises
    ------
    InputError
        ``unsupported`` if the folder is in no known layout, ``damaged`` if it has no weights,
        ``usage`` if it may not be read.
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
    config = _choose_config(path, found)
    weights = _choose_weights(path, found)
    beside = config == TRANSFORMERS_CONFIG_NAME and PREPROCESSOR_NAME in found
    read = (config, weights, *((PREPROCESSOR_NAME,) if beside else ()))
    for name in read:
        check_link(path, path / name)
    unread = tuple(name for name in names_below(path) if name not in read)
    preprocessor = path / PREPROCESSOR_NAME if beside else None
    return FolderFiles(
        path / config, path / weights, weights.endswith(_INDEX), preprocessor, unread
    )


def risky(names: Iterable[str]) -> tuple[str, ...]:
    """Those of these names that are of pickles or programs."""
    return tuple(name for name in names if name.lower().endswith(_RISKY) or ".so." in name.lower())


def names_below(path: Path) -> tuple[str, ...]:
    """Names of the files in a folder and in what lies below it, at most 5000; opens none.

    Folders that are links are named and not entered.
    """
    names: list[str] = []
    for place, folders, files in os.walk(path):
        folders.sort()
        inside = Path(place).relative_to(path)
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        names += [(inside / name).as_posix() for name in sorted(files + links)]
        if len(names) >= _MAX_FILES or len(inside.parts) >= _MAX_DEPTH:
            folders.clear()
    return tuple(sorted(names)[:_MAX_FILES])


def _choose_config(path: Path, found: list[str]) -> str:
    """open_clip's config, or the transformers library's."""
    for name in (CONFIG_NAME, TRANSFORMERS_CONFIG_NAME):
        if name in found:
            return name
    if ADAPTER_NAME in found:
        raise InputError(
            f"{path.name} is a folder with an adapter ({ADAPTER_NAME}), a change to a model, not "
            "a model; merge it into its base model and open that.",
            "unsupported",
        )
    raise InputError(
        f"{path.name} is a folder without {CONFIG_NAME} or {TRANSFORMERS_CONFIG_NAME}; choose an "
        "open_clip or transformers folder, or a checkpoint file.",
        "unsupported",
    )


def _choose_weights(path: Path, found: list[str]) -> str:
    """Take the file that open_clip itself would take, safetensors before pickles."""
    for endings, preferred, index in (
        ((".safetensors",), _PREFERRED, _INDEX[0]),
        (_PICKLES, _PREFERRED_PICKLES, _INDEX[1]),
    ):
        candidates = [name for name in found if name.lower().endswith(endings)]
        for name in preferred:
            if name in candidates:
                return name
        indices = [name for name in found if name.endswith(index)]
        if len(indices) == 1:
            return indices[0]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise InputError(
                f"{path.name} holds {len(candidates)} files of weights and none is called "
                f"{preferred[0]}; choose one of them.",
                "unsupported",
            )
    raise InputError(f"{path.name} holds a config and no weights; get it again.", "damaged")


def check_link(folder: Path, file: Path) -> None:
    """Refuse a link that leads out of the repository.

    Raises
    ------
    InputError
        ``unsupported``.
    """
    if not file.is_symlink():
        return
    allowed = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        allowed.append(folder.resolve().parent.parent / "blobs")
    try:
        target = file.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        target = Path("/")
    if not any(target.is_relative_to(root) for root in allowed):
        raise InputError(
            f"{folder.name}/{file.name} is a link to a file outside the folder, which is not "
            "followed; put the file itself there.",
            "unsupported",
        )
