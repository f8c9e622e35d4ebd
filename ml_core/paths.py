"""Where resources, caches and settings live."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import appdirs

_APP = "cleanclip-gui"
_HERE = Path(__file__).resolve().parent
_ROOTS = (
    _HERE.parent / "resources",
    _HERE / "_resources",
    Path(getattr(sys, "_MEIPASS", os.devnull)) / "resources",
)


def resource(*parts: str) -> Path:
    """Path of a shipped file, e.g. ``resource("demo", "manifest.json")``.

    Finds the checkout's ``resources/`` folder or the copy that a wheel installs.

    Raises
    ------
    FileNotFoundError
        If the file was not shipped.
    """
    for root in _ROOTS:
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise FileNotFoundError(f"The installation lacks the file resources/{'/'.join(parts)}.")


def is_shipped(path: str | os.PathLike[str]) -> bool:
    """Whether a path lies among the shipped files, where the user saves nothing."""
    return any(Path(path).resolve().is_relative_to(root.resolve()) for root in _ROOTS)


def _user_path(name: str, default: str) -> Path:
    home = os.environ.get("CLEANCLIP_HOME")
    if home:
        return Path(home, name)
    if os.path.isabs(default):
        return Path(default)
    # $XDG_..._HOME is empty or relative: to be ignored, says the XDG base directory specification.
    return Path.home() / {"data": ".local/share"}.get(name, f".{name}") / _APP


def _user_dir(name: str, default: str) -> Path:
    """Make the folder if possible, and return it; code that only reads goes on without it."""
    path = _user_path(name, default)
    with suppress(OSError):
        path.mkdir(parents=True, exist_ok=True)
    return path


def cache_dir() -> Path:
    """Folder of files that can be made again; ``$CLEANCLIP_HOME/cache`` if that is set.

    It may be missing. If it cannot be made, nothing is kept there, which is no error. The same
    holds for the other two folders.
    """
    return _user_dir("cache", appdirs.user_cache_dir(_APP))


def config_dir() -> Path:
    """Folder of settings and window layout; ``$CLEANCLIP_HOME/config`` if that is set."""
    return _user_dir("config", appdirs.user_config_dir(_APP))


def data_dir() -> Path:
    """Folder of runs, triggers and cleaned checkpoints; ``$CLEANCLIP_HOME/data`` if set."""
    return _user_dir("data", appdirs.user_data_dir(_APP))


def nothing_is_kept() -> str:
    """A sentence where neither settings nor results can be kept; else empty."""
    for folder in (config_dir(), data_dir()):
        if not os.access(folder, os.W_OK):
            return (
                f"Nothing can be written in {folder}: settings and caches are not kept. To keep "
                "them, set CLEANCLIP_HOME to a folder that can be written."
            )
    return ""
