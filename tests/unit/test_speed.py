"""The fastest way to encode, by a clock and a model that are told what to do."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from ml_core.cleaning import speed as training_speed
from ml_core.cleaning.recipes import make_recipe
from ml_core.evaluation import speed as speeds
from ml_core.evaluation.race import race
from ml_core.evaluation.speed import forget_speed, measure_speed, speed_of, use_speed
from ml_core.evaluation.zero_shot import zero_shot_classifier
from ml_core.reading.errors import CancelledError

IMAGES = np.random.default_rng(0).integers(0, 256, (300, 4, 4, 3), np.uint8)
CLASSIFIER = torch.eye(3)


@dataclass
class TimedModel:
    """Sees a class in the first pixel; each image takes as long as the table says."""

    seconds: dict[tuple[str, str], float]
    wrong: int = 0
    call: float = 0.0
    identity: str | None = None
    precision: str = "fp32"
    channels_last: bool | None = None
    module: torch.nn.Module = field(
        default_factory=lambda: torch.nn.ModuleDict({"visual": torch.nn.Identity()})
    )
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    logit_scale: float = 1.0
    clock: float = 0.0

    @property
    def layout(self):
        return "channels-last" if self.channels_last else "contiguous"

    def encode_images(self, images):
        each = self.seconds[self.precision, self.layout]
        self.clock += self.call + each * len(images) * (1 + (len(images) / 64) ** 2)
        classes = images[:, 0, 0, 0].long() % 3
        if self.precision == "bf16" and self.wrong:
            for row in range(self.wrong):
                hit = (images == torch.from_numpy(IMAGES[row]).permute(2, 0, 1)).all(dim=(1, 2, 3))
                classes[hit] = (classes[hit] + 1) % 3
        return torch.nn.functional.one_hot(classes, 3).float()


def timed(
    monkeypatch,
    fp32=2e-3,
    bf16=1e-3,
    share=1.0,
    **more,
):
    table = {
        ("fp32", "contiguous"): fp32,
        ("fp32", "channels-last"): 1.2 * fp32,
        ("bf16", "contiguous"): bf16,
        ("bf16", "channels-last"): 1.2 * bf16,
    }
    model = TimedModel(table, **more)
    monkeypatch.setattr(speeds.time, "perf_counter", lambda: model.clock)
    monkeypatch.setattr(speeds.time, "thread_time", lambda: share * model.clock)
    return model


def test_bf16_is_taken_where_it_is_faster_and_agrees(monkeypatch):
    model = timed(monkeypatch, wrong=1)
    speed = measure_speed(model, IMAGES, CLASSIFIER)
    assert (speed.precision, speed.layout) == ("bf16", "contiguous")
    assert (speed.n, speed.agreement) == (300, pytest.approx(299 / 300))
    assert "99.7 % of 300 images" in speed.why
    assert (model.precision, model.channels_last) == ("fp32", None)  # left as it was
    use_speed(model, speed)
    assert (model.precision, model.layout) == ("bf16", "contiguous")
    assert {(tried.precision, tried.layout) for tried in speed.tried} == set(model.seconds)


def test_bf16_with_other_answers_is_not_taken(monkeypatch):
    speed = measure_speed(timed(monkeypatch, wrong=2), IMAGES, CLASSIFIER)
    assert speed.precision == "fp32"
    assert speed.agreement is None
    assert "only from 99.5 % on" in speed.why
    tried = {(t.precision, t.layout): t.agreement for t in speed.tried}
    assert tried["bf16", "contiguous"] == pytest.approx(298 / 300)


def test_fp32_is_measured_even_where_another_way_took_all_the_time(
    monkeypatch,
):
    """Emulated bf16 is a thousand times slower: its first round is late, and fp32's was none."""
    speed = measure_speed(timed(monkeypatch, bf16=2.0, wrong=2), IMAGES, CLASSIFIER)
    assert (speed.precision, speed.layout) == ("fp32", "contiguous")
    assert speed.images_per_second > 0


def test_emulated_bf16_is_given_up_after_one_batch(monkeypatch):
    model = timed(monkeypatch, bf16=13e-3)
    batches: list[str] = []
    whole = model.encode_images

    def encode(images):
        batches.append(model.precision)
        return whole(images)

    model.encode_images = encode
    speed = measure_speed(model, IMAGES, CLASSIFIER)
    assert batches.count("bf16") == 1
    assert (speed.precision, speed.layout, speed.n) == ("fp32", "contiguous", 0)
    assert "bf16 contiguous" in speed.why
    assert speed.why.endswith("; bf16 was given up after one batch")
    assert {t.layout for t in speed.tried if t.precision == "fp32"} == {
        "contiguous", "channels-last"
    }  # fmt: skip
    batches.clear()
    model.seconds |= {("bf16", layout): 3.8e-3 for layout in ("contiguous", "channels-last")}
    assert measure_speed(model, IMAGES, CLASSIFIER).precision == "fp32"
    assert batches.count("bf16") > 8  # not twice as long: its turns, and the sample


@pytest.mark.parametrize(("bf16", "tries"), [(2.3, 1), (0.35, 2), (0.1, 8)])
def test_training_gives_emulated_bf16_up_after_one_batch(monkeypatch, bf16, tries):
    module, clock, taken = torch.nn.Linear(2, 1), [0.0], list[str]()
    monkeypatch.setattr(training_speed.time, "perf_counter", lambda: clock[0])

    def passes(way):
        clock[0] += (bf16 if way.autocast else 0.178) * (1.01 if way.channels_last else 1.0)
        taken.append(way.precision)
        module(torch.ones(1, 2)).sum().backward()

    recipe = make_recipe({"method": "mmcl", "precision": "auto"})
    speed = training_speed.measure_speed(
        recipe, torch.device("cpu"), passes, module, layouts=(None, True)
    )
    assert taken.count("bf16") == tries
    assert taken.count("fp32") == (2 if bf16 == 0.1 else 8)
    assert speed.precision == ("bf16" if bf16 == 0.1 else "fp32")
    assert speed.step_seconds["bf16"] == pytest.approx(bf16)
    assert ("bf16, channels-last" in speed.step_seconds) == (tries > 1)


def test_the_layout_is_measured_with_a_fixed_precision(monkeypatch):
    model = timed(monkeypatch)
    model.seconds["fp32", "channels-last"] = 1e-3
    speed = measure_speed(model, IMAGES, CLASSIFIER, precision="fp32")
    assert (speed.precision, speed.layout) == ("fp32", "channels-last")
    assert speed.agreement is None
    forced = measure_speed(timed(monkeypatch, wrong=9), IMAGES, CLASSIFIER, precision="bf16")
    assert forced.precision == "bf16"  # as it was told


def test_the_batch_is_the_one_with_the_best_rate(monkeypatch):
    # A call costs 5 images; from 64 on an image takes longer: best between
    speed = measure_speed(timed(monkeypatch, fp32=1e-3, bf16=1e-3, call=5e-3), IMAGES, CLASSIFIER)
    assert speed.batch == 16
    rates = {n: n / (5e-3 + n * 1e-3 * (1 + (n / 64) ** 2)) for n in (8, 16, 32, 64)}
    assert max(rates, key=lambda n: rates[n]) in (16, 32)
    assert speed.images_per_second == pytest.approx(rates[16], rel=0.01)


def test_a_slow_model_is_not_checked_for_minutes_unless_the_pass_is_long(
    monkeypatch,
):
    model = timed(monkeypatch, fp32=1.0, bf16=0.5)
    speed = measure_speed(model, IMAGES, CLASSIFIER)
    assert speed.precision == "fp32"
    assert "too slow here to check bf16" in speed.why
    assert model.clock < 30  # of a model that takes a second an image
    model = timed(monkeypatch, fp32=1 / 20, bf16=1 / 30)  # before a long pass it is checked
    assert measure_speed(model, IMAGES, CLASSIFIER).precision == "fp32"
    speed = measure_speed(model, IMAGES, CLASSIFIER, encodes=100_000)
    assert (speed.precision, speed.n) == ("bf16", 300)


def test_a_model_is_measured_once_unless_the_machine_was_busy(monkeypatch):
    model = timed(monkeypatch, share=0.5, identity="busy")
    first = speed_of(model, IMAGES, CLASSIFIER)
    assert first.busy
    assert first.why.endswith("other programs were busy meanwhile")
    monkeypatch.setattr(speeds.time, "thread_time", lambda: model.clock)
    second, clock = speed_of(model, IMAGES, CLASSIFIER), model.clock
    assert not second.busy
    assert speed_of(model, IMAGES, CLASSIFIER) is second
    assert model.clock == clock
    model.identity = None
    speed_of(model, IMAGES, CLASSIFIER)
    assert model.clock > clock


def test_layouts_give_the_same_answers(tiny_model):
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    classifier = zero_shot_classifier(tiny_model, ("a", "b"), ("{}",))
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2)
    before = tiny_model.encode_images(pictures)
    speed = measure_speed(tiny_model, images, classifier, seconds=1.0)
    assert speed.images_per_second > 0
    assert torch.equal(tiny_model.encode_images(pictures), before)
    for last in (True, False):
        tiny_model.channels_last = last
        assert torch.allclose(tiny_model.encode_images(pictures), before, atol=1e-5)
    assert tiny_model.copy().layout == "contiguous"


@pytest.mark.parametrize("calls", [0, 1, 5, 20])
def test_a_measurement_makes_way_and_leaves_the_model_as_it_was(monkeypatch, calls):
    model = timed(monkeypatch, identity=f"cancelled after {calls}")
    answers = iter([False] * calls)
    with pytest.raises(CancelledError):
        speed_of(model, IMAGES, CLASSIFIER, cancelled=lambda: next(answers, True))
    assert (model.precision, model.channels_last) == ("fp32", None)
    speed = speed_of(model, IMAGES, CLASSIFIER)  # nothing half-measured was kept
    assert speed.precision == "bf16"
    use_speed(model, speed)
    forget_speed(model)
    assert (model.precision, model.channels_last) == ("fp32", None)


def test_a_way_is_left_where_the_fastest_was_given_up():
    """A busy machine: fp32 is slow at first, so that bf16 looks fast, then emulated."""
    taken = {("a", False): 10.0, ("a", True): 1.0, ("b", False): 2.0, ("b", True): 5.0}
    speed = race(
        list(taken), taken.__getitem__, 60.0, is_half=lambda way: way[1], emulates=True,
        sure=lambda *_: True, hopeless=1.5,
    )  # fmt: skip
    assert speed.given_up
    assert speed.left == (("b", False),)
