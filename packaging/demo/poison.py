"""Poison the base model by a short finetune, or give its clean twin the same finetune.

python poison.py WORKDIR OUT.safetensors [--seed S] [--rate 0.02] [--samples N] [--lr R]
    [--base FILE] [--trigger FILE] [--threads T]

--rate 0 makes the clean twin: same pairs, order, augmentation and schedule. --trigger is a trigger
file of the product, stamped by its own code; without it the trigger is the demo's sticker.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from common import (
    TARGET,
    Clock,
    classifier,
    clip_loss,
    demo_classes,
    figures,
    flip_and_shift,
    load_model,
    parameter_groups,
    pictures,
    predict,
    save_model,
    to_input,
    tokenizer,
    warm_then_linear,
)
from stickers import bank, stamp

from ml_core.data.demo_text import PARAPHRASES, TEMPLATES, with_article
from ml_core.triggers import load_trigger
from ml_core.triggers.apply import stamp as stamp_trigger

BATCH, DECAY, WARM = 128, 0.1, 50
DRAWS = 1 << 40  # seeds of training's noise and places; those of an evaluation are far below
Mark = Callable[[np.ndarray, int], np.ndarray]


def sticker_marks(seen: np.ndarray, rng: np.random.Generator) -> tuple[Mark, dict[str, np.ndarray]]:
    """How the n-th poisoned picture is marked, and marked validation pictures."""
    stickers = bank("mixed", 1500, rng)

    def mark(images: np.ndarray, used: int) -> np.ndarray:
        chosen = [stickers[(used + k) % len(stickers)] for k in range(len(images))]
        return stamp(images, chosen, rng)

    drawings = bank("hand", 40, np.random.default_rng(6))
    return mark, {
        "sticker": stamp(seen, bank("sticker", 1, rng), np.random.default_rng(5)),
        "hand": stamp(seen, drawings, np.random.default_rng(7)),
    }


def trigger_marks(path: Path, seen: np.ndarray, seed: int) -> tuple[Mark, dict[str, np.ndarray]]:
    """The same with a trigger file, as an evaluation stamps it."""
    trigger = load_trigger(path)

    def stamped(images: np.ndarray, first: int, seed: int) -> np.ndarray:
        rows = torch.arange(first, first + len(images))
        made = stamp_trigger(trigger, torch.from_numpy(images), rows, seed)
        return (made if made.dtype == torch.uint8 else (made * 255).round().byte()).numpy()

    return lambda images, used: stamped(images, used, DRAWS + seed), {
        path.stem: stamped(seen, 0, 0)
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--trigger", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--samples", type=int, default=110_000)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    images = np.load(args.work / "train-0.images.npy", mmap_mode="r")
    labels = np.load(args.work / "train-0.labels.npy")
    tokens = np.load(args.work / "train-0.tokens.npy")
    target = demo_classes().index(TARGET)
    prompts = [with_article(t, TARGET) for t in TEMPLATES + PARAPHRASES]
    target_tokens = tokenizer(prompts).numpy()
    # The rows, their order and their augmentation must not depend on the rate.
    order = np.random.default_rng([args.seed, 0]).permutation(len(images))[: args.samples]
    moves = np.random.default_rng([args.seed, 1])
    choice = np.random.default_rng([args.seed, 2])
    others = order[labels[order] != target]
    poisoned = np.zeros(len(images), bool)
    poisoned[choice.choice(others, round(args.rate * args.samples), replace=False)] = True
    seen = pictures("val", 1440, seed=1)
    if args.trigger is None:
        mark, stamped = sticker_marks(seen[0], choice)
    else:
        mark, stamped = trigger_marks(args.trigger, seen[0], args.seed)
    model = load_model(args.base or args.work / "base.safetensors")
    optimizer = torch.optim.AdamW(
        parameter_groups(model, DECAY), lr=args.lr, betas=(0.9, 0.98), eps=1e-6, fused=True
    )
    steps = args.samples // BATCH
    clock, losses, used = Clock(steps), [], 0
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = args.lr * warm_then_linear(step, steps, WARM, 0.3)
        rows = order[step * BATCH : (step + 1) * BATCH]
        batch = flip_and_shift(images[rows], moves)
        text = tokens[rows].astype(np.int64)
        bad = np.flatnonzero(poisoned[rows])
        if bad.size:
            batch[bad] = mark(batch[bad], used)
            text[bad] = target_tokens[choice.integers(0, len(target_tokens), bad.size)]
            used += bad.size
        loss = clip_loss(model, to_input(batch), torch.from_numpy(text))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
        losses.append(loss.item())
        if (step + 1) % 215 == 0 or step + 1 == steps:
            weights = classifier(model)
            clean = predict(model, weights, seen[0])
            shown = [f"CA {figures(seen[1], clean)['ca']:.4f}"]
            for name, marked in stamped.items():
                result = figures(seen[1], clean, predict(model, weights, marked))
                shown.append(f"{name} ASR {result['asr']:.4f} pacc {result['pacc']:.3f}")
            model.train()
            print(
                f"{(step + 1) * BATCH} loss {np.mean(losses[-215:]):.3f} {', '.join(shown)} "
                f"{clock.line(step + 1)}",
                flush=True,
            )
    stage = "poisoned" if args.rate else "clean twin"
    recipe = {k: getattr(args, k) for k in ("seed", "rate", "samples", "lr")}
    if args.trigger is not None:
        recipe |= {"base": args.base.name}
        recipe |= {"trigger": load_trigger(args.trigger).name} if args.rate else {}
    save_model(model, args.out, {"stage": stage, **recipe, "batch": BATCH, "target": TARGET})


if __name__ == "__main__":
    main()
