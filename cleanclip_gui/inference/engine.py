"""The models and images that the window asks about. Imported in the inference thread only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from cleanclip_gui.inference.questions import (
    Attribute,
    ComparePair,
    Evaluate,
    LoadImages,
    Look,
    MapEmbeddings,
    MeasureSpeed,
    OpenCheckpoint,
    Pair,
    Predict,
    PredictionReady,
    TellDetails,
    Thumbnails,
    ThumbnailsReady,
)
from cleanclip_gui.session.records import ImagesState, Role, ShownCheckpoint
from cleanclip_gui.ticket import TicketProgress
from ml_core.checkpoints.open import open_checkpoint
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import ImageSet, open_images
from ml_core.data.labels import LabelSet, load_label_set
from ml_core.data.picture_set import PictureSet
from ml_core.data.specs import ImageSpec, stratified_order
from ml_core.data.watch import Watch, unwatched
from ml_core.evaluation.attribution import attribute, methods
from ml_core.evaluation.details import details
from ml_core.evaluation.embed import embed
from ml_core.evaluation.embedding_cache import EmbeddingCache, EmbeddingStore
from ml_core.evaluation.embedding_map import Embeddings, pca_map
from ml_core.evaluation.evaluate import evaluate, look_at, predict_one, see_one
from ml_core.evaluation.paired import compare
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.evaluation.scorer import Subject
from ml_core.evaluation.speed import SAMPLE, EncodingSpeed, forget_speed, speed_of, use_speed
from ml_core.evaluation.stamping import live_batches, triggered_pictures
from ml_core.evaluation.zero_shot import (
    cached_classifier,
    classifier_steps,
    known_classifier,
    triggered_classifier,
)
from ml_core.jobs.demo import pretraining_at
from ml_core.jobs.devices import devices, set_threads
from ml_core.model import ClipModel
from ml_core.reading.clip_config import Fit, Preprocess
from ml_core.reading.errors import CancelledError, InputError
from ml_core.triggers import Trigger
from ml_core.triggers.record import triggered_templates

SEED = 0
# What is live waits for one batch of a long answer at most: small ones, for slow models.
_BATCH, _SLOW_BATCH = 32, 8
FEW_TEXTS = 1024
"""Fewer class texts are embedded before the first number; of more, those of one template."""
_USUAL = ("a photo of a {}.", "a photo of a {}")

_Set = TypeVar("_Set", bound=PictureSet, covariant=True)
_Step = TypeVar("_Step")


@dataclass(frozen=True, eq=False)
class Opened(Generic[_Set]):
    """A set of pictures in use, with its templates and the canvases drawn so far."""

    set: _Set
    templates: tuple[str, ...]
    canvases: dict[tuple[int, Fit], CanvasCache]

    def at(self, preprocess: Preprocess) -> CanvasCache:
        """The canvases of a model's input: its size, and how a picture is made square."""
        key = preprocess.size, preprocess.fit
        if key not in self.canvases:
            self.canvases[key] = CanvasCache(self.set.fitted(preprocess.fit), preprocess.size)
        return self.canvases[key]

    def close(self) -> None:
        """Let the canvases go."""
        for canvases in self.canvases.values():
            canvases.close()


class Engine:
    """Holds a model for each role and one image set; answers one question at a time.

    If there are many class texts, answers use one template until all are embedded. A long answer
    yields `TicketProgress` after each batch of pictures, and its result at the end. If it is asked
    to stop, it ends with a `CancelledError`.

    Parameters
    ----------
    watch_texts
        Called while class texts are embedded; an exception from it ends the answer.
    """

    def __init__(self, watch_texts: Watch = unwatched) -> None:
        set_threads(0)
        self._device = devices()[0]
        self._models: dict[Role, ClipModel] = {}
        self._images: Opened[ImageSet] | None = None
        self._asked_for: tuple[ImageSpec, LabelSet] | None = None
        self._clean = EmbeddingCache(store=EmbeddingStore())
        self._seconds_per_image: dict[tuple[str | None, str], float] = {}
        self._speeds: dict[tuple[str | None, str], EncodingSpeed] = {}
        self._watch_texts = watch_texts
        self._all_alike = False  # while two checkpoints are compared
        self._label_set = ""

    def devices(self) -> tuple[str, ...]:
        """Devices of this machine, best first."""
        return devices()

    def set_threads(self) -> int:
        """Take as many threads as the environment says; the speed must then be measured again."""
        self._seconds_per_image.clear()
        return set_threads(0)

    def set_device(self, name: str) -> str:
        """Move the models; return the device in use."""
        if name not in devices():
            raise InputError(f"This machine has no device {name}; choose another.", "usage")
        previous = self._device
        try:
            for model in self._models.values():
                model.to(name)
        except Exception:
            for model in self._models.values():
                model.to(previous)
            raise
        self._device = name
        return name

    def open_checkpoint(self, request: OpenCheckpoint) -> ShownCheckpoint:
        """Examine and load a checkpoint."""
        checkpoint = open_checkpoint(request.path, request.donor or None, request.inspection)
        model = checkpoint.build(self._device)
        pretraining = pretraining_at(checkpoint)
        self._models[request.role] = model
        return ShownCheckpoint(
            path=str(request.path),
            inspection=checkpoint.inspection,
            architecture=checkpoint.architecture.name,
            architecture_source=checkpoint.architecture.source,
            assumptions=tuple(checkpoint.architecture.assumptions),
            image_size=model.image_size,
            parameters=sum(p.numel() for p in model.module.parameters()),
            notes=tuple(checkpoint.architecture.notes),
            donor=request.donor if checkpoint.donor is not None else "",
            choice="" if checkpoint.remembered is None else checkpoint.remembered.sentence,
            of_demo=pretraining.kind == "demo",
            pretraining=pretraining,
        )

    def load_images(
        self,
        request: LoadImages,
        watch: Watch = unwatched,
        commit: Callable[[], bool] = lambda: True,
    ) -> ImagesState:
        """Open an image set and its classes; other templates alone open nothing anew.

        Raises
        ------
        CancelledError
            If ``watch`` raises it, or ``commit`` says that nobody wants these images any more;
            those before stay in use.
        """
        label_set = load_label_set(request.label_set)
        templates = tuple(request.templates or label_set.templates)
        asked = request.spec, replace(label_set, templates=())
        if self._images is not None and self._asked_for == asked:
            images = self._images.set
            if not commit():
                raise CancelledError
            self._images = replace(self._images, templates=templates)
        else:
            images = open_images(request.spec, label_set, watch)
            if not commit():
                raise CancelledError
            if self._images is not None:
                self._images.close()
            self._images, self._asked_for = Opened(images, templates, {}), asked
        self._label_set = request.label_set
        return ImagesState(
            spec=request.spec,
            name=images.name,
            key=images.key,
            n=len(images),
            labels=images.labels,
            class_names=images.class_names,
            templates=templates,
            problems=images.problems,
            known_by=images.known_by,
        )

    def thumbnails(self, request: Thumbnails) -> ThumbnailsReady:
        """Pictures of the set, drawn for the screen and kept by the window."""
        images = self._require_images()
        indices, trigger = np.asarray(request.indices, np.int64), request.trigger
        if trigger is None:
            return ThumbnailsReady(request.indices, images.set.canvas(indices, request.size))
        model = self._require_model(request.role)
        size, fit, canvases = model.image_size, model.preprocess.fit, images.at(model.preprocess)
        drawn = triggered_pictures(canvases, trigger, indices, SEED, size, model.device, fit)
        return ThumbnailsReady(request.indices, drawn)

    def evaluate(
        self, request: Evaluate, stopped: Callable[[], bool]
    ) -> Iterator[tuple[Evaluation, PerImage]]:
        """Measure in growing batches, whose size follows the speed of model and device.

        Raises
        ------
        CancelledError
            Once ``stopped()`` is true.
        """
        images, model = self._require_images(), self._require_model(request.role)
        speed_key = _place(model)
        first, batch = self._batches(model)
        canvases = images.at(model.preprocess)
        subject = self._subject(model, images, request.trigger)
        # How long pictures take to draw says nothing of the model's speed.
        started, before, drawing = time.perf_counter(), 0, canvases.seconds
        for evaluation, per_image in evaluate(
            subject,
            request.trigger,
            request.target,
            n=request.n,
            first_batch=first,
            batch=batch,
            clean_cache=self._clean,
            cancelled=stopped,
        ):
            spent = time.perf_counter() - started - (canvases.seconds - drawing)
            seconds = max(spent, 0.0) / max(1, evaluation.n - before)
            known = self._seconds_per_image.get(speed_key, seconds)
            # Another load on the machine passes; the model's own speed is the best one seen.
            self._seconds_per_image[speed_key] = min(seconds, 0.9 * known + 0.1 * seconds)
            yield evaluation, per_image
            started, before, drawing = time.perf_counter(), evaluation.n, canvases.seconds

    def look(self, request: Look) -> PerImage:
        """What the model says of a few images, clean and triggered."""
        images, model = self._require_images(), self._require_model(request.role)
        return look_at(
            self._subject(model, images, request.trigger),
            request.trigger,
            request.target,
            np.asarray(request.indices, np.int64),
            clean_cache=self._clean,
        )

    def class_texts(
        self, role: Role, trigger: Trigger | None, whole: bool = False
    ) -> Iterator[TicketProgress]:
        """Embed the class texts that an answer needs, unless they are known.

        If there are many, embed those of one template, unless ``whole`` asks for all. They are kept
        between batches, so that another question can go on with them.
        """
        images, model = self._require_images(), self._require_model(role)
        templates = images.templates if whole else self._templates(model, images, trigger)
        yield from self._embed(model, images.set.class_names, templates)
        if trigger is not None and trigger.text:
            prompted = triggered_templates(trigger, templates)
            yield from self._embed(model, images.set.class_names, prompted)

    def _embed(
        self, model: ClipModel, names: Sequence[str], templates: Sequence[str]
    ) -> Iterator[TicketProgress]:
        """Embed a classifier's texts, telling how far it is after each batch."""
        for done, total in exactly(model, classifier_steps(model, names, templates)):
            self._watch_texts("texts", done, total)
            yield TicketProgress(done, total, "texts")

    def picture(self, request: Predict) -> PredictionReady | None:
        """The image as the model sees it, if its probabilities must wait for class texts."""
        images, model = self._require_images(), self._require_model(request.role)
        templates = self._templates(model, images, request.trigger)
        if self._is_known(model, images, request.trigger, templates):
            return None
        seen = see_one(images.at(model.preprocess), model, request.trigger, request.index, SEED)
        return PredictionReady(request, seen.clean_image, seen.triggered_image, None, None)

    def predict(self, request: Predict) -> PredictionReady:
        """Probabilities of one image."""
        images, model = self._require_images(), self._require_model(request.role)
        subject = self._subject(model, images, request.trigger)
        prediction = predict_one(subject, request.trigger, request.index)
        return PredictionReady(
            request,
            prediction.clean_image,
            prediction.triggered_image,
            prediction.clean_probs,
            prediction.triggered_probs,
            tuple(subject.templates),
        )

    def attribute(self, request: Attribute, stopped: Callable[[], bool]) -> Iterator[object]:
        """Where the model looks for a class on one image."""
        images, model = self._require_images(), self._require_model(request.role)
        allowed = methods(model)
        method = request.method if request.method in allowed else allowed[0]
        yield TicketProgress(0, 0, methods=allowed)
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
            yield step.result or TicketProgress(step.done, step.total)

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
                yield TicketProgress(number * step.total + step.done, step.total * len(models))
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
        self, request: ComparePair, images: Opened[ImageSet], stopped: Callable[[], bool]
    ) -> Iterator[object]:
        pairs: list[tuple[Evaluation, PerImage]] = []
        for number, role in enumerate(request.roles):
            last: tuple[Evaluation, PerImage] | None = None
            asked = Evaluate(request.trigger, request.target, request.n, role)
            for last in self.evaluate(asked, stopped):
                done, total = last[0].n + last[0].n_broken, last[0].n_total
                yield TicketProgress(number * total + done, 2 * total)
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

    def _subject(
        self, model: ClipModel, images: Opened[ImageSet], trigger: Trigger | None
    ) -> Subject:
        """The model and images that every question is about, with the texts that are known."""
        names, templates = images.set.class_names, self._templates(model, images, trigger)
        with exact(model):
            classifier = cached_classifier(model, names, templates, watch=self._watch_texts)
            prompted = triggered_classifier(
                model, classifier, trigger, names, templates, watch=self._watch_texts
            )
        return Subject(
            model,
            images.at(model.preprocess),
            classifier,
            images.set.class_names,
            images.set.labels,
            templates,
            images.set.key,
            prompted,
            SEED,
        )

    def _templates(
        self, model: ClipModel, images: Opened[ImageSet], trigger: Trigger | None
    ) -> tuple[str, ...]:
        """The templates that an answer uses now: all, or one while many texts are not embedded."""
        every = images.templates
        few = len(every) * len(images.set.class_names) <= FEW_TEXTS
        if few or len(every) == 1 or self._is_known(model, images, trigger, every):
            return every
        return (next((usual for usual in _USUAL if usual in every), every[0]),)

    def _is_known(
        self,
        model: ClipModel,
        images: Opened[ImageSet],
        trigger: Trigger | None,
        templates: tuple[str, ...],
    ) -> bool:
        """Whether a classifier with these templates needs no embedding, the trigger's likewise."""
        names = images.set.class_names
        sets = {templates, triggered_templates(trigger, templates)}
        with exact(model):
            return all(known_classifier(model, names, texts) is not None for texts in sets)

    def _batches(self, model: ClipModel) -> tuple[int, int]:
        """Images in the first batch, and in the largest one."""
        device, speed = model.device.type, self._speeds.get(_place(model))
        usual = 64 if device == "cpu" else 256
        return live_batches(
            self._seconds_per_image.get(_place(model)),
            side=model.image_size,
            device=device,
            best=usual if speed is None else max(speed.batch, 8),
        )

    def _settle(self, model: ClipModel) -> None:
        """Let a model encode in the way that was found fastest on its device."""
        speed = None if self._all_alike else self._speeds.get(_place(model))
        if speed is None:
            if model.precision != "fp32" or model.channels_last is not None:
                forget_speed(model)
        elif (model.precision, model.layout) != (speed.precision, speed.layout):
            use_speed(model, speed)

    def _require_images(self) -> Opened[ImageSet]:
        if self._images is None:
            raise InputError("No images are open; choose an image set first.", "usage")
        return self._images

    def _require_model(self, role: Role) -> ClipModel:
        if role not in self._models:
            raise InputError("No checkpoint is open; open one first.", "usage")
        self._settle(self._models[role])
        return self._models[role]


@contextmanager
def exact(model: ClipModel) -> Iterator[None]:
    """Embed texts in fp32: class embeddings are kept, whatever precision is chosen later."""
    before, model.precision = model.precision, "fp32"
    try:
        yield
    finally:
        model.precision = before


def exactly(model: ClipModel, steps: Iterator[_Step]) -> Iterator[_Step]:
    """Take each step in fp32; between them other questions have the model as they want it."""
    while True:
        with exact(model):
            try:
                step = next(steps)
            except StopIteration:
                return
        yield step


def batch_of(model: ClipModel) -> int:
    """Pictures to encode at a time."""
    return _SLOW_BATCH if model.device.type == "cpu" and model.image_size > 128 else _BATCH


def _place(model: ClipModel) -> tuple[str | None, str]:
    """The key of a measured speed."""
    return model.sha256, str(model.device)
