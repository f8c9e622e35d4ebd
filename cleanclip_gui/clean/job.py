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
from ml_core.cleaning.catalogue import Method, offered
from ml_core.cleaning.pretraining import Pretraining
from ml_core.cleaning.recipes import Recipe
from ml_core.data.labels import is_built_in, load_label_set
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.detection.scan.records import read_scan
from ml_core.figures import distinct
from ml_core.jobs.auto import AutoSpec
from ml_core.jobs.auto.choice import choice, is_found
from ml_core.jobs.chain_folder import Chain
from ml_core.jobs.demo import for_demo, twin_for
from ml_core.jobs.scan import SCAN_FILE, SCAN_SPEC, ScanSpec
from ml_core.jobs.specs import SPEC_FILE, CleanSpec, read_spec_file, write_spec
from ml_core.paths import data_dir
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import MAX_BYTES, read_file
from ml_core.triggers import Trigger, save_trigger
from ml_core.triggers.files import load_trigger

# Images watched while training, of the held-out style, and before and after, at most.
WATCHED, HELDOUT, TESTED = 500, 1000, 4000


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
    session: Session,
    recipe: Recipe,
    folder: Path,
    *,
    pairs: PairSpec | None,
    training_images: ImageSpec | None,
    reference: str | None = None,
    keep_steps: bool = False,
    device: str = "",
    processes: int = 1,
) -> CleanSpec:
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
        watched, tested = _watched_and_tested(images)
        return CleanSpec(
            checkpoint=session.checkpoint.path,
            donor=session.checkpoint.donor or None,
            recipe=recipe,
            pairs=pairs,
            training_images=training_images,
            images=watched,
            test_images=tested,
            heldout_images=_heldout(images),
            trigger=trigger,
            target=session.target,
            label_set="demo" if images is None else images.label_set_in(folder),
            templates=images.templates if images is not None else None,
            output_dir=str(folder),
            reference=reference,
            keep_steps=keep_steps,
            device=device or session.device,
            processes=processes,
        )
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
    images = session.images
    spec = AutoSpec(
        base=base.model_copy(update={"reference": session.scan_reference or None}),
        scan_images=None if images is None else images.spec,
        scanned=scan_on_show(session) or None,
    )
    is_demo = twin_for(Path(base.checkpoint)) is not None
    return Chain(Path(base.output_dir), for_demo(spec) if is_demo else spec)


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
    return next((folder for folder in folders if _scanned(folder)[:3] == chosen), "")


def without_trigger(session: Session) -> str:
    """What is measured while no trigger is set, by a single run and by *Clean it*."""
    scanned = scan_on_show(session)
    target = _scanned(scanned)[3] if scanned else None
    if scanned and target is None:
        return "No trigger is set in Studio: attack success will not be measured."
    which = "a trigger that its scan finds"
    if target is not None:
        which = f"the trigger that the scan found, for “{plain(target, 40)}”"
    return (
        f"No trigger is set in Studio. “Clean it” measures attack success with {which}; “Start "
        "cleaning” does not measure it."
    )


@lru_cache(maxsize=8)  # the page asks often
def _scanned(folder: str) -> tuple[str | None, tuple[str, ...], str | None, str | None]:
    """SHA-256 of the checkpoint, classes, reference of a scan, and the class of the trigger that
    it found; none if it cannot be read."""
    with suppress(InputError):
        spec = read_spec_file(Path(folder) / SCAN_SPEC, ScanSpec)
        scan = read_scan(Path(folder) / SCAN_FILE)
        target = scan.found.target if scan.found is not None and is_found(scan) else None
        return scan.suspect.sha256, scan.classes, spec.reference, target
    return None, (), None, None


def first_method(pairs: bool, pretraining: Pretraining) -> Method:
    """The method that *Clean it* begins with, with ``pairs`` or with pictures alone."""
    chosen = choice(pairs=pairs, is_known=False, stamps=0, pretraining=pretraining)
    assert chosen is not None, "nothing has failed yet"
    return chosen[0].method


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
    if tested not in (images.spec, _watched_and_tested(images)[1]):
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


def _watched_and_tested(images: ImagesState | None) -> tuple[ImageSpec | None, ImageSpec | None]:
    """What is evaluated while training, and before and after: no image is in both."""
    if images is None:
        return None, None
    watched, tested = images.spec.halves()
    if images.spec.kind == "demo" and images.spec.split != "val":
        watched, tested = ImageSpec(kind="demo", split="val"), images.spec
    return (
        watched.model_copy(update={"n": min(WATCHED, images.n)}),
        tested.model_copy(update={"n": min(TESTED, images.n)}),
    )


def _heldout(images: ImagesState | None) -> ImageSpec | None:
    if images is None or images.spec.kind != "demo":
        return None
    return ImageSpec(kind="demo", split="heldout", n=HELDOUT)
