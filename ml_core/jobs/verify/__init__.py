"""What a bundle is verified with, as a record. Torch-free."""

from __future__ import annotations

from pydantic import Field

from ml_core.data.specs import PathText
from ml_core.jobs.specs import Device, Machine
from ml_core.options import option

SAMPLE = 200


class VerifySpec(Machine):
    """One verification of a bundle, a folder or a zip.

    ``images`` maps a set's id to its folder, file or table on this machine; an empty id stands for
    all sets that are not named. The demo's need none.
    """

    bundle: PathText
    checkpoints: tuple[PathText, ...] = Field(default=(), max_length=100)
    images: dict[str, PathText] = Field(default={}, max_length=100)
    sample: int | None = option(
        SAMPLE, help="Pictures of each set that are looked at again.", ge=1, lt=2**31
    )
    # A seed that is not known beforehand leaves a forger no picture that is safe.
    seed: int = Field(default=0, ge=0, lt=2**63)
    key: str | None = option(
        None,
        help="Require a signature by this key: a public key's file, or the name of a trusted key "
        "(default: a signature is checked with all trusted keys).",
        max_length=4096,
    )
    strict: bool = option(False, help="Exit with 1 if anything was not checked.")
    device: Device = "cpu"
