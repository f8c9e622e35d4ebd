"""What the configurations in a checkpoint's folder ask other programs to run; here nothing is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ml_core.reading.errors import InputError
from ml_core.reading.folder import check_link
from ml_core.reading.regular_file import open_regular

_MAX_FILES = 200
_MAX_BYTES = 1 << 20  # larger ones, such as a tokenizer's words, are searched as text
_SEARCHED = 64 << 20
# What each key must hold to name code: a word of a vocabulary may be called the same.
_KEYS: dict[str, type] = {
    "auto_map": dict,
    "custom_pipelines": dict,
    "trust_remote_code": bool,
    "_target_": str,
}
_AS_TEXT = re.compile(
    rb'"(?:(auto_map|custom_pipelines)"\s*:\s*\{\s*"|(trust_remote_code)"\s*:\s*true'
    rb'|(_target_)"\s*:\s*"[^"])'
)


def names_code(folder: Path, names: Iterable[str]) -> dict[str, list[str]]:
    """Which JSON files of a folder name code, by the key that does.

    Parameters
    ----------
    folder
        The checkpoint's; links that lead out of it are not followed.
    names
        What lies in it and below, see `ml_core.reading.folder.names_below`.

    Returns
    -------
    dict
        ``auto_map`` and others to the names of files, in order; empty if there are none.
    """
    found: dict[str, list[str]] = {}
    configs = [name for name in names if name.lower().endswith(".json")]
    for name in configs[:_MAX_FILES]:
        try:
            check_link(folder, folder / name)
            keys = _keys(folder / name)
        except InputError:  # what is no file of the folder, and is not opened
            continue
        for key in sorted(keys):
            found.setdefault(key, []).append(name)
    return found


def _keys(path: Path) -> set[str]:
    """Keys in a file that name code, at any depth."""
    file, size = open_regular(path)
    with file:
        if size > _MAX_BYTES:
            return set(_searched(file.read(1 << 20) for _ in range(_SEARCHED >> 20)))
        raw = file.read(_MAX_BYTES)
    found: set[str] = set()

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found.update(
            key for key, value in pairs if key in _KEYS and value and type(value) is _KEYS[key]
        )
        return dict(pairs)

    try:
        # As the programs do that will read it, which take NaN and a key that stands twice.
        json.loads(raw, object_pairs_hook=note)
    except (ValueError, RecursionError):
        found.update(_searched([raw]))
    return found


def _searched(pieces: Iterable[bytes]) -> Iterator[str]:
    """Keys in text that may be no JSON, or too long to be taken apart."""
    before = b""
    for piece in pieces:
        if not piece:
            return
        text = before + piece
        yield from (match[match.lastindex or 0].decode() for match in _AS_TEXT.finditer(text))
        before = text[-64:]


def code_notes(found: dict[str, list[str]]) -> tuple[str, ...]:
    """Sentences on what names code."""
    return tuple(
        f"{_listed(names)} {'asks' if len(names) == 1 else 'ask'} other programs, such as the "
        f"transformers library, to run Python code from the repository ({key}); nothing of it was "
        "run."
        for key, names in found.items()
    )


def _listed(names: list[str]) -> str:
    shown = names if len(names) < 4 else [*names[:3], f"{len(names) - 3} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def twins(names: Iterable[str]) -> list[tuple[str, str]]:
    """Names that differ in case alone: which of them is meant depends on the machine."""
    seen: dict[str, str] = {}
    found = []
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            found.append((other, name))
    return found


def twin_notes(names: Iterable[str], what: str) -> tuple[str, ...]:
    """A sentence on such names; ``what`` holds them."""
    found = twins(names)
    if not found:
        return ()
    first, second = found[0]
    return (
        f"{what} holds names that differ in case alone ({first[:80]!r} and {second[:80]!r}): which "
        "of them is opened depends on the machine.",
    )
