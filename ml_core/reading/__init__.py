"""Inert readers of hostile files. Imports neither torch nor a sibling package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_core.reading.errors import ErrorCode, InputError, damaged, unsupported
from ml_core.reading.examine import ask_picklescan, examine
from ml_core.reading.inspect import inspect
from ml_core.reading.inspection import Inspection
from ml_core.reading.regular_file import read_lines
from ml_core.reading.safetensors_header import TensorInfo, read_header

if TYPE_CHECKING:
    from ml_core.reading.images import read_image

__all__ = [
    "ErrorCode", "InputError", "Inspection", "TensorInfo", "ask_picklescan", "damaged", "examine",
    "inspect", "read_header", "read_image", "read_lines", "unsupported",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import NumPy and Pillow when the first image is read: the reading process needs neither."""
    if name == "read_image":
        from ml_core.reading.images import read_image

        return read_image
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
