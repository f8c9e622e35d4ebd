"""What is slow to open tells how far it is, waits while paused, and ends when cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_core.data.specs import PairSpec
from ml_core.data.watch import Watch
from ml_core.events import Control, Done, Event, Progress
from ml_core.jobs import inputs, opening
from ml_core.jobs.runner import run_job
from ml_core.jobs.specs import CleanSpec
from tests.unit.small_jobs import small_recipe, small_spec


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of an opening is told."""
    monkeypatch.setattr(opening, "_PACE_SECONDS", 0.0)


@pytest.fixture
def table(tmp_path: Path) -> PairSpec:
    """A table of 600 rows, which is told of three times while it is read."""
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    path = tmp_path / "pairs.csv"
    path.write_text("image,caption\n" + "".join(f"a.png,caption {n}\n" for n in range(600)))
    return PairSpec(kind="csv", path=str(path))


def _spec(checkpoint: Path, folder: Path, pairs: PairSpec) -> CleanSpec:
    recipe = small_recipe(pairs=16)
    return small_spec(checkpoint, folder, recipe, pairs=pairs, test_images=None)


@pytest.mark.parametrize("estimate", [False, True])
def test_cancel_ends_it_in_the_middle_of_the_pairs(
    estimate: bool, tiny_checkpoint: Path, tmp_path: Path, table: PairSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    control, reached = Control(), []

    def open_pairs(spec: PairSpec, watch: Watch) -> object:
        for number in range(1000):
            reached.append(number)
            watch("Reading", number, 1000)
            time.sleep(0.002)
        raise AssertionError("nobody ended it")

    monkeypatch.setattr(inputs, "open_pairs", open_pairs)
    events: list[Event] = []
    spec = _spec(tiny_checkpoint, tmp_path / "out", table)
    for event in run_job(spec, control, estimate=estimate):
        events.append(event)
        if isinstance(event, Progress) and event.stage == "data" and event.done >= 3:
            control.cancel()
    assert events[-1] == Done("cancelled")
    assert 3 <= len(reached) < 1000
    assert not (tmp_path / "out" / "cleaned.safetensors").exists()


def _count(control: Control, seen: list[int]) -> Iterator[Event]:
    def act(watch: Watch) -> str:
        for number in range(40):
            watch("Counting", number, 40)
            seen.append(number)
            time.sleep(0.002)
        return "whole"

    return opening.opening(act, control)


def test_pause_holds_it_and_its_value_comes_back() -> None:
    control, seen = Control(), list[int]()
    control.pause()
    found: list[str] = []

    def drain() -> None:
        events = _count(control, seen)
        while True:
            try:
                next(events)
            except StopIteration as end:
                found.append(end.value)
                return

    thread = threading.Thread(target=drain)
    thread.start()
    time.sleep(0.3)
    assert seen == []
    control.resume()
    thread.join(timeout=30)
    assert (found, len(seen)) == (["whole"], 40)


def test_who_stops_listening_ends_it() -> None:
    control, seen = Control(), list[int]()
    events = _count(control, seen)
    next(events)
    events.close()  # type: ignore[attr-defined]
    stood = len(seen)
    time.sleep(0.05)
    assert len(seen) == stood < 40
    assert not any(thread.name == "opening" for thread in threading.enumerate())
