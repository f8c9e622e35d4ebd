"""``cleanclip evaluate``: clean accuracy, attack success rate, and what goes with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from rich.table import Table

from ml_core import figures
from ml_core.cli import output
from ml_core.cli.arguments import (
    image_spec,
    labels_and_templates,
    open_trigger,
    pair_spec,
    resolve_scan,
    target_index,
)
from ml_core.cli.checkpoints import checkpoint_path
from ml_core.cli.options import NamedPath, Options, command
from ml_core.cli.run import run_stage
from ml_core.events import Control
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.options import option
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ml_core.evaluation.paired import PairedDifference
    from ml_core.jobs.measurement.run import Answers, Precision
    from ml_core.reports.record import When

_N = (
    "Number of images: a seeded, stratified sample; for the demo the first ones, class by class in "
    "turn."
)


@command(
    "checkpoint images trigger trigger_file target reference labels templates captions "
    "image_column label_column train n seed precision keep donor no_choice device threads json",
    MeasurementSpec,
)
def evaluate(
    options: Options,
    device: str,
    threads: int,
    trigger_file: Path | None = option(
        None, help="The attack's own file, for a trigger id that needs a file."
    ),
    reference: NamedPath | None = option(
        None, help="A checkpoint to compare with on the same images and trigger."
    ),
    captions: str | None = option(
        None, help="Image-caption pairs, as for clean --pairs: also measure retrieval."
    ),
    train: bool = option(False, help="Training pictures of a published set."),
    n: int | None = option(None, help=_N),
    seed: int = option(0, help="Seed of the sample and of random draws.", ge=0),
    precision: str = option("auto", help="fp32, bf16, or auto: the fastest that agrees with fp32."),
    keep: NamedPath | None = option(
        None,
        help="New folder for the answers picture by picture and all else that `cleanclip report` "
        "needs. The reference gets a folder of its own, whose name ends in -reference.",
    ),
) -> None:
    """JSON has everything: intervals, each class, what triggered images become, paired differences
    to the reference, and everything needed to repeat the numbers.

    Examples:

        cleanclip evaluate model.safetensors --images photos/ --labels imagenet-1k

        cleanclip evaluate model.safetensors --trigger demo --target banana --json

        cleanclip evaluate cleaned.safetensors --reference before.pt --trigger T1 --target banana

        cleanclip evaluate model.safetensors --trigger T1 --target banana --keep measured/
    """
    from ml_core.data.demo_text import TARGET_NAME

    trigger, target = resolve_scan(options.trigger, options.target)

    if precision not in ("auto", "fp32", "bf16"):
        raise InputError(f"Unknown precision {precision!r}; choose fp32, bf16 or auto.")
    folders: list[Path] = []  # of the checkpoint, and of the reference beside it
    if keep is not None:
        beside = keep.parent / f"{keep.name}-reference"
        folders = [keep] if reference is None else [keep, beside]
    for folder in folders:
        require_new(folder)
    label_set = labels_and_templates(options.labels, options.templates)
    if target is None and trigger is not None:
        if trigger != "demo":
            raise InputError("A trigger needs the class it aims at: give --target.")
        target = TARGET_NAME
    spec = image_spec(options.images, n, seed)
    if train and spec.kind == "demo":
        raise InputError("--train is for published sets; for the demo use demo:train.")
    open_trigger(trigger, file=trigger_file)
    suspect_path = checkpoint_path(options.checkpoint)
    reference_path = None if reference is None else checkpoint_path(reference)
    donor = None if options.donor is None else checkpoint_path(options.donor)
    targeted = target is not None
    # Without a target the first class stands in for one.
    aim = 0 if target is None else target_index(target, label_set.class_names)
    spec = spec.model_copy(update=options.columns | ({"split": "train"} if train else {}))
    with output.working("Loading torch"):
        from ml_core.checkpoints import open_checkpoint
        from ml_core.data.images import open_images
        from ml_core.evaluation.details import details
        from ml_core.evaluation.embedding_cache import EmbeddingCache, EmbeddingStore
        from ml_core.jobs.devices import choose_device, set_threads
        from ml_core.jobs.measure import OpenSetting
        from ml_core.jobs.measurement.run import Keeper, answering

    keeper = Keeper(Control(), targeted)

    def measure(path: Path, stage: str) -> tuple[Answers, dict[str, Any]]:
        """Evaluate one checkpoint on the images and with the trigger; its numbers, and as JSON."""
        with output.working(f"Opening {path.name}"):
            opened = open_checkpoint(path, donor, use_choice=not options.no_choice)
            model = opened.build("cpu").to(place)
            stamp = open_trigger(trigger, model.image_size, trigger_file)
        cautions = opened.architecture.cautions
        for sentence in dict.fromkeys((*cautions, *model.assumptions)):
            output.say(sentence)
        how = "fp32" if keep is not None and precision == "auto" else precision
        if how != precision:
            output.say("What is kept for evidence is measured in fp32.")
        setting = OpenSetting(spec, opened_images, label_set, stamp, aim)
        fast: dict[str, Any] = {"threads": threads, "precision": cast("Precision", how)}
        fast["cache"] = EmbeddingCache(store=EmbeddingStore())
        answers = run_stage(answering(model, setting, Control(), stage, **fast))
        images, speed = answers.bench.images, answers.speed
        for problem in images.problems:
            output.say(f"{images.name}: {problem}.")
        if keep is not None:
            is_other = stage == "reference"
            when: When = "reference" if is_other else "evaluation"
            folder = run_stage(keeper.keep(folders[is_other], opened, answers, when))
            output.say(f"Kept in {folder}.")
        return answers, {
            **answers.evaluation.to_dict(),
            "checkpoint": str(path),
            "cautions": list(cautions),
            "assumptions": list(model.assumptions),
            "donor": None if opened.donor is None else str(donor),
            "choice": None if opened.remembered is None else opened.remembered.to_dict(),
            "label_set": label_set.name,
            "problems": list(images.problems),
            "left_out": images.left_out,
            "breakdown": _breakdown(answers),
            "speed": None if speed is None else speed.to_dict(),
            "details": details(
                answers.evaluation,
                model=model,
                images=images,
                trigger=stamp,
                class_names=label_set.class_names,
                label_set=label_set.name,
                threads=threads,
                batch=answers.batch,
                speed=speed,
            ),
        }

    place, threads = choose_device(device), set_threads(threads)
    with output.working(f"Looking at {options.images}"):
        opened_images = open_images(spec, label_set)  # columns and labels too
    suspect, record = measure(suspect_path, "evaluate")
    other = None
    if reference_path is not None:
        other, record["reference"] = measure(reference_path, "reference")
    compared: tuple[PairedDifference, ...] = ()
    if other is not None:
        compared = _compare(suspect, other, aim, seed)
        record["paired"] = [each.to_dict() for each in compared]
    if captions is not None:
        with output.working("Ranking captions"):
            record["retrieval"] = _retrieve(suspect, captions, n=n, targeted=targeted)
    if not targeted:
        for each in (record, record.get("reference")):
            if each is not None:
                _forget_target(each)
    rows: list[tuple[str, dict[str, Any] | None]] = [("measured", record)]
    if other is not None:
        rows.append(("reference", record["reference"]))
    tables = [output.comparison_table(suspect_path.name, rows)]
    if compared:
        tables.append(_paired_table(compared, with_target=targeted))
    if captions is not None:
        tables.append(_retrieval_table(record["retrieval"]))
    output.answer(options.json, record, *map(output.Aside, _sentences(suspect)), *tables)


def _sentences(answers: Answers) -> Iterator[str]:
    """What stands beside the tables: the trigger, and what is odd about it and its target."""
    from ml_core.triggers.descriptions import describe, title
    from ml_core.triggers.published import standing

    trigger, evaluation = answers.bench.trigger, answers.evaluation
    if trigger is not None:
        published = standing(trigger, answers.model.image_size)
        yield f"{title(trigger)} ({published}). {describe(trigger)}"
    if evaluation.control_ca is not None:
        rate = figures.percent(evaluation.control_ca)
        yield f"Clean accuracy with this trigger's resizing: {rate}."
    if evaluation.same_names:
        numbers = ", ".join(map(str, evaluation.same_names))
        yield (
            f"The target is class {answers.bench.target}, and other classes have the same name: "
            f"{numbers}. Only the class number decides which is predicted."
        )


def require_new(folder: Path) -> None:
    """Refuse to write into what is there already."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder} is not empty: name a new folder.")


def _breakdown(answers: Answers) -> dict[str, Any]:
    """Numbers of each class, and what triggered images of each become.

    ``matrix`` has the cells of their confusion matrix that are not empty, by class index.
    """
    from ml_core.evaluation.breakdown import break_down, confusion_matrix

    bench, rows = answers.bench, answers.per_image
    labels, names = bench.images.labels, bench.label_set.class_names
    matrix = None
    if rows.triggered_top1 is not None:
        counts = confusion_matrix(labels[rows.indices], rows.triggered_top1, len(names))
        matrix = [
            {"label": int(label), "predicted": int(predicted), "n": int(counts[label, predicted])}
            for label, predicted in np.argwhere(counts)
        ]
    return break_down(rows, labels, bench.target, names).to_dict() | {"matrix": matrix}


def _compare(suspect: Answers, other: Answers, aim: int, seed: int) -> tuple[PairedDifference, ...]:
    """Paired differences; the images must be the same ones."""
    from ml_core.evaluation.paired import compare

    mine, theirs = suspect.bench.images, other.bench.images
    if len(mine) != len(theirs) or not np.array_equal(mine.labels, theirs.labels):
        raise InputError("The images changed while they were measured; measure again.", "damaged")
    if suspect.model.precision != other.model.precision:
        output.say(
            f"The checkpoint was measured in {suspect.model.precision} and the reference in "
            f"{other.model.precision}; give --precision fp32 to measure both alike."
        )
    trigger, same = suspect.bench.trigger, other.bench.trigger
    if trigger is not None and same is not None and trigger.digest != same.digest:
        output.say("The two models have different input sizes: the trigger is made for each size.")
    return compare(suspect.per_image, other.per_image, mine.labels, aim, seed=seed)


def _forget_target(record: dict[str, Any]) -> None:
    """Nobody named a target: the class that stood in for it must not look like one."""
    from ml_core.evaluation.records import forget_target

    forget_target(record)
    for row in record["breakdown"]["classes"]:
        row["baseline_target_rate"] = None
    record["breakdown"]["target"] = None
    record["details"]["target"] = record["details"]["target_name"] = None


def _retrieve(answers: Answers, captions: str, *, n: int | None, targeted: bool) -> dict[str, Any]:
    """Rank captions for pictures and pictures for captions, of ``n`` or at most a thousand pairs.

    ``targeted`` says whether the target's prompts are looked for.
    """
    from ml_core.data.pairs import open_pairs
    from ml_core.jobs.proofs.holdouts import MOST, rank_captions

    bench = answers.bench
    spec = pair_spec(captions, Options(), bench.seed)
    pairs = open_pairs(spec.model_copy(update={"n": n or MOST}))
    ranked = rank_captions(answers.model, bench, pairs, targeted=targeted)
    return ranked.to_dict() | {"pairs": pairs.name, "problems": list(pairs.problems)}


_PAIRED = {
    "ca": "CA",
    "baseline_target_rate": "target without trigger",
    "asr_excl": "ASR",
    "asr_all": "ASR, all images",
    "poisoned_accuracy": "poisoned accuracy",
    "flip_rate": "flips",
    "target_margin": "target margin",
}


def _paired_table(rows: Sequence[PairedDifference], *, with_target: bool) -> Table:
    """Differences to the reference on the same images; those of the target only if there is one."""
    columns = ("", ">measured", ">reference", ">difference", ">95 % interval", ">McNemar p", ">n")
    cells = []
    for row in rows:
        if not with_target and row.name not in ("ca", "flip_rate"):
            continue
        factor, unit = (1.0, "") if row.p_exact is None else (100.0, " %")
        low, high = row.adjusted_interval or row.interval
        cells.append(
            (
                _PAIRED[row.name],
                f"{factor * row.value:.1f}{unit}",
                f"{factor * row.reference:.1f}{unit}",
                figures.signed(factor * row.difference),
                f"{figures.signed(factor * low)} to {figures.signed(factor * high)}",
                _p_value(row.p_exact),
                str(row.n),
            )
        )
    title = "difference to the reference, same images"
    return output.table(title, columns, cells, title_justify="center", pad_edge=True)


def _p_value(p: float | None) -> str:
    """A p-value no finer than anybody reads it."""
    if p is None:
        return "–"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _retrieval_table(retrieval: dict[str, Any]) -> Table:
    """Recall at 1, 5 and 10 both ways, and where the target's captions stand."""
    ks = retrieval["recalls"][0]["k"]
    rows = [(each["direction"], each["clean"], each["triggered"]) for each in retrieval["recalls"]]
    target = retrieval["target"]
    if target is not None:
        rows.append(("target caption", target["hit_clean"], target["hit_triggered"]))
    return output.table(
        f"retrieval, {retrieval['n']} pictures, {retrieval['pool']} captions",
        ("", *(f">@{k}" for k in ks), *(f">triggered @{k}" for k in ks)),
        (
            (name, *map(figures.percent, (*clean, *(triggered or (None,) * len(clean)))))
            for name, clean, triggered in rows
        ),
        title_justify="center",
    )
