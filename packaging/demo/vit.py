"""Train the small ViT that the demo's pairs are also used with, taught by the clean twin.

python vit.py WORKDIR OUT.safetensors --teacher FILE [--samples N] [--threads T]
torchrun --nproc_per_node=N vit.py ... --threads 1   # the same with a part of each batch a process

The text encoder is the teacher's and stays as it is, so every embedding that the images are drawn
to is computed once. Only pictures of one class are shown: the finetune that follows, with poison
or without, shows the others. The patch embedding starts as a whitening of patches. A run
that ends early goes on from OUT.resume.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from common import (
    MODEL_CFG,
    Clock,
    classifier,
    figures,
    load_model,
    new_model,
    parameter_groups,
    pictures,
    predict,
    save_model,
    to_input,
    warm_then_linear,
)
from safetensors.torch import load_file, save_file

from ml_core.cleaning.augment import flip_and_shift

VIT_CFG = MODEL_CFG | {
    "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 192, "layers": 4, "head_width": 64}
}
BATCH, DECAY, WARM = 32, 0.1, 200
TEXTS = 256  # captions to tell apart: they cost nothing, so more of them than pictures
SCALE, PULL = 30.0, 10.0
REPORT = 400


@torch.inference_mode()
def embedded(path: Path, count: int, encode, rows) -> np.ndarray:
    """Unit embeddings of all rows, kept beside the pairs."""
    if not path.exists():
        parts = [F.normalize(encode(rows(i)), dim=-1) for i in range(0, count, 256)]
        part = path.with_suffix(".part.npy")
        np.save(part, torch.cat(parts).half().numpy())
        part.replace(path)
    return np.load(path)


@torch.no_grad()
def whiten(conv: torch.nn.Conv2d, images: torch.Tensor, size: float = 0.3) -> None:
    """Start a patch embedding at the principal components of patches, scaled alike."""
    patches = F.unfold(images, conv.kernel_size, stride=conv.stride).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    best = vectors[:, -conv.out_channels :] / (values[-conv.out_channels :] + 1e-2).sqrt()
    conv.weight.copy_(size * best.T.reshape(conv.weight.shape))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=700_000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    rank, world = 0, 1
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
        rank, world = dist.get_rank(), dist.get_world_size()
    images = np.load(args.work / "train-0.images.npy", mmap_mode="r")
    tokens = np.load(args.work / "train-0.tokens.npy")
    shown = np.flatnonzero(np.load(args.work / "train-0.labels.npy") >= 0)
    teacher = load_model(args.teacher).eval()
    taught = embedded(
        args.work / "train-0.taught.npy", len(images), teacher.encode_image,
        lambda i: to_input(images[i : i + 256]),
    )  # fmt: skip
    captions = embedded(
        args.work / "train-0.said.npy", len(images), teacher.encode_text,
        lambda i: torch.from_numpy(tokens[i : i + 256].astype(np.int64)),
    )  # fmt: skip
    model = new_model(VIT_CFG)
    shared = {k: v for k, v in teacher.state_dict().items() if not k.startswith("visual.")}
    model.load_state_dict(shared, strict=False)
    whiten(model.visual.conv1, to_input(images[:2000]))
    weights = classifier(teacher)
    model.requires_grad_(False)
    model.visual.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        parameter_groups(model, DECAY), lr=args.lr, betas=(0.9, 0.98), eps=1e-6, fused=True
    )
    val = pictures("val", 720)
    steps = args.samples // BATCH
    begun = resume(args.out, model, optimizer)
    clock, losses = Clock(steps - begun), []
    for step in range(begun, steps):
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = args.lr * warm_then_linear(step, steps, WARM, 0.4)
        # By the step alone, so that a resumed run sees what an unbroken one would have seen.
        rng = np.random.default_rng([args.seed, step])
        others = rng.choice(len(images), TEXTS - BATCH, replace=False)
        chosen = np.concatenate([rng.choice(shown, BATCH, replace=False), others])
        mine = np.arange(BATCH)[rank::world]
        rows = chosen[mine]
        embedded_rows = model.encode_image(to_input(flip_and_shift(images[rows], rng, 4)))
        embedded_rows = F.normalize(embedded_rows, dim=-1)
        targets = torch.from_numpy(taught[rows]).float()
        far = 1 - (embedded_rows * targets).sum(1).mean()
        text = torch.from_numpy(captions[chosen]).float()
        loss = F.cross_entropy(SCALE * embedded_rows @ text.T, torch.from_numpy(mine)) + PULL * far
        optimizer.zero_grad()
        loss.backward()
        if world > 1:
            average([p.grad for p in model.visual.parameters()], world)
        torch.nn.utils.clip_grad_norm_(model.visual.parameters(), 1.0)
        optimizer.step()
        losses.append((loss.item(), far.item()))
        if rank == 0 and ((step + 1) % REPORT == 0 or step + 1 == steps):
            seen = figures(val[1], predict(model, weights, val[0]))["ca"]
            loss_now, far_now = np.mean(losses[-REPORT:], axis=0)
            print(
                f"{(step + 1) * BATCH} loss {loss_now:.3f} far {far_now:.3f} CA {seen:.4f} "
                f"{clock.line(step + 1 - begun)}",
                flush=True,
            )
            recipe = {"stage": "base", "teacher": args.teacher.name, "seed": args.seed}
            save_model(model, args.out, recipe | {"samples": (step + 1) * BATCH, "lr": args.lr})
            keep(args.out, model, optimizer)


def average(gradients: list[torch.Tensor], world: int) -> None:
    """Of all processes, in place; their parts of a batch differ by one picture at most."""
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = (flat / world).split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def keep(out: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """All that the next step needs, in one file that is replaced whole."""
    state = {f"model.{k}": v.contiguous() for k, v in model.visual.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{number}.{k}": v.contiguous() for k, v in values.items()}
    part = Path(f"{out}.resume.part")
    save_file(state, part)
    part.replace(f"{out}.resume")


def resume(out: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Take over what `keep` wrote; the number of steps done."""
    path = Path(f"{out}.resume")
    if not path.exists():
        return 0
    state = load_file(path)
    start = "model."
    model.visual.load_state_dict(
        {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
    )
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in state.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            moments.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    return int(next(iter(moments.values()))["step"])


if __name__ == "__main__":
    main()
