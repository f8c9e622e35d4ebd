"""The loader doctor: which settings a checkpoint behaves best with, on a few labelled images.

A file that does not say its activation or normalisation loads all the same and is silently worse
with the wrong one. The doctor tries the candidates, shows what each scores, and proposes; it
decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.checkpoints import Checkpoint
from ml_core.checkpoints.choice import Choice
from ml_core.checkpoints.open import CLIP_SCALE
from ml_core.data.images import ImageSet
from ml_core.data.labels import LabelSet
from ml_core.evaluation.candidates import QUESTIONS, answer, settings_of, sizes, variants, words
from ml_core.evaluation.records import wilson_interval
from ml_core.evaluation.stamping import to_float
from ml_core.evaluation.zero_shot import zero_shot_classifier
from ml_core.events import Progress
from ml_core.figures import percent
from ml_core.reading.clip_config import is_timm
from ml_core.reading.errors import CancelledError, InputError

# A setting counts as better when fewer than one in a hundred fair coins would favour it so.
_SURE = 0.01
_SURE_ERRORS = 3.0  # of likelihood, in standard errors


@dataclass(frozen=True)
class Trial:
    """One setting and what it scores.

    Parameters
    ----------
    question
        What was varied: one of `QUESTIONS`, ``logit scale``, or ``as opened``.
    answer
        In words.
    settings
        All of them.
    correct, n
        Images whose class is predicted, of how many.
    nll
        Mean negative log-likelihood of the true class, in nats, at the logit scale that makes it
        least: a setting must not look better by being bolder.
    hits, losses
        Right or wrong, and the negative log-likelihood, of each image.
    """

    question: str
    answer: str
    settings: Choice
    correct: int
    n: int
    nll: float
    hits: NDArray[np.bool_] = field(compare=False, repr=False)
    losses: NDArray[np.float32] = field(compare=False, repr=False)

    @property
    def accuracy(self) -> float:
        """Share of the images whose label was predicted, 0 to 1."""
        return self.correct / self.n

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the Wilson 95 % interval of the accuracy, ``low`` and ``high``."""
        low, high = wilson_interval(self.correct, self.n)
        return {
            "question": self.question,
            "answer": self.answer,
            "settings": self.settings.to_dict(),
            "correct": self.correct,
            "n": self.n,
            "accuracy": self.accuracy,
            "low": low,
            "high": high,
            "nll": self.nll,
        }


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor proposes, and why.

    Parameters
    ----------
    trials
        Everything that was tried, in order.
    opened
        The trial without a choice; None if the model cannot be built without one.
    best
        The proposed settings' trial.
    choice
        Settings to build with; None if the file leaves no question open and its own settings are
        best.
    findings
        A sentence for each question that the file leaves open.
    warnings
        Sentences on settings in the file that do not fit how the model behaves.
    """

    trials: tuple[Trial, ...]
    opened: Trial | None
    best: Trial
    choice: Choice | None
    findings: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "opened": None if self.opened is None else self.opened.to_dict(),
            "best": self.best.to_dict(),
            "choice": None if self.choice is None else self.choice.to_dict(),
            "findings": list(self.findings),
            "warnings": list(self.warnings),
            "trials": [trial.to_dict() for trial in self.trials],
        }


def surely_better(trial: Trial, other: Trial) -> bool:
    """Whether it gets more images right, or as many with surely more likelihood.

    The first is an exact one-sided sign test on the images that only one of the two gets right,
    the second the mean of the paired differences against its standard error.
    """
    wins = int((trial.hits & ~other.hits).sum())
    losses = int((other.hits & ~trial.hits).sum())
    if wins < losses:
        return False
    total = wins + losses
    chance = sum(math.comb(total, k) for k in range(wins, total + 1)) / 2**total
    if chance < _SURE:
        return True
    gains = other.losses.astype(np.float64) - trial.losses
    error = gains.std() / math.sqrt(len(gains))
    return bool(gains.mean() > _SURE_ERRORS * error > 0)


MAX_TEMPLATES = 4
_BATCH = 64
_LEAST_IMAGES = 20
_SCALES = tuple(2.0 * 1.25**step for step in range(22))  # to 217


class DoctorBench:
    """Images, classes and what was computed so far; images and texts are embedded once each."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        images: ImageSet,
        label_set: LabelSet,
        device: str,
        cancelled: Callable[[], bool],
    ) -> None:
        chosen = np.flatnonzero(images.labels >= 0)
        size = checkpoint.architecture.preprocess.size
        self._images = images.fitted(checkpoint.architecture.preprocess.fit)
        self._canvases = {size: self._images.canvas(chosen, size)}
        good = np.array([index not in self._images.broken for index in chosen.tolist()], bool)
        self._canvases[size] = self._canvases[size][good]
        self._indices = chosen[good]
        classes = np.unique(images.labels[self._indices])
        if len(self._indices) < _LEAST_IMAGES or len(classes) < 2:
            raise InputError(
                f"The loader doctor needs at least {_LEAST_IMAGES} labelled images of two classes; "
                f"{images.name} has {len(self._indices)} of {len(classes)}: choose other images."
            )
        self.labels = torch.from_numpy(np.searchsorted(classes, images.labels[self._indices]))
        self.classes = [label_set.class_names[number] for number in classes.tolist()]
        self._templates = label_set.templates[:MAX_TEMPLATES]
        self.checkpoint, self._device, self._cancelled = checkpoint, device, cancelled
        self.state = checkpoint.read_state()
        self.trials: dict[Choice, Trial] = {}
        self._image_rows: dict[object, Tensor] = {}
        self._class_rows: dict[object, Tensor] = {}
        self.scale = logit_scale(self.state)  # of the file
        self.n, self.source = len(self._indices), self._images.name

    def trial(self, settings: Choice, question: str, answered: str) -> Trial:
        """Score settings, once."""
        if settings not in self.trials:
            cosines = self.cosines(settings)
            finite = torch.isfinite(cosines).all(1)
            hits = ((cosines.argmax(1) == self.labels) & finite).numpy()
            losses = min((self.losses(cosines, scale) for scale in _SCALES), key=mean).numpy()
            self.trials[settings] = Trial(
                question, answered, settings, int(hits.sum()), self.n, mean(losses), hits, losses
            )
        return self.trials[settings]

    def losses(self, cosines: Tensor, scale: float) -> Tensor:
        """Negative log-likelihood of each label; [n]."""
        return torch.nn.functional.cross_entropy(scale * cosines, self.labels, reduction="none")

    def cosines(self, settings: Choice) -> Tensor:
        """[n, C] products of unit image and class embeddings, on the CPU."""
        convolutional = isinstance(
            self.checkpoint.architecture.config["vision_cfg"].get("layers"), list
        )
        activation = None if convolutional else settings.quick_gelu
        image_key = (
            activation, settings.mean, settings.std, settings.image_size, settings.image_heads
        )  # fmt: skip
        class_key = (settings.quick_gelu, settings.text_heads)
        if image_key not in self._image_rows or class_key not in self._class_rows:
            model = self.checkpoint.build_from(self.state, self._device, settings)
            model.sha256 = None  # its texts are kept here, not in the cache of checkpoints
            if class_key not in self._class_rows:
                self._stop_if_cancelled()
                rows = zero_shot_classifier(model, self.classes, self._templates, watch=self._watch)
                self._class_rows[class_key] = rows.float().cpu()
            if image_key not in self._image_rows:
                canvases = self._pictures(model.image_size)
                batches = [
                    model.encode_images(to_float(canvases[start : start + _BATCH], model.device))
                    for start in self._starts()
                ]
                self._image_rows[image_key] = torch.cat(batches).float().cpu()
        return self._image_rows[image_key] @ self._class_rows[class_key].T

    def _starts(self) -> Iterable[int]:
        for start in range(0, self.n, _BATCH):
            self._stop_if_cancelled()
            yield start

    def _watch(self, _what: str, _done: int, _total: int) -> None:
        self._stop_if_cancelled()

    def _stop_if_cancelled(self) -> None:
        if self._cancelled():
            raise CancelledError

    def _pictures(self, size: int) -> NDArray[np.uint8]:
        """The images at a size; only the last size is kept."""
        if size not in self._canvases:
            self._canvases = {size: self._images.canvas(self._indices, size)}
        return self._canvases[size]


def logit_scale(state: Mapping[str, Tensor]) -> float:
    """The factor that a state dict says, infinite where it is too large; CLIP's if it has none."""
    stored = state.get("logit_scale")
    if stored is None or stored.numel() != 1:
        return CLIP_SCALE
    return float(stored.detach().double().exp())


def mean(values: Tensor | NDArray[np.float32]) -> float:
    """Mean, infinite if it is not a number, so that it is never the least."""
    mean = float(values.mean())
    return mean if math.isfinite(mean) else math.inf


_LOG_SCALES = {"CLIP's largest, 100": 100.0, "CLIP's first, 1 / 0.07": 1 / 0.07}
_PLAUSIBLE = (1.0, 200.0)


def explain(bench: DoctorBench, opened: Choice, best: Choice) -> Diagnosis:
    """Turn the trials into sentences, question by question."""
    architecture = bench.checkpoint.architecture
    unsure: set[str] = set(architecture.questions)
    if "heads" in unsure:
        unsure |= {"text heads", "image heads"}
    top = bench.trials[best]
    findings: list[str] = []
    warnings: list[str] = []
    corrected: dict[str, Any] = {}
    for question in QUESTIONS:
        right, says = words(best, question), words(opened, question)
        if answer(opened, question) != answer(best, question):
            corrected |= answer(best, question)
            worse = bench.trials.get(replace(best, **answer(opened, question)))
            rates = ""
            if worse is not None:
                both = percent(top.accuracy), percent(worse.accuracy)
                rates = f" ({' against '.join(both)} of {bench.n} images)"
            if question in unsure:
                findings.append(
                    f"The file does not state the {question}: {says} was assumed, and {right} "
                    f"scores better{rates}."
                )
            else:
                warnings.append(
                    f"File and behaviour disagree on the {question}: the file says {says}, and it "
                    f"behaves like {right}{rates}."
                )
        elif question in unsure:
            corrected |= answer(best, question)
            rivals = [
                trial
                for trial in bench.trials.values()
                if trial.settings != best
                and all(
                    answer(trial.settings, other) == answer(best, other)
                    for other in QUESTIONS
                    if other != question
                )
            ]
            findings.append(_confirmed(question, right, top, rivals, bench.n))
    scale, says = _logit_scale(bench, best, "logit scale" in architecture.questions)
    if scale is not None:
        corrected["logit_scale"] = scale
        (findings if "logit scale" in architecture.questions else warnings).append(says)
    choice = None
    first = bench.trials.get(opened)
    if corrected:
        answers = [
            words(best, q) for q in QUESTIONS if answer(best, q).items() <= corrected.items()
        ]
        if scale is not None:
            answers.append(f"a logit scale of {scale:.4g}")
        score = percent(top.accuracy)
        if first is not None and first is not top:
            score += f" instead of {percent(first.accuracy)}"
        choice = Choice(
            **corrected,
            evidence=(
                f"Chosen with the loader doctor on {bench.n} labelled images of {bench.source}: "
                f"{', '.join(answers)}; {score} right among {len(bench.classes)} classes."
            ),
        )
    return Diagnosis(
        tuple(bench.trials.values()), first, top, choice, tuple(findings), tuple(warnings)
    )


def _confirmed(question: str, right: str, top: Trial, rivals: list[Trial], n: int) -> str:
    """Whether the images show that an answer is better than its rivals."""
    if not rivals:
        return f"The file does not state the {question}: {right} is the only one that fits."
    rival = max(rivals, key=lambda trial: (trial.correct, -trial.nll))
    choice = words(rival.settings, question)
    rates = f"{percent(top.accuracy)} against {percent(rival.accuracy)} of {n} images"
    if surely_better(top, rival):
        return (
            f"The file does not state the {question}: {right} was assumed and scores better than "
            f"{choice} ({rates})."
        )
    return (
        f"The file does not state the {question}, and the images cannot distinguish {right} from "
        f"{choice} ({rates}): the assumption is kept."
    )


def _logit_scale(bench: DoctorBench, best: Choice, unsure: bool) -> tuple[float | None, str]:
    """The likeliest logit scale, if the file has none or one that no CLIP has."""
    low, high = _PLAUSIBLE
    if low <= bench.scale <= high and not unsure:
        return None, ""
    options = dict(_LOG_SCALES)
    raw = bench.state.get("logit_scale")
    if raw is not None and raw.numel() == 1 and low <= float(raw) <= high:
        options["the stored number itself"] = float(raw)
    cosines = bench.cosines(best)
    name = min(options, key=lambda name: mean(bench.losses(cosines, options[name])))
    scale = "has no logit scale" if unsure else f"says a logit scale of {bench.scale:.3g}"
    return options[name], f"The file {scale}: {name} ({options[name]:.4g}) is the likeliest."


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
    bench = DoctorBench(checkpoint, images, label_set, device, cancelled)
    architecture = checkpoint.architecture
    opened = current = settings_of(architecture)
    fitting = sizes(architecture)
    if current.image_size not in _allowed(fitting, opened, architecture.config):
        current = replace(current, image_size=fitting[0])
    choice = ", ".join(words(current, question) for question in QUESTIONS)
    trial = bench.trial(current, "as opened", choice)
    yield trial
    for _ in range(_ROUNDS):
        before = current
        for group in (QUESTIONS[:2], *((question,) for question in QUESTIONS[2:])):
            trials = yield from _try_all(bench, current, group)
            current = _better(bench.trials[current], trials).settings
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
    bench: DoctorBench, current: Choice, questions: tuple[str, ...]
) -> Generator[Progress | Trial, None, list[Trial]]:
    """Score every combination of answers to some questions."""
    architecture = bench.checkpoint.architecture
    trials = []
    options = [variants(architecture, current, question) for question in questions]
    for picked in product(*options):
        settings = current
        for question, option in zip(questions, picked, strict=True):
            settings = replace(settings, **answer(option, question))
        new = settings not in bench.trials
        changed = [q for q in questions if answer(settings, q) != answer(current, q)]
        label = " and ".join(changed or questions)
        choice = ", ".join(words(settings, question) for question in changed or questions)
        trial = bench.trial(settings, label, choice)
        if new:
            yield trial
            yield Progress("doctor", len(bench.trials), 0)
        trials.append(trial)
    return trials


def _better(current: Trial, others: Iterable[Trial]) -> Trial:
    """The best trial, or the current one if none is surely better."""
    best = max(others, key=lambda trial: (trial.correct, -trial.nll))
    return best if surely_better(best, current) else current


def _by_the_file(
    bench: DoctorBench, opened: Choice, best: Choice
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
