"""What is learnt of a file that is opened, in the thread that reads it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cleanclip_gui.checkpoint.tensor_columns import TensorColumns, columns_of, in_model_order
from cleanclip_gui.jobs.tasks import Control
from ml_core.reading import InputError, Inspection, examine
from ml_core.reading.garbage_collection import collector_off

if TYPE_CHECKING:
    from ml_core.checkpoints.inspection_record import Assessment
    from ml_core.signing import SignatureFacts


@dataclass(frozen=True, eq=False)
class Assessed:
    """What follows from an inspection; ``has_head`` tells of a linear head beside the CLIP."""

    assessment: Assessment
    known: tuple[str, ...]
    has_head: bool


@dataclass(frozen=True, eq=False)
class Learnt:
    """What was learnt since the last one: each of an examination holds one of the four."""

    inspection: Inspection | None = None
    columns: TensorColumns | None = None
    assessed: Assessed | None = None
    signature: SignatureFacts | None = None


def examination(path: Path, control: Control) -> Iterator[Learnt]:
    """What the bytes are, the columns of the table of tensors, what it means for a CLIP.

    Last, and only where there is a signature, whose that is.
    """
    found = examine(path, control.cancelled)
    yield Learnt(inspection=found)
    with collector_off():
        columns = columns_of(in_model_order(found))
    yield Learnt(columns=columns)
    with collector_off():
        assessed = _assess(found)
    yield Learnt(assessed=assessed)
    from ml_core.signing import check_checkpoint

    signature = check_checkpoint(found, cancelled=control.cancelled)
    if signature is not None:
        yield Learnt(signature=signature)


def _assess(found: Inspection) -> Assessed:
    """Look at the architecture and at what is known of the file."""
    from ml_core.checkpoints.inspection_record import assess, known_sentences
    from ml_core.checkpoints.layouts import find_layout

    assessment = assess(found)
    head = None
    if not found.refused:
        with contextlib.suppress(InputError):
            head = find_layout(found).head
    return Assessed(assessment, known_sentences(assessment), head is not None)
