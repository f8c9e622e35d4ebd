"""The child process of a t-SNE: ``python -m ml_core.evaluation.tsne_worker FOLDER``.

Reads points.npy and settings.json of the folder, says how far it is on standard output, and writes
places.npy there. scikit-learn cannot be stopped once it has begun; a process can.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import numpy as np

POINTS, SETTINGS, PLACES = "points.npy", "settings.json", "places.npy"
_REDUCED = 50


def main(arguments: list[str] | None = None) -> int:
    """Lay the points out; return the exit status."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    (name,) = sys.argv[1:] if arguments is None else arguments
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(5)  # the window and the live loop go first
    folder = Path(name)
    points = np.load(folder / POINTS, allow_pickle=False)
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    width = min(_REDUCED, *points.shape)
    if width < points.shape[1]:
        reducer = PCA(width, svd_solver="full")
        points = reducer.fit_transform(points).astype(np.float32)
    layout = TSNE(
        perplexity=settings["perplexity"],
        max_iter=settings["iterations"],
        random_state=settings["seed"],
        init="pca",
        learning_rate="auto",
        n_jobs=1,
        verbose=2,  # its lines are the only sign of progress
    )
    places = layout.fit_transform(points)
    with open(folder / PLACES, "wb") as file:
        np.save(file, places.astype(np.float32), allow_pickle=False)
    return 0


def _end_with_parent() -> None:
    """End this process when the parent ends, which then closes our standard input."""
    while os.read(0, 4096):  # not sys.stdin, whose lock would be held at the interpreter's end
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
