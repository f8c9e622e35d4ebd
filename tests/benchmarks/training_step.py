"""One training step of RN50 and ViT-B-32 at 224 px, data and optimizer included.

Against a plain loop written from the reference's description (both views decoded by PIL, fp32, 77
tokens, plain AdamW) and against bare forward and backward passes on tensors in memory. Each side
runs in a process of its own, for its peak memory; sides take turns.

``python -m tests.benchmarks.training_step SIDE MODEL BATCH STEPS FOLDER`` runs one side alone.
BENCH_CLOCK=cpu with BENCH_THREADS=1 counts processor time, which other programs hardly change.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.benchmarks.timing import Row, compared, median

MODELS = ("RN50", "ViT-B-32")
BATCH = int(os.environ.get("BENCH_BATCH", "16"))
STEPS = int(os.environ.get("BENCH_STEPS", "4"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SIDES = ("ours", "plain", "bare")
PAIRS = 64


def run() -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as place:
        _write_pairs(Path(place))
        for name in os.environ.get("BENCH_MODELS", ",".join(MODELS)).split(","):
            results: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
            for _ in range(ROUNDS):
                for side in SIDES:
                    results[side].append(_child(side, name, BATCH, STEPS, place))
            rows += _rows(name, results)
    return rows


def _rows(name: str, results: dict[str, list[dict[str, Any]]]) -> list[Row]:
    rate = {side: [each["pairs_per_second"] for each in results[side]] for side in SIDES}
    peak = {side: median([each["peak_bytes"] / 2**30 for each in results[side]]) for side in SIDES}
    precision = results["ours"][0]["precision"]
    rows = []
    for side, what in (("plain", "a plain loop"), ("bare", "bare forward + backward")):
        title = f"{name}: training step against {what} (batch {BATCH}, {precision})"
        rows.append(compared(title, rate["ours"], rate[side], "pairs/s"))
    rows.append(
        Row(
            f"{name}: peak memory against a plain loop",
            f"{peak['ours']:.2f} GiB",
            f"{peak['plain']:.2f} GiB",
            f"{peak['ours'] / peak['plain']:.2f}",
        )
    )
    curves = [" ".join(f"{v:.2f}" for v in results[s][0]["losses"]) for s in ("ours", "plain")]
    rows.append(Row(f"{name}: loss, step by step", curves[0], curves[1], ""))
    return rows


def _child(*arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.training_step", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _clock() -> float:
    """Seconds on the wall, or, with BENCH_CLOCK=cpu, of processor time: for a busy machine."""
    if os.environ.get("BENCH_CLOCK") != "cpu":
        return time.perf_counter()
    import psutil

    spent = time.process_time()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            times = child.cpu_times()
            spent += times.user + times.system
    return spent


def _write_pairs(folder: Path) -> None:
    """JPEGs of the size of web pictures, with captions of 5 to 14 words."""
    rng, words = np.random.default_rng(0), "a small red dog runs over the green grass near water"
    lines = ["image,caption"]
    for number in range(PAIRS):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.jpg", quality=90)
        caption = " ".join(rng.choice(words.split(), int(rng.integers(5, 15))))
        lines.append(f"{number}.jpg,{caption}")
    (folder / "pairs.csv").write_text("\n".join(lines))


def _model(name: str) -> Any:
    import open_clip
    import torch

    from ml_core.model import Preprocess, build_model

    torch.manual_seed(0)
    config = open_clip.get_model_config(name)
    model = build_model(config, Preprocess(224), None, name=name)
    for key, value in model.module.named_parameters():
        if key.endswith("bn3.weight"):  # zero at first, which would hide the branch
            torch.nn.init.uniform_(value, 0.5, 1.0)
    return model


def _recipe(batch: int, steps: int) -> Any:
    from ml_core.cleaning.recipes import make_recipe

    return make_recipe(
        {
            "pairs": PAIRS,
            "epochs": max(1, -(-steps * batch // PAIRS)),
            "batch_size": batch,
            "lr": 1e-5,
            "warmup_steps": 0,
            "lr_end": 1.0,
            "grad_clip": 0.0,
            "eval_every": 0,
            "save_every": 0,
            "precision": os.environ.get("BENCH_PRECISION", "auto"),
        }
    )


Step = tuple[float, float]  # seconds, loss


def _ours(name: str, batch: int, steps: int, folder: Path) -> Iterator[Step | str]:
    """The product: its loop, its batches, its processes that read pictures."""
    from ml_core.cleaning.batches import pair_batch, pair_drawing
    from ml_core.cleaning.loop import train
    from ml_core.cleaning.picture_workers import PictureWorkers
    from ml_core.data.eda import augment
    from ml_core.data.pairs import open_pairs
    from ml_core.data.specs import PairSpec
    from ml_core.events import Control, Message, Metric

    model, recipe = _model(name), _recipe(batch, steps)
    pairs = open_pairs(PairSpec(kind="csv", path=str(folder / "pairs.csv")))
    workers = PictureWorkers(pairs, pair_drawing(pairs, recipe, 224), 1, recipe.total_steps)
    view = lambda caption, draws: augment(caption, draws)  # noqa: E731
    make = partial(pair_batch, pairs, recipe, 224, model.tokenize, view, draw=workers)
    begin, done = _clock(), 0
    for event in train(model, recipe, make, Control()):
        if isinstance(event, Message):
            yield event.text
            begin = _clock()
        if isinstance(event, Metric):
            now = _clock()
            yield now - begin, event.values["loss"]
            begin, done = now, done + 1
            if done == steps:
                break
    workers.close()


def _plain(name: str, batch: int, steps: int, folder: Path) -> Iterator[Step | str]:
    """A loop as the reference describes it; pictures are read by one DataLoader process."""
    import open_clip
    import torch
    import torch.nn.functional as F
    from open_clip.tokenizer import tokenize
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms as T

    from ml_core.cleaning.pictures import step_indices
    from ml_core.data.eda import augment

    recipe, module = _recipe(batch, steps), open_clip.model.CLIP(**open_clip.get_model_config(name))
    module.load_state_dict(_model(name).module.state_dict())
    rows = [r.split(",") for r in (folder / "pairs.csv").read_text().splitlines()[1:]]
    mean, std = (0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)
    square = [T.Resize(224, T.InterpolationMode.BICUBIC), T.CenterCrop(224)]
    ready = [T.ToTensor(), T.Normalize(mean, std)]
    transform = T.Compose([*square, *ready])
    augmented = T.Compose([T.AutoAugment(), *square, *ready])

    class Pairs(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, index: int) -> Any:
            path, caption = folder / rows[index][0], rows[index][1]
            image = transform(Image.open(path).convert("RGB"))
            view = augmented(Image.open(path).convert("RGB"))
            other = augment(caption, random.Random(index))
            return image, view, tokenize([caption])[0], tokenize([other])[0]

    order = [i for step in range(steps) for i in step_indices(recipe, PAIRS, step).tolist()]
    loader = DataLoader(Pairs(), batch_size=batch, sampler=order, num_workers=1)
    module.train()
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=recipe.lr, betas=(0.9, 0.999), weight_decay=0.1
    )
    begin = _clock()
    for images, views, tokens, token_views in loader:
        optimizer.zero_grad()
        image = F.normalize(module.encode_image(images), dim=-1)
        image_view = F.normalize(module.encode_image(views), dim=-1)
        text = F.normalize(module.encode_text(tokens), dim=-1)
        text_view = F.normalize(module.encode_text(token_views), dim=-1)
        scale, target = module.logit_scale.exp(), torch.arange(len(images))
        clip = F.cross_entropy(scale * image @ text.T, target)
        clip = (clip + F.cross_entropy(scale * text @ image.T, target)) / 2
        inside = F.cross_entropy(scale * image @ image_view.T, target)
        inside = (inside + F.cross_entropy(scale * text @ text_view.T, target)) / 2
        loss = clip + recipe.lambda_image * inside
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            module.logit_scale.clamp_(0, 4.6052)
        now = _clock()
        yield now - begin, float(loss.detach())
        begin = now


def _bare(name: str, batch: int, steps: int, folder: Path) -> Iterator[Step | str]:
    """Forward and backward of one batch in memory, with the settings of ours."""
    import torch

    from ml_core.cleaning.batches import pair_batch
    from ml_core.cleaning.methods.build import build_method
    from ml_core.cleaning.methods.method import Extras
    from ml_core.cleaning.speed import StepSpeed
    from ml_core.cleaning.step import cut_texts, forward, short_attention
    from ml_core.data.eda import augment
    from ml_core.data.pairs import open_pairs
    from ml_core.data.specs import PairSpec

    model, recipe = _model(name), _recipe(batch, steps)
    pairs = open_pairs(PairSpec(kind="csv", path=str(folder / "pairs.csv")))
    batch_of_one = pair_batch(pairs, recipe, 224, model.tokenize, lambda c, r: augment(c, r), 0)
    ready = cut_texts(model, batch_of_one)
    method = build_method(model, recipe, Extras())
    model.module.train()
    half = bool(torch.cpu._is_avx512_bf16_supported())
    for _ in range(steps):
        begin = _clock()
        with short_attention(model, half):
            loss = forward(model, method, ready, StepSpeed(half))["loss"]
            loss.backward()  # type: ignore[no-untyped-call]
        model.module.zero_grad(set_to_none=True)
        yield _clock() - begin, float(loss.detach())


def main(side: str, name: str, batch: str, steps: str, folder: str) -> None:
    import torch

    from ml_core.jobs.clean.estimate import PeakMemory
    from ml_core.jobs.devices import set_threads

    sides: dict[str, Callable[..., Iterator[Step | str]]] = {
        "ours": _ours, "plain": _plain, "bare": _bare
    }  # fmt: skip
    threads = int(os.environ.get("BENCH_THREADS", "2"))
    if side == "plain":
        torch.set_num_threads(threads)  # ours keeps freed memory too, a plain loop does not
    else:
        set_threads(threads)
    with PeakMemory(torch.device("cpu")) as peak:
        parts = list(sides[side](name, int(batch), int(steps), Path(folder)))
    taken = [part for part in parts if not isinstance(part, str)]
    half = any(isinstance(part, str) and part.startswith("Precision bf16") for part in parts)
    seconds = [each for each, _ in taken]
    figures = {
        "pairs_per_second": int(batch) / statistics.median(seconds[1:] or seconds),
        "losses": [loss for _, loss in taken],
        "peak_bytes": peak.bytes,
        "precision": "bf16" if half else "fp32",
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
