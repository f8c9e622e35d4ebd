"""Picture files of a folder: a folder per class, or all in one without labels."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ml_core.data.pictures import printable, summary
from ml_core.data.watch import Watch, unwatched, watched
from ml_core.reading.errors import InputError
from ml_core.reading.images import IMAGE_SUFFIXES

_MAX_FILES = 5_000_000


@dataclass(frozen=True)
class FolderFiles:
    """Files, their paths below the folder, and the class folder of each (None: unlabelled)."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    texts: tuple[str, ...] | None
    problems: tuple[str, ...]
    left_out: int


@dataclass
class _Walked:
    """What a walk has come upon, by the reason to leave it out."""

    files: list[tuple[str, str, str]] = field(default_factory=list)  # path, name, class
    foreign: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def list_folder(folder: Path, watch: Watch = unwatched) -> FolderFiles:
    """List the pictures of a folder, by name, in a fixed order.

    Hidden files are passed over. Files of other kinds, links that lead out of the folder, linked
    and unreadable folders, and pictures that lie beside class folders are left out and named in
    ``problems``.

    Raises
    ------
    InputError
        ``usage`` if the folder is missing or holds no picture.
    """
    if not folder.is_dir():
        raise InputError(f"The folder {folder.name} does not exist or is not a folder.", "usage")
    found = _walk(os.path.realpath(folder), folder.name, watch)
    if not found.files:
        raise InputError(
            f"{folder.name} holds no PNG, JPEG, WebP, GIF or BMP picture; choose another folder.",
            "usage",
        )
    labelled = any(label for _, _, label in found.files)
    loose = [name for _, name, label in found.files if labelled and not label]
    kept = [file for file in found.files if file[2] or not labelled]
    notes = (
        ("Left out, no picture by its name", found.foreign),
        ("Left out, a link out of the folder or to a folder", found.links),
        ("Left out, a folder that cannot be read", found.unreadable),
        ("Left out, a picture beside the class folders", loose),
    )
    return FolderFiles(
        paths=tuple(Path(path) for path, _, _ in kept),
        names=tuple(name for _, name, _ in kept),
        texts=tuple(label for _, _, label in kept) if labelled else None,
        problems=tuple(summary(what, items) for what, items in notes if items),
        left_out=len(found.links) + len(found.unreadable) + len(loose),
    )


def _walk(root: str, title: str, watch: Watch) -> _Walked:
    """Sort everything below the root."""
    found = _Walked()

    def note(error: OSError) -> None:
        found.unreadable.append(printable(os.path.relpath(error.filename or root, root)))

    for where, folders, files in os.walk(root, onerror=note):
        inside = os.path.relpath(where, root)
        shown = [name for name in folders if not name.startswith(".")]
        linked = {name for name in shown if os.path.islink(os.path.join(where, name))}
        found.links += [_below(inside, name) for name in sorted(linked)]
        folders[:] = sorted(name for name in shown if name not in linked)
        label = "" if inside == "." else printable(inside.split(os.sep)[0])
        names = sorted(name for name in files if not name.startswith("."))
        for name in watched(names, watch, "Listing files"):
            path = os.path.join(where, name)
            if os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES:
                found.foreign.append(_below(inside, name))
            elif os.path.islink(path) and not os.path.realpath(path).startswith(root + os.sep):
                found.links.append(_below(inside, name))
            elif not os.path.isfile(path):
                found.foreign.append(_below(inside, name))
            else:
                found.files.append((path, _below(inside, name), label))
        if len(found.files) > _MAX_FILES:
            raise InputError(f"{title} holds over {_MAX_FILES:,} pictures.", "unsupported")
    return found


def _below(inside: str, name: str) -> str:
    """Path below the root, for messages."""
    return printable(os.path.normpath(os.path.join(inside, name)))
