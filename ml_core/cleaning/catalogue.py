"""The methods of cleaning, with what each needs; torch-free, so that the window can show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ml_core.reading.errors import InputError

Method = str
"""Name of a method, a key of `FACTS`."""
Data = Literal["pairs", "labelled", "images", "none"]
Need = Literal["reference"]


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
        What else must be given: a clean ``reference`` checkpoint of the same architecture.
    control
        Whether it stands here to be compared with, not to be chosen.
    head
        Whether it trains a linear head, which is measured beside the zero-shot classifier.
    note
        A sentence for the chart, on what would look wrong there; empty if nothing does.
    """

    title: str
    help: str
    source: str
    data: Data = "pairs"
    needs: frozenset[Need] = frozenset()
    control: bool = False
    head: bool = False
    note: str = ""


_BANSAL = "Bansal et al., CleanCLIP, ICCV 2023"
_PAR = "Perturb and Recover, arXiv 2412.00727"
_OURS = "Ours, not published"
_FALL = (
    "Clean accuracy falls in the first half of the schedule, while embeddings are pushed away, "
    "and comes back in the second."
)
FACTS: dict[Method, MethodFacts] = {
    "stamped": MethodFacts(
        "Stamped finetuning",
        "The image-text contrast on clean pairs, with triggers stamped on half of the pictures: "
        "those that are known, that a scan found, or that are made up. Captions stay as they are.",
        f"{_OURS}: after Neural Cleanse (Wang et al., S&P 2019, section VI.C) and CleanCLIP's MMCL",
    ),
    "cleanclip": MethodFacts(
        "CleanCLIP",
        "Image-text contrast and self-supervision inside each modality, on clean pairs.",
        _BANSAL,
    ),
    "mmcl": MethodFacts(
        "MMCL only",
        "The image-text contrast alone, on clean pairs: shows what more training alone does.",
        _BANSAL,
        control=True,
    ),
    "par": MethodFacts(
        "PAR",
        "Pushes embeddings away from those of the poisoned model while the image-text contrast "
        "recovers accuracy, on clean pairs.",
        _PAR,
        note=_FALL,
    ),
    "supervised": MethodFacts(
        "Supervised finetuning",
        "Cross-entropy of the image encoder and a linear head, on labelled images.",
        _BANSAL,
        data="labelled",
        head=True,
    ),
    "unlearning": MethodFacts(
        "Trigger unlearning",
        "Teaches the image encoder to see under a trigger what it sees without, for triggers that "
        "are known, that a scan found, or that are made up. Needs images alone.",
        f"{_OURS}: after I-BAU (Zeng et al., ICLR 2022), FARE (Schlarmann et al., ICML 2024) and "
        "Path-Aware Minimization (Min et al., NeurIPS 2024)",
        data="images",
    ),
    "interpolate": MethodFacts(
        "Blend with a reference",
        "Weights between the checkpoint and a clean one of the same architecture; nothing is "
        "trained. At alpha 1 it is the reference itself.",
        "Wortsman et al., WiSE-FT, CVPR 2022",
        data="none",
        needs=frozenset({"reference"}),
    ),
}
METHODS = list(FACTS)
"""Those of plug-ins come last."""
# Of methods of earlier versions what records of their runs need; ``help`` names the methods to take
# instead.
FORMER_FACTS: Mapping[str, MethodFacts] = {
    "adversarial": MethodFacts(
        "Adversarial unlearning", "Trigger unlearning", _OURS, data="images"
    ),
    "unlearn": MethodFacts(
        "Unlearn the trigger", "Stamped finetuning or Trigger unlearning", _OURS, data="images"
    ),
    "ss": MethodFacts("Self-supervision only", "CleanCLIP", _BANSAL, control=True),
    "cleanclip-par": MethodFacts("CleanCLIP + PAR", "CleanCLIP or PAR", _OURS),
    "locked-text": MethodFacts(
        "Locked-text finetuning", "Trigger unlearning", _OURS, data="labelled"
    ),
    "linear-probe": MethodFacts(
        "Linear probe", "Supervised finetuning", _BANSAL, data="labelled", control=True, head=True
    ),
    "rvpt": MethodFacts("RVPT", "Supervised finetuning", "NeurIPS 2025", data="labelled"),
    "tbar": MethodFacts("TBAR", "Stamped finetuning", "arXiv 2510.14845", data="images"),
}


def facts_of(method: str) -> MethodFacts | None:
    """What is known of a method of this or of an earlier version; None if it is unknown."""
    return FACTS.get(method) or FORMER_FACTS.get(method)


def method_title(method: str) -> str:
    """The title of a method, with ``(control)`` where it is one; the name itself if unknown."""
    facts = facts_of(method)
    if facts is None:
        return method
    return f"{facts.title} (control)" if facts.control else facts.title


def offered(method: str) -> Method:
    """A method of this version by its name.

    Raises
    ------
    InputError
        If there is no such method, or an earlier version alone had it.
    """
    if method in METHODS:
        return method
    facts = facts_of(method)
    if facts is not None:
        raise InputError(
            f"{facts.title} is no longer offered: take {facts.help} instead.", "unsupported"
        )
    raise InputError(f"Unknown method {method!r}; choose one of {', '.join(METHODS)}.")
