"""Pictures decoded and augmented in processes of their own, a few steps ahead.

A thread would take the interpreter's lock from the thread that trains, again and again. Processes
are started anew (never forked: this one has threads), hand their pictures over in shared memory,
and end when this one does, however it ends.
"""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import signal
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_core.cleaning.augment import Table, policy_table, use_table
from ml_core.cleaning.pictures import Drawing, Drawn, PictureSource, draw_step
from ml_core.reading.errors import InputError

_SLOTS = 2  # steps that a process works ahead

Memory = Any  # a ctypes array in shared memory


@dataclass(eq=False)
class _Worker:
    """A process, its pipe and its shared memory."""

    process: BaseProcess
    pipe: Connection
    slots: npt.NDArray[np.uint8]  # [slots, 2, rows, S, S, 3]
    waiting: list[int] = field(default_factory=list)  # steps asked for, in order


class PictureWorkers:
    """Gives each step's pictures as :func:`draw_step` would, made ahead by ``count`` processes.

    Parameters
    ----------
    source
        The pictures; a copy goes to each process. What turns out broken there is noted in
        ``source.broken`` here too.
    drawing
        Which pictures a step takes.
    count
        Processes, at least 1; started at the first call.
    steps
        Steps of the run: none beyond is made.
    """

    def __init__(self, source: PictureSource, drawing: Drawing, count: int, steps: int) -> None:
        self._source, self._drawing, self._steps = source, drawing, steps
        self._count = count
        self._workers: list[_Worker] = []

    def __call__(self, step: int) -> Drawn:
        """One step's pictures.

        Raises
        ------
        InputError
            If they cannot be read, or a process was killed.
        """
        if not self._workers:
            self._workers = [self._start() for _ in range(self._count)]
        for ahead in range(step, min(self._steps, step + self._count * _SLOTS)):
            worker = self._workers[ahead % self._count]
            if ahead not in worker.waiting:
                while len(worker.waiting) >= _SLOTS:  # after a jump: what nobody will ask for
                    self._receive(worker)
                with suppress(ConnectionError):  # the next answer reports an ended process
                    worker.pipe.send(ahead)
                worker.waiting.append(ahead)
        worker = self._workers[step % self._count]
        while True:
            number, drawn = self._receive(worker)
            if number == step:
                return drawn

    def close(self) -> None:
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
            worker.process.join(timeout=5.0)
        self._workers = []

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        shape = _shape(self._drawing)
        memory: Memory = context.RawArray(ctypes.c_uint8, math.prod(shape))
        here, there = context.Pipe()
        process = context.Process(
            target=_work,
            args=(there, memory, self._source, self._drawing, policy_table()),
            name="cleaning-pictures",
            daemon=True,
        )
        process.start()
        there.close()
        return _Worker(process, here, np.frombuffer(memory, np.uint8).reshape(shape))

    def _receive(self, worker: _Worker) -> tuple[int, Drawn]:
        """The next step that a process made, copied out of its memory."""
        try:
            answer = worker.pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise InputError(
                "A process that reads pictures was killed, perhaps because memory ran out; "
                "resume the run from its last save."
            ) from error
        step = worker.waiting.pop(0)
        if answer["error"] is not None:
            sentence, code, details = answer["error"]
            if code is None:
                raise RuntimeError(f"{sentence}\n{details}")
            raise InputError(sentence, code, details)
        if isinstance(self._source.broken, MutableMapping):
            self._source.broken.update(answer["broken"])
        rows = len(answer["indices"])
        images, views = worker.slots[answer["slot"]]
        drawn = Drawn(
            answer["indices"],
            answer["places"],
            images[:rows].copy(),
            views[:rows].copy() if answer["views"] else None,
        )
        return step, drawn


def can_travel(source: PictureSource) -> bool:
    """Whether a copy of the pictures can go to another process."""
    try:
        ForkingPickler.dumps(source)
    except (TypeError, AttributeError, ValueError, OSError, RuntimeError):
        return False
    return True


def _shape(drawing: Drawing) -> tuple[int, int, int, int, int, int]:
    """Shape of a process's shared memory."""
    rank, world = drawing.share
    batch = drawing.recipe.batch_size
    rows = batch * (rank + 1) // world - batch * rank // world
    return (_SLOTS, 2, rows, drawing.size, drawing.size, 3)


def _work(
    pipe: Connection, memory: Memory, source: PictureSource, drawing: Drawing, table: Table
) -> None:
    """In a process: make the steps that are asked for, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    use_table(table)
    slots = np.frombuffer(memory, np.uint8).reshape(_shape(drawing))
    reported: set[int] = set()
    turn = 0
    with suppress(EOFError, ConnectionError):
        while True:
            step = pipe.recv()
            answer: dict[str, Any] = {"error": None, "slot": turn}
            try:
                drawn = draw_step(source, drawing, step)
                rows = len(drawn.indices)
                slots[turn, 0, :rows] = drawn.images
                if drawn.views is not None:
                    slots[turn, 1, :rows] = drawn.views
                broken = {k: v for k, v in source.broken.items() if k not in reported}
                reported |= broken.keys()
                answer |= {
                    "indices": drawn.indices,
                    "places": drawn.places,
                    "views": drawn.views is not None,
                    "broken": broken,
                }
            except InputError as error:
                answer["error"] = (error.sentence, error.code, error.details)
            except Exception as error:
                named = f"{type(error).__name__}: {error}"
                answer["error"] = (named, None, traceback.format_exc())
            pipe.send(answer)
            turn = (turn + 1) % _SLOTS
    os._exit(0)
