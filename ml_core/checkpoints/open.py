"""Open a checkpoint: verdict, architecture, then the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_core.checkpoints.architecture import Architecture, find_architecture
from ml_core.checkpoints.shapes import model_names
from ml_core.reading import Inspection, inspect
from ml_core.reading.strict_json import JsonError, parse_object

if TYPE_CHECKING:
    from ml_core.model import ClipModel

PROVENANCE_KEY = "provenance"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint that passed inspection; `build` makes the model."""

    path: Path
    inspection: Inspection
    architecture: Architecture

    @property
    def provenance(self) -> dict[str, Any]:
        """What our own files say about how they were made; the file's word, not checked."""
        text = self.inspection.metadata.get(PROVENANCE_KEY)
        if text is None:
            return {}
        try:
            return parse_object(
                text.encode(errors="surrogatepass"), max_bytes=1 << 20, max_depth=16
            )
        except JsonError as error:
            return {"unreadable": str(error)}

    def build(self, device: str = "cpu") -> ClipModel:
        """Read the tensors and build the model, in evaluation mode with fp32 parameters.

        The bytes are hashed again while they are read: what was inspected is what is used.

        Raises
        ------
        InputError
            If the tensors are not those of the architecture, the file changed, or a value type
            has no place in a CLIP.
        """
        from ml_core.checkpoints.tensors import read_tensors
        from ml_core.model import build_model

        found = self.inspection
        keys = model_names(tensor.name for tensor in found.tensors)
        tensors = read_tensors(found)
        state = {key: tensors.pop(name) for name, key in keys.items()}
        for key in ("logit_scale", "logit_bias"):
            if key in state and state[key].numel() == 1:
                nonscalar = self.architecture.config.get("nonscalar_logit_scale", False)
                state[key] = state[key].reshape([1] if nonscalar else [])
        model = build_model(
            self.architecture.config,
            self.architecture.preprocess,
            state,
            name=found.name,
            sha256=found.sha256,
            device=device,
            take_over=True,
        )
        model.assumptions = self.architecture.assumptions
        return model


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Examine a safetensors file or an open_clip folder and tell what CLIP it holds.

    Raises
    ------
    InputError
        With the inspection's first reason and its code if it is refused, or if its architecture
        cannot be told or built.
    """
    inspection = inspect(path)
    if inspection.refused:
        raise inspection.refusal()
    return Checkpoint(inspection.path, inspection, find_architecture(inspection))
