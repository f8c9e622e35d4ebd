"""What a cleaning run does: method, budget and hyperparameters, as a record with limits.

Torch-free: the window shows every field (title, unit, one line of help, range) before torch
is loaded, and a value out of range is refused before anything starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_core.reading.errors import InputError

Method = Literal["cleanclip", "mmcl", "supervised"]
METHODS: tuple[Method, ...] = get_args(Method)
METHOD_TITLES: Mapping[Method, str] = {
    "cleanclip": "CleanCLIP",
    "mmcl": "MMCL only (control)",
    "supervised": "Supervised finetuning",
}
_PAIR_METHODS = ("cleanclip", "mmcl")


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
    lambda_inmodal: float = _field(
        0.5,
        "Weight of self-supervision",
        "How much each image and each caption is pulled to its augmented view.",
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
    seed: int = _field(0, "Seed", "Repeats the run's order and augmentations.", ge=0, le=2**32 - 1)

    @property
    def uses_pairs(self) -> bool:
        """Whether the method trains on image-caption pairs (otherwise on labelled images)."""
        return self.method in _PAIR_METHODS

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


# CleanCLIP's README (Bansal et al. 2023): 100 K pairs, batch 64, 10 epochs, rate 1e-5, cosine
# with 50 warm-up steps, both lambdas 1. Supervised: 10 epochs at 1e-4 with 500 warm-up steps.
_PAPER: dict[str, Any] = {
    "preset": "paper",
    "pairs": 100_000,
    "epochs": 10,
    "batch_size": 64,
    "lr": 1e-5,
    "warmup_steps": 50,
    "weight_decay": 0.1,
    "lambda_inmodal": 1.0,
    "eval_every": 500,
    "save_every": 500,
}
_TALK: dict[str, Any] = {"preset": "talk", "pairs": 13_440, "eval_every": 35, "save_every": 0}
# Self-supervision costs accuracy for a while; the other methods have no reason to fall as far.
_MMCL: dict[str, Any] = {
    "lambda_inmodal": 0.0,
    "image_augmentation": "none",
    "stop_below_ca": 25.0,
}
_SUPERVISED: dict[str, Any] = {"lambda_inmodal": 0.0, "stop_below_ca": 25.0}
_METHOD_FIELDS: dict[Method, dict[str, dict[str, Any]]] = {
    "cleanclip": {"default": {}, "talk": _TALK, "paper": _PAPER},
    "mmcl": {
        "default": {**_MMCL, "pairs": 76_800},
        "talk": {**_TALK, **_MMCL, "pairs": 28_800},
        "paper": {**_PAPER, **_MMCL},
    },
    "supervised": {
        "default": {**_SUPERVISED, "pairs": 76_800, "lr": 1.4e-3},
        "talk": {**_TALK, **_SUPERVISED, "pairs": 25_600},
        "paper": {
            **_PAPER,
            **_SUPERVISED,
            "pairs": 50_000,
            "lr": 1e-4,
            "warmup_steps": 500,
            "weight_decay": 0.01,
            "head_init": "random",
            "image_augmentation": "none",
            "stop_below_ca": 60.0,  # a random head starts from nothing
        },
    },
}
PRESET_SOURCES: Mapping[str, str] = {
    "default": "Chosen on validation images of the built-in demo; at most 4 minutes on 2 cores.",
    "talk": "The default with fewer examples; at most 90 seconds on 2 cores.",
    "paper": "CleanCLIP's published recipe (Bansal et al., ICCV 2023); hours on a CPU.",
}


def presets(method: Method) -> dict[str, Recipe]:
    """Named recipes of ``method``: ``default``, ``talk`` and ``paper``.

    Raises
    ------
    InputError
        If the method is unknown.
    """
    if method not in _METHOD_FIELDS:
        raise InputError(f"Unknown method {method!r}; choose one of {', '.join(METHODS)}.")
    return {
        name: make_recipe({"method": method, "preset": name, **fields})
        for name, fields in _METHOD_FIELDS[method].items()
    }


def preset(method: Method, name: str) -> Recipe:
    """One preset by name.

    Raises
    ------
    InputError
        If the method or the preset is unknown.
    """
    named = presets(method)
    if name not in named:
        raise InputError(f"Unknown preset {name!r}; choose one of {', '.join(named)}.")
    return named[name]
