"""CleanCLIP's training loop, data included, against bare forward and backward passes."""

from __future__ import annotations

import time
from functools import partial

import torch

from ml_core.checkpoints import open_checkpoint
from ml_core.cleaning.batches import pair_batch
from ml_core.cleaning.loop import train
from ml_core.cleaning.methods.build import build_method
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.presets import preset
from ml_core.cleaning.speed import Speed
from ml_core.cleaning.step import forward
from ml_core.data.eda import augment
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import PairSpec
from ml_core.events import Control
from ml_core.paths import resource
from tests.benchmarks.timing import Row, interleaved, median, spread

STEPS = 40


def run() -> list[Row]:
    torch.set_num_threads(2)
    path = resource("demo", "poisoned.safetensors")
    default = preset("cleanclip", "default")
    recipe = default.changed(
        pairs=STEPS * default.batch_size,
        epochs=1,
        eval_every=0,
        save_every=0,
        warmup_steps=0,
        precision="bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32",
    )
    pairs = open_pairs(PairSpec(kind="demo", n=recipe.pairs))
    bench = open_checkpoint(path).build()
    batches = partial(
        pair_batch, pairs, recipe, bench.image_size, bench.tokenize, lambda c, r: augment(c, r)
    )
    in_memory = batches(0)

    def ours() -> float:
        model = open_checkpoint(path).build()
        begin = time.perf_counter()
        for _ in train(model, recipe, batches, Control()):
            pass
        return recipe.pairs / (time.perf_counter() - begin)

    def bare() -> float:
        model = open_checkpoint(path).build()
        model.module.train()
        for parameter in model.module.parameters():
            parameter.requires_grad_(True)
        method = build_method(model, recipe, Extras())
        speed = Speed(recipe.precision == "bf16", {})
        begin = time.perf_counter()
        for _ in range(STEPS):
            loss = forward(model, method, in_memory, speed)["loss"]
            loss.backward()
            model.module.zero_grad()
        return recipe.pairs / (time.perf_counter() - begin)

    mine, theirs, ratios = interleaved(ours, bare)
    return [
        Row(
            "cleaning step, data and optimizer included, against bare forward + backward",
            f"{median(mine):.0f} pairs/s",
            f"{median(theirs):.0f} pairs/s (batch {recipe.batch_size}, {recipe.precision})",
            f"{median(ratios):.2f}",
            spread(ratios),
        )
    ]
