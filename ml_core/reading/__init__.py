"""Inert readers of hostile files. Imports neither torch nor a sibling package."""

from ml_core.reading.errors import ErrorCode, InputError
from ml_core.reading.images import read_image
from ml_core.reading.inspect import Inspection, inspect
from ml_core.reading.lists import read_lines
from ml_core.reading.safetensors_header import TensorInfo, read_header
from ml_core.reading.tables import Table, read_table, resolve_inside

__all__ = [
    "ErrorCode",
    "InputError",
    "Inspection",
    "Table",
    "TensorInfo",
    "inspect",
    "read_header",
    "read_image",
    "read_lines",
    "read_table",
    "resolve_inside",
]
