"""Which dropped files and folders are checkpoints."""

from __future__ import annotations

from pathlib import Path

_CONFIGS = ("open_clip_config.json", "config.json")
_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".npz", ".zip")
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def is_checkpoint_file(path: Path) -> bool:
    """Whether a file's name is that of a checkpoint."""
    return path.suffix.lower() in _FILES


def is_checkpoint_folder(path: Path) -> bool:
    """Whether a folder has a model's config, or weights in it."""
    if any((path / name).exists() for name in _CONFIGS):
        return True
    return any(any(path.glob(f"*{ending}")) for ending in _WEIGHTS)
