"""Inert readers of hostile files. Imports neither torch nor a sibling package."""

from ml_core.reading.errors import ErrorCode, InputError

__all__ = ["ErrorCode", "InputError"]
