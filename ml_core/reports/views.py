"""What is made of a record for people and for other programs: each a file of the bundle.

A view is a function of the record and of the bundle's other files. To add one: a line in `views`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ml_core.reports.record import BundlePath, Evidence

Read = Callable[[BundlePath], bytes]
Render = Callable[[Evidence, Read], bytes]
PDF_FILE = "report.pdf"


@dataclass(frozen=True)
class View:
    """A file that is made from the record; ``asked`` is made only for who asks for it."""

    path: BundlePath
    render: Render
    asked: bool = False


def views() -> tuple[View, ...]:
    """All views that there are."""
    return ()


def drawn(evidence: Evidence) -> Mapping[BundlePath, bytes]:
    """The charts of a record as SVG, by their file; what cannot be drawn is left out."""
    return {}
