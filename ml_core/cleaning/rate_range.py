"""Which learning rates a checkpoint bears, from a ramp of the rate. Torch-free.

The learning-rate range test of Smith (arXiv 1506.01186, section 3.3): the rate grows geometrically
from step to step, and the loss of every step and the accuracy at some of them tell where learning
begins and where it breaks. A ramp accumulates its damage: at the rate r the model has taken about
``1 / ln(growth a step)`` steps of r, not the hundreds that a run takes near its peak. So the
proposed start lies well under the rate at which the ramp loses accuracy.

Only accuracy is looked at, no backdoor. On the demo (CleanCLIP, 40 000 pairs) a whole run at the
proposed start of 1.4e-4 cost 0.8 points of accuracy and left the attack success rate at 78 % (98 %
before; measured while images and views were encoded in two passes); the preset's 2e-3, beyond the
range, leaves 1.6 % and costs 1.1 points: a run wins accuracy back as its rate falls. The range says
where little is risked, not how high to go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from ml_core.figures import percent, rate_text

DROP = 1.0
"""Points of clean accuracy that a rate may cost."""
_UNDER = 3.0  # the start is so far under the upper end
_DECADE = 10.0
_CLEAR = 6.0  # spreads by which a smoothed loss must move: more than a dozen means do by chance
_MEDIAN_DIFFERENCE = 0.9539  # of two normal numbers of spread 1
_FEWEST_AVERAGED = 5


@dataclass(frozen=True)
class RateRow:
    """One step of a ramp, or its start.

    Attributes
    ----------
    step
        Optimizer steps done; 0 is the checkpoint as it came.
    lr
        Rate of this step; 0 at the start.
    loss
        Loss of this step's batch, before the step; None at the start, and if it was not a number.
    ca
        Clean accuracy on validation images after the step, a fraction; None where not measured.
    ca_low, ca_high
        Its 95 % interval over the validation images, or None.
    """

    step: int
    lr: float
    loss: float | None = None
    ca: float | None = None
    ca_low: float | None = None
    ca_high: float | None = None


@dataclass(frozen=True)
class Proposal:
    """What a ramp says of the rate of a run.

    Attributes
    ----------
    low, high
        The range in which rates are worth trying; None if no rate can be proposed.
    start
        The rate to begin with, in the range.
    sentence
        All of it in words.
    dropped
        Rate at which accuracy was first found lower by more than the limit; None if it never was.
    surely_dropped
        Rate from which even the upper end of the accuracy's interval is that low; None if none is.
    steepest
        Rate at which the smoothed loss falls fastest; None if it never falls clearly.
    turned
        Last rate at which the smoothed loss is about as low as anywhere, where it rises clearly
        afterwards; else None.
    """

    low: float | None
    high: float | None
    start: float | None
    sentence: str
    dropped: float | None = None
    surely_dropped: float | None = None
    steepest: float | None = None
    turned: float | None = None


def ramp_rate(step: int, steps: int, low: float, high: float) -> float:
    """The rate of a step of a geometric ramp.

    Parameters
    ----------
    step
        0 for the first, which has ``low``; ``steps`` - 1 is the last, which has ``high``.
    steps
        At least 2.
    """
    return float(low * (high / low) ** (step / (steps - 1)))


def propose(rows: Sequence[RateRow], drop: float = DROP) -> Proposal:
    """The range and the start that a ramp suggests.

    The upper end is the last measured rate before clean accuracy is more than ``drop`` points under
    the checkpoint's own at two measurements in a row (one, where it is the last), so that a single
    picture more or less decides nothing, or the rate at which the smoothed loss turns up, whichever
    is lower. The lower end is a tenth of it. The start is a third of it: a run stays near its peak
    for far longer than a ramp that passes by. The place where the loss falls fastest (Smith's and
    fastai's hint) is reported too, and decides nothing. The loss of a checkpoint that was
    pretrained on such pairs hardly falls, and a rate as high as accuracy allows is what removes a
    backdoor.

    Parameters
    ----------
    rows
        The ramp by rising step, its start (``lr`` 0, with ``ca``) first.
    drop
        Points of accuracy, 0 to 100.
    """
    start_ca = rows[0].ca if rows and not rows[0].lr else None
    measured = [row for row in rows if row.lr and row.ca is not None]
    if start_ca is None or not measured:
        return Proposal(None, None, None, "Accuracy was not measured: no rate can be proposed.")
    steepest, turned = _of_loss(rows)
    floor = start_ca - drop / 100 - 1e-9
    low_points = [row.ca is not None and row.ca < floor for row in measured]
    broken = next(
        (
            place for place, low in enumerate(low_points)
            if low and (place + 1 == len(measured) or low_points[place + 1])
        ),
        None,
    )  # fmt: skip
    dropped = None if broken is None else measured[broken].lr
    surely = next(
        (row.lr for row in measured if row.ca_high is not None and row.ca_high < floor), None
    )
    facts = {"dropped": dropped, "surely_dropped": surely, "steepest": steepest, "turned": turned}
    limit = f"{drop:g} point{'' if drop == 1 else 's'}"
    if broken == 0:
        return Proposal(
            None, None, None,
            f"Accuracy is more than {limit} lower at the first measurement already (rate "
            f"{rate_text(measured[0].lr)}): begin the ramp lower, or freeze BatchNorm, whose "
            "statistics move at any rate.",
            **facts,
        )  # fmt: skip
    borne = measured[-1 if broken is None else broken - 1]
    high = borne.lr if turned is None else min(borne.lr, turned)
    low, high, start = rounded(high / _DECADE), rounded(high), rounded(high / _UNDER)
    words = (
        f"Rates from {rate_text(low)} to {rate_text(high)} are worth trying; "
        f"begin with {rate_text(start)}."
    )
    seen = _why(start_ca, borne, facts, limit)
    return Proposal(low, high, start, f"{seen} {words}", **facts)


def rounded(rate: float) -> float:
    """A rate with two digits, never above it."""
    unit = 10.0 ** (math.floor(math.log10(rate)) - 1)
    return float(f"{math.floor(rate / unit * (1 + 1e-9)) * unit:.3g}")


def smoothed(values: Sequence[float]) -> list[float]:
    """The centred mean over a tenth of the values, at least five, fewer at both ends."""
    half = _half(len(values))
    return [
        fmean(values[place - side : place + side + 1])
        for place in range(len(values))
        for side in [min(half, place, len(values) - 1 - place)]
    ]


def _half(count: int) -> int:
    """Values on each side that are averaged with one."""
    return max(_FEWEST_AVERAGED, count // 10) // 2


def _of_loss(rows: Sequence[RateRow]) -> tuple[float | None, float | None]:
    """Where the smoothed loss falls fastest, and where it turns up; None where neither is clear."""
    steps = [(row.lr, row.loss) for row in rows if row.lr and row.loss is not None]
    if len(steps) < 2 * _FEWEST_AVERAGED:
        return None, None
    losses = [loss for _, loss in steps]
    # The ends are averaged over fewer steps than the rest: what one step does there is chance.
    half = _half(len(steps))
    curve = smoothed(losses)[half : len(steps) - half]
    rates = [rate for rate, _ in steps][half : len(steps) - half]
    # Of neighbours, so that the trend is not taken for scatter.
    scatter = sorted(abs(after - before) for before, after in pairwise(losses))
    spread = scatter[len(scatter) // 2] / _MEDIAN_DIFFERENCE / math.sqrt(2 * half + 1)
    clear = _CLEAR * spread
    lowest = min(range(len(curve)), key=curve.__getitem__)
    # Not the lowest place itself: on a flat curve that is anywhere.
    near = [place for place, value in enumerate(curve) if value <= curve[lowest] + clear]
    turned = rates[near[-1]] if near[-1] + 1 < len(curve) else None
    if lowest < 2 or max(curve[:lowest]) - curve[lowest] <= clear:
        return None, turned
    steepest = min(range(1, lowest), key=lambda place: curve[place + 1] - curve[place - 1])
    return rates[steepest], turned


def _why(start_ca: float, borne: RateRow, facts: dict[str, float | None], limit: str) -> str:
    """What was seen, as sentences."""
    dropped, surely, turned = facts["dropped"], facts["surely_dropped"], facts["turned"]
    if dropped is None:
        seen = (
            f"No rate up to {rate_text(borne.lr)} costs more than {limit} of accuracy "
            f"({percent(start_ca)} at the start)."
        )
    else:
        seen = (
            f"Accuracy ({percent(start_ca)} at the start) falls by more than {limit} between "
            f"{rate_text(borne.lr)} and {rate_text(dropped)}"
        )
        seen += (
            ", though by no more than these few images leave open."
            if surely is None
            else f", beyond doubt from {rate_text(surely)}."
            if surely > dropped
            else ", beyond doubt."
        )
    if turned is not None and turned < borne.lr:
        seen += f" The loss rises from {rate_text(turned)}."
    return seen
