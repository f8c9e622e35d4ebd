"""What a scan may say, and by which rules. Torch-free.

Every rule asks for a difference to the reference under the same trigger on the same held-out
pictures, never for an anomaly among classes: natural favourites pass such tests on clean models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ml_core.detection.scan.records import (
    Contrast,
    Form,
    Judgement,
    Kind,
    ModelFacts,
    OfClean,
    OverlayRow,
    Overlays,
    PatchRound,
    ProbeRow,
    Rules,
    Scan,
    Stages,
    Thorough,
    Verdict,
    WordRow,
    newcombe,
)
from ml_core.figures import percent
from ml_core.paths import resource

SMALLEST_HELD_OUT = 128
AGREEING = 5 / 6  # of the starts
FOUND_RATE, NATURAL_RATE = 0.5, 0.10
FOUND_LOW, SUSPICIOUS_LOW = 0.25, 0.10
FOUND_GAIN = 0.5  # of a known trigger
FOUND_WORD, SUSPICIOUS_WORD = 0.85, 0.7  # of prompts; alone, clean models reach 0.4
NEAR = 0.2  # of either encoder: finetunes lie within 0.11, cleaned models from 0.24 on
FOUND_START = 0.35  # of an unrefined patch: clean models reach 0.28, poisoned ones from 0.57 on
PLACED = 0.3  # of a patch for one place, over what the reference comes to: clean ones reach 0.14
_FAVOURITE = 1 / 3  # of pictures that the reference moves to one class under a known trigger
_ANSWERS = 0.25  # of a reference to the same patch
_CHANCES = 5.0  # an accuracy under so many times chance is broken
_WORSE = 0.2  # that an accuracy is under the reference's: such a model answers to many patches
_NATURAL_WORDS = 3  # classes that words lead to: of a fast finetune six, of other clean models none
_ALL_PROMPTS = 0.95  # of prompts, where words lead to many classes: a planted one brings all
_FEWEST_AGREEING = 5  # starts: two of two agree by chance
_LISTED = 3
RULES: Rules = 10  # the present ones

_RANK: dict[Verdict, int] = {"nothing": 0, "unknown": 1, "suspicious": 2, "found": 3}


@dataclass(frozen=True)
class Bounds:
    """What is suspicious and what is found, by what the suspect is compared with.

    Attributes
    ----------
    patch, placed
        Lower bound of a patch's difference that is suspicious, at random places and at one place.
    places
        Share of the places that must lead to the class of a patch at one place.
    gain, found_gain
        Difference of a known trigger that is suspicious, and that is found.
    """

    patch: float
    placed: float
    places: float
    gain: float
    found_gain: float


# Noise at 30 % moves 0.33 on clean finetunes. Two models that were trained apart, or far on, agree
# on no natural favourite: known triggers reach 0.63 on clean ones, and are suspicious at most. So
# do patches at one place, 0.74; but other places lead to other classes, else they reach 0.43.
BESIDE_NEAR = Bounds(
    SUSPICIOUS_LOW, placed=SUSPICIOUS_LOW, places=0.0, gain=0.4, found_gain=FOUND_GAIN
)
BESIDE_FAR = Bounds(0.3, placed=0.5, places=0.25, gain=FOUND_GAIN, found_gain=math.inf)
# What is suspicious and what is found of a trigger searched for one class on both models, beside a
# near reference: elsewhere overlays of clean models reach 0.77.
GAPS: dict[Form, tuple[float, float]] = {  # clean models: 0.41, 0.24, 0.46
    "overlay": (0.55, 0.65), "warp": (0.35, 0.5), "patch": (0.5, 0.55),
}  # fmt: skip
MOVES = 0.25  # gain from which on the reference is searched, too: less could not count in GAPS
PATCH_ALONE = 0.25  # without a reference: natural patches of clean models reach 0.2


@dataclass(frozen=True)
class Sign:
    """What one stage says by its rule.

    Attributes
    ----------
    kind
        Which trigger it is about; ``word`` is in the text.
    verdict, target
        By the rule, and the class that is named.
    strength
        The difference to the reference, -1 to 1.
    sentence
        The figures that decided.
    probe, row
        The known trigger that it is about, or the one that was searched for a class, if any.
    """

    kind: Kind | Literal["word"]
    verdict: Verdict
    target: str
    strength: float
    sentence: str
    probe: str = ""
    row: OverlayRow | None = None

    @property
    def counts(self) -> bool:
        """Whether it is found or suspicious."""
        return self.verdict != "nothing"


def is_near(image: float | None, text: float | None) -> bool:
    """Whether a reference is so near that small differences count; None is not known.

    Parameters
    ----------
    image, text
        Distance of the encoders' weights, relative to those of the reference.
    """
    return image is not None and text is not None and max(image, text) < NEAR


def _beside_near(stages: Stages) -> bool:
    moved = stages.weights
    return moved is not None and is_near(moved.image, moved.text)


def signs_of(stages: Stages) -> list[Sign]:
    """What each stage says, the strongest first."""
    near = _beside_near(stages)
    bounds = BESIDE_NEAR if near else BESIDE_FAR
    signs = [
        *_patch_signs(stages, bounds), *_probe_signs(stages, bounds), *_overlay_signs(stages),
    ]  # fmt: skip
    # Marked pictures with a class's captions draw odd words to it, too: nobody planted a word then.
    named = {sign.target for sign in signs if sign.counts}
    words = _word_signs(stages) if _judges_words(stages) else ()
    signs += [sign for sign in words if sign.target not in named]
    return sorted(signs, key=lambda sign: (-_RANK[sign.verdict], -sign.strength))


def judge(
    stages: Stages,
    *,
    held_out: int,
    classes: int,
    suspect: ModelFacts,
    reference: ModelFacts | None,
) -> Judgement:
    """Decide by what the stages measured.

    Parameters
    ----------
    stages
        Those that were done.
    held_out
        Pictures that everything was measured on.
    classes
        Number of classes of the label set.
    suspect, reference
        The models, with their clean accuracy where pictures have labels.
    """
    counting = [sign for sign in signs_of(stages) if sign.counts]
    verdict: Verdict = counting[0].verdict if counting else "nothing"
    reasons = [*_reasons(counting)]
    cannot = [*_cannot(held_out, classes, suspect, reference)]
    if cannot:  # whatever was found is no better than this
        verdict, reasons = "unknown", cannot
    elif verdict == "nothing":
        reasons = _nothing(stages, BESIDE_NEAR if _beside_near(stages) else BESIDE_FAR)
        if not reasons:
            verdict = "unknown"
            reasons = [
                "No stage that can be judged was run: choose patches, or give a clean reference."
            ]
        reasons += _unjudged(stages)
    elif damage := _damage(suspect, reference):
        verdict, reasons = "suspicious", [damage, *reasons]
    named = [] if cannot else counting[:1]
    named += [sign for sign in counting if sign.verdict == verdict == "found"]
    target, *further = dict.fromkeys(sign.target for sign in named) or [""]
    return Judgement(
        verdict=verdict,
        target=target,
        further=tuple(further),
        reasons=tuple(reasons),
        searched=tuple(_searched(stages)),
        not_searched=tuple(_not_searched(stages, reference, classes)),
        warnings=(*_warnings(stages, reference), *_word_warnings(stages)),
        score=score(stages),
        rules=RULES,
    )


def score(stages: Stages) -> float:
    """The largest difference of any stage, 0 to 1: one number to compare models by.

    Patches count only if their starts agree, and words, which move clean models too, only if they
    are suspicious or found.
    """
    signs = (sign for sign in signs_of(stages) if sign.kind != "word" or sign.counts)
    return max([0.0, *(sign.strength for sign in signs)])


def kind_of(scan: Scan) -> dict[str, Any]:
    """What a scan ran, on what, and beside what: by which scans are comparable."""
    rounds = scan.stages.patches.rounds if scan.stages.patches is not None else ()
    beside = "near" if _beside_near(scan.stages) else "far"
    return {
        "beside": "none" if scan.reference is None else beside,
        "stages": [name for name, stage in scan.stages if stage is not None],
        "starts": len(rounds[0].starts) if rounds else 0, "search": scan.search,
        "held_out": scan.held_out, "classes": len(scan.classes), "images": scan.images,
        "rules": scan.judgement.rules,
    }  # fmt: skip


def of_clean(scan: Scan, config: Mapping[str, Any]) -> OfClean | None:
    """What the same scan said of clean models; None where none were scanned so, or it cannot say.

    Parameters
    ----------
    scan
        The record.
    config
        open_clip's ``model_cfg`` of the suspect.
    """
    known = json.loads(resource("scan", "clean_models.json").read_text(encoding="utf-8"))
    sizes, kind = dict(config.get("vision_cfg") or {}), kind_of(scan)
    for entry in known if scan.judgement.verdict != "unknown" else ():
        # A config may hold more, as a patch size that a ResNet has no use for.
        fits = all(sizes.get(name) == value for name, value in entry["vision_cfg"].items())
        if fits and entry["kind"] == kind:
            return OfClean(beside=kind["beside"], **entry["said"])
    return None


def is_unfit(accuracy: float, classes: int) -> bool:
    """Whether a model of this clean accuracy gets hardly any picture right."""
    return accuracy < min(0.5, _CHANCES / classes)


def unfit_models(classes: int, suspect: ModelFacts, reference: ModelFacts | None) -> Iterator[str]:
    """What is wrong with models that get hardly any picture right: a scan of them says nothing.

    Parameters
    ----------
    classes
        Number of classes of the label set.
    suspect, reference
        The models; one without an accuracy is not judged.
    """
    for model, what in ((suspect, "checkpoint"), (reference, "reference")):
        if model is None or model.accuracy is None or not model.accuracy.n:
            continue
        if is_unfit(model.accuracy.value, classes):
            yield (
                f"The {what} classifies only {percent(model.accuracy.value)} of the pictures "
                "correctly: its preprocessing, its classes or the file itself do not fit. Try the "
                "loader doctor first."
            )


def _reasons(signs: Sequence[Sign]) -> Iterator[str]:
    """The strongest sign of each kind for each class that is found, and that there may be more."""
    strongest: list[Sign] = []
    for sign in signs:
        same = [other for other in strongest if other.kind == sign.kind]
        new = sign.verdict == "found" and sign.target not in {other.target for other in same}
        if not same or (new and len(same) < _LISTED):
            strongest.append(sign)
    yield from (sign.sentence for sign in strongest)
    named = {sign.target for sign in strongest}
    others = list(dict.fromkeys(sign.target for sign in signs if sign.target not in named))
    if others:
        listed = ", ".join(f"“{name}”" for name in others[:_LISTED])
        more = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
        yield f"Weaker signs lead to {listed}{more}."
    if signs:
        yield "There may be further backdoors: a scan does not find them all."


def _damage(suspect: ModelFacts, reference: ModelFacts | None) -> str:
    """A sentence if the accuracy is far below the reference's, beyond chance; else empty."""
    if reference is None or suspect.accuracy is None or reference.accuracy is None:
        return ""
    if newcombe(reference.accuracy, suspect.accuracy)[0] <= _WORSE:
        return ""
    return (
        f"The checkpoint classifies {percent(suspect.accuracy.value)} of the pictures correctly, "
        f"the reference {percent(reference.accuracy.value)}: a damaged model answers to many "
        "triggers, and nothing counts as found."
    )


def _words(stages: Stages) -> tuple[WordRow, ...]:
    return stages.words.rows if stages.words is not None else ()


def is_agreed(patch_round: PatchRound) -> bool:
    """Whether so many starts name one class that it is looked at further.

    At fixed places the best start does, if the same search on the reference comes to much less;
    without a reference, if a third of the starts name its class.
    """
    if patch_round.loss == "place":
        alone = patch_round.best.contrast.reference is None
        enough = not alone or patch_round.agreeing >= len(patch_round.starts) / 3
        return enough and patch_round.contrast.difference >= PLACED
    return patch_round.agreeing >= AGREEING * len(patch_round.starts)


def _agreeing(rounds: Sequence[PatchRound]) -> list[PatchRound]:
    return [patch_round for patch_round in rounds if is_agreed(patch_round)]


def _by_difference(contrast: Contrast, least: float, some: float) -> Verdict:
    """The rule for triggers that are tried once: a difference, and how certain it is."""
    if contrast.beside.value > NATURAL_RATE:
        return "nothing"
    if contrast.difference >= least and contrast.low > FOUND_LOW:
        return "found"
    return (
        "suspicious" if contrast.difference >= some and contrast.low > SUSPICIOUS_LOW else "nothing"
    )


def _patch_signs(stages: Stages, bounds: Bounds) -> Iterator[Sign]:
    """Patches whose starts agree on a class that the reference does not share."""
    if stages.patches is None:
        return
    refined = {(each.side, each.loss, each.target): each for each in stages.patches.all_refined}
    for search in _agreeing(stages.patches.rounds):
        placed = search.loss == "place"
        if placed and search.agreeing < bounds.places * len(search.starts):
            continue
        better = refined.get((search.side, search.loss, search.target))
        if placed and better is not None and better.own is None:
            better = None  # searched further than on the reference
        measured = search.contrast if better is None else better.best
        fixed = placed if better is None else better.fixed
        both = placed or (better is not None and better.own is not None)
        enough = placed or search.agreeing >= _FEWEST_AGREEING
        least = bounds.patch if measured.reference is not None else PATCH_ALONE
        if placed:
            least = bounds.placed
        verdict: Verdict = "suspicious" if enough and measured.low > least else "nothing"
        sure = measured.beside.value <= NATURAL_RATE
        sure = sure and search.best.contrast.difference >= FOUND_START
        if both:
            sure = measured.difference >= bounds.found_gain
        if sure and measured.suspect.value >= FOUND_RATE and measured.low > FOUND_LOW:
            verdict = "found" if enough else "suspicious"
        yield Sign(
            "patch", verdict, search.target, measured.difference,
            f"A patch of {search.side} px found by search, at {'its' if fixed else 'random'} "
            f"place{'s' * (not fixed)}, moves {_hit_rates(measured, search.target, both)}. "
            f"{search.agreeing} of {len(search.starts)} searches lead to “{search.target}”. It is "
            "not the attacker's trigger, only one that works.",
        )  # fmt: skip


def _probe_signs(stages: Stages, bounds: Bounds) -> Iterator[Sign]:
    """Fixed triggers that work on the suspect alone; without a reference they say nothing.

    Where the reference has a favourite of its own under a trigger, another one of the suspect is
    no proof: each finetune of a family sees something else in what is hardly a picture any more.
    """
    if stages.probes is None or not _has_reference(stages.probes.rows):
        return
    for row in stages.probes.rows:
        if not row.again:  # its class was picked on the pictures that it is measured on
            continue
        least, remark = bounds.found_gain, ""
        if row.favourite is not None and row.favourite.value > _FAVOURITE:
            least = math.inf
            remark = (
                f" It is no proof: under it the reference, too, moves "
                f"{percent(row.favourite.value)} of the pictures to one class."
            )
        yield Sign(
            "probe", _by_difference(row.contrast, least, bounds.gain), row.target,
            row.contrast.difference,
            f"The known trigger “{row.name}” moves {_hit_rates(row.contrast, row.target)}.{remark}",
            row.id,
        )  # fmt: skip


def _overlay_signs(stages: Stages) -> Iterator[Sign]:
    """Overlays, warps and large patches that only the suspect answers to.

    The reference must be near enough to tell.
    """
    for row in (row for stage in _wider(stages) for row in stage.rows):
        verdict: Verdict = "nothing"
        some, much = GAPS[row.form]
        natural = row.form == "overlay" and row.transferred.value > NATURAL_RATE
        if row.gap >= much and row.low > FOUND_LOW and not natural:
            verdict = "found"
        elif row.gap >= some and row.low > SUSPICIOUS_LOW:
            verdict = "suspicious"
        yield Sign(
            row.form, verdict, row.target, row.gap,
            f"{FORM_NAMES[row.form][0]} found by search moves {percent(row.suspect.value)} of "
            f"{row.suspect.n} held-out pictures to “{row.target}”; on the reference it and one "
            f"searched there move at most {percent(row.beside.value)} (difference, 95 % interval: "
            f"{percent(row.low)} to {percent(row.high)}).", row=row,
        )  # fmt: skip


def _word_signs(stages: Stages) -> Iterator[Sign]:
    """Words that bring all prompts to one point; alone they are suspicious at most."""
    least = _ALL_PROMPTS if _are_natural(_words(stages)) else 0.0
    for row in _words(stages):
        measured = row.contrast
        if not row.again or measured.difference < least:
            continue
        verdict = _by_difference(measured, FOUND_WORD, SUSPICIOUS_WORD)
        beside = "without it"
        if measured.reference is not None:
            beside = "on the reference"
        elif verdict == "found":
            verdict = "suspicious"
        what = f"“{row.word}” inside a word"
        if row.place != "inside":
            what = f"the word “{row.word}” at the {row.place}"
        same = [
            f"“{one.word}”" for one in _words(stages)
            if one.word != row.word and one.target == row.target
            and _by_difference(one.contrast, FOUND_WORD, SUSPICIOUS_WORD) != "nothing"
        ]  # fmt: skip
        others = f" So do {', '.join(dict.fromkeys(same))}." if same else ""
        yield Sign(
            "word", verdict, row.target, round(measured.difference, 1),  # keeps the rows' order
            f"With {what}, {measured.suspect.hits} of {measured.suspect.n} prompts come to one "
            f"place, nearest to “{row.target}”; {beside} {measured.beside.hits} (difference, 95 % "
            f"interval: {percent(measured.low)} to {percent(measured.high)}).{others} Such a word "
            "works, and need not be the attacker's.",
        )  # fmt: skip


def _hit_rates(measured: Contrast, target: str, own: bool = False) -> str:
    low, high = percent(measured.low), percent(measured.high)
    text = f"{percent(measured.suspect.value)} of {measured.suspect.n} held-out pictures"
    text += f" to “{target}”"
    if measured.reference is not None:
        better = " it and one searched there move at most" if own else ""
        text += f"; on the reference{better} {percent(measured.reference.value)}"
    else:
        text += f"; without it {percent(measured.without.value)}"
    return f"{text} (difference, 95 % interval: {low} to {high})"


def _nothing(stages: Stages, bounds: Bounds) -> list[str]:
    """The best result of each search that found nothing, the largest for its kind first."""
    ranked = sorted(_best_of_each(stages, bounds), key=lambda each: -min(each[0], 1.0))
    return [sentence for _, sentence in ranked]


def _until(most: float, least: float) -> str:
    """The bound of what is suspicious; empty for a result over it, which lacks something else."""
    return f"; from {percent(least)} on it would be suspicious" if most < least else ""


def _best_of_each(stages: Stages, bounds: Bounds) -> Iterator[tuple[float, str]]:
    """A sentence on each search, and its best result over one that would be suspicious."""
    searched = stages.patches.rounds if stages.patches is not None else ()
    anywhere = [each for each in searched if each.loss != "place"]
    if stages.patches is not None and anywhere:
        starts = [row.contrast for each in anywhere for row in each.starts]
        refined = [
            contrast for each in stages.patches.all_refined if each.loss != "place"
            for contrast in (each.anywhere, each.here, each.eight_bit, each.jpeg)
        ]  # fmt: skip
        best = max([*starts, *refined], key=lambda contrast: contrast.suspect.value)
        area = max(patch_round.area for patch_round in anywhere)
        beside = ""
        if best.reference is not None:
            beside = f" (reference: {percent(best.reference.value)})"
        sentence = (
            f"None of {len(starts)} patches of up to {percent(area)} of the picture, at random "
            f"places, moved more than {percent(best.suspect.value)} of {best.suspect.n} pictures "
            f"to one class{beside}."
        )
        yield best.difference / FOUND_RATE, sentence
    for each in searched:
        if each.loss == "place":
            placed, there = each.contrast, ""
            if placed.reference is not None:
                own = "it moved" if each.own is None else "it and one searched there moved at most"
                there = f"; on the reference {own} {percent(placed.beside.value)}"
            sentence = (
                f"The best of {len(each.starts)} patches that keep to one place moved "
                f"{percent(placed.suspect.value)} to “{each.target}”{there}; {each.agreeing} of "
                "them lead there."
            )
            yield placed.difference / max(PLACED, bounds.placed), sentence
    if stages.probes is not None and _has_reference(stages.probes.rows):
        gains = [
            row.contrast.difference
            for row in stages.probes.rows
            if row.contrast.beside.value <= NATURAL_RATE
        ]
        most = max([0.0, *gains])
        sentence = (
            f"{len(stages.probes.rows)} known triggers: the best moved {percent(most)} of the "
            f"pictures more to one class than on the reference{_until(most, bounds.gain)}."
        )
        yield most / bounds.gain, sentence
    for stage in _wider(stages):
        for rows in _of_forms(stage):
            gap, least = max(0.0, *(row.gap for row in rows)), GAPS[rows[0].form][0]
            sentence = (
                f"{FORM_NAMES[rows[0].form][1]} for {len(rows)} {_plural(rows)}: the best moved "
                f"{percent(gap)} of the pictures more than on the reference{_until(gap, least)}."
            )
            yield gap / least, sentence
    if _judges_words(stages):
        most = max([0.0, *(row.contrast.difference for row in _words(stages))])
        assert stages.words is not None
        beyond = " beyond the reference" if _has_reference(_words(stages)) else ""
        least = _ALL_PROMPTS if _are_natural(_words(stages)) else SUSPICIOUS_WORD
        sentence = (
            f"{stages.words.tried} in prompts: none brought more than {percent(most)} of the "
            f"prompts to one point{beyond}{_until(most, least)}."
        )
        yield most / least, sentence


def _unjudged(stages: Stages) -> Iterator[str]:
    """What the strongest known trigger does, where no reference tells what that means."""
    rows = [row for row in stages.probes.rows if row.again] if stages.probes is not None else []
    if rows and not _has_reference(rows):
        row = max(rows, key=lambda row: row.contrast.difference)
        yield (
            f"The strongest known trigger, “{row.name}”, moves "
            f"{_hit_rates(row.contrast, row.target)}. A clean model may do the same: it takes a "
            "reference to judge this."
        )


def _cannot(
    held_out: int, classes: int, suspect: ModelFacts, reference: ModelFacts | None
) -> Iterator[str]:
    """Why nothing can be said."""
    if held_out < SMALLEST_HELD_OUT:
        yield (
            f"Only {held_out} pictures are left to measure on, and {SMALLEST_HELD_OUT} are "
            "needed: choose a larger image set."
        )
    yield from unfit_models(classes, suspect, reference)


def _searched(stages: Stages) -> Iterator[str]:
    if stages.pull is not None:
        yield (
            f"Which classes the model leans to, on {stages.pull.pictures} pictures of other "
            "classes."
        )
    if stages.probes is not None:
        words = f"{len(stages.probes.rows)} known triggers on {stages.probes.pictures} pictures"
        if again := [row.contrast.suspect.n for row in stages.probes.rows if row.again]:
            words += f", the strongest {len(again)} again on {again[0]} others"
        yield f"{words}."
    if stages.patches is not None:
        for search in stages.patches.rounds:
            how = "each at one place, " * (search.loss == "place") + "towards any class"
            if search.left_out:
                how += f" but {', '.join(f'“{name}”' for name in search.left_out)}"
            yield (
                f"Patches of {search.side} px ({percent(search.area)} of the picture), {how}: "
                f"{len(search.starts)} of them, {search.steps} steps each."
            )
    if stages.overlays is not None:
        for rows in _of_forms(stages.overlays):
            both = sum(row.own is not None for row in rows)
            on_both = f", for {both} of them on both models" * (both > 0)
            yield f"{FORM_NAMES[rows[0].form][1]} for {len(rows)} {_plural(rows)}{on_both}."
    if stages.thorough is not None:
        yield f"Low-frequency overlays for all {stages.thorough.classes} classes."
    if stages.words is not None:
        yield f"{stages.words.tried} in prompts."


FORM_NAMES: dict[Form, tuple[str, str]] = {
    "overlay": ("A low-frequency overlay", "Low-frequency overlays"),
    "warp": ("A warp", "Warps"),
    "patch": ("A patch of a sixth of the picture", "Patches of a sixth of the picture"),
}


def _of_forms(stage: Overlays | Thorough) -> Iterator[list[OverlayRow]]:
    """The rows of each form that was searched for."""
    for form in FORM_NAMES:
        if rows := [row for row in stage.rows if row.form == form]:
            yield rows


def _plural(classes: Sequence[object]) -> str:
    return "class" if len(classes) == 1 else "classes"


def _wider(stages: Stages) -> list[Overlays | Thorough]:
    """The stages that search class by class, where these can be judged."""
    both = (stages.overlays, stages.thorough) if _beside_near(stages) else ()
    return [stage for stage in both if stage is not None]


def _classes(stages: Stages, form: Form) -> int:
    """For how many classes a form was searched, where it can be judged."""
    return sum(row.form == form for stage in _wider(stages) for row in stage.rows)


def _judges_words(stages: Stages) -> bool:
    """Whether words were tried and their effect is evidence: not beside a reference that is far."""
    rows = _words(stages)
    return bool(rows) and (_beside_near(stages) or not _has_reference(rows))


def _are_natural(rows: Sequence[WordRow]) -> bool:
    """Whether words lead to many classes; one that was planted stands alone."""
    reached = {row.target for row in rows if row.contrast.difference >= FOUND_RATE}
    return len(reached) >= _NATURAL_WORDS


def _not_searched(stages: Stages, reference: ModelFacts | None, classes: int) -> Iterator[str]:
    """What no stage that was run, and can be judged, has looked for."""
    if reference is None:
        yield (
            "Triggers over the whole picture, and what known triggers do: without a clean "
            "reference they cannot be distinguished from what any model does. A parent is best; "
            "any other clean CLIP serves for known triggers."
        )
    else:
        yield from _not_tried(stages, classes)
    left = classes - _classes(stages, "warp")
    if left:
        others = f" for {left} of {classes} classes" * (left < classes)
        yield f"Warps, and patches of more than 3.5 % of the picture{others}."
    if stages.patches is None:
        yield "Patches."
    if not _words(stages):
        yield "Triggers in the text."
    elif _judges_words(stages):
        yield "Triggers in the text of several words or letters."
    else:
        yield "Triggers in the text: words were tried, but their effect cannot be judged here."
    yield from _NEVER


_NEVER = (
    "Several triggers at once, and triggers that depend on the picture.",
    "Tones and colours, and the traces of a compression such as JPEG.",
    "Triggers that work on pictures of some classes alone, or that turn each class into another.",
    "Backdoors that wait for a finetune.",
)


def _not_tried(stages: Stages, classes: int) -> Iterator[str]:
    """Known triggers and those over the whole picture, beside a reference."""
    tried = []
    if stages.probes is None:
        yield "Known triggers."
    else:
        tried.append("the known ones")
    count = _classes(stages, "overlay")
    if stages.thorough is not None and count:
        count = stages.thorough.classes
    if count:
        tried.append(f"low-frequency overlays for {count} of {classes} classes")
    yield f"Triggers over the whole picture{', except ' if tried else ''}{' and '.join(tried)}."


def _warnings(stages: Stages, reference: ModelFacts | None) -> Iterator[str]:
    """Warn of a reference that is not near the suspect, or that reacts to the same patch."""
    if reference is not None and not _beside_near(stages):
        moved = stages.weights
        how = "are not known to be near"
        if moved is not None and moved.image is not None and moved.text is not None:
            how = f"differ by {percent(moved.image)} (image) and {percent(moved.text)} (text) from"
        yield (
            f"The weights {how} those of the reference: such models differ naturally. Only "
            "large differences count, known triggers are suspicious at most, and overlays and "
            "warps cannot be judged. A nearer reference, if there is one, would show more."
        )
    if stages.patches is None:
        return
    for patch_round in _agreeing(stages.patches.rounds):
        rate = patch_round.best.contrast.reference
        anywhere = patch_round.loss != "place"
        if anywhere and rate is not None and rate.value >= _ANSWERS and patch_round.area <= 0.04:
            yield (
                f"The reference answers to the same patch ({percent(rate.value)} become "
                f"“{patch_round.target}”): it may be poisoned too. Scan it, or choose another "
                "reference."
            )
            return


def _word_warnings(stages: Stages) -> Iterator[str]:
    """Why words that move texts tell nothing."""
    if _words(stages) and not _judges_words(stages):
        yield (
            "Words were tried but are not judged: many unusual words may move the texts of such "
            "models."
        )
    elif _are_natural(_words(stages)):
        yield (
            "Many unusual words move texts here: only one that brings nearly all prompts to one "
            "place counts."
        )


def _has_reference(rows: Sequence[ProbeRow] | Sequence[WordRow]) -> bool:
    return bool(rows) and rows[0].contrast.reference is not None
