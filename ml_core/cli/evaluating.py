"""``cleanclip evaluate``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.adapter import apply_adapter, read_adapter
from ml_core.cli import output
from ml_core.cli.arguments import image_spec, target_index
from ml_core.cli.text_side import by_template, retrieval
from ml_core.data.demo_text import TARGET_NAME
from ml_core.data.labels import LabelSet, load_label_set, load_templates
from ml_core.evaluation.breakdown import break_down, confusion_matrix
from ml_core.evaluation.details import details
from ml_core.evaluation.embedding_cache import EmbeddingCache
from ml_core.evaluation.embedding_store import EmbeddingStore
from ml_core.evaluation.paired import PairedDifference, compare
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.evaluation.speed import SAMPLE, Speed, speed_of, use_speed
from ml_core.events import Control
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.measure import Bench, classifier_of, measure_images, open_bench
from ml_core.memory import keep_freed_memory
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger, demo_trigger, load_trigger, published
from ml_core.triggers.library import LIBRARY
from ml_core.triggers.published import standing
from ml_core.triggers.words import describe, title

_PRECISIONS = ("auto", "fp32", "bf16")
# Below this many encodings it takes longer to find the fastest way than to go the plain one.
_WORTH_MEASURING = 10 * SAMPLE
_BATCH = 64


@dataclass(frozen=True)
class Options:
    """What the command line was told; see `ml_core.cli.measuring`."""

    images: str
    trigger: str | None
    target: str | None
    labels: str
    templates: Path | None
    image_column: str | None
    label_column: str | None
    n: int | None
    seed: int
    device: str
    threads: int
    trigger_file: Path | None = None
    reference: Path | None = None
    by_template: bool = False
    captions: str | None = None
    train: bool = False
    precision: str = "auto"
    donor: Path | None = None
    use_choice: bool = True
    adapter: Path | None = None


@dataclass(frozen=True, eq=False)
class _Measured:
    """A checkpoint's numbers."""

    evaluation: Evaluation
    per_image: PerImage
    model: ClipModel
    bench: Bench
    classifier: Tensor
    speed: Speed | None
    record: dict[str, Any]


def labels_and_templates(labels: str, templates: Path | None) -> LabelSet:
    """A label set, with the user's templates if there are some."""
    label_set = load_label_set(labels)
    if templates is not None:
        label_set = replace(label_set, templates=load_templates(templates))
    return label_set


def open_trigger(name: str | None, size: int = 224, file: Path | None = None) -> Trigger | None:
    """A trigger file, ``demo``, the id of a published one for a model input size, or none.

    A file of that name goes before the id.
    """
    if name is None:
        return None
    if name == "demo":
        return demo_trigger()
    ids = {entry.id.lower() for entry in LIBRARY}
    if name.lower() in ids and not Path(name).exists():
        return published(name, size, file)
    if file is not None:
        raise InputError("--trigger-file goes with the id of a published trigger.")
    return load_trigger(Path(name))


def evaluate_checkpoint(checkpoint: Path, options: Options, *, json: bool) -> None:
    """Measure a checkpoint, and a reference beside it, and print the evaluation.

    Raises
    ------
    InputError
        If an input cannot be used, or a trigger is given without its target.
    """
    if options.precision not in _PRECISIONS:
        raise InputError(f"Unknown precision {options.precision!r}; choose fp32, bf16 or auto.")
    label_set = labels_and_templates(options.labels, options.templates)
    target = options.target
    if target is None and options.trigger is not None:
        if options.trigger != "demo":
            raise InputError("A trigger needs the class it aims at: give --target.")
        target = TARGET_NAME
    aim = 0 if target is None else target_index(target, label_set.class_names)
    threads = set_threads(options.threads)
    keep_freed_memory()
    found = _measured(checkpoint, options, label_set, aim, threads, "evaluate", options.adapter)
    record = found.record
    compared: tuple[PairedDifference, ...] = ()
    if options.reference is not None:
        other = _measured(options.reference, options, label_set, aim, threads, "reference")
        compared = _compare(found, other, aim, options.seed)
        record["reference"] = other.record
        record["paired"] = [one.to_dict() for one in compared]
    if options.by_template:
        record["by_template"] = by_template(found.model, found.bench)
    if options.captions is not None:
        record["retrieval"] = retrieval(
            found.model, found.bench, options.captions, n=options.n, targeted=target is not None
        )
    if target is None:
        for each in (record, record.get("reference")):
            if each is not None:
                _forget_target(each)
    if json:
        output.print_json(record)
        return
    trigger = found.bench.trigger
    if trigger is not None:
        size = found.model.image_size
        output.say(f"{title(trigger)} ({standing(trigger, size)}). {describe(trigger)}")
    if found.evaluation.control_ca is not None:
        output.say(
            "CA on the trigger's own canvas without the trigger: "
            f"{output.percent(record, 'control_ca')}."
        )
    if found.evaluation.same_names:
        numbers = ", ".join(map(str, found.evaluation.same_names))
        output.say(
            f"The target is class {aim}; classes of the same name are others: {numbers}. Which of "
            "them is predicted is decided by the number alone."
        )
    rows: list[tuple[str, dict[str, Any] | None]] = [("measured", record)]
    if options.reference is not None:
        rows.append(("reference", record["reference"]))
    output.show(output.comparison_table(checkpoint.name, rows))
    if compared:
        output.show(output.paired_table(compared, with_target=target is not None))
    if options.by_template:
        output.show(output.template_table(record["by_template"]))
    if options.captions is not None:
        output.show(output.retrieval_table(record["retrieval"]))


def _measured(
    checkpoint: Path,
    options: Options,
    label_set: LabelSet,
    aim: int,
    threads: int,
    stage: str,
    adapter: Path | None = None,
) -> _Measured:
    """Evaluate one checkpoint on the images and with the trigger."""
    columns: dict[str, Any] = {
        "image_column": options.image_column, "label_column": options.label_column
    }  # fmt: skip
    spec = image_spec(options.images, options.n, options.seed)
    if options.train:
        if spec.kind == "demo":
            raise InputError("--train goes with a published set; of the demo take demo:train.")
        columns["split"] = "train"
    spec = spec.model_copy(update=columns)
    opened = open_checkpoint(checkpoint, options.donor, use_choice=options.use_choice)
    model = opened.build("cpu").to(choose_device(options.device))
    if adapter is not None:
        apply_adapter(model, read_adapter(adapter))
    cautions = opened.architecture.cautions
    for sentence in dict.fromkeys((*cautions, *model.assumptions)):
        output.say(sentence)
    stamp = open_trigger(options.trigger, model.image_size, options.trigger_file)
    bench = open_bench(spec, label_set, stamp, aim, model.preprocess)
    classifier = classifier_of(model, label_set)
    speed = _speed(model, bench, classifier, options.precision)
    batch = _BATCH if speed is None else speed.batch
    control = Control()
    cache = EmbeddingCache(store=EmbeddingStore())
    with output.progress_bar() as show:
        events = measure_images(model, bench, classifier, control, stage, batch=batch, clean=cache)
        while True:
            try:
                show(next(events))
            except StopIteration as end:
                evaluation, per_image = end.value
                break
    for problem in bench.images.problems:
        output.say(f"{bench.images.name}: {problem}.")
    record: dict[str, Any] = evaluation.to_dict()
    record["checkpoint"] = str(checkpoint)
    record["cautions"] = list(cautions)
    record["assumptions"] = list(model.assumptions)
    record["adapter"] = None if adapter is None else str(adapter)
    record["donor"] = None if opened.donor is None else str(options.donor)
    record["choice"] = None if opened.remembered is None else opened.remembered.to_dict()
    record["label_set"] = label_set.name
    record["problems"] = list(bench.images.problems)
    record["left_out"] = bench.images.left_out
    record["breakdown"] = break_down(
        per_image, bench.images.labels, aim, label_set.class_names
    ).to_dict()
    record["breakdown"]["matrix"] = _matrix(per_image, bench.images.labels, len(classifier))
    record["speed"] = None if speed is None else speed.to_dict()
    record["details"] = details(
        evaluation,
        model=model,
        images=bench.images,
        trigger=stamp,
        class_names=label_set.class_names,
        label_set=label_set.name,
        threads=threads,
        batch=batch,
        speed=speed,
    ).to_dict()
    return _Measured(evaluation, per_image, model, bench, classifier, speed, record)


def _matrix(
    per_image: PerImage, labels: NDArray[np.int64], classes: int
) -> list[dict[str, int]] | None:
    """The cells of the triggered images' confusion matrix that are not empty, by class index."""
    if per_image.triggered_top1 is None:
        return None
    counts = confusion_matrix(labels[per_image.indices], per_image.triggered_top1, classes)
    return [
        {"label": int(label), "predicted": int(predicted), "n": int(counts[label, predicted])}
        for label, predicted in np.argwhere(counts)
    ]


def _speed(model: ClipModel, bench: Bench, classifier: Tensor, precision: str) -> Speed | None:
    """Choose how to encode; None where measuring is not worth it."""
    n = len(bench.images)
    wanted = cast(Literal["auto", "fp32", "bf16"], precision)
    sides = 1 if bench.trigger is None else 2
    if n * sides < _WORTH_MEASURING:
        model.precision = "bf16" if precision == "bf16" else "fp32"
        return None
    sample = bench.canvases.get(np.arange(min(n, SAMPLE)))
    speed = speed_of(model, sample, classifier, precision=wanted, encodes=n * sides)
    use_speed(model, speed)
    output.say(f"Encoding: {speed.why}.")
    return speed


def _compare(
    found: _Measured, other: _Measured, aim: int, seed: int
) -> tuple[PairedDifference, ...]:
    """Paired differences; the images must be the same ones."""
    mine, theirs = found.bench.images, other.bench.images
    if len(mine) != len(theirs) or not np.array_equal(mine.labels, theirs.labels):
        raise InputError("The images changed while they were measured; measure again.", "damaged")
    if found.model.precision != other.model.precision:
        output.say(
            f"The checkpoint was measured in {found.model.precision} and the reference in "
            f"{other.model.precision}; give --precision fp32 to measure both alike."
        )
    trigger, same = found.bench.trigger, other.bench.trigger
    if trigger is not None and same is not None and trigger.digest != same.digest:
        output.say("The two models have other input sizes: the trigger is the one of each size.")
    return compare(found.per_image, other.per_image, mine.labels, aim, seed=seed)


def _forget_target(record: dict[str, Any]) -> None:
    """Nobody named a target: the class that stood in for it must not look like one."""
    rates = ("baseline_target_rate", "baseline_target_rate_all", "target_margin_clean")
    for name in ("target", "target_name", "baseline_interval", *rates):
        record[name] = None
    record["n_excl"] = 0
    record["same_names"] = []
    record["not_measured"]["baseline_target_rate"] = "no target"
    for row in record["breakdown"]["classes"]:
        row["baseline_target_rate"] = None
    record["breakdown"]["target"] = None
    record["details"]["target"] = record["details"]["target_name"] = None
