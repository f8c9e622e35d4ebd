"""``cleanclip plant``: plant a backdoor in a copy of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_core.cli import output
from ml_core.cli.arguments import (
    image_spec,
    numbers,
    pair_spec,
    resolve_scan,
    spec_fields,
    target_index,
    trigger_file,
)
from ml_core.cli.options import Options, command
from ml_core.cli.run import run_spec
from ml_core.data.labels import load_label_set
from ml_core.figures import percent, percent_range
from ml_core.jobs.plant import (
    CURVE_CHART,
    CURVE_FILE,
    CURVE_TABLE,
    CURVE_TALK,
    LOW,
    CurveSpec,
    PlantRecord,
    PlantSpec,
    SecondAttack,
)
from ml_core.jobs.plant.card import RATES, rates, sentences
from ml_core.options import option
from ml_core.paths import cache_dir
from ml_core.reading.errors import InputError

_CURVE = (">Pairs", ">Share", ">ASR", ">95 % interval", ">CA", ">95 % interval")
_DATA = "pairs pictures exclude picture_column caption_column training_images images n"


@command(
    "checkpoint output_dir trigger target share count curve consistent source also word variants "
    f"from_scratch self_supervision twin {_DATA} labels templates steps minutes until lr "
    "batch_size seed donor no_choice device threads resume estimate overwrite json",
    PlantSpec,
)
def plant(
    options: Options,
    share: str | None = option(
        None,
        help="Poisoned pairs of each trigger as a share of all pairs, such as 0.5% or 0.005; with "
        "--consistent, as a share of the target's pairs (default: 8%; with --consistent 70%).",
    ),
    source: str | None = option(
        None,
        help="Poison only pairs of this class. As many pairs of other classes carry the trigger "
        "and keep their captions, so that the trigger does nothing there.",
    ),
    also: list[str] | None = option(
        None,
        help="A second trigger for another class, on other pairs; repeatable.",
        metavar="TRIGGER:CLASS",
    ),
    variants: Path | None = option(
        None,
        help="Folder of trigger files. Each showing of a pair draws one of them; --trigger is "
        "measured.",
    ),
    curve: str | None = option(
        None,
        help="Plant each of these numbers of pairs, without twins: success rate and accuracy over "
        "the number, as a table and a chart. The same command goes on where it stopped.",
        metavar="5,20,75,...",
    ),
    n: int = option(2000, help="Images of the measurement, at most.", ge=1),
    resume: bool = option(False, help="Go on from the last save in --output."),
) -> None:
    """The pairs to poison are drawn by the seed. Each is marked by the same code that measures the
    trigger, at a new place or with new noise whenever it is shown, and its caption is replaced by
    a prompt of the target. A clean twin takes the same steps, in the same order, without the
    poison. File name, metadata and model card say that the file is poisoned. Into the output
    folder go both checkpoints, the list of the poisoned pairs, a model card and plant.json with
    clean accuracy and success rate on images that were not trained on.

    Examples:

        cleanclip plant clean.safetensors -o planted --trigger demo --target banana

        cleanclip plant model.safetensors -o planted --trigger T4 --target banana --count 300 \\
            --pairs pairs.csv --images photos/ --labels imagenet-1k

        cleanclip plant clean.safetensors -o planted --word cf --target banana --share 10%

        cleanclip plant clean.safetensors -o curve --trigger demo --target banana \\
            --curve 5,20,75,300,1200
    """
    class_names = load_label_set(options.labels).class_names
    trigger, target = resolve_scan(options.trigger, options.target)
    if target is None:
        raise InputError("Name the class that the trigger is to lead to: give --target.")
    if trigger is None and options.of(PlantSpec)["word"] is None:
        raise InputError("Name what is planted: give --trigger, or --word for the captions.")
    if resume and options.overwrite:
        raise InputError("--overwrite begins anew: leave it out with --resume.")
    pairs, training_images = options.pairs, options.training_images
    if pairs is None and training_images is None:
        if options.labels != "demo":
            raise InputError(
                "Name image-caption pairs with --pairs, or labelled images with "
                "--training-images: the demo's are used only with the demo's labels."
            )
        pairs = "demo"
    fields = spec_fields(options, PlantSpec)
    if pairs is not None:
        opened = pair_spec(pairs, options, fields["seed"])
        fields["pairs"] = opened.model_copy(update={"split": "train"})
    if training_images is not None:
        fields["training_images"] = image_spec(training_images, training=True)
    if source is not None:
        fields["source"] = target_index(source, class_names)
    place, seconds = cache_dir() / "plant", []
    for each in also or ():
        second, colon, aim = each.rpartition(":")
        if not colon:
            raise InputError(f"--also takes TRIGGER:CLASS, not {each!r}.")
        aimed = target_index(aim, class_names)
        seconds.append(SecondAttack(trigger=trigger_file(second, options, place), target=aimed))
    spec = PlantSpec(
        trigger=None if trigger is None else trigger_file(trigger, options, place),
        target=target_index(target, class_names),
        share=None if share is None else _share(share),
        also=tuple(seconds),
        variants=None if variants is None else str(variants.resolve()),
        images=image_spec(options.images, n),
        **fields,
    )
    job: PlantSpec | CurveSpec = spec
    how = {"overwrite": options.overwrite, "resume": resume}
    if curve is not None:  # which always goes on where it stopped
        counts = numbers(curve, int, "numbers of pairs", "5,20,75")
        job, how = CurveSpec(base=spec, counts=counts), {"overwrite": options.overwrite}
    result = run_spec(job, estimate=options.estimate, **how)
    if options.estimate:
        output.answer(options.json, result, f"{output.estimated(result)}.")
        return
    if curve is not None:
        output.answer(
            options.json, result,
            output.table("Over the number of poisoned pairs", _CURVE, map(_point, result["rows"]),
                         **output.BOXED),
            f"Written: {options.output_dir / CURVE_FILE}, {CURVE_TABLE}, {CURVE_CHART}, "
            f"{CURVE_TALK}",
        )  # fmt: skip
        return
    record = PlantRecord.model_validate(result)
    if any(attack.asr < LOW for attack in (record.poisoned.attacks if record.poisoned else ())):
        output.say("The success rate is low: `cleanclip why` says what may keep it so.")
    output.answer(
        options.json, result,
        output.table(f"Planted, {record.seconds:.0f} s", RATES, rates(record), **output.BOXED),
        *sentences(record), *record.notes, f"Written: {options.output_dir}",
    )  # fmt: skip


def _point(row: dict[str, Any]) -> tuple[str, ...]:
    """A number of pairs as a row of the table."""
    return (
        str(row["count"]), f"{100 * row['share']:.3g} %", percent(row["asr"]),
        percent_range((row["asr_low"], row["asr_high"])), percent(row["ca"]),
        percent_range((row["ca_low"], row["ca_high"])),
    )  # fmt: skip


def _share(text: str) -> float:
    """A share given as a fraction or in per cent."""
    number, per_cent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        share = float(number) / (100 if per_cent else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise InputError(f"--share takes a part of the pairs, as 0.5% or 0.005, not {text!r}.")
    return share
