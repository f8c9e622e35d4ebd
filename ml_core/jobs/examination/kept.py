"""Whether an examination that is kept still answers its question, and which of several is shown.

Torch-free. Command line, window, table and gate ask the same here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ml_core import __version__
from ml_core.checkpoints.choice import remembered
from ml_core.data.images import open_images
from ml_core.data.labels import load_label_set
from ml_core.jobs.examination import (
    EXAMINATION_FILE,
    EXAMINATIONS,
    Examination,
    ExamineSpec,
    worst_of,
)
from ml_core.jobs.journal import digest_of, read_json
from ml_core.paths import data_dir
from ml_core.reading import Inspection, examine
from ml_core.reading.errors import InputError
from ml_core.reading.inspection import RULES_VERSION

Look = Callable[[str], Inspection]
_PLACES = {"checkpoint", "reference", "donor", "device", "threads", "output_dir", "report"}


def question_of(spec: ExamineSpec) -> dict[str, Any]:
    """What was asked for, besides the files themselves and a cleaning."""
    files = {"reference": spec.reference is not None, "donor": spec.donor is not None}
    return spec.model_dump(mode="json", exclude=_PLACES | {"auto"}) | files


def cleaning_of(spec: ExamineSpec) -> dict[str, Any] | None:
    """How it was to be cleaned; None if that was not asked for."""
    if spec.auto is None:
        return None
    own = {"output_dir", "device", "threads", "checkpoint", "reference"}
    base = spec.auto.base.model_dump(mode="json", exclude=own)
    return spec.auto.model_dump(mode="json", exclude={"base"}) | {"base": base}


def inputs_of(spec: ExamineSpec, inspection: Inspection, look: Look = examine) -> str:
    """Digest of all that decides an examination besides what was asked for.

    Of the file, the donor and the reference the weights, the config and the settings that the user
    chose for it; the classes, the user's own pictures, the version of the program and its rules.

    Parameters
    ----------
    spec, inspection
        What was asked for, and the file.
    look
        Examines donor and reference.

    Raises
    ------
    InputError
        If classes, pictures, donor or reference cannot be opened.
    """
    label_set = load_label_set(spec.label_set)
    beside = [look(path) for path in (spec.donor, spec.reference) if path is not None]
    parts: list[object] = [
        __version__, RULES_VERSION, label_set.class_names, label_set.templates,
        _decisive(inspection, use_choice=spec.use_choice),
        *(_decisive(each, use_choice=True) for each in beside),
    ]  # fmt: skip
    if spec.images is not None:
        parts.append(open_images(spec.images, label_set).lasting_key)
    return digest_of(parts)


def _decisive(inspection: Inspection, *, use_choice: bool) -> list[object]:
    """What a model is built from."""
    choice = remembered(inspection.sha256) if use_choice else None
    parts: list[object] = [
        inspection.sha256, inspection.config, inspection.preprocessor, choice and choice.choice,
    ]  # fmt: skip
    if inspection.source.is_dir():  # of the tokenizer, and what else is read beside the weights
        with os.scandir(inspection.source) as entries:
            beside = [each for each in entries if each.name.endswith((".json", ".txt", ".model"))]
        facts = [(each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in beside]
        parts.append(sorted(facts))
    return parts


def outdated(record: Examination, inspection: Inspection, look: Look = examine) -> str:
    """Why an examination does not answer its question for a file as it is; empty if it does."""
    if record.sha256 != inspection.sha256:
        return "It is about another file."
    spec = record.spec.model_copy(update={"checkpoint": str(inspection.path)})
    try:
        if inputs_of(spec, inspection, look) == record.inputs:
            return ""
    except InputError as error:
        return f"Something that it was made with is missing or has changed: {error.sentence}"
    return (
        "The config, the reference, the pictures, the classes or the version of the program have "
        "changed; examine the file again."
    )


def read_examination(folder: Path, name: str = EXAMINATION_FILE) -> Examination | None:
    """Read a finished examination, or what there is of another; None if the folder holds none."""
    try:
        record = Examination.model_validate(read_json(folder / name))
    except ValidationError:
        return None
    return record.model_copy(update={"folder": str(folder)})


def kept_folders() -> list[Path]:
    """The folders of finished examinations that this machine has kept, the newest first."""
    made: list[tuple[float, Path]] = []
    for path in (data_dir() / EXAMINATIONS).glob(f"*/{EXAMINATION_FILE}"):
        with suppress(OSError):  # deleted meanwhile
            made.append((path.stat().st_mtime, path.parent))
    return [folder for _, folder in sorted(made, reverse=True)]


def kept_records() -> list[Examination]:
    """The finished examinations that this machine has kept, the newest first."""
    return [record for record in map(read_examination, kept_folders()) if record is not None]


def worst_kept(
    records: Iterable[Examination], inspection: Inspection, look: Look = examine
) -> Examination | None:
    """The worst of the examinations that hold for a file as it is; of equals the first."""
    own = [each for each in records if not outdated(each, inspection, look)]
    return worst_of(own) if own and inspection.sha256 else None
