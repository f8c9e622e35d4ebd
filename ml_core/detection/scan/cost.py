"""How many passes through the encoders each stage of a scan takes. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from ml_core.detection.scan.records import Loss

AREAS = (0.02, 0.035)
SMALL_AREA = 0.005  # that of the literature's 16 px at 224, where it is more than a few pixels
_SMALLEST_SIDE = 12
GRID, CELL_PICTURES = 7, 24
PATCH_PICTURES, PATCH_STEPS = 16, 20
MEASURED = 128  # held-out pictures that each start is read off on
REFINED, REFINED_STEPS = 2, 40
OVERLAY_PICTURES, OVERLAY_STEPS = 10, 25
PROBES, PROBE_PICTURES = 43, 64
SHORTLIST = 9
WORDS, WORD_TEXTS = 88, 32  # words before the prompts, and how many prompts
HALVING = (12, 25, 60)  # steps of each round
LAST = 16
_TEXT = 0.4  # of a picture, that a text takes
_MEASURED_AGAIN = 5  # times that a refined patch is measured on all held-out pictures


def sides_of(size: int) -> tuple[int, ...]:
    """Sides in pixels of the patches that are searched at a model's input size, in order."""
    small = round(SMALL_AREA**0.5 * size)
    first = (small,) if small >= _SMALLEST_SIDE else ()
    return (*(round(area**0.5 * size) for area in AREAS), *first)


def searches(size: int) -> tuple[tuple[int, Loss], ...]:
    """Patch searches in order: each size towards any class, then one without class texts."""
    sides = sides_of(size)
    return (*((side, "max") for side in sides), (sides[1], "pair"))


@dataclass(frozen=True, slots=True)
class Passes:
    """Pictures through an encoder: ``forward`` alone, and ``both`` there and back."""

    forward: int = 0
    both: int = 0


def passes(
    stage: str, size: int, *, models: int, classes: int, starts: int, search: int, held_out: int
) -> Passes:
    """What a stage takes at most: a search that finds something early stops.

    Parameters
    ----------
    stage
        One of the spec's, or ``refine``, which belongs to the patches.
    size
        Pixels of the model's input.
    models
        1, or 2 with a reference.
    classes, starts, search, held_out
        Classes of the label set, and as in the spec.
    """
    if stage == "pull":
        return Passes(models * search)
    if stage == "probes":
        return Passes(models * PROBES * PROBE_PICTURES)
    if stage == "patches":
        rounds = len(searches(size)) * starts
        measured = min(MEASURED, held_out)
        return Passes(rounds * models * measured, rounds * PATCH_PICTURES * PATCH_STEPS)
    if stage == "refine":
        again = _MEASURED_AGAIN * models * held_out
        return Passes(GRID**2 * CELL_PICTURES + again, REFINED * PATCH_PICTURES * REFINED_STEPS)
    if stage == "overlays":
        count = min(SHORTLIST, classes)
        return Passes(3 * count * held_out, models * count * OVERLAY_PICTURES * OVERLAY_STEPS)
    if stage == "thorough":
        steps = sum(count * taken for count, taken in zip(halving(classes), HALVING, strict=True))
        return Passes(3 * min(LAST, classes) * held_out, models * OVERLAY_PICTURES * steps)
    if stage == "swap":
        texts = WORDS * min(WORD_TEXTS, classes)
        return Passes(models * (held_out + round(_TEXT * texts)))
    return Passes()


def steps(stage: str, size: int, *, models: int, classes: int, search: int) -> int:
    """How many steps a stage tells of at most; what is asked as of `passes`."""
    if stage == "pull":
        return models * search
    if stage == "probes":
        return PROBES
    if stage == "patches":
        return len(searches(size)) * PATCH_STEPS
    if stage == "refine":
        return REFINED_STEPS + GRID**2
    if stage == "overlays":
        return models * OVERLAY_STEPS
    if stage == "thorough":
        searched = zip(halving(classes), HALVING, strict=True)
        return models * sum(count * taken for count, taken in searched)
    return WORDS if stage == "swap" else 1


def halving(classes: int) -> tuple[int, int, int]:
    """Classes in each round of the thorough search."""
    return classes, min(classes, max(LAST, classes // 4)), min(classes, LAST)
