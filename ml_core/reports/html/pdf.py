"""``report.pdf`` from ``report.html``: tagged, with the record attached, the same bytes each time.

WeasyPrint is an extra; it needs Pango, a library of the system.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from ml_core.reading.errors import InputError
from ml_core.reports.record import EVIDENCE_FILE

_EPOCH = datetime(1980, 1, 1, tzinfo=UTC)
_CLOCK = "SOURCE_DATE_EPOCH"  # reproducible-builds.org/specs/source-date-epoch
_INSTEAD = "open report.html in a browser and print it there into a PDF file"


def render_pdf(html: bytes, evidence_json: bytes) -> bytes:
    """The report as PDF/UA; nothing is fetched, whatever the page asks for.

    Parameters
    ----------
    html
        What `render_html` gives.
    evidence_json
        Attached as ``evidence.json``.

    Raises
    ------
    InputError
        ``unsupported`` if WeasyPrint or Pango is missing.
    """
    weasyprint = _weasyprint()
    from weasyprint.urls import URLFetcher

    class NothingElse(URLFetcher):  # type: ignore[misc]
        """Answers ``data:`` alone."""

        def __init__(self) -> None:
            super().__init__(allowed_protocols=("data",), allow_redirects=False)

        def fetch(self, url: str, headers: Any = None) -> Any:
            if not url.lower().startswith("data:"):
                raise ValueError("only data: is fetched")
            return super().fetch(url, headers)

    fetcher = NothingElse()
    record = weasyprint.Attachment(
        string=evidence_json,
        name=EVIDENCE_FILE,
        description="The record that this report is made from",
        created=_EPOCH,
        modified=_EPOCH,
        relationship="Source",
        url_fetcher=fetcher,
    )
    loggers = [logging.getLogger(f"weasyprint{part}") for part in ("", ".progress")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:  # it warns of what only browsers know in the style sheet
        logger.setLevel(logging.CRITICAL)
    try:
        document = weasyprint.HTML(string=html.decode(), url_fetcher=fetcher).render(
            pdf_variant="pdf/ua-1"
        )
        document.metadata.attachments = [record]
        with _fixed_time():
            content: bytes = document.write_pdf(
                pdf_variant="pdf/ua-1",
                pdf_identifier=hashlib.sha256(html + evidence_json).digest()[:16],
            )
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    return content


@contextmanager
def _fixed_time() -> Iterator[None]:
    """Fonts that fontTools cuts down, where HarfBuzz-Subset is missing, do not tell the time."""
    before = os.environ.get(_CLOCK)
    os.environ[_CLOCK] = str(int(_EPOCH.timestamp()))
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CLOCK]
        else:
            os.environ[_CLOCK] = before


def _weasyprint() -> ModuleType:
    from PIL import ImageFile

    truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        import weasyprint
    except ImportError:
        raise InputError(
            f"There is no PDF without the package weasyprint: {_INSTEAD}, or install "
            "cleanclip-gui[pdf].",
            "unsupported",
        ) from None
    except OSError:  # its library was not found
        raise InputError(
            f"There is no PDF without Pango, a library of the system: {_INSTEAD}, or install "
            "Pango (on Debian: apt install libpango-1.0-0 libpangoft2-1.0-0).",
            "unsupported",
        ) from None
    finally:  # weasyprint lets Pillow take pictures that are cut off, in the whole program
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
    if int(re.match(r"\d*", weasyprint.__version__)[0] or 0) < 70:  # type: ignore[index]
        raise InputError(
            f"There is no PDF with weasyprint {weasyprint.__version__}: {_INSTEAD}, or install "
            "weasyprint 70 or newer.",
            "unsupported",
        )
    module: ModuleType = weasyprint
    return module
