"""What an audit of training pairs is asked to do, as JSON on disk. Torch-free."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ml_core.data.specs import ImageSpec, PairSpec, PathText
from ml_core.detection.records import Neighbourhood
from ml_core.jobs.spec_file import read_spec_file

AUDIT_FILE = "audit.json"
SCORES_FILE = "scores.csv"
THUMBNAILS_FILE = "thumbnails.npy"
EXCLUSIONS_FILE = "exclusions.json"
EXCLUDED_TABLE = "excluded.csv"


class AuditSettings(BaseModel):
    """What audits have in common.

    Attributes
    ----------
    k
        Neighbours of each picture. Huang et al. (ICLR 2025) use 16 in their example and 32 in
        their code.
    neighbours
        Where they are looked for: in random chunks of the set (``chunk``), as published, or in the
        whole set, exactly (``all``) or with an index (``approximate``, needs faiss).
    chunk_size
        Pairs among which they are looked for, at least 4 k; the training batch of Huang et al. has
        1024. Without chunks, pairs that the isolation forest is grown from.
    unit
        Compare unit vectors (cosine) instead of what the encoder gives, which is what was
        published; the length tells much of a poisoned picture.
    worst
        Pairs kept of each score.
    seed
        Of the chunks and the isolation forest.
    output_dir
        Folder of everything that is written.
    device, threads
        As of a `CleanSpec`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(default=16, ge=2, le=256)
    neighbours: Neighbourhood = "chunk"
    chunk_size: int = Field(default=1024, ge=64, le=16_384)
    unit: bool = False
    worst: int = Field(default=100, ge=1, le=1000)
    seed: int = Field(default=0, ge=0)
    output_dir: PathText
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    threads: int = Field(default=0, ge=0, le=1024)


class AuditSpec(AuditSettings):
    """One audit of pairs with a checkpoint.

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
    batch_size
        Pairs to encode at a time.
    """

    checkpoint: PathText
    donor: PathText | None = None
    use_choice: bool = True
    pairs: PairSpec
    reference: PairSpec | None = None
    images: tuple[ImageSpec, ...] = ()
    batch_size: int = Field(default=128, ge=1, le=4096)


class EmbeddingAuditSpec(AuditSettings):
    """One audit of embeddings that were made elsewhere, without checkpoint and pictures.

    Attributes
    ----------
    embeddings
        Folder of ``.npy`` files, see `open_embeddings`.
    reference
        Another one, of pairs known to be clean; None compares the set with itself.
    """

    embeddings: PathText
    reference: PathText | None = None


def read_audit_spec(path: Path) -> AuditSpec:
    """Read a job from its file; raises as `read_spec_file`."""
    return read_spec_file(path, AuditSpec)
