"""The classes in use as a job names them."""

from __future__ import annotations

from pathlib import Path

from cleanclip_gui.session import ImagesState
from ml_core.atomic import replace_files
from ml_core.data.labels import label_sets, load_label_set


def label_set_of(images: ImagesState | None, folder: Path) -> str:
    """Name of the built-in label set in use, or a file in ``folder`` with its classes.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    if images is None:
        return "demo"
    for name in label_sets():
        if load_label_set(name).class_names == images.class_names:
            return name
    path = folder / "classes.txt"
    replace_files({path: ("\n".join(images.class_names) + "\n").encode()})
    return str(path)
