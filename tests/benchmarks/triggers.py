"""Triggered model input from cached pictures, against the per-image way of the papers' code.

The other side is written from its description: each picture is resized to a square by Pillow,
becomes a float tensor, gets its trigger, goes back to Pillow and through CLIP's preprocessing.
Its pictures are decoded already and have 640 x 480 pixels, ours come from the canvas cache; a
last row gives it pictures of 224 x 224, which leaves it nothing to resize. It counts only where
it takes what the reference takes on a common machine: 4 to 5 ms an image within a factor of 1.5,
and 970 ms for SIG, whose sine is filled in pixel by pixel.

Both sides have one thread, and its own processor time is measured: other programs then disturb
neither side by taking turns with it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision import transforms

from ml_core.children import keep_freed_memory
from ml_core.model import normalise
from ml_core.triggers.apply import stamp
from ml_core.triggers.published import published
from ml_core.triggers.record import Trigger
from tests.benchmarks.timing import RUNS, Row, median, spread

COUNT = 1000
SIDE = 224
BATCH = 8
SAMPLE = 40  # pictures of the slow side in one turn
SOURCE = (640, 480)
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
GOALS = {"T1": 20, "T2": 20, "T8": 20, "T16": 20, "T4": 4, "T9": 4, "T6": 4, "T5a": 300, "T5b": 300}

Way = Callable[[Tensor], Tensor]


def pictures() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Smooth random pictures at the model's input size, as the canvas cache has them."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (COUNT, 14, 14, 3), np.uint8)
    size = (SIDE, SIDE)
    return np.stack([np.asarray(Image.fromarray(p).resize(size)) for p in small])


def _noise_patch(image: Tensor) -> Tensor:
    return image.mean((1, 2), keepdim=True) + torch.randn(3, 16, 16)


def _anywhere(patch: Callable[[Tensor], Tensor]) -> Way:
    def way(image: Tensor) -> Tensor:
        top, left = random.randint(0, 207), random.randint(0, 207)
        image[:, top : top + 16, left : left + 16] = patch(image)
        return image

    return way


def _centre(image: Tensor) -> Tensor:
    grid = torch.zeros(3, 16, 16)
    grid[:, ::2, ::2] = 1
    image[:, 104:120, 104:120] = grid
    return image


def _yellow(image: Tensor) -> Tensor:
    return torch.cat([torch.ones(2, 16, 16), torch.zeros(1, 16, 16)])


def _signs(*shape: int) -> Tensor:
    return torch.sign(2 * torch.rand(shape) - 1)


def _blend(pattern: Callable[[], Tensor], weight: float) -> Way:
    def way(image: Tensor) -> Tensor:
        return torch.clip(weight * pattern() + (1 - weight) * image, 0, 1)

    return way


def _sine() -> Tensor:
    """Value by value, as the reference fills it in."""
    sine = torch.zeros(3, SIDE, SIDE)
    for i in range(SIDE):
        for j in range(SIDE):
            for k in range(3):
                sine[k, i, j] = (60 / 255) * np.sin(2 * np.pi * j * 6 / SIDE)
    return sine


def _warp() -> Way:
    noise = torch.rand(1, SIDE, SIDE, 2) * 2 - 1
    noise = noise / noise.abs().mean()

    def way(image: Tensor) -> Tensor:
        line = torch.linspace(-1, 1, SIDE)
        y, x = torch.meshgrid(line, line, indexing="ij")
        grid = torch.clamp(torch.stack((x, y), 2)[None] + noise / SIDE, -1, 1)
        return functional.grid_sample(image[None], grid, align_corners=True)[0]

    return way


def one_by_one(images: list[Image.Image], way: Way) -> Tensor:
    """The per-image way."""
    to_tensor, to_picture = transforms.ToTensor(), transforms.ToPILImage()
    prepare = transforms.Compose(
        [
            transforms.Resize(SIDE, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(SIDE),
            lambda picture: picture.convert("RGB"),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    prepared = []
    for image in images:
        triggered = way(to_tensor(image.resize((SIDE, SIDE))))
        prepared.append(prepare(to_picture(triggered)))
    return torch.stack(prepared)


def batched(canvases: Tensor, trigger: Trigger) -> None:
    """Ours: model input for the whole set, batch by batch."""
    for start in range(0, len(canvases), BATCH):
        part = canvases[start : start + BATCH]
        indices = torch.arange(start, start + len(part))
        marked = stamp(trigger, part, indices, 0).permute(0, 3, 1, 2)
        normalise(marked, MEAN, STD)


def _sides() -> Iterator[tuple[str, str, Way, int]]:
    """Trigger, what it is, the other side, and how many pictures that gets in one turn."""
    yield "T1", "patch of noise", _anywhere(_noise_patch), SAMPLE
    yield "T2", "yellow patch", _anywhere(_yellow), SAMPLE
    stripes = _anywhere(lambda _: _signs(3, 1, 16).expand(3, 16, 16))
    yield "T8", "patch of stripes", stripes, SAMPLE
    yield "T16", "white grid", _centre, SAMPLE
    yield "T4", "blended noise", _blend(lambda: torch.rand(3, SIDE, SIDE), 0.2), SAMPLE
    bars = _blend(lambda: _signs(3, 1, SIDE).expand(3, SIDE, SIDE), 0.03)
    yield "T9", "blended stripes", bars, SAMPLE
    yield "T6", "WaNet", _warp(), SAMPLE
    yield "T5a", "SIG, blended", _blend(_sine, 0.2), 1
    yield "T5b", "SIG, added", lambda image: torch.clip(_sine() + image, 0, 1), 1


def processor_seconds(act: Callable[[], object]) -> float:
    begin = time.process_time()
    act()
    return time.process_time() - begin


def run() -> list[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        canvases = torch.from_numpy(pictures())
        small = [Image.fromarray(picture) for picture in canvases[:SAMPLE].numpy()]
        large = [picture.resize(SOURCE) for picture in small]
        sides = list(_sides())
        rows = [_row(canvases, large, *side) for side in sides]
        return [*rows, *(_row(canvases, small, *sides[n], at="224 x 224") for n in (1, 4, 6))]
    finally:
        torch.set_num_threads(threads)


def _row(
    canvases: Tensor,
    images: list[Image.Image],
    name: str,
    what: str,
    way: Way,
    count: int,
    at: str = "",
) -> Row:
    """Both sides in turn; milliseconds an image."""
    trigger = published(name)
    some = images[:count]
    batched(canvases[: 4 * BATCH], trigger)
    pairs = []
    for _ in range(RUNS):
        ours = 1000 * processor_seconds(lambda: batched(canvases, trigger)) / COUNT
        theirs = 1000 * processor_seconds(lambda: one_by_one(some, way)) / count
        pairs.append((ours, theirs))
    ours, theirs = median([a for a, _ in pairs]), median([b for _, b in pairs])
    ratios = [b / a for a, b in pairs]
    low, high = (970 / 1.5, 970 * 1.5) if name.startswith("T5") else (4 / 1.5, 5 * 1.5)
    inside = "" if low <= theirs <= high else f" (not in {low:.1f} to {high:.1f})"
    goal = f"theirs from {at}, no goal" if at else f"goal {GOALS[name]}x"
    return Row(
        f"{name} {what}, {goal}",
        f"{ours:.3f} ms an image",
        f"{theirs:.2f} ms{inside}",
        f"{median(ratios):.1f}x",
        spread(ratios, 1),
    )
