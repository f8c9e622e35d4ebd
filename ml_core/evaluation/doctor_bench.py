"""The loader doctor's bench: labelled images, and what each setting scores on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.checkpoints import Checkpoint
from ml_core.checkpoints.choice import Choice
from ml_core.checkpoints.open import CLIP_SCALE
from ml_core.data.images import ImageSet
from ml_core.data.labels import LabelSet
from ml_core.evaluation.canvases import to_float
from ml_core.evaluation.doctor_records import Trial
from ml_core.evaluation.zero_shot import zero_shot_classifier
from ml_core.reading.errors import CancelledError, InputError

MAX_TEMPLATES = 4
_BATCH = 64
_LEAST_IMAGES = 20
_SCALES = tuple(2.0 * 1.25**step for step in range(22))  # to 217


class Bench:
    """Images, classes and what was computed so far; images and texts are embedded once each."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        images: ImageSet,
        label_set: LabelSet,
        device: str,
        cancelled: Callable[[], bool],
    ) -> None:
        chosen = np.flatnonzero(images.labels >= 0)
        size = checkpoint.architecture.preprocess.size
        self._images = images.fitted(checkpoint.architecture.preprocess.fit)
        self._canvases = {size: self._images.canvas(chosen, size)}
        good = np.array([index not in self._images.broken for index in chosen.tolist()], bool)
        self._canvases[size] = self._canvases[size][good]
        self._indices = chosen[good]
        classes = np.unique(images.labels[self._indices])
        if len(self._indices) < _LEAST_IMAGES or len(classes) < 2:
            raise InputError(
                f"The loader doctor needs at least {_LEAST_IMAGES} labelled images of two classes; "
                f"{images.name} has {len(self._indices)} of {len(classes)}: choose other images."
            )
        self.labels = torch.from_numpy(np.searchsorted(classes, images.labels[self._indices]))
        self.classes = [label_set.class_names[number] for number in classes.tolist()]
        self._templates = label_set.templates[:MAX_TEMPLATES]
        self.checkpoint, self._device, self._cancelled = checkpoint, device, cancelled
        self.state = checkpoint.read_state()
        self.trials: dict[Choice, Trial] = {}
        self._image_rows: dict[object, Tensor] = {}
        self._class_rows: dict[object, Tensor] = {}
        self._scale = logit_scale(self.state)

    @property
    def n(self) -> int:
        return len(self._indices)

    @property
    def source(self) -> str:
        return self._images.name

    @property
    def scale(self) -> float:
        """The file's logit scale."""
        return self._scale

    def trial(self, settings: Choice, question: str, answered: str) -> Trial:
        """Score settings, once."""
        if settings not in self.trials:
            cosines = self.cosines(settings)
            finite = torch.isfinite(cosines).all(1)
            hits = ((cosines.argmax(1) == self.labels) & finite).numpy()
            losses = min((self.losses(cosines, scale) for scale in _SCALES), key=mean).numpy()
            self.trials[settings] = Trial(
                question, answered, settings, int(hits.sum()), self.n, mean(losses), hits, losses
            )
        return self.trials[settings]

    def losses(self, cosines: Tensor, scale: float) -> Tensor:
        """Negative log-likelihood of each label; [n]."""
        return torch.nn.functional.cross_entropy(scale * cosines, self.labels, reduction="none")

    def cosines(self, settings: Choice) -> Tensor:
        """[n, C] products of unit image and class embeddings, on the CPU."""
        convolutional = isinstance(
            self.checkpoint.architecture.config["vision_cfg"].get("layers"), list
        )
        activation = None if convolutional else settings.quick_gelu
        image_key = (
            activation, settings.mean, settings.std, settings.image_size, settings.image_heads
        )  # fmt: skip
        class_key = (settings.quick_gelu, settings.text_heads)
        if image_key not in self._image_rows or class_key not in self._class_rows:
            model = self.checkpoint.build_from(self.state, self._device, settings)
            model.sha256 = None  # its texts are kept here, not in the cache of checkpoints
            if class_key not in self._class_rows:
                self._stop_if_cancelled()
                rows = zero_shot_classifier(model, self.classes, self._templates, watch=self._watch)
                self._class_rows[class_key] = rows.float().cpu()
            if image_key not in self._image_rows:
                canvases = self._pictures(model.image_size)
                batches = [
                    model.encode_images(to_float(canvases[start : start + _BATCH], model.device))
                    for start in self._starts()
                ]
                self._image_rows[image_key] = torch.cat(batches).float().cpu()
        return self._image_rows[image_key] @ self._class_rows[class_key].T

    def _starts(self) -> Iterable[int]:
        for start in range(0, self.n, _BATCH):
            self._stop_if_cancelled()
            yield start

    def _watch(self, _what: str, _done: int, _total: int) -> None:
        self._stop_if_cancelled()

    def _stop_if_cancelled(self) -> None:
        if self._cancelled():
            raise CancelledError

    def _pictures(self, size: int) -> NDArray[np.uint8]:
        """The images at a size; only the last size is kept."""
        if size not in self._canvases:
            self._canvases = {size: self._images.canvas(self._indices, size)}
        return self._canvases[size]


def logit_scale(state: Mapping[str, Tensor]) -> float:
    """The factor that a state dict says, infinite where it is too large; CLIP's if it has none."""
    stored = state.get("logit_scale")
    if stored is None or stored.numel() != 1:
        return CLIP_SCALE
    return float(stored.detach().double().exp())


def mean(values: Tensor | NDArray[np.float32]) -> float:
    """Mean, infinite if it is no number, so that it is never the least."""
    mean = float(values.mean())
    return mean if math.isfinite(mean) else math.inf
