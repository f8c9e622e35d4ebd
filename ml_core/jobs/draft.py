"""What a report would say of runs, scans and measurements, without writing it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from ml_core.events import Control, Event
from ml_core.jobs.report import evidence_of
from ml_core.jobs.report_sources import read_sources
from ml_core.jobs.report_spec import ReportSpec
from ml_core.reports.html.report import render_html
from ml_core.reports.record import Evidence
from ml_core.reports.write_bundle import as_read, reading


@dataclass(frozen=True, eq=False)
class Draft:
    """A report that was not written: its record, and its page as it would be now."""

    evidence: Evidence
    html: bytes


def draft(spec: ReportSpec, control: Control) -> Generator[Event, None, Draft]:
    """Put a report together; nothing is measured again, so tau stays unknown.

    Parameters
    ----------
    spec
        Its runs kept their answers: others would be measured.

    Yields
    ------
    Event
        Progress of the stage ``open``.

    Raises
    ------
    InputError
        As `read_sources`.
    CancelledError
        If it was cancelled.
    """
    sources = yield from read_sources(spec, control)
    evidence = as_read(evidence_of(spec, sources, spec.name or "Draft", {}))
    return Draft(evidence, render_html(evidence, reading(sources.files)))
