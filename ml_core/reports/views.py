"""What is made of a record for people and for other programs: each a file of the bundle.

A view is a function of the record and of the bundle's other files. To add one: a line in `views`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ml_core.reports.cyclonedx import render_cyclonedx
from ml_core.reports.html.pdf import render_pdf
from ml_core.reports.html.report import render_html
from ml_core.reports.record import EVIDENCE_FILE, PDF_FILE, BundlePath, Evidence
from ml_core.reports.rendering import Read
from ml_core.reports.sarif import render_intoto, render_sarif

Render = Callable[[Evidence, Read], bytes]
REPORT_FILE = "report.html"


@dataclass(frozen=True)
class View:
    """A file that is made from the record; one with ``asked`` is made only on request."""

    path: BundlePath
    render: Render
    asked: bool = False


def views() -> tuple[View, ...]:
    """All views that there are."""
    return (
        View(REPORT_FILE, render_html),
        View(PDF_FILE, _pdf, asked=True),
        View("inspection.sarif", render_sarif),
        View("bom.cdx.json", render_cyclonedx),
        View("model.intoto.json", render_intoto),
    )


def _pdf(evidence: Evidence, read: Read) -> bytes:
    return render_pdf(render_html(evidence, read), read(EVIDENCE_FILE))
