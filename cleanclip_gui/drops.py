"""What a dropped file is for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from PySide6.QtCore import QMimeData

from ml_core.jobs.specs import RESULT_FILE, SPEC_FILE
from ml_core.reading.images import IMAGE_SUFFIXES


def local_paths(mime: QMimeData) -> list[Path]:
    """Files and folders of this machine that are being dropped."""
    return [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()]


def purpose(path: Path) -> Literal["trigger", "images", "run", "checkpoint"]:
    """Pictures are triggers, tables and picture folders are data, the rest checkpoints.

    The folder of a run without a result is a run to resume.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        if (path / SPEC_FILE).is_file() and not (path / RESULT_FILE).exists():
            return "run"
        return "checkpoint" if _is_open_clip(path) else "images"
    if suffix in IMAGE_SUFFIXES:
        return "trigger"
    return "images" if suffix in (".csv", ".tsv") else "checkpoint"


def _is_open_clip(folder: Path) -> bool:
    return (folder / "open_clip_config.json").exists() or any(folder.glob("*.safetensors"))
