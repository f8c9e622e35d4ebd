"""Level 1 of the PDF: is it what WeasyPrint makes of the record?

It takes seconds, libraries of the system and fonts, so it has a confined process of its own. The
bytes repeat on one machine; with other fonts or libraries another file comes out, which proves
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ml_core import __version__
from ml_core.events import Progress
from ml_core.reading.errors import InputError
from ml_core.reports.environment import is_this_machine
from ml_core.reports.record import EVIDENCE_FILE, PDF_FILE
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.confined import print_confined
from ml_core.reports.verify.kinds import read_environment
from ml_core.reports.verify.opened import Bundle

_INSTEAD = "read report.html, which is"


def check_pdf(
    bundle: Bundle, path: Path, cancelled: Callable[[], bool]
) -> Iterator[Check | Progress]:
    """Print a bundle's report again, where it has a PDF; the reader knows every file's SHA-256.

    Raises
    ------
    CancelledError
        If it was cancelled.
    """
    if not bundle.reader.has(PDF_FILE):
        return
    if bundle.evidence.tool.version != __version__:
        yield _not_checked("another version made it")
        return
    yield Progress("print", 0, 1)
    try:
        printed = print_confined(path, cancelled).digests
    except InputError as error:
        yield _not_checked(error.sentence.rstrip("."))
        return
    if printed == {name: bundle.reader.digest(name) for name in (PDF_FILE, EVIDENCE_FILE)}:
        yield Check(1, PDF_FILE, "holds", f"{PDF_FILE} is what is made from the record.")
        return
    with suppress(InputError):
        name = bundle.evidence.environment
        if is_this_machine(read_environment(bundle.reader.read(name), name)):
            words = f"{PDF_FILE} is not what is made from the record on this machine: {_INSTEAD}."
            yield Check(1, PDF_FILE, "fails", words)
            return
    yield _not_checked(
        "another file is made of the record here, be it that fonts and libraries are others or "
        "that it was changed"
    )


def _not_checked(why: str) -> Check:
    return Check(
        1, PDF_FILE, "not checked", f"{PDF_FILE} is not shown to be made from the record ({why}): "
        f"{_INSTEAD}.", f"{PDF_FILE} was not compared",
    )  # fmt: skip
