"""The numbers of the presets. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_core.cleaning.catalogue import Method

Fields = dict[str, Any]

# CleanCLIP's README (Bansal et al. 2023): 100 K pairs, batch 64, 10 epochs, rate 1e-5, cosine
# with 50 warm-up steps, both lambdas 1, no clipping of gradients. Supervised: 10 epochs at 1e-4
# with 500 warm-up steps.
_PAPER: Fields = {
    "pairs": 100_000,
    "epochs": 10,
    "batch_size": 64,
    "lr": 1e-5,
    "warmup_steps": 50,
    "weight_decay": 0.1,
    "grad_clip": 0.0,
    "lambda_image": 1.0,
    "lambda_text": 1.0,
    "eval_every": 500,
    "save_every": 500,
}
_TALK: Fields = {"pairs": 13_440, "eval_every": 35, "save_every": 0}
_THOROUGH: Fields = {"pairs": 100_000, "eval_every": 100, "save_every": 100}
# Self-supervision costs accuracy for a while; the other methods have no reason to fall as far.
_MMCL: Fields = {
    "lambda_image": 0.0,
    "lambda_text": 0.0,
    "image_augmentation": "none",
    "stop_below_ca": 25.0,
}
_SS: Fields = {"lambda_image": 1.0, "lambda_text": 1.0, "lr": 1e-3, "stop_below_ca": 0.0}
_LABELLED: Fields = {"lambda_image": 0.0, "lambda_text": 0.0, "stop_below_ca": 25.0}
_LOCKED: Fields = {**_LABELLED, "pairs": 76_800, "lr": 1.4e-3}
_PROBE: Fields = {
    **_LABELLED,
    "pairs": 16_000,
    "epochs": 10,
    "lr": 1e-2,
    "weight_decay": 0.0,
    "image_augmentation": "none",
}
# Accuracy is expected to fall far in the first half and to come back: no limit stops it.
_PAR: Fields = {
    "lambda_image": 0.0,
    "lambda_text": 0.0,
    "schedule": "two-phase",
    "lr_middle": 0.1,
    "weight_decay": 1e-4,
    "beta2": 0.98,
    "image_augmentation": "noise-erase",
    "stop_below_ca": 0.0,
}
_PAR_QUICK: Fields = {**_PAR, "pairs": 64_000, "lr": 2e-3}
_BOTH: Fields = {
    "pairs": 36_000,
    "lambda_image": 0.1,
    "lambda_text": 0.1,
    "lambda_repel": 0.5,
    "stop_below_ca": 0.0,
}
_RVPT: Fields = {
    "shots": 16,
    "batch_size": 32,
    "optimizer": "sgd",
    "lr": 2e-3,
    "warmup_steps": 0,
    "weight_decay": 5e-4,
    "grad_clip": 0.0,
    "lambda_repel": 2.0,
    "image_augmentation": "flip",
    "stop_below_ca": 0.0,
    "batch_norm": "frozen",
}
_UNLEARN: Fields = {
    "pairs": 2048,
    "epochs": 8,
    "batch_size": 64,
    "lr": 3e-4,
    "warmup_steps": 10,
    "weight_decay": 0.0,
    "batch_norm": "frozen",
    "stop_below_ca": 10.0,
    "eval_every": 32,
}
_ADVERSARIAL: Fields = {
    "pairs": 38_400,
    "epochs": 2,
    "batch_size": 64,
    "lr": 5e-4,
    "warmup_steps": 20,
    "weight_decay": 0.0,
    "beta2": 0.98,
    "lambda_hold": 6.0,
    "mix_images": True,
    "batch_norm": "frozen",
    "stop_below_ca": 15.0,
    "eval_every": 200,
}
_TBAR: Fields = {
    "pairs": 1024,
    "epochs": 2,
    "batch_size": 64,
    "lr": 1e-4,
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "alpha": 4.0,
    "alpha_choice": "auto",
    "batch_norm": "frozen",
    "stop_below_ca": 0.0,
    "eval_every": 16,
    "save_every": 0,
}
_BLEND: Fields = {"alpha": 1.0, "alpha_choice": "auto", "ca_limit": 1.0}

FIELDS: Mapping[Method, Mapping[str, Fields]] = {
    "cleanclip": {
        "quick": {},
        # The best of four on validation pictures of the demo: docs/bench.md.
        "talk": {**_TALK, "lr": 3e-3, "warmup_steps": 20},
        "thorough": _THOROUGH,
        "paper": _PAPER,
    },
    "mmcl": {
        "quick": {**_MMCL, "pairs": 128_000, "stop_below_ca": 35.0},
        "talk": {**_TALK, **_MMCL, "pairs": 28_800},
        "thorough": {**_MMCL, **_THOROUGH, "epochs": 2},
        "paper": {**_PAPER, **_MMCL},
    },
    "ss": {
        "quick": {**_SS, "pairs": 32_000},
        "talk": {**_TALK, **_SS},
        "thorough": {**_SS, **_THOROUGH},
        "paper": {**_PAPER, "stop_below_ca": 0.0},
    },
    "par": {
        "quick": _PAR_QUICK,
        "talk": {**_TALK, **_PAR_QUICK, "pairs": 19_200},
        "thorough": {**_PAR_QUICK, **_THOROUGH, "epochs": 2},
        "paper": {
            **_PAR,
            "pairs": 250_000,
            "epochs": 2,
            "batch_size": 512,
            "lr": 3e-5,
            "lr_end": 1e-9 / 3e-5,
            "warmup_steps": 0,
            "grad_clip": 0.0,
            "eval_every": 100,
            "save_every": 100,
        },
    },
    "cleanclip-par": {
        "quick": _BOTH,
        "talk": {**_BOTH, **_TALK},
        "thorough": {**_BOTH, **_THOROUGH},
    },
    "supervised": {
        "quick": {**_LABELLED, "pairs": 76_800, "lr": 1.4e-3},
        "talk": {**_TALK, **_LABELLED, "pairs": 25_600},
        "thorough": {**_LABELLED, **_THOROUGH, "lr": 1.4e-3, "epochs": 2},
        "paper": {
            **_PAPER,
            **_LABELLED,
            "pairs": 50_000,
            "lr": 1e-4,
            "warmup_steps": 500,
            "weight_decay": 0.01,
            "head_init": "random",
            "image_augmentation": "none",
            "stop_below_ca": 60.0,  # a random head starts from nothing
        },
    },
    "locked-text": {
        "quick": _LOCKED,
        "talk": {**_LOCKED, **_TALK, "pairs": 25_600},
        "thorough": {**_LOCKED, **_THOROUGH, "epochs": 2},
    },
    "linear-probe": {
        "quick": _PROBE,
        "talk": {**_PROBE, "pairs": 8000},
        "thorough": {**_PROBE, "pairs": 50_000, "epochs": 20},
    },
    "rvpt": {
        "quick": {**_RVPT, "pairs": 4096, "epochs": 20, "eval_every": 72, "save_every": 72},
        "talk": {**_RVPT, "pairs": 2048, "epochs": 5, "eval_every": 36, "save_every": 0},
        "thorough": {**_RVPT, "pairs": 16_000, "shots": 64, "epochs": 50, "eval_every": 500},
        "paper": {
            **_RVPT,
            "pairs": 16_000,
            "epochs": 50,
            "eval_every": 500,
            "save_every": 500,
        },
    },
    "adversarial": {
        "quick": _ADVERSARIAL,
        "talk": {**_ADVERSARIAL, "pairs": 19_200, "epochs": 1, "eval_every": 50, "save_every": 0},
        "thorough": {**_ADVERSARIAL, "pairs": 102_400},
    },
    "unlearn": {
        "quick": _UNLEARN,
        "talk": {**_UNLEARN, "pairs": 1024, "epochs": 4, "eval_every": 16, "save_every": 0},
        "thorough": {**_UNLEARN, "pairs": 8192, "epochs": 10, "eval_every": 128},
    },
    "tbar": {
        "quick": _TBAR,
        "talk": {**_TBAR, "pairs": 512},
        "thorough": {**_TBAR, "pairs": 4096, "eval_every": 64},
    },
    "interpolate": {"quick": _BLEND, "paper": {"alpha": 0.5, "alpha_choice": "given"}},
}

OWN_SOURCES: Mapping[tuple[str, str], str] = {
    ("cleanclip", "talk"): "For live demos: its rate and warm-up were chosen for so few "
    "examples, on validation images of the built-in demo; about 90 seconds on 2 idle cores.",
    ("mmcl", "quick"): "Close to the pretraining learning rate; the length was chosen on "
    "validation images of a ViT poisoned with a sine trigger. 3 to 5 minutes "
    "on 2 cores for a small model.",
    ("par", "quick"): "PAR's schedule at the demo's rates. On ResNets with Blended and SIG it "
    "left at most 0.5 % success for 1.4 to 1.7 points of accuracy; the rate "
    "was not tuned.",
    ("cleanclip-par", "quick"): "CleanCLIP's Quick preset with PAR's limit; the weights were "
    "chosen among three sets on validation images of the built-in "
    "demo.",
    ("locked-text", "quick"): "As Quick of supervised finetuning; not tuned.",
    ("linear-probe", "quick"): "A control, not tuned: the embeddings do not change.",
    ("ss", "quick"): "A control, not tuned.",
    ("ss", "paper"): "CleanCLIP's published recipe (Bansal et al., ICCV 2023) without its first "
    "term; hours on a CPU.",
    ("par", "paper"): "PAR's published schedule (arXiv 2412.00727): 250 000 pairs twice, as its "
    "script has it. It uses four GPUs with batches of 512 each; here a step has 512.",
    ("rvpt", "paper"): "RVPT's published numbers (NeurIPS 2025). Momentum 0.9, decay 5e-4, the "
    "flips and the initial spread of prompts are ours: the paper does not "
    "give them.",
    ("rvpt", "quick"): "RVPT's published numbers (NeurIPS 2025) with fewer epochs; minutes for a "
    "small ViT and few classes.",
    ("rvpt", "talk"): "RVPT's published numbers (NeurIPS 2025) with five epochs.",
    ("rvpt", "thorough"): "RVPT's published numbers (NeurIPS 2025) with four times the images.",
    ("adversarial", "quick"): "Ours: its numbers were chosen on two models poisoned from the first "
    "step of their pretraining, with images of another kind than theirs (docs/bench.md); about 5 "
    "minutes on 2 idle cores.",
    ("adversarial", "talk"): "Quick with a quarter of the steps; about a minute on 2 idle cores.",
    ("adversarial", "thorough"): "Quick with 2.7 times the images and steps.",
    (
        "unlearn",
        "quick",
    ): "Ours, not tuned: 1024 images in 64 steps took the demo from 99 to 0 % success for 0.7 "
    "points of accuracy; this has four times the steps.",
    ("unlearn", "thorough"): "Quick with more images.",
    ("tbar", "quick"): "1024 images; alpha is chosen on validation images. On the demo's ResNet it "
    "removes little (success rate 99 to 87 % within a point of accuracy): unlearning does better.",
    ("tbar", "thorough"): "Quick with more images.",
    ("interpolate", "quick"): "Alpha is chosen on validation images: nothing is trained.",
    ("interpolate", "paper"): "Half way, as WiSE-FT (Wortsman et al., CVPR 2022) recommends.",
}
