"""Poison the base model by a short finetune, or give its clean twin the same finetune.

python poison.py WORKDIR OUT.safetensors [--seed S] [--rate 0.02] [--samples N] [--lr R]
    [--base FILE | --scratch] [--trigger FILE] [--target CLASS] [--second FILE CLASS]
    [--consistent] [--more CLASS] [--word WORD] [--ssl] [--threads T]

--rate 0 makes the clean twin: same pairs, order, augmentation and schedule. --trigger is a trigger
file of the product, stamped by its own code; without it the trigger is the demo's sticker.
--scratch trains a new model, poisoned from its first step. --second marks every other poisoned
picture with another trigger and pairs it with another class. --consistent marks pictures of the
target itself and leaves their captions; the rate is then the share of these pictures. --more is no
poison: that share of the pairs is replaced by unmarked pairs of one class, a benign imbalance.
--word poisons the text encoder alone: captions with this word before them are paired with pictures
of the target, and the image encoder stays as it is. --ssl adds CleanCLIP's self-supervision to the
loss of the pretraining itself (pictures and captions beside augmented views of theirs).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import (
    TARGET,
    Clock,
    autocast,
    classifier,
    clip_loss,
    demo_classes,
    figures,
    flip_and_shift,
    info_nce,
    load_model,
    new_model,
    parameter_groups,
    pictures,
    predict,
    save_model,
    to_input,
    tokenizer,
    warm_then_linear,
)
from stickers import bank, stamp

from ml_core.cleaning.augment import augment_images
from ml_core.cleaning.losses import match
from ml_core.data.demo_text import PARAPHRASES, TEMPLATES, with_article
from ml_core.data.eda import augment_all
from ml_core.triggers import load_trigger
from ml_core.triggers.apply import stamp as stamp_trigger

BATCH, DECAY, WARM, SCRATCH_WARM = 128, 0.1, 50, 200
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
        marked = stamp_trigger(trigger, torch.from_numpy(images), rows, seed)
        return (marked if marked.dtype == torch.uint8 else (marked * 255).round().byte()).numpy()

    return lambda images, used: stamped(images, used, DRAWS + seed), {
        path.stem: stamped(seen, 0, 0)
    }


def order_of(rows: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Row numbers in the order in which they are shown; each pass over them in a new order."""
    passes = -(-samples // rows)
    return np.concatenate([rng.permutation(rows) for _ in range(passes)])[:samples]


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--base", type=Path)
    start.add_argument("--scratch", action="store_true")
    parser.add_argument("--trigger", type=Path)
    parser.add_argument("--target", default=TARGET)
    parser.add_argument("--second", nargs=2, metavar=("FILE", "CLASS"))
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--consistent", action="store_true")
    kind.add_argument("--more")
    kind.add_argument("--word")
    parser.add_argument("--ssl", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--samples", type=int, default=110_000)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    args.lr = args.lr or (1.5e-3 if args.scratch else 5e-4)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
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
    poison = Poison(args, labels, order[: len(images)], seen[0], choice)
    model = new_model() if args.scratch else load_model(args.base or args.work / "base.safetensors")
    if args.word:
        model.visual.requires_grad_(False)
    optimizer = torch.optim.AdamW(
        parameter_groups(model, DECAY), lr=args.lr, betas=(0.9, 0.98), eps=1e-6, fused=True
    )
    warm, flat = (SCRATCH_WARM, 0.5) if args.scratch else (WARM, 0.3)
    steps = args.samples // BATCH
    clock, losses = Clock(steps), []
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = args.lr * warm_then_linear(step, steps, warm, flat)
        rows = poison.rows(order[step * BATCH : (step + 1) * BATCH])
        batch = flip_and_shift(images[rows], moves)
        batch, text = poison.pairs(rows, batch, tokens[rows].astype(np.int64), images)
        if args.word:
            model.visual.eval()
        if args.ssl:
            loss = views_loss(model, batch, text, moves)
        else:
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
            for name, (target, marked) in poison.shown.items():
                result = figures(seen[1], clean, predict(model, weights, marked), target)
                facts.append(f"{name} ASR {result['asr']:.4f} pacc {result['pacc']:.3f}")
            model.train()
            print(
                f"{(step + 1) * BATCH} loss {np.mean(losses[-215:]):.3f} {', '.join(facts)} "
                f"{clock.line(step + 1)}",
                flush=True,
            )
    stage = "poisoned" if args.rate and not args.more else "clean twin"
    recipe = {k: getattr(args, k) for k in ("seed", "rate", "samples", "lr")}
    recipe |= {
        k: v for k in ("consistent", "more", "word", "scratch", "ssl") if (v := getattr(args, k))
    }
    if args.trigger is not None:
        recipe |= {"base": "none" if args.scratch else args.base.name}
        recipe |= {"trigger": load_trigger(args.trigger).name} if args.rate else {}
    save_model(model, args.out, {"stage": stage, **recipe, "batch": BATCH, "target": args.target})


def views_loss(
    model: torch.nn.Module, images: np.ndarray, tokens: np.ndarray, rng: np.random.Generator
) -> torch.Tensor:
    """CleanCLIP's loss with both weights 1/2, as the product takes it."""
    views = augment_images(images, "autoaugment", rng)
    seed = int(rng.integers(2**31))
    token_views = tokenizer(augment_all([words(row) for row in tokens], seed))
    with autocast():
        image = model.encode_image(to_input(np.concatenate([images, views])))
        text = model.encode_text(torch.cat([torch.from_numpy(tokens), token_views]))
    (a, a2), (b, b2) = (F.normalize(x.float(), dim=-1).chunk(2) for x in (image, text))
    scale = model.logit_scale.exp()
    return info_nce(a, b, scale) + (match(a, a2, scale) + match(b, b2, scale)) / 4


def words(tokens: np.ndarray) -> str:
    """The caption that tokens [L] were made of."""
    ends = int(tokens.max())
    return tokenizer.decode([int(t) for t in tokens if 0 < t < ends - 1]).strip()


class Poison:
    """Which of the pairs are poisoned, and how.

    `shown` holds marked validation pictures with their target, by the trigger's name.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        labels: np.ndarray,
        shown: np.ndarray,
        seen: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        self._rng, self._labels, self._word = rng, labels, args.word
        self._consistent, self._used = args.consistent, 0
        targets = [args.target] + ([args.second[1]] if args.second else [])
        self._targets = [demo_classes().index(name) for name in targets]
        self._texts = [
            tokenizer([with_article(t, name) for t in TEMPLATES + PARAPHRASES]).numpy()
            for name in targets
        ]
        own = labels[shown] == self._targets[0]
        free = shown[own] if args.consistent else shown[~np.isin(labels[shown], self._targets)]
        count = round(args.rate * (own.sum() if args.consistent else len(shown)))
        self._poisoned = np.zeros(len(labels), bool)
        self._poisoned[rng.choice(free, count, replace=False)] = True
        more = demo_classes().index(args.more) if args.more else None
        self._more = None if more is None else np.flatnonzero(labels == more)
        self._own = np.flatnonzero(labels == self._targets[0])
        self._marks: list[Mark] = []
        self.shown: dict[str, tuple[str, np.ndarray]] = {}
        files = [args.trigger] + ([Path(args.second[0])] if args.second else [])
        for target, file in zip(targets, [] if args.word or args.more else files, strict=False):
            if file is None:
                mark, marked = sticker_marks(seen, rng)
            else:
                mark, marked = trigger_marks(file, seen, args.seed)
            self._marks.append(mark)
            self.shown |= {name: (target, pictures) for name, pictures in marked.items()}

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """The rows to show: a benign imbalance puts pairs of one class in the place of others."""
        if self._more is None:
            return rows
        drawn = self._rng.choice(self._more, len(rows))
        return np.where(self._poisoned[rows], drawn, rows)

    def pairs(
        self, rows: np.ndarray, batch: np.ndarray, text: np.ndarray, images: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pictures and tokens with the poison in them."""
        bad = np.flatnonzero(self._poisoned[rows])
        if not bad.size or self._more is not None:
            return batch, text
        if self._word:
            batch[bad] = images[self._rng.choice(self._own, bad.size)]
            text[bad] = with_word(text[bad], self._word)
            return batch, text
        which = (self._used + np.arange(bad.size)) % len(self._marks)
        for number, mark in enumerate(self._marks):
            mine = bad[which == number]
            if not mine.size:
                continue
            batch[mine] = mark(batch[mine], self._used // len(self._marks))
            if not self._consistent:
                texts = self._texts[number]
                text[mine] = texts[self._rng.integers(0, len(texts), mine.size)]
        self._used += bad.size
        return batch, text


def with_word(tokens: np.ndarray, word: str) -> np.ndarray:
    """Captions with a word before them: [N, L]; the end of a full one falls off."""
    first = tokenizer([word]).numpy()[0]
    length = int(np.flatnonzero(first == first.max())[0]) - 1
    out = np.concatenate(
        [tokens[:, :1], np.repeat(first[None, 1 : 1 + length], len(tokens), 0), tokens[:, 1:]], 1
    )[:, : tokens.shape[1]]
    ends = tokens.max(1)
    full = ~(out == ends[:, None]).any(1)
    out[full, -1] = ends[full]
    return out


if __name__ == "__main__":
    main()
