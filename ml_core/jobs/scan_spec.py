"""What a scan for unknown triggers is asked to do, as JSON on disk. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from ml_core.data.specs import ImageSpec, PathText
from ml_core.detection.scan.scan_file import SCAN_FILE as SCAN_FILE
from ml_core.jobs.spec_file import read_spec_file

TRIGGER_STEM = "found"
PATCHES_FILE = "patches.safetensors"
STAGES_FOLDER = "stages"

Stage = Literal["pull", "probes", "patches", "overlays", "thorough", "weights", "swap"]
STAGES: tuple[Stage, ...] = get_args(Stage)
USUAL: tuple[Stage, ...] = tuple(stage for stage in STAGES if stage != "thorough")
NEEDS_REFERENCE: tuple[Stage, ...] = ("overlays", "thorough", "swap", "weights")
ALWAYS: Stage = "weights"  # says whether the reference is a parent, by which the rest is judged


class ScanSpec(BaseModel):
    """One scan.

    Attributes
    ----------
    checkpoint, donor, use_choice
        The suspect, as of a `CleanSpec`.
    reference
        A clean checkpoint with the same input size: the parent, or another that is trusted. None
        leaves out what only a comparison can tell.
    images
        Real pictures, with or without labels.
    label_set, templates
        Classes that answers are read in, as of a `CleanSpec`.
    stages
        Which are run, besides `ALWAYS`; those that need a reference are left out without one.
    starts
        Random starts of each patch search.
    search, held_out
        Pictures that triggers are searched on, and others that everything is measured on.
    seed
        Of the pictures, the starts and every draw.
    anyway
        Scan also where a model names hardly any picture rightly, and nothing can be said.
    output_dir
        Folder of everything the scan writes.
    device, processes, threads
        As of a `CleanSpec`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: PathText
    donor: PathText | None = None
    use_choice: bool = True
    reference: PathText | None = None
    images: ImageSpec
    label_set: PathText = "demo"
    templates: tuple[str, ...] | None = None
    stages: tuple[Stage, ...] = USUAL
    starts: int = Field(default=6, ge=2, le=64)
    search: int = Field(default=512, ge=16, le=100_000)
    held_out: int = Field(default=256, ge=32, le=100_000)
    seed: int = Field(default=0, ge=0, lt=2**63)
    anyway: bool = False
    output_dir: PathText
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    processes: int = Field(default=1, ge=1, le=1024)
    threads: int = Field(default=0, ge=0, le=1024)

    @property
    def runs(self) -> tuple[Stage, ...]:
        """The stages that are run, in their order."""
        return tuple(
            stage
            for stage in STAGES
            if stage in (*self.stages, ALWAYS)
            and (self.reference is not None or stage not in NEEDS_REFERENCE)
        )


def read_scan_spec(path: Path) -> ScanSpec:
    """Read a job from its file; raises as `read_spec_file`."""
    return read_spec_file(path, ScanSpec)
