"""t-SNE in a child process that can be ended at any time. Imports no torch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np

from ml_core.children import child_command
from ml_core.evaluation.embedding_map import EmbeddingMap, Embeddings, Points, check_parts
from ml_core.evaluation.tsne_worker import PLACES, POINTS, SETTINGS
from ml_core.events import Step
from ml_core.reading.errors import CancelledError, InputError

_FEWEST = 8
_ITERATIONS = 1000
_PERPLEXITY = 30.0  # about the neighbours that count; lowered to a third of the points
_ITERATION = re.compile(r"Iteration (\d+)")
_POLL_S = 0.05


def tsne_map(
    parts: Sequence[Embeddings],
    *,
    seed: int = 0,
    iterations: int = _ITERATIONS,
    cancelled: Callable[[], bool] = lambda: False,
    command: Sequence[str] | None = None,
) -> Iterator[Step[EmbeddingMap]]:
    """Lay out all parts together (van der Maaten and Hinton 2008): neighbours stay neighbours.

    Distances between groups, and their sizes, mean nothing in a t-SNE. Before and after are laid
    out as one cloud, so that a point that has not moved has its twin beside it.

    Parameters
    ----------
    parts
        Embeddings of one length.
    seed
        Seed of the layout.
    iterations
        Steps of the descent, at least 300.
    cancelled
        Asked twenty times a second; True ends the child too.
    command
        The child's command line, without the folder; None takes this interpreter.

    Yields
    ------
    Step
        Each step that the child reports.

    Raises
    ------
    InputError
        If there are too few points, scikit-learn is missing, or the child failed.
    """
    check_parts(parts)
    clouds = [part.stacked() for part in parts]
    points = np.concatenate(clouds)
    if len(points) < _FEWEST:
        raise InputError(f"t-SNE needs at least {_FEWEST} points; choose a larger set.")
    if not np.isfinite(points).all():
        raise InputError("The embeddings are not numbers; the model is damaged.", "damaged")
    settings: dict[str, Any] = {
        "perplexity": min(_PERPLEXITY, (len(points) - 1) / 3),
        "iterations": max(300, iterations),
        "seed": seed,
    }
    with tempfile.TemporaryDirectory(prefix="cleanclip-tsne-") as name:
        folder = Path(name)
        np.save(folder / POINTS, points, allow_pickle=False)
        (folder / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
        yield from _watch(
            list(command or child_command("ml_core.evaluation.tsne_worker")),
            folder,
            settings["iterations"],
            cancelled,
        )
        laid = _read(folder / PLACES, len(points))
    ends = np.cumsum([len(cloud) for cloud in clouds])[:-1]
    places = tuple(np.split(laid, ends))
    settings |= {"scikit-learn": version("scikit-learn"), "metric": "euclidean, unit vectors"}
    layout = EmbeddingMap("t-SNE", tuple(parts), places, settings)
    yield Step(settings["iterations"], settings["iterations"], layout)


def _watch(
    command: list[str], folder: Path, iterations: int, cancelled: Callable[[], bool]
) -> Iterator[Step[EmbeddingMap]]:
    """Run the child and pass on its reports; it never outlives this generator."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*command, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
    )
    lines: Queue[str] = Queue()
    assert process.stdout is not None
    reader = threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True)
    reader.start()
    tail: deque[str] = deque(maxlen=20)
    try:
        yield Step(0, iterations)
        while True:
            ended = process.poll() is not None
            done = 0
            try:
                while True:
                    line = lines.get_nowait()
                    tail.append(line)
                    if (match := _ITERATION.search(line)) is not None:
                        done = min(iterations - 1, int(match[1]))
            except Empty:
                pass
            if done:
                yield Step(done, iterations)
            if cancelled():
                raise CancelledError
            if ended and not reader.is_alive() and lines.empty():
                break
            time.sleep(_POLL_S)
        if process.returncode != 0:
            missing = any("No module named 'sklearn" in line for line in tail)
            raise InputError(
                "t-SNE needs scikit-learn, which is not installed; install it or look at the PCA."
                if missing
                else "t-SNE ended unexpectedly; look at the PCA, or take fewer images.",
                "unsupported",
                "".join(tail),
            )
    finally:
        process.kill()
        process.wait()
        reader.join(5.0)
        process.stdout.close()
        if process.stdin is not None:
            process.stdin.close()


def _read_lines(stream: object, lines: Queue[str]) -> None:
    """Pass on lines until the child's end."""
    for line in stream:  # type: ignore[attr-defined]
        lines.put(line)


def _read(path: Path, count: int) -> Points:
    """What the child wrote, checked."""
    try:
        points = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError("t-SNE left no result; try again.", "damaged", str(error)) from error
    if points.shape != (count, 2) or not np.isfinite(points).all():
        raise InputError("t-SNE left no usable result; try another seed.", "damaged")
    return np.asarray(points, np.float32)
