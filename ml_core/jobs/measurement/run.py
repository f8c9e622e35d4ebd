"""Measure a checkpoint, and keep it as evidence, as a job: a generator of events."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from ml_core.checkpoints.choice import CHOICE_KEY
from ml_core.checkpoints.inspection_record import assess, inspection_record
from ml_core.checkpoints.open import Checkpoint
from ml_core.data.images import ImageSet, list_pictures, what_is_hashed
from ml_core.evaluation.embedding_cache import EmbeddingCache
from ml_core.evaluation.records import Evaluation, PerImage, forget_target
from ml_core.evaluation.speed import SAMPLE, EncodingSpeed, speed_of, use_speed
from ml_core.events import Control, Done, Event, Message, Progress, Saved
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.measure import (
    BATCH,
    Bench,
    OpenSetting,
    classifier_of,
    measure_images,
    open_setting,
)
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.jobs.measurement.earlier import find, question_of, remember
from ml_core.jobs.opening import open_model, opening
from ml_core.model import ClipModel
from ml_core.reading.errors import printable
from ml_core.reading.regular_file import read_file
from ml_core.reports.measurement_files import (
    MEASUREMENTS_FOLDER,
    PICTURES_FILE,
    LocalCheckpoint,
    LocalData,
    LocalMeasurement,
    MeasurementFolder,
    trigger_record,
    write_measurement,
)
from ml_core.reports.record import Measured, When
from ml_core.reports.rows import rows_of

Head = Literal["zero-shot", "linear"]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answered on a bench, and how that was computed.

    ``classifier`` has the rows of the classes [C, D]; ``speed`` says why ``batch``, precision and
    layout were chosen, if they were measured.
    """

    model: ClipModel
    bench: Bench
    classifier: Tensor
    evaluation: Evaluation
    per_image: PerImage
    threads: int
    batch: int = BATCH
    speed: EncodingSpeed | None = None


@dataclass(eq=False)
class Keeper:
    """Keeps measurements as folders; the pictures of a set are listed once.

    Attributes
    ----------
    control
        Can cancel making a list.
    targeted
        Whether somebody named the target.
    """

    control: Control
    targeted: bool = True
    _lists: dict[str, bytes] = field(default_factory=dict)

    def keep(
        self, folder: Path, source: Checkpoint, answers: Answers, when: When = "evaluation",
        head: Head = "zero-shot", *, heldout: bool = False,
    ) -> Generator[Event, None, Path]:  # fmt: skip
        """Write a measurement folder.

        Parameters
        ----------
        folder
            The folder to write.
        source
            The checkpoint that the model was built of.
        answers
            What was measured.
        when, heldout
            As in `MeasurementFacts`.
        head
            The kind of head whose rows are in the classifier.

        Raises
        ------
        OSError
            If a file cannot be written.
        CancelledError
            If it was cancelled.
        """
        model, bench, evaluation = answers.model, answers.bench, answers.evaluation
        pictures = yield from self._list(bench.images)
        record = evaluation.to_dict()
        if not self.targeted:
            forget_target(record)
        assessed = assess(source.inspection, source.donor)
        trigger, images, classes = bench.trigger, bench.images, bench.label_set
        hashed = what_is_hashed(images)
        known_by = f"{images.known_by}; the SHA-256 of a picture is of {hashed}"
        own = {"trigger": None if trigger is None else trigger_record(trigger)}
        facts = LocalMeasurement(
            **{name: record[name] for name in record.keys() & Measured.model_fields.keys()} | own,
            when=when,
            heldout=heldout,
            checkpoint=_checkpoint(source, model, assessed.verdict, assessed.reasons),
            data=LocalData(
                name=images.name, key=images.key, known_by=known_by, n=len(images), spec=bench.spec
            ),
            head=head,
            classes=len(classes.class_names),
            label_set=Path(classes.name).name,
            threads=answers.threads,
            batch=answers.batch,
        )
        if folder.is_symlink():
            folder.unlink()  # what is kept lies here, and not where a link leads
        return write_measurement(
            folder,
            facts,
            record,
            rows_of(answers.per_image, images.labels),
            templates=evaluation.templates,
            class_names=classes.class_names,
            classifier=answers.classifier.detach().to("cpu").float().contiguous().numpy(),
            pictures=pictures,
            inspection=inspection_record(assessed),
            trigger=trigger,
        )

    def take_over(
        self, folder: Path, source: Checkpoint, model: ClipModel, bench: Bench,
        there: MeasurementFolder,
    ) -> None:  # fmt: skip
        """Write a measurement of the same again, with the places that the files have now.

        Raises
        ------
        OSError
            If a file cannot be written, or was taken away meanwhile.
        """
        assessed = assess(source.inspection, source.donor)
        checkpoint = _checkpoint(source, model, assessed.verdict, assessed.reasons)
        data = there.facts.data.model_copy(update={"spec": bench.spec})
        write_measurement(
            folder,
            there.facts.model_copy(update={"checkpoint": checkpoint, "data": data}),
            there.evaluation,
            there.rows,
            templates=there.templates,
            class_names=there.class_names,
            classifier=there.classifier(),
            pictures=read_file(there.folder / PICTURES_FILE, inside=there.folder),
            inspection=inspection_record(assessed),
            trigger=there.trigger(),
        )

    def _list(self, images: ImageSet) -> Generator[Event, None, bytes]:
        """A set's list; Progress of the stage ``data`` where it takes its time."""
        if images.key not in self._lists:
            listed = yield from opening(lambda watch: list_pictures(images, watch), self.control)
            self._lists[images.key] = listed
        return self._lists[images.key]


@dataclass(frozen=True, eq=False)
class Measuring:
    """How a checkpoint is measured on the sets of a job, and kept in the folder of its run.

    Attributes
    ----------
    folder
        Folder of the run.
    benches
        As in `Inputs`.
    threads
        Number of threads of torch.
    keeper
        Its control is asked for cancel.
    """

    folder: Path
    benches: Mapping[str, Bench]
    threads: int
    keeper: Keeper

    def run(
        self,
        when: When,
        model: ClipModel,
        source: Checkpoint,
        rows: Tensor,
        head: Head = "zero-shot",
    ) -> Generator[Event, None, dict[str, Evaluation]]:
        """Evaluate on every set with one head, whose rows of the classes are [C, D].

        What this machine has measured before a cleaning is not measured again.

        Raises
        ------
        CancelledError
            If it was cancelled.
        """
        evaluations: dict[str, Evaluation] = {}
        keeper = self.keeper
        for name, bench in self.benches.items():
            stage = when if head == "zero-shot" else f"{when}, linear head"
            stage += "" if name == "test" else f" ({name})"
            # ``before``, ``after-linear``, ``heldout-after``, ...
            parts = "" if name == "test" else name, when, "linear" if head == "linear" else ""
            folder = self.folder / MEASUREMENTS_FOLDER / "-".join(filter(None, parts))
            held = name == "heldout"
            if when == "before":
                question = question_of(model, bench, rows, targeted=keeper.targeted, heldout=held)
                if (there := find(question)) is not None:
                    keeper.take_over(folder, source, model, bench, there)
                    run = printable(there.folder.parent.parent.name)
                    which = ", held-out pictures" if held else ""
                    yield Message(f"Before cleaning{which}: as measured in {run}.")
                    evaluations[name] = Evaluation.from_dict(there.evaluation)
                    continue
            measured = yield from measure_images(model, bench, rows, keeper.control, stage)
            answers = Answers(model, bench, rows, *measured, self.threads)
            yield from keeper.keep(folder, source, answers, when, head, heldout=held)
            if when == "before":
                remember(question, folder)
            evaluations[name] = measured[0]
        return evaluations


def _checkpoint(
    source: Checkpoint, model: ClipModel, verdict: str, reasons: tuple[str, ...]
) -> LocalCheckpoint:
    """What was measured."""
    inspection, donor = source.inspection, source.donor
    given = None if donor is None else donor.inspection.sha256
    return LocalCheckpoint(
        path=str(source.path.absolute()),
        donor_path=None if donor is None else str(donor.path.absolute()),
        name=printable(inspection.name),
        sha256=inspection.sha256 or None,
        bytes=inspection.size,
        format=inspection.format,
        architecture=source.architecture.name,
        parameters=inspection.parameters,
        identity=model.identity or "",
        donor=given or None,
        choice=json.loads(json.dumps(model.origin.get(CHOICE_KEY))),  # lists, as JSON has them
        assumptions=tuple(model.assumptions),
        cautions=tuple(source.architecture.cautions),
        safety=verdict,
        safety_reasons=reasons,
    )


Precision = Literal["auto", "fp32", "bf16"]
# With fewer encodings than so many samples, finding the fastest way takes longer than it saves.
_WORTH_MEASURING = 10


def measurement(spec: MeasurementSpec, control: Control) -> Generator[Event, None, None]:
    """Measure in fp32, and write a measurement folder; the last event is Done.

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
    answers = yield from answering(model, setting, control, "measure", threads=threads)
    if spec.output_dir is not None:
        keeper = Keeper(control, spec.targeted)
        folder = yield from keeper.keep(Path(spec.output_dir), opened, answers, spec.when)
        yield Saved(str(folder), "result")
    yield Done("finished", answers.evaluation.to_dict())


def answering(
    model: ClipModel,
    setting: OpenSetting,
    control: Control,
    stage: str,
    *,
    threads: int,
    precision: Precision | None = None,
    cache: EmbeddingCache | None = None,
) -> Generator[Event, None, Answers]:
    """Measure a model on an opened setting.

    Parameters
    ----------
    model
        On its device.
    setting
        What it is measured on.
    control
        Asked for cancel.
    stage
        Name of the measurement in the Progress events.
    threads
        Number of threads of torch.
    precision
        Which precision the fastest way of encoding may have; None takes the model as it is.
    cache
        Embeddings of the clean images from earlier evaluations.

    Raises
    ------
    CancelledError
        If it was cancelled.
    """
    bench, speed = setting.on(model.preprocess), None
    classifier = yield from classifier_of(model, setting.label_set, control)
    if precision is not None:
        speed = yield from _chosen_speed(model, bench, classifier, precision)
    batch = BATCH if speed is None else speed.batch
    measured = yield from measure_images(
        model, bench, classifier, control, stage, batch=batch, clean=cache
    )
    return Answers(model, bench, classifier, *measured, threads, batch, speed)


def _chosen_speed(
    model: ClipModel, bench: Bench, classifier: Tensor, precision: Precision
) -> Generator[Event, None, EncodingSpeed | None]:
    """Choose how to encode; None where measuring is not worth it."""
    n = len(bench.images)
    sides = 1 if bench.trigger is None else 2
    if n * sides < _WORTH_MEASURING * SAMPLE:
        model.precision = "bf16" if precision == "bf16" else "fp32"
        return None
    yield Progress("speed", 0, 0)
    sample = bench.canvases.get(np.arange(min(n, SAMPLE)))
    speed = speed_of(model, sample, classifier, precision=precision, encodes=n * sides)
    use_speed(model, speed)
    yield Message(f"Encoding: {speed.why}.")
    return speed
