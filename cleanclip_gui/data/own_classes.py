"""Class names as a label set that can be named again: by a job, a saved run, the next start."""

from __future__ import annotations

import re

from ml_core.atomic import replace_files
from ml_core.data.labels import label_sets, load_label_set
from ml_core.paths import data_dir
from ml_core.reading import InputError


def label_set_of(names: tuple[str, ...], title: str) -> str:
    """A built-in label set of these names, or a file that is written for them.

    Parameters
    ----------
    names
        In order.
    title
        Names the file.

    Raises
    ------
    InputError
        If the file cannot be written, or a name does not fit into a line.
    """
    for name in label_sets():
        if load_label_set(name).class_names == names:
            return name
    stem = re.sub(r"[^\w .()-]+", " ", title).strip(" .")[:80] or "classes"
    path = data_dir() / "labels" / f"{stem}.txt"
    lines = tuple(name.strip() for name in names)
    if not all(lines):
        raise InputError("A class of this set has no name; choose another label set.", "usage")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_files({path: "".join(f"{line}\n" for line in lines).encode()})
    except OSError as error:
        sentence = f"The class list cannot be kept in {path.parent}: {error.strerror}."
        raise InputError(sentence, "usage", details=str(error)) from error
    if load_label_set(path).class_names != lines:
        raise InputError(
            "The class names cannot be kept in a list of one per line; choose another label set."
        )
    return str(path)
