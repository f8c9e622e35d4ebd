"""Inert readers of hostile files. Imports neither torch nor a sibling package."""

from ml_core.reading.errors import ErrorCode, InputError
from ml_core.reading.inspect import Inspection, inspect
from ml_core.reading.safetensors_header import TensorInfo, read_header

__all__ = ["ErrorCode", "InputError", "Inspection", "TensorInfo", "inspect", "read_header"]
