"""What the ids of a bundle stand for on the machine that verifies it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from ml_core.events import Event
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.kept import Pixels

Checking = Generator[Check | Event]


@dataclass
class AtHand:
    """What was found so far.

    Attributes
    ----------
    files
        Given checkpoints and donors by their SHA-256.
    pixels
        Decoded pictures of triggers by the trigger's digest.
    """

    files: dict[str, Path] = field(default_factory=dict)
    pixels: dict[str, Pixels] = field(default_factory=dict)
