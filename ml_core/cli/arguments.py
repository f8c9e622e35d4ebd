"""What options name, opened or as specs: checkpoints, images, pairs, labels, triggers, recipes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from pydantic import BaseModel

from ml_core.cleaning.catalogue import offered
from ml_core.cleaning.presets import about_rate, preset, warn_of_rate
from ml_core.cleaning.pretraining import DEMO, Pretraining
from ml_core.cleaning.recipes import Recipe, fields_of
from ml_core.cli import output
from ml_core.cli.checkpoints import checkpoint_path, optional_checkpoint
from ml_core.cli.options import Options
from ml_core.data.detect import FILES, KINDS, detect
from ml_core.data.labels import LabelSet, is_built_in, load_label_set, load_templates
from ml_core.data.specs import ImageSpec, PairKind, PairSpec
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.checkpoints import Checkpoint
    from ml_core.triggers import Trigger

N = TypeVar("N", int, float)
_TABLES = (".csv", ".tsv")
_SPLITS = ("val", "test", "heldout", "train", "clean")


def spec_fields(options: Options, spec: type[BaseModel]) -> dict[str, Any]:
    """What options give of a spec's fields: those that it declares, and those of all jobs.

    Raises
    ------
    InputError
        If a checkpoint cannot be fetched, or there are no such classes or templates.
    """
    fields: dict[str, Callable[[], Any]] = {
        "checkpoint": lambda: str(checkpoint_path(options.checkpoint).resolve()),
        "donor": lambda: optional_checkpoint(options.donor),
        "use_choice": lambda: not options.no_choice,
        "label_set": lambda: label_set_path(options.labels),
        "templates": lambda: options.templates and load_templates(options.templates),
        "output_dir": lambda: str(options.output_dir.resolve()),
    }
    common = {name: value() for name, value in fields.items() if name in spec.model_fields}
    return common | options.of(spec)


def typed(context: typer.Context, name: str) -> bool:
    """Whether an option was given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def image_spec(
    text: str | ImageSpec, n: int | None = None, seed: int = 0, *, training: bool = False
) -> ImageSpec:
    """``demo``, ``demo:SPLIT``, a folder, a CSV or TSV, a WebDataset shard or a Parquet file.

    ``training`` takes the training pictures of a published set. A record stays as it is.

    Raises
    ------
    InputError
        If the split is unknown, the path is missing, or the number is not positive.
    """
    if isinstance(text, ImageSpec):
        return text
    if n is not None and n < 1:
        raise InputError(f"The number of images must be at least 1, not {n}.")
    name, _, split = text.partition(":")
    if name == "demo":
        split = split or "test"
        if split not in _SPLITS:
            raise InputError(f"The demo has no split {split!r}; choose {', '.join(_SPLITS)}.")
        return ImageSpec(kind="demo", split=split, n=n, seed=seed)  # type: ignore[arg-type]
    path = Path(text).resolve()
    if not path.exists():
        raise InputError(
            f"There are no images at {text}: give a folder, a CSV or TSV, or demo:SPLIT."
        )
    kind = "folder" if path.is_dir() else "file"
    if path.suffix.lower() in _TABLES and kind == "file":
        kind = "csv"
    if kind == "file" and path.suffix.lower() not in FILES:
        raise InputError(
            f"{path.name} is not a folder, a CSV or a TSV of images, nor a WebDataset shard (.tar) "
            "or Parquet file."
        )
    split = "train" if training else "test"
    return ImageSpec(kind=kind, path=str(path), split=split, n=n, seed=seed)  # type: ignore[arg-type]


def pair_spec(text: str, options: Options, seed: int = 0) -> PairSpec:
    """``demo`` or a path of image-caption pairs, whose kind is found by what is in it.

    Parameters
    ----------
    options
        Names the columns, the pictures of a COCO file and an audit's exclusions.

    Raises
    ------
    InputError
        If nothing is there, it holds no pairs, or ``pictures`` is given for another kind than COCO.
    """
    pictures = options.pictures
    excluded = None if options.exclude is None else str(options.exclude.resolve())
    kind: PairKind = "demo" if text == "demo" else detect(text)
    if pictures is not None and kind != "coco":
        raise InputError(
            f"--pictures names the folder of a COCO file's pictures, and {text} is {KINDS[kind]}: "
            "leave it out."
        )
    if kind == "demo":
        return PairSpec(kind="demo", exclude=excluded)
    return PairSpec(
        kind=kind,
        path=str(Path(text).resolve()),
        pictures=None if pictures is None else str(pictures.resolve()),
        image_column=options.picture_column,
        caption_column=options.caption_column,
        exclude=excluded,
        seed=seed,
    )


def label_set_path(named: str | None) -> str | None:
    """A built-in label set by its name, a file by its whole path.

    Raises
    ------
    InputError
        If it is neither, or the file is no list of classes.
    """
    if named is None:
        return None
    load_label_set(named)
    return named if is_built_in(named) else str(Path(named).resolve())


def labels_and_templates(labels: str, templates: Path | None) -> LabelSet:
    """A label set, with the user's templates if there are some."""
    label_set = load_label_set(labels)
    if templates is not None:
        label_set = replace(label_set, templates=load_templates(templates))
    return label_set


def resolve_scan(name: str | None, target: str | None) -> tuple[str | None, str | None]:
    """Trigger and target; ``scan:FOLDER`` stands for what the scan found, for the target if given.

    Raises
    ------
    InputError
        If the folder holds no scan, or one that found no trigger.
    """
    triggers = scanned_triggers(name)
    if not triggers:
        return name, target
    path, scanned = next((item for item in triggers if item[1] == target), triggers[0])
    return str(path), target or scanned


def scanned_triggers(name: str | None) -> tuple[tuple[Path, str], ...]:
    """All triggers of ``scan:FOLDER`` with their classes; none of another name.

    Raises
    ------
    InputError
        As `resolve_scan`.
    """
    from ml_core.detection.scan.records import PREFIX, found_triggers

    return found_triggers(name) if name is not None and name.startswith(PREFIX) else ()


def open_trigger(name: str | None, size: int = 224, file: Path | None = None) -> Trigger | None:
    """A trigger file, ``demo``, the id of a published one for a model input size, or none.

    A file of that name goes before the id.

    Raises
    ------
    InputError
        If there is no such trigger, or its file cannot be used.
    """
    from ml_core.triggers import LIBRARY, demo_trigger, load_trigger, published

    if name is None:
        return None
    if name == "demo":
        return demo_trigger()
    if is_trigger_id(name):
        return published(name, size, file)
    if file is not None:
        raise InputError("--trigger-file needs the id of a published trigger.")
    if not Path(name).exists() and Path(name).name == name and not Path(name).suffix:
        ids = [entry.id for entry in LIBRARY]
        near = [id for id in ids if id.lower().startswith(name.lower())]
        raise InputError(
            f"There is no trigger {name!r}: give a PNG or JSON file, demo, or one of "
            f"{', '.join(near or ids)}."
        )
    return load_trigger(Path(name), side=size)


def trigger_file(name: str, options: Options, folder: Path) -> str:
    """The file of a trigger; a picture alone and one that is generated are written into a folder.

    Raises
    ------
    InputError
        As `open_trigger`.
    """
    from ml_core.triggers.files import has_record, save_own_trigger

    size, by_size = 224, is_trigger_id(name) or (name != "demo" and not has_record(Path(name)))
    if by_size:
        size = opened_checkpoint(options).architecture.preprocess.size
    stamp = open_trigger(name, size)
    if stamp is None or not (by_size or name == "demo"):
        return str(Path(name).resolve())
    folder.mkdir(parents=True, exist_ok=True)
    return str(save_own_trigger(stamp, folder.resolve()))


def is_trigger_id(name: str) -> bool:
    """Whether a name is the id of a published trigger, and no file."""
    from ml_core.triggers import LIBRARY

    return name.lower() in {entry.id.lower() for entry in LIBRARY} and not Path(name).exists()


def target_index(text: str, class_names: Sequence[str]) -> int:
    """Index of a class given by name or number.

    Raises
    ------
    InputError
        If the label set has no such class, or several of that name (as ImageNet's has).
    """
    folded = text.strip().casefold()
    named = [index for index, name in enumerate(class_names) if name.casefold() == folded]
    if len(named) > 1:
        numbers = ", ".join(map(str, named))
        raise InputError(
            f"The label set has {len(named)} classes called {text!r}; give one by its number: "
            f"{numbers}."
        )
    if named:
        return named[0]
    if folded.isdecimal() and int(folded) < len(class_names):
        return int(folded)
    some = ", ".join(class_names[:5])
    raise InputError(
        f"The label set has no class {text!r} (it begins with {some}); give a name or a number "
        f"from 0 to {len(class_names) - 1}."
    )


def numbers(text: str, kind: Callable[[str], N], what: str, example: str) -> tuple[N, ...]:
    """Numbers with commas between them, each once.

    Raises
    ------
    InputError
        If one is not a number.
    """
    try:
        return tuple(dict.fromkeys(map(kind, text.split(","))))
    except ValueError as error:
        sentence = f"The {what} {text!r} are not numbers; write them as {example}."
        raise InputError(sentence) from error


def opened_checkpoint(options: Options) -> Checkpoint:
    """The checkpoint, with its donor.

    Raises
    ------
    InputError
        If it cannot be opened.
    """
    path = checkpoint_path(options.checkpoint)
    with output.working(f"Looking at {path.name}"):
        from ml_core.checkpoints import open_checkpoint

        return open_checkpoint(path, options.donor, use_choice=not options.no_choice)


def known_pretraining(options: Options) -> Pretraining:
    """How the checkpoint was pretrained, which decides the presets that suit it.

    The reference, a clean checkpoint of the same architecture, may tell what the checkpoint does
    not.

    Raises
    ------
    InputError
        If one of them cannot be opened.
    """
    from ml_core.jobs.demo import demo_checkpoint, pretraining_at

    if options.checkpoint.resolve() == demo_checkpoint().resolve():
        return DEMO
    opened, reference = opened_checkpoint(options), None
    if options.reference is not None:
        reference = opened_checkpoint(options.changed(checkpoint=options.reference, donor=None))
    return pretraining_at(opened, reference)


def judge_rates(
    recipes: Sequence[Recipe], pretraining: Pretraining, *, accepted: bool = False
) -> None:
    """Say where learning rates come from; refuse what may destroy the checkpoint.

    Raises
    ------
    InputError
        If a rate is too high and not ``accepted``.
    """
    for recipe in recipes:
        if not accepted and (warning := warn_of_rate(recipe, pretraining)):
            raise InputError(
                f"{warning} Take a preset that suits the checkpoint (the default does) or a lower "
                "rate, or give --accept-rate to run it all the same."
            )
    sentences = (about_rate(recipe, pretraining) for recipe in recipes)
    for sentence in dict.fromkeys(filter(None, sentences)):
        output.say(sentence)


def build_recipe(
    method: str,
    preset_name: str,
    settings: Sequence[str],
    seed: int | None,
    *,
    pretraining: Pretraining = DEMO,
) -> Recipe:
    """A preset with single fields set by ``name=value``.

    The preset ``default`` is the one that suits a checkpoint of such a ``pretraining``.

    Raises
    ------
    InputError
        If a name is unknown, a value is out of range, or a setting has no ``=``.
    """
    chosen = preset(offered(method), preset_name, pretraining)
    return with_settings(chosen, settings, seed)


def with_settings(recipe: Recipe, settings: Sequence[str], seed: int | None) -> Recipe:
    """A recipe with single fields set by ``name=value``.

    Raises
    ------
    InputError
        If a name is unknown to the method, a value is out of range, or a setting has no ``=``.
    """
    fields: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        name = name.strip().replace("-", "_")
        known_names = [n for n in fields_of(recipe.method) if n not in ("method", "preset")]
        if not equals or name not in known_names:
            known = ", ".join(known_names)
            raise InputError(f"--set takes NAME=VALUE with a name of {known}; not {setting!r}.")
        fields[name] = value.strip()
    if seed is not None:
        fields["seed"] = seed
    return recipe.changed(**fields) if fields else recipe
