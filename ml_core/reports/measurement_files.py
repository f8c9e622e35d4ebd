"""A measurement on disk, with all that a bundle needs of it: written beside a result, read back.

A measurement folder holds `MEASUREMENT_FILE` (a `LocalMeasurement`), the answers picture by
picture, counts a class, the prompts, the classifier, the list of the pictures, the trigger's exact
bytes, and the inspection of the checkpoint. Paths of this machine stand in `MEASUREMENT_FILE`
alone; a bundle leaves them out. Torch-free.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ml_core.atomic import Content, replace_files
from ml_core.data.specs import PATH_FIELDS, ImageSpec, PathText
from ml_core.evaluation import metrics
from ml_core.events import finite
from ml_core.exports import to_csv as table_csv
from ml_core.reading.arrays import read_safetensors
from ml_core.reading.errors import InputError, plain
from ml_core.reading.json_file import JsonFile
from ml_core.reading.regular_file import read_file
from ml_core.reports.record import (
    Count,
    Measured,
    MeasuredCheckpoint,
    MeasuredData,
    MeasuredTrigger,
)
from ml_core.reports.rows import Rows, from_csv, to_csv
from ml_core.triggers.descriptions import describe
from ml_core.triggers.files import load_trigger, save_trigger
from ml_core.triggers.record import Trigger

MEASUREMENT_FILE = "measurement.json"
EVALUATION_FILE = "evaluation.json"
PER_IMAGE_FILE = "per_image.csv"
PER_CLASS_FILE = "per_class.csv"
PROMPTS_FILE = "prompts.txt"
CLASSIFIER_FILE = "classifier.safetensors"
PICTURES_FILE = "pictures.csv"
INSPECTION_FILE = "inspection.json"
TRIGGER_STEM = "trigger"
MADE = (
    MEASUREMENT_FILE, EVALUATION_FILE, PER_IMAGE_FILE, PER_CLASS_FILE, PROMPTS_FILE,
    CLASSIFIER_FILE, PICTURES_FILE, INSPECTION_FILE,
    *(f"{TRIGGER_STEM}{suffix}" for suffix in (".json", ".png", ".safetensors")),
)  # fmt: skip
"""All files that a measurement folder may hold."""
MEASUREMENTS_FOLDER = "measurements"
"""Of a run's folder: holds a measurement folder for each of its evaluations."""

_FILE = JsonFile(
    "a kept measurement",
    "measure again with `cleanclip evaluate --keep`",
    max_bytes=16 << 20,
    path_fields=PATH_FIELDS,
)
_MOST_TABLE = 1 << 30
_MOST_TEXT = 16 << 20


_NONE = Field(default=None, exclude=True)
"""A field that only the record of a bundle has."""


class LocalCheckpoint(MeasuredCheckpoint):
    """The checkpoint that was measured, and where its files were."""

    path: PathText
    donor_path: PathText | None = None
    adapter_path: PathText | None = None
    role: None = _NONE


class LocalData(MeasuredData):
    """The pictures; ``spec`` has their place on this machine."""

    spec: ImageSpec


class LocalMeasurement(Measured):
    """What `MEASUREMENT_FILE` holds."""

    schema_version: Literal[1] = 1
    job: None = _NONE
    checkpoint: LocalCheckpoint
    data: LocalData
    trigger: MeasuredTrigger | None
    batch: Count = Field(ge=1)


@dataclass(frozen=True, eq=False)
class MeasurementFolder:
    """A measurement folder, read.

    Attributes
    ----------
    folder
        Where it is.
    facts
        What was measured, and how.
    rows
        Answers picture by picture.
    evaluation
        `Evaluation.to_dict`.
    templates, class_names
        Templates and class names of the prompts.
    """

    folder: Path
    facts: LocalMeasurement
    rows: Rows
    evaluation: dict[str, Any]
    templates: tuple[str, ...]
    class_names: tuple[str, ...]

    def classifier(self) -> NDArray[np.float32]:
        """Rows of the classes, float32 [C, D].

        Raises
        ------
        InputError
            ``damaged`` if it is not the one that was measured with.
        """
        path = self.folder / CLASSIFIER_FILE
        rows = read_safetensors(path).arrays.get("classifier")
        if rows is None or rows.ndim != 2 or rows.dtype != np.float32:
            raise InputError(f"{plain(path.name)} holds no classifier; measure again.", "damaged")
        if hashlib.sha256(rows.tobytes()).hexdigest() != self.facts.classifier_sha256:
            raise InputError(
                f"{plain(path.name)} is not the classifier that was measured with; measure again.",
                "damaged",
            )
        return np.ascontiguousarray(rows, np.float32)

    def trigger(self) -> Trigger | None:
        """The trigger; None if there was none.

        Raises
        ------
        InputError
            ``damaged`` if it is not the one that was measured with.
        """
        if self.facts.trigger is None:
            return None
        trigger = load_trigger(self.folder / f"{TRIGGER_STEM}.json")
        if trigger.digest != self.facts.trigger.digest:
            raise InputError(
                f"The trigger beside {MEASUREMENT_FILE} is not the one that was measured with; "
                "measure again.",
                "damaged",
            )
        return trigger


def write_measurement(
    folder: Path,
    facts: LocalMeasurement,
    evaluation: Mapping[str, Any],
    rows: Rows,
    *,
    templates: Sequence[str],
    class_names: Sequence[str],
    classifier: NDArray[np.float32],
    pictures: bytes,
    inspection: Mapping[str, Any],
    trigger: Trigger | None = None,
) -> Path:
    """Write a measurement folder; `MEASUREMENT_FILE` comes last, and makes it one.

    Parameters
    ----------
    folder
        The folder to write; files of an earlier measurement in it are replaced.
    facts
        What was measured, and how.
    evaluation
        `Evaluation.to_dict`.
    rows
        Answers picture by picture.
    templates, class_names
        Templates and class names of the prompts.
    classifier
        float32 [C, D].
    pictures
        What `list_pictures` gave.
    inspection
        `inspection_record` of the checkpoint.
    trigger
        What was stamped.

    Raises
    ------
    OSError
        If a file cannot be written.
    InputError
        If the trigger cannot.
    """
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    for name in MADE:  # of an earlier measurement, the one that makes it one first
        (folder / name).unlink(missing_ok=True)
    if trigger is not None:
        save_trigger(trigger, folder / TRIGGER_STEM)
    files: dict[str, Content] = {
        EVALUATION_FILE: json_bytes(evaluation),
        PER_IMAGE_FILE: to_csv(rows),
        PER_CLASS_FILE: per_class_csv(rows, class_names, facts.target),
        PROMPTS_FILE: prompts_text(templates, class_names),
        CLASSIFIER_FILE: save({"classifier": np.ascontiguousarray(classifier, np.float32)}),
        PICTURES_FILE: pictures,
        INSPECTION_FILE: json_bytes(inspection),
        MEASUREMENT_FILE: json_bytes(facts.model_dump(mode="json")),
    }
    replace_files({folder / name: content for name, content in files.items()})
    return folder


def trigger_record(trigger: Trigger) -> MeasuredTrigger:
    """What is recorded of a trigger."""
    return MeasuredTrigger(
        digest=trigger.digest, name=trigger.name, kind=trigger.kind, convention=describe(trigger)
    )


def read_facts(folder: Path) -> LocalMeasurement:
    """What was measured, and how, without its answers; raises as `read_measurement`."""
    path = folder / MEASUREMENT_FILE
    if not path.exists():
        raise InputError(
            f"There is no kept measurement in {plain(folder.name)}: `cleanclip evaluate --keep` "
            "leaves one."
        )
    return _FILE.check(_FILE.read(path, inside=folder), LocalMeasurement, path.name)


def read_measurement(folder: Path) -> MeasurementFolder:
    """Read a measurement folder, which somebody else may have written.

    Raises
    ------
    InputError
        ``usage`` if the folder holds no measurement, ``damaged`` with the reason.
    """
    facts = read_facts(folder)
    evaluation = _FILE.read(folder / EVALUATION_FILE, inside=folder)
    rows = from_csv(_bytes(folder / PER_IMAGE_FILE, _MOST_TABLE), PER_IMAGE_FILE, facts.classes)
    templates, names = parse_prompts(_bytes(folder / PROMPTS_FILE, _MOST_TEXT))
    if len(names) != facts.classes or len(rows) != facts.n:
        raise InputError(
            f"The files of the measurement {plain(folder.name)} do not belong together; measure "
            "again.",
            "damaged",
        )
    return MeasurementFolder(folder, facts, rows, evaluation, templates, names)


def json_bytes(value: Any) -> bytes:
    """JSON as everything of a bundle is written: sorted, one field a line, UTF-8."""
    text = json.dumps(finite(value), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def prompts_text(templates: Sequence[str], class_names: Sequence[str]) -> bytes:
    """Templates and class names, one a line; a line break in one is written as JSON writes it."""
    lines = ["# templates", *map(_line, templates), "", "# classes", *map(_line, class_names), ""]
    return "\n".join(lines).encode("utf-8", "backslashreplace")


def parse_prompts(raw: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Templates and class names of `prompts_text`.

    Raises
    ------
    InputError
        ``damaged`` if it is no such text.
    """
    lines = raw.decode("utf-8", "replace").split("\n")
    try:
        gap = lines.index("", 1)
    except ValueError:
        gap = 0
    if lines[0] != "# templates" or lines[gap + 1 : gap + 2] != ["# classes"] or lines[-1]:
        raise InputError(
            f"{PROMPTS_FILE} is damaged: it is no list of templates and classes; measure again.",
            "damaged",
        )
    return tuple(lines[1:gap]), tuple(lines[gap + 2 : -1])


def per_class_csv(rows: Rows, class_names: Sequence[str], target: int | None) -> bytes:
    """Counts of each class that has pictures: right without the trigger, and so on.

    Columns: ``class``, ``name``, ``n``, ``clean_hits`` (predicted right), ``clean_target``
    (predicted as the target), and with a trigger ``triggered_hits`` and ``triggered_target``;
    those of the target are empty where nobody named one.
    """
    with_trigger = rows.triggered_top is not None
    columns = ["class", "name", "n", "clean_hits", "clean_target"]
    columns += ["triggered_hits", "triggered_target"] if with_trigger else []
    known = metrics.labelled(rows.labels)
    labels = rows.labels[known]
    sides = [rows.clean_top[known, 0]]
    if rows.triggered_top is not None:
        sides.append(rows.triggered_top[known, 0])
    count = len(class_names)
    numbers = np.bincount(labels, minlength=count)
    counts: list[NDArray[np.int64] | None] = []
    for predicted in sides:
        counts.append(np.bincount(labels[predicted == labels], minlength=count))
        hit = None if target is None else np.bincount(labels[predicted == target], minlength=count)
        counts.append(hit)
    table: list[Sequence[object]] = [columns]
    for index in np.flatnonzero(numbers).tolist():
        cells = ["" if column is None else int(column[index]) for column in counts]
        table.append([index, class_names[index], int(numbers[index]), *cells])
    return table_csv(table).encode("utf-8", "backslashreplace")


def _line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _bytes(path: Path, most: int) -> bytes:
    """A file of the folder, of limited size."""
    try:
        raw = read_file(path, most + 1, inside=path.parent)
    except OSError as error:
        raise InputError(
            f"{plain(path.name)} of the measurement cannot be read; measure again.",
            "damaged",
            str(error),
        ) from None
    if len(raw) > most:
        raise InputError(f"{plain(path.name)} is too large for a measurement.", "damaged")
    return raw
