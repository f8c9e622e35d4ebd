"""Grad-CAM on a convolution stage of an image encoder: CLIP's ResNet, or one of timm's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.model import ClipModel

_STRIDES = {"layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}
_FEWEST_CELLS = 2


def stages(model: ClipModel) -> dict[str, int]:
    """Convolution stages, first to last, each with the side of its map in cells.

    Raises
    ------
    InputError
        If the image encoder has none.
    """
    if model.convolutional:
        strides = _STRIDES
    else:
        trunk = getattr(model.module.visual, "trunk", None)
        listed = getattr(trunk, "feature_info", ()) if hasattr(trunk, "stages") else ()
        strides = {
            item["module"]: item["reduction"]
            for item in listed
            if str(item["module"]).startswith("stages.")
        }
    if not strides:
        raise InputError(
            "Grad-CAM needs the convolutions of a ResNet or a ConvNeXt and this image encoder is "
            "a vision transformer; choose attention or occlusion."
        )
    return {name: max(1, model.image_size // stride) for name, stride in strides.items()}


def usual_stage(model: ClipModel) -> str:
    """The last stage, as in the paper; below 64 px, where that is one cell, the last with more."""
    found = stages(model)
    fine = [name for name, side in found.items() if side >= _FEWEST_CELLS]
    return fine[-1] if fine else next(iter(found))


def grad_cam(
    model: ClipModel, images: Tensor, direction: Tensor, stage: str | None = None
) -> Tensor:
    """Weigh the channels of a stage by their pooled gradients (Selvaraju et al. 2017, eq. 1, 2).

    Parameters
    ----------
    model
        A CLIP with a convolutional image encoder; its parameters get no gradient.
    images
        float [N, 3, S, S] in [0, 1].
    direction
        float32 [D] or [N, D]: text embedding of the class. The score is its logit, the logit
        scale times the cosine.
    stage
        One of `stages`; None takes `usual_stage`.

    Returns
    -------
    Tensor
        float32 [N, g, g] on the CPU, at least 0, in logits per activation.

    Raises
    ------
    InputError
        If the image encoder is no ResNet or has no such stage.
    """
    known = stages(model)
    name = usual_stage(model) if stage is None else stage
    if name not in known:
        raise InputError(f"There is no stage {name!r}; choose one of {', '.join(known)}.")
    inside = "visual" if model.convolutional else "visual.trunk"
    part = model.module.get_submodule(f"{inside}.{name}")
    with _activations(part) as kept:
        embeddings = model.embed_images(images)
        with torch.enable_grad():
            score = model.logit_scale * (embeddings * direction.to(embeddings)).sum()
        (gradient,) = torch.autograd.grad(score, kept[0])  # [N, K, g, g]
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)  # alpha, [N, K, 1, 1]
    return (weights * kept[0].detach().float()).sum(dim=1).relu().cpu()


@contextmanager
def _activations(part: nn.Module) -> Iterator[list[Tensor]]:
    """Record no gradient before a stage's output, and all after it: the stages below cost nothing.

    What the stage gives out becomes a leaf, so the parameters above it stay without gradient too.
    """
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if output.ndim != 4:
            raise InputError(
                "This stage of the image encoder gives no map of the picture; choose occlusion.",
                "unsupported",
            )
        leaf = output.detach().requires_grad_()
        kept.append(leaf)
        torch.set_grad_enabled(True)
        return leaf

    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    handle = part.register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()
        torch.set_grad_enabled(before)
