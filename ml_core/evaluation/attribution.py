"""Where a model looks: one image without and with the trigger, by one of three methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ml_core.evaluation.attention_map import attention_layers, attention_map
from ml_core.evaluation.attribution_records import Attribution, HeatMap, Method
from ml_core.evaluation.canvases import to_uint8
from ml_core.evaluation.embed import both_sides
from ml_core.evaluation.evaluate import provenance_of
from ml_core.evaluation.grad_cam import grad_cam, stages, usual_stage
from ml_core.evaluation.occlusion import occlusion
from ml_core.evaluation.patch_places import patch_sides
from ml_core.evaluation.scores import require_finite
from ml_core.evaluation.stamping import own_canvases
from ml_core.evaluation.subject import Subject
from ml_core.evaluation.zero_shot import class_logits
from ml_core.reading.errors import CancelledError, InputError
from ml_core.triggers.record import Trigger

if TYPE_CHECKING:
    from ml_core.model import ClipModel


@dataclass(frozen=True, eq=False)
class AttributionStep:
    """How far it is; ``result`` comes with the last step."""

    done: int
    total: int
    result: Attribution | None = None


def methods(model: ClipModel) -> tuple[Method, ...]:
    """Methods that this model allows, the usual one first."""
    with suppress(InputError):
        stages(model)
        return "grad-cam", "occlusion"
    with suppress(InputError):
        attention_layers(model)
        return "attention", "occlusion"
    return ("occlusion",)


def attribute(
    subject: Subject,
    trigger: Trigger | None,
    index: int,
    class_index: int,
    *,
    method: Method | None = None,
    stage: str | None = None,
    side: int | None = None,
    stride: int | None = None,
    batch: int = 64,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[AttributionStep]:
    """Explain one class on one image, without and with the trigger, in fp32.

    Parameters
    ----------
    subject
        What is asked.
    trigger
        None explains the clean image alone.
    index
        Which image; the trigger falls where `evaluate` puts it.
    class_index
        The class whose logit is explained, 0 to C - 1, the same on both images.
    method
        None takes the first of `methods`.
    stage
        Convolution stage of Grad-CAM; None takes `usual_stage`.
    side, stride
        Patches of an occlusion in pixels; None takes `patch_sides`.
    batch
        Most pictures to encode at a time.
    cancelled
        Asked before each encoding.

    Yields
    ------
    AttributionStep
        After each batch.

    Raises
    ------
    InputError
        If the class or the image does not exist, the image cannot be read, the method does not go
        with the model, or the model's outputs are not numbers.
    """
    class_names = subject.class_names
    if not 0 <= class_index < len(class_names):
        raise InputError(
            f"The class {class_index} does not exist; choose 0 to {len(class_names) - 1}."
        )
    subject = replace(subject, model=replace(subject.model, precision="fp32"))
    model = subject.model
    method = method or methods(model)[0]
    images = pictures(subject, trigger, index)
    heads = [subject.classifier, subject.prompted(trigger)]
    if cancelled():
        raise CancelledError
    embeddings = model.encode_images(images)
    heads = [head.to(model.device, torch.float32) for head in heads[: len(images)]]
    logits = torch.cat(
        [class_logits(model, embeddings[row : row + 1], head) for row, head in enumerate(heads)]
    )
    require_finite(logits)
    # Copies: the cached classifiers may be inference tensors, which gradients cannot pass.
    direction = torch.stack([head[class_index].clone() for head in heads])
    settings: dict[str, Any] = {"score": "logit"}
    if method == "occlusion":
        usual = patch_sides(model.image_size)
        side = side or usual[0]
        stride = stride or (usual[1] if side == usual[0] else max(1, side // 2))
        settings |= {"patch_px": side, "stride_px": stride, "fill": list(model.preprocess.mean)}
        layer, maps = f"patches of {side} px every {stride} px", None
        for step in occlusion(
            model, images, direction, side=side, stride=stride, batch=batch, cancelled=cancelled
        ):
            if step.maps is None:
                yield AttributionStep(step.done, step.total)
            maps, total = step.maps, step.total
        assert maps is not None
    elif method == "grad-cam":
        layer, total = stage or usual_stage(model), 1
        maps = grad_cam(model, images, direction, layer)
        settings["stages"] = stages(model)
    else:
        layer, total = f"{len(attention_layers(model))} attention layers", 1
        maps = attention_map(model, images, direction)
    settings["grid"] = list(maps.shape[1:])
    require_finite(maps)
    parts = _parts(images, maps, logits, class_index)
    yield AttributionStep(
        total,
        total,
        Attribution(
            method=method,
            layer=layer,
            index=index,
            class_index=class_index,
            class_names=tuple(class_names),
            clean=parts[0],
            triggered=parts[1] if trigger is not None else None,
            settings=settings,
            checkpoint=model.name,
            device=str(model.device),
            **provenance_of(subject, trigger),
        ),
    )


def pictures(subject: Subject, trigger: Trigger | None, index: int) -> Tensor:
    """The clean image and, with a trigger, the triggered one: float [1 or 2, 3, S, S] in [0, 1].

    Raises
    ------
    InputError
        If the image does not exist or cannot be read.
    """
    if not 0 <= index < len(subject.labels):
        raise InputError(f"There is no image number {index}; choose another.")
    own = own_canvases(subject.canvases, trigger, subject.model.image_size, subject.seed)
    indices = np.array([index], dtype=np.int64)
    read = both_sides(subject, own, trigger, indices)
    if not len(read.indices):
        raise InputError(f"Image number {index} could not be read; choose another.", "damaged")
    sides = [read.clean] if read.triggered is None else [read.clean, read.triggered]
    return torch.cat([as_unit(side) for side in sides])


def as_unit(images: Tensor) -> Tensor:
    """Pixels as fp32 in [0, 1]; bytes are divided by 255."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def _parts(images: Tensor, maps: Tensor, logits: Tensor, class_index: int) -> list[HeatMap]:
    """One heat map for each image."""
    probs = logits.softmax(dim=-1)
    return [
        HeatMap(
            image=image,
            values=maps[row].numpy(),
            logit=float(logits[row, class_index]),
            probability=float(probs[row, class_index]),
            top1=int(logits[row].argmax()),
        )
        for row, image in enumerate(to_uint8(images.clone()))
    ]
