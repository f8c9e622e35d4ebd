"""The engine with answers to long questions. Imported in the inference thread only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from cleanclip_gui.inference.engine import SEED, Engine, Opened
from cleanclip_gui.inference.questions import (
    Attribute,
    ComparePair,
    Evaluate,
    LoadImages,
    MapEmbeddings,
    MeasureSpeed,
    Pair,
    TellDetails,
)
from cleanclip_gui.session.records import ImagesState
from cleanclip_gui.ticket import Progress
from ml_core.data.images import ImageSet
from ml_core.data.specs import stratified_order
from ml_core.data.watch import Watch, unwatched
from ml_core.evaluation.attribution import attribute, methods
from ml_core.evaluation.details import details
from ml_core.evaluation.embed import embed
from ml_core.evaluation.embedding_map import Embeddings, pca_map
from ml_core.evaluation.paired import compare
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.evaluation.speed import SAMPLE, speed_of
from ml_core.model import ClipModel
from ml_core.reading.errors import CancelledError, InputError

# What is live waits for one batch at most: small ones, for models that are slow on the CPU.
_BATCH, _SLOW_BATCH = 32, 8


class ExplainingEngine(Engine):
    """Yields :class:`Progress` after each batch of pictures, and the result last.

    A question that is to stop ends with a `CancelledError`.
    """

    def __init__(self, watch_texts: Watch = unwatched) -> None:
        super().__init__(watch_texts)
        self._label_set = ""

    def attribute(self, request: Attribute, stopped: Callable[[], bool]) -> Iterator[object]:
        """Where the model looks for a class on one image."""
        images, model = self._require_images(), self._require_model(request.role)
        allowed = methods(model)
        method = request.method if request.method in allowed else allowed[0]
        yield Progress(0, 0, methods=allowed)
        yield from self.class_texts(request.role, request.trigger)
        for step in attribute(
            self._subject(model, images, request.trigger),
            request.trigger,
            request.index,
            request.class_index,
            method=method,
            stage=request.stage if method == "grad-cam" else None,
            batch=batch_of(model),
            cancelled=stopped,
        ):
            yield step.result or Progress(step.done, step.total)

    def map_embeddings(
        self, request: MapEmbeddings, stopped: Callable[[], bool]
    ) -> Iterator[object]:
        """Images of one or two checkpoints, clean and triggered, in one plane."""
        images = self._require_images()
        models = [self._require_model(role) for role in request.roles]
        parts: list[Embeddings] = []
        for role in request.roles:
            yield from self.class_texts(role, request.trigger)
        for number, model in enumerate(models):
            subject = self._subject(model, images, request.trigger)
            for step in embed(
                subject, request.trigger, n=request.n, batch=batch_of(model), cancelled=stopped
            ):
                total = step.total * len(models)
                yield Progress(number * step.total + step.done, total)
                if step.result is not None:
                    parts.append(step.result)
        if len(parts) == len(models):
            yield pca_map(parts)

    def compare_pair(self, request: ComparePair, stopped: Callable[[], bool]) -> Iterator[object]:
        """What two checkpoints say of the same images."""
        images = self._require_images()
        models = [self._require_model(role) for role in request.roles]
        for role in request.roles:  # numbers that are compared are no estimates
            yield from self.class_texts(role, request.trigger, True)
        try:
            # A difference of two checkpoints must not be one of their arithmetic.
            self._all_alike = len({model.precision for model in models}) > 1
            yield from self._compared(request, images, stopped)
        finally:
            self._all_alike = False

    def _compared(
        self,
        request: ComparePair,
        images: Opened[ImageSet],
        stopped: Callable[[], bool],
    ) -> Iterator[object]:
        pairs: list[tuple[Evaluation, PerImage]] = []
        for number, role in enumerate(request.roles):
            last: tuple[Evaluation, PerImage] | None = None
            asked = Evaluate(request.trigger, request.target, request.n, role)
            for last in self.evaluate(asked, stopped):
                done, total = last[0].n + last[0].n_broken, last[0].n_total
                yield Progress(number * total + done, 2 * total)
            if last is None or last[0].partial:
                return
            pairs.append(last)
        (mine, ours), (other, theirs) = pairs
        labels = np.asarray(images.set.labels)
        differences = compare(ours, theirs, labels, request.target, seed=SEED)
        yield Pair((mine, other), (ours, theirs), differences)

    def measure_speed(self, request: MeasureSpeed, stopped: Callable[[], bool]) -> Iterator[object]:
        """Find the fastest way to encode, and use it unless others were busy here meanwhile."""
        images, model = self._require_images(), self._require_model(request.role)
        place = model.sha256, str(model.device)
        if request.precision != "auto" and model.precision != request.precision:
            self._speeds.pop(place, None)
            self._settle(model)
        yield from self.class_texts(request.role, None)
        order = stratified_order(images.set.labels, SEED)[:SAMPLE]
        canvases, parts = images.at(model.preprocess), []
        for first in range(0, len(order), batch_of(model)):
            if stopped():
                raise CancelledError
            parts.append(canvases.get(order[first : first + batch_of(model)]))
        sample = np.concatenate(parts)
        classifier = self._subject(model, images, None).classifier
        speed = speed_of(model, sample, classifier, precision=request.precision, cancelled=stopped)
        if not speed.busy:
            self._speeds[place] = speed
            self._seconds_per_image.pop(place, None)
            self._settle(model)
        yield speed

    def load_images(
        self,
        request: LoadImages,
        watch: Watch = unwatched,
        commit: Callable[[], bool] = lambda: True,
    ) -> ImagesState:
        """As the engine does; the label set's name is kept for the record."""
        state = super().load_images(request, watch, commit)
        self._label_set = request.label_set
        return state

    def tell_details(self, request: TellDetails) -> dict[str, Any]:
        """Everything that decides a number; refused where the model or the images have changed."""
        images, model = self._require_images(), self._require_model(request.role)
        evaluation = request.evaluation
        if (evaluation.checkpoint_sha256, evaluation.data_key) != (model.sha256, images.set.key):
            raise InputError(
                "The checkpoint or the images have changed since this was measured; measure again."
            )
        _, batch = self._batches(model)
        return details(
            evaluation,
            model=model,
            images=images.set,
            trigger=request.trigger,
            class_names=images.set.class_names,
            label_set=self._label_set,
            threads=torch.get_num_threads(),
            batch=batch,
            speed=self._speeds.get((model.sha256, str(model.device))),
        )


def batch_of(model: ClipModel) -> int:
    """Pictures to encode at a time."""
    slow = model.device.type == "cpu" and model.image_size > 128
    return _SLOW_BATCH if slow else _BATCH
