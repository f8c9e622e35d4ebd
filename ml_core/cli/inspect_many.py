"""What ``cleanclip inspect`` prints of several paths."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_core import __version__, figures
from ml_core.checkpoints.inspection_record import FailOn
from ml_core.checkpoints.inspection_sarif import RULES, inspected_artifact, inspection_findings
from ml_core.cli import output
from ml_core.cli.run import watched
from ml_core.events import finite
from ml_core.reading.errors import printable
from ml_core.reading.inspection import RULES_VERSION
from ml_core.reading.walk import Tally
from ml_core.reports.many import (
    Options,
    Ranking,
    Row,
    inspect_many,
    json_lines,
    save_json_lines,
)
from ml_core.sarif import Artifact, SarifResult, folders_to, log_of

if TYPE_CHECKING:
    from rich.table import Table

_COLUMNS = ("Verdict", "~Path", "~What it is", ">Bytes")


def print_many(
    paths: Iterable[Path],
    form: str,
    file: Path | None,
    fail_on: FailOn,
    jobs: int,
    **how: Any,
) -> int:
    """Inspect paths, print or write what was found, and return the exit code.

    Parameters
    ----------
    form
        ``text``, ``json`` (a record a line, as soon as it is there) or ``sarif``.
    file
        Written instead of standard output.
    **how
        Fields of `Options`.
    """
    ranking, tally = Ranking(), Tally()
    codes: set[int] = set()
    options = Options(records=form != "text", **how)

    with watched("Inspecting") as (report, cancelled):

        def rows() -> Iterator[Row]:
            found = inspect_many(paths, options, jobs=jobs, tally=tally, cancelled=cancelled)
            with closing(found):
                for row in found:
                    ranking.add(row)
                    codes.add(row.failing(fail_on, signed=options.keys is not None))
                    yield row
                    report(f"{figures.count(tally.files)} files looked at: {row.path}", 0, 0)

        if form == "json":
            _lines(rows(), file)
        elif form == "sarif":
            content = (json.dumps(finite(_sarif(rows()), printable), indent=1) + "\n").encode()
        else:
            for _ in rows():
                pass
    if form == "text":
        output.give(_table(ranking), file)
    elif form == "sarif":
        output.give(content, file)
    output.say(ranking.summary(tally, "--hash", "--json"))
    return min(codes - {0}, default=0)


def _lines(rows: Iterable[Row], file: Path | None) -> None:
    """One record a line."""
    if file is None:
        for line in json_lines(rows):
            output.show_bytes(line)
        return
    save_json_lines(rows, file.expanduser())
    output.say(f"Written: {file}")


def _table(ranking: Ranking) -> Table:
    rows = (
        (
            row.words,
            str(row.path),
            row.what or row.reasons[0],
            figures.count(row.size) if row.size else "",
        )
        for row in ranking.rows
    )
    return output.table("Checkpoints", _COLUMNS, rows)


def _sarif(rows: Iterable[Row]) -> dict[str, Any]:
    """One log with a finding a reason; a path that could not be looked at is unsupported."""
    artifacts: list[Artifact] = []
    findings: list[SarifResult] = []
    for row in rows:
        record = row.record
        if record is None:
            record = {
                "name": row.path.name, "verdict": row.verdict, "reason_code": "unsupported",
                "reasons": row.reasons[:1], "file_sha256": row.sha256, "size": row.size,
                "format": "",
            }  # fmt: skip
        if row.same_as is None or row.record is not None:
            artifacts.append(inspected_artifact(record, folders_to(row.path)))
            findings.extend(inspection_findings(record, len(artifacts) - 1))
    tool = {"name": "CleanCLIP GUI", "version": __version__}
    return log_of(tool, RULES, artifacts, findings, rules_version=RULES_VERSION, properties={})
