"""The evidence record of a session: what is known before anything is reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ml_core.checkpoints.inspection_record import assess, inspection_record
from ml_core.paths import cache_dir, config_dir, data_dir
from ml_core.reading import Inspection
from ml_core.reports.derive import evidence_from
from ml_core.reports.measurement_files import LocalData, json_bytes, trigger_record
from ml_core.reports.record import (
    BundlePath,
    CheckpointFacts,
    DataFacts,
    Evidence,
    TriggerFacts,
)
from ml_core.reports.sessions.record import TRIGGERS_FOLDER
from ml_core.reports.without_paths import WithoutPaths
from ml_core.reports.write_bundle import reading
from ml_core.triggers import Trigger


@dataclass(frozen=True, eq=False)
class OpenedCheckpoint:
    """A checkpoint that is open; fields as in `CheckpointFacts`, ``donor`` by its
    SHA-256, None where it is not known.
    """

    role: Literal["suspect", "cleaned", "reference"]
    inspection: Inspection
    architecture: str
    parameters: int
    assumptions: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    choice: str = ""
    donor: str | None = None


def draft(
    name: str,
    checkpoints: Sequence[OpenedCheckpoint],
    images: LocalData | None,
    triggers: Sequence[Trigger],
) -> tuple[Evidence, dict[BundlePath, bytes]]:
    """The record of what is open, and the files that it names; it has no path of this machine.

    Runs and scans are not in it, nor are rates: their folders hold them, and the writer of a
    bundle takes them from there.

    Parameters
    ----------
    name
        Name of the session.
    checkpoints
        At most one of each role.
    images
        In use.
    triggers
        On the canvas and beside it; a session keeps their exact bytes.
    """
    paths = [checkpoint.inspection.path for checkpoint in checkpoints]
    known = [cache_dir(), config_dir(), data_dir(), *paths]
    clean = WithoutPaths([*known, *(path.parent for path in known)])
    files: dict[BundlePath, bytes] = {}
    facts: dict[str, CheckpointFacts] = {}
    for checkpoint in checkpoints:
        inspection, assessed = checkpoint.inspection, assess(checkpoint.inspection)
        file = f"inspections/{checkpoint.role}.json"
        files[file] = json_bytes(clean.json(inspection_record(assessed)))
        own = ("role", "architecture", "parameters", "donor")
        facts[checkpoint.role] = CheckpointFacts(
            **{name: getattr(checkpoint, name) for name in own},
            name=inspection.name, sha256=inspection.sha256 or None, bytes=inspection.size,
            format=inspection.format, choice=clean.json(checkpoint.choice) or None,
            assumptions=clean.json(checkpoint.assumptions),
            cautions=clean.json(checkpoint.cautions), safety=assessed.verdict,
            safety_reasons=clean.json(assessed.reasons), inspection=file,
        )  # fmt: skip
    evidence = evidence_from(
        reading(files),
        name=name,
        checkpoints=facts,
        data={} if images is None else {"images-1": _data(images, clean)},
        triggers={trigger.digest: _trigger(trigger, clean) for trigger in triggers},
    )
    return evidence, files


def _data(images: LocalData, clean: WithoutPaths) -> DataFacts:
    spec = clean.json(images.spec.model_dump(mode="json", exclude={"path"}))
    return images.to(DataFacts, name=clean.text(images.name), spec=spec, rows=None)


def _trigger(trigger: Trigger, clean: WithoutPaths) -> TriggerFacts:
    stem = f"{TRIGGERS_FOLDER}/{trigger.digest}"
    suffixes = [".json"]
    suffixes += [".png"] if trigger.pixels is not None else []
    parts = (file for part in trigger.parts for file in (part.array, part.pixels))
    has_arrays = any(file is not None for file in (trigger.array, *parts))
    suffixes += [".safetensors"] if has_arrays else []
    files = tuple(f"{stem}{suffix}" for suffix in suffixes)
    return trigger_record(trigger).to(TriggerFacts, name=clean.text(trigger.name), files=files)
