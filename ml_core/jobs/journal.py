"""Events and results of a job on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from ml_core.atomic import Content, replace_files
from ml_core.events import Done, Event, Message, Saved, finite, from_json, to_json
from ml_core.exports import to_csv
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import append_text, iter_lines, read_file
from ml_core.reading.strict_json import JsonError, parse_object

_MAX_BYTES = 16_000_000
_MAX_DEPTH = 64
# Of a journal as much is read as a run of a million steps writes, evaluated at every fiftieth.
_MOST, _MOST_LINES, _MOST_EVENTS = 1 << 30, 3_000_000, 40_000


def journaled(
    events: Generator[Event, None, None], path: Path, *, append: bool
) -> Generator[Event, None, None]:
    """Pass events on and write each as a line of JSON first.

    Parameters
    ----------
    events
        What happens.
    path
        The journal.
    append
        Write after the lines of an earlier session (a resumed job). Otherwise an earlier journal
        is left alone: lines wait until the job has taken it away, or are lost if it never does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file: TextIO | None = None
    waiting = ""
    whole = True
    try:
        for event in events:
            if file is None and (append or not path.exists()):
                file = append_text(path)
            waiting += to_json(event) + "\n" if whole else ""
            if file is not None and whole:
                try:
                    file.write(waiting)
                    waiting = ""
                except OSError as error:
                    whole = False
                    yield Message(f"{path.name} is no longer written: {error.strerror}.", "warning")
            yield event
    finally:
        events.close()
        with contextlib.suppress(OSError):  # the buffered rest of a full disk
            if file is not None:
                file.close()


def add_last_word(path: Path, last: Done) -> None:
    """Write how a job ended into its journal, for a process that is gone and did not say so.

    A line that was cut short is closed first. On a full disk nothing is written.
    """
    with contextlib.suppress(OSError), append_text(path) as file:
        file.write(f"\n{to_json(last)}\n")


def read_events(
    path: Path, accepts: Callable[[str], bool] = lambda line: True
) -> Generator[Event, None, None]:
    """Events of a journal, line by line; none if there is no file.

    Parameters
    ----------
    path
        The journal.
    accepts
        Says of a line whether it is worth taking apart.
    """
    try:
        for line in islice(filter(accepts, journal_lines(path)), _MOST_EVENTS):
            with contextlib.suppress(ValueError):  # cut by a kill
                yield from_json(line)
    except OSError:
        return


def journal_lines(path: Path) -> Iterator[str]:
    """Lines of a journal, which may be a stranger's; `OSError` if it is not there as a file."""
    return iter_lines(path, _MAX_BYTES, _MOST, _MOST_LINES, inside=path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """What a result or a proof holds; empty if there is none or it cannot be read."""
    try:
        raw = read_file(path, _MAX_BYTES + 1, inside=path.parent)
        return parse_object(raw, max_bytes=_MAX_BYTES, max_depth=_MAX_DEPTH, half_characters=True)
    except (OSError, JsonError):
        return {}


def check_result(path: Path, own: Mapping[str, Any]) -> None:
    """Refuse to write over the result of another job.

    Parameters
    ----------
    path
        Where the result goes. A file there that is no record does not count as a result.
    own
        Fields that distinguish this job's record from others, as JSON values.

    Raises
    ------
    InputError
        With the folder and what to do.
    """
    if _contradicts(read_json(path), own):
        raise InputError(
            f"{path.parent} holds the result of another job ({path.name}); choose another folder, "
            "or replace what is there with --overwrite."
        )


def _contradicts(record: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether a field that both have differs."""
    for name in own.keys() & record.keys():
        there, here = record[name], own[name]
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            if _contradicts(there, here):
                return True
        elif there != here:
            return True
    return False


def digest_of(facts: Any) -> str:
    """SHA-256 of what decides a result, by which a finished one is known again."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def save_results(folder: Path, files: Mapping[str, Content]) -> Iterator[Saved]:
    """Write results into a folder, all or none, and say so; `OSError` if it cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_files({folder / name: content for name, content in files.items()})
    for name in files:
        yield Saved(str(folder / name), "result")


def write_comparison(
    folder: Path,
    names: tuple[str, str, str],
    record: Mapping[str, Any],
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    chart: str,
    more: Mapping[str, bytes] | None = None,
) -> Saved:
    """Write record, table and chart of a comparison as far as they go, all or none.

    Parameters
    ----------
    folder
        Made where it is missing.
    names
        Names of the three files.
    record
        JSON-ready.
    columns, rows
        Columns and rows of the table; a row may lack some columns.
    chart
        An SVG document.
    more
        Other files of it, by their names.

    Returns
    -------
    Saved
        Names the record.
    """
    table = to_csv([columns, *([row.get(name) for name in columns] for row in rows)])
    own, beside, drawn = names
    text = json.dumps(finite(dict(record)), indent=1)
    # The record comes last: it vouches for the others.
    files = {beside: table.encode(), drawn: chart.encode(), **(more or {}), own: text.encode()}
    *_, saved = save_results(folder, files)
    return saved


def write_record(record: dict[str, Any], path: Path) -> Generator[Event, None, None]:
    """Write what a job found into its folder, and end the job with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    yield Saved(str(write_json(record, path)), "result")
    yield Done("finished", record)


def write_json(values: dict[str, Any], path: Path) -> Path:
    """Replace a JSON file; return the path."""
    replace_files({path: json.dumps(finite(values), indent=1).encode()})
    return path
