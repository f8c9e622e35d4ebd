"""The methods of cleaning, with what each needs; torch-free, so that the window can show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Method = Literal[
    "stamped",
    "cleanclip",
    "mmcl",
    "ss",
    "par",
    "cleanclip-par",
    "supervised",
    "locked-text",
    "linear-probe",
    "rvpt",
    "adversarial",
    "unlearn",
    "tbar",
    "interpolate",
]
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
    head
        Whether it trains a linear head, which is measured beside the zero-shot classifier.
    frozen
        Whether the encoders run in evaluation mode while it trains, or it takes no step at all.
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
    frozen: bool = False
    note: str = ""


_BANSAL = "Bansal et al., CleanCLIP, ICCV 2023"
_PAR = "Perturb and Recover, arXiv 2412.00727"
_OURS = "Ours, not published"
_FALL = (
    "Clean accuracy falls in the first half of the schedule, while embeddings are pushed away, "
    "and comes back in the second."
)
FACTS: Mapping[Method, MethodFacts] = {
    "stamped": MethodFacts(
        "Stamped finetuning",
        "The image-text contrast on clean pairs, with triggers stamped on half of the pictures: "
        "those that are known or that a scan found, and random ones. Captions stay as they are.",
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
    "ss": MethodFacts(
        "Self-supervision only",
        "Images or captions, or both, pulled to their augmented views, without the contrast "
        "between them. Where the weight of caption views is 0 a folder of pictures is enough, "
        "where that of image views is 0 a list of captions.",
        _BANSAL,
        control=True,
        note="Nothing ties images to captions here: clean accuracy is expected to fall.",
    ),
    "par": MethodFacts(
        "PAR",
        "Pushes embeddings away from those of the poisoned model while the image-text contrast "
        "recovers accuracy, on clean pairs.",
        _PAR,
        note=_FALL,
    ),
    "cleanclip-par": MethodFacts(
        "CleanCLIP + PAR",
        "CleanCLIP's loss and PAR's repulsion together, on clean pairs.",
        f"{_OURS}: parts of CleanCLIP (ICCV 2023) and of {_PAR}",
        note=_FALL,
    ),
    "supervised": MethodFacts(
        "Supervised finetuning",
        "Cross-entropy of the image encoder and a linear head, on labelled images.",
        _BANSAL,
        data="labelled",
        head=True,
    ),
    "locked-text": MethodFacts(
        "Locked-text finetuning",
        "Cross-entropy of the image encoder over the fixed zero-shot classifier, on labelled "
        "images: zero-shot use stays.",
        f"{_OURS}: after Zhai et al., LiT, CVPR 2022",
        data="labelled",
    ),
    "linear-probe": MethodFacts(
        "Linear probe",
        "A linear head alone on labelled images; the encoders stay as they are, and with them "
        "the zero-shot backdoor.",
        _BANSAL,
        data="labelled",
        control=True,
        head=True,
        frozen=True,
        note="Zero-shot numbers do not move: the encoders are not trained.",
    ),
    "rvpt": MethodFacts(
        "RVPT",
        "Learned prompts in the blocks of a frozen ViT, pushed away from the poisoned features, "
        "on a few labelled images a class. The result is an adapter beside untouched weights.",
        "Repulsive Visual Prompt Tuning, NeurIPS 2025",
        data="labelled",
        needs=frozenset({"vit"}),
        frozen=True,
        note="Measured with the adapter; the weights themselves keep the backdoor.",
    ),
    "adversarial": MethodFacts(
        "Adversarial unlearning",
        "Makes up triggers, sharpens them against the model and teaches it to ignore them, while "
        "clean images stay where they were. Needs images alone: no captions, labels or trigger.",
        f"{_OURS}: after I-BAU (Zeng et al., ICLR 2022) and FARE (Schlarmann et al., ICML 2024)",
        data="images",
    ),
    "unlearn": MethodFacts(
        "Unlearn the trigger",
        "Pulls triggered images to their own clean embeddings and holds clean ones, on a few "
        "images, for a known or an inverted trigger.",
        _OURS,
        data="images",
        needs=frozenset({"trigger"}),
    ),
    "tbar": MethodFacts(
        "TBAR",
        "Finetunes briefly on the attack itself, then subtracts what was learnt from the weights.",
        "TBAR, arXiv 2510.14845",
        data="images",
        needs=frozenset({"trigger"}),
        note="While it trains the model learns the attack, so the success rate is high; the last "
        "point is the result, after the vector was subtracted.",
    ),
    "interpolate": MethodFacts(
        "Blend with a reference",
        "Weights between the checkpoint and a clean one of the same architecture; nothing is "
        "trained. At alpha 1 it is the reference itself.",
        "Wortsman et al., WiSE-FT, CVPR 2022",
        data="none",
        needs=frozenset({"reference"}),
        frozen=True,
    ),
}


def method_title(method: str) -> str:
    """The title of a method, with ``(control)`` where it is one; the name itself if unknown."""
    facts = FACTS.get(method)  # type: ignore[call-overload]
    if facts is None:
        return method
    return f"{facts.title} (control)" if facts.control else str(facts.title)


def run_title(method: str, preset: str, name: str = "") -> str:
    """What a run is called wherever it is spoken of: as the user calls it, or ``PAR, talk``."""
    return name or f"{method_title(method)}, {preset or 'own settings'}"
