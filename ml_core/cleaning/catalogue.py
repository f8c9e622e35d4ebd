"""The methods of cleaning, with what each needs; torch-free, so that the window can show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Method = Literal["cleanclip", "mmcl", "supervised"]
METHODS: tuple[Method, ...] = get_args(Method)
Data = Literal["pairs", "labelled", "images", "none"]
Need = Literal["trigger", "reference", "vit"]


@dataclass(frozen=True)
class MethodFacts:
    """What a method is and what it asks for.

    Attributes
    ----------
    title
        For the screen.
    help
        One line: what it does.
    source
        The paper, or that it is ours.
    data
        What it trains on: ``pairs`` (image and caption), ``labelled`` images, ``images`` (labels
        not needed), or ``none``.
    needs
        What else must be given: the ``trigger``, a clean ``reference`` checkpoint of the same
        architecture, or an image encoder of a certain kind (``vit``).
    control
        Whether it stands here to be compared with, not to be chosen.
    """

    title: str
    help: str
    source: str
    data: Data = "pairs"
    needs: frozenset[Need] = frozenset()
    control: bool = False


_BANSAL = "Bansal et al., CleanCLIP, ICCV 2023"
FACTS: Mapping[Method, MethodFacts] = {
    "cleanclip": MethodFacts(
        "CleanCLIP",
        "Image-text contrast and self-supervision inside each modality, on clean pairs.",
        _BANSAL,
    ),
    "mmcl": MethodFacts(
        "MMCL only",
        "The image-text contrast alone, on clean pairs.",
        _BANSAL,
        control=True,
    ),
    "supervised": MethodFacts(
        "Supervised finetuning",
        "Cross-entropy of the image encoder and a linear head, on labelled images.",
        _BANSAL,
        data="labelled",
    ),
}


def method_title(method: str) -> str:
    """The title of a method, with ``(control)`` where it is one; the name itself if unknown."""
    facts = FACTS.get(method)  # type: ignore[call-overload]
    if facts is None:
        return method
    return f"{facts.title} (control)" if facts.control else str(facts.title)
