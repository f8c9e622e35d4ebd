"""Checkpoints that options name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from glob import has_magic
from pathlib import Path

from ml_core.cli import output
from ml_core.reading import Inspection, examine
from ml_core.reading.errors import InputError, plain
from ml_core.reading.inspect import is_there


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


def models_at(path: Path) -> Iterator[Inspection]:
    """Examine a file and give the models in it, those of each checkpoint of an archive one by one.

    What is refused is given as it is.
    """
    from ml_core.checkpoints.layouts import models_of

    inspection = examine(path)
    for member in inspection.members:
        yield from models_at(Path(f"{path}#{member}"))
    if not inspection.members:
        yield from models_of(inspection)


def optional_checkpoint(path: Path | None) -> str | None:
    """The whole path of a checkpoint that may be missing; raises as `checkpoint_path` does."""
    return None if path is None else str(checkpoint_path(path).resolve())


def alone(paths: Sequence[Path], *, beside: bool = True) -> Path | None:
    """The one checkpoint that is meant; None if there may be several.

    Parameters
    ----------
    beside
        Whether files beside the checkpoint of a folder are meant, too.
    """
    path = paths[0]
    if len(paths) > 1 or str(path) == "-":
        return None
    from ml_core.reading.walk import Tally, walk

    there = is_there(path)
    if there and not Path(os.path.expanduser(path)).is_dir():
        return path
    if not there and not has_magic(str(path)):
        return path
    path = Path(os.path.expanduser(path))
    found = walk([path], Tally())
    is_one = next(found, path) == path
    return path if is_one and not (beside and next(found, None)) else None


def given_paths(
    paths: Iterable[Path], faults: dict[Path, InputError], *, null: bool = False
) -> Iterator[Path]:
    """The paths, with those of the list on standard input in the place of ``-``.

    Parameters
    ----------
    faults
        Gets why a repository cannot be fetched; its path is one where nothing lies.
    null
        Whether the list has zero bytes between instead of line ends.
    """
    from ml_core.reading.walk import listed

    for path in paths:
        if str(path) == "-":
            yield from listed(sys.stdin.buffer, b"\0" if null else b"\n")
            continue
        try:
            yield checkpoint_path(path)
        except InputError as error:
            faults[path] = error
            yield path
