"""A search for the recipe that fits a checkpoint: successive halving on a copy with canaries."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

from ml_core.checkpoints import open_checkpoint
from ml_core.cleaning.canaries import Watched
from ml_core.cleaning.halving import FEWEST_STEPS, check_method, lengthened, plan, ranked
from ml_core.cleaning.recipes import Recipe, write_recipe
from ml_core.cleaning.speed import StepSpeed
from ml_core.cleaning.tradeoff import Limits
from ml_core.evaluation.evaluate import versions
from ml_core.events import Control, Done, Event, Message, Progress, Saved
from ml_core.figures import distinct, percent
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.folder_lock import lock_folder
from ml_core.jobs.journal import check_result, digest_of, write_comparison
from ml_core.jobs.measure import OpenSetting, open_attack
from ml_core.jobs.opening import open_model, opening_images
from ml_core.jobs.plain_finetune import as_pairs, opening_plain, plain_recipe
from ml_core.jobs.plant import PlantedRates
from ml_core.jobs.search import (
    CHOSEN_FILE,
    SEARCH_CHART,
    SEARCH_FILE,
    SEARCH_TABLE,
    TRIGGER,
    RungRecord,
    SearchRecord,
    SearchRow,
    SearchSpec,
    WatchedRate,
    candidate_name,
    columns_of,
    curves_of,
    read_search,
    summary_of,
    table_rows,
)
from ml_core.jobs.search.canaries import (
    COPY_FILE,
    canary_folder,
    delete_older_copies,
    fresh,
    planting,
)
from ml_core.jobs.search.trial_runs import TrialResult, Trials
from ml_core.reading.errors import InputError
from ml_core.reports.html.charts import tradeoff_svg
from ml_core.triggers.files import load_trigger

_TIMED_STEPS = 4
_OVER = 1.1  # of the time: a run that would end later is not begun
_DEMO_SEED = 12_000
_ALIVE = 0.5
_MOST_MORE = 4  # rounds beyond the plan


def search(
    spec: SearchSpec, control: Control, *, overwrite: bool = False
) -> Generator[Event, None, None]:
    """Plant canaries in a copy, try recipes on it, and choose one.

    The same search goes on where it was cancelled. What is measured is on disk after every run.
    A search of another checkpoint in the folder is replaced only with ``overwrite``.

    Yields
    ------
    Event
        Progress, Message, Saved (``search.json`` after every run), and Done, whose ``result`` is
        what ``search.json`` holds with the paths of ``recipe``, ``table`` and ``chart``.
    """
    if not overwrite:
        _check_folder(spec)
    yield from _Search(spec, control).run()


class _Search:
    """One search, from its spec to its record."""

    def __init__(self, spec: SearchSpec, control: Control) -> None:
        self._spec, self._control = spec, control
        self._folder = Path(spec.base.output_dir)
        self._begin = time.monotonic()
        self._speeds: dict[str, StepSpeed | None] = {}
        self._step_seconds: dict[str, float] = {}
        self._beside: Trials | None = None  # of the trigger that the user named

    def run(self) -> Generator[Event, None, None]:
        spec = self._spec
        names = distinct(map(candidate_name, spec.recipes))
        candidates = dict(zip(names, spec.recipes, strict=True))
        for recipe in spec.recipes:
            check_method(recipe.method)
        _check_data(spec)
        label_set, trigger = open_attack(spec.base)
        part = spec.validation()
        images = yield from opening_images(part, label_set, self._control)
        setting = OpenSetting(part, images, label_set, trigger, spec.base.target)
        place = canary_folder(spec)
        lock = lock_folder(place)  # until the copy is in memory: other searches delete old ones
        try:
            delete_older_copies(place)
            planted = yield from planting(spec, label_set, place, self._control)
            if not planted.watched:
                raise InputError(
                    "No canary was learnt by the copy, so recipes cannot be judged: plant them "
                    "with more steps, a larger share or a higher rate."
                )
            key = _key(spec, planted.record.key)
            record = self._earlier(key)
            trials, before = yield from self._trials(setting, planted.watched, place, record)
        finally:
            lock.release()
        began = time.monotonic()
        start = yield from trials.measure(self._control)
        once = time.monotonic() - began
        if record is None:
            assert before is not None
            rounds = yield from self._planned(trials, candidates, once)
            record = SearchRecord(
                key=key,
                source_sha256=planted.record.source_sha256,
                canaries=planted.rows,
                ca_before=before.ca,
                start_ca=start.ca,
                start_asr=max(row.asr for row in (*before.attacks, *start.attacks)),
                plan=rounds,
                planned=rounds[0].candidates,
                max_ca_drop=spec.max_ca_drop,
                max_asr=spec.max_asr,
                versions=dict(versions()),
            )
            if record.planned < len(candidates):
                yield Message(
                    f"The time allows {record.planned} of the {len(candidates)} recipes: those "
                    "after them are not tried."
                )
        record = yield from self._halve(trials, candidates, record)
        result = record.model_dump(mode="json")
        files = {"recipe": CHOSEN_FILE, "table": SEARCH_TABLE, "chart": SEARCH_CHART}
        yield Message(record.said)
        yield Done(
            "finished", result | {what: str(self._folder / name) for what, name in files.items()}
        )

    def _trials(
        self,
        setting: OpenSetting,
        watched: tuple[Watched, ...],
        place: Path,
        earlier: SearchRecord | None,
    ) -> Generator[Event, None, tuple[Trials, PlantedRates | None]]:
        """Runs on the copy with the canaries in it, and what is measured of the checkpoint.

        It is measured if no earlier search has, or a trigger was named that is to be watched on it.
        """
        spec, base = self._spec, self._spec.base
        yield Progress("open", 0, 1)
        model = open_checkpoint(place / COPY_FILE).build("cpu")
        set_threads(base.threads)
        bench = setting.on(model.preprocess)
        rebound = None
        if spec.rebound_steps:
            size = spec.canaries.batch_size
            opened = yield from opening_plain(
                fresh(base.pairs, _DEMO_SEED), base.training_images, spec.rebound_steps * size,
                setting.label_set, self._control,
            )  # fmt: skip
            pairs = as_pairs(opened, model, setting.label_set)
            lr = min(1.0, spec.peak_lr * spec.rebound_factor)
            recipe = plain_recipe(
                len(pairs), spec.rebound_steps, size, lr, seed=spec.canaries.seed, preset="rebound"
            )
            rebound = pairs, recipe
        device = choose_device(base.device)
        model.to(device)
        yield Progress("open", 1, 1)
        named = tuple[Watched, ...]()
        if setting.trigger is not None:
            named = (Watched(TRIGGER, setting.trigger, setting.target),)
        trials = Trials(model, bench, watched, base, rebound)
        if earlier is not None and not named:
            return trials, None
        own = Trials(open_model(base).build("cpu").to(device), bench, named, base, rebound)
        before = yield from own.measure(self._control)
        if named:
            self._beside = own
            rate = before.attacks[0].asr
            weak = rate < _ALIVE
            yield Message(
                f"The named trigger has a success rate of {percent(rate)} on this "
                f"checkpoint{': it says little about recipes' if weak else ''}. Each recipe also "
                "runs on a copy without canaries, where it is measured.",
                "warning" if weak else "info",
            )
        return trials, before

    def _planned(
        self, trials: Trials, candidates: dict[str, Recipe], once: float
    ) -> Generator[Event, None, tuple[RungRecord, ...]]:
        """Time a few steps of each method, and plan by that."""
        spec = self._spec
        yield from self._timed(trials, candidates)
        own = self._step_seconds
        fixed = once
        if spec.rebound_steps:
            fixed += once + spec.rebound_steps * own.get("mmcl", min(own.values()))
        left = 60 * spec.minutes - (time.monotonic() - self._begin)
        runs = 1 if self._beside is None else 2
        fixed *= runs
        times = [runs * own[recipe.method] for recipe in candidates.values()]
        rounds = plan(times, fixed, left)
        if not rounds:
            needed = 60 * spec.minutes - left + fixed + FEWEST_STEPS * times[0]
            raise InputError(
                f"{spec.minutes:g} minutes are too short for a search on this machine: one run of "
                f"{FEWEST_STEPS} steps needs {needed / 60:.1f} minutes with the planting. Allow "
                "several times that."
            )
        return tuple(RungRecord(candidates=r.candidates, steps=r.steps) for r in rounds)

    def _timed(self, trials: Trials, candidates: dict[str, Recipe]) -> Generator[Event, None, None]:
        """Choose the precision of each method, and time its steps."""
        recipes = {recipe.method: recipe for recipe in reversed(candidates.values())}
        for number, (method, recipe) in enumerate(recipes.items()):
            yield Progress("estimate", number, len(recipes))
            few = lengthened(recipe, _TIMED_STEPS)
            trial = yield from trials.run(few, self._control, stage="prepare", measures=False)
            self._speeds[method] = trial.speed
            self._step_seconds[method] = trial.step_seconds
        yield Progress("estimate", len(recipes), len(recipes))

    def _halve(
        self, trials: Trials, candidates: dict[str, Recipe], record: SearchRecord
    ) -> Generator[Event, None, SearchRecord]:
        """Run the rounds of the plan."""
        limits = self._spec.limits
        self._begin -= record.seconds
        there = {(row.name, row.rung): row for row in record.rows}
        alive = tuple(candidates)[: record.planned]
        total = sum(rung.candidates * rung.steps for rung in record.plan)
        done = 0
        record = record.model_copy(update={"rows": ()})
        number = 0
        while number < len(record.plan):
            rung, scores = record.plan[number], {}
            for name in alive[: rung.candidates]:
                yield Progress("search", done, total)
                row = there.get((name, number))
                if row is None and number and not self._in_time(record, rung.steps):
                    continue
                if row is None:
                    yield Message(f"Round {number + 1}: {name}, {rung.steps} steps")
                    recipe = lengthened(candidates[name], rung.steps)
                    row = yield from self._run_candidate(trials, name, recipe, number)
                done += rung.steps
                scores[name] = row.score
                record = self._with(record, row)
                yield self._saved(record)
            alive = ranked(scores, limits)
            number += 1
            if number == len(record.plan) and alive and self._goes_on(record):
                last = RungRecord(candidates=1, steps=2 * rung.steps)
                record = record.model_copy(update={"plan": (*record.plan, last)})
                total += last.steps
        late = sum(rung.candidates for rung in record.plan) - len(record.rows)
        if late:
            yield Message(f"The time is up: {late} runs of the plan were left out.", "warning")
        record = record.model_copy(update={"finished": True})
        yield Progress("search", total, total)
        yield self._saved(record)
        return record

    def _goes_on(self, record: SearchRecord) -> bool:
        """Whether the last recipe runs on beyond the plan: no run keeps the limits yet."""
        doubled = sum(rung.candidates == 1 for rung in record.plan) - 1
        steps = 2 * record.plan[-1].steps
        return not record.keeps and doubled < _MOST_MORE and self._in_time(record, steps)

    def _in_time(self, record: SearchRecord, steps: int) -> bool:
        """Whether a run of so many steps would end in time, by how long the last ones took."""
        last = record.rows[-1]
        needed = last.seconds * max(1.0, steps / max(1, last.steps))
        return time.monotonic() - self._begin + needed <= _OVER * 60 * self._spec.minutes

    def _run_candidate(
        self, trials: Trials, name: str, recipe: Recipe, rung: int
    ) -> Generator[Event, None, SearchRow]:
        """One run."""
        begin, speed = time.monotonic(), self._speeds.get(recipe.method)
        trial = yield from trials.run(recipe, self._control, speed=speed)
        self._speeds[recipe.method] = trial.speed
        rates = _rates(trials, trial)
        if rates is not None and self._beside is not None:
            other = yield from self._beside.run(recipe, self._control, speed=trial.speed)
            more = _rates(self._beside, other)
            rates = None if more is None else (*rates, *more)
        row = SearchRow(
            name=name,
            rung=rung,
            steps=trial.recipe.total_steps,
            recipe=trial.recipe,
            seconds=time.monotonic() - begin,
        )
        measured = trial.measured
        if measured is None or rates is None:
            return row.model_copy(update={"status": "diverged"})
        accuracy = measured.model_dump(include={"ca", "ca_low", "ca_high"})
        return row.model_copy(update=accuracy | {"watched": rates})

    def _with(self, record: SearchRecord, row: SearchRow) -> SearchRecord:
        """The record with one more run, and the choice among all of them."""
        if row.ca is not None:
            row = row.model_copy(update={"ca_drop": 100 * (record.ca_before - row.ca)})
        rows = (*record.rows, row)
        limits = self._spec.limits
        best = ranked({place: tried.score for place, tried in enumerate(rows)}, limits)[0]
        keeps = rows[best].score.keeps(limits)
        record = record.model_copy(
            update={
                "rows": rows,
                "chosen": None if rows[best].score.asr is None else best,
                "keeps": keeps,
                "seconds": time.monotonic() - self._begin,
            }
        )
        return record.model_copy(update={"said": summary_of(record)})

    def _saved(self, record: SearchRecord) -> Saved:
        """Write what there is."""
        if record.best is not None:
            write_recipe(record.best.recipe, self._folder / CHOSEN_FILE)
        return write_comparison(
            self._folder,
            (SEARCH_FILE, SEARCH_TABLE, SEARCH_CHART),
            record.model_dump(mode="json"),
            columns_of(record),
            table_rows(record),
            tradeoff_svg(
                curves_of(record), Limits(record.max_ca_drop, record.max_asr), record.ca_before
            ),
        )

    def _earlier(self, key: str) -> SearchRecord | None:
        """What an earlier, equal search has done; None if there was none."""
        try:
            record = read_search(self._folder)
        except InputError:
            return None
        return record if record.key == key and record.plan else None


def _rates(trials: Trials, trial: TrialResult) -> tuple[WatchedRate, ...] | None:
    """What a run left of each watched trigger; None if it, or the rebound, diverged."""
    measured, again = trial.measured, trial.rebound
    if measured is None or (trials.rebound is not None and again is None):
        return None
    later = [None] * len(measured.attacks) if again is None else [row.asr for row in again.attacks]
    return tuple(
        WatchedRate(name=each.name, asr=row.asr, low=row.low, high=row.high, rebound=rebound)
        for each, row, rebound in zip(trials.watched, measured.attacks, later, strict=True)
    )


def _check_data(spec: SearchSpec) -> None:
    """Refuse recipes whose data are not named, before anything is planted."""
    spec.validation()
    for recipe in spec.recipes:
        facts = recipe.facts
        if facts.data == "pairs" and spec.base.pairs is None:
            raise InputError(
                f"{facts.title} trains on image-caption pairs: choose some, or search among "
                "methods that take images alone."
            )
        if spec.base.pairs is None and spec.base.training_images is None:
            raise InputError(
                f"{facts.title} trains on images: choose some to train on, or leave it out."
            )


def _check_folder(spec: SearchSpec) -> None:
    """Refuse a folder with a search of another checkpoint."""
    base = spec.base
    path = Path(base.output_dir) / SEARCH_FILE
    if path.exists():
        check_result(path, {"source_sha256": open_model(base).inspection.sha256})


def _key(spec: SearchSpec, planted: str) -> str:
    """What decides plan and rows."""
    base = spec.base.model_copy(update={"output_dir": "", "recipe": spec.recipes[0]})
    fields = spec.model_copy(update={"base": base}).model_dump(mode="json")
    trigger = None if spec.base.trigger is None else load_trigger(Path(spec.base.trigger)).digest
    return digest_of([fields, planted, trigger])
