"""Checkpoints that options name."""

from __future__ import annotations

from pathlib import Path

from ml_core.cli import output
from ml_core.reading import Inspection, examine
from ml_core.reading.errors import plain


def checkpoint_path(path: Path) -> Path:
    """Where a checkpoint lies; ``hf-hub:owner/name`` is brought into the Hub's cache first.

    Raises
    ------
    InputError
        If the repository cannot be fetched.
    KeyboardInterrupt
        If the user cancelled with Ctrl-C.
    """
    from ml_core.checkpoints.hub import fetch, is_hub_name

    if not is_hub_name(str(path)):
        return path
    from ml_core.cli.run import watched

    name, mark, part = str(path).partition("#")
    if mark:
        return Path(f"{checkpoint_path(Path(name))}#{part}")
    what = f"Fetching {path}"
    with watched(what) as (report, cancelled):
        fetched = fetch(
            str(path),
            lambda done, total: report(f"{what}: {done / 1e6:.0f} MB", done, total),
            cancelled,
        )
    output.errors().print(f"{plain(str(path))} at revision {plain(fetched.revision)}", markup=False)
    return fetched.path


def examined(path: Path) -> Inspection:
    """Examine a checkpoint's file.

    Raises
    ------
    InputError
        If the file is refused.
    """
    inspection = examine(path)
    if inspection.refused:
        raise inspection.refusal()
    return inspection


def optional_checkpoint(path: Path | None) -> str | None:
    """The whole path of a checkpoint that may be missing; raises as `checkpoint_path` does."""
    return None if path is None else str(checkpoint_path(path).resolve())
