"""Every number and choice of a cleaning run, with what a form shows of it. Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from ml_core.cleaning.catalogue import FACTS, METHODS, facts_of
from ml_core.options import option
from ml_core.records import Record

Augmentation = Literal["none", "flip", "autoaugment", "noise-erase", "noise-erase-code"]

_TRAINED = " ".join(name for name, facts in FACTS.items() if facts.data != "none")
_LABELLED = " ".join(name for name, facts in FACTS.items() if facts.data == "labelled")
_CONTRAST = "stamped cleanclip mmcl par"
_VIEWS = "cleanclip"
_STAMPING = "stamped unlearning"
_WEIGHT_SPACE = "interpolate"
_WEIGHT: dict[str, Any] = {"ge": 0.0, "le": 100.0}


def _known(method: str) -> str:
    """Refuse what is no method of this or of an earlier version."""
    if facts_of(method) is None:
        raise ValueError(
            f"should be one of {', '.join(METHODS)}, or that of a plug-in that is switched on"
        )
    return method


class RecipeFields(Record):
    """The fields of a recipe, in the order a form shows them; each with its limits."""

    # Records of earlier versions are read; `offered` refuses to run a former method.
    method: Annotated[str, AfterValidator(_known)] = option(
        "cleanclip", "Method", "How the checkpoint is cleaned."
    )
    preset: str = option("quick", "Preset", "Where the numbers come from.", max_length=64)
    pairs: int = option(
        40_000,
        "Training examples",
        "Distinct clean examples (pairs or images, as the method needs) to train on; more "
        "distinct ones matter more than epochs.",
        unit="examples",
        methods=_TRAINED,
        ge=2,
        le=100_000_000,
    )
    epochs: int = option(
        1,
        "Epochs",
        "How often each example is seen.",
        unit="epochs",
        methods=_TRAINED,
        ge=1,
        le=1000,
    )
    batch_size: int = option(
        128,
        "Batch size",
        "Examples in a step; the contrastive losses compare within a batch.",
        unit="examples",
        methods=_TRAINED,
        ge=2,
        le=65_536,
    )
    lr: float = option(
        2e-3,
        "Learning rate",
        "Peak of the schedule. Too low and the backdoor stays, too high and accuracy is lost.",
        methods=_TRAINED,
        gt=0.0,
        le=1.0,
    )
    schedule: Literal["cosine", "two-phase"] = option(
        "cosine",
        "Schedule",
        "Cosine falls from the peak to the end. Two-phase is PAR's: a straight line to the "
        "half-way rate in the first half, then a cosine to the end.",
        methods=_TRAINED,
    )
    lr_middle: float = option(
        0.1,
        "Half-way learning rate",
        "Rate of two-phase after the first half, as a fraction of the peak.",
        unit="of the peak",
        methods=_TRAINED,
        ge=0.0,
        le=1.0,
    )
    lr_end: float = option(
        0.0,
        "Final learning rate",
        "Rate at the end of the cosine, as a fraction of the peak.",
        unit="of the peak",
        methods=_TRAINED,
        ge=0.0,
        le=1.0,
    )
    warmup_steps: int = option(
        50,
        "Warm-up",
        "Steps in which the rate climbs from 0 to its peak.",
        unit="steps",
        methods=_TRAINED,
        ge=0,
        le=1_000_000,
    )
    optimizer: Literal["adamw", "sgd"] = option(
        "adamw", "Optimizer", "AdamW, or SGD with momentum.", methods=_TRAINED
    )
    weight_decay: float = option(
        0.1,
        "Weight decay",
        "Decay of weight matrices; biases and norms are left alone.",
        methods=_TRAINED,
        ge=0.0,
        le=10.0,
    )
    beta1: float = option(
        0.9, "Beta 1", "AdamW's decay of the mean of gradients.", methods=_TRAINED, ge=0.0, lt=1.0
    )
    beta2: float = option(
        0.999,
        "Beta 2",
        "AdamW's decay of the mean of squared gradients.",
        methods=_TRAINED,
        ge=0.0,
        lt=1.0,
    )
    momentum: float = option(0.9, "Momentum", "SGD's momentum.", methods=_TRAINED, ge=0.0, lt=1.0)
    grad_clip: float = option(
        1.0,
        "Gradient clipping",
        "Largest norm of a step's gradient; 0 turns clipping off.",
        methods=_TRAINED,
        ge=0.0,
        le=1e6,
    )
    lambda_clip: float = option(
        1.0,
        "Weight of the CLIP loss",
        "How much image and caption are pulled together.",
        methods=_CONTRAST,
        **_WEIGHT,
    )
    lambda_image: float = option(
        0.5,
        "Weight of image views",
        "How much each image is pulled to its augmented view; 0 draws none.",
        methods=_VIEWS,
        **_WEIGHT,
    )
    lambda_text: float = option(
        0.5,
        "Weight of caption views",
        "How much each caption is pulled to its augmented view; 0 draws none.",
        methods=_VIEWS,
        **_WEIGHT,
    )
    lambda_repel: float = option(
        1.0,
        "Weight of repulsion",
        "How hard embeddings are pushed away from those of the checkpoint before cleaning.",
        methods="par",
        **_WEIGHT,
    )
    tau: float = option(
        2.15,
        "Repulsion limit",
        "Mean squared distance above which nothing is pushed any more; larger removes more of "
        "the backdoor and more accuracy.",
        unit="of at most 4",
        methods="par",
        gt=0.0,
        le=4.0,
    )
    stamp_share: float = option(
        0.5,
        "Stamped pictures",
        "Share of the pictures of each batch that carry a trigger.",
        unit="of the batch",
        methods=_STAMPING,
        ge=0.0,
        le=1.0,
    )
    made_up_share: float = option(
        0.25,
        "Made-up triggers",
        "Share of the stamped pictures whose trigger is made up; all of them where none is known.",
        unit="of the stamped",
        methods=_STAMPING,
        ge=0.0,
        le=1.0,
    )
    random_share: float = option(
        0.5,
        "Random triggers",
        "Share of the made-up triggers that are random: a patch, a texture or a warp for each "
        "picture. The others are refined against the model as it trains.",
        unit="of the made-up",
        methods=_STAMPING,
        ge=0.0,
        le=1.0,
    )
    lambda_hold: float = option(
        1.0,
        "Weight of holding",
        "How much images without a trigger are held where they were.",
        methods="unlearning",
        **_WEIGHT,
    )
    way_back: float = option(
        0.0,
        "Way back",
        "Each step learns from triggered images with the weights moved back towards the "
        "checkpoint before cleaning, by a random part of the way, this value at most. Less of the "
        "backdoor then comes back when the model is trained again.",
        unit="of the way",
        methods="unlearning",
        ge=0.0,
        le=1.0,
    )
    adversaries: int = option(
        8,
        "Triggers at a time",
        "Refined triggers that act in one step, each on an equal share of the pictures for them.",
        methods=_STAMPING,
        ge=1,
        le=1024,
    )
    adversary_steps: int = option(
        12,
        "Steps of a trigger",
        "Steps in which a trigger is refined before a new trigger replaces it.",
        unit="steps",
        methods=_STAMPING,
        ge=1,
        le=100_000,
    )
    mix_images: bool = option(
        False,
        "Mix images",
        "Of four images one stays unchanged, one is augmented, one is blended with another image "
        "and one gets a part of another image, so that the model is held on more than the images "
        "at hand.",
        methods="unlearning",
    )
    alpha: float = option(
        1.0,
        "Alpha",
        "How far the weights go towards the reference, which they reach at 1.",
        methods=_WEIGHT_SPACE,
        ge=0.0,
        le=10.0,  # of former methods, see `contradictions`
    )
    alpha_choice: Literal["given", "auto"] = option(
        "given",
        "Choice of alpha",
        "Given uses alpha as entered; auto tries values up to it on validation images.",
        methods=_WEIGHT_SPACE,
    )
    ca_limit: float = option(
        1.0,
        "Accuracy to give up",
        "Clean accuracy on validation images that auto may cost.",
        unit="points",
        methods=_WEIGHT_SPACE,
        ge=0.0,
        le=100.0,
    )
    image_augmentation: Augmentation = option(
        "autoaugment",
        "Image augmentation",
        "Drawn again for every image: AutoAugment (ImageNet policy), a flip, PAR's noise and "
        "erased square (code: as in PAR's own code), or nothing.",
        methods=f"{_VIEWS} par {_LABELLED}",
    )
    eda_alpha: float = option(
        0.1,
        "Caption augmentation",
        "Share of a caption's words that EDA replaces, inserts, swaps or deletes. Digits, "
        "apostrophes and accents stay in their words; EDA's own code keeps only a to z.",
        unit="of the words",
        methods=_VIEWS,
        ge=0.0,
        le=1.0,
    )
    head_init: Literal["zero-shot", "random"] = option(
        "zero-shot",
        "Start of the linear head",
        "From the zero-shot classifier of the label set, or random.",
        methods="supervised",
    )
    label_smoothing: float = option(
        0.0,
        "Label smoothing",
        "Probability spread evenly over all classes.",
        methods="supervised",
        ge=0.0,
        lt=1.0,
    )
    stop_below_ca: float = option(
        40.0,
        "Accuracy limit",
        "Stop when clean accuracy on validation images falls this far under its start; "
        "0 never stops.",
        unit="points",
        methods=_TRAINED,
        ge=0.0,
        le=100.0,
    )
    eval_every: int = option(
        60,
        "Evaluate every",
        "Steps between two evaluations on validation images; 0 turns them off.",
        unit="steps",
        methods=_TRAINED,
        ge=0,
        le=1_000_000,
    )
    save_every: int = option(
        60,
        "Save every",
        "Steps between two saves from which a killed run can resume; 0 saves at its start and end.",
        unit="steps",
        methods=_TRAINED,
        ge=0,
        le=1_000_000,
    )
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto",
        "Precision",
        "Automatic measures three steps and takes bfloat16 where it is faster. fp32 is as exact as "
        "it can be; for a ResNet on the CPU its steps are a third slower than Automatic's in fp32.",
        methods=_TRAINED,
    )
    batch_norm: Literal["train", "frozen"] = option(
        "train",
        "BatchNorm",
        "Train uses batch statistics and updates the stored ones; frozen uses the stored ones, "
        "as gradient caching, more than one process and trigger unlearning need.",
        methods=_TRAINED,
    )
    cache_chunk: int = option(
        0,
        "Gradient caching",
        "Examples encoded at a time; the gradient stays that of the whole batch (GradCache). "
        "0 encodes the batch at once. Needs frozen BatchNorm in a ResNet.",
        unit="examples",
        methods=_TRAINED,
        ge=0,
        le=65_536,
    )
    checkpoint_activations: bool = option(
        False,
        "Checkpoint activations",
        "Computes activations twice and keeps them once: less memory, about a third slower.",
        methods=_TRAINED,
    )
    compile: bool = option(
        False, "Compile", "Compile the encoders with torch.compile; on CUDA only.", methods=_TRAINED
    )
    seed: int = option(
        0,
        "Seed",
        "Repeats the run's order and augmentations.",
        methods=_TRAINED,
        ge=0,
        le=2**32 - 1,
    )
