"""``cleanclip evaluate``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ml_core.checkpoints import open_checkpoint
from ml_core.cli import output
from ml_core.cli.arguments import image_spec, target_index
from ml_core.data.labels import LabelSet, load_label_set, load_templates
from ml_core.events import Control
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.measure import classifier_of, measure, open_bench
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger, demo_trigger, load_trigger


def labels_and_templates(labels: str, templates: Path | None) -> LabelSet:
    """A label set, with the user's templates if there are some."""
    label_set = load_label_set(labels)
    if templates is not None:
        label_set = replace(label_set, templates=load_templates(templates))
    return label_set


def open_trigger(name: str | None) -> Trigger | None:
    """A trigger file, ``demo``, or none."""
    if name is None:
        return None
    return demo_trigger() if name == "demo" else load_trigger(Path(name))


def evaluate_checkpoint(
    checkpoint: Path,
    *,
    images: str,
    trigger: str | None,
    target: str | None,
    labels: str,
    templates: Path | None,
    image_column: str | None,
    label_column: str | None,
    n: int | None,
    seed: int,
    donor: Path | None = None,
    use_choice: bool = True,
    device: str,
    threads: int,
    json: bool,
) -> None:
    """Measure a checkpoint and print the evaluation.

    Raises
    ------
    InputError
        If an input cannot be used, or a trigger is given without its target.
    """
    columns = {"image_column": image_column, "label_column": label_column}
    spec = image_spec(images, n, seed).model_copy(update=columns)
    stamp = open_trigger(trigger)
    label_set = labels_and_templates(labels, templates)
    if target is None and stamp is not None:
        if trigger != "demo":
            raise InputError("A trigger needs the class it aims at: give --target.")
        target = "banana"
    aim = 0 if target is None else target_index(target, label_set.class_names)
    set_threads(threads)
    opened = open_checkpoint(checkpoint, donor, use_choice=use_choice)
    model = opened.build("cpu").to(choose_device(device))
    cautions = opened.architecture.cautions
    for sentence in dict.fromkeys((*cautions, *model.assumptions)):
        output.say(sentence)
    bench = open_bench(spec, label_set, stamp, aim, model.preprocess)
    control = Control()
    with output.progress_bar() as show:
        stage = measure(model, bench, classifier_of(model, label_set), control, "evaluate")
        while True:
            try:
                show(next(stage))
            except StopIteration as end:
                found = end.value
                break
    for problem in bench.images.problems:
        output.say(f"{bench.images.name}: {problem}.")
    record: dict[str, Any] = found.to_dict()
    record["checkpoint"] = str(checkpoint)
    record["cautions"] = list(cautions)
    record["assumptions"] = list(model.assumptions)
    record["donor"] = None if opened.donor is None else str(donor)
    record["choice"] = None if opened.remembered is None else opened.remembered.to_dict()
    record["label_set"] = label_set.name
    record["problems"] = list(bench.images.problems)
    record["left_out"] = bench.images.left_out
    if target is None:
        _forget_target(record)
    if json:
        output.print_json(record)
        return
    output.show(output.comparison_table(checkpoint.name, [("measured", record)]))


def _forget_target(record: dict[str, Any]) -> None:
    """Nobody named a target: the class that stood in for it must not look like one."""
    rates = ("baseline_target_rate", "baseline_target_rate_all", "target_margin_clean")
    for name in ("target", "target_name", *rates):
        record[name] = None
    record["n_excl"] = 0
    record["not_measured"]["baseline_target_rate"] = "no target"
