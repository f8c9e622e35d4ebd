"""The door for small JSON files that somebody else may have written: from a path to a record."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ml_core.reading.errors import InputError, damaged, plain
from ml_core.reading.regular_file import LinkOutError, NotRegularError, open_file
from ml_core.reading.strict_json import JsonError, iter_lists, parse_object

_WORDS = 200
_BLANKS = re.compile(r"\s+")
_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}
Record = TypeVar("Record")


@dataclass(frozen=True)
class JsonFile:
    """One kind of file, and the most that it may hold.

    Attributes
    ----------
    what
        What a sentence calls it, e.g. ``a job file``.
    advice
        What to do about a damaged one.
    max_bytes, max_depth, max_parts, half_characters, path_fields
        As in `parse_object`.
    """

    what: str
    advice: str
    max_bytes: int
    max_depth: int = 8
    max_parts: int = 200_000
    half_characters: bool = False
    path_fields: frozenset[str] = frozenset()

    def read(self, path: Path, inside: Path | None = None) -> dict[str, Any]:
        """The JSON object of a regular file.

        Parameters
        ----------
        inside
            As in `ml_core.reading.regular_file.open_file`.

        Raises
        ------
        InputError
            ``usage`` if it is missing or may not be read, ``damaged`` if it holds something else.
        """
        with self._open(path, inside) as file:
            try:
                raw = file.read(self.max_bytes + 1)
            except OSError as error:  # of a broken disk, or in /proc
                raise _unreadable(path, error) from None
        return self.parse(raw, plain(path.name))

    def entries(
        self, path: Path, name: str, rest: dict[str, Any], inside: Path | None = None
    ) -> Iterator[dict[str, Any]]:
        """The objects in one list of a file's object, one by one, where it may be long.

        Parameters
        ----------
        name
            Key of the list.
        rest
            Takes whatever else the object holds.
        inside
            As in `read`.

        Raises
        ------
        InputError
            As `read` does.
        """
        with self._open(path, inside) as file:
            if os.fstat(file.fileno()).st_size > self.max_bytes:
                raise self._too_large(plain(path.name))
            try:
                for _, entry in iter_lists(file, (name,), rest):
                    yield entry
            except JsonError as error:
                raise self._no_json(plain(path.name), error) from None
            except OSError as error:
                raise _unreadable(path, error) from None

    def _open(self, path: Path, inside: Path | None) -> BufferedReader:
        """The file, or a sentence."""
        name = plain(path.name)
        try:
            return open_file(path, inside)
        except FileNotFoundError:
            raise InputError(
                f"There is no {self.what.partition(' ')[2]} at {plain(str(path))}; choose an "
                "existing one."
            ) from None
        except NotRegularError as error:
            raise damaged(
                f"{name} is not {self.what}: it is no regular file but {error.kind}."
            ) from None
        except LinkOutError as error:
            raise damaged(
                f"{name} is not read: {error.strerror}; put the file itself there."
            ) from None
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from None

    def parse(self, raw: bytes, name: str) -> dict[str, Any]:
        """The JSON object in some bytes; raises as `read`."""
        if len(raw) > self.max_bytes:
            raise self._too_large(name)
        try:
            return parse_object(
                raw,
                max_bytes=self.max_bytes,
                max_depth=self.max_depth,
                max_parts=self.max_parts,
                half_characters=self.half_characters,
                path_fields=self.path_fields,
            )
        except JsonError as error:
            raise self._no_json(name, error) from None

    def _too_large(self, name: str) -> InputError:
        limit = _size(self.max_bytes)
        return damaged(f"{name} is not {self.what}: it is too large (over {limit}).")

    def _no_json(self, name: str, error: JsonError) -> InputError:
        reason = short(str(error))
        return damaged(f"{name} is not {self.what}: {reason}; {self.advice}.")

    def check(self, fields: Any, kind: type[Record], name: str) -> Record:
        """A record of what was read: a pydantic model, or a data class.

        Raises
        ------
        InputError
            ``damaged`` with the first field that is wrong.
        """
        try:
            if kind not in _ADAPTERS:  # made once: they take milliseconds, and lists are long
                _ADAPTERS[kind] = TypeAdapter(kind)
            checked: Record = _ADAPTERS[kind].validate_python(fields)
            return checked
        except ValidationError as error:
            raise InputError(
                f"{name} cannot be used: {first_fault(error)}; {self.advice}.",
                "damaged",
                str(error)[:4000],
            ) from None


def first_fault(error: ValidationError) -> str:
    """Half a sentence on the first field that is wrong; values and names are cut short."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = short(".".join(map(str, first["loc"])))
    message = short(first["msg"].removeprefix("Value error, ").removeprefix("Input "))
    message = message[:1].lower() + message[1:]
    return f"{where} {message}" if where else message


def short(text: str, most: int = _WORDS) -> str:
    """A stranger's words for a sentence: on one line, nothing invisible, cut off."""
    cut = plain(_BLANKS.sub(" ", text[: most + 1]))
    return cut if len(cut) <= most else cut[: most - 1] + "…"


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or "the name is not valid"
    return InputError(f"{short(str(path))} cannot be read: {reason}.")


def _size(nbytes: int) -> str:
    return f"{nbytes >> 20} MB" if nbytes >= 1 << 20 else f"{nbytes // 1000} KB"
