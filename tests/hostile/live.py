"""Prove that the live items are live: ``python -m tests.hostile.live FOLDER [WORD]``.

Each is loaded without protection, in a process of its own, by the loader that it names; then its
canary must be there. The payloads create a file or a folder inside FOLDER and no more. WORD chooses
items whose names contain it. Exit code 1 if a payload did not run.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.corpus import items
from tests.hostile.make import write


def _pickle(path: str) -> None:
    import pickle

    with open(path, "rb") as file:
        pickle.load(file)


def _torch(path: str) -> None:
    import torch

    torch.load(path, weights_only=False)


def _jit(path: str) -> None:
    import torch

    torch.jit.load(path)


def _numpy(path: str) -> None:
    import numpy as np

    made: Any = np.load(path, allow_pickle=True)
    if hasattr(made, "files"):
        _ = made[made.files[0]]


LOADERS: dict[str, Callable[[str], None]] = {
    "pickle": _pickle,
    "torch": _torch,
    "jit": _jit,
    "numpy": _numpy,
}


def runs(loader: str, path: str, canary: str) -> bool:
    """Load a file in a forked process and tell whether its payload ran."""
    child = os.fork()
    if child == 0:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        try:
            LOADERS[loader](path)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return os.path.lexists(canary)


def main(folder: Path, word: str = "") -> int:
    import numpy  # noqa: F401  # once, before the forks
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    chosen = [item for item in items() if item.live and word in item.name]
    rows = write(folder, chosen)
    dead = [r["name"] for r in rows if not runs(r["live"], r["path"], r["canary"])]
    print(
        f"{len(rows) - len(dead)} of {len(rows)} live payloads ran when loaded without protection"
    )
    for name in dead:
        print("did not run:", name)
    return bool(dead)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(made)
        sys.exit(main(where, *sys.argv[2:3]))
