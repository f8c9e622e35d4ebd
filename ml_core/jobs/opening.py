"""Open what a job names; slow data sets in a thread, with progress events and cancelling."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import TypeVar

from ml_core.checkpoints import Checkpoint, open_checkpoint
from ml_core.data.images import ImageSet, open_images
from ml_core.data.labels import LabelSet
from ml_core.data.specs import ImageSpec
from ml_core.data.watch import Watch
from ml_core.events import Control, Event, Progress
from ml_core.jobs.specs import OnModel
from ml_core.reading.errors import CancelledError

_PACE_SECONDS = 0.5  # a small set is opened without a word
_LOOK_SECONDS = 0.2
Opened = TypeVar("Opened")


def opening(act: Callable[[Watch], Opened], control: Control) -> Generator[Event, None, Opened]:
    """Open something in a thread; meanwhile yield its progress.

    Parameters
    ----------
    act
        Opens it, with the `Watch` that it is given.
    control
        Pause holds the opening, cancel ends it.

    Yields
    ------
    Event
        Progress of the stage ``data``, twice a second at most and at the end; ``total`` 0 where it
        is not known.

    Returns
    -------
    Opened
        The generator's return value: what ``act`` returned.

    Raises
    ------
    CancelledError
        If it was cancelled.
    """
    queue: SimpleQueue[Progress | None] = SimpleQueue()
    left = threading.Event()
    results: list[Opened] = []
    failed: list[BaseException] = []
    last, most = time.monotonic(), 0

    def watch(_what: str, done: int, total: int) -> None:
        nonlocal last, most
        while not control.wait_while_paused(_LOOK_SECONDS) and not left.is_set():
            pass
        if control.cancelled or left.is_set():
            raise CancelledError
        now = time.monotonic()
        if now - last >= _PACE_SECONDS:
            last, most = now, total
            queue.put(Progress("data", done, total))

    def work() -> None:
        try:
            results.append(act(watch))
        except BaseException as error:  # raised again below, in the job's thread
            failed.append(error)
        finally:
            queue.put(None)

    thread = threading.Thread(target=work, name="opening", daemon=True)
    thread.start()
    try:
        while (event := queue.get()) is not None:
            yield event
    finally:
        left.set()
        thread.join()
    if failed:
        raise failed[0]
    if most:
        yield Progress("data", most, most)
    return results[0]


def opening_images(
    spec: ImageSpec, classes: LabelSet | None, control: Control
) -> Generator[Event, None, ImageSet]:
    """Open pictures; events and errors are those of `opening` and of `open_images`."""
    return (yield from opening(lambda watch: open_images(spec, classes, watch), control))


def open_model(spec: OnModel) -> Checkpoint:
    """Open the checkpoint of a job; raises as `open_checkpoint` does."""
    return open_checkpoint(spec.checkpoint, spec.donor, use_choice=spec.use_choice)
