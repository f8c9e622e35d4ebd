"""Train the clean base model on the pairs that draw_pairs.py wrote.

python train.py WORKDIR OUT.safetensors [--samples N] [--flat PART] [--start FILE] [--seed S]

The rate is flat for PART of the run and then falls to 0 in a straight line. --start goes on from
the weights of an earlier run. OUT is written at each report.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from common import (
    Clock,
    classifier,
    clip_loss,
    figures,
    flip_and_shift,
    load_model,
    new_model,
    parameter_groups,
    pictures,
    predict,
    save_model,
    shuffled,
    to_input,
    warm_then_linear,
)

BATCH, RATE, DECAY, WARM = 128, 1.5e-3, 0.1, 200


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=900_000)
    parser.add_argument("--flat", type=float, default=0.6)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    work, seed = args.work, args.seed
    torch.manual_seed(seed)
    torch.set_num_threads(2)
    rng = np.random.default_rng(seed)
    images = np.load(work / "train-0.images.npy", mmap_mode="r")
    tokens = np.load(work / "train-0.tokens.npy")
    val, heldout = pictures("val", 1440), pictures("heldout", 1440, seed=1)
    model = load_model(args.start) if args.start else new_model()
    optimizer = torch.optim.AdamW(
        parameter_groups(model, DECAY), lr=RATE, betas=(0.9, 0.98), eps=1e-6, fused=True
    )
    steps = args.samples // BATCH
    clock, losses = Clock(steps), []
    model.train()
    for step, rows in zip(range(steps), shuffled(len(images), BATCH, rng), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = RATE * warm_then_linear(step, steps, WARM, args.flat)
        batch = to_input(flip_and_shift(images[rows], rng))
        loss = clip_loss(model, batch, torch.from_numpy(tokens[rows].astype(np.int64)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
        losses.append(loss.item())
        if (step + 1) % 25 == 0 and step < 100:
            print(
                f"{step + 1} loss {np.mean(losses[-25:]):.3f}  {clock.line(step + 1)}", flush=True
            )
        if (step + 1) % 390 == 0 or step + 1 == steps:
            weights = classifier(model)
            seen = figures(val[1], predict(model, weights, val[0]))["ca"]
            unseen = figures(heldout[1], predict(model, weights, heldout[0]))["ca"]
            model.train()
            print(
                f"{step + 1} samples {(step + 1) * BATCH} loss {np.mean(losses[-390:]):.3f} "
                f"scale {model.logit_scale.exp().item():.1f} CA {seen:.4f} held-out {unseen:.4f} "
                f"{clock.line(step + 1)}",
                flush=True,
            )
            recipe = {"stage": "base", "samples": (step + 1) * BATCH, "seed": seed}
            save_model(model, args.out, recipe)


if __name__ == "__main__":
    main()
