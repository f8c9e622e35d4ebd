"""What the loader doctor tried and what it proposes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.checkpoints.choice import Choice

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
        return {
            "question": self.question,
            "answer": self.answer,
            "settings": self.settings.to_dict(),
            "correct": self.correct,
            "n": self.n,
            "accuracy": self.accuracy,
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
        The checkpoint as it is opened without a choice; None if it cannot be built so.
    best
        The proposed settings' trial.
    choice
        What to build with; None if the checkpoint is best as it is and left nothing open.
    findings
        A sentence for each question that the file leaves open.
    warnings
        Where the file says one thing and behaves like another.
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


def surely_better(one: Trial, other: Trial) -> bool:
    """Whether it gets more images right, or as many with surely more likelihood.

    The first is an exact one-sided sign test on the images that only one of the two gets right,
    the second the mean of the paired differences against its standard error.
    """
    wins = int((one.hits & ~other.hits).sum())
    losses = int((other.hits & ~one.hits).sum())
    if wins < losses:
        return False
    total = wins + losses
    chance = sum(math.comb(total, k) for k in range(wins, total + 1)) / 2**total
    if chance < _SURE:
        return True
    gains = other.losses.astype(np.float64) - one.losses
    error = gains.std() / math.sqrt(len(gains))
    return bool(gains.mean() > _SURE_ERRORS * error > 0)
