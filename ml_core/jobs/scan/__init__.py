"""What a scan for unknown triggers is asked to do, as JSON on disk. Torch-free."""

from __future__ import annotations

from typing import get_args

from ml_core.data.specs import ImageSpec, PathText
from ml_core.detection.scan.records import PATCHES_FILE as PATCHES_FILE
from ml_core.detection.scan.records import SCAN_FILE as SCAN_FILE
from ml_core.detection.scan.records import Stage as Stage
from ml_core.jobs.specs import Classes, JobSpec, Machine, OnModel
from ml_core.options import option

TRIGGER_STEM = "found"
SCAN_SPEC = "scan-spec.json"  # not that of a cleaning job, whose folder is a run
STAGES_FOLDER = "stages"

STAGES: tuple[Stage, ...] = get_args(Stage)
USUAL: tuple[Stage, ...] = tuple(stage for stage in STAGES if stage != "thorough")
NEEDS_REFERENCE: tuple[Stage, ...] = ("overlays", "thorough", "swap", "weights")
ALWAYS: Stage = "weights"  # says whether the reference is a parent, by which the rest is judged


class ScanSettings(JobSpec):
    """How a checkpoint is searched; ``stages`` are run besides `ALWAYS`."""

    stages: tuple[Stage, ...] = USUAL
    starts: int = option(6, "Starts", "Random starts of each patch search.", ge=2, le=64)
    search: int = option(
        512, "Search on", "Pictures to search on.", unit="pictures", ge=16, le=100_000
    )
    held_out: int = option(
        256, "Measure on", "Other pictures to measure on.", unit="pictures", ge=128, le=100_000
    )
    seed: int = option(0, "Seed", "Seed of pictures and starts.", ge=0, lt=2**63)
    anyway: bool = option(
        False, help="Scan even a model that classifies hardly any picture correctly."
    )


class ScanSpec(ScanSettings, Machine, Classes, OnModel):
    """One scan of a checkpoint.

    ``reference`` is a clean checkpoint with the same input size, the parent or another that is
    trusted; None leaves out what only a comparison can tell. ``images`` are real pictures, with or
    without labels.
    """

    reference: PathText | None = None
    images: ImageSpec
    output_dir: PathText

    @property
    def runs(self) -> tuple[Stage, ...]:
        """The stages that are run, in their order."""
        return tuple(
            stage
            for stage in STAGES
            if stage in (*self.stages, ALWAYS)
            and (self.reference is not None or stage not in NEEDS_REFERENCE)
        )
