"""What cleaning costs and what it buys: each evaluation of a run as a point. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ml_core.events import Event, Metric, Saved


@dataclass(frozen=True)
class Point:
    """One evaluation of a run on its validation images.

    Attributes
    ----------
    step
        Optimizer steps done; 0 is the checkpoint before cleaning.
    ca
        Clean accuracy, a fraction.
    asr
        Attack success rate over images that are not of the target class, a fraction; None if
        not measured.
    poisoned_accuracy
        Share of triggered images of other classes that keep their label; None if not measured.
    ca_interval, asr_interval
        95 % intervals, or None.
    checkpoint
        The file kept of this step; empty if none was.
    """

    step: int
    ca: float
    asr: float | None = None
    poisoned_accuracy: float | None = None
    ca_interval: tuple[float, float] | None = None
    asr_interval: tuple[float, float] | None = None
    checkpoint: str = ""


@dataclass(frozen=True)
class Curve:
    """The evaluations of one run."""

    title: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Limits:
    """What is asked of a cleaned checkpoint.

    Attributes
    ----------
    ca_drop
        Most points of clean accuracy that may be lost since the start, 0 to 100.
    asr
        Highest attack success rate, in per cent, 0 to 100.
    """

    ca_drop: float = 2.0
    asr: float = 5.0

    def met(self, point: Point, start_ca: float) -> bool:
        """Whether ``point`` keeps both limits; not if attack success was not measured."""
        if point.asr is None:
            return False
        lost = 100.0 * (start_ca - point.ca)
        # A drop of exactly the limit is within it, whatever binary fractions make of it.
        return lost <= self.ca_drop + 1e-9 and 100.0 * point.asr <= self.asr + 1e-9


def points(events: Iterable[Event]) -> tuple[Point, ...]:
    """Every evaluation of a run with the zero-shot classifier, by rising step.

    Parameters
    ----------
    events
        The run's events in their order, live or from its journal. A step that was evaluated twice,
        by a session that was killed and by the one that went on, counts as the later one.

    Returns
    -------
    tuple of Point
        Empty if nothing was evaluated.
    """
    measured: dict[int, Metric] = {}
    saved: dict[int, str] = {}
    for event in events:
        if isinstance(event, Metric) and _ok(event.values.get("ca")):
            measured[event.step] = event
        elif isinstance(event, Saved) and event.what == "step":
            saved[event.step] = event.path
    return tuple(_point(measured[step], saved.get(step, "")) for step in sorted(measured))


def pareto(points: Sequence[Point]) -> tuple[int, ...]:
    """Which points no other one beats: none has more clean accuracy and less attack success too.

    Parameters
    ----------
    points
        Points of one run or of several together; those without a success rate are left out.

    Returns
    -------
    tuple of int
        Indices into ``points``, from the highest clean accuracy to the lowest; equal points are
        all in it, in their order.
    """
    costs = [
        (-point.ca, point.asr, index) for index, point in enumerate(points) if point.asr is not None
    ]
    front: list[int] = []
    best: tuple[float, float] | None = None
    for lost, cost, index in sorted(costs):
        if best is None or cost < best[1] or (lost, cost) == best:
            front.append(index)
            best = (lost, cost)
    return tuple(front)


def _point(metric: Metric, checkpoint: str) -> Point:
    """A point from the values of an evaluation."""
    values = metric.values

    def value(name: str) -> float | None:
        number = values.get(name)
        return number if _ok(number) else None

    def interval(name: str) -> tuple[float, float] | None:
        low, high = value(f"{name}_low"), value(f"{name}_high")
        return None if low is None or high is None else (low, high)

    return Point(
        metric.step,
        values["ca"],
        value("asr_excl"),
        value("poisoned_accuracy"),
        interval("ca"),
        interval("asr"),
        checkpoint,
    )


def _ok(value: float | None) -> bool:
    """Whether a number was measured; a journal turns what is not finite into NaN."""
    return value is not None and abs(value) < float("inf")
