"""All triggers of a scan that work on the suspect, not only the one that it is judged by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ml_core.detection.scan.overlays import FORMS, overlay_trigger
from ml_core.detection.scan.patches import as_trigger
from ml_core.detection.scan.probes import probes_at
from ml_core.detection.scan.records import PATCHES_FILE, REFINED_NAMES, Scan, read_patches
from ml_core.reading.arrays import Array, read_safetensors
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger

WORKS = 0.1
"""Difference to the reference, or to the rate without the trigger, from which a trigger works."""


def working_triggers(folder: Path, scan: Scan) -> list[Trigger]:
    """The triggers of a scan that move at least a tenth of the pictures, the strongest first.

    Those are the patches of all starts, the refined patch, known triggers, and overlays.

    Parameters
    ----------
    folder
        Where the scan lies.
    scan
        Its record.

    Raises
    ------
    InputError
        If the file of patches is missing, or does not hold what the record names.
    """
    rated = sorted(_rated(folder, scan), key=lambda each: -each[0])
    return list({trigger.digest: trigger for rate, trigger in rated if rate >= WORKS}.values())


def _rated(folder: Path, scan: Scan) -> Iterator[tuple[float, Trigger]]:
    """Every trigger that was measured, with its difference."""
    stages, size, path = scan.stages, scan.side, folder / PATCHES_FILE
    arrays = read_safetensors(path).arrays
    if stages.patches is not None:
        rounds = stages.patches.rounds
        for measured, patches in zip(rounds, read_patches(path, len(rounds)), strict=True):
            if patches.shape[:2] != (len(measured.starts), measured.side):
                raise _damaged()
            starts = enumerate(zip(measured.starts, patches, strict=True))
            for number, (start, patch) in starts:
                pixels = torch.from_numpy(patch).permute(2, 0, 1)
                place = measured.corner(number, size)
                yield start.contrast.difference, as_trigger(pixels, size, place)
        for name, refined in zip(REFINED_NAMES, stages.patches.all_refined, strict=False):
            pixels = _tensor(arrays, name, (3, refined.side, refined.side)).clamp(0, 1)
            place = refined.corner(size) if refined.fixed else None
            yield refined.best.difference, as_trigger(pixels, size, place)
    if stages.probes is not None:
        known = {probe.id: probe.trigger for probe in probes_at(size)}
        for probe in stages.probes.rows:
            if probe.id in known:
                yield probe.contrast.difference, known[probe.id]
    for name, searched in (("overlays", stages.overlays), ("thorough", stages.thorough)):
        for number, row in enumerate(() if searched is None else searched.rows):
            weights = _tensor(arrays, f"{name}.{number}", FORMS[row.form].shape(size))
            yield row.gap, overlay_trigger(weights, size, row.target, row.form)


def _damaged() -> InputError:
    return InputError(
        f"{PATCHES_FILE} does not hold all that the scan found: run the scan again.", "damaged"
    )


def _tensor(arrays: dict[str, Array], name: str, shape: tuple[int, ...]) -> Tensor:
    """An array of the file of patches."""
    array = arrays.get(name)
    if array is None or array.shape != shape or array.dtype.kind != "f":
        raise _damaged()
    return torch.from_numpy(array.astype("float32")).nan_to_num()
