"""Runs that were deleted: they lie in a folder beside the others until that is emptied.

Plain functions, no Qt. A move within one disk takes no time and can be undone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ml_core.jobs.folder_lock import at_work
from ml_core.reading.errors import InputError

DELETED_FOLDER = "deleted"


def delete_run(folder: Path) -> Path:
    """Move a run's folder to the deleted ones; return where it lies then.

    Raises
    ------
    InputError
        If a process is at work in it, or it cannot be moved; it stays where it was.
    """
    if at_work(folder):
        raise InputError(
            f"Another process is using {folder.name}; delete it when that has finished."
        )
    place = folder.parent / DELETED_FOLDER
    moved, count = place / folder.name, 1
    try:
        place.mkdir(exist_ok=True)
        while moved.exists():
            count += 1
            moved = place / f"{folder.name}-{count}"
        folder.rename(moved)
    except OSError as error:
        raise _refused(folder, "deleted", error) from error
    return moved


def restore_run(moved: Path, folder: Path) -> None:
    """Put a deleted run back where it was.

    Raises
    ------
    InputError
        If something else is there by now, or it cannot be moved.
    """
    if folder.exists():
        raise InputError(
            f"There is another {folder.name} by now; the deleted run stays in {moved}."
        )
    try:
        moved.rename(folder)
    except OSError as error:
        raise _refused(folder, "put back", error) from error


def deleted_runs(parent: Path) -> tuple[Path, ...]:
    """Folders of deleted runs under the folder of all runs."""
    try:
        return tuple(sorted((parent / DELETED_FOLDER).iterdir()))
    except OSError:
        return ()


def erase(folders: tuple[Path, ...]) -> int:
    """Remove deleted runs from the disk; how many could not be."""
    left = 0
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        left += folder.exists()
    return left


def _refused(folder: Path, what: str, error: OSError) -> InputError:
    return InputError(
        f"The run {folder.name} cannot be {what}: {error.strerror or error}; check that you may "
        "write to its folder.",
        "usage",
        str(error),
    )
