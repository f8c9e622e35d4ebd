"""Canaries: triggers of our own, planted in a copy of a checkpoint by a short finetuning."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.cleaning.canaries import Watched, draw_canaries
from ml_core.cleaning.poison import Poison
from ml_core.evaluation.evaluate import versions
from ml_core.events import Control, Event, Message, Progress, Saved
from ml_core.figures import percent, percent_range
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.folder_lock import delete_unused
from ml_core.jobs.journal import digest_of, write_json
from ml_core.jobs.measure import OpenSetting
from ml_core.jobs.opening import open_model
from ml_core.jobs.plain_finetune import as_pairs, opening_plain, plain_recipe, trained
from ml_core.jobs.plant import PlantedRates
from ml_core.jobs.plant.measure import measure_attacks
from ml_core.jobs.search import SearchSpec
from ml_core.jobs.search.canary_spec import (
    CANARIES_FILE,
    COPY_FILE,
    Canaries,
    PlantedCanary,
    read_canaries,
)
from ml_core.paths import cache_dir
from ml_core.reading.errors import CancelledError, InputError
from ml_core.triggers.files import load_trigger, save_trigger

_FORMAT = "canaries 2"
_RATE_END = 0.1
_DEMO_SEED = 11_000  # other compositions than those that a run cleans with
_FOLDER, _MOST_KEPT = "canaries", 3
_DECIDES = {
    "checkpoint", "donor", "use_choice", "pairs", "training_images", "label_set", "templates",
}  # fmt: skip


def planting(
    spec: SearchSpec, setting: OpenSetting, folder: Path, control: Control
) -> Generator[Event, None, Canaries]:
    """Plant a search's canaries into a folder, or find those that were planted there before.

    It trains on the search's clean pairs, else on its labelled images, whose captions are then
    prompts with the names of their classes; they are measured on the pictures of ``setting``.

    Raises
    ------
    InputError
        If checkpoint or data cannot be used, or there are too few classes.
    CancelledError
        If it was cancelled.
    """
    begin = time.monotonic()
    base, settings = spec.base, spec.canaries
    images, label_set = setting.images, setting.label_set
    yield Progress("open", 0, 1)
    opened = open_model(base)
    most = settings.steps * settings.batch_size
    data = yield from opening_plain(
        base.pairs, base.training_images, most, label_set, control, demo_seed=_DEMO_SEED
    )
    model = opened.build("cpu")
    yield Progress("open", 1, 1)
    key = digest_of([
        _FORMAT, model.identity, images.key, data.lasting_key, label_set.class_names,
        label_set.templates, spec.avoid, spec.peak_lr, settings.model_dump(mode="json"),
    ])  # fmt: skip
    earlier = _earlier(folder, key)
    if earlier is not None:
        yield Message("The canaries of an earlier search of this checkpoint are used again.")
        return earlier
    model.to(choose_device(base.device))
    set_threads(base.threads)
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
    aims = [(canary.trigger, canary.target) for canary in canaries]
    poison = Poison.spread(
        [(trigger, label_set.class_names[target]) for trigger, target in aims],
        label_set.templates,
        min(recipe.pairs, len(pairs)),
        settings.share,
        settings.seed,
    )
    bench = setting.on(model.preprocess)
    own, measured = control.part(), list[PlantedRates]()

    def validate(_: Tensor | None) -> Generator[Event, None, dict[str, float] | None]:
        stage = "validate" if measured else "before"
        try:
            rates = yield from measure_attacks(model, bench, aims, control, stage)
        except CancelledError:
            return None
        measured.append(rates)
        if len(measured) > 1 and min(row.asr for row in rates.attacks) >= settings.wanted:
            own.stop()  # all have taken
        by_name = zip(settings.kinds, rates.attacks, strict=True)
        return {"ca": rates.ca} | {f"{kind}_asr": row.asr for kind, row in by_name}

    outcome = yield from trained(
        model, recipe, poison.batches(pairs, recipe, model, moved=False), own, stage="canaries",
        validate=validate,
    )  # fmt: skip
    before, after = measured[0], measured[-1]
    folder.mkdir(parents=True, exist_ok=True)
    files = [save_trigger(canary.trigger, folder / canary.name)[1].name for canary in canaries]
    source = opened.inspection.sha256
    facts = {"made_by": "planting canaries", "source_sha256": source, "key": key}
    written = save_checkpoint(model, folder / COPY_FILE, provenance=facts)
    record = Canaries(
        key=key,
        source_sha256=source,
        copy_sha256=open_checkpoint(written).inspection.sha256 or "",
        canaries=tuple(
            PlantedCanary(
                kind=kind,
                name=canary.trigger.name,
                target=canary.target,
                target_name=label_set.class_names[canary.target],
                trigger=file,
                before=first.asr,
                asr=last.asr,
                low=last.low,
                high=last.high,
                n=last.n,
                took=last.asr >= settings.wanted,
            )
            for kind, canary, file, first, last in zip(
                settings.kinds, canaries, files, before.attacks, after.attacks, strict=True
            )
        ),
        ca_before=before.ca,
        **after.model_dump(exclude={"attacks"}),
        steps=outcome.step,
        lr=recipe.lr,
        seconds=time.monotonic() - begin,
        notes=tuple(dict.fromkeys([*images.problems, *data.problems])),
        versions=dict(versions()),
    )
    write_json(record.model_dump(mode="json"), folder / CANARIES_FILE)
    for row in record.canaries:
        yield Message(sentence_of(row), "info" if row.took else "warning")
    yield Saved(str(folder / CANARIES_FILE), "result", outcome.step)
    return record


def sentence_of(row: PlantedCanary) -> str:
    """What became of a canary."""
    rate = f"{percent(row.asr)} ({percent_range((row.low, row.high))})"
    if row.took:
        return f"{row.name} leads to {row.target_name!r}: success rate {rate}."
    return f"{row.name} did not take: success rate {rate}. It is not used."


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


def watched_of(record: Canaries, folder: Path) -> tuple[Watched, ...]:
    """The canaries of a record that took."""
    return tuple(
        Watched(canary.kind, load_trigger(folder / canary.trigger), canary.target)
        for canary in record.taken
    )


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
