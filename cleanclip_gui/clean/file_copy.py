"""Copy a finished checkpoint to where the user wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ml_core.atomic import replace_files
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.regular_file import open_regular


def copy_whole(source: Path, target: Path) -> Callable[[Callable[[], bool]], Iterator[object]]:
    """Work for a :class:`Background` thread: copy, then yield the path.

    Neither a full disk nor a crash spoils what was there before. Raises InputError if it
    cannot be read or written.
    """

    def work(cancelled: Callable[[], bool]) -> Iterator[object]:
        def copy(write: BinaryIO) -> None:
            read, _ = open_regular(source)
            with read:
                while piece := read.read(1 << 22):
                    if cancelled():
                        raise CancelledError
                    write.write(piece)

        try:
            replace_files({target: copy})
        except OSError as error:
            raise InputError(
                f"{target.name} could not be written; free some space or choose another folder.",
                "usage",
                str(error),
            ) from error
        yield target

    return work
