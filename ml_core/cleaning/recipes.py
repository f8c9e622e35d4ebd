"""What a cleaning run does: method, budget and hyperparameters, as a record with limits.

Torch-free: the window shows every field (title, unit, one line of help, range) before torch
is loaded, and a value out of range is refused before anything starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_core.cleaning.catalogue import FACTS, METHODS, Method, MethodFacts
from ml_core.reading.errors import InputError


def _field(
    default: Any, title: str, help_line: str, *, unit: str = "", methods: str = "", **limits: Any
) -> Any:
    """A recipe field with what a form shows; ``methods`` empty means all."""
    extra: dict[str, Any] = {"unit": unit, "methods": methods.split()}
    return Field(default, title=title, description=help_line, json_schema_extra=extra, **limits)


class Recipe(BaseModel):
    """One cleaning run. Every field carries its title, unit, range and a line of help.

    The defaults are CleanCLIP's default preset for the built-in demo; see :func:`presets`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Method = _field("cleanclip", "Method", "How the checkpoint is cleaned.")
    preset: str = _field("default", "Preset", "Where the numbers come from.", max_length=64)
    pairs: int = _field(
        40_000,
        "Training examples",
        "Distinct clean pairs (labelled images for supervised finetuning) to train on; "
        "more distinct ones matter more than epochs.",
        unit="examples",
        ge=2,
        le=100_000_000,
    )
    epochs: int = _field(
        1, "Epochs", "How often each example is seen.", unit="epochs", ge=1, le=1000
    )
    batch_size: int = _field(
        128,
        "Batch size",
        "Examples in a step; the contrastive losses compare within a batch.",
        unit="examples",
        ge=2,
        le=65_536,
    )
    lr: float = _field(
        2e-3,
        "Learning rate",
        "Peak of the schedule. Too low and the backdoor stays, too high and accuracy is lost.",
        gt=0.0,
        le=1.0,
    )
    lr_end: float = _field(
        0.0,
        "Final learning rate",
        "Where the cosine ends, as a fraction of the peak.",
        unit="of the peak",
        ge=0.0,
        le=1.0,
    )
    warmup_steps: int = _field(
        50,
        "Warm-up",
        "Steps in which the rate climbs from 0 to its peak.",
        unit="steps",
        ge=0,
        le=1_000_000,
    )
    weight_decay: float = _field(
        0.1,
        "Weight decay",
        "AdamW's decay of weight matrices; biases and norms are left alone.",
        ge=0.0,
        le=10.0,
    )
    beta1: float = _field(0.9, "Beta 1", "AdamW's memory of gradients.", ge=0.0, lt=1.0)
    beta2: float = _field(0.999, "Beta 2", "AdamW's memory of squared gradients.", ge=0.0, lt=1.0)
    grad_clip: float = _field(
        1.0,
        "Gradient clipping",
        "Largest norm of a step's gradient; 0 turns clipping off.",
        ge=0.0,
        le=1e6,
    )
    lambda_clip: float = _field(
        1.0,
        "Weight of the CLIP loss",
        "How much image and caption are pulled together.",
        methods="cleanclip mmcl",
        ge=0.0,
        le=100.0,
    )
    lambda_image: float = _field(
        0.5,
        "Weight of image views",
        "How much each image is pulled to its augmented view.",
        methods="cleanclip",
        ge=0.0,
        le=100.0,
    )
    lambda_text: float = _field(
        0.5,
        "Weight of caption views",
        "How much each caption is pulled to its augmented view.",
        methods="cleanclip",
        ge=0.0,
        le=100.0,
    )
    image_augmentation: Literal["none", "flip", "autoaugment"] = _field(
        "autoaugment",
        "Image augmentation",
        "Drawn anew for every image: AutoAugment (ImageNet policy), a flip, or nothing.",
        methods="cleanclip supervised",
    )
    eda_alpha: float = _field(
        0.1,
        "Caption augmentation",
        "Share of a caption's words that EDA replaces, inserts, swaps or deletes.",
        unit="of the words",
        methods="cleanclip",
        ge=0.0,
        le=1.0,
    )
    head_init: Literal["zero-shot", "random"] = _field(
        "zero-shot",
        "Start of the linear head",
        "From the zero-shot classifier of the label set, or random.",
        methods="supervised",
    )
    label_smoothing: float = _field(
        0.0,
        "Label smoothing",
        "Probability spread evenly over all classes.",
        methods="supervised",
        ge=0.0,
        lt=1.0,
    )
    stop_below_ca: float = _field(
        40.0,
        "Accuracy limit",
        "Stop when clean accuracy on validation images falls this far under its start; "
        "0 never stops.",
        unit="points",
        ge=0.0,
        le=100.0,
    )
    eval_every: int = _field(
        60,
        "Evaluate every",
        "Steps between two evaluations on validation images; 0 turns them off.",
        unit="steps",
        ge=0,
        le=1_000_000,
    )
    save_every: int = _field(
        60,
        "Save every",
        "Steps between two saves from which a killed run goes on; 0 saves at its end alone.",
        unit="steps",
        ge=0,
        le=1_000_000,
    )
    precision: Literal["auto", "fp32", "bf16"] = _field(
        "auto",
        "Precision",
        "Automatic measures three steps and takes bfloat16 where it is faster.",
    )
    batch_norm: Literal["train", "frozen"] = _field(
        "train",
        "BatchNorm",
        "Train takes each batch's statistics and updates the stored ones; frozen uses the stored "
        "ones, as gradient caching and more than one process need.",
    )
    cache_chunk: int = _field(
        0,
        "Gradient caching",
        "Examples encoded at a time; the gradient stays that of the whole batch (GradCache). "
        "0 encodes the batch at once. Needs frozen BatchNorm in a ResNet.",
        unit="examples",
        ge=0,
        le=65_536,
    )
    checkpoint_activations: bool = _field(
        False,
        "Checkpoint activations",
        "Computes activations twice and keeps them once: less memory, about a third slower.",
    )
    compile: bool = _field(
        False, "Compile", "Compile the encoders with torch.compile; on CUDA only."
    )
    seed: int = _field(0, "Seed", "Repeats the run's order and augmentations.", ge=0, le=2**32 - 1)

    @property
    def facts(self) -> MethodFacts:
        """What the method is and what it needs."""
        return FACTS[self.method]

    @property
    def uses_pairs(self) -> bool:
        """Whether the method trains on image-caption pairs."""
        return self.facts.data == "pairs"

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one epoch; at least one."""
        return max(1, self.pairs // self.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.steps_per_epoch * self.epochs

    def changed(self, **values: Any) -> Recipe:
        """A copy with some fields set; the preset becomes ``custom`` if a number moved.

        Raises
        ------
        InputError
            If a value is out of range; the sentence names the field, its range and unit.
        """
        fields = {**self.model_dump(), **values}
        moved = any(values[name] != getattr(self, name, None) for name in values.keys() - {"seed"})
        if moved and "preset" not in values:
            fields["preset"] = "custom"
        return make_recipe(fields)


def fields_of(method: Method) -> tuple[str, ...]:
    """Names of the fields that ``method`` uses, in the order a form shows them."""
    names = []
    for name, info in Recipe.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        methods = extra.get("methods") or METHODS
        if isinstance(methods, (list, tuple)) and method in methods:
            names.append(name)
    return tuple(names)


def make_recipe(fields: Mapping[str, Any]) -> Recipe:
    """Check ``fields`` and build a recipe.

    Raises
    ------
    InputError
        If a field is unknown or out of range; one sentence names each.
    """
    try:
        return Recipe.model_validate(dict(fields))
    except ValidationError as error:
        raise InputError(f"The recipe cannot be used: {explain(error)}", "usage") from error


def explain(error: ValidationError) -> str:
    """Turn pydantic's findings into one sentence that names fields, values and ranges."""
    parts = []
    for finding in error.errors(include_url=False):
        where = ".".join(str(place) for place in finding["loc"]) or "the record"
        info = Recipe.model_fields.get(str(finding["loc"][-1])) if finding["loc"] else None
        name = f"{info.title} ({where})" if info is not None and info.title else where
        message = finding["msg"].removeprefix("Value error, ").removeprefix("Input ")
        given = finding.get("input")
        shown = f", not {given!r}" if isinstance(given, (int, float, str)) else ""
        parts.append(f"{name} {message[:1].lower()}{message[1:]}{shown}")
    return "; ".join(parts) + "."
