"""What follows from an inspection: worked out in the thread that read the file."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_core.reading import InputError, Inspection

if TYPE_CHECKING:
    from ml_core.checkpoints.inspection_record import Assessment


@dataclass(frozen=True, eq=False)
class Assessed:
    """What follows from an inspection; ``has_head`` tells of a linear head beside the CLIP."""

    assessment: Assessment
    known: tuple[str, ...]
    has_head: bool


def assess_file(found: Inspection) -> Assessed:
    """Look at the architecture and at what is known of the file; in the reading thread."""
    from ml_core.checkpoints.inspection_record import assess, known_sentences
    from ml_core.checkpoints.layouts import find_layout

    assessment = assess(found)
    head = None
    if not found.refused:
        with contextlib.suppress(InputError):
            head = find_layout(found).head
    return Assessed(assessment, known_sentences(assessment), head is not None)
