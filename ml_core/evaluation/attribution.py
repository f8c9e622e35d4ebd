"""Where a model looks: one image without and with the trigger, by one of three methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ml_core.evaluation.attribution_records import Attribution, HeatMap, Method, patch_sides, places
from ml_core.evaluation.embed import both_sides
from ml_core.evaluation.evaluate import provenance_of
from ml_core.evaluation.scorer import Subject
from ml_core.evaluation.scores import require_finite
from ml_core.evaluation.stamping import own_canvases, to_uint8
from ml_core.evaluation.zero_shot import class_logits
from ml_core.events import Step
from ml_core.reading.errors import CancelledError, InputError
from ml_core.triggers.record import Trigger

if TYPE_CHECKING:
    from ml_core.model import ClipModel


def attention_layers(model: ClipModel) -> list[nn.MultiheadAttention]:
    """Self-attention of each block of the image encoder, first to last.

    Raises
    ------
    InputError
        If the image encoder is no plain vision transformer.
    """
    if model.convolutional:
        raise InputError(
            "Attention maps need a vision transformer and this image encoder is a ResNet; choose "
            "Grad-CAM."
        )
    visual: Any = model.module.visual
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    if blocks is None:
        raise InputError(
            "This image encoder is not open_clip's own, and attention maps cannot be computed "
            "for it; choose occlusion.",
            "unsupported",
        )
    layers = [block.attn for block in blocks]
    if visual.attn_pool is not None or not all(type(a) is nn.MultiheadAttention for a in layers):
        raise InputError(
            "This vision transformer computes attention in a way that attention maps do not "
            "support; choose occlusion.",
            "unsupported",
        )
    return layers


def attention_map(model: ClipModel, images: Tensor, direction: Tensor) -> Tensor:
    """Relevance of the patches to a class, through all layers (Chefer et al. 2021, eq. 5 and 6).

    With ``A`` the attention of a layer and ``dA`` the score's gradient by it, the heads' mean of
    ``max(0, dA * A)`` is added up layer by layer: ``R = R + mean(...) R``, from the identity on.
    The map is the class token's row of ``R``; for a model that averages its patches instead, the
    mean of their rows.

    Parameters
    ----------
    model
        A ViT CLIP; its parameters get no gradient.
    images
        float [N, 3, S, S] in [0, 1].
    direction
        float32 [D] or [N, D]: text embedding of the class. The score is its logit, the logit
        scale times the cosine.

    Returns
    -------
    Tensor
        float32 [N, g, g] on the CPU, at least 0.

    Raises
    ------
    InputError
        If the image encoder is no plain vision transformer.
    """
    layers = attention_layers(model)
    toward = direction.to(model.device, torch.float32).expand(len(images), -1)
    # One image at a time: the weights of all layers are in memory, twice.
    maps = [
        _relevance(model, layers, images[row : row + 1], toward[row]) for row in range(len(images))
    ]
    return torch.cat(maps).cpu()


def _relevance(
    model: ClipModel, layers: list[nn.MultiheadAttention], image: Tensor, direction: Tensor
) -> Tensor:
    """The map of one image, [1, g, g]."""
    with torch.enable_grad(), watched(layers) as attention:
        leaf = image.detach().to(model.device, torch.float32).requires_grad_()
        score = model.logit_scale * (model.embed_images(leaf) * direction).sum()
        gradients = torch.autograd.grad(score, attention)
    relevance = torch.eye(attention[0].shape[-1], device=leaf.device)[None]  # [1, L, L]
    for weights, gradient in zip(attention, gradients, strict=True):
        step = (gradient * weights.detach()).clamp_min(0).mean(dim=1).float()
        added = step @ relevance  # the last layer may have the class token's row alone
        relevance = relevance + F.pad(added, (0, 0, 0, relevance.shape[1] - added.shape[1]))
    visual: Any = model.module.visual
    rows = relevance[:, 1:, 1:].mean(dim=1) if visual.pool_type == "avg" else relevance[:, 0, 1:]
    return rows.reshape(1, *visual.grid_size)


@contextmanager
def watched(layers: list[nn.MultiheadAttention]) -> Iterator[list[Tensor]]:
    """Let attention layers give out their weights, inside the graph.

    torch's own attention keeps the weights in a fused kernel. Here they are computed from queries
    and keys, and the layer's output is computed from them.

    Yields
    ------
    list[Tensor]
        float32 [N, H, Q, L] of each layer, in the order of the forward pass, for its Q queries.
    """
    weights: list[Tensor] = []

    def explicit(layer: nn.Module, inputs: Any, options: dict[str, Any], _: object) -> Any:
        assert isinstance(layer, nn.MultiheadAttention)
        mask = options.get("attn_mask")
        own, output = explicit_attention(layer, inputs[0], inputs[1], mask)
        weights.append(own)
        return output, None

    handles = [layer.register_forward_hook(explicit, with_kwargs=True) for layer in layers]
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()


def explicit_attention(
    layer: nn.MultiheadAttention, queries: Tensor, tokens: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention written out: softmax of queries times keys, then the values.

    Parameters
    ----------
    layer
        One input projection for all three, as CLIP's.
    queries
        float [N, Q, D], or [Q, N, D] where the layer is not ``batch_first``.
    tokens
        float [N, L, D] or [L, N, D] likewise: of the keys and the values.
    mask
        Added to the products, or None.

    Returns
    -------
    tuple[Tensor, Tensor]
        Weights [N, H, Q, L], and the layer's output in the shape of `queries`.
    """
    first, width = layer.batch_first, layer.embed_dim
    asked, x = (part if first else part.transpose(0, 1) for part in (queries, tokens))
    weight, bias = layer.in_proj_weight, layer.in_proj_bias

    def heads(part: Tensor) -> Tensor:  # [N, H, length, d]
        split = (*part.shape[:2], layer.num_heads, layer.head_dim)
        return part.view(split).transpose(1, 2)

    query = heads(F.linear(asked, weight[:width], bias[:width]))
    key, value = map(heads, F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1))
    products = query @ key.transpose(-1, -2) / layer.head_dim**0.5
    if mask is not None:
        products = products + mask
    weights = products.softmax(dim=-1)
    mixed = (weights @ value).transpose(1, 2).flatten(2)
    output = F.linear(mixed, layer.out_proj.weight, layer.out_proj.bias)
    return weights, output if first else output.transpose(0, 1)


def occlusion(
    model: ClipModel,
    images: Tensor,
    direction: Tensor,
    *,
    side: int,
    stride: int,
    batch: int = 64,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Step[Tensor]]:
    """Cover the picture patch by patch and see what the class's logit loses (Zeiler and Fergus
    2014, section 4.2).

    A covered patch holds the model's mean colour, which its normalisation turns to 0. A cell of
    the map is the mean loss over the patches that cover it: positive where the picture speaks for
    the class, negative where it speaks against it.

    Parameters
    ----------
    model
        Only ``encode_images`` is asked.
    images
        float [N, 3, S, S] in [0, 1].
    direction
        float32 [D] or [N, D]: text embedding of the class.
    side, stride
        Side and stride of the patches, in pixels.
    batch
        Most pictures to encode at a time.
    cancelled
        Asked before each batch.

    Yields
    ------
    Step
        After each batch. The maps have cells of the greatest common size of side, stride and
        picture, so that they lose nothing.

    Raises
    ------
    InputError
        If the patches do not fit the picture.
    """
    size = images.shape[-1]
    if not 1 <= side <= size or not 1 <= stride <= side:
        raise InputError(
            f"Patches of {side} px every {stride} px do not cover a picture of {size} px; choose "
            f"a side of 1 to {size} and a stride of at most the side."
        )
    images = images.to(model.device, torch.float32)
    toward = direction.to(model.device, torch.float32).expand(len(images), -1)
    starts = places(size, side, stride)
    corners = [(n, top, left) for n in range(len(images)) for top in starts for left in starts]
    fill = images.new_tensor(model.preprocess.mean).view(3, 1, 1)
    whole = _logits(model, images, toward)
    sums = torch.zeros(len(images), size, size, dtype=torch.float64)
    counts = torch.zeros_like(sums)
    for first in range(0, len(corners), batch):
        if cancelled():
            raise CancelledError
        some = corners[first : first + batch]
        who = torch.tensor([n for n, _, _ in some], device=images.device)
        covered = images[who]
        for row, (_, top, left) in enumerate(some):
            covered[row, :, top : top + side, left : left + side] = fill
        losses = (whole[who] - _logits(model, covered, toward[who])).double().cpu()
        for loss, (n, top, left) in zip(losses, some, strict=True):
            sums[n, top : top + side, left : left + side] += loss
            counts[n, top : top + side, left : left + side] += 1
        done = first + len(some)
        maps = None
        if done == len(corners):
            maps = _cells((sums / counts).float(), starts, side)
        yield Step(done, len(corners), maps)


def _logits(model: ClipModel, images: Tensor, direction: Tensor) -> Tensor:
    """Logit scale times cosine, [N]."""
    return model.logit_scale * (model.encode_images(images) * direction).sum(dim=-1)


def _cells(maps: Tensor, starts: list[int], side: int) -> Tensor:
    """One value for each square of pixels that all patches cover alike."""
    size = maps.shape[-1]
    edges = sorted({0, size, *starts, *(start + side for start in starts)})
    step = gcd(*edges)
    return maps[:, ::step, ::step].clone()


_STRIDES = {"layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}
_FEWEST_CELLS = 4


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
    """The last stage, as in the paper; if it has fewer than 4 x 4 cells, the last finer one."""
    names = stages(model)
    fine = [name for name, side in names.items() if side >= _FEWEST_CELLS]
    return fine[-1] if fine else next(iter(names))


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
    with _activations(part) as activations:
        embeddings = model.embed_images(images)
        with torch.enable_grad():
            score = model.logit_scale * (embeddings * direction.to(embeddings)).sum()
        (gradient,) = torch.autograd.grad(score, activations[0])  # [N, K, g, g]
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)  # alpha, [N, K, 1, 1]
    return (weights * activations[0].detach().float()).sum(dim=1).relu().cpu()


@contextmanager
def _activations(part: nn.Module) -> Iterator[list[Tensor]]:
    """Record no gradient before a stage's output, and all after it: the stages below cost nothing.

    What the stage gives out becomes a leaf, so the parameters above it stay without gradient too.
    """
    activations: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if output.ndim != 4:
            raise InputError(
                "This stage of the image encoder gives no map of the picture; choose occlusion.",
                "unsupported",
            )
        leaf = output.detach().requires_grad_()
        activations.append(leaf)
        torch.set_grad_enabled(True)
        return leaf

    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    handle = part.register_forward_hook(keep)
    try:
        yield activations
    finally:
        handle.remove()
        torch.set_grad_enabled(before)


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
) -> Iterator[Step[Attribution]]:
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
    Step
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
            if step.result is None:
                yield Step(step.done, step.total)
            maps, total = step.result, step.total
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
    yield Step(
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
