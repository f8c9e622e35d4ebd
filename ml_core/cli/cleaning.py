"""Old name of `ml_core.cli.clean`, for the window's guided demo."""

from ml_core.cli.clean import result_rows

__all__ = ["result_rows"]
