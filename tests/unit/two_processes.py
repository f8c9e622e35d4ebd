"""The two processes that torchrun would start, with the environment that it gives them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from ml_core.events import Event, from_json
from tests.warm import Program, Warm


def two_processes(
    warm: Warm,
    spec: Path,
    *options: str,
    meanwhile: Callable[[Program], None] = lambda first: None,
) -> tuple[list[list[Event]], list[int]]:
    """Run the worker in two processes that know each other.

    ``meanwhile`` is given the first of them while both run.

    Returns
    -------
    tuple of lists
        The events of each process, and the exit code of each.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    started = [
        warm.start(
            "ml_core.jobs.worker",
            str(spec),
            *options,
            text=True,
            environment=common | {"MASTER_PORT": port, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]
    meanwhile(started[0])
    said = []
    for child in started:
        with child:
            assert child.stdout is not None
            said.append([from_json(line) for line in child.stdout.read().splitlines()])
    return said, [child.wait() for child in started]
