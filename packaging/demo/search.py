"""Try a cleaning recipe and score it on validation pictures.

python search.py WORKDIR POISONED.safetensors --method cleanclip --lr 1.5e-3 [...]

Prints one line at each tenth of the run; the last one counts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import (
    autocast,
    classifier,
    figures,
    info_nce,
    load_model,
    parameter_groups,
    pictures,
    predict,
    save_model,
    shuffled,
    to_input,
    warm_then_cosine,
)
from stickers import bank, stamp

from ml_core.cleaning.augment import flip_and_shift


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--method", choices=("cleanclip", "mmcl", "supervised"))
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--end", type=float, default=0.0, help="final rate / peak")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=40_000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lam", type=float, default=0.5)
    parser.add_argument("--warm", type=int, default=50)
    parser.add_argument("--decay", type=float, default=0.1)
    parser.add_argument("--beta2", type=float, default=0.999)
    parser.add_argument("--move", action="store_true", help="flips and 4-px shifts")
    parser.add_argument("--bn-momentum", type=float, default=0.1)
    parser.add_argument("--head", choices=("random", "zero-shot"), default="zero-shot")
    parser.add_argument("--head-rate", type=float, default=1.0, help="head rate / encoder rate")
    parser.add_argument("--plain", action="store_true", help="supervised: no AutoAugment")
    parser.add_argument("--smooth", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reports", type=int, default=3)
    parser.add_argument("--save", type=Path)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(args.seed)
    load = {
        name: np.load(args.work / f"clean-0.{name}.npy", mmap_mode="r")
        for name in ("images", "tokens", "labels", "views", "words")
    }
    marks = validation()
    model = load_model(args.model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = args.bn_momentum
    rows_of = np.arange(min(args.pairs, len(load["images"])))
    groups = parameter_groups(model, args.decay)
    head, scale = None, model.logit_scale.exp().item()
    if args.method == "supervised":
        labels = load["labels"][:]
        rows_of = np.flatnonzero(labels >= 0)[: args.pairs]
        start = classifier(model)
        if args.head == "random":
            start = F.normalize(torch.randn(start.shape), dim=-1)
        head = torch.nn.Parameter(start.clone())
        groups = parameter_groups(model.visual, args.decay)
        groups.append({"params": [head], "weight_decay": 0.0, "rate": args.head_rate})
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, args.beta2), fused=True)
    steps = len(rows_of) // args.batch * args.epochs
    report(model, marks, "start", head)
    began, measured, losses = time.time(), 0.0, []
    model.train()
    for step, picked in zip(range(steps), shuffled(len(rows_of), args.batch, rng), strict=False):
        rows = rows_of[picked]
        factor = args.end + (1 - args.end) * warm_then_cosine(step, steps, args.warm)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * factor * group.get("rate", 1.0)
        loss = step_loss(model, args, load, rows, head, scale, rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
        losses.append(loss.item())
        if (step + 1) % max(1, steps // args.reports) == 0 or step + 1 == steps:
            paused = time.time()
            spent = paused - began - measured
            report(model, marks, f"{step + 1}/{steps} loss {np.mean(losses[-50:]):.3f}", head)
            print(f"    {spent:.0f} s of training", flush=True)
            measured += time.time() - paused
            model.train()
    if args.save:
        save_model(model, args.save, {"stage": "cleaned", "method": args.method})


def step_loss(model, args, load, rows, head, scale, rng) -> torch.Tensor:
    def image(name: str) -> torch.Tensor:
        batch = load[name][rows]
        return to_input(flip_and_shift(batch, rng, 4) if args.move else batch)

    def tokens(name: str) -> torch.Tensor:
        return torch.from_numpy(load[name][rows].astype(np.int64))

    if args.method == "supervised":
        with autocast():
            out = model.encode_image(image("images" if args.plain else "views"))
        logits = scale * F.normalize(out.float(), dim=-1) @ F.normalize(head, dim=-1).T
        labels = torch.from_numpy(load["labels"][rows])
        return F.cross_entropy(logits, labels, label_smoothing=args.smooth)
    factor = model.logit_scale.exp()
    if args.method == "mmcl":
        with autocast():
            a, b = model.encode_image(image("images")), model.encode_text(tokens("tokens"))
        return info_nce(F.normalize(a.float(), dim=-1), F.normalize(b.float(), dim=-1), factor)
    with autocast():
        a, a2 = model.encode_image(image("images")), model.encode_image(image("views"))
        both = model.encode_text(torch.cat([tokens("tokens"), tokens("words")]))
    a, a2, both = (F.normalize(x.float(), dim=-1) for x in (a, a2, both))
    b, b2 = both.chunk(2)
    same = torch.arange(len(a))
    inmodal = F.cross_entropy(factor * a @ a2.T, same) + F.cross_entropy(factor * b @ b2.T, same)
    return info_nce(a, b, factor) + args.lam * inmodal / 2


def validation() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Clean, stamped and hand-painted validation pictures, and the unseen style."""
    images, labels = pictures("val", 2160, seed=2)
    rng = np.random.default_rng(11)
    return {
        "val": (images, labels),
        "held-out": pictures("heldout", 1440, seed=2),
        "sticker": (stamp(images, bank("sticker", 1, rng), rng), labels),
        "hand": (stamp(images, bank("hand", 60, rng), rng), labels),
    }


def report(model, marks, title: str, head: torch.Tensor | None) -> None:
    tables = {"zero-shot": classifier(model)}
    if head is not None:
        tables["head"] = F.normalize(head.detach(), dim=-1)
    model.eval()
    for name, weights in tables.items():
        predicted = {key: predict(model, weights, images) for key, (images, _) in marks.items()}
        labels = marks["val"][1]
        sticker = figures(labels, predicted["val"], predicted["sticker"])
        hand = figures(labels, predicted["val"], predicted["hand"])
        unseen = figures(marks["held-out"][1], predicted["held-out"])["ca"]
        print(
            f"{title} {name}: CA {100 * sticker['ca']:.1f} held-out {100 * unseen:.1f} "
            f"ASR {100 * sticker['asr']:.1f} hand {100 * hand['asr']:.1f} "
            f"pacc {100 * sticker['pacc']:.1f} scale {model.logit_scale.exp().item():.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
