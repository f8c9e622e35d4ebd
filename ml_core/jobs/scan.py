"""A scan for unknown triggers as a job: a generator of events for command line and window."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ml_core.atomic import replace_files
from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.compare import by_tower, compare_checkpoints
from ml_core.checkpoints.open import Checkpoint
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import ImageSet, open_images
from ml_core.data.labels import LabelSet, load_label_set
from ml_core.data.pictures import printable
from ml_core.data.sampling import stratified_order
from ml_core.data.specs import ImageSpec
from ml_core.detection.scan.cost import (
    GRID,
    PROBE_PICTURES,
    REFINED_STEPS,
    passes,
    searches,
)
from ml_core.detection.scan.overlays import (
    FREQUENCIES,
    OverlaySettings,
    OverlayStep,
    invert_overlays,
    overlay_row,
    overlay_trigger,
)
from ml_core.detection.scan.patches import (
    PatchSettings,
    PatchStep,
    as_trigger,
    invert,
    read_off,
    refine,
)
from ml_core.detection.scan.probes import probe_row, probes_at
from ml_core.detection.scan.pull import pull, pull_of
from ml_core.detection.scan.records import (
    Found,
    Kind,
    ModelFacts,
    Overlays,
    Patches,
    PatchRound,
    Probes,
    Pull,
    Rate,
    Refined,
    Scan,
    Stages,
    Swap,
    SwapRow,
    Thorough,
    Weights,
)
from ml_core.detection.scan.sides import Side, Sides
from ml_core.detection.scan.speed import batch_of, rates, settle
from ml_core.detection.scan.swap import WORDS, swap_rows, word_rows
from ml_core.detection.scan.thorough import thorough
from ml_core.detection.scan.verdict import (
    SMALLEST_HELD_OUT,
    SUSPICIOUS_GAP,
    SUSPICIOUS_LOW,
    SUSPICIOUS_PROBE,
    is_agreed,
    judge,
)
from ml_core.evaluation.canvases import read_canvases
from ml_core.evaluation.embedding_store import EmbeddingStore
from ml_core.evaluation.evaluate import versions
from ml_core.evaluation.stamping import Pictures
from ml_core.evaluation.zero_shot import cached_classifier
from ml_core.events import Control, Done, Event, Finding, Message, Progress, Saved
from ml_core.figures import percent
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.failures import failure
from ml_core.jobs.measure import classifier_of
from ml_core.jobs.opening import opening
from ml_core.jobs.scan_spec import (
    PATCHES_FILE,
    SCAN_FILE,
    STAGES_FOLDER,
    TRIGGER_STEM,
    ScanSpec,
    Stage,
)
from ml_core.model import ClipModel
from ml_core.paths import cache_dir
from ml_core.ranks import ALONE, Ranks
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.regular_file import read_file
from ml_core.triggers import Trigger, save_trigger

SMALLEST_SEARCH = 16
_TEMPLATES = 7  # of a label set: more change no class that is read off
_SHORT_PULL, _SHORT_PROBES = 6, 3
_REFINED_RATE = 0.15
_WORTH_REFINING = 0.1
_SURE = 0.5
_LOOKED_AT = 64
_FLAT, _NOISE = 4.0, 45.0  # spread of a picture, and mean step between neighbours, of 255
_ALIKE = 0.8
_FEWEST_CLASSES = 2
_SHOWN_SECONDS = 0.2
_MOST = 20
_WIDE = "imagenet-1k"
_MOST_BYTES = 64 << 20
_FORMAT = "scan 2"
_REFERENCE_LIMIT = 256 * 1024**2

Record = TypeVar("Record", bound=BaseModel)
Step = TypeVar("Step", PatchStep, OverlayStep)
Arrays = dict[str, Tensor]
_KINDS: dict[Stage, type[BaseModel]] = {
    "pull": Pull, "probes": Probes, "patches": Patches, "overlays": Overlays,
    "thorough": Thorough, "swap": Swap, "weights": Weights,
}  # fmt: skip


def scan(spec: ScanSpec, control: Control, ranks: Ranks = ALONE) -> Generator[Event, None, None]:
    """Search for a trigger that nobody named; the last event is Done, whatever happens.

    A stage that an earlier, unfinished scan of the same spec, models and pictures has finished is
    taken from its folder. With the same seed, on the CPU, the result is the same.

    Parameters
    ----------
    spec
        What to do.
    control
        Cancel and pause; a stop cancels, and what is finished stays for the next time.
    ranks
        The processes that share starts and classes. The first one measures, writes and speaks.

    Yields
    ------
    Event
        Progress of the stages ``open``, ``data``, ``texts``, those of the spec, ``refine`` and
        ``measure``; Finding of the kinds

        ``scan``
            ``classes``, ``stages``, ``search``, ``held_out``, ``side``: what is about to be done;
        ``pull``
            a `Pull`;
        ``probe``
            a `ProbeRow`, as each is measured;
        ``patches``
            ``side``, ``loss``, ``step``, ``steps``, ``losses`` and ``pictures``: the patches as
            they are, base64 of uint8 [K, p, p, 3];
        ``round``
            a `PatchRound` with its ``pictures``;
        ``map``
            ``done`` and ``total`` cells of the position map;
        ``refined``
            a `Refined`;
        ``overlays``, ``thorough``, ``swap``, ``weights``
            the stage's record;

        Message; Saved; and Done, whose ``result`` is a `Scan` with ``folder``. The folder then
        holds `SCAN_FILE`, the patches of each round, and the found trigger as a trigger file.
    """
    try:
        yield from _Scanning(spec, control, ranks).run()
    except Exception as error:
        yield failure(error)


def estimate_scan(spec: ScanSpec, control: Control) -> Generator[Event, None, None]:
    """Open everything and time a few passes there and back; nothing is searched.

    Yields
    ------
    Event
        Progress, then Done whose ``result`` holds ``forward`` and ``both`` (pictures through an
        encoder, alone and there and back, at most), ``seconds`` (all of them), ``stages`` (seconds
        of each), ``forward_rate`` and ``both_rate`` (pictures a second).
    """
    try:
        yield from _Scanning(spec, control.ended_by_stop(), ALONE).estimate()
    except Exception as error:
        yield failure(error)


class _Scanning:
    """One scan: what its stages share."""

    def __init__(self, spec: ScanSpec, control: Control, ranks: Ranks) -> None:
        self._spec, self._control, self._ranks = spec, control, ranks
        self._folder = Path(spec.output_dir)
        self._seconds: dict[str, float] = {}
        self._notes: list[str] = []
        self._skipped: set[str] = set()
        self._arrays: dict[str, Arrays] = {}

    def run(self) -> Generator[Event, None, None]:
        """All of it."""
        ranks = self._ranks
        images = yield from self._opened()
        kept = _Kept(self._folder / STAGES_FOLDER, self._key(images))
        if ranks.first:
            yield Finding("scan", self._plan())
        stages = Stages()
        for stage in self._runs:
            begin = time.monotonic()
            found = kept.load(stage)
            if found is None:
                found = yield from self._stage(stage, stages)
                if ranks.first:
                    kept.save(stage, *found)
            record, self._arrays[stage] = found
            stages = stages.model_copy(update={stage: record})
            self._seconds[stage] = round(time.monotonic() - begin, 3)
            if ranks.first:
                yield Finding(stage, record.model_dump())
            ranks.wait()
        if not ranks.first:
            yield Done("finished")
            return
        yield from self._finish(stages, images)

    def estimate(self) -> Generator[Event, None, None]:
        """What it would take at most."""
        yield from self._opened()
        sides, spec = self._sides, self._spec
        yield Progress("estimate", 0, 0)
        measured = rates(sides.suspect, sides.search, self._cancelled)
        counts = {
            stage: passes(
                stage, sides.side, models=len(sides.both), classes=len(sides.class_names),
                starts=spec.starts, search=len(sides.search), held_out=len(sides.held_out),
            )
            for stage in (*self._runs, *(("refine",) if "patches" in self._runs else ()))
        }  # fmt: skip
        seconds = {
            stage: found.forward / measured.forward + found.both / measured.both
            for stage, found in counts.items()
        }
        result = {
            "forward": sum(found.forward for found in counts.values()),
            "both": sum(found.both for found in counts.values()),
            "seconds": sum(seconds.values()), "stages": seconds,
            "forward_rate": measured.forward, "both_rate": measured.both,
        }  # fmt: skip
        yield Done("finished", result)

    def _opened(self) -> Generator[Event, None, ImageSet]:
        """Everything that the stages look at."""
        spec, ranks = self._spec, self._ranks
        self._device = choose_device(spec.device, ranks.local)
        with ranks.as_one(self._device):
            yield Progress("open", 0, 0)
            suspect, reference = self._checkpoints()
            self._threads = set_threads(spec.threads, ranks.local_world)
            label_set = _labels(spec)
        images = yield from opening(
            lambda watch: open_images(_whole(spec), label_set, watch), self._control
        )
        yield from self._get_ready(suspect, reference, label_set, images)
        return images

    def _check(self) -> None:
        self._control.wait_while_paused()
        if self._control.cancelled or self._control.stopped:
            raise CancelledError

    def _cancelled(self) -> bool:
        return self._control.cancelled or self._control.stopped

    # What is looked at.

    def _checkpoints(self) -> tuple[Checkpoint, Checkpoint | None]:
        spec = self._spec
        suspect = open_checkpoint(spec.checkpoint, spec.donor, use_choice=spec.use_choice)
        if spec.reference is None:
            return suspect, None
        reference = open_checkpoint(spec.reference)
        if reference.inspection.sha256 == suspect.inspection.sha256:
            raise InputError(
                "The reference is the checkpoint itself: choose a clean one that it is to be "
                "compared with, or none."
            )
        return suspect, reference

    def _get_ready(
        self,
        suspect: Checkpoint,
        reference: Checkpoint | None,
        label_set: LabelSet,
        images: ImageSet,
    ) -> Generator[Event, None, None]:
        """Models, classifiers and pictures."""
        control = self._control
        self._inspections = suspect.inspection, None if reference is None else reference.inspection
        self._label_set = label_set
        few = replace(label_set, templates=label_set.templates[:_TEMPLATES])
        models = [suspect.build().to(self._device)]
        if reference is not None:
            models.append(reference.build().to(self._device))
            self._check_pair(*models)
        search, held_out, labels = self._pictures(models[0], images)
        self._templates = few.templates
        made: list[Side] = []
        for model in models:
            model.module.requires_grad_(False)
            classifier = yield from classifier_of(model, few, control)
            made.append(Side(model, classifier, batch_of(model.image_size, self._device)))
            self._precision = settle(made[-1], search, self._cancelled)
            self._check()
        self._sides = Sides(
            made[0], made[1] if len(made) > 1 else None, label_set.class_names,
            search, held_out, *labels,
        )  # fmt: skip
        self._look_alike()

    def _check_pair(self, suspect: ClipModel, reference: ClipModel) -> None:
        """Refuse a reference that sees other pictures; leave out what another kind cannot do."""
        if suspect.image_size != reference.image_size:
            raise InputError(
                f"The reference takes pictures of {reference.image_size} px and the checkpoint of "
                f"{suspect.image_size} px: choose a reference of the same input size."
            )
        if suspect.config != reference.config:
            self._skipped |= {"overlays", "thorough", "swap", "weights"}
            self._notes.append(
                "The reference is of another architecture: triggers over the whole picture are not "
                "searched, encoders are not exchanged and weights are not compared."
            )

    def _pictures(
        self, model: ClipModel, images: ImageSet
    ) -> tuple[Pictures, Pictures, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Pictures to search on and others to measure on, in a seeded, stratified order."""
        spec = self._spec
        fitted = images.fitted(model.preprocess.fit)
        cache = CanvasCache(fitted, model.preprocess.size)
        order = stratified_order(images.labels, spec.seed)[: spec.search + spec.held_out]
        shown, kept = read_canvases(cache, order)
        if len(kept) < SMALLEST_SEARCH + SMALLEST_HELD_OUT:
            least = SMALLEST_SEARCH + SMALLEST_HELD_OUT
            raise InputError(
                f"{images.name} has {len(kept)} readable pictures, and a scan needs {least}: "
                f"{SMALLEST_SEARCH} to search on and {SMALLEST_HELD_OUT} others to measure on."
            )
        _check_real(shown, images.name)
        # Where pictures are scarce, those that are measured come first.
        held = min(spec.held_out, max(SMALLEST_HELD_OUT, len(kept) - spec.search))
        self._notes += [f"{images.name}: {problem}" for problem in images.problems]
        labels = images.labels[kept]
        return shown[held:], shown[:held], (labels[held:], labels[:held])

    def _look_alike(self) -> None:
        """Refuse pictures that are all one class to the checkpoint: nothing can move them."""
        clean = self._sides.clean()[0]
        most = np.bincount(clean, minlength=1).max() / len(clean)
        labels = self._sides.held_out_labels
        several = len(np.unique(labels[labels >= 0])) > 1
        if most > _ALIKE and not several:
            name = self._sides.class_names[int(np.bincount(clean).argmax())]
            raise InputError(
                f"The checkpoint calls {percent(float(most))} of these pictures “{name}”: "
                "synthetic pictures, or pictures of one thing, hide a trigger. Choose pictures of "
                "different things."
            )

    @property
    def _runs(self) -> tuple[Stage, ...]:
        return tuple(stage for stage in self._spec.runs if stage not in self._skipped)

    def _plan(self) -> dict[str, object]:
        sides = self._sides
        return {
            "classes": list(sides.class_names), "stages": list(self._runs),
            "search": len(sides.search), "held_out": len(sides.held_out), "side": sides.side,
        }  # fmt: skip

    def _key(self, images: ImageSet) -> str:
        """What decides a stage's result."""
        spec = self._spec.model_dump(exclude={"stages", "output_dir", "processes", "threads"})
        models = [one.model.identity for one in self._sides.both]
        parts = [_FORMAT, spec, models, images.lasting_key, str(self._device)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    # The stages.

    def _stage(
        self, stage: Stage, before: Stages
    ) -> Generator[Event, None, tuple[BaseModel, Arrays]]:
        """Run one; what it measured, and the numbers that belong to it."""
        if stage == "pull":
            return (yield from self._pull()), {}
        if stage == "probes":
            return (yield from self._probes()), {}
        if stage == "patches":
            return (yield from self._patches())
        if stage == "overlays":
            return (yield from self._overlays(self._shortlist(before)))
        if stage == "thorough":
            return (yield from self._thorough())
        if stage == "swap":
            return (yield from self._swap(before)), {}
        return (yield from self._weights()), {}

    def _pull(self) -> Generator[Event, None, Pull]:
        sides = self._sides
        means = []
        for number, one in enumerate(sides.both):
            yield Progress("pull", number, len(sides.both))
            self._check()
            work = partial(_row, pull_of, one, sides)
            means.append(self._remembered(number, "pull", work)[0])
        yield Progress("pull", len(means), len(means))
        return pull(sides, means)

    def _probes(self) -> Generator[Event, None, Probes]:
        sides, ranks = self._sides, self._ranks
        probes = probes_at(sides.side)
        shown = sides.held_out[:PROBE_PICTURES]
        rows = []
        pace = Pace("probes", len(probes))
        for number, probe in enumerate(probes):
            self._check()
            predicted = []
            for side, one in enumerate(sides.both):
                work = partial(_row, one.predict, shown, probe.trigger)
                found = self._remembered(side, f"probe {probe.id}", work)[0]
                predicted.append(found.astype(np.int64))
            row = probe_row(sides, probe, predicted)
            rows.append(row)
            if ranks.first:
                yield Finding("probe", row.model_dump())
            yield pace(number + 1)
        rows.sort(key=lambda row: -row.contrast.difference)
        return Probes(rows=tuple(rows), pictures=len(shown))

    def _patches(self) -> Generator[Event, None, tuple[Patches, Arrays]]:
        sides, spec = self._sides, self._spec
        rounds: list[PatchRound] = []
        made: list[Tensor] = []
        planned = searches(sides.side)
        for number, (side, loss) in enumerate(planned):
            settings = PatchSettings(side, loss, spec.starts)
            patches, losses = yield from self._inverted(settings, number, len(planned))
            found = yield from self._measured(settings, patches, losses)
            rounds.append(found)
            made.append(patches)
            if self._ranks.first:
                shown = {"pictures": _coded(patches)}
                yield Finding("round", found.model_dump() | shown)
            agreed = found.agreeing == len(found.starts)
            if agreed and found.best.contrast.difference >= _SURE:
                break
        arrays = {f"round {k}": patches for k, patches in enumerate(made)}
        best = max(
            (k for k, found in enumerate(rounds) if is_agreed(found)),
            key=lambda k: rounds[k].best.contrast.difference, default=None,
        )  # fmt: skip
        refined: Refined | None = None
        if best is not None and rounds[best].best.contrast.difference >= _WORTH_REFINING:
            refined, arrays["refined"] = yield from self._refined(rounds[best], made[best])
        return Patches(rounds=tuple(rounds), refined=refined), arrays

    def _inverted(
        self, settings: PatchSettings, number: int, count: int
    ) -> Generator[Event, None, tuple[Tensor, tuple[float, ...]]]:
        """Patches of all starts and their losses, in order; each process has some of them."""
        sides, ranks = self._sides, self._ranks
        mine = range(settings.starts)[ranks.rank :: ranks.world]
        steps = invert(sides.suspect, sides.search, settings, self._spec.seed, mine)
        last: PatchStep | None = None
        pace, shown = Pace("patches", settings.steps * count), 0.0
        for step, _ in ranks.in_step(self._watched(steps if mine else iter(())), self._device):
            last = step or last
            if step is None or not ranks.first:
                continue
            yield pace(number * settings.steps + step.done)
            if time.monotonic() - shown > _SHOWN_SECONDS or step.done == step.total:
                shown = time.monotonic()
                yield Finding("patches", _live(settings, step))
        side = settings.side
        patches = torch.zeros(0, 3, side, side) if last is None else last.patches
        losses = torch.tensor(() if last is None else last.losses)
        sizes = ranks.sizes(len(patches), self._device)
        order = np.argsort(
            np.concatenate(
                [np.arange(settings.starts)[k :: ranks.world] for k in range(ranks.world)]
            )
        )
        patches = ranks.gather(patches.to(self._device), sizes).cpu()[order]
        losses = ranks.gather(losses.to(self._device), sizes).cpu()[order]
        return patches, tuple(losses.tolist())

    def _measured(
        self, settings: PatchSettings, patches: Tensor, losses: Sequence[float]
    ) -> Generator[Event, None, PatchRound]:
        """What the first process measures of patches, in all of them."""

        def work() -> Generator[Event, None, PatchRound]:
            steps = read_off(self._sides, patches, settings, losses, self._spec.seed)
            while True:
                try:
                    done = next(steps)
                except StopIteration as end:
                    measured: PatchRound = end.value
                    return measured
                self._check()
                yield Progress("measure", done, len(patches))

        return (yield from self._by_first(work, PatchRound))

    def _refined(
        self, round_: PatchRound, patches: Tensor
    ) -> Generator[Event, None, tuple[Refined, Tensor]]:
        settings = PatchSettings(
            round_.side, round_.loss, self._spec.starts, steps=REFINED_STEPS, rate=_REFINED_RATE
        )
        better: list[Tensor] = []

        def work() -> Generator[Event, None, Refined]:
            steps = refine(self._sides, patches, round_, self._spec.seed, settings)
            total = settings.steps + GRID**2
            pace, shown = Pace("refine", total), 0.0
            while True:
                try:
                    step = next(steps)
                except StopIteration as end:
                    refined: Refined
                    refined, patch = end.value
                    better.append(patch)
                    return refined
                self._check()
                done = step if isinstance(step, int) else step.done
                yield pace(done + (settings.steps if isinstance(step, int) else 0))
                if isinstance(step, PatchStep) and time.monotonic() - shown > _SHOWN_SECONDS:
                    shown = time.monotonic()
                    yield Finding("patches", _live(settings, step))

        refined = yield from self._by_first(work, Refined)
        return refined, better[0] if better else torch.zeros(3, round_.side, round_.side)

    def _overlays(
        self, shortlist: Sequence[int]
    ) -> Generator[Event, None, tuple[Overlays, Arrays]]:
        sides, ranks, settings = self._sides, self._ranks, OverlaySettings()
        mine = list(shortlist)[ranks.rank :: ranks.world]
        weights: list[Tensor] = []
        pace = Pace("overlays", settings.steps * len(sides.both))
        for number, one in enumerate(sides.both):
            last: OverlayStep | None = None
            steps = invert_overlays(one, sides.search, mine, settings, self._spec.seed)
            for step, _ in ranks.in_step(self._watched(steps if mine else iter(())), self._device):
                last = step or last
                if step is not None and ranks.first:
                    yield pace(number * settings.steps + step.done)
            own = last.weights if last is not None else torch.zeros(0, 3, FREQUENCIES, FREQUENCIES)
            sizes = ranks.sizes(len(own), self._device)
            order = np.argsort(
                np.concatenate(
                    [np.arange(len(shortlist))[k :: ranks.world] for k in range(ranks.world)]
                )
            )
            weights.append(ranks.gather(own.to(self._device), sizes).cpu()[order])

        def work() -> Generator[Event, None, Overlays]:
            rows = []
            for k, number in enumerate(shortlist):
                self._check()
                rows.append(overlay_row(sides, number, weights[0][k], weights[1][k]))
                yield Progress("measure", k + 1, len(shortlist))
            rows.sort(key=lambda row: -row.gap)
            return Overlays(rows=tuple(rows), steps=settings.steps)

        record = yield from self._by_first(work, Overlays)
        names = sides.class_names
        return record, {names[c]: weights[0][k] for k, c in enumerate(shortlist)}

    def _thorough(self) -> Generator[Event, None, tuple[Thorough, Arrays]]:
        kept: dict[int, Tensor] = {}

        def work() -> Generator[Event, None, Thorough]:
            steps = thorough(self._sides, OverlaySettings(), self._spec.seed)
            pace: Pace | None = None
            while True:
                try:
                    done, total = next(steps)
                except StopIteration as end:
                    record: Thorough
                    record, found = end.value
                    kept.update(found)
                    return record
                self._check()
                pace = pace or Pace("thorough", total)
                yield pace(done)

        record = yield from self._by_first(work, Thorough)
        names = self._sides.class_names
        last = {row.target for row in record.rows}
        return record, {names[c]: w for c, w in kept.items() if names[c] in last}

    def _swap(self, before: Stages) -> Generator[Event, None, Swap]:
        sides, spec = self._sides, self._spec

        def work() -> Generator[Event, None, Swap]:
            chosen = self._strongest(before)
            rows: tuple[SwapRow, ...] = ()
            if chosen is not None:
                number = list(sides.class_names).index(chosen.target)
                rows = swap_rows(sides, number, chosen.trigger, spec.seed)
            words, pace = [], Pace("swap", len(WORDS))
            for word in word_rows(sides, self._templates):
                self._check()
                words.append(word)
                yield pace(len(words))
            words.sort(key=lambda row: -row.difference)
            return Swap(rows=rows, words=tuple(words))

        return (yield from self._by_first(work, Swap))

    def _weights(self) -> Generator[Event, None, Weights]:
        first, second = self._inspections
        assert second is not None

        def work() -> Generator[Event, None, Weights]:
            yield Progress("weights", 0, 0)
            changes = list(compare_checkpoints(second, first, self._cancelled))
            towers = {tower.name: tower.relative for tower in by_tower(changes)}
            most = sorted(
                (c for c in changes if math.isfinite(c.relative)), key=lambda c: -c.relative
            )
            image, text = (
                next((v for name, v in towers.items() if name.startswith(side)), 0.0)
                for side in ("image", "text")
            )
            return Weights(
                image=_number(image), text=_number(text),
                most=tuple((c.name, c.relative) for c in most[:_MOST]),
            )  # fmt: skip

        return (yield from self._by_first(work, Weights))

    def _shortlist(self, before: Stages) -> list[int]:
        """Classes worth a search: by pull, by the probes, and those that patches name."""
        names: list[str] = []
        if before.pull is not None:
            names += [row.target for row in before.pull.rows[:_SHORT_PULL]]
        if before.probes is not None:
            names += [row.target for row in before.probes.rows[:_SHORT_PROBES]]
        if before.patches is not None:
            names += [found.target for found in before.patches.rounds if is_agreed(found)]
        order = list(self._sides.class_names)
        chosen = list(dict.fromkeys(names)) or order[: _SHORT_PULL + _SHORT_PROBES]
        return [order.index(name) for name in chosen]

    # What they share.

    def _watched(self, steps: Iterator[Step]) -> Iterator[Step]:
        for step in steps:
            self._check()
            yield step

    def _in_order(self, count: int) -> NDArray[np.int64]:
        """Where what the processes did in turns stands after it was gathered."""
        world = self._ranks.world
        gathered = np.concatenate([np.arange(count)[rank::world] for rank in range(world)])
        return np.argsort(gathered)

    def _by_first(
        self, work: Callable[[], Generator[Event, None, Record]], kind: type[Record]
    ) -> Generator[Event, None, Record]:
        """What the first process measures, in all of them."""
        ranks, text = self._ranks, ""
        if ranks.first:
            try:
                text = (yield from work()).model_dump_json()
            except Exception:
                if ranks.world == 1:
                    raise
                with ranks.as_one(self._device):
                    raise
        if ranks.world > 1:
            with ranks.as_one(self._device):
                pass
        return kind.model_validate_json(ranks.text_of_first(text, self._device))

    def _remembered(
        self, number: int, what: str, make: Callable[[], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Numbers [1, n] of a model; those of the reference are kept for the next suspect."""
        model = self._sides.both[number].model
        if number == 0 or model.identity is None:
            return make()
        sides = self._sides
        shown = hashlib.sha256(sides.held_out.tobytes() + sides.search.tobytes()).hexdigest()
        classes = hashlib.sha256(sides.both[number].classifier.cpu().numpy().tobytes()).hexdigest()
        key = (_FORMAT, what, model.identity, shown, classes, str(model.precision))
        width = (
            len(sides.class_names) if what == "pull" else min(PROBE_PICTURES, len(sides.held_out))
        )
        store = EmbeddingStore(cache_dir() / "scan-references", _REFERENCE_LIMIT)
        found = store.load(key, 1, width)
        if found is not None:
            return found[0].astype(np.float64)
        made = make().astype(np.float32)  # as it is read again
        store.save(key, made, np.ones(1, np.bool_))
        return made.astype(np.float64)

    # What comes of it.

    def _strongest(self, stages: Stages) -> _Chosen | None:
        """The trigger of the largest contrast among those that any rule counts."""
        size, found = self._sides.side, list[_Chosen]()
        patches = stages.patches.refined if stages.patches is not None else None
        if patches is not None and patches.best.low > SUSPICIOUS_LOW:
            place = patches.corner(size) if patches.fixed else None
            trigger = as_trigger(self._arrays["patches"]["refined"], size, place)
            found.append(_Chosen("patch", patches.target, patches.best.difference, trigger))
        if stages.probes is not None and self._sides.reference is not None:
            row = stages.probes.rows[0]
            kept = {probe.id: probe.trigger for probe in probes_at(size)}
            if row.contrast.difference >= SUSPICIOUS_PROBE:
                found.append(_Chosen("probe", row.target, row.contrast.difference, kept[row.id]))
        for stage, record in (("overlays", stages.overlays), ("thorough", stages.thorough)):
            for best in record.rows[:1] if record is not None else ():
                if best.gap >= SUSPICIOUS_GAP:
                    trigger = overlay_trigger(self._arrays[stage][best.target], size, best.target)
                    found.append(_Chosen("overlay", best.target, best.gap, trigger))
        return max(found, key=lambda one: one.strength, default=None)

    def _finish(self, stages: Stages, images: ImageSet) -> Generator[Event, None, None]:
        spec, sides = self._spec, self._sides
        facts = [self._facts(number) for number in range(len(sides.both))]
        reference = facts[1] if len(facts) > 1 else None
        judgement = judge(
            stages, side=sides.side, held_out=len(sides.held_out),
            classes=len(sides.class_names), suspect=facts[0], reference=reference,
        )  # fmt: skip
        found: Found | None = None
        self._folder.mkdir(parents=True, exist_ok=True)
        chosen = self._strongest(stages)
        if chosen is not None:
            yield Progress("measure", 0, 1)
            number = list(sides.class_names).index(chosen.target)
            contrast = sides.measure(number, chosen.trigger, spec.seed)
            wide = self._wide_target(chosen)
            pixels, path = save_trigger(chosen.trigger, self._folder / TRIGGER_STEM)
            found = Found(
                kind=chosen.kind, target=chosen.target, wide_target=wide, contrast=contrast,
                file=path.name,
            )  # fmt: skip
            for file in (pixels, path):
                if file is not None:
                    yield Saved(str(file), "result")
        record = Scan(
            suspect=facts[0], reference=reference, images=printable(images.name),
            images_key=images.lasting_key, classes=tuple(sides.class_names),
            search=len(sides.search), held_out=len(sides.held_out), side=sides.side,
            stages=stages, judgement=judgement, found=found, seed=spec.seed,
            device=str(self._device), precision=self._precision, threads=self._threads,
            versions=dict(versions()), seconds=self._seconds,
            notes=tuple(dict.fromkeys([*self._notes, *sides.suspect.model.assumptions])),
        )  # fmt: skip
        rounds = {
            name.replace(" ", "."): tensor.contiguous()
            for name, tensor in self._arrays.get("patches", {}).items()
        }
        body = json.dumps(record.model_dump(), indent=1, allow_nan=False).encode()
        replace_files(
            {self._folder / PATCHES_FILE: save_tensors(rounds), self._folder / SCAN_FILE: body}
        )
        for name in (PATCHES_FILE, SCAN_FILE):
            yield Saved(str(self._folder / name), "result")
        for note in record.notes:
            yield Message(note, "warning")
        yield Done("finished", record.model_dump() | {"folder": str(self._folder)})

    def _facts(self, number: int) -> ModelFacts:
        sides = self._sides
        model = sides.both[number].model
        labels = sides.held_out_labels
        known = labels >= 0
        right = int((sides.clean()[number][known] == labels[known]).sum())
        accuracy = Rate(hits=right, n=int(known.sum())) if known.any() else None
        return ModelFacts(name=model.name, sha256=model.sha256, accuracy=accuracy)

    def _wide_target(self, chosen: _Chosen) -> str:
        """What triggered pictures become among the classes in use and those of ImageNet."""
        sides = self._sides
        wide = load_label_set(_WIDE)
        more = [name for name in wide.class_names if name not in set(sides.class_names)]
        number = list(sides.class_names).index(chosen.target)
        shown = sides.held_out[sides.others(number)][:PROBE_PICTURES]
        try:
            extra = cached_classifier(sides.suspect.model, more, self._templates[:1])
        except InputError:  # an encoder without texts
            return chosen.target
        names = [*sides.class_names, *more]
        classifier = torch.cat([sides.suspect.classifier, extra.to(sides.suspect.classifier)])
        said = sides.suspect.nearest(shown, classifier, chosen.trigger, self._spec.seed)
        return names[int(np.bincount(said).argmax())]


@dataclass(frozen=True, eq=False)
class _Chosen:
    """A trigger that counts, with the class it leads to and its contrast."""

    kind: Kind
    target: str
    strength: float
    trigger: Trigger


class _Kept:
    """Finished stages on disk; one of another scan, damaged or foreign, is done again."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def load(self, stage: Stage) -> tuple[BaseModel, Arrays] | None:
        """A stage's record and numbers."""
        kind = _KINDS[stage]
        try:
            kept = _KeptFile.model_validate_json(
                read_file(self._folder / f"{stage}.json", _MOST_BYTES, self._folder)
            )
            arrays = load_tensors(
                read_file(self._folder / f"{stage}.safetensors", _MOST_BYTES, self._folder)
            )
            record = kind.model_validate_json(kept.record)
        except (OSError, ValueError, InputError, SafetensorError):
            return None
        return (record, arrays) if kept.key == self._key else None

    def save(self, stage: Stage, record: BaseModel, arrays: Arrays) -> None:
        """Write a stage; a folder that cannot be written is told at the end, by the result."""
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = _KeptFile(key=self._key, record=record.model_dump_json())
        tensors = {name: tensor.contiguous() for name, tensor in arrays.items()}
        replace_files(
            {
                self._folder / f"{stage}.safetensors": save_tensors(tensors),
                self._folder / f"{stage}.json": kept.model_dump_json().encode(),
            }
        )


class _KeptFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str
    record: str


class Pace:
    """Progress of one stage with its rate and the time left."""

    def __init__(self, stage: str, total: int) -> None:
        self._stage, self._total, self._begin = stage, total, time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int) -> Progress:
        if self._first is None:
            self._first = done - 1
        rate = (done - self._first) / max(time.monotonic() - self._begin, 1e-6)
        return Progress(self._stage, done, self._total, rate, (self._total - done) / rate)


def _labels(spec: ScanSpec) -> LabelSet:
    """The classes that answers are read in.

    Raises
    ------
    InputError
        If there is only one.
    """
    label_set = load_label_set(spec.label_set)
    if len(label_set.class_names) < _FEWEST_CLASSES:
        raise InputError(
            f"The label set {label_set.name} has {len(label_set.class_names)} class: a scan needs "
            f"at least {_FEWEST_CLASSES} to see which one pictures are moved to."
        )
    return label_set if spec.templates is None else replace(label_set, templates=spec.templates)


def _whole(spec: ScanSpec) -> ImageSpec:
    """The images of the spec, as many as the scan looks at."""
    if spec.images.kind == "demo" and spec.images.n is None:
        return spec.images.model_copy(update={"n": spec.search + spec.held_out})
    return spec.images


def _check_real(pictures: Pictures, name: str) -> None:
    """Refuse noise and empty pictures: no trigger can be searched on them.

    Raises
    ------
    InputError
        If half of them are flat, or noise without anything in it.
    """
    values = pictures[:_LOOKED_AT].astype(np.float32)
    rough = np.abs(np.diff(values, axis=2)).mean((1, 2, 3))
    spread = values.std((1, 2, 3))
    if np.median(rough) > _NOISE:
        what = "noise"
    elif np.median(spread) < _FLAT:
        what = "all one colour"
    else:
        return
    raise InputError(
        f"The pictures of {name} are {what}: a trigger shows only on real pictures. Choose "
        "photographs, with or without labels."
    )


def _live(settings: PatchSettings, step: PatchStep) -> dict[str, object]:
    return {
        "side": settings.side, "loss": settings.loss, "step": step.done, "steps": step.total,
        "losses": list(step.losses), "pictures": _coded(step.patches),
    }  # fmt: skip


def _coded(patches: Tensor) -> str:
    """Patches float [K, 3, p, p] as base64 of uint8 [K, p, p, 3]."""
    pixels = (patches * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return base64.b64encode(pixels.contiguous().numpy().tobytes()).decode()


def _row(measure: Callable[..., NDArray[Any]], *asked: object) -> NDArray[np.float64]:
    """Numbers [n] as one row [1, n]."""
    return measure(*asked).astype(np.float64)[None]


def _number(value: float) -> float:
    return value if math.isfinite(value) else 0.0
