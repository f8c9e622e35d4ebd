"""What a program calls: each function builds a job's record, does it in this process, and answers.

`ml_core` offers the names of ``__all__`` and imports this module when one is used. What pictures,
labels, triggers, targets and pairs are called is as on the command line. A refusal is an
`ml_core.reading.InputError` whose ``sentence`` says why.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from ml_core.checkpoints import open_checkpoint as open_checkpoint
from ml_core.events import Control, Done, Event
from ml_core.plugins import switch_on
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.checkpoints.inspection_record import InspectionRecord
    from ml_core.data.specs import ImageSpec
    from ml_core.detection.scan.records import Scan
    from ml_core.reports.verify.checks import Check
    from ml_core.triggers import Trigger

__all__ = ["clean", "evaluate", "inspect", "open_checkpoint", "scan", "verify"]

Place = str | Path
Progress = Callable[[Event], object]


@contextmanager
def _explained() -> Generator[None]:
    """What is wrong with a field is said in a sentence."""
    try:
        yield
    except ValidationError as error:
        from ml_core.cleaning.recipes import explain

        raise InputError(explain(error)) from error


def inspect(path: Place, *, donor: Place | None = None) -> InspectionRecord:
    """Say what a checkpoint is, without running anything in it or importing torch.

    Parameters
    ----------
    path
        File, folder or ``FILE#PART``.
    donor
        A whole CLIP that gives the encoder which the file lacks.

    Returns
    -------
    InspectionRecord
        What ``cleanclip inspect --json`` prints; ``verdict`` and ``reasons`` come first.

    Raises
    ------
    InputError
        If there is nothing at the path. A bad file never raises.
    """
    from ml_core.checkpoints.inspection_record import (
        ask_for_second_opinion,
        assess,
        inspection_record,
    )
    from ml_core.reading import examine
    from ml_core.signing import check_checkpoint

    if not str(path):
        raise InputError("The name of the checkpoint is empty; give a file or a folder.")
    whole = None if donor is None else open_checkpoint(donor, use_choice=False)
    assessed = assess(examine(path), whole)
    inspection = assessed.inspection
    signature = check_checkpoint(inspection)
    signed = None if signature is None else signature.to_dict()
    return inspection_record(assessed, ask_for_second_opinion(inspection), signed)


@_explained()
def evaluate(
    checkpoint: Place, *, images: str | ImageSpec = "demo:test", labels: str = "demo",
    n: int | None = None, seed: int = 0, trigger: Place | Trigger | None = None,
    target: str | int | None = None, donor: Place | None = None, output: Place | None = None,
    device: str = "auto", threads: int = 0, progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure clean accuracy and, with a trigger, the attack success rate, in fp32.

    Parameters
    ----------
    images
        Pictures, of which ``n`` are drawn with ``seed``; a record says that itself.
    trigger
        A `Trigger`, or a name as on the command line.
    target
        Class that the trigger aims at, by name or number.
    output
        New folder for every answer and all that evidence needs; None keeps nothing.
    progress
        Is called with each event.

    Returns
    -------
    dict[str, Any]
        The fields of `ml_core.evaluation.records.Evaluation`; ``ca`` and ``asr_excl`` are fractions
        of 1, and ``not_measured`` says why a rate is None.

    Raises
    ------
    InputError
        If something cannot be opened, or a trigger has no target.
    """
    from ml_core.cli import arguments
    from ml_core.cli.checkpoints import checkpoint_path
    from ml_core.cli.evaluate import require_new
    from ml_core.data.labels import load_label_set
    from ml_core.evaluation.records import forget_target
    from ml_core.jobs.measurement import MeasurementSpec
    from ml_core.triggers import Trigger, save_trigger

    switch_on()
    place = checkpoint_path(Path(checkpoint))
    stamp = trigger if isinstance(trigger, Trigger) else None
    name, aim = None, None if target is None else str(target)
    if stamp is None and trigger is not None:
        name, aim = arguments.resolve_scan(str(trigger), aim)
        stamp = arguments.open_trigger(
            name, open_checkpoint(place, donor).architecture.preprocess.size
        )
    if stamp is not None and aim is None:
        raise InputError("A trigger needs the class it aims at: give target.")
    if output is not None:
        require_new(Path(output))
    names = load_label_set(labels).class_names
    with TemporaryDirectory() as folder:
        spec = MeasurementSpec(
            checkpoint=str(place.resolve()),
            donor=_path(donor),
            images=arguments.image_spec(images, n, seed),
            label_set=arguments.label_set_path(labels) or labels,
            trigger=None if stamp is None else str(save_trigger(stamp, Path(folder) / "t")[1]),
            target=0 if aim is None else arguments.target_index(aim, names),
            targeted=aim is not None,
            output_dir=_path(output),
            device=device,
            threads=threads,
        )
        record = _run(spec, progress)
    if aim is None:
        forget_target(record)
    return record


@_explained()
def scan(
    checkpoint: Place, output: Place, *, reference: Place | None = None,
    images: str | ImageSpec = "demo:test", labels: str = "demo", donor: Place | None = None,
    device: str = "auto", threads: int = 0, overwrite: bool = False,
    progress: Progress | None = None, **settings: Any,
) -> Scan:  # fmt: skip
    """Search a checkpoint for a trigger that nobody named.

    Parameters
    ----------
    output
        Folder for what was found; a scan that was ended goes on from there.
    reference
        A clean checkpoint to compare with; None takes the demo's clean twin for the demo's
        checkpoint, and otherwise compares with nothing.
    overwrite
        Replace the scan of something else that lies there.
    progress
        Is called with each event.
    **settings
        Fields of `ml_core.jobs.scan.ScanSettings`.

    Raises
    ------
    InputError
        If something cannot be opened, or the model classifies hardly any picture correctly.
    """
    from ml_core.cli import arguments
    from ml_core.cli.checkpoints import checkpoint_path
    from ml_core.detection.scan.records import Scan
    from ml_core.jobs.demo import twin_for
    from ml_core.jobs.scan import ScanSpec

    switch_on()
    place = checkpoint_path(Path(checkpoint)).resolve()
    spec = ScanSpec(
        checkpoint=str(place),
        donor=_path(donor),
        reference=_path(reference) or twin_for(place),
        images=arguments.image_spec(images),
        label_set=arguments.label_set_path(labels) or labels,
        output_dir=str(Path(output).resolve()),
        device=device,
        threads=threads,
        **settings,
    )
    record = _run(spec, progress, overwrite=overwrite)
    del record["folder"]
    return Scan.model_validate(record)


@_explained()
def clean(
    checkpoint: Place, output: Place, *, method: str = "stamped", preset: str = "default",
    settings: Mapping[str, Any] | None = None, pairs: str | None = None,
    training_images: str | ImageSpec | None = None, images: str | ImageSpec | None = None,
    test_images: str | ImageSpec | None = None, labels: str = "demo", trigger: str | None = None,
    target: str | int | None = None, reference: Place | None = None, donor: Place | None = None,
    device: str = "auto", threads: int = 0, resume: bool = False, overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Clean a checkpoint and measure it before and after.

    Parameters
    ----------
    output
        Folder of the run.
    settings
        Fields of the recipe that differ from the preset's.
    images, test_images
        Validation images, measured during training; and those of the numbers before and after.
    resume
        Go on from the last save in the folder.
    overwrite
        Replace the result of another job that lies there.
    progress
        Is called with each event.

    Returns
    -------
    dict[str, Any]
        What ``result.json`` in the folder holds: ``before`` and ``after`` are evaluations,
        ``checkpoint`` is the cleaned file.

    Raises
    ------
    InputError
        If something cannot be opened or used, or the learning rate may destroy the checkpoint.
    """
    from ml_core.cli import arguments
    from ml_core.cli.checkpoints import checkpoint_path
    from ml_core.cli.clean import clean_spec
    from ml_core.cli.options import Options
    from ml_core.jobs.specs import CleanSpec

    switch_on()
    options = Options(
        {
            "checkpoint": checkpoint_path(Path(checkpoint)),
            "output_dir": Path(output),
            "pairs": pairs,
            "training_images": training_images,
            "validation": images,
            "test_images": test_images,
            "labels": labels,
            "trigger": trigger,
            "target": None if target is None else str(target),
            "reference": None if reference is None else Path(reference),
            "donor": None if donor is None else Path(donor),
            "device": device,
            "threads": threads,
        },
        {name: (CleanSpec, name) for name in ("device", "threads")},
    )
    pretraining = arguments.known_pretraining(options)
    recipe = arguments.build_recipe(method, preset, [], None, pretraining=pretraining)
    recipe = recipe.changed(**(settings or {}))
    arguments.judge_rates([recipe], pretraining, accepted="lr" in (settings or ()))
    return _run(clean_spec(recipe, options), progress, resume=resume, overwrite=overwrite)


@_explained()
def verify(
    bundle: Place, *, checkpoints: Sequence[Place] = (), images: Mapping[str, str] | None = None,
    sample: int | None = 200, key: str | None = None, device: str = "cpu", threads: int = 0,
    progress: Progress | None = None,
) -> tuple[Check, ...]:  # fmt: skip
    """Check an evidence bundle that somebody else made; nothing of it is unpacked or run.

    Parameters
    ----------
    checkpoints
        The checkpoints that the bundle is about, known by their SHA-256.
    images
        Folder, table or file of each set of pictures by its id; an empty id stands for all others.
    sample
        Pictures of each set that are predicted again; None takes all.
    key
        A public key's file or the name of a trusted one, with which it must be signed.
    progress
        Is called with each event.

    Returns
    -------
    tuple[Check, ...]
        All that was looked at; the ``state`` of what is wrong is ``fails``.

    Raises
    ------
    InputError
        If the bundle is damaged, or of a newer version.
    """
    from ml_core.jobs.verify import VerifySpec
    from ml_core.reports.verify.checks import Check

    switch_on()
    spec = VerifySpec(
        bundle=str(bundle),
        checkpoints=tuple(str(Path(each).resolve()) for each in checkpoints),
        images={id_: str(Path(each).resolve()) for id_, each in (images or {}).items()},
        sample=sample,
        seed=secrets.randbits(32),
        key=key,
        device=device,
        threads=threads,
    )
    return tuple(Check(**check) for check in _run(spec, progress)["checks"])


def _path(path: Place | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


def _run(spec: BaseModel, progress: Progress | None, **options: Any) -> dict[str, Any]:
    """Do a job in this process; what its last event holds."""
    from ml_core.cli.output import raise_failure
    from ml_core.jobs.runner import run_job

    for event in run_job(spec, Control(), **options):
        if isinstance(event, Done):
            raise_failure(event)
            return event.result
        if progress is not None:
            progress(event)
    raise AssertionError("the last event of every job is Done")
