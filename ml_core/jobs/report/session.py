"""What a report takes from sessions: their runs and scans, and the notes if they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ml_core.jobs.report import ReportSpec
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import short
from ml_core.reports.sessions.folder import check_same, is_session, read_session
from ml_core.reports.sessions.record import SavedSession

_LONGEST_NOTE = 20_000  # of one text in the record


def with_sessions(spec: ReportSpec, *, notes: bool = False) -> ReportSpec:
    """A report of the runs and scans of the sessions among its runs, in their place.

    Parameters
    ----------
    spec
        Its ``runs`` may name sessions.
    notes
        Whether what was written down in them is in the report.

    Raises
    ------
    InputError
        If a session was not saved on this machine, holds neither run nor scan, or names one that
        is gone or was exchanged.
    """
    runs, scans, sentences = list[str](), list(spec.scans), list(spec.notes)
    for given in spec.runs:
        folder = Path(given)
        if not is_session(folder):
            runs.append(given)
            continue
        session = _session(folder)
        runs += session.runs
        scans += session.scans
        sentences += _notes(session) if notes else ()
    return spec.model_copy(
        update={
            "runs": tuple(dict.fromkeys(runs)),
            "scans": tuple(dict.fromkeys(scans)),
            "notes": tuple(sentences),
        }
    )


def _session(folder: Path) -> SavedSession:
    """A session of this machine, whose runs and scans are where they were."""
    read, name = read_session(folder), short(folder.name)
    session = read.session
    if not read.is_own:
        raise InputError(
            f"The session {name} was not saved on this machine, or changed since: open it in the "
            "window, find its files, and save it."
        )
    if not session.runs and not session.scans:
        raise InputError(
            f"The session {name} holds neither a run nor a scan; there is nothing to report yet."
        )
    for path in (*session.runs, *session.scans):
        if not Path(path).exists():
            raise InputError(
                f"{short(path)} of the session {name} is no longer there: open the session in the "
                "window, find it or leave it out, and save."
            )
        facts = session.files.get(path)
        if facts is not None and facts.digest:
            check_same(Path(path), Path(path).name, facts)
    return session


def _notes(session: SavedSession) -> Iterator[str]:
    """The notes paragraph by paragraph, none longer than the record takes."""
    for paragraph in session.notes.split("\n\n"):
        text = paragraph.strip()
        for start in range(0, len(text), _LONGEST_NOTE):
            yield text[start : start + _LONGEST_NOTE]
