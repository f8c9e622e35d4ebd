"""What an audit of training pairs is asked to do, as JSON on disk. Torch-free."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ml_core.data.specs import ImageSpec, PairSpec, PathText
from ml_core.jobs.spec_file import read_spec_file, write_spec_file

AUDIT_FILE = "audit.json"
SCORES_FILE = "scores.csv"
THUMBNAILS_FILE = "thumbnails.npy"
EXCLUSIONS_FILE = "exclusions.json"


class AuditSpec(BaseModel):
    """One audit.

    Attributes
    ----------
    checkpoint, donor, use_choice
        As of a `CleanSpec`: the suspect, whose own embeddings are looked at.
    pairs
        The set to look through.
    reference
        Pairs known to be clean; None compares the set with itself.
    images
        Evaluation images, which should not be among the pairs; all of each set are looked for,
        whatever its labels, part and number.
    k
        Neighbours of each picture. Huang et al. (ICLR 2025) use 16 in their example and 32 in
        their code.
    chunk_size
        Pairs among which they are looked for, at least 4 k; the training batch of Huang et al. has
        1024.
    unit
        Compare unit vectors (cosine) instead of what the encoder gives, which is what was
        published; the length tells much of a poisoned picture.
    worst
        Pairs kept of each score.
    seed
        Of the chunks and the isolation forest.
    batch_size
        Pairs to encode at a time.
    output_dir
        Folder of everything that is written.
    device, threads
        As of a `CleanSpec`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: PathText
    donor: PathText | None = None
    use_choice: bool = True
    pairs: PairSpec
    reference: PairSpec | None = None
    images: tuple[ImageSpec, ...] = ()
    k: int = Field(default=16, ge=2, le=256)
    chunk_size: int = Field(default=1024, ge=64, le=16_384)
    unit: bool = False
    worst: int = Field(default=100, ge=1, le=1000)
    seed: int = Field(default=0, ge=0)
    batch_size: int = Field(default=128, ge=1, le=4096)
    output_dir: PathText
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    threads: int = Field(default=0, ge=0, le=1024)


def write_audit_spec(spec: AuditSpec, path: Path) -> Path:
    """Write ``spec`` as JSON; return the path."""
    return write_spec_file(spec, path)


def read_audit_spec(path: Path) -> AuditSpec:
    """Read what :func:`write_audit_spec` wrote; raises as `read_spec_file`."""
    return read_spec_file(path, AuditSpec)
