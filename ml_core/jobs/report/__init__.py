"""What a report is asked to hold, as a record. Torch-free."""

from __future__ import annotations

from pydantic import Field

from ml_core.data.specs import PathText
from ml_core.jobs.specs import Machine
from ml_core.options import option


class ReportSpec(Machine):
    """One bundle of evidence: a folder, or a zip if the name of ``out`` ends so.

    ``tau_pictures`` pictures of each measurement are measured again on ``device``; ``threads``
    are torch's for all else. Paths are removed from ``notes``, the analyst's own text.
    """

    runs: tuple[PathText, ...] = ()
    scans: tuple[PathText, ...] = ()
    measurements: tuple[PathText, ...] = ()
    out: PathText
    name: str | None = option(
        None, help="Title of the report (default: the output's name).", min_length=1, max_length=200
    )
    author: str | None = option(
        None,
        help="The author: a name, an organisation; it is not checked.",
        min_length=1,
        max_length=200,
    )
    include_images: bool = option(False, help="Include the measured pictures.")
    include_checkpoints: bool = option(False, help="Include the weights.")
    thumbnails: bool = option(True, help="A few small pictures without and with the trigger.")
    pdf: bool = option(False, help="Also make the report as PDF.")
    notes: tuple[str, ...] = ()
    tau_pictures: int = Field(default=256, ge=0, le=100_000)
