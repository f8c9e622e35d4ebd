"""Which links in a folder of data are followed."""

from __future__ import annotations

import os
from pathlib import Path


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
