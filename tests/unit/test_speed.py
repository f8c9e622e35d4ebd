"""The fastest way to encode, by a clock and a model that are told what to do."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from ml_core.evaluation import speed as speeds
from ml_core.evaluation.speed import forget_speed, measure_speed, speed_of, use_speed
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


def timed(monkeypatch, fp32=2e-3, bf16=1e-3, share=1.0, **more):
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


def test_bf16_with_other_answers_is_not_taken(monkeypatch):
    speed = measure_speed(timed(monkeypatch, wrong=2), IMAGES, CLASSIFIER)
    assert speed.precision == "fp32"
    assert speed.agreement is None
    assert "only from 99.5 % on" in speed.why
    tried = {(t.precision, t.layout): t.agreement for t in speed.tried}
    assert tried["bf16", "contiguous"] == pytest.approx(298 / 300)


def test_fp32_is_measured_even_where_another_way_took_all_the_time(monkeypatch):
    """Emulated bf16 is a thousand times slower: its first round is late, and fp32's was none."""
    speed = measure_speed(timed(monkeypatch, bf16=2.0, wrong=2), IMAGES, CLASSIFIER)
    assert (speed.precision, speed.layout) == ("fp32", "contiguous")
    assert speed.images_per_second > 0


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


@pytest.mark.parametrize("calls", [0, 5, 20])
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
