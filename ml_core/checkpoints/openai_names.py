"""Tensor names of OpenAI's CLIP and of open_clip, and what programs put before them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ml_core.reading.inspection import COUNTED_BUFFERS, OPENAI_SIZES

# Where training programs keep the model among other things.
_TOPS = ("state_dict", "model_state_dict", "vision_encoder_state_dict", "model", "module", "visual")
HEAD = re.compile(r"(?:^|\.)(?:linear|fc|head|classifier)\.(?:weight|bias)\Z")


def find_prefix(
    names: Iterable[str], mark: str, belongs: Callable[[str], bool] = lambda prefix: True
) -> str | None:
    """What stands before ``mark`` in the names of a file; of several copies, the state dict's.

    Parameters
    ----------
    names
        Of all tensors of the file.
    mark
        A tensor that every model of the kind has.
    belongs
        Asked of each prefix that is found.

    Returns
    -------
    str or None
        ``""``, or a text that ends in a dot; None if the mark is nowhere.
    """
    found: dict[str, None] = {}
    for name in names:
        if name == mark or name.endswith("." + mark):
            found[name[: len(name) - len(mark)]] = None
    kept = [prefix for prefix in found if belongs(prefix)]
    kept.sort(key=lambda prefix: (prefix.partition(".")[0] not in _TOPS, len(prefix)))
    return kept[0] if kept else None


def find_start(names: Iterable[str], start: str) -> str | None:
    """What stands before a group of tensors whose names go on with ``start``; see `find_prefix`."""
    marks = [name[: name.index(start) + len(start)] for name in names if start in name]
    return find_prefix(marks, start)


def strip_prefix(names: Iterable[str], prefix: str) -> dict[str, str]:
    """Map each name of the model to the tensor's name in the file.

    Leaves out what is no part of the model: the optimizer, a classification head, attention masks
    and tables of places that are counted anew, the three numbers of OpenAI's archives. What stands
    beside the model in the same state dict and is none of these stays, to be told as unexpected.
    """
    top = prefix.partition(".")[0] + "." if prefix else ""
    keys: dict[str, str] = {}
    for name in names:
        inside = name.startswith(prefix)
        key = name.removeprefix(prefix)
        if (not inside and not name.startswith(top)) or is_head(name, prefix):
            continue
        if key not in OPENAI_SIZES and key.rpartition(".")[2] not in COUNTED_BUFFERS:
            keys[key] = name
    return keys


def is_head(name: str, prefix: str) -> bool:
    """Whether a tensor is a classification head beside the model, not a part of it."""
    if name.startswith(prefix):
        return HEAD.fullmatch(name.removeprefix(prefix)) is not None
    if HEAD.fullmatch(name):
        return True
    return name.startswith(prefix.partition(".")[0] + ".") and HEAD.search(name) is not None
