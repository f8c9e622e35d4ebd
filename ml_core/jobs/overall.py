"""How far a whole job is: the events of its stages as one fraction and the seconds left.

Each stage of a job reports its own progress. How long a stage takes is not known at first, so a
plan says what to expect: seconds, or work in units of one picture through the image encoder. The
first stage that works measures the time of such a unit for all others. Torch-free.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ml_core.cleaning.pretraining import UNKNOWN
from ml_core.cleaning.recipes import Recipe, fields_of
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.detection.scan.records import Scan, passes, steps
from ml_core.events import Progress
from ml_core.jobs.audit import AuditSpec
from ml_core.jobs.auto import AutoSpec, AutoStep, scan_of
from ml_core.jobs.auto.choice import first_recipe
from ml_core.jobs.examination import ExamineSpec
from ml_core.jobs.plant import SCRATCH_STEPS, STEPS, PlantSpec
from ml_core.jobs.proofs import PROOF_IMAGES, HoldoutSpec, ReboundSpec
from ml_core.jobs.rates import CPU_BATCH, RateSpec
from ml_core.jobs.scan import STAGES, ScanSpec, Stage
from ml_core.jobs.specs import CleanSpec

_UNIT_SECONDS = 0.005  # a picture through a small encoder, until one is measured
_UNKNOWN_NUMBER = 2000  # of pictures or pairs, until a stage tells its total
_ALPHAS, _QUESTIONS = 12, 30  # that are tried and asked, until the stage tells its total
_OPEN_SECONDS, _PREPARE_SECONDS, _WRITE_SECONDS = 4.0, 4.0, 1.0
# Forward and backward through an encoder (in bfloat16, mostly), and a caption beside a picture.
_TRAINED, _TEXT = 2.0, 0.4
# Of a scan: a gradient at the input in pictures encoded, and a model that is not open yet.
_BACKWARD, _SIDE, _CLASSES = 2.6, 224, 1000


# Stages of a scan that take their time, the least in seconds if they were run, and the most of all.
_HEAVY, _QUICKEST, _SLOWEST = ("probes", "patches", "overlays"), 0.05, 1e7

_Units = Mapping[bool, float | None]


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """One stage of a plan.

    Attributes
    ----------
    stage
        As its Progress events name it.
    seconds
        Seconds it is expected to take, if they are known or guessed beforehand.
    work
        Expected work for each item, in units of one picture encoded. Its time follows from the time
        that a unit takes in other stages.
    items
        How many items there are; the stage's own total replaces it.
    trains
        Whether it trains. The time of its units then says little about stages that only encode.
    inside
        It comes in the midst of the stage before it, which goes on after it.
    """

    stage: str
    seconds: float = 0.0
    work: float = 0.0
    items: int = 1
    trains: bool = False
    inside: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages in their order; ``unit`` is what one unit of work takes in seconds, where measured."""

    parts: tuple[PlannedStage, ...]
    unit: float | None = None


_OPENING = (PlannedStage("open", _OPEN_SECONDS), PlannedStage("data"))


@dataclass(slots=True)
class _Seen:
    """How far a stage was; ``entered`` and ``moved`` are times, ``first`` and ``at`` shares.

    ``at`` is the share at ``moved``, the first sign of progress. The time before it, for example
    for class texts, says nothing about the speed afterwards. ``away`` is since when it waits for
    the stage inside it.
    """

    part: PlannedStage
    entered: float | None = None
    left: float | None = None
    away: float | None = None
    moved: float | None = None
    first: float = 0.0
    at: float = 0.0
    share: float = 0.0


class Overall:
    """Takes the Progress events of one job; :attr:`fraction` never falls.

    Parameters
    ----------
    plan
        The expected stages. A skipped stage counts nothing once a later one has begun. A stage that
        is not in the plan gets its place when its first event comes.
    clock
        Seconds, monotone.
    """

    def __init__(self, plan: Plan, clock: Callable[[], float] | None = None) -> None:
        self._clock, self._given_unit = clock or time.monotonic, plan.unit
        self._current, self._job = -1, 0
        self._seen = self._planned([plan])
        self._fraction = 0.0
        self._held: float | None = None
        self._lost = 0.0  # seconds on hold, and of stages that nobody planned
        self._aside: _Seen | None = None

    @property
    def fraction(self) -> float:
        """Share of the whole job that is done, 0 to 1."""
        return self._fraction

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the job is done; None while the speed of the coming stages is not known."""
        if self._current < 0:
            return None
        now, aside = self._now(), 0.0
        if self._aside is not None:
            pace = self._pace(self._aside, now) or 0.0
            now, aside = self._aside.entered or now, pace * (1 - self._aside.share)
        units = self._units(now)
        sizes = [self._size(place, units, now) for place in range(len(self._seen))]
        known = [size[1] for size in sizes if size is not None]
        return sum(known) + aside if len(known) == len(sizes) else None

    def expect(self, *plans: Plan) -> None:
        """Take over what a better plan says of the stages after the present one.

        Those after the first are of jobs that follow the present one.
        """
        begun, planned = self._seen[: self._current + 1], self._planned(plans)
        names = [seen.part.stage for seen in planned]
        after = max(
            (names.index(s.part.stage) + 1 for s in begun if s.part.stage in names), default=0
        )
        self._seen = [*begun, *planned[after:]]
        self._given_unit = next((p.unit for p in plans if p.unit), self._given_unit)

    def begin_job(self, *plans: Plan) -> None:
        """The next job of a chain begins: ``plans`` are of it and of those that follow it."""
        self._come_back()
        self._leave(0)
        self._job += 1
        self.expect(*plans)

    def _planned(self, plans: Sequence[Plan]) -> list[_Seen]:
        """The stages of the present job and of the next ones, each named with its job."""
        return [
            _Seen(replace(part, stage=f"{number} {part.stage}"))
            for number, plan in enumerate(plans, self._job)
            for part in plan.parts
        ]

    def pause(self) -> None:
        """The job is on hold: its time does not count."""
        if self._held is None:
            self._held = self._clock()

    def go_on(self) -> None:
        """The job goes on."""
        if self._held is not None:
            self._lost += self._clock() - self._held
            self._held = None

    def take(self, progress: Progress) -> None:
        """Take in how far a stage is.

        Two kinds of stage take time but add no progress: one that is over already, and one that
        nobody planned and that comes in the middle of another (class texts are embedded between
        training steps). The stage around the latter stands still meanwhile.
        """
        stage = f"{self._job} {progress.stage}"
        share = min(max(progress.done / progress.total, 0.0), 1.0) if progress.total > 0 else 0.0
        now, aside = self._now(), self._aside
        if self._is_interlude(stage):
            if aside is None or aside.part.stage != stage or share < aside.share:
                self._come_back()
                part = PlannedStage(stage)
                self._aside = aside = _Seen(part, self._now(), first=share, at=share)
            if aside.moved is None and share > aside.first:
                aside.moved, aside.at = now, share
            aside.share = share
            return
        self._come_back()
        now, place = self._now(), self._place(stage)
        if place == self._current - 1 and self._seen[place].away is not None:
            self._return(place, now)
        elif place > self._current:
            self._enter(place, now, share)
        seen = self._seen[self._current]
        if place == self._current and progress.total > 0:
            if seen.moved is not None and progress.total > seen.part.items:  # there is more to do
                known = seen.part.items / progress.total
                seen.first, seen.at = seen.first * known, seen.at * known
                seen.share *= known
            seen.part = replace(seen.part, items=progress.total)
            if seen.moved is None and share > seen.first:
                seen.moved, seen.at = now, share
            seen.share = max(seen.share, share)
        self._fraction = max(self._fraction, self._share_done(now))

    def _come_back(self) -> None:
        """What nobody planned is over; the time that it took counts for no stage."""
        if self._aside is not None and self._aside.entered is not None:
            self._lost += self._now() - self._aside.entered
        self._aside = None

    def _now(self) -> float:
        return (self._clock() if self._held is None else self._held) - self._lost

    def _is_interlude(self, stage: str) -> bool:
        """Whether an unplanned stage comes while another is half done, or before one inside it."""
        if self._current < 0 or any(seen.part.stage == stage for seen in self._seen):
            return False
        present, *after = self._seen[self._current : self._current + 2]
        half_done = present.left is None and 0 < present.share < 1
        return half_done or any(seen.part.inside for seen in (present, *after))

    def _place(self, stage: str) -> int:
        """Where a stage stands; one that nobody planned comes after the present one."""
        for place, seen in enumerate(self._seen):
            if seen.part.stage == stage:
                return place
        self._seen.insert(self._current + 1, _Seen(PlannedStage(stage)))
        return self._current + 1

    def _enter(self, place: int, now: float, share: float) -> None:
        seen = self._seen[place]
        if seen.part.inside and place == self._current + 1:
            self._seen[self._current].away = now
        else:
            self._leave(max(self._current - 1, 0))
        self._current = place
        # A stage that begins in its middle goes on from an earlier session.
        self._seen[place] = _Seen(seen.part, entered=now, first=share, share=share)

    def _leave(self, place: int) -> None:
        """The stages from ``place`` to the present one are over."""
        for seen in self._seen[place : self._current + 1]:
            if seen.entered is not None:
                seen.left, seen.away = seen.left or seen.away or self._now(), None

    def _return(self, place: int, now: float) -> None:
        """Go on with a stage after the one inside it."""
        self._seen[self._current].left, self._current = now, place
        seen = self._seen[place]
        if seen.away is not None and seen.entered is not None:
            gone, seen.away = now - seen.away, None
            seen.entered += gone
            seen.moved = None if seen.moved is None else seen.moved + gone

    def _units(self, now: float) -> _Units:
        """Seconds of one unit of work, of stages that encode and of those that train."""
        units = {kind: self._unit(kind, now) for kind in (False, True)}
        either = units[False] or units[True] or self._given_unit
        return {kind: unit or either for kind, unit in units.items()}

    def _unit(self, trains: bool, now: float) -> float | None:
        """The same, from the work done in stages of one kind; None before there is any."""
        spent = work = 0.0
        for seen in self._seen:
            part = seen.part
            if not part.work or part.trains != trains or seen.entered is None:
                continue
            pace = self._pace(seen, now)
            if seen.left is not None:
                if seen.moved is not None:  # it may have ended early, or been done before
                    spent += seen.left - seen.entered
                    work += part.work * part.items * (seen.share - seen.first)
            elif pace is not None:
                spent += pace
                work += part.work * part.items
        return spent / work if work > 0 else None

    def _pace(self, seen: _Seen, now: float) -> float | None:
        """Seconds that the whole present stage takes at its present speed; None before it moves."""
        if seen.moved is None or seen.entered is None:
            return None
        now = seen.away or now
        if seen.share > seen.at:
            return (now - seen.moved) / (seen.share - seen.at)
        return (now - seen.entered) / (seen.share - seen.first)

    def _size(self, place: int, units: _Units, now: float) -> tuple[float, float] | None:
        """Seconds that a stage takes, in all and from now on; None while that is not known."""
        seen = self._seen[place]
        part, unit = seen.part, units[seen.part.trains]
        expected: float | None = part.seconds
        if part.work:
            expected = None if unit is None else part.work * part.items * unit
        if seen.entered is None:
            if place < self._current:
                return 0.0, 0.0
            return None if expected is None else (expected, expected)
        if seen.left is not None:
            spent, left = seen.left - seen.entered, 0.0
        else:
            spent, pace = (seen.away or now) - seen.entered, self._pace(seen, now)
            if pace is not None:
                left = pace * (1 - seen.share)
            elif expected is not None:
                left = max(expected * (1 - seen.share) - spent, 0.0)
            else:
                return None
        return (spent + left) / (1 - seen.first or 1.0), left

    def _share_done(self, now: float) -> float:
        """The share of all stages that is done, each weighted by its seconds."""
        units = {kind: unit or _UNIT_SECONDS for kind, unit in self._units(now).items()}
        sizes = [self._size(place, units, now) or (0.0, 0.0) for place in range(len(self._seen))]
        whole, left = (sum(seconds) for seconds in zip(*sizes, strict=True))
        return (whole - left) / whole if whole > 0 else 0.0


def cleaning_plan(spec: CleanSpec, estimated: Mapping[str, Any] | None = None) -> Plan:
    """The stages of a cleaning run.

    Parameters
    ----------
    spec
        The job.
    estimated
        ``seconds``, ``train_seconds`` and ``evaluation_seconds`` of an estimate of the same job.
    """
    recipe, sides = spec.recipe, 2 if spec.trigger is not None else 1
    heads = 2 if recipe.facts.head else 1
    watched, test = spec.images, spec.test_images or spec.images
    sets = [("", test)] if test is not None else []
    sets += [(" (heldout)", spec.heldout_images)] if spec.heldout_images is not None else []
    steps = recipe.total_steps
    looks = steps // recipe.eval_every if watched is not None and recipe.eval_every else 0
    watching = looks * _count(watched) * sides * heads  # between the steps
    training = steps * recipe.batch_size * _example_work(recipe)
    measuring = [
        PlannedStage(f"before{name}", work=sides, items=_count(part)) for name, part in sets
    ]
    if looks:
        measuring.append(PlannedStage("validate", work=sides * heads, items=_count(watched)))
    if "alpha" in fields_of(recipe.method) and recipe.alpha_choice == "auto":
        measuring.append(PlannedStage("alpha", work=sides * _count(watched), items=_ALPHAS))
    for head in ("after", "after, linear head")[:heads]:
        measuring += [
            PlannedStage(f"{head}{name}", work=sides, items=_count(part)) for name, part in sets
        ]
    unit, opening = None, _OPEN_SECONDS
    if estimated:
        looking = float(estimated.get("evaluation_seconds") or 0.0)
        trained = float(estimated.get("train_seconds") or 0.0)
        opening = max(float(estimated.get("seconds") or 0.0) - looking - trained, 0.0)
        looked = watching + sum(part.work * part.items for part in measuring)
        unit = looking / looked if looking and looked else trained / training if training else None
        training = trained / unit if unit else training
    after = [part for part in measuring if part.stage.startswith(("alpha", "after"))]
    train = PlannedStage(
        "train", work=(training + watching) / max(steps, 1), items=steps, trains=True
    )
    prepare = PlannedStage(
        "prepare", _PREPARE_SECONDS if recipe.precision == "auto" and steps else 0.0
    )
    parts = [
        PlannedStage("open", opening), PlannedStage("data"),
        *(p for p in measuring if p.stage[0] == "b"), prepare,
        *(p for p in measuring if p.stage == "validate"), *([train] if steps else []), *after,
    ]  # fmt: skip
    return Plan(tuple(parts), unit)


def rebound_plan(spec: ReboundSpec) -> Plan:
    """The stages of a rebound test: a finetuning for each rate, measured on the way."""
    each = _TRAINED * (1 + _TEXT) * spec.batch_size + 2 * _count(spec.images) / spec.every
    steps = len(spec.factors) * spec.steps
    return Plan((*_OPENING, PlannedStage("rebound", work=each, items=steps, trains=True)))


def holdouts_plan(spec: HoldoutSpec) -> Plan:
    """The stages of the hold-outs: the same questions to both checkpoints, of each picture."""
    pictures = _QUESTIONS * _count(spec.images)
    sides = (PlannedStage(name, work=1.0, items=pictures) for name in ("before", "after"))
    return Plan((*_OPENING, *sides))


def audit_plan(spec: AuditSpec) -> Plan:
    """The stages of an audit of training pairs."""
    parts = [PlannedStage("open", _OPEN_SECONDS)]
    parts += [PlannedStage("overlap", 1.0)] if spec.images else []
    if spec.reference is not None:
        parts.append(PlannedStage("reference", work=1.0, items=_count(spec.reference)))
    parts += [
        PlannedStage("embed", work=1.0, items=_count(spec.pairs)),
        PlannedStage("pictures", _WRITE_SECONDS),
    ]
    return Plan(tuple(parts))


def scan_plan(
    spec: ScanSpec,
    stages: Sequence[Stage] = (),
    *,
    side: int = _SIDE,
    classes: int = _CLASSES,
    search: int = 0,
    held_out: int = 0,
) -> Plan:
    """The stages of a scan where nothing is found; what is found is searched further.

    Parameters
    ----------
    spec
        The job.
    stages, side, classes, search, held_out
        As `planned_scan` knows them.
    """
    models = 1 if spec.reference is None else 2
    sizes = {"models": models, "classes": classes, "search": search or spec.search}
    pictures = held_out or spec.held_out

    def part(stage: str) -> PlannedStage:
        if stage == "weights":
            return PlannedStage(stage, _WRITE_SECONDS)
        cost = passes(stage, side, starts=spec.starts, held_out=pictures, finds=False, **sizes)
        items = steps(stage, side, **sizes)
        work = cost.forward + _BACKWARD * cost.both
        return PlannedStage(stage, work=work / items, items=items, trains=cost.both > 0)

    parts = [
        *_OPENING,
        PlannedStage("texts", work=_TEXT, items=models * _CLASSES),
        PlannedStage("accuracy", work=1.0, items=models * pictures),
    ]  # fmt: skip
    for stage in stages or spec.runs:
        parts.append(part(stage))
        if stage == "patches":
            parts.append(replace(part("refine"), inside=True))
    return Plan(tuple(parts))


def planned_scan(spec: ScanSpec, facts: Mapping[str, Any]) -> Plan:
    """The stages of a scan whose models are open; ``facts`` are those of its Finding ``scan``."""
    sizes = {name: int(facts[name]) for name in ("side", "search", "held_out")}
    stages = [stage for stage in STAGES if stage in facts["stages"]]
    return scan_plan(spec, stages, classes=len(facts["classes"]), **sizes)


def chain_plans(
    chain: AutoSpec,
    step: AutoStep,
    scan: Scan | None,
    facts: Mapping[str, Any] | None = None,
    job: CleanSpec | None = None,
) -> tuple[Plan, ...]:
    """The plans of a step of a chain and of those after it, if one round is enough from here.

    Parameters
    ----------
    scan
        The newest that has ended, by which the others are estimated.
    facts
        Those of the Finding ``scan`` of the one at work.
    job
        The cleaning at work, once it is on disk; before, it is taken for a first round.
    """
    asked = scan_of(chain)
    unit = None if scan is None else scan_unit(asked, scan)
    again = scan_plan(asked) if scan is None else _again(asked, scan)
    if facts is not None:
        again = planned_scan(asked, facts)
    recipe = first_recipe(chain.base.pairs is not None, UNKNOWN, chain.preset)
    cleaning, *proofs = _round_plans(chain, recipe)
    plans = (again, cleaning if job is None else cleaning_plan(job), again, *proofs)
    here = {"clean": 1, "scan": 2 * bool(step.round), "rebound": 3, "holdouts": 4}[step.kind]
    return tuple(replace(plan, unit=unit) for plan in plans[here:])


def round_seconds(chain: AutoSpec, recipe: Recipe, spec: ScanSpec, scan: Scan) -> float | None:
    """Seconds that a round of *Clean it* and the proofs take, by the time of a scan made here.

    It is None where the scan's own time says nothing: a stage was taken from an earlier session.

    Parameters
    ----------
    chain
        What is asked for; its base needs no trigger.
    recipe
        Of the round.
    spec, scan
        The scan, which is made again after the round.
    """
    unit = scan_unit(spec, scan)
    if unit is None:
        return None
    parts = [part for plan in _round_plans(chain, recipe) for part in plan.parts]
    return sum(scan.seconds.values()) + sum(p.seconds + p.work * p.items * unit for p in parts)


def scan_unit(spec: ScanSpec, scan: Scan) -> float | None:
    """Seconds of one unit of work by the time of a scan made here; None if it does not say."""
    heavy = [scan.seconds[stage] for stage in _HEAVY if stage in scan.seconds]
    spent = sum(scan.seconds.values())
    if not heavy or min(heavy) < _QUICKEST or not 0 < spent < _SLOWEST:
        return None
    return spent / sum(part.work * part.items for part in _again(spec, scan).parts)


def _again(spec: ScanSpec, scan: Scan) -> Plan:
    """The stages of the same scan once more."""
    sizes = {"classes": len(scan.classes), "search": scan.search, "held_out": scan.held_out}
    stages = [stage for stage in STAGES if stage in scan.seconds]
    return scan_plan(spec, stages, side=scan.side, **sizes)


def _round_plans(chain: AutoSpec, recipe: Recipe) -> tuple[Plan, Plan, Plan]:
    """The stages of a cleaning with this recipe, and of the proofs of it."""
    images = ImageSpec(kind="demo", n=chain.proof_images or PROOF_IMAGES)
    job = chain.base.model_copy(update={"recipe": recipe, "trigger": "found"})
    rebound = ReboundSpec.model_construct(images=images, steps=chain.rebound_steps)
    held_out = HoldoutSpec.model_construct(images=images)
    return cleaning_plan(job), rebound_plan(rebound), holdouts_plan(held_out)


def examination_plan(spec: ExamineSpec) -> Plan:
    """The stages of the scan of an examination, which takes most of its time."""
    return scan_plan(_scan_of(spec))


def planned_examination(spec: ExamineSpec, facts: Mapping[str, Any]) -> Plan:
    """The same once its models are open; ``facts`` as in `planned_scan`."""
    return planned_scan(_scan_of(spec), facts)


def _scan_of(spec: ExamineSpec) -> ScanSpec:
    """The scan of an examination, as far as its time depends on it."""
    return ScanSpec(
        checkpoint=spec.checkpoint, images=spec.images or ImageSpec(kind="demo", split="test"),
        reference=spec.reference, output_dir=spec.checkpoint, **spec.scan.model_dump(),
    )  # fmt: skip


def plant_plan(spec: PlantSpec) -> Plan:
    """The stages of a planting: two trainings of the same steps, and a measurement of each."""
    steps = spec.steps or (SCRATCH_STEPS if spec.from_scratch else STEPS)
    views = 2 if spec.self_supervision else 1
    each = _TRAINED * (1 + _TEXT) * views * spec.batch_size
    looks = (2 + len(spec.also)) * _count(spec.images)
    parts = [*_OPENING, PlannedStage("prepare", _PREPARE_SECONDS)]
    roles = (("plant", "after", spec.poisoned), ("twin", "reference", spec.twin))
    parts += [PlannedStage(t, work=each, items=steps, trains=True) for t, _, on in roles if on]
    parts += [PlannedStage(a, work=1.0, items=looks) for _, a, on in roles if on]
    return Plan(tuple(parts))


def rates_plan(spec: RateSpec) -> Plan:
    """The stages of a rate finder: a ramp with measurements on its way."""
    recipe = spec.job.recipe
    batch = spec.batch_size or min(recipe.batch_size, CPU_BATCH)
    each = batch * _example_work(recipe) + spec.points * spec.pictures / spec.steps
    parts = (
        *_OPENING, PlannedStage("texts"),
        PlannedStage("prepare", _PREPARE_SECONDS),
        PlannedStage("validate", work=1.0, items=spec.pictures),
        PlannedStage("ramp", work=each, items=spec.steps, trains=True),
    )  # fmt: skip
    return Plan(parts)


def estimate_plan(spec: CleanSpec) -> Plan:
    """The stages of an estimate, which takes a few steps of a run."""
    each = spec.recipe.batch_size * _example_work(spec.recipe)
    return Plan((*_OPENING, PlannedStage("estimate", work=each, items=6)))


def _count(part: ImageSpec | PairSpec | None) -> int:
    """How many pictures or pairs a spec names."""
    return 0 if part is None else part.n or _UNKNOWN_NUMBER


def _example_work(recipe: Recipe) -> float:
    """Units of work of one training example: its views, forward and backward."""
    pictures = captions = 1.0
    if recipe.facts.data == "pairs":
        pictures += bool(recipe.lambda_image)
        captions += bool(recipe.lambda_text)
    elif recipe.facts.data == "labelled":
        captions = 0.0
    else:  # with and without the trigger
        pictures, captions = 2.0, 0.0
    return _TRAINED * (pictures + _TEXT * captions)
