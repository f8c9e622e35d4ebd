"""Clean and triggered predictions over the same images, in batches that grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core import __version__
from ml_core.data.sampling import stratified_order
from ml_core.evaluation.canvases import CanvasSource, read_canvases, to_float, to_uint8
from ml_core.evaluation.embedding_cache import EmbeddingCache, EmbeddingTable
from ml_core.evaluation.records import Evaluation, PerImage, Prediction
from ml_core.evaluation.scores import Scores, require_finite, score
from ml_core.evaluation.summary import summarise
from ml_core.evaluation.zero_shot import class_logits, probabilities
from ml_core.reading.errors import InputError
from ml_core.triggers.apply import apply_indexed
from ml_core.triggers.record import Trigger

if TYPE_CHECKING:
    from ml_core.model import ClipModel


def _never() -> bool:
    """Nobody cancels."""
    return False


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of the parts that decide a number."""
    found = {"cleanclip-gui": __version__, "torch": str(torch.__version__)}
    try:
        found["open_clip"] = version("open_clip_torch")
    except PackageNotFoundError:
        found["open_clip"] = "not installed"
    return found


def evaluate(
    model: ClipModel,
    canvas_source: CanvasSource,
    classifier: Tensor,
    trigger: Trigger | None,
    target: int,
    *,
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    templates: Sequence[str] = (),
    n: int | None = None,
    seed: int = 0,
    first_batch: int = 64,
    batch: int = 256,
    data_key: str | None = None,
    cancelled: Callable[[], bool] = _never,
    clean_cache: EmbeddingCache | None = None,
) -> Iterator[tuple[Evaluation, PerImage]]:
    """Measure clean accuracy, attack success and flips, and say how it stands after each batch.

    The images, their number and their order are fixed by `seed` before the first is scored, so
    that every partial result is a stratified sample. Each image's random draws come from (seed,
    position in the set): batch sizes change the speed and nothing else.

    Parameters
    ----------
    model
        Gives unit image embeddings of float [n, 3, S, S] in [0, 1].
    canvas_source
        The images.
    classifier
        float32 [C, D], see `zero_shot_classifier`.
    trigger
        None measures the clean side alone.
    target
        Class index that the attacker wants, 0 to C - 1.
    labels
        int64 [N] for the whole set, -1 unlabelled.
    class_names, templates
        C names; prompts, for the record.
    n
        Images to score, in stratified order; None scores all.
    seed
        Fixes order and draws.
    first_batch, batch
        Images of the first batch, small for a quick first estimate, and the most of one; in
        between it doubles.
    data_key
        Identity of the image set, for the record and the cache; None takes the ``key`` of the
        canvas source's own ``source``, as a `CanvasCache` has.
    cancelled
        Asked before each encoding; True ends the iteration without a final result.
    clean_cache
        Keeps the clean embeddings of a model that has an ``identity``. Give none while training.

    Yields
    ------
    tuple[Evaluation, PerImage]
        The last one has ``partial=False``.

    Raises
    ------
    InputError
        If the target is no class, there are no images, none could be read, or the model's outputs
        are not numbers.
    """
    labels = np.asarray(labels, dtype=np.int64)
    _check(labels, class_names, classifier, target)
    if n is not None and n < 1:
        raise InputError("An evaluation needs at least one image; choose a larger set.", "usage")
    if data_key is None:
        data_key = str(getattr(getattr(canvas_source, "source", None), "key", ""))
    order = stratified_order(labels, seed)[: len(labels) if n is None else n]
    table = _clean_table(clean_cache, model, data_key, len(labels), classifier)
    scores = Scores(len(order), triggered=trigger is not None)
    classifier = classifier.to(model.device)
    done, step = 0, max(1, min(first_batch, batch))
    while done < len(order):
        indices = order[done : done + step]
        done += len(indices)
        step = min(2 * step, max(1, batch))
        if cancelled():
            return
        wanted = len(indices)
        if trigger is None and table is not None and not table.missing(indices).any():
            images = None
        else:
            images, indices = read_canvases(canvas_source, indices)
        scores.broken += wanted - len(indices)
        if len(indices):
            clean = _clean_logits(model, images, indices, classifier, table)
            triggered = None
            if trigger is not None and images is not None:
                if cancelled():
                    return
                stamped = _stamped(model, images, trigger, indices, seed)
                triggered = class_logits(model, model.encode_images(stamped), classifier)
            scores.add(
                indices,
                score(clean, labels[indices], target),
                None if triggered is None else score(triggered, labels[indices], target),
            )
        if done == len(order) and not scores.n:
            raise InputError("None of the images could be read; choose other images.", "damaged")
        if scores.n:
            per_image = scores.per_image()
            yield (
                Evaluation(
                    **summarise(per_image, labels[per_image.indices], target, class_names),
                    n_total=len(order),
                    n_broken=scores.broken,
                    partial=done < len(order),
                    trigger=None if trigger is None else trigger.digest,
                    trigger_name="" if trigger is None else trigger.name,
                    checkpoint_sha256=model.sha256,
                    data_key=data_key,
                    templates=tuple(templates),
                    seed=seed,
                    precision=_precision(model),
                    device=str(model.device),
                    versions=dict(versions()),
                ),
                per_image,
            )


@torch.no_grad()
def predict_one(
    model: ClipModel,
    canvas_source: CanvasSource,
    classifier: Tensor,
    trigger: Trigger | None,
    index: int,
    *,
    seed: int = 0,
) -> Prediction:
    """Class probabilities of one image, clean and triggered, placed as `evaluate` places it.

    Raises
    ------
    InputError
        If the image cannot be read or the model's outputs are not numbers.
    """
    indices = np.array([index], dtype=np.int64)
    images, kept = read_canvases(canvas_source, indices)
    if not len(kept):
        raise InputError(f"Image number {index} could not be read; choose another.", "damaged")
    clean_image = to_float(images, model.device)
    batch = [clean_image]
    if trigger is not None:
        batch.append(_stamped(model, images, trigger, indices, seed))
    embeddings = model.encode_images(torch.cat(batch))
    probs = probabilities(model, embeddings, classifier.to(model.device))
    require_finite(probs)
    rows = probs.cpu().numpy()
    if trigger is None:
        return Prediction(index, images[0], rows[0])
    return Prediction(index, images[0], rows[0], to_uint8(batch[1])[0], rows[1])


def _check(
    labels: NDArray[np.int64], class_names: Sequence[str], classifier: Tensor, target: int
) -> None:
    """Refuse what cannot be scored."""
    if not len(labels):
        raise InputError("There are no images to evaluate; choose an image set.", "usage")
    if len(class_names) != len(classifier):
        raise ValueError(f"{len(class_names)} class names for {len(classifier)} classifier rows")
    if not 0 <= target < len(class_names):
        raise InputError(
            f"The target class {target} does not exist; choose 0 to {len(class_names) - 1}.",
            "usage",
        )
    if int(labels.max()) >= len(class_names):
        raise ValueError("a label is outside of the class names")


def _clean_table(
    cache: EmbeddingCache | None, model: ClipModel, data_key: str, rows: int, classifier: Tensor
) -> EmbeddingTable | None:
    """Find the table of this checkpoint and data set, if both have an identity."""
    identity = model.identity
    if cache is None or identity is None or not data_key:
        return None
    key = (identity, data_key, str(model.device), _precision(model))
    return cache.table(key, rows, classifier.shape[1])


def _precision(model: ClipModel) -> str:
    """Arithmetic of the encoder."""
    return str(getattr(model, "precision", "fp32"))


def _stamped(
    model: ClipModel,
    images: NDArray[np.uint8],
    trigger: Trigger,
    indices: NDArray[np.int64],
    seed: int,
) -> Tensor:
    """Pictures with the trigger on them, on the model's device."""
    return apply_indexed(trigger, to_float(images, model.device), torch.from_numpy(indices), seed)


def _clean_logits(
    model: ClipModel,
    images: NDArray[np.uint8] | None,
    indices: NDArray[np.int64],
    classifier: Tensor,
    table: EmbeddingTable | None,
) -> Tensor:
    """Logits without the trigger, from the table where it knows them."""
    if table is None:
        assert images is not None
        embeddings = model.encode_images(to_float(images, model.device))
        return class_logits(model, embeddings, classifier)
    missing = table.missing(indices)
    if missing.any():
        assert images is not None
        table.put(indices[missing], model.encode_images(to_float(images[missing], model.device)))
    return class_logits(model, table.get(indices).to(model.device), classifier)
