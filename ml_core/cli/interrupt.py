"""What Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager

from ml_core.cli import output
from ml_core.events import Control


@contextmanager
def ctrl_c_cancels(control: Control) -> Generator[None]:
    """The first Ctrl-C cancels the work between steps, the second ends the program."""

    def handle(_signal: int, _frame: object) -> None:
        if control.cancelled:
            raise KeyboardInterrupt
        output.say("Cancelling; press Ctrl-C again to leave at once.")
        control.cancel()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
