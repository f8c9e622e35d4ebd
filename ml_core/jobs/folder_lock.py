"""One run at a time in a folder: a file there is locked as long as the run's process lives.

The kernel lets go of it however the process ends, so what lies there afterwards stops nobody.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ml_core.jobs.specs import LOCK_FILE
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from filelock import BaseFileLock

# Who only asks holds the lock for an instant: a run that begins just then waits for him, and so
# does another who asks.
_PATIENCE_SECONDS, _ASKING_SECONDS, _POLL_SECONDS = 2.0, 0.1, 0.005


def lock_folder(folder: Path) -> BaseFileLock:
    """Lock a run's folder for this process, until the lock is released.

    Where files cannot be locked, as in some network folders, the run goes on without.

    Raises
    ------
    InputError
        If another process is at work in the folder.
    """
    from filelock import Timeout

    lock = _lock_of(folder, _PATIENCE_SECONDS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"Another process is working on the run in {folder}: wait until it has finished, or "
            "choose another folder."
        ) from error
    except (OSError, NotImplementedError):  # a folder that cannot be written is told of later
        pass
    return lock


def at_work(folder: Path) -> bool:
    """Whether a process, here or on a machine that shares the folder, is at work on its run.

    False where that cannot be known. Nothing is written.
    """
    if not (folder / LOCK_FILE).is_file():
        return False
    from filelock import Timeout

    try:
        with _lock_of(folder, _ASKING_SECONDS):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False


def delete_unused(folder: Path) -> None:
    """Delete a folder that processes share, unless one is at work in it.

    It stays where that cannot be known.
    """
    from filelock import Timeout

    try:
        with _lock_of(folder, _ASKING_SECONDS):
            shutil.rmtree(folder, ignore_errors=True)
    except (Timeout, OSError, NotImplementedError):
        return


def _lock_of(folder: Path, timeout: float) -> BaseFileLock:
    """The lock, not yet taken; the library is loaded when a window first asks, not at its start."""
    from filelock import FileLock

    # A soft lock would outlive its process, and a run's events may be taken by any thread.
    return FileLock(
        folder / LOCK_FILE,
        timeout=timeout,
        poll_interval=_POLL_SECONDS,
        thread_local=False,
        fallback_to_soft=False,
    )
