"""What a report is asked to hold, as a record. Torch-free."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ml_core.data.specs import PathText


class ReportSpec(BaseModel):
    """One bundle of evidence.

    Attributes
    ----------
    runs
        Folders of finished cleaning runs.
    scans
        Folders of finished scans.
    measurements
        Measurement folders, as `cleanclip evaluate --keep` leaves them.
    out
        Where to: a folder, or a zip if the name ends so.
    name
        Title; None takes the output's name.
    author
        Who writes it, for the report; None leaves it open.
    include_images, include_checkpoints
        Whether pictures and weights go in.
    thumbnails
        Whether a few pictures on which the trigger works go in, small.
    pdf
        Whether the report is made as PDF, too.
    notes
        What the analyst wrote down, for the report; paths are taken out of it.
    tau_pictures
        Pictures of each measurement that are measured again; 0 for none.
    device
        Where they are measured again.
    threads
        Of torch, where an older run must be measured anew.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: tuple[PathText, ...] = ()
    scans: tuple[PathText, ...] = ()
    measurements: tuple[PathText, ...] = ()
    out: PathText
    name: str | None = Field(default=None, min_length=1, max_length=200)
    author: str | None = Field(default=None, min_length=1, max_length=200)
    include_images: bool = False
    include_checkpoints: bool = False
    thumbnails: bool = True
    pdf: bool = False
    notes: tuple[str, ...] = ()
    tau_pictures: int = Field(default=256, ge=0, le=100_000)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    threads: int = Field(default=0, ge=0, le=1024)
