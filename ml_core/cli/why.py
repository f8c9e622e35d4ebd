"""``cleanclip why``: why an attack succeeds so seldom."""

from __future__ import annotations

from dataclasses import asdict

from ml_core.cli import output
from ml_core.cli.arguments import (
    image_spec,
    labels_and_templates,
    open_trigger,
    opened_checkpoint,
    resolve_scan,
    target_index,
)
from ml_core.cli.options import Options, command
from ml_core.cli.run import run_stage
from ml_core.events import Control
from ml_core.figures import percent
from ml_core.jobs.plant import PLANT_FILE, read_plant
from ml_core.options import option
from ml_core.reading.errors import InputError


@command("checkpoint trigger target images labels templates n donor no_choice json")
def why(
    options: Options, n: int = option(500, help="Images of each measurement, at most.", ge=1)
) -> None:
    """The success rate is measured as it is and with one thing changed each: JPEG, place, size, the
    canvas that the trigger acts on, the model's mean and deviation. Beside a planting's plant.json
    it also says how often the trigger was shown and how fast it was trained.

    Examples:

        cleanclip why planted/poisoned.safetensors --trigger planted/trigger.json --target banana
    """
    name, target = resolve_scan(options.trigger, options.target)
    if name is None or target is None:
        raise InputError("Name the trigger and the class that it leads to: --trigger and --target.")
    label_set = labels_and_templates(options.labels, options.templates)
    aim, opened = target_index(target, label_set.class_names), opened_checkpoint(options)
    trigger = open_trigger(name, opened.architecture.preprocess.size)
    with output.working("Loading torch"):
        from ml_core.jobs.measure import OpenSetting
        from ml_core.jobs.opening import opening_images
        from ml_core.jobs.plant.why import causes, measured_changes
    beside, spec, control = (
        opened.path.parent / PLANT_FILE,
        image_spec(options.images, n),
        Control(),
    )
    images = run_stage(opening_images(spec, label_set, control))
    setting = OpenSetting(spec, images, label_set, trigger, aim)
    rates, base = run_stage(measured_changes(opened.build("cpu"), setting, control))
    likely = causes(rates, base, read_plant(beside) if beside.is_file() else None)
    rows = [(each.name, percent(each.asr, "-"), each.sentence) for each in likely]
    output.answer(
        options.json, {"causes": [asdict(each) for each in likely], "base_rate": base},
        output.table("Why", ("What", ">ASR", "~"), rows, **output.BOXED),
    )  # fmt: skip
