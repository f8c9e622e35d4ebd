"""Files that are dragged over a widget, and which of them are checkpoints."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QMimeData

_CONFIGS = ("open_clip_config.json", "config.json")
_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".npz", ".zip")
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def local_paths(mime: QMimeData) -> list[Path]:
    """Files and folders of this machine that are being dropped."""
    return [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()]


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
