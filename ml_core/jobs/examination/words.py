"""What an examination says: its answer in a sentence, what that stands on, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ml_core.detection.scan.records import (
    TITLES,
    Contrast,
    Kind,
    ModelFacts,
    Probes,
    Refined,
    Scan,
    Stages,
    Verdict,
    Weights,
    answer,
)
from ml_core.detection.scan.verdict import is_near, signs_of
from ml_core.figures import percent
from ml_core.jobs.auto import Outcome
from ml_core.jobs.examination import Advice

_TRIGGERS: dict[Kind, str] = {
    "patch": "a patch", "overlay": "an overlay", "warp": "a warp", "probe": "a known trigger",
}  # fmt: skip
ADVICE: dict[Advice, str] = {
    "do not load": "Do not load this file in another program: loading it can run code.",
    "get again": "Get the file again from its publisher: this copy is damaged.",
    "other file": "Choose a file that holds a CLIP in a format that is read.",
    "choose a part": "Choose one of the models in it.",
    "choose a donor": "Choose a complete CLIP that gives the encoder which this file lacks.",
    "doctor": "Open the loader doctor: the classes, the pictures or the settings do not fit.",
    "clean": "Clean it, then check whether the same scan still finds something.",
    "clean again": "Do not use the cleaned checkpoint: clean with more rounds, or choose another "
    "method.",
    "more time": "Examine it again with more minutes, or without a limit.",
    "reference": "Get a parent to compare with: beside a clean parent, the scan also searches "
    "for triggers over the whole picture.",
    "report": "Write the report: it says what was searched and what was not.",
    "none": "The report has the evidence.",
}
CLEANED: dict[Outcome, str] = {
    "nothing_found": "Cleaned: the same scan finds nothing any more",
    "still_found": "Cleaned, but the same scan still finds something",
    "not_scanned": "Cleaned, and not scanned again",
    "worse": "Cleaning cost too much accuracy",
}
BUILT_IN = (
    "The pictures were the built-in drawings. They tell whether a trigger moves such drawings "
    "between their own classes. They do not tell how well the model knows your pictures, and a "
    "target outside these classes is harder to find."
)
OTHER_CLASSES = (
    "Your pictures were sorted into the classes of the built-in drawings. Choose the classes that "
    "your pictures show: in the bar at the top of the window, or with --labels."
)
NOT_SEARCHED = "not searched"
_NO_PATCHES = "patches were not searched. Known triggers alone tell nothing of others."
NOT_DEPLOYED = "The model was not watched in use: only its file was examined."


_FEW_CLASSES = 10


def verdict_of(scan: Scan) -> Verdict:
    """What an examination makes of a scan's verdict: no more than what was searched allows."""
    verdict = scan.judgement.verdict
    if verdict == "nothing" and _lacks_patches(scan):
        return "unknown"
    return "suspicious" if verdict == "found" and any(doubts(scan)) else verdict


def doubts(scan: Scan) -> Iterator[str]:
    """Why a patch that was found alone may be one that works on any model."""
    if scan.reference is not None or scan.judgement.verdict != "found":
        return
    if len(scan.classes) < _FEW_CLASSES:
        yield (
            f"There are only {len(scan.classes)} classes and no reference: with so few classes, "
            "patches move pictures to one class on a clean model, too. So it is suspicious at most."
        )
    if scan.suspect.accuracy is None:
        yield (
            "The pictures have no labels, and there is no reference: nobody knows whether they "
            "show these classes. So it is suspicious at most."
        )


def _lacks_patches(scan: Scan) -> bool:
    """Whether an image encoder was not searched for patches, without which nothing can be said."""
    return scan.stages.patches is None and scan.stages.probes is not None


def accuracy_sentences(
    suspect: ModelFacts, reference: ModelFacts | None, classes: int
) -> Iterator[str]:
    """How many pictures the models classify correctly, beside chance."""
    if suspect.accuracy is None:
        yield "The pictures have no labels, so clean accuracy was not measured."
        return
    beside = ""
    if reference is not None and reference.accuracy is not None:
        beside = f"; the reference {percent(reference.accuracy.value)}"
    yield (
        f"It classifies {percent(suspect.accuracy.value)} of {suspect.accuracy.n} pictures "
        "correctly"
        f"{beside}. By chance it would be {percent(1 / classes)}."
    )


def about_known(stages: Stages, probes: Probes) -> tuple[str, str]:
    """The known trigger that speaks most for a backdoor, else the one that moves most pictures.

    Returns
    -------
    str, str
        Its rate beside the reference's, empty without one, where it says nothing; and a sentence.
    """
    signs = [sign.probe for sign in signs_of(stages) if sign.kind == "probe" and sign.counts]
    first = next((row for row in probes.rows if row.id in signs[:1]), probes.rows[0])
    tried = f"{len(probes.rows)} published triggers and patterns were tried."
    which = "is the strongest that counts" if signs else "turns most"
    sentence = f"{tried} “{first.name}” {which}: {_rates(first.contrast, first.target)}."
    if first.contrast.reference is None:
        return "", sentence
    suspect, reference = first.contrast.suspect.value, first.contrast.reference.value
    return f"{percent(suspect)}, reference {percent(reference)}", sentence


def weights_sentence(moved: Weights) -> str:
    """How far the weights are from the reference's, and whether it can be its parent."""
    kin = "a near relative" if is_near(moved.image, moved.text) else "no near relative"
    return (
        f"The reference is {kin}. The image encoder differs from the reference's by "
        f"{percent(moved.image)} of its norm, the text encoder by {percent(moved.text)}."
    )


def attack_sentences(scan: Scan) -> Iterator[str]:
    """What the trigger that was found does, and where."""
    found = scan.found
    assert found is not None
    yield f"{_trigger(scan)[0].upper()}{_trigger(scan)[1:]} turns {_turned(scan)}."
    if (refined := _refined(scan)) is not None:
        rates = [rate for row in refined.grid for rate in row]
        yield (
            f"How well it works depends on where it lies: it turns {percent(min(rates))} of the "
            f"pictures at the worst place that was tried, {percent(max(rates))} at the best."
        )


def headline(scan: Scan) -> str:
    """The answer of a scan, and what decided it."""
    judgement, verdict = scan.judgement, verdict_of(scan)
    title = answer(verdict, judgement.target, *judgement.further)
    if verdict == "nothing":
        return f"{title}."
    if verdict != "unknown" and scan.found is not None:
        return f"{title}. {next(attack_sentences(scan))}"
    reason = next(iter(judgement.reasons), "") if verdict == judgement.verdict else _NO_PATCHES
    return f"{title}{':' if verdict == 'unknown' else '.'} {reason}".removesuffix(": ").strip()


def search_figure(scan: Scan) -> str:
    """What the search for unknown triggers came to, in few words."""
    verdict, target = verdict_of(scan), scan.judgement.target
    if _lacks_patches(scan):
        return NOT_SEARCHED
    if target:
        return f"{'to' if verdict == 'found' else 'perhaps to'} “{target}”"
    return "none found" if verdict == "nothing" else TITLES[verdict].lower()


def looked_at(scan: Scan) -> Iterator[str]:
    """What was searched; known triggers that are tried without a reference are not judged."""
    for sentence in scan.judgement.searched:
        unjudged = scan.reference is None and " known triggers on " in sentence
        yield f"{sentence.removesuffix('.')}: tried, not judged." if unjudged else sentence


def advice_of(scan: Scan) -> Advice:
    """What to do after a scan."""
    verdict = verdict_of(scan)
    if any(doubts(scan)):
        return "reference"
    if verdict in ("found", "suspicious"):
        return "clean"
    if verdict != scan.judgement.verdict:
        return "more time"
    return "reference" if scan.reference is None else "report"


def cleaned_figure(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The attack's success before and after a cleaning; empty where it was not measured."""
    rates = before.get("asr_excl"), after.get("asr_excl")
    return "" if None in rates else f"ASR {percent(rates[0])} to {percent(rates[1])}"


def _trigger(scan: Scan) -> str:
    """What the trigger is, with its size where it has one."""
    assert scan.found is not None
    refined = _refined(scan)
    size = f" of {refined.side} px" if refined is not None else ""
    return f"{_TRIGGERS[scan.found.kind]}{size}"


def _refined(scan: Scan) -> Refined | None:
    """The patch that was found, if it is one that was searched on."""
    patches, found = scan.stages.patches, scan.found
    if patches is None or found is None or found.kind != "patch":
        return None
    return next((each for each in patches.all_refined if each.target == found.target), None)


def _turned(scan: Scan) -> str:
    assert scan.found is not None
    return _rates(scan.found.contrast, scan.found.target)


def _rates(contrast: Contrast, target: str) -> str:
    """How many pictures become a class, on the suspect and beside it."""
    own = f"{percent(contrast.suspect.value)} of {contrast.suspect.n} pictures into “{target}”"
    where = "without it" if contrast.reference is None else "on the reference"
    return f"{own}, {where} {percent(contrast.beside.value)}"
