"""Take the paths of a machine out of what goes into a bundle; the names of files stay."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from ml_core.reading.errors import plain

_NAMES_PATHS = frozenset({
    "adapter", "adapter_path", "after", "before", "checkpoint", "donor", "donor_path", "exclude",
    "label_set", "linear_head", "other_labels", "output_dir", "path", "pictures", "reference",
    "source", "trigger", "vector",
})  # fmt: skip
"""Fields of specs, results and events that hold a path, absolute or not."""
_PART = r"[^\s/\\\"'“”<>|;,()\[\]{}]+"
_PLACES = (
    re.compile(rf"(?:file://|(?<![\w.:/~-]))/(?:{_PART}/)+(?:{_PART})?"),
    re.compile(rf"(?<!\w)[A-Za-z]:[\\/]+(?:{_PART}[\\/]+)*(?:{_PART})?"),
    re.compile(rf"\\\\(?:{_PART}\\+)+(?:{_PART})?"),
)
_WHOLE = re.compile(r"/[^/]|~[/\\]|[A-Za-z]:[\\/]|\\\\|file:///")
_REMOTE = "hf-hub:"
_HALF = re.compile("[\ud800-\udfff]")


class WithoutPaths:
    """Takes paths out of texts and JSON.

    Parameters
    ----------
    known
        Paths that are known to occur, blanks in them included; each becomes its last part.
    """

    def __init__(self, known: Iterable[object] = ()) -> None:
        paths = {str(path) for path in known}
        longest = sorted((path for path in paths if _WHOLE.match(path)), key=len, reverse=True)
        either = "|".join(map(re.escape, longest))
        # With what lies below it.
        self._known = re.compile(rf"(?:{either})(?:[/\\]{_PART})*") if longest else None

    def text(self, text: str) -> str:
        """A sentence in which a path has become the name of its file, as UTF-8 can hold it."""
        for place in (*([self._known] if self._known is not None else []), *_PLACES):
            text = place.sub(lambda match: name_of(match[0]), text)
        return shown(text)

    def json(self, value: Any, field: str = "") -> Any:
        """A copy of JSON without paths; ``field`` is the name that the value has in an object."""
        if isinstance(value, dict):
            return {self.text(key): self.json(item, key) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.json(item, field) for item in value]
        if not isinstance(value, str):
            return value
        is_place = field in _NAMES_PATHS and ("/" in value or "\\" in value)
        if _WHOLE.match(value) and "\n" not in value and " " not in value:
            is_place = True
        if is_place and not value.startswith(_REMOTE):
            return shown(name_of(value))
        return self.text(value)


def name_of(path: str) -> str:
    """The last part of a path of any system."""
    parts = path.replace("\\", "/").rstrip("/").rsplit("/", 1)
    return parts[-1] or PurePath(path).name


def shown(name: str) -> str:
    """A name in which bytes that are no UTF-8 are written out: a record holds texts alone."""
    return _HALF.sub(lambda half: plain(half[0]), name)
