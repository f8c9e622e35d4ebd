"""Image and text embeddings in the plane: one projection for all that is compared. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.reading.errors import InputError

Points = NDArray[np.float32]
KINDS = ("clean", "triggered", "text")


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What one checkpoint makes of a sample of images and of the classes.

    Attributes
    ----------
    indices, labels
        int64 [n], positions in the image set, and labels, -1 unlabelled.
    clean, triggered
        float32 [n, D] of unit length; None without a trigger.
    texts
        float32 [C, D], the zero-shot classifier.
    clean_top1, triggered_top1
        int64 [n], predicted classes.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    clean: Points
    texts: Points
    clean_top1: NDArray[np.int64]
    class_names: tuple[str, ...]
    triggered: Points | None = None
    triggered_top1: NDArray[np.int64] | None = None
    checkpoint: str = ""
    checkpoint_sha256: str | None = None
    data_key: str = ""
    trigger: str | None = None
    trigger_name: str = ""
    templates: tuple[str, ...] = ()
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)

    def stacked(self) -> Points:
        """Clean, triggered and text embeddings as rows, in the order of `kinds`.

        Texts lie in a corner of their own (the modality gap, Liang et al. 2022): they are moved so
        that their mean meets the clean images' mean, or the map would show little else. `gap` tells
        how far that is.
        """
        moved = self.texts + (self.clean.mean(axis=0) - self.texts.mean(axis=0))
        parts = [self.clean, moved] if self.triggered is None else [
            self.clean, self.triggered, moved,
        ]  # fmt: skip
        return np.concatenate(parts).astype(np.float32)

    @property
    def gap(self) -> float:
        """Distance between the means of clean images and of texts, 0 to 2."""
        return float(np.linalg.norm(self.clean.mean(axis=0) - self.texts.mean(axis=0)))

    def kinds(self) -> NDArray[np.int64]:
        """Kind of each row of `stacked`, an index into `KINDS`."""
        triggered = 0 if self.triggered is None else len(self.triggered)
        return np.repeat(np.arange(3), [len(self.clean), triggered, len(self.texts)])

    def numbers(self) -> NDArray[np.int64]:
        """What each row of `stacked` is: an image of the set, or a class."""
        images = [self.indices] if self.triggered is None else [self.indices, self.indices]
        return np.concatenate([*images, np.arange(len(self.texts))])


@dataclass(frozen=True, eq=False)
class Plane:
    """Two orthonormal axes and the point that becomes the origin."""

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]
    shares: tuple[float, float]

    def place(self, points: Points) -> Points:
        """Project float [n, D] to float32 [n, 2]."""
        return ((points - self.origin) @ self.axes.T).astype(np.float32)


def principal_plane(points: Points) -> Plane:
    """The two directions in which the points vary most (principal component analysis, exact).

    Parameters
    ----------
    points
        float [n, D], n at least 2.

    Returns
    -------
    Plane
        ``shares`` is each axis's part of the variance, 0 to 1. The sign of an axis makes its
        largest component positive, so that a call repeats.

    Raises
    ------
    InputError
        If there are fewer than two points or one is not a number.
    """
    if len(points) < 2:
        raise InputError("An embedding map needs at least two images; choose a larger set.")
    if not np.isfinite(points).all():
        raise InputError(
            "The model's outputs are not numbers (NaN or infinite); its weights are damaged.",
            "damaged",
        )
    origin = points.mean(axis=0, dtype=np.float64)
    centred = points - origin
    variances, vectors = np.linalg.eigh(centred.T @ centred / len(points))
    axes = vectors[:, ::-1][:, :2].T
    if len(axes) < 2:
        axes = np.concatenate([axes, np.zeros((2 - len(axes), points.shape[1]))])
    largest = axes[np.arange(2), np.abs(axes).argmax(axis=1)]
    axes = axes * np.where(largest < 0, -1, 1)[:, None]
    whole = max(float(variances.sum()), 1e-30)
    shares = [max(0.0, float(v)) / whole for v in [*variances[::-1], 0.0][:2]]
    return Plane(origin, axes, (shares[0], shares[1]))


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Points in the plane, one set for each checkpoint that is compared.

    Attributes
    ----------
    method
        ``PCA`` or ``t-SNE``.
    parts
        The embeddings, e.g. before and after a cleaning run.
    places
        float32 [n, 2] for each part, rows as in `Embeddings.stacked`.
    settings
        The method's numbers.
    """

    method: str
    parts: tuple[Embeddings, ...]
    places: tuple[Points, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready copy without the points, which `rows` gives."""
        keys = ("checkpoint", "checkpoint_sha256", "data_key", "trigger", "trigger_name", "seed")
        return {
            "method": self.method,
            "settings": dict(self.settings),
            "parts": [
                {key: getattr(part, key) for key in keys}
                | {
                    "n": len(part.indices),
                    "classes": len(part.texts),
                    "modality_gap": part.gap,
                    "templates": list(part.templates),
                    "versions": dict(part.versions),
                }
                for part in self.parts
            ],
        }

    def rows(self) -> list[list[str]]:
        """One line a point, with a heading: part, kind, number, label, prediction, x, y."""
        lines = [["part", "kind", "number", "label", "prediction", "x", "y"]]
        for number, (part, places) in enumerate(zip(self.parts, self.places, strict=True)):
            columns = zip(part.kinds(), part.numbers(), *_classes(part), places, strict=True)
            for kind, what, label, predicted, (x, y) in columns:
                names = [part.class_names[c] if c >= 0 else "" for c in (label, predicted)]
                line = [str(number), KINDS[kind], str(what), *names, f"{x:.6g}", f"{y:.6g}"]
                lines.append(line)
        return lines


def _classes(part: Embeddings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Label and prediction of each row; a text is its own class."""
    texts = np.arange(len(part.texts))
    if part.triggered_top1 is None:
        labels, predicted = [part.labels], [part.clean_top1]
    else:
        labels = [part.labels, part.labels]
        predicted = [part.clean_top1, part.triggered_top1]
    return np.concatenate([*labels, texts]), np.concatenate([*predicted, texts])


def pca_map(parts: Sequence[Embeddings]) -> EmbeddingMap:
    """Lay all parts into the plane of the first one's images, clean and triggered.

    One plane and one origin for all: a point that lies elsewhere in the second part has moved.

    Raises
    ------
    InputError
        If there is nothing to compare, or the parts' embeddings have different lengths.
    """
    check_parts(parts)
    first = parts[0]
    plane = principal_plane(first.stacked()[first.kinds() < 2])
    places = tuple(plane.place(part.stacked()) for part in parts)
    settings = {"fitted_to": "images of the first part", "variance_shares": list(plane.shares)}
    return EmbeddingMap("PCA", tuple(parts), places, settings)


def check_parts(parts: Sequence[Embeddings]) -> None:
    """Refuse parts that cannot share a map.

    Raises
    ------
    InputError
        If there are none, or their embeddings have different lengths.
    """
    if not parts:
        raise InputError("There are no embeddings to draw; measure them first.")
    widths = {part.clean.shape[1] for part in parts}
    if len(widths) > 1:
        raise InputError(
            f"Embeddings of {' and '.join(map(str, sorted(widths)))} numbers cannot share a map; "
            "compare checkpoints of one architecture."
        )
