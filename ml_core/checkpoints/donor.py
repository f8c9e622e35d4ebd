"""A file with one of CLIP's two encoders gets the other one from a donor checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_core.checkpoints.architecture import Architecture
from ml_core.checkpoints.layouts import Tower
from ml_core.checkpoints.shapes import StatedConfig
from ml_core.reading import InputError


class DonorNeeded(InputError):  # noqa: N818
    """A file holds one tower only; ``tower`` is the one that a donor must give."""

    def __init__(self, where: str, tower: Tower) -> None:
        own = "image" if tower == "text" else "text"
        super().__init__(
            f"{where} holds the {own} encoder of a CLIP and no {tower} encoder; choose a complete "
            f"CLIP with the same embedding size as donor of the {tower} encoder.",
            "unsupported",
        )
        self.tower: Tower = tower


def borrow(
    told: StatedConfig, tower: Tower, donor: Architecture, sha256: str, where: str, *, scaled: bool
) -> StatedConfig:
    """Complete the config of one tower with the donor's.

    Parameters
    ----------
    told
        Of the tower that is there.
    tower
        The one that the donor gives.
    sha256
        Of the donor's file, for the sentence that stays with every result.
    scaled
        Whether the file has a logit scale of its own.

    Raises
    ------
    InputError
        ``usage`` if the two do not fit together.
    """
    own = told.config
    table = "vision_cfg" if tower == "text" else "text_cfg"
    if not isinstance(own.get(table), Mapping) or "embed_dim" not in own:
        raise InputError(f"{where} gives no {table} or no embed_dim; get it again.", "damaged")
    if own["embed_dim"] != donor.config["embed_dim"]:
        size = str(own["embed_dim"])[:20]
        raise InputError(
            f"The donor {donor.name} has embeddings of {donor.config['embed_dim']} numbers and "
            f"{where} of {size}; choose a donor with {size}."
        )
    quick_gelu = donor.config.get("quick_gelu", False)
    kind = "QuickGELU" if quick_gelu else "GELU"
    sentences, questions = told.assumptions, told.questions
    if not _has_activation(own, tower):
        pass
    elif "quick_gelu" not in own:
        sentences += (f"Tensor shapes do not show the activation: the donor's {kind} is assumed.",)
        questions += ("activation",)
    elif own["quick_gelu"] != quick_gelu:
        raise InputError(
            f"{where} does not use {kind} as the donor {donor.name} does; choose a donor with the "
            "same activation."
        )
    config: dict[str, Any] = {**donor.config, table: own[table], "quick_gelu": quick_gelu}
    if tower == "image":
        config.pop("custom_text", None)
    present = "image" if tower == "text" else "text"
    borrowed = f"the {tower} encoder" + ("" if scaled else " and the logit scale")
    first = (
        f"{where} holds the {present} encoder only: {borrowed} of every result "
        f"{'is that' if scaled else 'are those'} of the donor {donor.name} (SHA-256 "
        f"{sha256[:16]}…)."
    )
    return StatedConfig(config, (first, *sentences), questions)


def _has_activation(own: Mapping[str, Any], missing: Tower) -> bool:
    """Whether the tower that is there uses GELU at all; a ResNet does not."""
    return missing == "image" or not isinstance(own["vision_cfg"].get("layers"), list)
