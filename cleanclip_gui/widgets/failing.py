"""An action that fails shows its error and stops there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PySide6.QtCore import SignalInstance

from ml_core.reading.errors import InputError


@contextmanager
def failing(signal: SignalInstance, title: str) -> Iterator[None]:
    """Send an InputError of the block to a signal, under a title such as "Could not save"."""
    try:
        yield
    except InputError as error:
        signal.emit(error.titled(title))
