"""Open a checkpoint: verdict, architecture, then the model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_core.checkpoints.architecture import SCALES, Architecture
from ml_core.checkpoints.choice import CHOICE_KEY, Choice, Remembered, chosen, with_remembered
from ml_core.checkpoints.layouts import find_layout
from ml_core.checkpoints.recognise import find_architecture, read_own_tokenizer
from ml_core.reading import Inspection, examine
from ml_core.reading.clip_config import check_model_config, identity_of
from ml_core.reading.errors import InputError
from ml_core.reading.inspect import locate
from ml_core.reading.inspection import looks_same
from ml_core.reading.strict_json import JsonError, parse_object

if TYPE_CHECKING:
    from torch import Tensor

    from ml_core.model import ClipModel
    from ml_core.text_tokens import TextTokenizer

PROVENANCE_KEY = "provenance"
CLIP_SCALE = 100.0


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint that passed inspection; `build` makes the model.

    ``donor`` gives the encoder that the file lacks, and the projection of the other one if that is
    not there. ``remembered`` is an earlier choice of the user; the architecture already includes
    it.
    """

    path: Path
    inspection: Inspection
    architecture: Architecture
    donor: Checkpoint | None = None
    remembered: Remembered | None = None

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

    @property
    def identity(self) -> str:
        """`ClipModel.identity` of what `build` makes; torch is imported for an own tokenizer.

        Raises
        ------
        InputError
            If the tokenizer is damaged or not known.
        """
        architecture, name = self.architecture, self.inspection.name
        choice = None if self.remembered is None else self.remembered.choice
        more = [] if self.tokenizer is None else [self.tokenizer.digest]
        config = check_model_config(architecture.config, name)
        origin = self._origin(choice)
        return identity_of(self.inspection.sha256, config, architecture.preprocess, origin, *more)

    def check_reference(self, reference: Checkpoint) -> None:
        """Refuse a reference that this checkpoint cannot be compared with.

        Raises
        ------
        InputError
            If the input sizes differ, or it is the same file.
        """
        own, other = self.architecture.preprocess.size, reference.architecture.preprocess.size
        name = reference.inspection.name
        if own != other:
            raise InputError(
                f"The reference {name} takes pictures of {other} px and {self.inspection.name} of "
                f"{own} px: choose a reference of the same input size."
            )
        if reference.inspection.sha256 == self.inspection.sha256:
            raise same_weights(name)

    def _origin(self, choice: Choice | None) -> dict[str, Any]:
        """What in the model does not come from the file."""
        origin: dict[str, Any] = {} if choice is None else {CHOICE_KEY: choice.to_dict()}
        if self.donor is not None:
            given = self.donor.inspection
            origin["donor"] = {"name": given.name, "sha256": given.sha256}
        return origin

    def build(self, device: str = "cpu", choice: Choice | None = None) -> ClipModel:
        """Read the tensors and build the model, in evaluation mode with fp32 parameters.

        What was inspected is what is used: the file must not have changed.

        Parameters
        ----------
        choice
            The loader doctor's choice, which replaces what the file says; it stays with the model.

        Raises
        ------
        InputError
            If the tensors are not those of the architecture, the file changed, or a value type
            has no place in a CLIP.
        """
        return self.build_from(self.read_state(), device, choice)

    @cached_property
    def tokenizer(self) -> TextTokenizer | None:
        """The checkpoint's own, from beside the weights; None where it uses CLIP's or lacks it.

        Raises
        ------
        InputError
            If the tokenizer is damaged or not known.
        """
        if self.donor is not None and self.architecture.layout.missing == "text":
            return self.donor.tokenizer
        file = read_own_tokenizer(self.inspection.source, self.architecture)
        if file is None:
            return None
        from ml_core.text_tokens import TextTokenizer

        text = self.architecture.config["text_cfg"]
        options = text.get("tokenizer_kwargs", {})
        return TextTokenizer(
            file,
            text["vocab_size"],
            clean=options.get("clean", "whitespace"),
            strip_separator=options.get("strip_sep_token", False),
            name=self.inspection.name,
        )

    def read_state(
        self, on_bytes: Callable[[int], object] = lambda count: None
    ) -> dict[str, Tensor]:
        """Read the model's tensors by open_clip's names, the donor's among them.

        Parameters
        ----------
        on_bytes
            Called with the number of bytes read since the last call; it may raise `CancelledError`.
        """
        from ml_core.checkpoints.tensors import read_state

        state = read_state(self.inspection, self.architecture.layout, on_bytes=on_bytes)
        if self.donor is not None:
            given = self.donor.architecture.layout
            own = self.architecture.layout
            keys = [
                key
                for key in given.sources
                if key not in state
                and (
                    key in SCALES
                    or key.startswith("visual.") == (own.missing == "image")
                    or own.borrows(key)
                )
            ]
            state |= read_state(self.donor.inspection, given, keys, on_bytes)
        return state

    def build_from(
        self, state: dict[str, Tensor], device: str = "cpu", choice: Choice | None = None
    ) -> ClipModel:
        """Build the model from tensors that `read_state` gave; fp32 ones are used as they are."""
        import torch

        from ml_core.model import build_model

        architecture = self.architecture
        if choice is not None:
            architecture = chosen(architecture, choice)
        elif self.remembered is not None:
            choice = self.remembered.choice
        state = dict(state)
        if choice is not None and choice.logit_scale is not None:
            state["logit_scale"] = torch.tensor(math.log(choice.logit_scale))
        elif "logit_scale" not in state:
            state["logit_scale"] = torch.tensor(math.log(CLIP_SCALE))
        for key in SCALES:
            if key in state and state[key].numel() == 1:
                nonscalar = architecture.config.get("nonscalar_logit_scale", False)
                state[key] = state[key].reshape([1] if nonscalar else [])
        model = build_model(
            architecture.config,
            architecture.preprocess,
            state,
            name=self.inspection.name,
            sha256=self.inspection.sha256,
            device=device,
            take_over=True,
        )
        model.tokenizer = self.tokenizer
        model.assumptions, model.rounded = architecture.assumptions, architecture.rounded
        model.origin |= self._origin(choice)
        return model


def same_weights(name: str) -> InputError:
    """Why a checkpoint's own weights are no reference."""
    return InputError(
        f"The reference {name} has the weights of the checkpoint itself: choose a clean one that "
        "it is to be compared with, or none."
    )


def open_checkpoint(
    path: str | Path,
    donor: str | Path | None = None,
    inspection: Inspection | None = None,
    *,
    use_choice: bool = True,
) -> Checkpoint:
    """Examine a file or folder and tell what CLIP it holds.

    Parameters
    ----------
    donor
        A whole CLIP that gives the encoder which the file lacks; not looked at if it lacks none.
    inspection
        What `examine` found at the same path a moment ago. It is used again if the weights seem to
        be the same files. Whether their bytes are the same is always checked once they are read.
    use_choice
        Whether what the user chose with the loader doctor for this file is used; the assumptions
        name it. A donor is opened as it says.

    Raises
    ------
    DonorNeeded
        If the file holds one encoder and no donor is named.
    InputError
        With the inspection's first reason and its code if it is refused, or if its architecture
        cannot be found out or built.
    """
    inspection = _inspected(path, inspection)
    giver = None
    if donor is not None and find_layout(inspection).missing is not None:
        giver = open_checkpoint(donor, use_choice=False)
    given = None if giver is None else (giver.architecture, giver.inspection.sha256)
    architecture, choice = find_architecture(inspection, given), None
    if use_choice:
        architecture, choice = with_remembered(architecture, inspection.sha256)
    return Checkpoint(inspection.path, inspection, architecture, giver, choice)


def _inspected(path: str | Path, known: Inspection | None = None) -> Inspection:
    """Examine, unless it is known what that would tell; refuse what cannot be opened."""
    inspection = known
    if inspection is None or inspection.path != locate(path) or not looks_same(inspection):
        inspection = examine(path)
    if inspection.refused:
        raise inspection.refusal()
    return inspection
