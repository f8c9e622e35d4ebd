"""``cleanclip clean``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ml_core.cleaning.catalogue import Data
from ml_core.cleaning.recipe_file import read_recipe
from ml_core.cleaning.recipes import Recipe
from ml_core.cli import output
from ml_core.cli.arguments import (
    build_recipe,
    checkpoint_path,
    image_spec,
    pair_spec,
    target_index,
    with_settings,
)
from ml_core.cli.evaluating import labels_and_templates, open_trigger
from ml_core.cli.running import run_to_result
from ml_core.data.demo_text import TARGET_NAME
from ml_core.data.specs import Sides
from ml_core.detection.records import FIVE_POISONS
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.journal import read_json
from ml_core.jobs.result_words import training_words
from ml_core.jobs.specs import RESULT_FILE, SPEC_FILE, CleanSpec, as_measured, read_spec
from ml_core.reading.errors import InputError
from ml_core.triggers import save_trigger

_IMAGES: frozenset[Data] = frozenset({"labelled", "images"})
_DEMO_ALONE = "the demo's are taken for the demo's checkpoint or labels alone"


def job_spec(path: Path) -> CleanSpec:
    """A job file, or the folder that holds it."""
    return read_spec(path / SPEC_FILE if path.is_dir() else path)


def repeated(spec: CleanSpec) -> CleanSpec:
    """The job, computed as the run was whose result lies in its folder."""
    return as_measured(spec, read_json(Path(spec.output_dir) / RESULT_FILE))


def clean_spec(
    checkpoint: Path,
    output_dir: Path,
    *,
    method: str,
    preset: str,
    settings: Sequence[str],
    pairs: str | None,
    image_column: str,
    caption_column: str,
    pictures: Path | None = None,
    exclude: Path | None = None,
    training_images: str | None,
    images: str | None,
    test_images: str | None,
    trigger: str | None,
    target: str | None,
    labels: str,
    templates: Path | None,
    seed: int | None,
    device: str,
    threads: int,
    donor: Path | None = None,
    use_choice: bool = True,
    recipe_file: Path | None = None,
    reference: Path | None = None,
    compared: Collection[Recipe] | None = None,
    rebound: bool = False,
) -> CleanSpec:
    """The options of ``clean`` as a job.

    ``compared`` are the recipes of a comparison, which take the place of the job's own; it keeps
    its pairs for the proofs in any case, and must have some for the rebound test.

    Raises
    ------
    InputError
        If an option cannot be used.
    """
    if recipe_file is not None:
        recipe = with_settings(read_recipe(recipe_file), settings, seed)
    else:
        recipe = build_recipe(method, preset, settings, seed)
    recipes = [recipe] if compared is None else compared
    wanted: set[Data] = {one.facts.data for one in recipes} | ({"pairs"} if rebound else set())
    sides: set[Sides] = {one.sides for one in recipes if one.uses_pairs}
    demo = labels == "demo" or checkpoint.resolve() == demo_checkpoint().resolve()
    pairs = pairs or ("demo" if demo else None)
    if pairs is None and "pairs" in wanted:
        raise InputError(f"Name image-caption pairs with --pairs: {_DEMO_ALONE}.")
    training_images = training_images or ("demo:clean" if demo else None)
    if training_images is None and wanted & _IMAGES:
        raise InputError(f"Name images to train on with --training-images: {_DEMO_ALONE}.")
    label_set = labels_and_templates(labels, templates)
    stamp = open_trigger(trigger)
    if stamp is not None and target is None and trigger != "demo":
        raise InputError("A trigger needs the class it aims at: give --target.")
    if labels == "demo" and images is None and test_images is None:
        images, test_images = "demo:val", "demo:test"
    aim = TARGET_NAME if target is None and stamp is not None else target
    trigger_path: str | None = None
    if trigger == "demo" and stamp is not None:
        output_dir.mkdir(parents=True, exist_ok=True)
        trigger_path = str(save_trigger(stamp, output_dir.resolve() / "trigger")[1])
    elif trigger is not None:
        trigger_path = str(Path(trigger).resolve())
    return CleanSpec(
        checkpoint=str(checkpoint_path(checkpoint).resolve()),
        donor=None if donor is None else str(checkpoint_path(donor).resolve()),
        use_choice=use_choice,
        recipe=recipe,
        pairs=pair_spec(
            pairs,
            image_column,
            caption_column,
            pictures=pictures,
            exclude=exclude,
            sides=sides.pop() if len(sides) == 1 and not rebound else "both",
        )
        if pairs is not None and ("pairs" in wanted or compared is not None)
        else None,
        training_images=image_spec(training_images, training=True)
        if training_images is not None and wanted & _IMAGES
        else None,
        images=None if images is None else image_spec(images),
        test_images=None if test_images is None else image_spec(test_images),
        trigger=trigger_path,
        target=0 if aim is None else target_index(aim, label_set.class_names),
        label_set=labels if not Path(labels).is_file() else str(Path(labels).resolve()),
        templates=label_set.templates if templates is not None else None,
        output_dir=str(output_dir.resolve()),
        reference=None if reference is None else str(checkpoint_path(reference).resolve()),
        device=device,
        threads=threads,
    )


def run_job(spec: CleanSpec, *, resume: bool = False) -> dict[str, Any]:
    """Run a job in this process with a progress bar; return its result.

    Raises
    ------
    InputError
        If the job failed through its input.
    KeyboardInterrupt
        If it was cancelled.
    JobFailed
        If it failed inside.
    """
    from ml_core.jobs.run import run

    return run_to_result(lambda control: run(spec, control, resume=resume))


def result_rows(result: dict[str, Any]) -> list[tuple[str, dict[str, Any] | None]]:
    """Rows of the final table: zero-shot, linear head, held-out set."""
    rows: list[tuple[str, dict[str, Any] | None]] = [
        ("before", result["before"]),
        ("after", result["after"]),
    ]
    linear = result["heads"].get("linear")
    if linear is not None:
        rows += [("linear head, before", linear["before"]), ("linear head, after", linear["after"])]
    if result.get("heldout") is not None:
        held = result["heldout"]
        rows += [("held-out, before", held["before"]), ("held-out, after", held["after"])]
    if result.get("heldout_linear") is not None:
        rows.append(("held-out, linear head, after", result["heldout_linear"]["after"]))
    return rows


def clean_checkpoint(spec: CleanSpec, *, resume: bool, json: bool) -> None:
    """Run a cleaning job and print its result."""
    pairs = spec.pairs
    if pairs is not None and pairs.kind != "demo" and not pairs.one_sided and not resume:
        output.say(f"{FIVE_POISONS} `cleanclip audit` looks for them.")
    print_result(run_job(spec, resume=resume), json)


def export_job(spec: CleanSpec, folder: Path, processes: int, machines: int, *, json: bool) -> None:
    """Write a job for a cluster and say what it needs there."""
    from ml_core.jobs import cluster

    files = cluster.export_job(spec, folder, processes=processes, machines=machines)
    needed = cluster.elsewhere(spec)
    if json:
        output.print_json({"files": [str(path) for path in files], "needs": list(needed)})
        return
    for path in files:
        output.show(output.cell(f"Written: {path}"))
    output.show(output.cell(f"On one machine: {cluster.torchrun_line(processes)}"))
    for name in needed:
        output.show(output.cell(f"Must be seen there: {name}"))


def print_result(result: dict[str, Any], json: bool) -> None:
    """The result as JSON, or as a table with the files that were written."""
    if json:
        output.print_json(result)
        return
    title = f"{result['method']}, preset {result['preset']}, {result['seconds']:.0f} s"
    output.show(output.comparison_table(title, result_rows(result)))
    if "alpha" in result:
        output.say(f"Alpha: {result['alpha']:g}.")
    for words in training_words(result):
        output.show(output.cell(f"{words[0].upper()}{words[1:]}."))
    for note in result.get("notes") or ():
        output.show(output.cell(note))
    weights = "Untouched weights" if "adapter" in result else "Cleaned checkpoint"
    for what, key in (
        (weights, "checkpoint"),
        ("Adapter, to be used with them", "adapter"),
        ("Vector for other values of alpha", "vector"),
        ("Picture", "picture"),
    ):
        if key in result:
            output.show(output.cell(f"{what}: {result[key]}"))
