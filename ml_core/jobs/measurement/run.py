"""Measure a checkpoint in fp32 and keep it as evidence, as a job: a generator of events."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from ml_core.checkpoints import open_checkpoint
from ml_core.data.images import open_images
from ml_core.events import Control, Done, Event, Progress, Saved
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.keep import Lists, Source, keep_measurement
from ml_core.jobs.measure import BATCH, bench_of, classifier_of, measure_images, open_labels
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.jobs.opening import opening
from ml_core.triggers.files import load_trigger


def measurement(spec: MeasurementSpec, control: Control) -> Generator[Event, None, None]:
    """Measure, and write a measurement folder; the last event is Done.

    Yields
    ------
    Event
        Progress of the stages ``open``, ``data``, ``texts`` and ``measure``, Saved, and Done, whose
        ``result`` is the evaluation.
    """
    yield Progress("open", 0, 1)
    device, threads = choose_device(spec.device), set_threads(spec.threads)
    label_set = open_labels(spec.label_set, spec.templates, spec.target)
    trigger = None if spec.trigger is None else load_trigger(spec.trigger)
    images = yield from opening(lambda watch: open_images(spec.images, label_set, watch), control)
    opened = open_checkpoint(Path(spec.checkpoint), spec.donor, use_choice=spec.use_choice)
    model = opened.build("cpu").to(device)
    yield Progress("open", 1, 1)
    bench = bench_of(images, label_set, trigger, spec.target, model.preprocess, spec.images.seed)
    classifier = yield from classifier_of(model, label_set, control)
    measured = yield from measure_images(model, bench, classifier, control, "measure")
    pictures = yield from Lists().of(bench.images, control)
    folder = keep_measurement(
        Path(spec.output_dir),
        Source(opened),
        model,
        bench,
        spec.images,
        classifier,
        measured,
        pictures,
        threads=threads,
        batch=BATCH,
        when=spec.when,
        targeted=spec.targeted,
    )
    yield Saved(str(folder), "result")
    yield Done("finished", measured[0].to_dict())
