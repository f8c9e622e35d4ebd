"""The audit's scores on 100 000 synthetic embeddings: seconds, peak memory, planted AUROC.

The background lies near a mixture of 300 subspaces of 24 dimensions in 512, as unequal as the
classes of a crawl. Planted pairs are a tight cluster away from it, as a backdoored model makes of
its trigger: 100 in all (one in a chunk of 1024) and 5000 (about 51 in each, more than k). Chunks
are made one at a time, as the job embeds them, so that memory is what the scores take. The other
side of the time is a full distance matrix by torch.cdist, which the scores do without; of the
memory, the 40 GB that the distances of all to all would take.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from ml_core.detection.neighbours import (
    Density,
    Forest,
    auroc,
    clip_score,
    dao,
    k_distance,
    lid,
    nearest,
    slof,
)
from tests.benchmarks.timing import Row

N, WIDTH, CHUNK, K = 100_000, 512, 1024, 16
SUBSPACES, DIMENSION = 300, 24
FEW, MANY = 100, 5000


class Embeddings:
    """Chunks of pictures' and captions' embeddings, drawn when asked for."""

    def __init__(self, plants: int) -> None:
        rng = np.random.default_rng(0)
        self.planted = np.zeros(N, np.bool_)
        self.planted[rng.permutation(N)[:plants]] = True
        self.basis = rng.normal(size=(SUBSPACES, DIMENSION, WIDTH)).astype(np.float32)
        self.centre = 4 * rng.normal(size=(SUBSPACES, WIDTH)).astype(np.float32)
        self.weight = rng.dirichlet(np.full(SUBSPACES, 0.3))
        self.place = (9 * rng.normal(size=WIDTH)).astype(np.float32)

    def chunk(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng([1, number])
        rows = slice(number * CHUNK, min(N, (number + 1) * CHUNK))
        n = len(range(*rows.indices(N)))
        of = rng.choice(SUBSPACES, n, p=self.weight)
        mix = rng.normal(size=(n, DIMENSION)).astype(np.float32)
        points = np.einsum("nk,nkd->nd", mix, self.basis[of]) + self.centre[of]
        points += 0.3 * rng.normal(size=points.shape).astype(np.float32)
        texts = points + 20 * rng.normal(size=points.shape).astype(np.float32)
        at = self.planted[rows]
        points[at] = self.place + 2 * rng.normal(size=(at.sum(), WIDTH)).astype(np.float32)
        return torch.from_numpy(points), torch.from_numpy(texts)


def audit(plants: int) -> dict[str, float]:
    """Seconds of each part, AUROC of each score, and the growth of the peak memory in MB."""
    data = Embeddings(plants)
    chunks = -(-N // CHUNK)
    names = ("dao", "slof", "k_distance", "lid", "closeness", "isolation", "clip_score")
    values = {name: np.zeros(N, np.float32) for name in names}
    spent = dict.fromkeys(("neighbours", "forest", "dao", "slof", "lid", "clip_score"), 0.0)
    points, texts = data.chunk(0)
    forest = Forest(points, 0)
    nearest(points, K), forest.score(points)  # warm: what torch and the trees keep
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def timed(name: str, act, *arguments):  # type: ignore[no-untyped-def]
        begin = time.process_time()
        result = act(*arguments)
        spent[name] += time.process_time() - begin
        return result

    for number in range(chunks):
        points, texts = data.chunk(number)
        rows = slice(number * CHUNK, number * CHUNK + len(points))
        own = timed("neighbours", nearest, points, K)
        dimension = timed("lid", lid, own)
        near = own.radius, own.places, Density(own.radius, dimension)
        scores_of = {
            "dao": timed("dao", dao, *near),
            "slof": timed("slof", slof, *near),
            "lid": dimension,
            "k_distance": k_distance(own),
            "closeness": -k_distance(own),
            "isolation": timed("forest", forest.score, points),
            "clip_score": -timed("clip_score", clip_score, points, texts),
        }
        for name, scores in scores_of.items():
            values[name][rows] = scores.numpy()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {f"s {name}": round(value, 2) for name, value in spent.items()}
    result |= {f"AUROC {n}": round(auroc(v, data.planted), 3) for n, v in values.items()}
    return result | {"MB more": (peak - before) / 1024, "MB in all": peak / 1024}


def _in_a_process(plants: int) -> dict[str, float]:
    """Its own process: peak memory is of the process."""
    code = "import json; from tests.benchmarks.audit import audit; "
    code += f"print(json.dumps(audit({plants})))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    values: dict[str, float] = json.loads(done.stdout)
    return values


def _processor_time(act: Callable[[], object]) -> float:
    """Seconds of this process, which other work on the machine does not lengthen."""
    begin = time.process_time()
    act()
    return time.process_time() - begin


def run() -> list[Row]:
    few, many = _in_a_process(FEW), _in_a_process(MANY)
    points, _ = Embeddings(FEW).chunk(0)
    ours = min(_processor_time(lambda: nearest(points, K)) for _ in range(5))
    theirs = min(
        _processor_time(lambda: torch.cdist(points, points).sort(dim=1).values) for _ in range(5)
    )
    rows = [
        Row("neighbours of a chunk of 1024", f"{1000 * ours:.0f} ms", f"{1000 * theirs:.0f} ms, "
            "cdist and sort", f"{theirs / ours:.1f}"),
        Row("memory beyond the start, 100 000 pairs", f"{few['MB more']:.0f} MB",
            f"{N * N * 4 / 1e9:.0f} GB, all distances", "", f"{few['MB in all']:.0f} MB in all"),
    ]  # fmt: skip
    for name, value in few.items():
        if name.startswith("s "):
            rows.append(Row(f"CPU time of {name[2:]}, 100 000 pairs", f"{value:.1f} s", "", ""))
    for name, value in few.items():
        if name.startswith("AUROC"):
            text = f"{many[name]:.3f}, {MANY} planted"
            rows.append(Row(name, f"{value:.3f}, {FEW} planted", text, ""))
    return rows
