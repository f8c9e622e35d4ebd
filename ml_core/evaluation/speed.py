"""Which arithmetic, memory layout and batch size encode fastest here without changing answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.cache import ResultCache
from ml_core.evaluation.race import ROUNDS, race
from ml_core.evaluation.stamping import to_pictures
from ml_core.evaluation.zero_shot import class_logits
from ml_core.figures import percent
from ml_core.reading.errors import CancelledError

if TYPE_CHECKING:
    from ml_core.model import ClipModel

Precision = Literal["fp32", "bf16"]
AGREEMENT = 0.995
SAMPLE = 400
SMALLEST_SAMPLE = 200
_WORTH_IT = 1.05
_BATCHES = {
    "cpu": (1, 2, 4, 8, 16, 32, 64, 128, 256),
    "cuda": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
}
_PASS_SECONDS = 0.4
_SECONDS = 10.0
_OWN_SHARE = 0.7  # of a processor; with less, other programs were measured too


@dataclass(frozen=True)
class Tried:
    """One way to encode: its speed at the same batch size, and how often its top-1 is fp32's."""

    precision: Precision
    layout: str
    images_per_second: float
    agreement: float | None = None


@dataclass(frozen=True)
class EncodingSpeed:
    """How a model encodes on a device.

    Attributes
    ----------
    precision, layout, batch
        Chosen: ``fp32`` or ``bf16`` (autocast), ``contiguous`` or ``channels-last``, images a call.
    images_per_second
        Measured speed of the choice.
    agreement, n
        Share of `n` sample images whose top-1 class is that of fp32; None where nothing but fp32
        was asked.
    device, threads
        Where it was measured.
    tried
        All that was measured.
    why
        In words, for the screen and the record.
    busy
        Other programs had the processor for much of the time: the next question measures anew.
    """

    precision: Precision
    layout: str
    batch: int
    images_per_second: float
    agreement: float | None
    n: int
    device: str
    threads: int
    tried: tuple[Tried, ...] = ()
    why: str = ""
    busy: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


Cancelled = Callable[[], bool]

_measured: ResultCache[tuple[str, ...], EncodingSpeed] = ResultCache(8)


def speed_of(
    model: ClipModel,
    images: NDArray[np.uint8],
    classifier: Tensor,
    *,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    encodes: int = 0,
    cancelled: Cancelled = lambda: False,
) -> EncodingSpeed:
    """As `measure_speed`, with a cache by model, device and threads; a busy time is not kept."""

    def measure() -> EncodingSpeed:
        return measure_speed(
            model, images, classifier, precision=precision, encodes=encodes, cancelled=cancelled
        )

    if model.identity is None:
        return measure()
    place = (str(model.device), str(torch.get_num_threads()))
    key = (model.identity, *place, precision)
    speed = _measured.get(key, measure)
    if speed.busy:
        _measured.forget(key)
    return speed


@torch.no_grad()
def measure_speed(
    model: ClipModel,
    images: NDArray[np.uint8],
    classifier: Tensor,
    *,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    seconds: float = _SECONDS,
    encodes: int = 0,
    cancelled: Cancelled = lambda: False,
) -> EncodingSpeed:
    """Time fp32 and bf16 in both memory layouts, interleaved; keep the fastest that agrees.

    The model is left as it was; see `use_speed`. On CUDA the device is waited for; bf16 is tried
    where torch says that the device has it, on MPS never. A CPU that takes more than twice as long
    at its first batch in bf16 emulates it: it is given up at once.

    Parameters
    ----------
    model
        In evaluation mode.
    images
        uint8 [n, S, S, 3], a sample of those to be encoded; the first `SAMPLE` are used.
    classifier
        float32 [C, D].
    precision
        ``auto`` measures; anything else fixes the arithmetic, and layout and batch are measured.
    seconds
        What may be spent. A model so slow that `SMALLEST_SAMPLE` images take longer stays fp32.
    encodes
        Images to be encoded afterwards: three per cent of their time may be spent too.
    cancelled
        Asked before each encoding.

    Raises
    ------
    CancelledError
        If it was cancelled; the model is as it was.
    """
    before = model.precision, model.channels_last
    begin = time.perf_counter(), time.thread_time()
    sample = images[:SAMPLE]
    classifier = classifier.to(model.device)
    names: list[Precision] = ["fp32", "bf16"] if precision == "auto" else [precision]
    if precision == "auto" and not has_bf16(model.device):
        names = ["fp32"]
    layouts = [model.layout, *({"contiguous", "channels-last"} - {model.layout})]
    try:
        use_way(model, names[0], layouts[0])
        _seconds(model, sample[:1], cancelled)
        rate = 1 / _seconds(model, sample[:1], cancelled)
        seconds = max(seconds, 0.03 * encodes / rate)
        batch = int(np.clip(2 ** int(np.log2(max(1.0, rate * _PASS_SECONDS))), 1, 64))
        rates, given_up = _race(model, names, layouts, sample, batch, seconds / 4, cancelled)
        fast = max(rates.values()) >= SMALLEST_SAMPLE / (seconds / 2)
        enough = len(sample) >= min(SMALLEST_SAMPLE, len(images)) and fast
        agreements: dict[tuple[Precision, str], float] = {}
        if "bf16" in names and not given_up and (enough or precision == "bf16"):
            shown = sample if fast else sample[: max(1, batch)]
            agreements = _agreements(model, rates, shown, classifier, batch, cancelled)
            checked = len(shown)
        else:
            checked = 0
        usable = {
            way: speed
            for way, speed in rates.items()
            if way[0] == "fp32" or precision == "bf16" or agreements.get(way, 0.0) >= AGREEMENT
        }
        first = names[0], layouts[0]
        best = max(usable, key=lambda way: usable[way])
        if usable[best] < _WORTH_IT * usable[first]:
            best = first
        use_way(model, *best)
        size, reached = _best_batch(model, sample, usable[best], seconds / 4, cancelled)
    finally:
        _restore(model, *before)
    busy = model.device.type == "cpu" and _was_busy(*begin)
    return EncodingSpeed(
        precision=best[0],
        layout=best[1],
        batch=size,
        images_per_second=reached,
        agreement=agreements.get(best),
        n=checked,
        device=str(model.device),
        threads=torch.get_num_threads(),
        tried=tuple(Tried(*way, speed, agreements.get(way)) for way, speed in rates.items()),
        why=_why(best, rates, agreements, checked, precision, slow=not fast, given_up=given_up)
        + ("; other programs were busy meanwhile" if busy else ""),
        busy=busy,
    )


def use_speed(model: ClipModel, speed: EncodingSpeed) -> None:
    """Let a model encode as was measured."""
    use_way(model, speed.precision, speed.layout)


def forget_speed(model: ClipModel) -> None:
    """Let a model encode as when it was opened: fp32, and the layout of its kind."""
    _restore(model, "fp32", None)


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 is worth a try: where it is emulated it only loses bits."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu"


def use_way(model: ClipModel, precision: Precision, layout: str) -> None:
    """Let a model encode in an arithmetic and a memory layout (see `EncodingSpeed`)."""
    model.precision = precision
    _restore(model, precision, layout == "channels-last")


def _restore(model: ClipModel, precision: Precision, channels_last: bool | None) -> None:
    """Set both, and lay the image encoder's filters out to match."""
    model.precision, model.channels_last = precision, channels_last
    layout = torch.channels_last if model.layout == "channels-last" else torch.contiguous_format
    visual = model.module.visual
    assert isinstance(visual, torch.nn.Module)
    visual.to(memory_format=layout)  # type: ignore[call-overload]


def _was_busy(wall: float, own: float) -> bool:
    """Whether this thread got too little processor time since then, though it encoded all along."""
    return time.thread_time() - own < _OWN_SHARE * (time.perf_counter() - wall)


def _seconds(model: ClipModel, images: NDArray[np.uint8], cancelled: Cancelled) -> float:
    """Time one encoding, to its end."""
    if cancelled():
        raise CancelledError
    pictures = to_pictures(images, model.device)
    begin = time.perf_counter()
    model.encode_images(pictures)
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    elif model.device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - begin


def _race(
    model: ClipModel,
    names: list[Precision],
    layouts: list[str],
    sample: NDArray[np.uint8],
    batch: int,
    seconds: float,
    cancelled: Cancelled,
) -> tuple[dict[tuple[Precision, str], float], bool]:
    """Images per second of each way, and whether bf16 was given up after one try."""
    images = _repeated(sample, batch)

    def passes(way: tuple[Precision, str]) -> float:
        use_way(model, *way)
        return _seconds(model, images, cancelled)

    rates = race(
        [(name, layout) for layout in layouts for name in names],
        passes,
        seconds,
        is_half=lambda way: way[0] == "bf16",
        emulates=model.device.type == "cpu",
        sure=lambda number, way: number == 0 and way[1] == layouts[0],
    )
    return {way: batch / taken for way, taken in rates.seconds.items()}, rates.given_up


def _agreements(
    model: ClipModel,
    rates: dict[tuple[Precision, str], float],
    sample: NDArray[np.uint8],
    classifier: Tensor,
    batch: int,
    cancelled: Cancelled,
) -> dict[tuple[Precision, str], float]:
    """Share of the sample whose top-1 is fp32's, of each bf16 way."""
    layout = next(iter(rates))[1]
    expected = _top1(model, ("fp32", layout), sample, classifier, batch, cancelled)
    return {
        way: float(
            (_top1(model, way, sample, classifier, batch, cancelled) == expected).float().mean()
        )
        for way in rates
        if way[0] == "bf16"
    }


def _top1(
    model: ClipModel,
    way: tuple[Precision, str],
    sample: NDArray[np.uint8],
    classifier: Tensor,
    batch: int,
    cancelled: Cancelled,
) -> Tensor:
    """Predicted classes, int64 [n]."""
    use_way(model, *way)
    parts = []
    for part in np.array_split(sample, max(1, len(sample) // batch)):
        if cancelled():
            raise CancelledError
        seen = model.encode_images(to_pictures(part, model.device))
        parts.append(class_logits(model, seen, classifier))
    return torch.cat(parts).argmax(dim=-1).cpu()


def _best_batch(
    model: ClipModel, sample: NDArray[np.uint8], rate: float, seconds: float, cancelled: Cancelled
) -> tuple[int, float]:
    """Images a call with the best rate, and that rate; about so many a second are expected.

    The sizes take turns, so that a busy moment of the machine strikes all of them; sizes that
    take too long are left out.
    """
    known = _BATCHES.get(model.device.type, _BATCHES["cpu"])
    longest = max(1.0, rate * seconds / (2 * ROUNDS))
    sizes = [size for size in known if size <= longest][-6:]
    rates = dict.fromkeys(sizes, 0.0)
    begin = time.perf_counter()
    for number in range(ROUNDS):
        for size in tuple(sizes):
            spent = time.perf_counter() - begin
            if size > sizes[0] and spent > seconds * (number + 1) / ROUNDS:
                sizes = sizes[: sizes.index(size)]  # as far as the time goes, in each round alike
                break
            # A device that is out of memory has found its largest batch.
            try:
                taken = _seconds(model, _repeated(sample, size), cancelled)
            except torch.cuda.OutOfMemoryError:
                sizes = sizes[: max(1, sizes.index(size))]
                break
            rates[size] = max(rates[size], size / taken)
    reached = max(rates[size] for size in sizes)
    # The smallest batch that is as good: it answers sooner.
    best = next(size for size in sizes if rates[size] >= 0.99 * reached)
    return best, rates[best]


def _repeated(sample: NDArray[np.uint8], n: int) -> NDArray[np.uint8]:
    """The first n of the sample; a shorter sample is repeated."""
    return sample[np.arange(n) % len(sample)]


def _why(
    best: tuple[Precision, str],
    rates: dict[tuple[Precision, str], float],
    agreements: dict[tuple[Precision, str], float],
    n: int,
    asked: str,
    *,
    slow: bool,
    given_up: bool,
) -> str:
    """The choice in a sentence."""
    shown = ", ".join(f"{name} {layout} {rate:.0f}" for (name, layout), rate in rates.items())
    text = f"{best[0]}, {best[1]} (images per second: {shown}"
    if agreements:
        worst = min(agreements.values())
        text += f"; bf16 agrees with fp32 on {percent(worst)} of {n} images"
    text += ")"
    if given_up:
        return text + "; bf16 was given up after one batch"
    if asked == "auto" and slow:
        return text + "; too slow here to check bf16"
    if asked == "auto" and agreements and min(agreements.values()) < AGREEMENT:
        return text + f"; bf16 is used only from {percent(AGREEMENT)} on"
    return text
