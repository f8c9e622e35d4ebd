"""A scan for unknown triggers as a job: a generator of events for command line and window."""

from __future__ import annotations

import base64
import hashlib
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ml_core import plugins
from ml_core.atomic import replace_files
from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.compare import compare_checkpoints
from ml_core.checkpoints.open import same_weights
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import ImageSet
from ml_core.data.labels import LabelSet, load_label_set
from ml_core.data.specs import ImageSpec, stratified_order
from ml_core.detection.scan.overlays import (
    FORMS,
    OverlaySettings,
    invert_overlays,
    overlay_row,
    overlay_trigger,
    thorough,
)
from ml_core.detection.scan.patches import (
    PatchSettings,
    PatchStep,
    as_trigger,
    at_places,
    batch_of,
    invert,
    own_of_reference,
    rates,
    read_off,
    refine,
    settle,
)
from ml_core.detection.scan.probes import check_real, measured_again, probe_row, probes_at
from ml_core.detection.scan.records import (
    FORM_CLASSES,
    FORM_STEPS,
    GRID,
    MEASURED,
    MOST_CLASSES,
    PATCH_STEPS,
    PROBE_PICTURES,
    PROBES_AGAIN,
    REFINED_NAMES,
    REFINED_STEPS,
    SHORTLIST,
    ClassPull,
    Form,
    FoundTrigger,
    Kind,
    ModelFacts,
    OverlayRow,
    Overlays,
    Patches,
    PatchRound,
    ProbeRow,
    Probes,
    Rate,
    Refined,
    Scan,
    Stages,
    Swap,
    SwapRow,
    Thorough,
    Weights,
    Words,
    passes,
    rounds_of,
    scan_json,
    searches,
    steps,
)
from ml_core.detection.scan.sides import (
    Side,
    Sides,
    pull,
    pull_of,
    swap_rows,
)
from ml_core.detection.scan.verdict import (
    FOUND_START,
    MOVES,
    NATURAL_RATE,
    PLACED,
    SMALLEST_HELD_OUT,
    Sign,
    is_agreed,
    is_near,
    judge,
    of_clean,
    signs_of,
    unfit_models,
)
from ml_core.detection.scan.words import search_words
from ml_core.evaluation.evaluate import versions
from ml_core.evaluation.stamping import Pictures, read_canvases
from ml_core.evaluation.zero_shot import cached_classifier
from ml_core.events import Control, Done, Event, Finding, Message, Progress, Saved, forwarded
from ml_core.figures import distinct, percent
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.journal import check_result, digest_of, save_results
from ml_core.jobs.measure import classifier_of, open_classes
from ml_core.jobs.opening import open_model, opening_images
from ml_core.jobs.scan import (
    PATCHES_FILE,
    SCAN_FILE,
    SCAN_SPEC,
    STAGES_FOLDER,
    TRIGGER_STEM,
    ScanSpec,
    Stage,
)
from ml_core.jobs.specs import write_spec_file
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError, UnfitModelError, printable
from ml_core.reading.regular_file import read_file
from ml_core.triggers import Trigger, save_trigger

SMALLEST_SEARCH = 16
_TEXTS = 1000  # class texts: more templates change no class that is read off
_SHORT_PULL, _SHORT_PROBES = 6, 2
_REFINED_RATE = 0.15
_WORTH_REFINING = 0.1
_SURE = 0.5
_FIRST_STARTS = 3  # of a further class, before all: most models have no second trigger
_ALIKE = 0.8
_FEWEST_CLASSES = 2
_SHOWN_SECONDS = 0.2
_MOST = 20
_WIDE = "imagenet-1k"
_MOST_BYTES = 64 << 20
_FORMAT = "scan 8"

Record = TypeVar("Record", bound=BaseModel)
Found = TypeVar("Found")
Arrays = dict[str, Tensor]
State = Mapping[str, Tensor]
_KINDS: dict[Stage, type[BaseModel]] = {
    "pull": ClassPull, "probes": Probes, "patches": Patches, "overlays": Overlays,
    "thorough": Thorough, "words": Words, "swap": Swap, "weights": Weights,
}  # fmt: skip


def _distance(own: State, others: State, encoder: Literal["image", "text"]) -> float:
    """Euclidean distance of an encoder's weights, relative to the reference's."""
    apart = norm = 0.0
    for name, value in own.items():
        if value.is_floating_point() and name.startswith("visual.") == (encoder == "image"):
            apart += float((value.double() - others[name].double()).square().sum())
            norm += float(others[name].double().square().sum())
    return math.sqrt(apart / norm) if norm else 0.0


def scan(
    spec: ScanSpec, control: Control, *, overwrite: bool = False
) -> Generator[Event, None, None]:
    """Search for a trigger that nobody named; the last event is Done.

    A stage that an earlier, unfinished scan of the same spec, models and pictures has finished is
    taken from its folder. With the same seed, on the CPU, the result is the same. A scan of other
    models or pictures in the folder is replaced only with ``overwrite``.

    Parameters
    ----------
    spec
        What to do.
    control
        Cancel and pause; a stop cancels, and what is finished stays for the next time.

    Yields
    ------
    Event
        Progress of the stages ``open``, ``data``, ``texts``, ``accuracy``, those of the spec (each
        first with a total of 0), ``refine`` and ``measure``; Finding of the kinds

        ``models``
            `ModelFacts` of ``suspect`` and ``reference``, with their accuracy among ``classes``;
        ``scan``
            ``classes``, ``stages``, ``search``, ``held_out``, ``side``: what is about to be done;
        ``probe``
            a `ProbeRow`, as each is measured;
        ``patches``, while they are searched
            ``side``, ``loss``, ``step``, ``steps``, ``losses`` and ``pictures``: the patches as
            they are, base64 of uint8 [K, p, p, 3];
        ``round``
            a `PatchRound` with its ``pictures``;
        each stage's name
            the record of a finished stage;

        Message; Saved; and Done, whose ``result`` is a `Scan` with ``folder``. The folder then
        holds `SCAN_FILE`, the patches of each round and the overlays' weights in `PATCHES_FILE`,
        its spec, and the found trigger as a trigger file.
    """
    yield from _Scanning(spec, control).run(overwrite)


def estimate_scan(spec: ScanSpec, control: Control) -> Generator[Event, None, None]:
    """Open everything and time a few forward and backward passes; nothing is searched.

    Yields
    ------
    Event
        Progress, then Done whose ``result`` holds ``forward`` and ``both`` (pictures through an
        encoder, alone and there and back, at most), ``seconds`` (all of them, at most), ``stages``
        (seconds of each), ``nothing_found`` (seconds where nothing is found), ``forward_rate`` and
        ``both_rate`` (pictures a second).
    """
    yield from _Scanning(spec, control).estimate()


class _Scanning:
    """One scan: what its stages share."""

    def __init__(self, spec: ScanSpec, control: Control) -> None:
        self._spec, self._control = spec, control
        self._folder = Path(spec.output_dir)
        self._seconds: dict[str, float] = {}
        self._notes: list[str] = []
        self._skipped: set[str] = set()
        self._apart = (math.nan, math.nan)  # image and text encoder, from the reference
        self._arrays: dict[str, Arrays] = {}

    def run(self, overwrite: bool) -> Generator[Event, None, None]:
        """Run all stages; each gives what it measured, some also the numbers that belong to it."""
        works: dict[Stage, Callable[[Stages], Generator[Event, None, Any]]] = {
            "pull": self._pull, "probes": self._probes, "patches": self._patches,
            "overlays": self._overlays, "thorough": self._thorough, "words": self._words,
            "swap": self._swap, "weights": self._weights,
        }  # fmt: skip
        images = yield from self._opened()
        if not overwrite:
            check_result(self._folder / SCAN_FILE, self._about(images))
        store = _StageStore(self._folder / STAGES_FOLDER, self._key(images))
        yield Finding("scan", self._plan())
        stages = Stages()
        for stage in self._runs:
            begin = time.monotonic()
            finished = store.load(stage, stages)
            if finished is None:
                yield Progress(stage, 0, 0)
                result = yield from works[stage](stages)
                finished = result if isinstance(result, tuple) else (result, {})
                store.save(stage, stages, *finished)
            record, self._arrays[stage] = finished
            stages = stages.model_copy(update={stage: record})
            self._seconds[stage] = round(time.monotonic() - begin, 3)
            yield Finding(stage, record.model_dump())
        yield from self._finish(stages, images)

    def _about(self, images: ImageSet) -> dict[str, Any]:
        """The parts of its record that distinguish a scan; stages may be added to the same scan."""
        suspect, *reference = (side.model.sha256 for side in self._sides.both)
        return {
            "suspect": {"sha256": suspect},
            "reference": {"sha256": reference[0]} if reference else None,
            "images": printable(images.name), "classes": list(self._sides.class_names),
            "seed": self._spec.seed,
        }  # fmt: skip

    def estimate(self) -> Generator[Event, None, None]:
        """Measure what the scan would take, at most and where nothing is found."""
        yield from self._opened()
        sides, spec = self._sides, self._spec
        yield Progress("estimate", 0, 0)
        measured = rates(sides.suspect, sides.search, self._cancelled)
        count = partial(
            passes, size=sides.side, models=len(sides.both), classes=len(sides.class_names),
            starts=spec.starts, search=len(sides.search), held_out=len(sides.held_out),
        )  # fmt: skip
        stages = (*self._runs, *(("refine",) if "patches" in self._runs else ()))
        most = {stage: count(stage, finds=True) for stage in stages}
        least = [count(stage, finds=False) for stage in stages]
        seconds = {stage: measured.seconds(passed) for stage, passed in most.items()}
        result = {
            "forward": sum(passed.forward for passed in most.values()),
            "both": sum(passed.both for passed in most.values()),
            "seconds": sum(seconds.values()), "stages": seconds,
            "nothing_found": sum(measured.seconds(passed) for passed in least),
            "forward_rate": measured.forward, "both_rate": measured.both,
        }  # fmt: skip
        yield Done("finished", result)

    def _cancelled(self) -> bool:
        return self._control.cancelled

    # What is looked at.

    def _opened(self) -> Generator[Event, None, ImageSet]:
        """Open everything that the stages use."""
        spec = self._spec
        self._device = choose_device(spec.device)
        yield Progress("open", 0, 0)
        giver = spec.donor or spec.reference  # of what one encoder alone lacks
        suspect = open_model(spec.model_copy(update={"donor": giver}))
        reference = None if spec.reference is None else open_checkpoint(spec.reference)
        if reference is not None:
            suspect.check_reference(reference)
        if suspect.architecture.layout.missing == "image":
            self._search_words_alone(suspect.inspection.name)
        self._threads = set_threads(spec.threads)
        label_set = _labels(spec)
        images = yield from opening_images(_enough_images(spec), label_set, self._control)
        models = [suspect.build().to(self._device)]
        if reference is not None:
            models.append(reference.build().to(self._device))
            self._check_pair(*models)
        self._inspections = (
            suspect.inspection, None if reference is None else reference.inspection
        )  # fmt: skip
        pictures = self._pictures(models[0], images)
        sides = yield from self._sides_of(models, label_set)
        self._precisions = [settle(side, pictures[0], self._cancelled) for side in sides]
        beside = sides[1] if len(sides) > 1 else None
        self._sides = Sides(sides[0], beside, distinct(label_set.class_names), *pictures)
        yield from self._check_models()
        self._look_alike()
        return images

    def _search_words_alone(self, name: str) -> None:
        """Of a text encoder, leave out what only looks at the donor's image encoder.

        Raises
        ------
        InputError
            If no stage searches words: nothing would be left.
        """
        if "words" not in self._spec.runs:
            raise InputError(
                f"{name} holds a text encoder alone, which is searched for words only: add the "
                "stage “words”."
            )
        self._skipped |= {"pull", "probes", "patches", "overlays", "thorough", "swap"}
        self._notes.append(
            "The checkpoint holds a text encoder alone: words are searched and weights compared; "
            "patches and overlays would be those of the donor's image encoder."
        )

    def _sides_of(
        self, models: Sequence[ClipModel], label_set: LabelSet
    ) -> Generator[Event, None, list[Side]]:
        """The models with their zero-shot classifiers, from few templates."""
        count = max(1, _TEXTS // len(label_set.class_names))
        few = replace(label_set, templates=label_set.templates[:count])
        self._templates = few.templates
        sides: list[Side] = []
        for model in models:
            model.module.requires_grad_(False)
            classifier = yield from self._classifier_of(model, few, len(sides), len(models))
            batch = batch_of(model.image_size, self._device)
            sides.append(Side(model, classifier, batch, self._control.watch))
        return sides

    def _classifier_of(
        self, model: ClipModel, label_set: LabelSet, number: int, count: int
    ) -> Generator[Event, None, Tensor]:
        """The classifier of one of several models; its progress counts the texts of all of them."""

        def event_of(event: Event) -> Event:
            if not isinstance(event, Progress):
                return event
            done = number * event.total + event.done
            return replace(event, done=done, total=count * event.total)

        return (yield from forwarded(classifier_of(model, label_set, self._control), event_of))

    def _check_models(self) -> Generator[Event, None, None]:
        """Refuse models that name hardly any picture correctly: a scan of hours would say nothing.

        Raises
        ------
        UnfitModelError
            Unless the spec asks for a scan anyway.
        """
        sides = self._sides
        pace = StagePace("accuracy", len(sides.both) * len(sides.held_out))
        for count in sides.look("held_out"):
            yield pace.step(count)
        suspect, reference = self._models()
        beside = None if reference is None else reference.model_dump()
        count = len(sides.class_names)
        models = {"suspect": suspect.model_dump(), "reference": beside, "classes": count}
        yield Finding("models", models)
        if self._spec.anyway:
            return
        for sentence in unfit_models(count, suspect, reference):
            raise UnfitModelError(sentence)

    def _check_pair(self, suspect: ClipModel, reference: ClipModel) -> None:
        """Leave out stages that the reference's kind cannot do.

        Raises
        ------
        InputError
            If both have the same weights.
        """
        if suspect.config != reference.config:
            self._skipped |= {"overlays", "thorough", "swap", "weights"}
            self._notes.append(
                "The reference is of another architecture: triggers over the whole picture are not "
                "searched, encoders are not exchanged and weights are not compared."
            )
            return
        own, others = suspect.module.state_dict(), reference.module.state_dict()
        if all(torch.equal(value, others[name]) for name, value in own.items()):
            raise same_weights(reference.name)
        self._apart = image, text = _distance(own, others, "image"), _distance(own, others, "text")
        if not is_near(image, text):  # they would take long and could not be judged
            self._skipped |= {"overlays", "thorough"}

    def _pictures(
        self, model: ClipModel, images: ImageSet
    ) -> tuple[Pictures, Pictures, NDArray[np.int64], NDArray[np.int64]]:
        """Pictures to search on and others to measure on, in a seeded order, and their labels.

        Raises
        ------
        InputError
            If there are too few, or they are no real pictures.
        """
        spec = self._spec
        fitted = images.fitted(model.preprocess.fit)
        cache = CanvasCache(fitted, model.preprocess.size)
        order = stratified_order(images.labels, spec.seed)[: spec.search + spec.held_out]
        shown, positions = read_canvases(cache, order)
        if len(positions) < SMALLEST_SEARCH + SMALLEST_HELD_OUT:
            least = SMALLEST_SEARCH + SMALLEST_HELD_OUT
            raise InputError(
                f"{images.name} has {len(positions)} readable pictures, and a scan needs {least}: "
                f"{SMALLEST_SEARCH} to search on and {SMALLEST_HELD_OUT} others to measure on."
            )
        check_real(shown, images.name)
        # Where pictures are scarce, those that are measured come first.
        held = min(spec.held_out, max(SMALLEST_HELD_OUT, len(positions) - spec.search))
        self._notes += [f"{images.name}: {problem}" for problem in images.problems]
        labels = images.labels[positions]
        self._shown = hashlib.sha256(shown.tobytes() + labels.tobytes()).hexdigest()
        return shown[held:], shown[:held], labels[held:], labels[:held]

    def _look_alike(self) -> None:
        """Refuse pictures that the checkpoint all puts into one class: no trigger can move them."""
        labels = self._sides.held_out_labels
        if len(np.unique(labels[labels >= 0])) > 1:
            return
        clean = self._sides.clean()[0]
        most = np.bincount(clean, minlength=1).max() / len(clean)
        if most > _ALIKE:
            name = self._sides.class_names[int(np.bincount(clean).argmax())]
            raise InputError(
                f"The checkpoint predicts “{name}” for {percent(float(most))} of these pictures: "
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
        """What decides a stage's result, besides the stages before it."""
        spec, sides = self._spec, self._sides
        models = [side.model.identity for side in sides.both]
        parts = [
            _FORMAT, spec.starts, spec.seed, models, self._shown, images.lasting_key,
            list(sides.class_names), list(self._templates), self._precisions, self._device.type,
            *plugins.active().items(),
        ]  # fmt: skip
        return digest_of(parts)

    # The stages.

    def _pull(self, _: Stages) -> Generator[Event, None, ClassPull]:
        sides = self._sides
        unlabelled = bool((sides.search_labels < 0).any())  # what is a class's own is asked for
        pictures = len(sides.search) * len(sides.both)
        pace = StagePace("pull", pictures * (2 if unlabelled else 1))
        for done in sides.look("search") if unlabelled else ():
            yield pace.step(done)
        means = []
        for side in sides.both:
            means.append((yield from forwarded(pull_of(side, sides), pace.step)))
        return pull(sides, means)

    def _probes(self, _: Stages) -> Generator[Event, None, Probes]:
        sides, seed = self._sides, self._spec.seed
        probes = {probe.id: probe for probe in probes_at(sides.side)}
        shown = sides.held_out[:PROBE_PICTURES]
        rows = []
        pace = StagePace("probes", len(probes))
        for number, probe in enumerate(probes.values()):
            predicted = [side.predict(shown, probe.trigger, seed) for side in sides.both]
            row = probe_row(sides, probe, predicted)
            rows.append(row)
            yield Finding("probe", row.model_dump())
            yield pace(number + 1)
        rows.sort(key=lambda row: -row.contrast.difference)
        for place in _best_of_classes(rows, PROBES_AGAIN, 2):
            row = rows[place]
            rows[place] = measured_again(sides, probes[row.id], row, len(shown), seed)
        rows.sort(key=lambda row: (not row.again, -row.contrast.difference))
        return Probes(rows=tuple(rows), pictures=len(shown))

    def _patches(self, _: Stages) -> Generator[Event, None, tuple[Patches, Arrays]]:
        """Search for a class that patches lead to, then for others with that class left out."""
        sides, spec = self._sides, self._spec
        rounds: list[PatchRound] = []
        refined: list[Refined] = []
        arrays: Arrays = {}
        planned = searches(sides.side)
        largest = (max(search for search in planned if search[1] == "max"), planned[-1])
        left_out: tuple[int, ...] = ()
        while len(refined) < MOST_CLASSES:
            first = len(rounds)
            for side, loss in planned:
                if loss == "place" and any(_is_strong(each) for each in rounds[first:]):
                    break
                settings = PatchSettings(side, loss, spec.starts, left_out=left_out)
                if loss == "place":
                    settings = at_places(side, sides.side, left_out)
                measured, patches = yield from self._round(settings, len(rounds), len(refined))
                arrays[f"round.{len(rounds)}"] = patches
                rounds.append(measured)
                agreed = measured.agreeing == len(measured.starts)
                if agreed and measured.best.contrast.difference >= _SURE:
                    break
            agreeing = [k for k in range(first, len(rounds)) if is_agreed(rounds[k])]
            best = max(agreeing, key=lambda k: rounds[k].contrast.difference, default=None)
            if best is None or rounds[best].contrast.difference < _WORTH_REFINING:
                break
            better, patch = yield from self._refined(
                rounds[best], arrays[f"round.{best}"], left_out, len(refined)
            )
            arrays[REFINED_NAMES[len(refined)]] = patch
            refined.append(better)
            left_out += (sides.class_names.index(better.target),)
            planned = largest
        head, further = next(iter(refined), None), tuple(refined[1:])
        return Patches(rounds=tuple(rounds), refined=head, further=further), arrays

    def _round(
        self, settings: PatchSettings, number: int, refined: int
    ) -> Generator[Event, None, tuple[PatchRound, Tensor]]:
        """The n-th search; for a further class a few starts first, and all if these move much."""
        if refined and not settings.places and settings.starts > _FIRST_STARTS:
            few = replace(settings, starts=_FIRST_STARTS)
            measured, patches = yield from self._searched(few, number, refined)
            if max(row.contrast.difference for row in measured.starts) < _WORTH_REFINING:
                return measured, patches
        return (yield from self._searched(settings, number, refined))

    def _searched(
        self, settings: PatchSettings, number: int, refined: int
    ) -> Generator[Event, None, tuple[PatchRound, Tensor]]:
        """The n-th search: what its patches do, and they."""
        sides, seed = self._sides, self._spec.seed
        pace = StagePace("patches", settings.steps * rounds_of(sides.side, refined))
        steps = invert(sides.suspect, sides.search, settings, seed)
        last = yield from _live(settings, steps, pace, number * settings.steps)
        read = read_off(sides, last.patches, settings, last.losses, seed)
        count = settings.starts
        measured = yield from forwarded(read, lambda done: Progress("measure", done, count))
        enough = measured.best.contrast.difference >= PLACED
        if settings.places and sides.reference is not None and enough:
            place = settings.places[measured.starts.index(measured.best)]
            own = yield from self._own(settings, measured.target, place, slice(MEASURED))
            measured = measured.model_copy(update={"own": own})
        yield Finding("round", measured.model_dump() | {"pictures": _coded(last.patches)})
        return measured, last.patches

    def _refined(
        self, round_: PatchRound, patches: Tensor, left_out: tuple[int, ...], number: int
    ) -> Generator[Event, None, tuple[Refined, Tensor]]:
        """The best patch of a round, searched further; the n-th that is."""
        settings = PatchSettings(
            round_.side, round_.loss, self._spec.starts, steps=REFINED_STEPS, rate=_REFINED_RATE,
            left_out=left_out,
        )  # fmt: skip
        each = settings.steps + GRID**2
        pace = StagePace("refine", (number + 1) * each)
        steps = refine(self._sides, patches, round_, self._spec.seed, settings)
        better, patch = yield from _live(settings, steps, pace, number * each)
        beside = better.best.reference
        if beside is not None and (beside.value > NATURAL_RATE or settings.loss == "place"):
            longer = PatchSettings(round_.side, steps=PATCH_STEPS + REFINED_STEPS)
            place = better.corner(self._sides.side) if better.fixed else None
            own = yield from self._own(longer, better.target, place)
            better = better.model_copy(update={"own": own})
        return better, patch

    def _own(
        self, settings: PatchSettings, target: str, place: tuple[int, int] | None,
        part: slice = slice(None),
    ) -> Generator[Event, None, Rate]:  # fmt: skip
        """What the same search comes to on the reference."""
        search = own_of_reference(self._sides, settings, target, place, self._spec.seed, part)
        return (yield from forwarded(search, lambda at: Progress("beside", at.done, at.total)))

    def _overlays(self, before: Stages) -> Generator[Event, None, tuple[Overlays, Arrays]]:
        sides, shortlist = self._sides, self._shortlist(before)
        pace = StagePace("overlays", len(sides.both) * sum(FORM_STEPS.values()))
        rows: list[OverlayRow] = []
        arrays: Arrays = {}
        for form, settings in FORMS.items():
            chosen = shortlist[: FORM_CLASSES[form]]
            own = yield from self._inverted(sides.suspect, chosen, settings, pace)
            few = {number: (weights,) for number, weights in own.items()}
            of_form = yield from self._overlay_rows(few, arrays, form)
            # What moves little more on the suspect can only count less beside the reference's own.
            much = [number for number, row in of_form.items() if row.gap >= MOVES]
            assert sides.reference is not None
            theirs = yield from self._inverted(sides.reference, much, settings, pace)
            both = {number: (own[number], weights) for number, weights in theirs.items()}
            of_form |= yield from self._overlay_rows(both, arrays, form)
            rows += of_form.values()
        return Overlays(rows=_by_gap(rows), steps=FORM_STEPS["overlay"]), arrays

    def _inverted(
        self, side: Side, classes: Sequence[int], settings: OverlaySettings, pace: StagePace
    ) -> Generator[Event, None, dict[int, Tensor]]:
        """Weights of the triggers that are searched on one model, by the number of the class."""
        if not classes:
            yield pace.step(settings.steps)
            return {}
        search = invert_overlays(side, self._sides.search, classes, settings, self._spec.seed)
        weights = yield from forwarded(search, lambda _: pace.step(1))
        return dict(zip(classes, weights, strict=True))

    def _thorough(self, _: Stages) -> Generator[Event, None, tuple[Thorough, Arrays]]:
        sides = self._sides
        steps = thorough(sides, OverlaySettings(), self._spec.seed)
        pace = StagePace("thorough", 0)

        def event_of(step: tuple[int, int]) -> Progress:
            done, pace.total = step
            return pace(done)

        both: dict[int, tuple[Tensor, Tensor]] = yield from forwarded(steps, event_of)
        arrays: Arrays = {}
        rows = yield from self._overlay_rows(both, arrays)
        return Thorough(rows=_by_gap([*rows.values()]), classes=len(sides.class_names)), arrays

    def _overlay_rows(
        self, weights: Mapping[int, tuple[Tensor, ...]], arrays: Arrays, form: Form = "overlay"
    ) -> Generator[Event, None, dict[int, OverlayRow]]:
        """Measure triggers of classes that were searched on the suspect, or on both models."""
        rows: dict[int, OverlayRow] = {}
        for number, searched in weights.items():
            rows[number] = overlay_row(self._sides, number, searched, form)
            arrays[rows[number].key] = searched[0]
            yield Progress("measure", len(rows), len(weights))
        return rows

    def _swap(self, before: Stages) -> Generator[Event, None, Swap]:
        sides, spec = self._sides, self._spec
        rows: tuple[SwapRow, ...] = ()
        for chosen in self._chosen(before)[:1]:
            number = list(sides.class_names).index(chosen.target)
            rows = swap_rows(sides, number, chosen.trigger, spec.seed)
        yield Progress("swap", 1, 1)
        return Swap(rows=rows)

    def _words(self, _: Stages) -> Generator[Event, None, Words]:
        sides = self._sides
        asked = {"models": len(sides.both), "classes": len(sides.class_names), "search": 0}
        pace = StagePace("words", steps("words", sides.side, **asked))
        search = search_words(sides, self._templates, self._spec.seed)
        return (yield from forwarded(search, pace.step))

    def _weights(self, _: Stages) -> Generator[Event, None, Weights]:
        first, second = self._inspections
        assert second is not None
        yield Progress("weights", 0, 0)
        changes = list(compare_checkpoints(second, first, self._cancelled))
        image, text = self._apart
        most = sorted((c for c in changes if math.isfinite(c.relative)), key=lambda c: -c.relative)
        return Weights(
            image=image if math.isfinite(image) else None,
            text=text if math.isfinite(text) else None,
            most=tuple((c.name, c.relative) for c in most[:_MOST]),
        )

    def _shortlist(self, before: Stages) -> list[int]:
        """Classes worth a search: by pull, by the probes, and those that patches name."""
        names: list[str] = []
        if before.pull is not None:
            names += [row.target for row in before.pull.rows[:_SHORT_PULL]]
        if before.probes is not None:
            names += [row.target for row in before.probes.rows[:_SHORT_PROBES]]
        sure: set[str] = set()  # no overlay could tell more of these
        if before.patches is not None:
            names += [round_.target for round_ in before.patches.rounds if is_agreed(round_)]
            refined = before.patches.all_refined
            sure = {each.target for each in refined if each.best.difference >= _SURE}
        order = list(self._sides.class_names)
        chosen = [name for name in dict.fromkeys(names) if name not in sure] or order[:SHORTLIST]
        return [order.index(name) for name in chosen[:SHORTLIST]]

    # What comes of it.

    def _chosen(self, stages: Stages) -> list[_Chosen]:
        """A trigger of the strongest sign that counts, and of each further class that is found."""
        chosen: dict[str, _Chosen] = {}
        for sign in signs_of(stages):
            if not sign.counts or sign.kind == "word" or sign.target in chosen:
                continue
            trigger = self._trigger_of(sign, stages)
            if trigger is not None and (not chosen or sign.verdict == "found"):
                chosen[sign.target] = _Chosen(sign.kind, sign.target, trigger)
        return list(chosen.values())

    def _trigger_of(self, sign: Sign, stages: Stages) -> Trigger | None:
        """The trigger that a sign is about; None for patches that were not searched on."""
        size = self._sides.side
        if sign.kind == "probe":
            return {probe.id: probe.trigger for probe in probes_at(size)}[sign.probe]
        if sign.row is not None:
            searched = [self._arrays.get(name, {}) for name in ("overlays", "thorough")]
            weights = next(row for row in searched if sign.row.key in row)[sign.row.key]
            return overlay_trigger(weights, size, sign.target, sign.row.form)
        refined = stages.patches.all_refined if stages.patches is not None else ()
        for name, better in zip(REFINED_NAMES, refined, strict=False):
            if better.target == sign.target:
                place = better.corner(size) if better.fixed else None
                return as_trigger(self._arrays["patches"][name], size, place)
        return None

    def _saved(self, chosen: _Chosen, number: int) -> Generator[Event, None, FoundTrigger]:
        """Measure a chosen trigger, and write its file; the n-th that is."""
        sides = self._sides
        yield Progress("measure", 0, 1)
        target = list(sides.class_names).index(chosen.target)
        contrast = sides.measure(target, chosen.trigger, self._spec.seed)
        stem = f"{TRIGGER_STEM}-{number + 1}" if number else TRIGGER_STEM
        pixels, path = save_trigger(chosen.trigger, self._folder / stem)
        for file in (pixels, path):
            if file is not None:
                yield Saved(str(file), "result")
        return FoundTrigger(
            kind=chosen.kind, target=chosen.target, wide_target=self._wide_target(chosen),
            contrast=contrast, file=path.name,
        )  # fmt: skip

    def _finish(self, stages: Stages, images: ImageSet) -> Generator[Event, None, None]:
        spec, sides = self._spec, self._sides
        suspect, reference = self._models()
        judgement = judge(
            stages, held_out=len(sides.held_out),
            classes=len(sides.class_names), suspect=suspect, reference=reference,
        )  # fmt: skip
        self._folder.mkdir(parents=True, exist_ok=True)
        triggers: list[FoundTrigger] = []
        for number, chosen in enumerate(self._chosen(stages)):
            triggers.append((yield from self._saved(chosen, number)))
        record = Scan(
            suspect=suspect, reference=reference, images=printable(images.name),
            images_key=images.lasting_key, classes=tuple(sides.class_names),
            search=len(sides.search), held_out=len(sides.held_out), side=sides.side,
            stages=stages, judgement=judgement, found=next(iter(triggers), None),
            further=tuple(triggers[1:]), seed=spec.seed, device=str(self._device),
            precision=self._precisions[0], threads=self._threads,
            versions=dict(versions()), seconds=self._seconds,
            notes=tuple(dict.fromkeys([*self._notes, *sides.suspect.model.assumptions])),
        )  # fmt: skip
        clean = of_clean(record, sides.suspect.model.config)
        record = record.model_copy(update={"of_clean": clean})
        arrays = dict(self._arrays.get("patches", {}))
        for name, searched in (("overlays", stages.overlays), ("thorough", stages.thorough)):
            for number, row in enumerate(() if searched is None else searched.rows):
                arrays[f"{name}.{number}"] = self._arrays[name][row.key]
        packed = save_tensors({name: tensor.contiguous() for name, tensor in arrays.items()})
        results = {PATCHES_FILE: packed, SCAN_FILE: scan_json(record)}
        yield from save_results(self._folder, results)
        write_spec_file(spec, self._folder / SCAN_SPEC)
        for note in record.notes:
            yield Message(note, "warning")
        yield Done("finished", record.model_dump() | {"folder": str(self._folder)})

    def _models(self) -> tuple[ModelFacts, ModelFacts | None]:
        """The suspect and the reference, with their accuracy where pictures have labels."""
        suspect, *others = [self._facts(number) for number in range(len(self._sides.both))]
        return suspect, others[0] if others else None

    def _facts(self, number: int) -> ModelFacts:
        sides = self._sides
        model = sides.both[number].model
        labels = sides.held_out_labels
        known = labels >= 0
        right = int((sides.clean()[number][known] == labels[known]).sum())
        accuracy = Rate(hits=right, n=int(known.sum())) if known.any() else None
        return ModelFacts(name=printable(model.name), sha256=model.sha256, accuracy=accuracy)

    def _wide_target(self, chosen: _Chosen) -> str:
        """What triggered pictures become among the classes in use and those of ImageNet."""
        sides = self._sides
        wide = load_label_set(_WIDE)
        more = [name for name in wide.class_names if name not in set(sides.class_names)]
        number = list(sides.class_names).index(chosen.target)
        shown = sides.held_out[sides.others(number)][:PROBE_PICTURES]
        few, watch = self._templates[:1], self._control.watch
        extra = cached_classifier(sides.suspect.model, more, few, watch=watch)
        names = [*sides.class_names, *more]
        classifier = torch.cat([sides.suspect.classifier, extra.to(sides.suspect.classifier)])
        predicted = sides.suspect.nearest(shown, classifier, chosen.trigger, self._spec.seed)
        return names[int(np.bincount(predicted).argmax())]


@dataclass(frozen=True, eq=False)
class _Chosen:
    """A trigger that counts, with the class it leads to."""

    kind: Kind
    target: str
    trigger: Trigger


class _StageStore:
    """Finished stages on disk; one of another scan, damaged or foreign, is done again."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._own = folder, key

    def load(self, stage: Stage, before: Stages) -> tuple[BaseModel, Arrays] | None:
        """A stage's record and numbers, if it came after the same stages."""
        try:
            raw = read_file(self._folder / f"{stage}.json", _MOST_BYTES, self._folder)
            stored = _StageFile.model_validate_json(raw)
            if stored.key != self._key(before):
                return None
            record = _KINDS[stage].model_validate_json(stored.record)
            return record, load_tensors(base64.b64decode(stored.arrays))
        except (OSError, ValueError, InputError, SafetensorError):
            return None

    def save(self, stage: Stage, before: Stages, record: BaseModel, arrays: Arrays) -> None:
        """Write a stage."""
        self._folder.mkdir(parents=True, exist_ok=True)
        tensors = save_tensors({name: tensor.contiguous() for name, tensor in arrays.items()})
        stored = _StageFile(
            key=self._key(before),
            record=record.model_dump_json(),
            arrays=base64.b64encode(tensors).decode(),
        )
        replace_files({self._folder / f"{stage}.json": stored.model_dump_json().encode()})

    def _key(self, before: Stages) -> str:
        return hashlib.sha256(f"{self._own} {before.model_dump_json()}".encode()).hexdigest()


class _StageFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str
    record: str
    arrays: str  # safetensors, base64


class StagePace:
    """Progress of one stage with its rate and the time left."""

    def __init__(self, stage: str, total: int) -> None:
        self._stage, self.total, self._begin = stage, total, time.monotonic()
        self._first: int | None = None
        self._done = 0

    def step(self, count: int) -> Progress:
        """Count this many more steps as done."""
        if self._first is None:
            self._first = self._done
        return self(self._done + count)

    def __call__(self, done: int) -> Progress:
        self._done = done
        if self._first is None:
            self._first = done - 1
        return Progress.timed(self._stage, done, self.total, self._begin, self._first)


def _labels(spec: ScanSpec) -> LabelSet:
    """The classes that answers are read in.

    Raises
    ------
    InputError
        If there is only one.
    """
    label_set = open_classes(spec)
    if len(label_set.class_names) < _FEWEST_CLASSES:
        raise InputError(
            f"The label set {label_set.name} has {len(label_set.class_names)} class: a scan needs "
            f"at least {_FEWEST_CLASSES} to see which one pictures are moved to."
        )
    return label_set


def _enough_images(spec: ScanSpec) -> ImageSpec:
    """The images of the spec, as many as the scan looks at."""
    if spec.images.kind == "demo" and spec.images.n is None:
        return spec.images.model_copy(update={"n": spec.search + spec.held_out})
    return spec.images


def _by_gap(rows: Sequence[OverlayRow]) -> tuple[OverlayRow, ...]:
    return tuple(sorted(rows, key=lambda row: -row.gap))


def _is_strong(searched: PatchRound) -> bool:
    """Whether a search found so much that none at fixed places is needed."""
    return is_agreed(searched) and searched.best.contrast.difference >= FOUND_START


def _best_of_classes(rows: Sequence[ProbeRow], most: int, each: int = 1) -> list[int]:
    """Places of the first rows of each class, at most so many."""
    targets = [row.target for row in rows]
    return [k for k, name in enumerate(targets) if targets[:k].count(name) < each][:most]


def _live(
    settings: PatchSettings, steps: Generator[Any, None, Found], pace: StagePace, before: int
) -> Generator[Event, None, Found]:
    """How far a search of patches is, with their pictures a few times a second; what it returns."""
    shown = 0.0
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            found: Found = end.value
            return found
        if not isinstance(step, PatchStep):  # of the map that follows
            yield pace(before + settings.steps + step)
            continue
        yield pace(before + step.done)
        if time.monotonic() - shown > _SHOWN_SECONDS or step.done == step.total:
            shown = time.monotonic()
            yield Finding("patches", {
                "side": settings.side, "loss": settings.loss, "step": step.done,
                "steps": step.total, "losses": list(step.losses), "pictures": _coded(step.patches),
            })  # fmt: skip


def _coded(patches: Tensor) -> str:
    """Patches float [K, 3, p, p] as base64 of uint8 [K, p, p, 3]."""
    pixels = (patches * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return base64.b64encode(pixels.contiguous().numpy().tobytes()).decode()
