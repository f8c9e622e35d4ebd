"""The loader doctor: which settings a checkpoint behaves best with, on a few labelled images.

A file that does not say its activation or normalisation loads all the same and is silently worse
with the wrong one. The doctor tries the candidates, shows what each scores, and proposes; it
decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from ml_core.checkpoints import Checkpoint
from ml_core.checkpoints.choice import Choice
from ml_core.data.images import ImageSet
from ml_core.data.labels import LabelSet
from ml_core.evaluation.candidates import QUESTIONS, answer, settings_of, sizes, variants, words
from ml_core.evaluation.doctor_bench import Bench, logit_scale
from ml_core.evaluation.doctor_findings import explain
from ml_core.evaluation.doctor_records import Diagnosis, Trial, surely_better
from ml_core.events import Progress
from ml_core.reading.clip_config import is_timm

__all__ = ["Diagnosis", "Trial", "diagnose", "logit_scale"]

_ROUNDS = 4  # one right answer can bring out the next; ends when nothing changes


def diagnose(
    checkpoint: Checkpoint,
    images: ImageSet,
    label_set: LabelSet,
    *,
    device: str = "cpu",
    cancelled: Callable[[], bool] = lambda: False,
) -> Generator[Progress | Trial, None, Diagnosis]:
    """Try what the file may have been trained with.

    Accuracies are among the classes that the images have, with at most four templates: they
    compare settings and are no clean accuracy.

    Parameters
    ----------
    images
        A few hundred labelled ones, of at least two classes.
    cancelled
        Asked before every batch.

    Yields
    ------
    Progress or Trial
        Each trial as soon as it is there.

    Raises
    ------
    InputError
        ``usage`` if there are too few labelled images, ``damaged`` if the tensors fit no setting.
    CancelledError
        If it was cancelled.
    """
    bench = Bench(checkpoint, images, label_set, device, cancelled)
    architecture = checkpoint.architecture
    opened = current = settings_of(architecture)
    fitting = sizes(architecture)
    if current.image_size not in _allowed(fitting, opened, architecture.config):
        current = replace(current, image_size=fitting[0])
    said = ", ".join(words(current, question) for question in QUESTIONS)
    trial = bench.trial(current, "as opened", said)
    yield trial
    for _ in range(_ROUNDS):
        before = current
        for group in (QUESTIONS[:2], *((question,) for question in QUESTIONS[2:])):
            found = yield from _try_all(bench, current, group)
            current = _better(bench.trials[current], found).settings
        if current == before:
            break
    current = yield from _by_the_file(bench, opened, current)
    return explain(bench, opened, current)


def _allowed(
    fitting: tuple[int, ...], opened: Choice, config: Mapping[str, Any]
) -> tuple[int, ...]:
    """Sizes with which the tensors can be built: also one that no list has, if its grid fits."""
    vision, size = config["vision_cfg"], opened.image_size or 0
    if is_timm(config):
        return fitting
    step = 32 if isinstance(vision["layers"], list) else vision["patch_size"]
    return (*fitting, size) if size // step == fitting[0] // step else fitting


def _try_all(
    bench: Bench, current: Choice, questions: tuple[str, ...]
) -> Generator[Progress | Trial, None, list[Trial]]:
    """Score every combination of answers to some questions."""
    architecture = bench.checkpoint.architecture
    found = []
    options = [variants(architecture, current, question) for question in questions]
    for picked in product(*options):
        settings = current
        for question, option in zip(questions, picked, strict=True):
            settings = replace(settings, **answer(option, question))
        new = settings not in bench.trials
        changed = [q for q in questions if answer(settings, q) != answer(current, q)]
        label = " and ".join(changed or questions)
        said = ", ".join(words(settings, question) for question in changed or questions)
        trial = bench.trial(settings, label, said)
        if new:
            yield trial
            yield Progress("doctor", len(bench.trials), 0)
        found.append(trial)
    return found


def _better(current: Trial, others: Iterable[Trial]) -> Trial:
    """The best trial, or the current one if none is surely better."""
    best = max(others, key=lambda trial: (trial.correct, -trial.nll))
    return best if surely_better(best, current) else current


def _by_the_file(
    bench: Bench, opened: Choice, best: Choice
) -> Generator[Progress | Trial, None, Choice]:
    """Go back to what the file says, or what was assumed, where that is not surely worse."""
    for question in QUESTIONS:
        back = replace(best, **answer(opened, question))
        if back == best or (question == "resolution" and back not in bench.trials):
            continue
        new = back not in bench.trials
        trial = bench.trial(back, question, words(back, question))
        if new:
            yield trial
        if not surely_better(bench.trials[best], trial):
            best = back
    return best
