"""From what is open to a cleaning job on disk."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from cleanclip_gui.jobs.run_names import run_number
from cleanclip_gui.session import ImagesState, Session
from cleanclip_gui.widgets.text import plain
from ml_core.atomic import replace_files
from ml_core.cleaning.catalogue import offered
from ml_core.cleaning.pretraining import Pretraining
from ml_core.cleaning.recipes import Recipe
from ml_core.data.labels import is_built_in, load_label_set
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.detection.scan.records import Scan, read_scan
from ml_core.figures import distinct
from ml_core.jobs.auto import AutoSpec
from ml_core.jobs.auto.choice import first_recipe, is_found
from ml_core.jobs.chain_folder import Chain
from ml_core.jobs.demo import for_demo, measured_parts, twin_for
from ml_core.jobs.overall import round_seconds
from ml_core.jobs.scan import SCAN_FILE, SCAN_SPEC, ScanSpec
from ml_core.jobs.specs import SPEC_FILE, CleanSpec, read_spec_file, write_spec
from ml_core.paths import data_dir
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import MAX_BYTES, read_file
from ml_core.triggers import Trigger, save_trigger
from ml_core.triggers.files import load_trigger


def runs_dir() -> Path:
    """Where runs are kept unless the user names another folder."""
    return data_dir() / "runs"


def new_folder(parent: Path, kind: str) -> Path:
    """A folder with the next number, e.g. ``7-par-20261125-141503``."""
    numbers = [0]
    with suppress(OSError):  # it is made with the first run
        numbers += map(run_number, parent.iterdir())
    return parent / f"{max(numbers) + 1}-{kind}-{time.strftime('%Y%m%d-%H%M%S')}"


def make_job(
    session: Session, recipe: Recipe, folder: Path, *,
    pairs: PairSpec | None, training_images: ImageSpec | None, reference: str | None = None,
    keep_steps: bool = False, device: str = "", processes: int = 1,
) -> CleanSpec:  # fmt: skip
    """Make a job, whose trigger and label set are written into its folder.

    It runs on ``device``, by default the session's, in ``processes``.

    Raises
    ------
    InputError
        If no checkpoint is open or the folder cannot be written.
    """
    if session.checkpoint is None:
        raise InputError("No checkpoint is open; open one first.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        images = session.images
        trigger = None
        if session.trigger is not None:
            trigger = str(save_trigger(session.trigger, folder / "trigger")[1])
        return CleanSpec(
            checkpoint=session.checkpoint.path, donor=session.checkpoint.donor or None,
            recipe=recipe, pairs=pairs, training_images=training_images, **_measured(images),
            trigger=trigger, target=session.target,
            label_set="demo" if images is None else images.label_set_in(folder),
            templates=images.templates if images is not None else None, output_dir=str(folder),
            reference=reference, keep_steps=keep_steps, device=device or session.device,
            processes=processes,
        )  # fmt: skip
    except OSError as error:
        raise _not_written(folder, error) from error


def write_job(spec: CleanSpec) -> Path:
    """Write a job into its folder; return the folder.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    folder = Path(spec.output_dir)
    try:
        write_spec(spec, folder / SPEC_FILE)
    except OSError as error:
        raise _not_written(folder, error) from error
    return folder


def new_chain(session: Session, base: CleanSpec) -> Chain:
    """The chain on a job's data; a scan of the checkpoint that is on show is not made again."""
    return Chain(Path(base.output_dir), _chain_on(session, base))


def _chain_on(session: Session, base: CleanSpec) -> AutoSpec:
    images = session.images
    spec = AutoSpec(
        base=base.model_copy(update={"reference": session.scan_reference or None}),
        scan_images=None if images is None else images.spec,
        scanned=scan_on_show(session) or None,
    )
    return for_demo(spec) if twin_for(Path(base.checkpoint)) is not None else spec


def seconds_of_round(session: Session, pairs: bool, pretraining: Pretraining) -> float | None:
    """What a round of *Clean it* takes by the time of its scan; None if it was not made here."""
    scanned = _scanned(scan_on_show(session))
    if scanned is None or session.checkpoint is None or scanned[1].device != session.device:
        return None
    fields = {"checkpoint": session.checkpoint.path, **_measured(session.images)}
    chain = _chain_on(session, CleanSpec.model_construct(**fields))
    return round_seconds(chain, first_recipe(pairs, pretraining, chain.preset), *scanned)


def scan_on_show(session: Session) -> str:
    """The folder of the scan on show if it fits what is open and chosen; else empty.

    While a scan of another checkpoint is on show, of the cleaned one, say, the newest of the open
    one stands in for it.
    """
    job, facts, images = session.jobs.get("scan"), session.checkpoint, session.images
    if job is None or facts is None or images is None:
        return ""
    classes = tuple(distinct(images.class_names))
    chosen = facts.inspection.sha256, classes, session.scan_reference or None
    newest = None if session.answer is None else session.answer.scan
    shown = job.folder if job.status == "finished" else ""
    folders = (shown, "" if newest is None else newest.folder)
    for folder in folders:
        if (made := _scanned(folder)) is not None:
            spec, scan = made
            if (scan.suspect.sha256, scan.classes, spec.reference) == chosen:
                return folder
    return ""


def without_trigger(session: Session) -> str:
    """What is measured while no trigger is set, by a single run and by *Clean it*."""
    made, target = _scanned(scan_on_show(session)), None
    if made is not None:
        scan = made[1]
        if scan.found is None or not is_found(scan):
            return "No trigger is set in Studio: attack success will not be measured."
        target = scan.found.target
    which = "a trigger that its scan finds"
    if target is not None:
        which = f"the trigger that the scan found, for “{plain(target, 40)}”"
    return (
        f"No trigger is set in Studio. “Clean it” measures attack success with {which}; “Start "
        "cleaning” does not measure it."
    )


@lru_cache(maxsize=8)  # the page asks often
def _scanned(folder: str) -> tuple[ScanSpec, Scan] | None:
    """What a scan was asked, and what came of it; None if it cannot be read."""
    with suppress(InputError):
        if folder:
            spec = read_spec_file(Path(folder) / SCAN_SPEC, ScanSpec)
            return spec, read_scan(Path(folder) / SCAN_FILE)
    return None


def copy_job(spec: CleanSpec, parent: Path) -> Path:
    """Write the same job once more, with its triggers and label set, into a new folder.

    Raises
    ------
    InputError
        If an earlier version alone had the method, a trigger or the label set is gone, or the
        folder cannot be written; no folder is left then.
    """
    offered(spec.recipe.method)
    trigger = None if spec.trigger is None else load_trigger(spec.trigger)
    stamps = [load_trigger(path) for path in spec.stamps]
    classes = None if is_built_in(spec.label_set) else _read_classes(Path(spec.label_set))
    folder = new_folder(parent, spec.recipe.method)
    changes: dict[str, Any] = {"output_dir": str(folder)}
    try:
        folder.mkdir(parents=True)
        saved = [save_trigger(stamp, folder / stamp.digest[:16])[1] for stamp in stamps]
        changes["stamps"] = tuple(map(str, saved))
        if trigger is not None:
            changes["trigger"] = str(save_trigger(trigger, folder / "trigger")[1])
        if classes is not None:
            replace_files({folder / "classes.txt": classes})
            changes["label_set"] = str(folder / "classes.txt")
        return write_job(spec.model_copy(update=changes))
    except (InputError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, InputError):
            raise
        raise _not_written(folder, error) from error


def _not_written(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"The run's folder {folder.name} cannot be written; choose another output folder.",
        "usage",
        str(error),
    )


def measures_alike(spec: CleanSpec, images: ImagesState | None) -> bool:
    """Whether a job that is written with these images measures what ``spec`` does."""
    tested = spec.test_images or spec.images
    if images is None or tested is None:
        return tested is None
    if tested not in (images.spec, _measured(images)["test_images"]):
        return False
    try:
        labels = load_label_set(spec.label_set)
    except InputError:
        return False
    templates = spec.templates or labels.templates
    return (labels.class_names, templates) == (images.class_names, images.templates)


def trigger_of(spec: CleanSpec) -> Trigger | None:
    """What a job measures attack success with; None if it measures none, or its file is gone."""
    if spec.trigger is None:
        return None
    try:
        return load_trigger(spec.trigger)
    except InputError:
        return None


def count_gpus(names: Sequence[str]) -> int:
    """GPUs that can train together; torch connects none on Windows."""
    return 0 if sys.platform == "win32" else sum(name.startswith("cuda:") for name in names)


def _read_classes(path: Path) -> bytes:
    """A label set, as JSON."""
    try:
        return read_file(path, MAX_BYTES)
    except OSError as error:
        raise InputError(
            f"The job's label set {path} cannot be read; put it back.", "usage", str(error)
        ) from error


def _measured(images: ImagesState | None) -> dict[str, Any]:
    return {} if images is None else measured_parts(images.spec, images.n)
