"""Hold-outs: what a cleaned checkpoint does with triggers and questions the cleaning never saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ml_core.checkpoints import open_checkpoint
from ml_core.data.canvas import CanvasCache
from ml_core.data.labels import LabelSet, load_label_set, map_labels, prompts
from ml_core.data.pairs import PairSet, open_pairs
from ml_core.evaluation.embed import embed
from ml_core.evaluation.embedding_cache import EmbeddingCache
from ml_core.evaluation.evaluate import versions
from ml_core.evaluation.records import Evaluation, Interval, wilson_interval
from ml_core.evaluation.retrieval import Retrieval, retrieve
from ml_core.evaluation.zero_shot import cached_classifier
from ml_core.events import Control, Event, Message, Progress, forwarded, run_to_end
from ml_core.figures import count
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.journal import write_record
from ml_core.jobs.measure import Bench, classifier_of, measure_images, open_setting
from ml_core.jobs.proofs import HOLDOUTS_FILE, HoldoutSpec
from ml_core.jobs.proofs.unseen_pairs import ChosenPairs, open_seen, unseen_pairs
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.triggers.library import LIBRARY
from ml_core.triggers.published import published
from ml_core.triggers.record import Trigger
from ml_core.triggers.variants import Variant, variants

Result = TypeVar("Result")
MOST = 1000


def rank_captions(
    model: ClipModel,
    bench: Bench,
    pairs: PairSet | ChosenPairs,
    *,
    targeted: bool = True,
    cancelled: Callable[[], bool] = lambda: False,
) -> Retrieval:
    """Rank captions for pictures and pictures for captions.

    Parameters
    ----------
    model, bench
        The checkpoint; trigger, target and classes.
    pairs
        What is ranked, all of them.
    targeted
        Whether the target's prompts are looked for.
    cancelled
        Asked before each batch.
    """
    pairs = pairs.fitted(model.preprocess.fit)
    label_set = bench.label_set
    classifier = cached_classifier(model, label_set.class_names, label_set.templates)
    subject = replace(
        bench.subject(model, classifier),
        canvases=CanvasCache(pairs, model.image_size),
        labels=np.full(len(pairs), -1, np.int64),
        data_key=pairs.key,
        triggered_classifier=classifier,  # nobody asks for the triggered classes
    )
    *_, last = embed(subject, bench.trigger, n=None, cancelled=cancelled)
    embedded = last.result
    assert embedded is not None
    target_prompts: list[str] = []
    if targeted:
        target_prompts = prompts(label_set.class_names[bench.target], label_set.templates)
    captions = pairs.captions(embedded.indices)
    return retrieve(model, embedded, captions, target_prompts, bench.trigger, cancelled=cancelled)


_FEWEST_LABELLED = 50
_SECOND = ("imagenet-1k", "demo")
_PROMPTS = 10_000  # of a second label set that nobody asked for
Measured = dict[str, Any]
Results = dict[tuple[str, str, str], Measured]
"""What was measured, by group, name and measure."""


def holdouts(spec: HoldoutSpec, control: Control) -> Generator[Event, None, None]:
    """Measure both checkpoints on triggers, captions and classes that the cleaning never saw.

    Yields
    ------
    Event
        Progress, Message, Saved, and Done, whose ``result`` is what ``holdouts.json`` holds: rows
        of the trigger itself, moved, scaled, turned, recoloured, of the library's other triggers,
        of retrieval, and of a second label set, each before and after.
    """
    begin = time.monotonic()
    yield Progress("open", 0, 1)
    device, threads = choose_device(spec.device), set_threads(spec.threads)
    setting = yield from open_setting(spec, control)
    label_set, images = setting.label_set, setting.images
    notes: list[str] = []
    other = _other_labels(spec, label_set, notes)
    pairs = _pairs(spec, label_set, notes, control)
    sides: dict[str, Results] = {}
    facts: dict[str, dict[str, Any]] = {}
    own: dict[str, Any]
    for name, path in (("before", spec.before), ("after", spec.after)):
        own = {} if name == "after" else {"donor": spec.donor, "use_choice": spec.use_choice}
        model = open_checkpoint(Path(path), **own).build("cpu")
        bench = setting.on(model.preprocess)
        images = bench.images
        model.to(device)
        yield Progress("open", 1, 1)
        sides[name] = yield from _side(model, bench, other, pairs, control, name)
        facts[name] = {"checkpoint": path, "sha256": model.sha256}
    notes += images.problems
    for note in notes:
        yield Message(note, "warning")
    rows = _rows(sides["before"], sides["after"])
    attacks = [row for row in rows if row["measure"] == "asr_excl" and row["after"] is not None]
    attacks = [row for row in attacks if row["group"] != "itself"]  # which was no hold-out
    worst = max(attacks, key=lambda row: row["after"], default=None)
    record = {
        "kind": "holdouts",
        **facts,
        "n": len(images),
        "data_key": images.key,
        "rows": rows,
        "worst": worst and {key: worst[key] for key in ("group", "name", "after")},
        "spec": spec.model_dump(mode="json"),
        "notes": notes,
        "device": str(device),
        "threads": threads,
        "versions": dict(versions()),
        "seconds": time.monotonic() - begin,
    }
    yield from write_record(record, Path(spec.output_dir) / HOLDOUTS_FILE)


def _other_labels(
    spec: HoldoutSpec, label_set: LabelSet, notes: list[str]
) -> tuple[LabelSet, int] | None:
    """The second label set and the target in it; if there is none, a message says why."""
    name, given = label_set.class_names[spec.target], spec.other_labels
    for candidate in _SECOND if given is None else (given,):
        other = load_label_set(candidate)
        target = int(map_labels([name], other).labels[0])
        own = other.class_names == label_set.class_names
        if own or target < 0 or name.strip().isdecimal():
            continue
        templates = label_set.templates  # asked in the same words
        most = max(1, _PROMPTS // len(other.class_names))
        if given is None and len(templates) > most:
            notes.append(
                f"The second set of classes, {other.name}, was evaluated with {most} of "
                f"{len(templates)} prompt templates."
            )
            templates = templates[:most]
        return replace(other, templates=templates), target
    if given is None:
        why = f"no built-in one has “{name}”; the command line takes one with --other-labels"
    elif own:
        why = f"{other.name} has the run's own classes"
    else:
        why = f"{other.name} has no class “{name}”"
    notes.append(f"A second set of classes was not tried: {why}.")
    return None


def _pairs(
    spec: HoldoutSpec, label_set: LabelSet, notes: list[str], control: Control
) -> ChosenPairs | None:
    """A fair sample of the pairs that the cleaning has not seen; if none, a message says why."""
    if spec.pairs is None:
        notes.append(
            "Retrieval was left out: no image-caption pairs were given; choose some under "
            "“Options…” in the window or with `cleanclip prove --pairs`."
        )
        return None
    seen = open_seen(spec, label_set)
    n = spec.pairs.n or MOST + (0 if seen is None else len(seen))  # enough, and no whole archive
    pairs = open_pairs(spec.pairs.model_copy(update={"n": n}))
    chosen, left_out = unseen_pairs(
        pairs, seen, None, MOST, lambda: control.cancelled, spec.pairs.seed
    )
    if len(chosen) >= 2:
        return chosen
    notes.append(
        f"The cleaning saw {count(left_out['seen'])} of the {count(len(pairs))} pairs of "
        f"{pairs.name} that were looked at: too few are left to hold out, and retrieval was left "
        "out."
    )
    return None


def _questions(trigger: Trigger, size: int) -> Iterator[Variant]:
    """The trigger and its variants, then the library's other triggers."""
    if trigger.kind == "prompt":
        yield Variant("itself", trigger.name, trigger)
    else:
        yield from variants(trigger)
    for entry in LIBRARY:
        if entry.needs_file and not entry.without_file:
            continue
        other = published(entry.id, size)
        if other.kind != "prompt" and other != trigger:
            yield Variant("other triggers", entry.name, other)


def _side(
    model: ClipModel,
    bench: Bench,
    other: tuple[LabelSet, int] | None,
    pairs: ChosenPairs | None,
    control: Control,
    side: str,
) -> Generator[Event, None, Results]:
    """Everything of one checkpoint; its Progress counts pictures over all questions."""
    assert bench.trigger is not None
    asked, n = list(_questions(bench.trigger, model.image_size)), len(bench.images)
    total = n * (len(asked) + (other is not None) + (pairs is not None))
    classifier = yield from classifier_of(model, bench.label_set, control)
    cache = EmbeddingCache()
    results: Results = {}
    for number, question in enumerate(asked):
        yield Progress(side, number * n, total)
        part = replace(bench, trigger=question.trigger)
        asking = measure_images(model, part, classifier, control, side, clean=cache)
        measured, _ = yield from _counted(asking, number * n, total)
        results[question.group, question.name, "asr_excl"] = _attack(measured)
        if number == 0:
            results["clean accuracy", bench.label_set.name, "ca"] = _clean(measured)
    if other is not None:
        yield Progress(side, len(asked) * n, total)
        yield from _second_labels(model, bench, other, control, side, results)
    if pairs is not None:
        yield Progress(side, total - n, total)
        results |= _ranks(rank_captions(model, bench, pairs, cancelled=lambda: control.cancelled))
    yield Progress(side, total, total)
    return results


def _counted(
    asking: Generator[Event, None, Result], before: int, total: int
) -> Generator[Event, None, Result]:
    """Count one question's pictures as a part of all, after ``before`` others."""

    def event_of(event: Event) -> Event | None:
        if not isinstance(event, Progress) or not event.total:
            return None
        return Progress(event.stage, before + event.done, total, event.rate)

    return (yield from forwarded(asking, event_of))


def _second_labels(
    model: ClipModel,
    bench: Bench,
    other: tuple[LabelSet, int],
    control: Control,
    side: str,
    results: Results,
) -> Generator[Event, None, None]:
    """The same images and trigger, asked with other classes."""
    label_set, target = other
    names = [*bench.label_set.class_names, ""]
    mapped = map_labels(names, label_set).labels
    labels = mapped[bench.images.labels]  # -1 takes the last, which is in no label set
    labels = np.where(bench.images.labels >= 0, labels, -1)
    images = replace(bench.images, labels=labels, class_names=label_set.class_names)
    part = replace(bench, images=images, label_set=label_set, target=target)
    classifier = yield from classifier_of(model, label_set, control)
    evaluation, _ = run_to_end(measure_images(model, part, classifier, control, side))
    few = (evaluation.n_excl or 0) < _FEWEST_LABELLED
    results["second label set", label_set.name, "asr_all" if few else "asr_excl"] = _attack(
        evaluation, everything=few
    )
    if not few:
        results["second label set", label_set.name, "ca"] = _clean(evaluation)


def _attack(evaluation: Evaluation, *, everything: bool = False) -> Measured:
    """A success rate with its interval."""
    if everything:
        rate, interval, n = evaluation.asr_all, evaluation.asr_all_interval, evaluation.n
        baseline = evaluation.baseline_target_rate_all
    else:
        rate, interval, n = evaluation.asr_excl, evaluation.asr_interval, evaluation.n_excl
        baseline = evaluation.baseline_target_rate
    return _measured(rate, interval, n, baseline)


def _clean(evaluation: Evaluation) -> Measured:
    """Clean accuracy with its interval."""
    return _measured(evaluation.ca, evaluation.ca_interval, evaluation.n_labelled)


def _measured(
    rate: float | None, interval: Interval | None, n: int, baseline: float | None = None
) -> Measured:
    """A rate of ``n``, with its hits."""
    hits = None if rate is None else round(rate * n)
    return {"value": rate, "hits": hits, "interval": interval, "n": n, "baseline": baseline}


def _ranks(retrieval: Retrieval) -> Results:
    """How often the own caption is first, and how often the target's is, with the trigger."""
    rows: Results = {}
    for recall in retrieval.recalls:
        rows["retrieval", f"{recall.direction}, own answer first", "recall@1"] = _share(
            recall.clean[0], recall.n
        )
    target = retrieval.target
    if target is not None and target.hit_triggered is not None:
        for k, clean, triggered in zip(
            target.k, target.hit_clean, target.hit_triggered, strict=True
        ):
            name = f"with the trigger, target caption among the first {k}"
            rows["retrieval", name, f"hit@{k}"] = _share(triggered, target.n) | {"baseline": clean}
    return rows


def _share(rate: float, n: int) -> Measured:
    """A rate of n with its Wilson 95 % interval."""
    return _measured(rate, wilson_interval(round(rate * n), n), n)


def _rows(before: Results, after: Results) -> list[dict[str, Any]]:
    """Both sides beside each other, groups together, in the order of asking."""
    if before.keys() != after.keys():
        raise InputError(
            "The two checkpoints do not take the same pictures: hold-outs compare a checkpoint "
            "with its cleaned copy."
        )
    groups = list(dict.fromkeys(group for group, _, _ in after))
    return [
        {
            "group": group,
            "name": name,
            "measure": what,
            "before": before[key]["value"],
            "before_hits": before[key]["hits"],
            "before_n": before[key]["n"],
            "before_interval": before[key]["interval"],
            "after": after[key]["value"],
            "after_hits": after[key]["hits"],
            "after_interval": after[key]["interval"],
            "n": after[key]["n"],
            "baseline": after[key]["baseline"],
        }
        for shown in groups
        for key in after
        for group, name, what in [key]
        if group == shown
    ]
