"""Methods on images: a linear head, and unlearning of triggers."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml_core.cleaning.batches import Batch
from ml_core.cleaning.losses import head_loss, match, pulled
from ml_core.cleaning.methods.method import (
    Extras,
    Features,
    FrozenCopy,
    Method,
    Named,
    Parts,
    adversaries_of,
    embed_images,
    with_made_up,
)
from ml_core.cleaning.recipes import Recipe
from ml_core.model import ClipModel


def supervised(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """Cross-entropy of a linear head over the trained image encoder (Bansal et al. 2023, 4.3).

    The checkpoint's logit scale is held fixed. The parts are ``loss`` in nats and ``accuracy``
    of the batch, a fraction.
    """
    if extras.classifier is None:
        raise ValueError("this method needs the zero-shot classifier")
    head = nn.Parameter(new_head(recipe, extras.classifier).to(model.device))
    scale = model.logit_scale

    def encode(batch: Batch) -> Features:
        return {"images": embed_images(model, batch.images)}

    def loss(features: Features, batch: Batch) -> Parts:
        if batch.labels is None:
            raise ValueError("supervised cleaning needs labels")
        images = features["images"]
        value = head_loss(images, head, batch.labels, scale, recipe.label_smoothing)
        return {"loss": value, "accuracy": accuracy(images, head, batch.labels)}

    return Method(encode, loss, [*image_encoder(model), ("head", head)], head=head)


@torch.no_grad()
def accuracy(images: Tensor, classes: Tensor, labels: Tensor) -> Tensor:
    """Share of images [N, D] whose nearest row of ``classes`` [C, D] is their label's."""
    return ((images @ classes.T).argmax(1) == labels).float().mean()


def image_encoder(model: ClipModel) -> Named:
    """Names and parameters of the image encoder."""
    return [(k, v) for k, v in model.module.named_parameters() if k.startswith("visual.")]


def new_head(recipe: Recipe, classifier: Tensor) -> Tensor:
    """The linear head before its first step, [C, D] with unit rows.

    Parameters
    ----------
    recipe
        ``head_init`` chooses the zero-shot classifier or random directions (from the seed).
    classifier
        Zero-shot classifier [C, D].
    """
    if recipe.head_init == "zero-shot":
        return classifier.detach().clone().float()
    generator = torch.Generator().manual_seed(recipe.seed)
    rows = torch.randn(classifier.shape, generator=generator)
    return F.normalize(rows, dim=-1).to(classifier.device)


_SCALE = 15.0


def unlearning(model: ClipModel, recipe: Recipe, extras: Extras) -> Method:
    """Teach the image encoder to see under a trigger what a frozen copy sees without.

    1 - mean cos(f(x + t), f0(x)) + CE(s f(x + t) f0(x)^T) / s
        + lambda_hold * (1 - mean cos(f(x), f0(x)))

    where f0 is the checkpoint before cleaning and t a known, random or sharpened trigger, as in
    `stamped`. The second term, with s = 15, asks that a picture under a trigger be found among the
    clean ones of its batch: a trigger that moves all pictures to one place fails at that most. It
    takes the min-max form of I-BAU (Zeng et al., ICLR 2022, arXiv 2110.03735) to embeddings,
    without labels, captions or a target, and its holding term from unsupervised adversarial
    finetuning (FARE, Schlarmann et al., ICML 2024, arXiv 2402.12336). Texts keep their meaning,
    since the image encoder alone is trained. The gradient of the first two terms is taken on the
    way back to f0 (`Recipe.way_back`), that of the third where the weights are. The parts are
    ``triggered`` and ``clean``, the two mean distances, in 0..2, and ``match``, the cross-entropy,
    in nats; ``triggered`` and ``match`` are measured on the way back.
    """
    frozen = FrozenCopy(model, keep_images=recipe.epochs > 1 and not recipe.mix_images)
    adversaries, trained = adversaries_of(model, recipe), image_encoder(model)

    def encode(batch: Batch) -> Features:
        if batch.image_views is None:
            raise ValueError("unlearning needs stamped images")
        marked = with_made_up(replace(batch, images=batch.image_views), adversaries)
        return {"triggered": embed_images(model, marked)} | _targets(batch)

    def loss(features: Features, batch: Batch) -> Parts:
        triggered = pulled(features["triggered"], features["target"])
        entropy = match(features["triggered"], features["target"], _SCALE)
        total = triggered + entropy / _SCALE
        return {"loss": total, "triggered": triggered, "match": entropy}

    def encode_clean(batch: Batch) -> Features:
        return {"clean": embed_images(model, batch.images)} | _targets(batch)

    def hold(features: Features, batch: Batch) -> Parts:
        clean = pulled(features["clean"], features["target"])
        return {"loss": recipe.lambda_hold * clean, "clean": clean}

    beginning = [part for _, part in image_encoder(frozen.model)] if recipe.way_back else ()
    here = Method(encode_clean, hold, trained)
    return Method(
        encode, loss, trained, opponent=adversaries, beginning=beginning, here=here,
        targets=frozen.images,
    )  # fmt: skip


def _targets(batch: Batch) -> Features:
    if batch.targets is None:
        raise ValueError("unlearning needs the embeddings of the checkpoint before cleaning")
    return {"target": batch.targets}
