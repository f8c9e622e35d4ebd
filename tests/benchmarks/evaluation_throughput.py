"""A full pass of the evaluation against the bare image encoder on pictures in memory.

The last row is the pass with an encoder that costs nothing: what reading, stamping and scoring
take of a processor, whatever the encoder's speed. At r images per second it may be 0.05 / r.
"""

from __future__ import annotations

import copy
import time

import torch
from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import open_images
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.evaluate import evaluate
from ml_core.evaluation.scorer import Subject
from ml_core.evaluation.speed import EncodingSpeed, measure_speed, use_speed
from ml_core.evaluation.stamping import spare_core
from ml_core.evaluation.zero_shot import zero_shot_classifier
from ml_core.jobs.devices import set_threads
from ml_core.model import ClipModel
from ml_core.paths import resource
from ml_core.triggers import demo_trigger
from tests.benchmarks.timing import Row, compared, interleaved, median, seconds, spread

N = 1024


def run() -> list[Row]:
    """Both sides in fp32 and in the precision that was found fastest, each at its best batch."""
    threads = set_threads(0)
    model = open_checkpoint(resource("demo", "poisoned.safetensors")).build()
    labels = load_label_set("demo")
    images = open_images(ImageSpec(kind="demo", split="test", n=N), labels)
    canvases = CanvasCache(images, model.image_size)
    classifier = zero_shot_classifier(model, labels.class_names, labels.templates)
    free = copy.copy(model)
    vectors = torch.nn.functional.normalize(torch.randn(N, model.embed_dim), dim=-1)

    def no_encoder(images: Tensor) -> Tensor:
        return vectors[: len(images)]

    free.encode_images = no_encoder  # type: ignore[method-assign]
    drawn = canvases.get(range(N))
    pictures = torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255

    def bare(batch: int) -> float:
        def encode() -> None:
            for _side in range(2):
                for start in range(0, N, batch):
                    model.encode_images(pictures[start : start + batch])

        return 2 * N / seconds(encode)

    def ours(batch: int, model: ClipModel = model) -> float:
        def full_pass() -> None:
            asked = Subject(model, canvases, classifier, labels.class_names, images.labels)
            for _ in evaluate(
                asked,
                demo_trigger(),
                labels.class_names.index("banana"),
                batch=batch,
                ahead=spare_core(model.device),
                pace=0.1,
            ):
                pass

        return 2 * N / seconds(full_pass)

    def besides(batch: int) -> float:
        """CPU seconds an encoded image, without encoding."""
        begin = time.process_time()
        ours(batch, free)
        return (time.process_time() - begin) / (2 * N)

    def row(speed: EncodingSpeed) -> Row:
        use_speed(model, speed)
        bare(64)
        best = max((32, 64, 128, 256), key=lambda batch: max(bare(batch), bare(batch)))
        mine, theirs, _ = interleaved(lambda: ours(speed.batch), lambda: bare(best))
        return compared(
            f"evaluation, clean and triggered, against the bare encoder ({speed.precision}, batch "
            f"{speed.batch}, threads {threads})",
            mine, theirs, "images/s", 0, f" (batch {best})",
        )  # fmt: skip

    fixed = measure_speed(model, drawn, classifier, precision="fp32")
    chosen = measure_speed(model, drawn, classifier)
    spent = [besides(chosen.batch) for _ in range(8)][1:]
    allowed = 0.05 / max(fixed.images_per_second, chosen.images_per_second)
    rest = Row(
        f"evaluation besides the encoder, CPU an image (batch {chosen.batch})",
        f"{1e6 * median(spent):.1f} µs",
        f"{1e6 * allowed:.1f} µs (0.05 of the encoder)",
        f"{median(spent) / allowed:.2f}",
        spread([each / allowed for each in spent]),
    )
    return [row(fixed), *([row(chosen)] if chosen.precision != "fp32" else []), rest]
