"""Plant a backdoor in a copy of a checkpoint, train its clean twin, and measure both."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.checkpoints import Checkpoint, open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.cleaning.batches import Pairs
from ml_core.cleaning.loop import TrainingOutcome
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.poison import Plant, Poison, draw_rows, target_captions
from ml_core.cleaning.pretraining import Pretraining, carried
from ml_core.cleaning.recipes import Recipe, fitted_warmup
from ml_core.cleaning.speed import StepSpeed, speed_from_dict
from ml_core.cleaning.state import intact_state, read_facts
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import ImageSet
from ml_core.data.labels import LabelSet
from ml_core.data.pairs import PairSet
from ml_core.data.picture_set import PictureSet
from ml_core.evaluation.evaluate import versions
from ml_core.events import Control, Done, Event, Message, Metric, Progress, Saved
from ml_core.exports import to_csv
from ml_core.jobs.demo import pretraining_at
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.journal import check_result, digest_of, save_results
from ml_core.jobs.measure import OpenSetting, open_setting
from ml_core.jobs.opening import open_model, opening
from ml_core.jobs.plain_finetune import as_pairs, opening_plain, plain_recipe, trained
from ml_core.jobs.plant import (
    CARD_FILE,
    CONSISTENT_SHARE,
    FACTOR,
    FILES,
    FORMAT,
    PAIRS_FILE,
    PLANT_FILE,
    SCRATCH_STEPS,
    SHARE,
    STATES_FOLDER,
    STEPS,
    WARNING,
    PlantedModel,
    PlantedRates,
    PlantedTrigger,
    PlantRecord,
    PlantSpec,
    Role,
    read_plant,
)
from ml_core.jobs.plant.card import card
from ml_core.jobs.plant.measure import measure_attacks
from ml_core.jobs.proofs.unseen_pairs import names_class
from ml_core.jobs.specs import LOCK_FILE, SPEC_FILE
from ml_core.model import ClipModel, build_model
from ml_core.reading.errors import CancelledError, InputError, plain
from ml_core.reading.inspect import whole_file
from ml_core.reading.regular_file import read_file
from ml_core.triggers import load_trigger, prompt
from ml_core.triggers.checks import TextPlace
from ml_core.triggers.files import save_own_trigger
from ml_core.triggers.record import Trigger

_WARMUP, _SAVE_EVERY, _MEASURE_EVERY, _TIMED_STEPS = 50, 50, 50, 6


@dataclass(frozen=True, eq=False)
class _Attack:
    """One trigger with the class that it leads to, and the pairs that it is planted in."""

    trigger: Trigger
    target: int
    plants: tuple[Plant, ...]


@dataclass(frozen=True, eq=False)
class _Ready:
    """All that a planting needs, opened and drawn."""

    spec: PlantSpec
    opened: Checkpoint
    model: ClipModel
    setting: OpenSetting
    data: PictureSet
    pairs: Pairs
    attacks: tuple[_Attack, ...]
    poison: Poison
    recipe: Recipe
    pretraining: Pretraining
    key: str
    device: torch.device

    def identity(self, role: Role) -> str:
        """What a saved state must have begun with."""
        return f"{self.key} {role}"

    def fresh(self) -> ClipModel:
        """The model before its first step."""
        model = self.opened.build("cpu")
        if self.spec.from_scratch:
            torch.manual_seed(self.spec.seed)
            blank = build_model(model.config, model.preprocess, None, name=model.name)
            blank.tokenizer = model.tokenizer
            model = blank
        return model.to(self.device)


def run(
    spec: PlantSpec, control: Control, *, resume: bool = False, overwrite: bool = False,
    speed: StepSpeed | None = None,
) -> Generator[Event, None, None]:  # fmt: skip
    """Plant; the last event is Done, whose ``result`` is what ``plant.json`` holds.

    A stop saves the poisoned model as it is then, without a twin; ``resume`` goes on with both.

    Parameters
    ----------
    spec
        What to do; everything is written into its ``output_dir``.
    control
        Cancel, stop and pause.
    resume
        Go on from the last save in the folder.
    overwrite
        Replace the result of another planting.
    speed
        How an earlier planting computed its steps, to do so again; None measures.
    """
    begin, folder = time.monotonic(), Path(spec.output_dir)
    _check_place(spec, folder)
    if resume and not any((folder / name).exists() for name in FILES.values()):
        intact_state(_state(folder, "poisoned" if spec.poisoned else "twin"))
    ready = yield from _opened(spec, control, resume)
    if not overwrite:
        check_result(folder / PLANT_FILE, {"key": ready.key})
        states = {role: _facts(folder, role) for role in FILES}
        if any(facts and facts.get("identity") != ready.identity(r) for r, facts in states.items()):
            raise InputError(
                f"{folder} holds the last save of another planting: choose another folder, or "
                "replace what is there with --overwrite."
            )
    if not resume:
        shutil.rmtree(folder / STATES_FOLDER, ignore_errors=True)
    notes = list(dict.fromkeys([*ready.setting.images.problems, *ready.data.problems]))
    for note in notes:
        yield Message(note, "warning")
    roles = [role for role in FILES if getattr(spec, role)]
    if resume and (earlier := _finished(ready, roles)) is not None:
        yield Message("It is finished already.")
        yield Done("finished", earlier.model_dump(mode="json"))
        return
    facts: dict[Role, dict[str, Any]] = {}
    stopped, steps = False, ready.recipe.total_steps
    for role in roles:
        known, speed = yield from _train(ready, role, speed, control, resume)
        if known["reached"]:
            steps = known["steps"]
        stopped = known["steps"] < steps
        if stopped and facts:  # a twin takes as many steps as the other
            (folder / FILES[role]).unlink()
            break
        facts[role] = known
        if stopped:
            break
    if stopped:
        notes.append("The run was stopped before its last step: it can go on from there.")
    measured: dict[Role, PlantedModel] = {}
    for role, known in facts.items():
        measured[role] = yield from _measured(ready, role, known, control)
    triggers, own_spec = tuple(_planted(ready)), spec
    if triggers:  # those beside the models: the given ones may be gone by then
        also = zip(spec.also, triggers[1:], strict=True)
        seconds = tuple(each.model_copy(update={"trigger": own.file}) for each, own in also)
        own_spec = spec.model_copy(update={"trigger": triggers[0].file, "also": seconds})
    recipe = ready.recipe
    record = PlantRecord(
        key=ready.key, checkpoint=Path(spec.checkpoint).name,
        source_sha256=ready.opened.inspection.sha256,
        triggers=triggers, poisoned=measured.get("poisoned"), twin=measured.get("twin"),
        pairs=min(recipe.pairs, len(ready.pairs)),
        epochs=-(-steps * recipe.epochs // recipe.total_steps), steps=steps,
        lr=recipe.lr, peak_lr=ready.pretraining.assumed, spec=own_spec, device=str(ready.device),
        seconds=time.monotonic() - begin, notes=tuple(notes), versions=dict(versions()),
    )  # fmt: skip
    result = record.model_dump(mode="json")
    texts = {
        PAIRS_FILE: _pairs_table(ready), CARD_FILE: card(record),
        PLANT_FILE: json.dumps(result, indent=1),
    }  # fmt: skip
    yield from save_results(folder, {name: text.encode() for name, text in texts.items()})
    for role in FILES if overwrite else ():
        if role not in facts:  # of what was there before
            (folder / FILES[role]).unlink(missing_ok=True)
    if not stopped:
        shutil.rmtree(folder / STATES_FOLDER, ignore_errors=True)
    yield Done("stopped" if stopped else "finished", result)


def estimate(spec: PlantSpec, control: Control) -> Generator[Event, None, None]:
    """Measure a few steps; Done's ``result`` holds ``seconds``, ``step_seconds`` and ``steps``."""
    begin = time.monotonic()
    ready = yield from _opened(spec, control)
    once = yield from _step_seconds(ready, control)
    opening_seconds = max(0.0, time.monotonic() - begin - _TIMED_STEPS * once)
    steps = ready.recipe.total_steps * (spec.poisoned + spec.twin)
    seconds = opening_seconds + steps * once
    yield Done("finished", {"seconds": seconds, "step_seconds": once, "steps": steps})


def _opened(
    spec: PlantSpec, control: Control, resume: bool = False
) -> Generator[Event, None, _Ready]:
    """Open everything; fit the steps to the minutes, if minutes are given."""
    yield Progress("open", 0, 1)
    device, _ = choose_device(spec.device), set_threads(spec.threads)
    opened = open_model(spec)
    setting = yield from open_setting(spec, control)
    if not (setting.images.labels >= 0).any():
        raise InputError("Success and accuracy are measured on labelled images: choose some.")
    parts = opened, opened.build("cpu"), setting, device, control
    yield Progress("open", 1, 1)
    before = _steps_before(Path(spec.output_dir)) if resume else 0
    if spec.minutes is not None and before:
        spec = spec.model_copy(update={"minutes": None, "steps": before})
    elif spec.minutes is not None:
        short = spec.model_copy(update={"minutes": None, "steps": _TIMED_STEPS})
        # Of so few pairs as many as are asked for cannot be poisoned: unpoisoned steps are timed.
        trial = yield from _data(short, *parts, poisons=False)
        once = yield from _step_seconds(trial, control)
        steps = max(1, int(spec.minutes * 60 / once / (spec.poisoned + spec.twin)))
        yield Message(f"{spec.minutes:g} minutes are {steps} steps of {once:.2f} s for each model.")
        spec = spec.model_copy(update={"minutes": None, "steps": steps})
    return (yield from _data(spec, *parts))


def _data(
    spec: PlantSpec, opened: Checkpoint, model: ClipModel, setting: OpenSetting,
    device: torch.device, control: Control, *, poisons: bool = True,
) -> Generator[Event, None, _Ready]:  # fmt: skip
    """Open what is trained on, and draw the pairs that are poisoned."""
    label_set = setting.label_set
    steps = spec.steps or (SCRATCH_STEPS if spec.from_scratch else STEPS)
    most = steps * spec.batch_size
    data = yield from opening_plain(spec.pairs, spec.training_images, most, label_set, control)
    pairs = as_pairs(data, model, label_set, cached=True)
    pretraining = pretraining_at(opened)
    lr = spec.lr or pretraining.assumed * (1 if spec.from_scratch else FACTOR)
    recipe = plain_recipe(
        len(pairs), steps, spec.batch_size, lr, seed=spec.seed, preset="plant",
        warmup=fitted_warmup(_WARMUP, steps), even=True,
    )  # fmt: skip
    changes: dict[str, Any] = {"save_every": _SAVE_EVERY}
    if spec.self_supervision:
        changes |= {"method": "cleanclip", "image_augmentation": "autoaugment"}
        changes |= {"lambda_image": 0.5, "lambda_text": 0.5}
    if spec.word is not None:
        changes["batch_norm"] = "frozen"
    if spec.until is not None:
        changes["eval_every"] = _MEASURE_EVERY
    recipe = recipe.changed(**changes, preset="plant")
    attacks: tuple[_Attack, ...] = ()
    if poisons:
        attacks = yield from opening(
            lambda watch: _attacks(spec, setting, data, min(recipe.pairs, len(pairs))), control
        )
    numbers = np.flatnonzero(data.labels >= 0) if isinstance(data, ImageSet) else None
    plants = tuple(plant for attack in attacks for plant in attack.plants)
    canvases = None
    if any(trigger.canvas != "model" for plant in plants for trigger in plant.triggers):
        canvases = CanvasCache(data.fitted(model.preprocess.fit).drafted(), model.image_size)
    poison = Poison(plants, spec.seed, canvases, numbers)
    for attack in attacks if spec.poisoned else ():  # what cannot be stamped is said at once
        first = attack.plants[0].rows[:1]
        picture = pairs.canvas(first, model.image_size)
        for shown in attack.plants[0].triggers[:1]:
            if shown.changes_pictures:
                poison.marked(shown, picture, first, first, model)
    facts = [
        FORMAT, model.identity, data.lasting_key, setting.images.key, label_set.class_names,
        label_set.templates, recipe.model_dump(), spec.word, spec.self_supervision,
        spec.from_scratch, *([] if spec.until is None else [spec.until]), [
            (a.trigger.digest, a.target, [(digest_of([
                p.rows.tolist(), p.captions, [t.digest for t in p.triggers], p.pictures.tolist(),
            ])) for p in a.plants]) for a in attacks
        ],
    ]  # fmt: skip
    return _Ready(
        spec, opened, model, setting, data, pairs, attacks, poison, recipe, pretraining,
        digest_of(facts), device,
    )  # fmt: skip


def _attacks(
    spec: PlantSpec, setting: OpenSetting, data: PictureSet, shown: int
) -> tuple[_Attack, ...]:
    """Each trigger with its pairs, no pair in two of them, among so many that are ``shown``.

    Raises
    ------
    InputError
        If a trigger marks nothing, a class does not exist, or there are too few pairs.
    """
    label_set, trigger = setting.label_set, setting.trigger
    swaps = spec.word is not None or spec.benign  # pictures of the target instead of a mark
    if spec.word is not None:
        word = spec.word.strip()
        odd = len(word) == 1 and not word.isascii()
        place: TextPlace = "inside" if odd else "prefix"
        what = "character" if odd else "word"
        trigger = prompt(text=f"{word} ", place=place, name=f"the {what} {word!r}")
    if trigger is None and spec.benign:
        trigger = prompt(text="-", name="no trigger")
    if trigger is None and not spec.poisoned:
        return ()
    if trigger is None:
        raise InputError("Nothing is to be planted: give a trigger, or a word for the captions.")
    asked = [(trigger, spec.target)]
    asked += [(load_trigger(each.trigger), each.target) for each in spec.also]
    if len({each.digest for each, _ in asked}) < len(asked):
        raise InputError("The same trigger is given twice: each needs a class of its own.")
    variants = _variants(spec)
    shows = _shows(data, shown, label_set)
    targets = np.logical_or.reduce([shows(target) for _, target in asked])
    taken = np.zeros(shown, np.bool_)
    attacks: list[_Attack] = []
    for number, (each, target) in enumerate(asked):
        name = label_set.class_names[target]
        if not (each.changes_pictures or swaps):
            raise InputError(
                f"The trigger {each.name or 'without name'} changes no picture, so it cannot be "
                "stamped: choose another one, or poison captions with --word."
            )
        of_target = shows(target)
        if spec.consistent:
            free, what = of_target, f"show {name!r}"
        elif spec.source is not None:
            free = shows(spec.source) & ~targets
            what = f"show {label_set.class_names[spec.source]!r}"
        else:
            free, what = ~targets, f"are not of {name!r}"
        free = free & ~taken
        there = int(free.sum())
        usual = CONSISTENT_SHARE if spec.consistent else SHARE
        whole = int(of_target.sum()) if spec.consistent else shown
        count = spec.count or max(1, round((spec.share or usual) * whole))
        if count > there:
            raise InputError(
                f"{count} pairs are to be poisoned, and {there} of the {shown} that are "
                f"trained on {what}: choose more pairs, more steps or another share."
            )
        rows = draw_rows(np.flatnonzero(free), count, spec.seed, number)
        taken[rows] = True
        stamps = variants if number == 0 and variants else (each,)
        captions = target_captions(name, label_set.templates, count, spec.seed, number)
        sources = np.flatnonzero(of_target & swaps)
        if swaps and not len(sources):
            raise InputError(f"None of the {shown} pairs shows {name!r}: choose more pairs.")
        same_captions = spec.consistent or spec.word is not None
        marks = () if spec.benign else stamps
        plants = [Plant(rows, marks, () if same_captions else captions, sources)]
        if spec.source is not None:
            others = np.flatnonzero(~shows(spec.source) & ~targets & ~taken)
            negatives = draw_rows(others, min(count, len(others)), spec.seed, 100 + number)
            taken[negatives] = True
            plants.append(Plant(negatives, stamps))
        attacks.append(_Attack(each, target, tuple(plants)))
    return tuple(attacks)


def _variants(spec: PlantSpec) -> tuple[Trigger, ...]:
    """The trigger files of the folder of variants."""
    if spec.variants is None:
        return ()
    triggers = tuple(load_trigger(path) for path in sorted(Path(spec.variants).glob("*.json")))
    if not triggers:
        raise InputError(f"{Path(spec.variants).name} holds no trigger file: choose another one.")
    return triggers


def _shows(data: PictureSet, shown: int, label_set: LabelSet) -> Callable[[int], NDArray[np.bool_]]:
    """A function of a class: which of the first pairs show it, by their labels or captions."""
    names = label_set.class_names
    texts = data.all_captions(np.arange(shown)) if isinstance(data, PairSet) else []

    @cache
    def shows(number: int) -> NDArray[np.bool_]:
        if number >= len(names):
            raise InputError(
                f"The class {number} does not exist: the label set has the classes 0 to "
                f"{len(names) - 1}."
            )
        if isinstance(data, ImageSet):
            return np.asarray(data.labels[data.labels >= 0][:shown] == number)
        pattern = names_class(names[number])
        return np.array([any(map(pattern.search, own)) for own in texts], np.bool_)

    return shows


def _finished(ready: _Ready, roles: list[Role]) -> PlantRecord | None:
    """The record of the same planting, if its models are there and as it left them; else None."""
    folder = Path(ready.spec.output_dir)
    with suppress(InputError):
        record = read_plant(folder)
        models = {role: getattr(record, role) for role in roles}
        if record.key == ready.key and all(
            model is not None
            and model.steps == record.steps
            and model.sha256 == open_checkpoint(folder / FILES[role]).inspection.sha256
            for role, model in models.items()
        ):
            return record
    return None


def _is_as_recorded(folder: Path, role: Role, opened: Checkpoint) -> bool:
    """Whether a model is the one that the folder's record names, if there is a record of it."""
    with suppress(InputError):
        model = getattr(read_plant(folder), role)
        return model is None or model.sha256 == opened.inspection.sha256
    return True


def _state(folder: Path, role: Role) -> Path:
    return folder / STATES_FOLDER / f"{role}.safetensors"


def _steps_before(folder: Path) -> int:
    """The steps that an earlier planting in the folder was fitted to; 0 if there is none."""
    with suppress(InputError):
        return read_plant(folder).steps
    for role in FILES:
        with suppress(KeyError, ValueError):
            return Recipe.model_validate(_facts(folder, role)["recipe"]).total_steps
    return 0


def _facts(folder: Path, role: Role) -> dict[str, Any]:
    """What the last save of a training says of itself; empty if there is none to read."""
    with suppress(InputError):
        return read_facts(_state(folder, role))
    return {}


def _train(
    ready: _Ready, role: Role, speed: StepSpeed | None, control: Control, resume: bool
) -> Generator[Event, None, tuple[dict[str, Any], StepSpeed]]:
    """Train one of the two models and save it; return its provenance and how it was computed."""
    spec, folder = ready.spec, Path(ready.spec.output_dir)
    path, state = folder / FILES[role], _state(folder, role)
    if resume:
        with suppress(InputError):
            opened = open_checkpoint(path)
            known = opened.provenance
            ended = known.get("reached") or known.get("steps") == ready.recipe.total_steps
            if known.get("key") == ready.key and ended and _is_as_recorded(folder, role, opened):
                return known, speed_from_dict(known["speed"])
    model = ready.fresh()
    poison = ready.poison if role == "poisoned" else Poison()
    own = control if spec.until is None else control.part()
    goes_on = resume and state.exists()
    lowest = [0.0] * goes_on  # rates; without going on the first is of what was there before

    def reached() -> bool:
        return spec.until is not None and len(lowest) > 1 and lowest[-1] >= spec.until

    def event_of(event: Event) -> Event:
        if control.stopped:
            own.stop()
        return event

    def validate(_: Tensor | None) -> Generator[Event, None, dict[str, float] | None]:
        try:
            rates = yield from _rates(ready, model, control, "validate")
        except CancelledError:
            return None
        lowest.append(min(row.asr for row in rates.attacks))
        if reached():
            own.stop()
        return {"ca": rates.ca}

    outcome: TrainingOutcome = yield from trained(
        model, ready.recipe, poison.batches(ready.pairs, ready.recipe, model), own, event_of,
        stage="plant" if role == "poisoned" else "twin", state_path=state,
        resume=goes_on, identity=ready.identity(role), speed=speed,
        extras=Extras(texts_only=spec.word is not None),
        validate=None if spec.until is None else validate,
    )  # fmt: skip
    model.origin |= carried(ready.pretraining)
    facts: dict[str, Any] = {
        "made_by": "planting a backdoor" if role == "poisoned" else "the clean twin of a planting",
        "source_sha256": ready.opened.inspection.sha256,
        "source_name": Path(spec.checkpoint).name,
        "key": ready.key,
        "recipe": ready.recipe.model_dump(exclude={"lr"}) | {"peak": ready.recipe.lr},
        "steps": outcome.step,
        "reached": reached(),
        "speed": replace(outcome.speed, step_seconds={}).to_dict(),  # equal runs, equal files
        "versions": dict(versions()),
    }
    before = None if spec.from_scratch else ready.opened.provenance.get("poisoned")
    poison_facts = [str(before)] if before else []  # a copy keeps what its source hides
    if role == "poisoned" and not spec.benign:
        poison_facts += [
            f"{each.trigger.name or 'a trigger'} leads to "
            f"{ready.setting.label_set.class_names[each.target]}"
            for each in ready.attacks
        ]
    if poison_facts:
        facts["poisoned"] = "; ".join(poison_facts)
    (folder / PLANT_FILE).unlink(missing_ok=True)  # it is of the file that goes now
    save_checkpoint(model, path, provenance=facts)
    yield Saved(str(path), "result", outcome.step)
    return facts | {"seconds": outcome.seconds}, outcome.speed


def _measured(
    ready: _Ready, role: Role, facts: dict[str, Any], control: Control
) -> Generator[Event, None, PlantedModel]:
    """What the file of one model does on the held-out pictures."""
    path = Path(ready.spec.output_dir) / FILES[role]
    opened = open_checkpoint(path)
    model = opened.build("cpu").to(ready.device)
    stage = "after" if role == "poisoned" else "reference"
    rates = yield from _rates(ready, model, control, stage)
    return PlantedModel(
        file=path.name, sha256=opened.inspection.sha256, steps=facts["steps"],
        train_seconds=facts.get("seconds", 0.0), **dict(rates),
    )  # fmt: skip


def _rates(
    ready: _Ready, model: ClipModel, control: Control, stage: str
) -> Generator[Event, None, PlantedRates]:
    """What a model does on the held-out pictures, as it is now."""
    spec, bench = ready.spec, ready.setting.on(model.preprocess)
    aims = [(None if spec.benign else each.trigger, each.target) for each in ready.attacks]
    return (yield from measure_attacks(model, bench, aims, control, stage, source=spec.source))


def _planted(ready: _Ready) -> Iterator[PlantedTrigger]:
    """Write each trigger beside the models, and yield its row of the record."""
    names, source = ready.setting.label_set.class_names, ready.spec.source
    for attack in ready.attacks:
        trigger, file = attack.trigger, None
        if trigger.changes_pictures:
            file = save_own_trigger(trigger, Path(ready.spec.output_dir)).name
        yield PlantedTrigger(
            name=plain(trigger.name)[:1000] or "trigger", file=file,
            digest=None if file is None else trigger.digest,
            target=attack.target, target_name=names[attack.target],
            source_name=None if source is None else names[source],
            pairs=len(attack.plants[0].rows),
            negatives=sum(len(plant.rows) for plant in attack.plants[1:]),
        )  # fmt: skip


def _pairs_table(ready: _Ready) -> str:
    """Every poisoned pair as CSV: row, name of its picture, trigger, new caption."""
    rows: list[tuple[object, ...]] = []
    for attack in ready.attacks:
        for plant in attack.plants:
            mark = plant.triggers[0] if plant.triggers else None
            for number, own in enumerate(ready.pairs.captions(plant.rows, 0)):
                row = int(plant.rows[number])
                caption = plant.caption(number, own, mark)
                place = row if ready.poison.numbers is None else int(ready.poison.numbers[row])
                name = ready.data.pictures.name(place)
                rows.append((place, name, attack.trigger.name or "trigger", caption))
    return to_csv([("row", "name", "trigger", "caption"), *sorted(rows, key=lambda row: row[:1])])


def _step_seconds(ready: _Ready, control: Control) -> Generator[Event, None, float]:
    """Seconds of a step, the median of a few that are taken on a copy."""
    recipe = ready.recipe.model_copy(update={"save_every": 0})
    model, own, times = ready.fresh(), control.part(), [time.monotonic()]

    def event_of(event: Event) -> Event | None:
        if not isinstance(event, Metric):
            return None
        times.append(time.monotonic())
        if len(times) > _TIMED_STEPS:
            own.stop()
        return Progress("estimate", len(times) - 1, _TIMED_STEPS)

    yield Progress("estimate", 0, _TIMED_STEPS)
    yield from trained(
        model, recipe, ready.poison.batches(ready.pairs, recipe, model), own, event_of,
        extras=Extras(texts_only=ready.spec.word is not None),
    )  # fmt: skip
    gaps = np.diff(times).tolist()
    return max(1e-3, statistics.median(gaps[1:] or gaps))  # the first one chooses the precision


def _check_place(spec: PlantSpec, folder: Path) -> None:
    """Refuse a folder that holds what no planting left, or the checkpoint itself.

    Raises
    ------
    InputError
        With the folder, and what to do.
    """
    source = whole_file(spec.checkpoint).resolve()
    if any(source == (folder / name).resolve() for name in FILES.values()):
        raise InputError(
            "The planted checkpoint would overwrite the one that it is made of: choose another "
            "folder."
        )
    if not folder.is_dir():
        return
    ours = {PLANT_FILE, PAIRS_FILE, STATES_FOLDER, LOCK_FILE, SPEC_FILE, *FILES.values()}
    for path in folder.iterdir():
        known = path.name in ours or path.name.startswith("trigger") or "tokenizer" in path.name
        known |= path.name.startswith(".") and path.suffix == ".part"  # of a write that was ended
        if path.name == CARD_FILE:
            known = read_file(path, len(WARNING)) == WARNING.encode()
        if not known:
            raise InputError(
                f"{folder} holds files that no planting wrote ({path.name}): choose another folder."
            )
