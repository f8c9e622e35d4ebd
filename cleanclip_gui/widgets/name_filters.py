"""Kinds of files in file dialogs, and files that are dropped."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from PySide6.QtCore import QEvent, QMimeData, QObject
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QWidget

ALL = "All files (*)"
CHECKPOINTS = (
    "Checkpoints (*.safetensors *.pt *.pth *.bin *.ckpt *.pkl *.npz *.gguf *.onnx *.zip *.tar);;"
    f"{ALL}"
)
"""Checkpoints to open; what is not listed is opened all the same."""
SAFETENSORS = "safetensors (*.safetensors)"
"""A checkpoint to save."""
TABLES = "Tables (*.csv *.tsv)"
IMAGE_SETS = "Image sets (*.tar *.parquet)"
CLASS_LISTS = "Class lists (*.txt classes.py)"
CAPTION_PAIRS = f"Image-caption pairs (*.csv *.tsv *.json *.tar *.parquet);;{ALL}"
EXCLUSIONS = "Exclusions (*.json)"
NUMBERS = "CSV (*.csv);;JSON (*.json)"
"""Numbers to save."""
PICTURE_OR_NUMBERS = f"PNG (*.png);;{NUMBERS}"
"""A picture, or the numbers behind it, to save."""


_CONFIGS = ("open_clip_config.json", "config.json")
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".gguf", ".onnx")
_MOST_NAMES = 2000  # looked at while the user waits
_FILES = (*_WEIGHTS, ".pkl", ".npz", ".zip")


def local_paths(mime: QMimeData) -> list[Path]:
    """Files and folders of this machine that are being dropped."""
    return [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()]


class Drops(QObject):
    """Lets a widget take the first of the dropped files and folders; the window gets what is left.

    Parameters
    ----------
    widget
        Where they are dropped.
    takes
        Whether it takes a path; asked while the path is dragged over it.
    drop
        Takes the path.
    """

    def __init__(
        self, widget: QWidget, takes: Callable[[Path], bool], drop: Callable[[Path], object]
    ) -> None:
        super().__init__(widget)
        self._takes, self._drop = takes, drop
        widget.setAcceptDrops(True)
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Accept what is taken."""
        entering = event.type() == QEvent.Type.DragEnter
        if not isinstance(event, QDropEvent) or not (entering or event.type() == QEvent.Type.Drop):
            return False
        paths = local_paths(event.mimeData())[:1]
        if not any(map(self._takes, paths)):
            event.ignore()
            return True
        event.acceptProposedAction()
        if not entering:
            self._drop(paths[0])
        return True


def is_checkpoint_file(path: Path) -> bool:
    """Whether a file's name is that of a checkpoint."""
    return path.suffix.lower() in _FILES


def is_checkpoint_folder(path: Path) -> bool:
    """Whether a folder has a model's config, or weights in it."""
    if any((path / name).exists() for name in _CONFIGS):
        return True
    return any(any(path.glob(f"*{ending}")) for ending in _WEIGHTS)


def is_checkpoint(path: Path) -> bool:
    """Whether a file or folder looks like a checkpoint by its name, or by what is in it."""
    return is_checkpoint_folder(path) if path.is_dir() else is_checkpoint_file(path)


def holds_checkpoints(path: Path) -> bool:
    """Whether one of the first names below a folder is that of weights."""
    if not path.is_dir():
        return False
    below = (name for _, _, files in os.walk(path) for name in files)
    return any(name.lower().endswith(_WEIGHTS) for name in islice(below, _MOST_NAMES))
