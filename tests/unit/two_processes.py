"""The two processes that torchrun would start, with the environment that it gives them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_core.events import Event, from_json
from tests.warm import Program, Warm


def two_processes(
    warm: Warm,
    spec: Path,
    *options: str,
    module: str = "ml_core.jobs.worker",
    meanwhile: Callable[[Program], None] = lambda first: None,
) -> tuple[list[list[Event]], list[int]]:
    """Run the worker in two processes that know each other.

    ``meanwhile`` is given the first of them while both run.

    Returns
    -------
    tuple of lists
        The events of each process, and the exit code of each.
    """
    arguments = [str(spec), *options]
    started = start_two(warm, module, arguments, arguments)
    meanwhile(started[0])
    events = []
    for child in started:
        with child:
            assert child.stdout is not None
            events.append([from_json(line) for line in child.stdout.read().splitlines()])
    return events, [child.wait() for child in started]


def start_two(
    warm: Warm,
    module: str,
    first: Sequence[str],
    second: Sequence[str],
    *,
    stderr: int | None = None,
) -> list[Program]:
    """Start a module in two processes that know each other, each with its own arguments."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    return [
        warm.start(
            module,
            *arguments,
            text=True,
            stderr=stderr,
            environment=common | {"MASTER_PORT": port, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank, arguments in (("0", first), ("1", second))
    ]
