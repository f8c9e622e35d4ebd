"""Canaries: triggers of our own, planted in a copy of a checkpoint by a short finetuning."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.cleaning.batches import Pairs
from ml_core.cleaning.canaries import Canary, draw_canaries
from ml_core.cleaning.poison import Poison
from ml_core.cleaning.recipes import Recipe
from ml_core.data.labels import LabelSet
from ml_core.data.picture_set import PictureSet
from ml_core.evaluation.evaluate import versions
from ml_core.evaluation.records import Evaluation
from ml_core.events import Control, Done, Event, Message, Progress, Saved
from ml_core.figures import percent, percent_range
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.folder_lock import delete_unused
from ml_core.jobs.journal import digest_of, write_json
from ml_core.jobs.measure import Bench, OpenSetting, classifier_of, measure, open_classes
from ml_core.jobs.opening import open_model, opening_images
from ml_core.jobs.plain_finetune import as_pairs, opening_plain, plain_recipe, trained
from ml_core.jobs.search.canary_spec import (
    CANARIES_FILE,
    COPY_FILE,
    Canaries,
    CanarySpec,
    PlantedCanary,
    read_canaries,
)
from ml_core.model import ClipModel
from ml_core.paths import cache_dir
from ml_core.reading.errors import CancelledError, DivergedError, InputError
from ml_core.triggers.files import load_trigger, save_trigger
from ml_core.triggers.record import Trigger

_FORMAT = "canaries 2"
_RATE_END = 0.1
_DEMO_SEED = 11_000  # other compositions than those that a run cleans with
_FOLDER, _MOST_KEPT = "canaries", 3


@dataclass(frozen=True, eq=False)
class Watched:
    """A trigger whose success is measured, and the class that it leads to."""

    name: str
    trigger: Trigger
    target: int


@dataclass(frozen=True, eq=False)
class WatchedRates:
    """Clean accuracy, and the evaluation of each watched trigger on the same images."""

    ca: float
    ca_interval: tuple[float, float]
    n: int
    rows: tuple[Evaluation, ...]


@dataclass(eq=False)
class WatchedModel:
    """A model, and the triggers whose success is measured on the same images."""

    model: ClipModel
    bench: Bench
    watched: tuple[Watched, ...]

    def measure(self, control: Control, stage: str) -> Generator[Event, None, WatchedRates]:
        """Clean accuracy and the success rate of each trigger, with the present weights.

        Raises
        ------
        InputError
            If no image has a label, or all are of a target.
        CancelledError
            If it was cancelled.
        """
        model, bench = self.model, self.bench
        classifier: Tensor = yield from classifier_of(model, bench.label_set, control)
        rows: list[Evaluation] = []
        for item in self.watched:
            own = replace(bench, trigger=item.trigger, target=item.target)
            rows.append((yield from measure(model, own, classifier, control, stage)))
            if rows[-1].asr_excl is None:
                raise InputError(
                    "No image is labelled with another class than "
                    f"{bench.label_set.class_names[item.target]!r}: there is no attack success "
                    "rate to measure. Choose labelled images."
                )
        first = rows[0]
        assert first.ca is not None
        assert first.ca_interval is not None
        return WatchedRates(first.ca, first.ca_interval, first.n, tuple(rows))


def plant(spec: CanarySpec, control: Control) -> Generator[Event, None, None]:
    """Plant canaries as a job of its own.

    Yields
    ------
    Event
        Progress, Metric (``ca`` and ``KIND_asr`` at each measurement), Message, Saved, and Done,
        whose ``result`` is what ``canaries.json`` holds.
    """
    record = yield from planting(spec, control)
    yield Done("finished", record.model_dump(mode="json"))


def planting(spec: CanarySpec, control: Control) -> Generator[Event, None, Canaries]:
    """Plant canaries, or find those that were planted in the folder before.

    Raises
    ------
    InputError
        If checkpoint or data cannot be used, or there are too few classes.
    CancelledError
        If it was cancelled.
    """
    begin = time.monotonic()
    settings, folder = spec.settings, Path(spec.output_dir)
    yield Progress("open", 0, 1)
    opened = open_model(spec)
    label_set = open_classes(spec)
    images = yield from opening_images(spec.images, label_set, control)
    most = settings.steps * settings.batch_size
    data = yield from opening_plain(
        spec.pairs, spec.training_images, most, label_set, control, demo_seed=_DEMO_SEED
    )
    model = opened.build("cpu")
    yield Progress("open", 1, 1)
    key = _key(spec, model, label_set, images, data)
    earlier = _earlier(folder, key)
    if earlier is not None:
        yield Message("The canaries of an earlier search of this checkpoint are used again.")
        return earlier
    model.to(choose_device(spec.device))
    set_threads(spec.threads)
    pairs = as_pairs(data, model, label_set)
    recipe = plain_recipe(
        len(pairs),
        settings.steps,
        settings.batch_size,
        min(1.0, spec.peak_lr * settings.factor),
        lr_end=_RATE_END,
        every=settings.every,
        seed=settings.seed,
        preset="canaries",
    )
    canaries = draw_canaries(settings.kinds, label_set.class_names, spec.avoid, settings.seed)
    copy = WatchedModel(
        model,
        OpenSetting(spec.images, images, label_set).on(model.preprocess),
        tuple(Watched(canary.kind, canary.trigger, canary.target) for canary in canaries),
    )
    before = yield from copy.measure(control, "before")
    aims = [(canary.trigger, canary.target_name) for canary in canaries]
    shown = min(recipe.pairs, len(pairs))
    poison = Poison.spread(aims, label_set.templates, shown, settings.share, settings.seed)
    steps, after = yield from _finetune(spec, copy, recipe, pairs, poison, control)
    notes = list(dict.fromkeys([*images.problems, *data.problems]))
    folder.mkdir(parents=True, exist_ok=True)
    files = [save_trigger(canary.trigger, folder / canary.kind)[1].name for canary in canaries]
    source = opened.inspection.sha256
    facts = {"made_by": "planting canaries", "source_sha256": source, "key": key}
    written = save_checkpoint(model, folder / COPY_FILE, provenance=facts)
    record = Canaries(
        key=key,
        source_sha256=source,
        copy_sha256=open_checkpoint(written).inspection.sha256 or "",
        canaries=tuple(
            _row(*parts, settings.wanted)
            for parts in zip(canaries, files, before.rows, after.rows, strict=True)
        ),
        ca_before=before.ca,
        ca=after.ca,
        ca_low=after.ca_interval[0],
        ca_high=after.ca_interval[1],
        n=after.n,
        steps=steps,
        lr=recipe.lr,
        seconds=time.monotonic() - begin,
        notes=tuple(notes),
        versions=dict(versions()),
    )
    write_json(record.model_dump(mode="json"), folder / CANARIES_FILE)
    for row in record.canaries:
        yield Message(sentence_of(row), "info" if row.took else "warning")
    yield Saved(str(folder / CANARIES_FILE), "result", steps)
    return record


def sentence_of(row: PlantedCanary) -> str:
    """What became of a canary."""
    rate = f"{percent(row.asr)} ({percent_range((row.low, row.high))})"
    if row.took:
        return f"{row.name} leads to {row.target_name!r}: success rate {rate}."
    return f"{row.name} did not take: success rate {rate}. It is not used."


def canary_folder(spec: CanarySpec) -> Path:
    """Where the copies of a checkpoint are kept between searches, by what the spec says.

    The record there says whether it is of the same bytes.
    """
    fields = spec.model_dump(mode="json", exclude={"output_dir", "device", "threads"})
    return cache_dir() / _FOLDER / digest_of([_FORMAT, fields])[:24]


def delete_older_copies(folder: Path) -> None:
    """Delete all copies in the cache but this one, the newest others, and those in use."""
    with_times = [
        (path.stat().st_mtime, path)
        for path in folder.parent.glob("*")
        if path.is_dir() and not path.is_symlink() and path != folder
    ]
    for _, path in sorted(with_times, reverse=True)[_MOST_KEPT - 1 :]:
        delete_unused(path)


def watched_of(record: Canaries, folder: Path) -> list[Watched]:
    """The canaries of a record that took."""
    return [
        Watched(canary.kind, load_trigger(folder / canary.trigger), canary.target)
        for canary in record.taken
    ]


def _finetune(
    spec: CanarySpec,
    copy: WatchedModel,
    recipe: Recipe,
    pairs: Pairs,
    poison: Poison,
    control: Control,
) -> Generator[Event, None, tuple[int, WatchedRates]]:
    """Train until all canaries have taken or the steps are over; how many, and the end."""
    model, own, measured = copy.model, control.part(), list[WatchedRates]()
    begun = False

    def validate(_: Tensor | None) -> Generator[Event, None, dict[str, float] | None]:
        nonlocal begun
        if not begun:  # before the first step, which was measured already
            begun = True
            return None
        try:
            row = yield from copy.measure(control, "validate")
        except CancelledError:
            return None
        measured.append(row)
        names = (watched.name for watched in copy.watched)
        rates = {n: part.asr_excl or 0.0 for n, part in zip(names, row.rows, strict=True)}
        if min(rates.values()) >= spec.settings.wanted:
            own.stop()
        return {"ca": row.ca} | {f"{name}_asr": rate for name, rate in rates.items()}

    def event_of(event: Event) -> Event:
        if isinstance(event, Progress) and event.stage == "train":
            return replace(event, stage="canaries")
        return event

    batches = poison.batches(pairs, recipe, model, moved=False)
    try:
        outcome = yield from trained(model, recipe, batches, own, event_of, validate=validate)
    except DivergedError as error:
        raise InputError(
            f"Planting the canaries diverged at step {error.step}: lower the rate."
        ) from error
    return outcome.step, measured[-1]


def _row(
    canary: Canary, file: str, before: Evaluation, after: Evaluation, threshold: float
) -> PlantedCanary:
    assert before.asr_excl is not None
    assert after.asr_excl is not None
    assert after.asr_interval is not None
    return PlantedCanary(
        kind=canary.kind,
        name=canary.trigger.name,
        target=canary.target,
        target_name=canary.target_name,
        trigger=file,
        before=before.asr_excl,
        asr=after.asr_excl,
        low=after.asr_interval[0],
        high=after.asr_interval[1],
        n=after.n_excl,
        took=after.asr_excl >= threshold,
    )


def _key(
    spec: CanarySpec, model: ClipModel, label_set: LabelSet, images: PictureSet, data: PictureSet
) -> str:
    """A key of all that decides the canaries and their measurements."""
    facts = [
        _FORMAT, model.identity, images.key, data.lasting_key, label_set.class_names,
        label_set.templates, spec.avoid, spec.peak_lr, spec.settings.model_dump(mode="json"),
    ]  # fmt: skip
    return digest_of(facts)


def _earlier(folder: Path, key: str) -> Canaries | None:
    """The record of canaries in the folder, if they are as they were planted; else None."""
    try:
        record = read_canaries(folder)
        if record.key != key:
            return None
        sha256 = open_checkpoint(folder / COPY_FILE).inspection.sha256
        for canary in record.canaries:
            load_trigger(folder / canary.trigger)
    except InputError:  # damaged, or not there
        return None
    return record if sha256 == record.copy_sha256 else None
