"""One hostile file: what it is called, how it is written, what must be said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Expected = Literal["dangerous", "damaged", "refused", "inert"]


@dataclass(frozen=True)
class Item:
    """A hostile file or folder.

    Parameters
    ----------
    name
        Group and idea, ``zip/two roots``; also where it lies in the corpus.
    make
        Bytes of the file, given the path of the canary that its payload creates; or a function
        that writes a folder, see ``folder``.
    expect
        The verdict that must come: ``dangerous``, ``damaged``, ``refused`` (one of the two), or
        ``inert`` (any verdict; nothing may run).
    live
        The loader that creates the canary when it reads the file without protection: ``pickle``,
        ``torch``, ``jit``, ``numpy``, ``joblib``; empty where there is no payload or where it acts
        only on another system or an older Python.
    ending
        Of the file's name.
    heavy
        It takes a second or more, so the suite leaves it to the script that counts.
    """

    name: str
    make: Callable[[Path], bytes]
    expect: Expected = "dangerous"
    live: str = ""
    ending: str = ".pt"
    heavy: bool = False

    def write(self, folder: Path, canary: Path) -> Path:
        """Write it below a folder and return its path."""
        path = folder / f"{file_name(self.name)}{self.ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.make(canary))
        return path


@dataclass(frozen=True)
class FolderItem(Item):
    """One that is written by ``make`` itself: it takes a folder of its own and the canary."""

    lay: Callable[[Path, Path], Path] = lambda folder, canary: folder

    def write(self, folder: Path, canary: Path) -> Path:
        path = folder / file_name(self.name)
        path.mkdir(parents=True, exist_ok=True)
        return self.lay(path, canary)


def file_name(name: str) -> str:
    """A name that every file system takes."""
    group, _, idea = name.partition("/")
    kept = "".join(char if char.isalnum() and char.isascii() else "-" for char in idea)
    return f"{group}/{kept}"
