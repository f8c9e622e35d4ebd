"""What an audit of training pairs is asked to do, as JSON on disk. Torch-free."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from ml_core.data.specs import ImageSpec, PairSpec, PathText
from ml_core.jobs.specs import Machine, OnModel
from ml_core.options import option

AUDIT_FILE = "audit.json"
SCORES_FILE = "scores.csv"
THUMBNAILS_FILE = "thumbnails.npy"
EXCLUSIONS_FILE = "exclusions.json"


class AuditSpec(Machine, OnModel):
    """One audit of pairs with a checkpoint, whose own embeddings are looked at.

    Without ``reference``, pairs known to be clean, the set is compared with itself. ``images`` are
    evaluation images, which should not be among the pairs. All images of each set are looked for;
    labels, part and number of the set do not matter.
    """

    pairs: PairSpec
    reference: PairSpec | None = None
    images: tuple[ImageSpec, ...] = ()
    batch_size: int = Field(default=128, ge=1, le=4096)  # pairs to encode at a time
    # Huang et al. (ICLR 2025) use 16 in their example and 32 in their code.
    k: int = option(
        16,
        "Nearest",
        help="Nearest neighbours compared with each pair; published values are 16 and 32.",
        ge=2,
        le=256,
        closed=True,
    )
    # The training batch of Huang et al. has 1024.
    chunk_size: int = option(
        1024,
        "Chunk",
        help="Pairs in a random chunk, among which neighbours are searched; at least 4 k.",
        ge=64,
        le=16_384,
        closed=True,
    )
    # Published is what the encoder gives: the length tells much of a poisoned picture.
    unit: bool = option(False, help="Scale embeddings to unit length first.")
    worst: int = option(
        100, help="Worst pairs kept for each score, with pictures.", ge=1, le=1000, closed=True
    )
    seed: int = option(0, help="Seed of the chunks and the forest.", ge=0)
    output_dir: PathText

    @model_validator(mode="before")
    @classmethod
    def _of_chunks(cls, values: Any) -> Any:
        """An older file says that neighbours are searched in chunks, as they always are now."""
        if isinstance(values, dict) and values.get("neighbours") == "chunk":
            return {name: value for name, value in values.items() if name != "neighbours"}
        return values
