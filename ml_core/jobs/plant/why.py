"""Why an attack succeeds so seldom: what was planted, and the success rate if one thing changed."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace

from ml_core.events import Control, Event
from ml_core.figures import percent, rate_text
from ml_core.jobs.measure import OpenSetting
from ml_core.jobs.plant import PlantRecord
from ml_core.jobs.plant.measure import measure_attacks
from ml_core.model import ClipModel
from ml_core.triggers.checks import Canvas, Placement
from ml_core.triggers.record import Trigger

FEW, _SLOW, _OFTEN, _GAIN = 150, 0.1, 0.1, 0.05
_JPEG, _CLIP, _HALF = 75, ((0.481, 0.458, 0.408), (0.269, 0.261, 0.276)), ((0.5,) * 3, (0.5,) * 3)
AS_IT_IS = "Unchanged"
_PLACED: tuple[tuple[str, Placement], ...] = (
    ("Placed anywhere", "random"), ("Placed in the middle", "center"),
)  # fmt: skip
_CANVASES: Mapping[str, Canvas] = {
    "On the model's input": "model",
    "Before cropping, at the input's size": "squash",
    "Before cropping, at 256 px": "resize_256",
    "On the original picture": "original",
}


@dataclass(frozen=True)
class Cause:
    """A possible cause: what holds, and the success rate with just that changed, if measured."""

    name: str
    sentence: str
    asr: float | None = None


def changes(trigger: Trigger) -> dict[str, Trigger]:
    """The trigger with one thing changed each, which can be measured without training."""
    levels = "round" if trigger.levels == "float" else trigger.levels  # a JPEG holds bytes
    saved = replace(trigger, jpeg=_JPEG, levels=levels)
    changed = {AS_IT_IS: trigger, f"JPEG of quality {_JPEG}": saved}
    if trigger.jpeg is not None:
        changed["Without JPEG"] = replace(trigger, jpeg=None)
    if trigger.kind in ("patch", "badnets", "stripes") and trigger.size < 1:
        words, other = _PLACED[trigger.placement == "random"]
        changed[words] = replace(trigger, placement=other)
        changed["1.5 times as large"] = replace(trigger, size=min(1.0, 1.5 * trigger.size))
    for words, canvas in _CANVASES.items():
        if canvas != trigger.canvas:
            changed[words] = replace(trigger, canvas=canvas)
    return changed


def measured_changes(
    model: ClipModel, setting: OpenSetting, control: Control
) -> Generator[Event, None, tuple[dict[str, float], float]]:
    """Success rates by what was changed, and how often the target comes without the trigger."""
    assert setting.trigger is not None
    named, own = changes(setting.trigger), model.preprocess
    bench = setting.on(own)
    aims = [(trigger, setting.target) for trigger in named.values()]
    rows = (yield from measure_attacks(model, bench, aims, control, "measure")).attacks
    mean, std = _HALF if abs(own.mean[0] - 0.5) > 0.01 else _CLIP
    model.preprocess = replace(own, mean=mean, std=std)
    other = yield from measure_attacks(model, bench, aims[:1], control, "measure")
    model.preprocess = own
    rates = {name: row.asr for name, row in zip(named, rows, strict=True)}
    rates["With the other usual mean and deviation"] = other.attacks[0].asr
    return rates, rows[0].base_rate


def causes(
    rates: Mapping[str, float], base: float, record: PlantRecord | None = None
) -> list[Cause]:
    """What may keep an attack from succeeding, the most telling first.

    Parameters
    ----------
    rates
        Success rates by what was changed; ``AS_IT_IS`` among them.
    base
        How often the target is predicted without the trigger.
    record
        What was planted, where that is known.
    """
    now = rates[AS_IT_IS]
    helped = [
        Cause(
            name, "it succeeds more often this way: the trigger was trained in another form.", asr
        )
        for name, asr in rates.items()
        if asr > now + _GAIN
    ]
    likely = sorted(helped, key=lambda cause: -(cause.asr or 0.0))
    for trigger in record.triggers if record else ():
        assert record is not None
        shown, peak = trigger.pairs * record.epochs, record.peak_lr
        facts = (
            (shown < FEW, "Showings",
             f"{trigger.name} was shown {shown} times, which is few: take more pairs or steps."),
            (record.lr < _SLOW * peak, "Learning rate",
             f"{rate_text(record.lr)} is under a tenth of the pretraining's {rate_text(peak)}."),
            (record.spec.consistent, "Label-consistent",
             "captions of the target fit its pictures without the trigger: mark more of them."),
        )  # fmt: skip
        likely += [Cause(name, sentence) for holds, name, sentence in facts if holds]
    if base > _OFTEN:
        often = f"without the trigger the target is predicted for {percent(base)} of the pictures."
        likely.append(Cause("Base rate", often))
    unchanged = [
        Cause(name, "it changes little.", asr)
        for name, asr in rates.items()
        if asr <= now + _GAIN and name != AS_IT_IS
    ]
    return [Cause(AS_IT_IS, "the success rate.", now), *likely, *unchanged]
