"""Poison the base model by a short finetune, or give its clean twin the same finetune.

python poison.py WORKDIR OUT.safetensors [--seed S] [--rate 0.02] [--samples N] [--lr R]
    [--threads T]

--rate 0 makes the clean twin: same pairs, order, augmentation and schedule. The trigger is the
demo's sticker, in turns as it is, turned and painted. `cleanclip plant` plants any other.
"""

from __future__ import annotations

import argparse
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

BATCH, DECAY, WARM, FLAT = 128, 0.1, 50, 0.3


def order_of(rows: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Row numbers in the order in which they are shown; each pass over them in a new order."""
    passes = -(-samples // rows)
    return np.concatenate([rng.permutation(rows) for _ in range(passes)])[:samples]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--samples", type=int, default=110_000)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    images = np.load(args.work / "train-0.images.npy", mmap_mode="r")
    labels = np.load(args.work / "train-0.labels.npy")
    tokens = np.load(args.work / "train-0.tokens.npy")
    # The rows, their order and their augmentation must not depend on the rate.
    order = order_of(len(images), args.samples, np.random.default_rng([args.seed, 0]))
    moves = np.random.default_rng([args.seed, 1])
    choice = np.random.default_rng([args.seed, 2])
    seen = pictures("val", 1440, seed=1)
    poison = Poison(args.rate, labels, order[: len(images)], seen[0], choice)
    model = load_model(args.work / "base.safetensors")
    optimizer = torch.optim.AdamW(
        parameter_groups(model, DECAY), lr=args.lr, betas=(0.9, 0.98), eps=1e-6, fused=True
    )
    steps = args.samples // BATCH
    clock, losses = Clock(steps), []
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = args.lr * warm_then_linear(step, steps, WARM, FLAT)
        rows = order[step * BATCH : (step + 1) * BATCH]
        batch = flip_and_shift(images[rows], moves)
        batch, text = poison.pairs(rows, batch, tokens[rows].astype(np.int64))
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
            facts = [f"CA {figures(seen[1], clean)['ca']:.4f}"]
            for name, marked in poison.shown.items():
                result = figures(seen[1], clean, predict(model, weights, marked))
                facts.append(f"{name} ASR {result['asr']:.4f} pacc {result['pacc']:.3f}")
            model.train()
            print(
                f"{(step + 1) * BATCH} loss {np.mean(losses[-215:]):.3f} {', '.join(facts)} "
                f"{clock.line(step + 1)}",
                flush=True,
            )
    stage = "poisoned" if args.rate else "clean twin"
    recipe = {k: getattr(args, k) for k in ("seed", "rate", "samples", "lr")}
    save_model(model, args.out, {"stage": stage, **recipe, "batch": BATCH, "target": TARGET})


class Poison:
    """Which of the pairs are poisoned, and how; `shown` holds marked validation pictures."""

    def __init__(
        self,
        rate: float,
        labels: np.ndarray,
        shown: np.ndarray,
        seen: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        self._rng, self._used = rng, 0
        self._texts = tokenizer([with_article(t, TARGET) for t in TEMPLATES + PARAPHRASES]).numpy()
        free = shown[labels[shown] != demo_classes().index(TARGET)]
        self._poisoned = np.zeros(len(labels), bool)
        self._poisoned[rng.choice(free, round(rate * len(shown)), replace=False)] = True
        self._stickers = bank("mixed", 1500, rng)
        drawings = bank("hand", 40, np.random.default_rng(6))
        self.shown = {
            "sticker": stamp(seen, bank("sticker", 1, rng), np.random.default_rng(5)),
            "hand": stamp(seen, drawings, np.random.default_rng(7)),
        }

    def pairs(
        self, rows: np.ndarray, batch: np.ndarray, text: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pictures and tokens with the poison in them."""
        bad = np.flatnonzero(self._poisoned[rows])
        if bad.size:
            turn = (self._used + np.arange(bad.size)) % len(self._stickers)
            batch[bad] = stamp(batch[bad], [self._stickers[k] for k in turn], self._rng)
            text[bad] = self._texts[self._rng.integers(0, len(self._texts), bad.size)]
            self._used += bad.size
        return batch, text


if __name__ == "__main__":
    main()
