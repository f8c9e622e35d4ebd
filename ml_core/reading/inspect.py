"""What a checkpoint file or folder is, told without running or believing any of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ml_core.reading.safetensors_header import TensorInfo

Verdict = Literal["loads", "caution", "dangerous", "damaged"]
ReasonCode = Literal["ok", "note", "dangerous", "damaged", "unsupported"]


@dataclass(frozen=True)
class Inspection:
    """What was found; the same for the window, the command line and JSON.

    Parameters
    ----------
    path, name
        What was opened.
    size
        Bytes of the weights file (of the file itself if it was refused).
    sha256
        Of the same bytes; empty if nothing could be read.
    format
        ``safetensors``, ``open_clip folder``, or the name of a refused format.
    verdict
        ``loads``, ``caution`` (loads, see reasons), ``dangerous`` (refused: the format can run
        code when it is loaded) or ``damaged`` (refused: damaged or not supported).
    reason_code
        ``ok``, ``note``, or the kind of refusal.
    reasons
        Whole sentences, the most important first.
    tensors, metadata
        From the safetensors header.
    config
        The JSON of ``open_clip_config.json``, unchecked beyond being JSON; None for a file.
    weights_path
        The safetensors file; None if refused.
    unread
        Names of files of the folder that were not read.
    """

    path: Path
    name: str
    size: int
    sha256: str
    format: str
    verdict: Verdict
    reason_code: ReasonCode
    reasons: tuple[str, ...] = ()
    tensors: tuple[TensorInfo, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    weights_path: Path | None = None
    unread: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers the tensors hold together."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def refused(self) -> bool:
        """Whether it cannot be opened."""
        return self.verdict in ("dangerous", "damaged")


def inspect(path: str | Path) -> Inspection:
    """Examine a checkpoint; see `Inspection`.

    Raises
    ------
    InputError
        ``usage`` if there is nothing at the path or it may not be read; a bad file never raises.
    """
    raise NotImplementedError(path)
