"""What is published beside CLIP checkpoints and is no whole CLIP, told by its tensor names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ml_core.reading import InputError

_WHOLE = "this version opens whole CLIP models and single towers with a donor for the other one"

# What to say of the first name that fits; the order is that of the search. A name is up to 1024
# hostile characters: the patterns take time in proportion to it.
_CHANGES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"(^|[._])lora_?(A|B|a|b|up|down|alpha|magnitude|embedding)"),
        "holds LoRA weights ({}), a change to a model, not a model; merge them into their base "
        "model and open that",
    ),
    (
        re.compile(r"(^|[._])(ia3_l|hada_[wt][12]|lokr_[wt][12]|oft_r|boft_[Rs])(\.|_|$)"),
        "holds an adapter ({}), a change to a model, not a model; merge it into its base model "
        "and open that",
    ),
    (
        re.compile(r"prompt|(^|\.)(meta_net|ctx)(\.|$)|(^|\.)VPT"),
        "holds learned prompts ({}), as CoOp, CoCoOp and RVPT train them; they steer a CLIP but "
        "are not one; open the CLIP that they were trained on",
    ),
    (
        re.compile("adapter"),
        "holds an adapter ({}), layers added to a CLIP, not a model; open the CLIP that it was "
        "trained on",
    ),
)
# What stands alone: in a CLIP these are parts.
_PARTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"(^|\.)(patch_embed\.proj\.weight$|stem\.0\.weight$)"),
        f"is an image encoder of the timm library ({{}}) and no CLIP; {_WHOLE}",
    ),
    (
        re.compile(r"(^|\.)text\.transformer\.(embeddings|encoder)\."),
        f"is a text encoder of the transformers library ({{}}) without an image encoder; {_WHOLE}",
    ),
)


def refuse_foreign(keys: Iterable[str], where: str, *, alone: bool = False) -> None:
    """Refuse what is known not to be a CLIP; ``keys`` are names without the model's prefix.

    Parameters
    ----------
    alone
        Whether no CLIP is among the names, so that parts of one are told as well.

    Raises
    ------
    InputError
        ``unsupported``, with the name that told.
    """
    keys = list(keys)
    for pattern, words in (*_CHANGES, *(_PARTS if alone else ())):
        for key in keys:
            if pattern.search(key):
                raise InputError(f"{where} {words.format(key[:80])}.", "unsupported")


def mobileclip_s0(where: str) -> InputError:
    """The refusal of a MobileCLIP-S0 as Apple publishes it."""
    return InputError(
        f"{where} is Apple's MobileCLIP-S0, whose text encoder has convolutions that open_clip "
        "does not have; take MobileCLIP2-S0 (timm/MobileCLIP2-S0-OpenCLIP) or MobileCLIP-S1 "
        "(apple/MobileCLIP-S1-OpenCLIP).",
        "unsupported",
    )


def unknown(keys: Iterable[str], where: str) -> InputError:
    """The refusal of tensors that are in no layout."""
    keys = set(keys)
    if any(key.endswith("layer1.0.conv1.weight") for key in keys):
        what = (
            "holds a plain ResNet without CLIP's attention pooling, so it has no place in CLIP's "
            "space"
        )
    else:
        what = "holds no CLIP image encoder and no CLIP text encoder that this version knows"
    return InputError(f"{where} {what}; {_WHOLE}.", "unsupported")
