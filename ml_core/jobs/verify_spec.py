"""What a bundle is verified with, as a record. Torch-free."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ml_core.data.specs import PathText

SAMPLE = 200


class VerifySpec(BaseModel):
    """One verification.

    Attributes
    ----------
    bundle
        Its folder or zip.
    checkpoints
        Checkpoints, donors and adapters; each is known by its SHA-256.
    images
        Where image sets lie on this machine: folder, file or table by the set's id; of an empty id
        all sets that no other id names. The demo's need none.
    sample
        Pictures of each set that are hashed and predicted again; None takes all.
    seed
        Of the sample. One that is not known beforehand leaves a forger no picture that is safe.
    key
        File of a public key, or name of a trusted one: the bundle must be signed with it. None
        believes every trusted key, and takes a bundle without signature.
    strict
        Whether what is not checked counts against the bundle.
    device, threads
        As of a `CleanSpec`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: PathText
    checkpoints: tuple[PathText, ...] = Field(default=(), max_length=100)
    images: dict[str, PathText] = Field(default={}, max_length=100)
    sample: int | None = Field(default=SAMPLE, ge=1, lt=2**31)
    seed: int = Field(default=0, ge=0, lt=2**63)
    key: str | None = Field(default=None, max_length=4096)
    strict: bool = False
    device: str = Field(default="cpu", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    threads: int = Field(default=0, ge=0, le=1024)
