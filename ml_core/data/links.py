"""Which links in a folder of data are followed."""

from __future__ import annotations

import os
from pathlib import Path

from ml_core.reading.errors import InputError


def stays_inside(folder: Path, path: Path) -> bool:
    """Whether a file below a folder is there itself, also through links.

    A link may lead within the folder, or, in a Hugging Face cache (``snapshots/REVISION/...``), to
    the ``blobs`` of the same repository.
    """
    try:
        root, real = Path(os.path.realpath(folder)), Path(os.path.realpath(path))
    except OSError:  # a link that leads to itself
        return False
    allowed = [root]
    for below in (root, *root.parents):
        if below.parent.name == "snapshots":
            allowed.append(below.parent.parent / "blobs")
    return any(real.is_relative_to(one) for one in allowed)


def own_file(folder: Path, name: str) -> Path:
    """The path of one of a set's files, such as a list of its labels.

    Raises
    ------
    InputError
        ``unsupported`` if it is a link that leads out of the folder.
    """
    path = folder / name
    if path.is_symlink() and not stays_inside(folder, path):
        raise InputError(
            f"{folder.name}/{name} is a link to a file outside the folder, which is not followed; "
            "put the file itself there.",
            "unsupported",
        )
    return path
