"""What SIGTERM and SIGHUP do to the command line."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from typing import NoReturn

from ml_core.cli import output

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_TOLD = threading.Event()
_GRACE_SECONDS = 0.9


class Terminated(BaseException):
    """The process was told to end by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def leave(self) -> NoReturn:
        """End, once the user has been told."""
        _TOLD.wait(_GRACE_SECONDS)
        os._exit(128 + self.number)


def say_when_ended() -> None:
    """Tell of a SIGTERM or SIGHUP, give what is open the time to be closed, and end.

    A thread hears of it even while the main one is in the middle of a step, which takes minutes.
    What ignores a signal, as nohup does, goes on.
    """
    if os.name != "posix":
        return
    heard = [number for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN]

    def handle(number: int, _frame: object) -> None:
        raise Terminated(number)

    def listen() -> None:
        while True:
            for number in os.read(reader, 64):
                if number in heard:
                    with suppress(OSError):  # the terminal is closed
                        name = signal.Signals(number).name
                        output.say(f"Ended by {name}. What was saved last is kept.")
                    _TOLD.set()
                    time.sleep(_GRACE_SECONDS)
                    os._exit(128 + number)

    def forget() -> None:
        signal.set_wakeup_fd(-1)
        for number in heard:
            signal.signal(number, signal.SIG_DFL)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in heard:
        signal.signal(number, handle)
    os.register_at_fork(after_in_child=forget)
    threading.Thread(target=listen, name="signals", daemon=True).start()
