"""Many checkpoints inspected one after the other: a row for each, the worst first.

Nothing is printed here: the command line and the window show the same rows.
"""

from __future__ import annotations

import heapq
import json
import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from ml_core import figures
from ml_core.checkpoints.inspection_record import (
    VERDICTS,
    FailOn,
    RowVerdict,
    ask_for_second_opinion,
    assess,
    exit_status,
    inspection_record,
    member_records,
    worst_verdict,
)
from ml_core.events import finite
from ml_core.exports import save_export
from ml_core.reading import InputError, Inspection, examine
from ml_core.reading.errors import CancelledError, exit_code, printable
from ml_core.reading.inspect import whole_file
from ml_core.reading.inspection import verdict_words
from ml_core.reading.sniff import is_onnx_name
from ml_core.reading.walk import Tally, walk
from ml_core.signing import PublicKey, SignatureFacts, check_checkpoint, find_signature

HASHED = 1 << 30
"""Files of more bytes are hashed only if that is asked for."""
MOST_SHOWN = 1000
"""Rows of a table: the worst ones."""
_MOST_REMEMBERED = 100_000


@dataclass(frozen=True)
class Row:
    """What was found at one path.

    Parameters
    ----------
    path
        As it was given, or found below a folder that was.
    verdict
        As `Assessment.verdict`; of an archive with several checkpoints the worst of theirs.
    what
        Name of the architecture, else the format; empty if nothing is known.
    size, sha256
        Bytes of the weights and their hash, which is empty if they were not hashed.
    reasons
        Whole sentences, the most important first.
    error_code
        Why it is not opened, as that of an `InputError`, or ``internal``; empty if it is.
    signature
        What the signature beside it says; None without one.
    same_as
        The path of an earlier row whose bytes these are. Another name of one file is not looked at
        again and has no record; another file must be read to know.
    folder
        Whether it is a folder, of which the config counts beside the weights.
    record
        What `inspection_record` gives, where that was asked for.
    """

    path: Path
    verdict: RowVerdict
    what: str = ""
    size: int = 0
    sha256: str = ""
    reasons: tuple[str, ...] = ()
    error_code: str = ""
    signature: SignatureFacts | None = None
    same_as: Path | None = None
    folder: bool = False
    record: dict[str, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def words(self) -> str:
        """The verdict for people."""
        return "Not read" if self.verdict == "unknown" else verdict_words(self.verdict)

    @property
    def badness(self) -> tuple[int, str]:
        """Sorts rows: the worst verdict first, then by path."""
        return VERDICTS.index(self.verdict), str(self.path)

    def failing(self, fail_on: FailOn, *, signed: bool = False) -> int:
        """Exit code of ``cleanclip inspect`` for this row alone; 0 if it does not fail.

        Parameters
        ----------
        fail_on
            See `exit_status`. A signature that does not hold always fails.
        signed
            Whether what has no good signature fails.
        """
        state = "none" if self.signature is None else self.signature.state
        if state == "bad" or (signed and state != "good"):
            return exit_code("dangerous")
        return exit_status(self.verdict, fail_on, self.error_code)

    def to_dict(self) -> dict[str, Any]:
        """The record; of a path without one, or with the bytes of another one, the row itself."""
        path = str(self.path)
        if self.record is not None:
            same = {} if self.same_as is None else {"same_as": str(self.same_as)}
            return self.record | {"path": path} | same
        if self.verdict == "unknown":
            row = {"path": path, "error": self.reasons[0], "error_code": self.error_code}
            return row | {"details": "\n".join(self.reasons[1:])}
        return {
            "path": path, "name": self.path.name, "verdict": self.verdict, "size": self.size,
            "sha256": self.sha256, "reasons": list(self.reasons), "same_as": str(self.same_as),
        }  # fmt: skip


class Options(NamedTuple):
    """How each path is inspected.

    Parameters
    ----------
    hashed
        Whether files of over `HASHED` bytes are hashed, too. Without it the checksums in an
        archive of that size are not compared either.
    records
        Whether rows have a record, for which picklescan is asked, too.
    keys
        Keys to believe instead of the user's own and trusted ones.
    use_choice
        As for `assess`.
    faults
        Why there is nothing at a path, where more is known than that.
    """

    hashed: bool = False
    records: bool = False
    keys: tuple[PublicKey, ...] | None = None
    use_choice: bool = True
    faults: Mapping[Path, InputError] = MappingProxyType({})


QUICK = Options()


def inspect_many(
    paths: Iterable[Path],
    options: Options = QUICK,
    *,
    jobs: int = 2,
    tally: Tally | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Generator[Row]:
    """Inspect what `walk` finds, in its order.

    A file with two names is read once, and so is a path that comes twice. No file keeps the others
    from being inspected: what goes wrong with one is its row.

    Parameters
    ----------
    jobs
        How many are read at once; two for each core at most, since each has imports of its own.
    tally
        Is told what was met.

    Raises
    ------
    CancelledError
        If it was cancelled.
    """
    jobs = min(jobs, 2 * (os.cpu_count() or 1))
    batch = _Batch(options, tally or Tally(), cancelled)
    found = walk(paths, batch.tally)
    with ThreadPoolExecutor(jobs, "inspect") as batch.pool:
        try:
            while batch.start(found) or batch.pending:
                if len(batch.pending) > 2 * jobs or batch.ended:
                    yield batch.finished()
        finally:
            batch.pool.shutdown(wait=False, cancel_futures=True)


class _Batch:
    """Paths that are being inspected, in their order."""

    def __init__(self, options: Options, tally: Tally, cancelled: Callable[[], bool]) -> None:
        self.tally, self.ended = tally, False
        self.pending: deque[tuple[Path, object, Future[Row] | Row, bool]] = deque()
        self.pool: ThreadPoolExecutor
        self._how = options, cancelled
        self._known: dict[object, Future[Row] | Row] = {}
        self._hashes: dict[str, Path] = {}

    def start(self, found: Iterator[Path]) -> bool:
        """Begin with the next path; False if there is none."""
        path = next(found, None)
        self.ended = path is None
        if path is None:
            return False
        key = _identity(path)
        known = self._known.get(key)
        row = known or self.pool.submit(_row, path, *self._how)
        if len(self._known) < _MOST_REMEMBERED:
            self._known[key] = row
        self.pending.append((path, key, row, known is not None))
        return True

    def finished(self) -> Row:
        """Wait for the first row."""
        path, key, pending, repeated = self.pending.popleft()
        row = pending if isinstance(pending, Row) else pending.result()
        if repeated:
            return replace(row, path=path, same_as=row.path, record=None)
        if key in self._known:
            self._known[key] = replace(row, record=None)
        first = path
        if row.sha256 and len(self._hashes) < _MOST_REMEMBERED:
            first = self._hashes.setdefault(row.sha256, path)
        return row if first == path else replace(row, same_as=first)


def _identity(path: Path) -> object:
    """What two paths share if their examinations would: the file, and what its name says of it."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return path
    if not stat.S_ISREG(facts.st_mode) or is_onnx_name(path.name):  # what is beside it counts
        return path
    return facts.st_dev, facts.st_ino, path.suffix.lower(), find_signature(path)


def _row(path: Path, options: Options, cancelled: Callable[[], bool]) -> Row:
    """Inspect one path; raises `CancelledError` alone."""
    try:
        if path in options.faults:
            raise options.faults[path]
        signed = find_signature(whole_file(path)) is not None
        hashed = options.hashed or signed or options.keys is not None or _size(path) <= HASHED
        return _inspected(path, examine(path, cancelled, hashed=hashed), options, cancelled)
    except CancelledError:
        raise
    except InputError as error:
        reasons = (error.sentence, *filter(None, [error.details]))
        return Row(path, "unknown", reasons=reasons, error_code=error.code)
    except Exception as error:
        sentence = f"Something failed inside the program: {type(error).__name__}: {error}"
        return Row(path, "unknown", reasons=(sentence,), error_code="internal")


def _size(path: Path) -> int:
    """Bytes of a file, or of the files in a folder."""
    with suppress(OSError):  # its examination says why
        if not path.is_dir():
            return os.stat(whole_file(path)).st_size
        with os.scandir(path) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.is_file())
    return 0


def _inspected(
    path: Path, inspection: Inspection, options: Options, cancelled: Callable[[], bool]
) -> Row:
    assessed = assess(inspection, use_choice=options.use_choice)
    signature = check_checkpoint(inspection, options.keys, cancelled)
    record: dict[str, Any] | None = None
    if options.records:
        opinion = ask_for_second_opinion(inspection, cancelled)
        facts = None if signature is None else signature.to_dict()
        record = dict(inspection_record(assessed, opinion, facts))
    members = record["members"] if record else member_records(inspection, cancelled)
    verdict = worst_verdict(assessed, members)
    return Row(
        path,
        verdict,
        (assessed.architecture or {}).get("name") or inspection.format,
        inspection.size,
        inspection.sha256,
        assessed.reasons,
        "" if verdict in ("loads", "caution") else verdict,
        signature,
        folder=inspection.source.is_dir(),
        record=record,
    )


def json_lines(rows: Iterable[Row]) -> Iterator[bytes]:
    """A line of JSON for each row, as soon as it is there."""
    return (json.dumps(finite(row.to_dict(), printable)).encode() + b"\n" for row in rows)


def save_json_lines(rows: Iterable[Row], path: Path) -> None:
    """Write `json_lines` into a file as they come, whole or not at all.

    Raises
    ------
    InputError
        If the file cannot be written.
    """

    def write(target: BinaryIO) -> None:
        for line in json_lines(rows):
            target.write(line)

    save_export(path, write)


class Ranking:
    """The worst rows of any number, and how many there are of each verdict."""

    def __init__(self) -> None:
        self.counts: Counter[RowVerdict] = Counter()
        self.same = self.not_hashed = 0
        self._rows: list[tuple[_Reversed, Row]] = []

    def add(self, row: Row) -> None:
        """Take in the next row."""
        self.counts[row.verdict] += 1
        self.same += row.same_as is not None
        self.not_hashed += not row.sha256 and row.verdict in ("loads", "caution")
        entry = _Reversed(row.badness), replace(row, record=None)
        push = heapq.heappush if len(self._rows) < MOST_SHOWN else heapq.heappushpop
        push(self._rows, entry)

    def summary(self, tally: Tally, hashing: str, showing: str) -> str:
        """How many of each verdict, and what was left out.

        Parameters
        ----------
        hashing, showing
            What hashes all files, and what shows all rows.
        """
        number, total = figures.count, self.counts.total()
        verdicts = ", ".join(
            f"{number(count)} {Row(Path(), verdict).words.lower()}"
            for verdict in VERDICTS
            if (count := self.counts[verdict])
        )
        sentences = [
            f"{number(tally.files)} file{'' if tally.files == 1 else 's'} looked at, "
            f"{number(total)} inspected{': ' * bool(verdicts)}{verdicts}."
        ]
        facts = (
            *tally.left_out,
            (self.same, "the same as another"),
            (self.not_hashed, f"not hashed ({hashing} does it)"),
            (max(total - MOST_SHOWN, 0), f"not shown ({showing} has them all)"),
        )
        return " ".join(filter(None, (*sentences, left_out_sentence(facts))))

    @property
    def rows(self) -> list[Row]:
        """At most `MOST_SHOWN`, the worst first."""
        return sorted((row for _, row in self._rows), key=lambda row: row.badness)


def left_out_sentence(facts: Iterable[tuple[int, str]]) -> str:
    """What a walk left out, and how many; empty if there is nothing."""
    left_out = [f"{figures.count(n)} {what}" for n, what in facts if n]
    return f"Among the files: {'; '.join(left_out)}." if left_out else ""


class _Reversed:
    """Lets a heap drop what is least bad."""

    def __init__(self, badness: tuple[int, str]) -> None:
        self._badness = badness

    def __lt__(self, other: _Reversed) -> bool:
        return self._badness > other._badness
