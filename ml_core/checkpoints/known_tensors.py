"""Hashes of the tensors of known files, and where these lay when they were added; torch-free.

The titles of known files stand in the list of `ml_core.checkpoints.known`, under the same SHA-256.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ml_core.checkpoints.known import KnownFile, add_known, known_files, remove_known
from ml_core.paths import data_dir
from ml_core.reading import InputError, Inspection, damaged
from ml_core.reading.folder import list_folder
from ml_core.reading.sniff import CHECKPOINT_SUFFIXES, ONNX_ENDING

if TYPE_CHECKING:
    from ml_core.checkpoints.tensor_hashes import PartName, TensorHash

_NAME = "known_tensors-1.sqlite"
_PATIENCE_SECONDS, _CACHE_KB = 30.0, 64 * 1024
# own: the hash is of the values as the file stores them, 1, or rounded, 0; or of shapes, 2.
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY, sha256 TEXT UNIQUE NOT NULL, path BLOB NOT NULL, day TEXT NOT NULL,
    tensors TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS tensors (
    hash BLOB NOT NULL, file INTEGER NOT NULL, own INTEGER NOT NULL, PRIMARY KEY (hash, file)
) WITHOUT ROWID;
COMMIT;
"""
_SHAPES = 2


@dataclass(frozen=True)
class KnownTensors:
    """A known file.

    Parameters
    ----------
    title
        What it is: of the list of known files, else its name.
    path
        Where it lay when it was added on ``day``.
    tensors
        Part, shape and precision of each tensor by its name.
    """

    title: str
    sha256: str
    path: Path
    day: str
    tensors: dict[str, tuple[PartName, tuple[int, ...], str]]


def checkpoints_below(path: Path) -> tuple[Path, ...]:
    """The checkpoints at a path by their names: itself, or what lies below a folder of many.

    A folder with a config and the weights for it is one checkpoint. Folders that are links are not
    entered.
    """
    if not path.is_dir():
        return (path,)
    checkpoints: list[Path] = []
    for place, folders, files in os.walk(path):
        is_one = False
        with suppress(InputError):
            is_one = list_folder(Path(place)).config is not None
        if is_one:
            checkpoints.append(Path(place))
            folders.clear()
            continue
        folders.sort()
        endings = (*CHECKPOINT_SUFFIXES, ONNX_ENDING)
        names = (name for name in sorted(files) if name.lower().endswith(endings))
        checkpoints += [Path(place, name) for name in names]
    return tuple(checkpoints)


def database() -> Path:
    """Where the hashes are, whether there are any or not."""
    return data_dir() / _NAME


def add_known_file(
    entry: KnownFile, inspection: Inspection, hashes: Sequence[TensorHash]
) -> KnownFile:
    """Add a file to the user's list, and the hashes of its tensors; return its entry.

    A file that the list knows keeps its entry there.

    Raises
    ------
    InputError
        As `ml_core.checkpoints.known.add_known`, and if the database is damaged or cannot be
        written.
    """
    from ml_core.checkpoints.tensor_hashes import hash_shapes

    tensors = {item.name: (item.part, item.shape, item.precision) for item in hashes}
    rows = [
        (digest, int(form == item.precision))
        for item in hashes
        for form, digest in item.forms.items()
    ]
    rows += [(digest, _SHAPES) for digest in hash_shapes(hashes).values()]
    listed = known_files()  # a damaged list is left as it is, and so is the database
    place = os.fsencode(inspection.path.absolute())
    day = datetime.now(UTC).date().isoformat()
    with _writing() as index:
        number = index.execute(
            "INSERT INTO files (sha256, path, day, tensors) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (sha256) DO UPDATE SET path = excluded.path, day = excluded.day, "
            "tensors = excluded.tensors RETURNING id",
            (inspection.sha256, place, day, json.dumps(tensors)),
        ).fetchone()[0]
        index.executemany(
            "INSERT OR REPLACE INTO tensors VALUES (?, ?, ?)",
            ((digest, number, own) for digest, own in rows),
        )
    for other in listed:
        if other.sha256 == entry.sha256:
            return other
    add_known(entry)
    return entry


def unlisted_files() -> tuple[KnownFile, ...]:
    """Entries for files whose tensors are known, and which no list has; raises as `known_tensors`.

    Such are left if somebody takes an entry out of the list.
    """
    listed = {entry.sha256 for entry in known_files()}
    return tuple(
        KnownFile(title=KnownFile.as_title(file.title), sha256=file.sha256)
        for file in known_tensors().values()
        if file.sha256 not in listed
    )


def forget_known_file(entry: KnownFile) -> None:
    """Remove an entry of the user's list, and the hashes of its tensors; raises as the adding."""
    if database().exists():
        with _writing() as index:
            which = "(SELECT id FROM files WHERE sha256 = ?)"
            index.execute(f"DELETE FROM tensors WHERE file IN {which}", [entry.sha256])
            index.execute("DELETE FROM files WHERE sha256 = ?", [entry.sha256])
    remove_known(entry)


def known_tensors(sha256: str | None = None) -> dict[str, KnownTensors]:
    """The known files by their SHA-256, or the one of this SHA-256 if it is known.

    Raises
    ------
    InputError
        If the database or the list of known files is damaged.
    """
    with _reading() as index:
        return _files(index, "sha256", sha256) if sha256 else _files(index, "1", 1)


def count_known() -> int:
    """How many files' tensors are known; raises as `known_tensors`."""
    with _reading() as index:
        return int(index.execute("SELECT count(*) FROM files").fetchone()[0])


def nearest(hashes: Sequence[TensorHash]) -> dict[PartName, tuple[KnownTensors, dict[str, bool]]]:
    """For each part the known file with the most equal tensors, and their names.

    A name is True if the known tensor holds all that ours does. It is False if the two agree in the
    known file's coarser precision, and then counts half.

    Of several files the one that has most in common with the other parts, then the one that was
    added first. Constant tensors do not count. Where no tensor is equal, a file with the same names
    and shapes is the nearest. A part that is like none is left out. Raises as `known_tensors`.
    """
    from ml_core.checkpoints.tensor_hashes import hash_shapes

    with _reading() as index:
        index.execute(
            "CREATE TEMP TABLE asked (hash BLOB PRIMARY KEY, part TEXT, number INTEGER, "
            "tells INTEGER, own INTEGER) WITHOUT ROWID"
        )
        index.executemany(
            "INSERT INTO asked VALUES (?, ?, ?, ?, ?)",
            (
                (digest, item.part, number, not item.constant, own)
                for number, item in enumerate(hashes)
                for form, digest in item.forms.items()
                for own in [(form in item.exact) + (form == item.precision)]  # 2: as it is stored
            ),
        )
        equal = "FROM asked CROSS JOIN tensors USING (hash) WHERE (asked.own = 2 OR tensors.own)"
        counts = index.execute(
            f"SELECT part, file, sum(1 + (asked.own > 0)) {equal} AND tells GROUP BY part, file"
        ).fetchall()
        totals: Counter[int] = Counter()
        for _, file, count in counts:
            totals[file] += count
        chosen: dict[PartName, int] = {}
        for part, file, _ in sorted(counts, key=lambda row: (row[2], totals[row[1]], -row[1])):
            chosen[part] = file  # the last is the best
        encoders = set(chosen.values())
        for part, digest in hash_shapes(hashes).items():
            if part not in chosen:
                alike = index.execute(
                    "SELECT file FROM tensors WHERE hash = ? ORDER BY file", [digest]
                )
                candidates = [file for (file,) in alike]
                if best := [file for file in candidates if file in encoders] or candidates:
                    chosen[part] = best[0]
        matches = {}
        for part, file in chosen.items():
            (known,) = _files(index, "id", file).values()
            names = index.execute(
                f"SELECT number, max(asked.own) {equal} AND part = ? AND file = ? GROUP BY number",
                [part, file],
            )
            matches[part] = known, {hashes[number].name: bool(exact) for number, exact in names}
        return matches


def _files(index: sqlite3.Connection, column: str, value: str | int) -> dict[str, KnownTensors]:
    """The files of which a column has a value, in the order in which they were added."""
    titles = {entry.sha256: entry.title for entry in known_files()}
    rows = index.execute(
        f"SELECT sha256, path, day, tensors FROM files WHERE {column} = ? ORDER BY id", [value]
    )
    files = {}
    for sha256, path, day, tensors in rows:
        place = Path(os.fsdecode(path))
        named = {
            name: (part, tuple(shape), precision)
            for name, (part, shape, precision) in json.loads(tensors).items()
        }
        files[sha256] = KnownTensors(titles.get(sha256, place.name), sha256, place, day, named)
    return files


@contextmanager
def _reading() -> Generator[sqlite3.Connection]:
    """The database, which is not written; an empty one in memory if there is none."""
    path = database()
    is_there = path.is_file() and path.stat().st_size > 0
    # What a killed process left half done has to be undone: it is not opened read-only.
    uri = f"{path.absolute().as_uri()}?mode=rw" if is_there else "file::memory:"
    with _explained(path, "read"), closing(_opened(uri)) as index:
        if not is_there:
            index.executescript(_TABLES)
        index.execute("PRAGMA temp_store = MEMORY")
        yield index


@contextmanager
def _writing() -> Generator[sqlite3.Connection]:
    """The database in a transaction, which an exception undoes; one process after the other."""
    path = database()
    with _explained(path, "saved"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError("it is no file")
        with closing(_opened(f"{path.absolute().as_uri()}?mode=rwc")) as index, index:
            index.executescript(_TABLES)
            yield index


def _opened(uri: str) -> sqlite3.Connection:
    index = sqlite3.connect(uri, timeout=_PATIENCE_SECONDS, uri=True, isolation_level="IMMEDIATE")
    try:
        index.execute(f"PRAGMA cache_size = -{_CACHE_KB}")  # hashes are spread over all of it
    except sqlite3.Error:
        index.close()
        raise
    return index


@contextmanager
def _explained(path: Path, what: str) -> Generator[None]:
    """Say in a sentence what keeps the database from being used."""
    try:
        yield
    except (sqlite3.DatabaseError, OSError, ValueError, TypeError, AttributeError) as error:
        foreign = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
        if foreign or not isinstance(error, (sqlite3.OperationalError, OSError)):
            raise damaged(
                f"{path} is damaged ({error}): move it away, and add the known files again. Their "
                "titles are intact."
            ) from error
        words = f"{path} cannot be {what} ({error}): free some space, or allow it to be written."
        if "locked" in str(error):
            words = f"Another program is writing {path}: try again in a moment."
        raise InputError(f"{words} What was known before is intact.") from error
