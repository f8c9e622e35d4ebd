"""Copy a finished checkpoint to where the user wants it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ml_core.reading.errors import InputError


def copy_whole(source: Path, target: Path) -> Callable[[Callable[[], bool]], Iterator[object]]:
    """Work for a :class:`Background` thread: copy, then yield the path.

    The copy has a temporary name until it is whole and on disk, so that neither a full disk
    nor a crash spoils what was there before. Raises InputError if it cannot be written.
    """

    def work(cancelled: Callable[[], bool]) -> Iterator[object]:
        temporary = target.with_name(target.name + ".part")
        try:
            with open(source, "rb") as read, open(temporary, "wb") as write:
                while not cancelled() and (piece := read.read(1 << 22)):
                    write.write(piece)
                write.flush()
                os.fsync(write.fileno())
            if cancelled():
                temporary.unlink()
                return
            os.replace(temporary, target)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise InputError(
                f"{target.name} could not be written; free some space or choose another folder.",
                "usage",
                str(error),
            ) from error
        yield target

    return work
