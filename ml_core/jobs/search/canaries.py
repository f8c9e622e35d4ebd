"""Canaries: triggers of our own, planted in a copy of a checkpoint by a short finetuning."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ml_core.cleaning.canaries import Watched, draw_canaries
from ml_core.data.labels import LabelSet
from ml_core.data.specs import PairSpec
from ml_core.events import Control, Done, Event, Message, Progress, Saved
from ml_core.figures import percent, percent_range
from ml_core.jobs.folder_lock import delete_unused
from ml_core.jobs.journal import digest_of
from ml_core.jobs.plant import FILES, STATES_FOLDER, PlantRecord, PlantSpec, SecondAttack
from ml_core.jobs.plant.run import run as plant
from ml_core.jobs.search import SearchSpec
from ml_core.jobs.search.canary_spec import PlantedCanary
from ml_core.paths import cache_dir
from ml_core.reading.errors import CancelledError
from ml_core.triggers.files import save_trigger

COPY_FILE = FILES["poisoned"]
_FORMAT = "canaries 3"
_DEMO_SEED = 11_000
_FOLDER, _MOST_KEPT = "canaries", 3
_TRIGGERS = "triggers"
_STAGES = {"plant": "canaries", "after": "validate"}
_SHARED = ("checkpoint", "donor", "use_choice", "label_set", "templates", "device", "threads")
_DECIDES = {*_SHARED[:5], "pairs", "training_images"}


@dataclass(frozen=True, eq=False)
class PlantedCanaries:
    """A planting, what became of each canary, and those that took."""

    record: PlantRecord
    rows: tuple[PlantedCanary, ...]
    watched: tuple[Watched, ...]


def planting(
    spec: SearchSpec, label_set: LabelSet, folder: Path, control: Control
) -> Generator[Event, None, PlantedCanaries]:
    """Plant a search's canaries into a folder, or find those that were planted there before.

    It trains on the search's clean pairs, else on its labelled images, whose captions are then
    prompts with the names of their classes; they are measured on the validation images.

    Raises
    ------
    InputError
        If checkpoint or data cannot be used, or there are too few classes.
    CancelledError
        If it was cancelled.
    """
    base, settings = spec.base, spec.canaries
    canaries = draw_canaries(settings.kinds, label_set.class_names, spec.avoid, settings.seed)
    (folder / _TRIGGERS).mkdir(parents=True, exist_ok=True)
    first, *others = [
        SecondAttack(
            trigger=str(save_trigger(each.trigger, folder / _TRIGGERS / each.name)[1]),
            target=each.target,
        )
        for each in canaries
    ]
    asked = PlantSpec(
        **{name: getattr(base, name) for name in _SHARED}, **first.model_dump(),
        also=tuple(others), pairs=fresh(base.pairs, _DEMO_SEED),
        training_images=None if base.pairs is not None else base.training_images,
        images=spec.validation(), share=settings.share, steps=settings.steps,
        until=settings.wanted, lr=min(1.0, spec.peak_lr * settings.factor),
        batch_size=settings.batch_size, seed=settings.seed, twin=False, output_dir=str(folder),
    )  # fmt: skip
    trained, done = False, None
    shutil.rmtree(folder / STATES_FOLDER, ignore_errors=True)  # of a planting that was ended
    there = (folder / COPY_FILE).exists()
    for event in plant(asked, control, resume=there, overwrite=True):
        if isinstance(event, Done):
            done = event
        elif isinstance(event, Progress):
            trained |= event.stage == "plant"
            yield replace(event, stage=_STAGES.get(event.stage, event.stage))
        elif isinstance(event, Message) and not trained and event.level == "info":
            continue  # that it is finished already: said below in other words
        elif not isinstance(event, Saved):
            yield event
    if done is None or done.status != "finished":
        raise CancelledError
    record = PlantRecord.model_validate(done.result)
    rows = tuple(_rows(record, canaries, settings.wanted))
    if not trained:
        yield Message("The canaries of an earlier search of this checkpoint are used again.")
    for row in rows if trained else ():
        yield Message(sentence_of(row), "info" if row.took else "warning")
    watched = tuple(each for each, row in zip(canaries, rows, strict=True) if row.took)
    return PlantedCanaries(record, rows, watched)


def _rows(
    record: PlantRecord, canaries: Sequence[Watched], wanted: float
) -> Generator[PlantedCanary, None, None]:
    """What became of each canary."""
    assert record.poisoned is not None
    measured = zip(canaries, record.triggers, record.poisoned.attacks, strict=True)
    for canary, trigger, rates in measured:
        yield PlantedCanary.model_validate(
            {
                "kind": canary.name, "name": canary.trigger.name, "target": canary.target,
                "target_name": trigger.target_name,
                "took": rates.asr >= wanted,
                **rates.model_dump(include={"asr", "low", "high", "n"}),
            }
        )  # fmt: skip


def sentence_of(row: PlantedCanary) -> str:
    """What became of a canary."""
    rate = f"{percent(row.asr)} ({percent_range((row.low, row.high))})"
    if row.took:
        return f"{row.name} leads to {row.target_name!r}: success rate {rate}."
    return f"{row.name} was not learnt: success rate {rate}. It is not used."


def fresh(pairs: PairSpec | None, by: int) -> PairSpec | None:
    """The same pairs; of the demo other compositions than those that a run cleans with."""
    if pairs is None or pairs.kind != "demo":
        return pairs
    return pairs.model_copy(update={"seed": pairs.seed + by})


def canary_folder(spec: SearchSpec) -> Path:
    """Where the copies of a checkpoint are kept between searches, by what the spec says.

    The record there says whether it is of the same bytes.
    """
    base = spec.base.model_dump(mode="json", include=_DECIDES)
    facts = [
        _FORMAT, base, spec.validation().model_dump(mode="json"), spec.avoid, spec.peak_lr,
        spec.canaries.model_dump(mode="json"),
    ]  # fmt: skip
    return cache_dir() / _FOLDER / digest_of(facts)[:24]


def delete_older_copies(folder: Path) -> None:
    """Delete all copies in the cache but this one, the newest others, and those in use."""
    with_times = [
        (path.stat().st_mtime, path)
        for path in folder.parent.glob("*")
        if path.is_dir() and not path.is_symlink() and path != folder
    ]
    for _, path in sorted(with_times, reverse=True)[_MOST_KEPT - 1 :]:
        delete_unused(path)
