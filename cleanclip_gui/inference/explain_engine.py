"""The engine with answers to long questions. Imported in the inference thread only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import torch

from cleanclip_gui.inference.engine import SEED, Opened
from cleanclip_gui.inference.explaining import (
    Attribute,
    ComparePair,
    Explain,
    Explained,
    MapEmbeddings,
    MeasureSpeed,
    Pair,
    RetrieveCaptions,
    SpreadTemplates,
    TellDetails,
)
from cleanclip_gui.inference.requests import Evaluate, LoadImages
from cleanclip_gui.inference.text_engine import TextEngine, batch_of
from cleanclip_gui.session.records import ImagesState
from ml_core.data.images import ImageSet
from ml_core.data.sampling import stratified_order
from ml_core.data.watch import Watch, unwatched
from ml_core.evaluation.attribution import attribute, methods
from ml_core.evaluation.details import Details, details
from ml_core.evaluation.embed import embed
from ml_core.evaluation.embedding_map import Embeddings, pca_map
from ml_core.evaluation.paired import compare
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.evaluation.speed import SAMPLE, speed_of
from ml_core.reading.errors import CancelledError, InputError


class ExplainingEngine(TextEngine):
    """Yields :class:`Explained` after each batch; the last one has the result."""

    _label_set = ""

    def explain(
        self, request: Explain, cancelled: Callable[[], bool], generation: int = 0
    ) -> Iterator[Explained]:
        """Answer a long question; ends without a result once ``cancelled()`` is true."""
        with suppress(CancelledError):
            yield from self._answer(request, cancelled, generation)

    def _answer(
        self, request: Explain, cancelled: Callable[[], bool], generation: int
    ) -> Iterator[Explained]:
        if isinstance(request, Attribute):
            yield from self._attribute(request, cancelled, generation)
        elif isinstance(request, MapEmbeddings):
            yield from self._map(request, cancelled, generation)
        elif isinstance(request, ComparePair):
            yield from self._compare(request, cancelled, generation)
        elif isinstance(request, MeasureSpeed):
            yield from self._measure(request, cancelled, generation)
        elif isinstance(request, SpreadTemplates):
            yield from self._spread(request, cancelled, generation)
        elif isinstance(request, RetrieveCaptions):
            yield from self._retrieve(request, cancelled, generation)
        elif isinstance(request, TellDetails):
            yield Explained(generation, request, 1, 1, self._details(request))

    def _attribute(
        self, request: Attribute, cancelled: Callable[[], bool], generation: int
    ) -> Iterator[Explained]:
        images, model = self._require_images(), self._require_model(request.role)
        allowed = methods(model)
        method = request.method if request.method in allowed else allowed[0]
        for step in attribute(
            self._subject(model, images, request.trigger),
            request.trigger,
            request.index,
            request.class_index,
            method=method,
            stage=request.stage if method == "grad-cam" else None,
            batch=batch_of(model),
            cancelled=cancelled,
        ):
            yield Explained(generation, request, step.done, step.total, step.result, allowed)

    def _map(
        self, request: MapEmbeddings, cancelled: Callable[[], bool], generation: int
    ) -> Iterator[Explained]:
        images = self._require_images()
        models = [self._require_model(role) for role in request.roles]
        parts: list[Embeddings] = []
        for number, model in enumerate(models):
            subject = self._subject(model, images, request.trigger)
            for step in embed(
                subject, request.trigger, n=request.n, batch=batch_of(model), cancelled=cancelled
            ):
                total = step.total * len(models)
                yield Explained(generation, request, number * step.total + step.done, total)
                if step.result is not None:
                    parts.append(step.result)
        if len(parts) == len(models):
            yield Explained(generation, request, 1, 1, pca_map(parts))

    def _compare(
        self, request: ComparePair, cancelled: Callable[[], bool], generation: int
    ) -> Iterator[Explained]:
        images = self._require_images()
        models = [self._require_model(role) for role in request.roles]
        try:
            # A difference of two checkpoints must not be one of their arithmetic.
            self._all_alike = len({model.precision for model in models}) > 1
            yield from self._compared(request, images, cancelled, generation)
        finally:
            self._all_alike = False

    def _compared(
        self,
        request: ComparePair,
        images: Opened[ImageSet],
        cancelled: Callable[[], bool],
        generation: int,
    ) -> Iterator[Explained]:
        found: list[tuple[Evaluation, PerImage]] = []
        for number, role in enumerate(request.roles):
            last: tuple[Evaluation, PerImage] | None = None
            asked = Evaluate(request.trigger, request.target, request.n, role)
            for last in self.evaluate(asked, cancelled):
                done, total = last[0].n + last[0].n_broken, last[0].n_total
                yield Explained(generation, request, number * total + done, 2 * total)
            if last is None or last[0].partial:
                return
            found.append(last)
        (mine, ours), (other, theirs) = found
        labels = np.asarray(images.set.labels)
        differences = compare(ours, theirs, labels, request.target, seed=SEED)
        result = Pair((mine, other), (ours, theirs), differences)
        yield Explained(generation, request, 1, 1, result)

    def _measure(
        self, request: MeasureSpeed, cancelled: Callable[[], bool], generation: int
    ) -> Iterator[Explained]:
        """Find the fastest way to encode, and use it unless others were busy here meanwhile.

        Ends without a result to make way.
        """
        images, model = self._require_images(), self._require_model(request.role)
        order = stratified_order(images.set.labels, SEED)[:SAMPLE]
        canvases, parts = images.at(model.preprocess), []
        for first in range(0, len(order), batch_of(model)):
            if cancelled():
                raise CancelledError
            parts.append(canvases.get(order[first : first + batch_of(model)]))
        sample = np.concatenate(parts)
        found = speed_of(model, sample, self._classifier(model, images), cancelled=cancelled)
        if not found.busy:
            place = model.sha256, str(model.device)
            self._speeds[place] = found
            self._seconds_per_image.pop(place, None)
            self._settle(model)
        yield Explained(generation, request, 1, 1, found)

    def load_images(self, request: LoadImages, watch: Watch = unwatched) -> ImagesState:
        """As the engine does; the label set's name is kept for the record."""
        found = super().load_images(request, watch)
        self._label_set = request.label_set
        return found

    def _details(self, request: TellDetails) -> Details:
        """Everything that decides a number; refused where the model or the images have changed."""
        images, model = self._require_images(), self._require_model(request.role)
        found = request.evaluation
        if (found.checkpoint_sha256, found.data_key) != (model.sha256, images.set.key):
            raise InputError("This number is of another checkpoint or other images by now.")
        _, batch = self._batches(model)
        return details(
            found,
            model=model,
            images=images.set,
            trigger=request.trigger,
            class_names=images.set.class_names,
            label_set=self._label_set,
            threads=torch.get_num_threads(),
            batch=batch,
            speed=self._speeds.get((model.sha256, str(model.device))),
        )
