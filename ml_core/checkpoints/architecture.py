"""What a checkpoint's model is: sizes, preprocessing, and what of it had to be assumed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ml_core.checkpoints.layouts import Layout
from ml_core.checkpoints.shapes import Question
from ml_core.reading.clip_config import Preprocess, vocabulary_caution
from ml_core.reading.key_mismatch import KeyLists

Origin = Literal["config", "metadata", "shapes"]


@dataclass(frozen=True)
class Architecture:
    """What to build.

    Parameters
    ----------
    config
        open_clip's ``model_cfg``, checked.
    preprocess
        Input size, mean, std, interpolation.
    source
        Where the config comes from: the folder's ``config`` file, our own ``metadata`` in the
        safetensors file, or the tensors' ``shapes``.
    assumptions
        Whole sentences on what the source could not tell.
    name
        open_clip's name where it is a published architecture, else a short description.
    layout
        Where in the file the tensors are.
    questions
        What the assumptions are about; the loader doctor tries the answers.
    keys
        How the file's tensors differ from the model's.
    warnings
        Sentences on what the model lacks, though it can be built.
    """

    config: dict[str, Any]
    preprocess: Preprocess
    source: Origin
    assumptions: tuple[str, ...]
    name: str
    layout: Layout
    questions: tuple[Question, ...] = ()
    keys: KeyLists = field(default_factory=KeyLists)
    warnings: tuple[str, ...] = ()

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences on what should be known before the model is trusted."""
        told = (*self.warnings, self.keys.left_out, vocabulary_caution(self.config))
        return tuple(sentence for sentence in told if sentence)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what the file holds beside the model."""
        return self.layout.notes
