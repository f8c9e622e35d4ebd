"""A bundle of evidence from runs, scans and measurements, as a job: a generator of events."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from ml_core.data.images import ImageSet, list_pictures
from ml_core.data.labels import LabelSet
from ml_core.data.pictures import DemoPictures
from ml_core.data.watch import Watch, watched
from ml_core.events import Control, Done, Event, Message, Progress, Saved
from ml_core.jobs.auto import AUTO_FILE, AutoResult
from ml_core.jobs.devices import set_threads
from ml_core.jobs.journal import read_json
from ml_core.jobs.measure import OpenSetting
from ml_core.jobs.opening import opening, opening_images
from ml_core.jobs.remeasure import (
    MOST,
    OpenedAgain,
    flipped,
    label_set_of,
    measuring_tau,
    open_again,
    pictures_of,
)
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.report.sources import Sources, open_where_it_is, read_sources
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.regular_file import read_file
from ml_core.reading.sniff import CHECKPOINT_SUFFIXES
from ml_core.reports.derive import GROUPS, evidence_from
from ml_core.reports.environment import environment
from ml_core.reports.html.charts import draw_charts
from ml_core.reports.html.report import render_html
from ml_core.reports.measurement_files import PICTURES_FILE, MeasurementFolder, json_bytes
from ml_core.reports.record import ENVIRONMENT_FILE, PDF_FILE, BundlePath, Evidence
from ml_core.reports.verify.intact import PICTURES
from ml_core.reports.without_paths import WithoutPaths, shown
from ml_core.reports.write_bundle import (
    FOLDER_SUFFIX,
    ZIP_SUFFIX,
    as_read,
    out_of,
    reading,
    views,
    write_bundle,
)

_MOST_PICTURES = 15_000
_MOST_PICTURE_BYTES = 1 << 30


def report(spec: ReportSpec, control: Control) -> Generator[Event, None, None]:
    """Write a bundle; the last event is Done.

    Some pictures of each measurement are measured again where checkpoint and pictures are still
    there, to know by how much its logits move (`ml_core.jobs.remeasure`).

    Yields
    ------
    Event
        Progress of the stages ``open``, ``data``, ``texts``, ``again`` and ``write``, Message,
        Saved, and Done, whose ``result`` holds ``path``, ``bytes``, ``files``, ``claims``,
        ``verdict``, ``not_tested`` and ``notes``.
    """
    out = out_of(spec.out)
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} is there already: name another place with -o, or take it away.")
    set_threads(spec.threads)
    pages = [view for view in views() if not view.asked or (spec.pdf and view.path == PDF_FILE)]
    sources = yield from read_sources(spec)
    again = _Remeasuring(spec, sources, control)
    yield from again.run()
    if spec.include_checkpoints:
        _include_checkpoints(sources)
    if spec.include_images:
        yield from again.include_images()
    for note in sources.notes:
        yield Message(note, "warning")
    known = Path.home(), *spec.runs, *spec.scans
    sources.notes += map(WithoutPaths(known).text, [*spec.notes, *_of_chains(spec.runs)])
    evidence = evidence_of(spec, sources, _name(spec, out), again.thumbnails)
    if spec.pdf:
        evidence = evidence.model_copy(update={"pdf": PDF_FILE})
    progress: list[Progress] = []
    size = 0

    def tell(done: int, total: int) -> None:
        nonlocal size
        size = total
        if control.cancelled:
            raise CancelledError
        progress.append(Progress("write", done, total))

    yield Progress("write", 0, 0)
    write_bundle(evidence, sources.files, out, views=pages, on_progress=tell)
    yield from progress[-1:]
    yield Saved(str(out), "result")
    yield Done(
        "finished",
        {
            "path": str(out),
            "bytes": size,
            "files": len(sources.files) + len(pages) + 4,
            "claims": len(evidence.claims),
            "verdict": list(evidence.verdict),
            "not_tested": list(evidence.not_tested),
            "notes": list(evidence.notes),
        },
    )


def evidence_of(
    spec: ReportSpec, sources: Sources, name: str, thumbnails: dict[BundlePath, str]
) -> Evidence:
    """The record, dated today; it adds charts that can be drawn and the environment to files."""
    sources.files[ENVIRONMENT_FILE] = json_bytes(environment())
    evidence = evidence_from(
        reading(sources.files),
        name=name,
        date=datetime.now().astimezone().date().isoformat(),
        author=spec.author,
        **{name: getattr(sources, name) for name in GROUPS},
        thumbnails=thumbnails,
        notes=tuple(sources.notes),
    )
    pictures = draw_charts(evidence)
    sources.files.update(pictures)
    charts = tuple(chart for chart in evidence.charts if chart.file in pictures)
    return evidence.model_copy(update={"charts": charts})


def _of_chains(runs: Sequence[str]) -> Iterator[str]:
    """What *Clean it* says of the runs that it kept: what it chose, why, and what that came to."""
    for folder in map(Path, runs):
        with suppress(ValidationError):
            chain = AutoResult.model_validate(read_json(folder.parent / AUTO_FILE))
            place = None if chain.checkpoint is None else Path(chain.checkpoint).resolve().parent
            if chain.best == folder.name and place == folder.resolve():
                yield " ".join(("Clean it.", *chain.reasons, *chain.sentences))


@dataclass(eq=False)
class _Remeasuring:
    """What needs checkpoints and pictures: tau, thumbnails, and pictures that go in."""

    spec: ReportSpec
    sources: Sources
    control: Control
    thumbnails: dict[BundlePath, str] = field(default_factory=dict)
    _images: dict[str, ImageSet | None] = field(default_factory=dict)

    def run(self) -> Generator[Event, None, None]:
        """Measure again, checkpoint by checkpoint: one model is in memory at a time."""
        for checkpoint in self.sources.checkpoints:
            yield from self._checkpoint(checkpoint)

    def _checkpoint(self, id_: str) -> Generator[Event, None, None]:
        sources = self.sources
        mine = [key for key, entry in sources.measurements.items() if entry.checkpoint == id_]
        facts, place = sources.checkpoints[id_], sources.places[id_]
        opened = open_where_it_is(facts, place)
        if not mine:
            return
        if facts.adapter is not None:
            sources.notes.append(
                f"{facts.name} was measured with an adapter of RVPT, which is no longer offered: "
                "its pictures could not be measured again, and tau is not known."
            )
            return
        if opened is None or place.weights is None:
            sources.notes.append(
                f"{facts.name} is not where it was measured: its pictures could not be measured "
                "again, and tau is not known."
            )
            return
        again: OpenedAgain | None = None
        for key in mine:
            measured, measurement = sources.measurements[key], sources.folders[key]
            images = yield from self._set(measured.data, measurement)
            if images is None:
                continue
            own, device = measurement.facts, self.spec.device
            part = own.data.spec.model_copy(update={"seed": own.seed})
            trigger, classes = measurement.trigger(), _classes(measurement)
            again = yield from open_again(
                opened,
                OpenSetting(part, images, classes, trigger, own.target or 0),
                self.control,
                choice=own.checkpoint.choice,
                classifier=measurement.classifier(),
                device="cpu" if device == "auto" and own.device == "cpu" else device,
                model=None if again is None else again.model,
            )
            yield from self._tau(key, again)
            if self.spec.thumbnails:
                self._thumbnails(key, again)

    def _tau(self, key: str, opened: OpenedAgain) -> Generator[Event, None, None]:
        """Measure tau for a measurement in fp32."""
        sources = self.sources
        measured = sources.measurements[key]
        if measured.precision != "fp32" or not self.spec.tau_pictures:
            return
        tau = yield from measuring_tau(
            opened,
            sources.folders[key].rows,
            self.control,
            batch=measured.batch,
            threads=max(1, measured.threads),
            zero_shot=measured.head == "zero-shot",
            pictures=self.spec.tau_pictures,
        )
        sources.measurements[key] = measured.model_copy(
            update={"tau": tau.tau, "tau_pictures": tau.pictures, "tau_changed": tau.changed}
        )

    def _thumbnails(self, key: str, opened: OpenedAgain) -> None:
        """Keep pictures that the trigger changes, from the first measurement that has some."""
        sources = self.sources
        measured, rows = sources.measurements[key], sources.folders[key].rows
        is_suspect = sources.checkpoints[measured.checkpoint].role == "suspect"
        if self.thumbnails or not is_suspect or measured.head != "zero-shot":
            return
        names = sources.folders[key].class_names
        for index in flipped(rows, measured.target, MOST // 2).tolist():
            pictures = pictures_of(opened, index)
            if pictures is None or rows.triggered_top is None:
                continue
            row = int(np.searchsorted(rows.indices, index))
            answers = names[int(rows.clean_top[row, 0])], names[int(rows.triggered_top[row, 0])]
            for what, png, answer in zip(("without", "with"), pictures, answers, strict=True):
                path = f"thumbnails/{index:07d}-{what}.png"
                sources.files[path] = png
                self.thumbnails[path] = f"Picture {index} {what} the trigger: “{answer}” ({key})."

    def _set(
        self, id_: str, measurement: MeasurementFolder
    ) -> Generator[Event, None, ImageSet | None]:
        """The pictures if they are still there and unchanged; else a note says so, once."""
        if id_ in self._images:
            return self._images[id_]
        name = self.sources.data[id_].name
        images: ImageSet | None = None
        path = measurement.facts.data.spec.path
        try:
            if path is not None and not Path(path).exists():
                raise InputError(f"The pictures of {name} are not where they were measured")
            part, classes = measurement.facts.data.spec, _classes(measurement)
            opened = yield from opening_images(part, classes, self.control)
            if (yield from self._same(measurement, opened)):
                images = opened
            else:
                raise InputError(f"The pictures of {name} are not those that were measured")
        except InputError as error:
            self.sources.notes.append(
                f"{error.sentence.rstrip('.')}: they could not be measured again, and tau is not "
                "known."
            )
        self._images[id_] = images
        return images

    def _same(
        self, measurement: MeasurementFolder, images: ImageSet
    ) -> Generator[Event, None, bool]:
        """Whether pictures are those of a measurement; a large set's key may be of another kind."""
        if images.key == measurement.facts.data.key:
            return True
        listed = yield from opening(lambda watch: list_pictures(images, watch), self.control)
        return listed == read_file(measurement.folder / PICTURES_FILE, inside=measurement.folder)

    def include_images(self) -> Generator[Event, None, None]:
        """Copy the pictures, but for those that the program composes.

        Raises
        ------
        InputError
            If a set is gone, or is too large.
        """
        sources = self.sources
        for id_, facts in sources.data.items():
            measured = (key for key, entry in sources.measurements.items() if entry.data == id_)
            images = yield from self._set(id_, sources.folders[next(measured)])
            if images is None:
                raise InputError(
                    f"The pictures of {facts.name} cannot be included, as they are missing or have "
                    "changed: leave --include-images out."
                )
            if isinstance(images.pictures, DemoPictures):
                continue
            if len(images) > _MOST_PICTURES:
                raise InputError(
                    f"{facts.name} has {len(images)} pictures, more than the {_MOST_PICTURES} that "
                    "a bundle takes: leave --include-images out."
                )
            yield from opening(partial(self._copy, images, id_), self.control)
            sources.data[id_] = facts.model_copy(update={"pictures": f"data/{id_}"})

    def _copy(self, images: ImageSet, id_: str, watch: Watch) -> None:
        total = 0
        for index in watched(range(len(images)), watch, "Copying pictures", len(images)):
            try:
                raw = images.pictures.raw(index)
            except InputError:  # it was not measured either
                continue
            total += len(raw)
            if total > _MOST_PICTURE_BYTES:
                raise InputError(
                    f"The pictures of {images.name} are more than "
                    f"{_MOST_PICTURE_BYTES >> 30} GB: leave --include-images out."
                )
            suffix = next(ending for ending, magic in PICTURES.items() if raw.startswith(magic))
            self.sources.files[f"data/{id_}/{index:07d}{suffix}"] = raw


def _include_checkpoints(sources: Sources) -> None:
    """Copy the weights.

    Raises
    ------
    InputError
        If they are gone, or are a folder or a part of a file.
    """
    for id_, facts in sources.checkpoints.items():
        path = sources.places[id_].weights
        if path is None or not path.is_file():
            what = "is not there any more"
            if path is not None:
                what = "is a folder of several files" if path.is_dir() else "is a part of a file"
            raise InputError(f"{facts.name} {what}: leave --include-checkpoints out.")
        suffix = path.suffix.lower()
        file = f"checkpoints/{id_}{suffix if suffix in CHECKPOINT_SUFFIXES else ''}"
        sources.files[file] = path
        sources.checkpoints[id_] = facts.model_copy(update={"file": file})


def _classes(measurement: MeasurementFolder) -> LabelSet:
    """The classes of a kept measurement."""
    names, templates = measurement.class_names, measurement.templates
    return label_set_of(measurement.facts.label_set, names, templates)


def _name(spec: ReportSpec, out: Path) -> str:
    """The title: given, or the output's name without its endings."""
    if spec.name is not None:
        return spec.name
    return shown(out.name).removesuffix(ZIP_SUFFIX).removesuffix(FOLDER_SUFFIX)


@dataclass(frozen=True, eq=False)
class Draft:
    """A report that was not written: its record, and its page as it would be now."""

    evidence: Evidence
    html: bytes


def draft(spec: ReportSpec) -> Generator[Event, None, Draft]:
    """Put a report together; nothing is measured again, so tau stays unknown.

    Yields
    ------
    Event
        Progress of the stage ``open``.

    Raises
    ------
    InputError
        As `read_sources`.
    """
    sources = yield from read_sources(spec)
    evidence = as_read(evidence_of(spec, sources, spec.name or "Draft", {}))
    return Draft(evidence, render_html(evidence, reading(sources.files)))
