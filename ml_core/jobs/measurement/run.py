"""Measure a checkpoint in fp32 and keep it as evidence, as a job: a generator of events."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from ml_core.events import Control, Done, Event, Progress, Saved
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.keep import Lists, Source, keep_measurement
from ml_core.jobs.measure import BATCH, classifier_of, measure_images, open_setting
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.jobs.opening import open_model


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
    setting = yield from open_setting(spec, control)
    opened = open_model(spec)
    model = opened.build("cpu").to(device)
    yield Progress("open", 1, 1)
    bench = setting.on(model.preprocess)
    classifier = yield from classifier_of(model, setting.label_set, control)
    measured = yield from measure_images(model, bench, classifier, control, "measure")
    pictures = yield from Lists().of(bench.images, control)
    folder = keep_measurement(
        Path(spec.output_dir),
        Source(opened),
        model,
        bench,
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
