"""What a report of the open checkpoint can be made of: its runs, scans and measurements. No Qt."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cleanclip_gui.session.settings import PastScan
from cleanclip_gui.widgets.text import day_and_time, plain
from ml_core.cleaning.catalogue import run_title
from ml_core.detection.scan.records import TITLES
from ml_core.jobs.journal import read_json
from ml_core.jobs.proof_specs import HOLDOUTS_FILE, REBOUND_FILE
from ml_core.jobs.scan_spec import SCAN_FILE
from ml_core.jobs.specs import RESULT_FILE, SPEC_FILE
from ml_core.paths import data_dir
from ml_core.reading.errors import InputError
from ml_core.reports.measurement_files import (
    MEASUREMENT_FILE,
    MEASUREMENTS_FOLDER,
    read_facts,
)

Kind = Literal["run", "scan", "measurement"]
_KINDS: tuple[Kind, ...] = ("measurement", "scan", "run")
_MOST = 12  # of a kind
OLDER = "Made by an older version: the bundle measures it again, which takes a while."


@dataclass(frozen=True)
class Part:
    """A folder that a report can be made of.

    Attributes
    ----------
    kind, folder
        What it is, and where.
    title, when
        For the list: what it is, and the day.
    begun
        When it was made, in seconds since 1970.
    role
        Of a measurement: ``suspect`` or ``reference``.
    with_trigger
        Of a measurement: whether a trigger was stamped.
    proofs
        Of a run: the files of its proofs.
    later
        A sentence if it is only read when the bundle is written.
    """

    kind: Kind
    folder: Path
    title: str
    begun: float
    role: Literal["", "suspect", "reference"] = ""
    with_trigger: bool = False
    proofs: tuple[str, ...] = ()
    later: str = ""

    @property
    def when(self) -> str:
        """The day and hour."""
        return day_and_time(self.begun)

    @property
    def stamp(self) -> tuple[object, ...]:
        """Another one where something in it is another one."""
        files = {
            "run": (RESULT_FILE, REBOUND_FILE, HOLDOUTS_FILE),
            "scan": (SCAN_FILE,),
            "measurement": (MEASUREMENT_FILE,),
        }[self.kind]
        return (self.folder, *(_changed(self.folder / name) for name in files))


def runs_dir() -> Path:
    """Where the window's cleaning runs lie."""
    return data_dir() / "runs"


def measurements_dir(sha256: str) -> Path:
    """Where measurements for a report about a checkpoint are kept."""
    return data_dir() / "measurements" / (sha256[:16] or "unknown")


def parts_of(sha256: str, runs: Iterable[Path], scans: Sequence[PastScan]) -> tuple[Part, ...]:
    """What there is of a checkpoint, the newest of each kind first.

    Parameters
    ----------
    sha256
        Of the checkpoint's file.
    runs
        Folders of runs beside those in `runs_dir`.
    scans
        Those that are known; others are left out.
    """
    if not sha256:
        return ()
    found: list[Part] = []
    for of_kind in (
        _measurements(sha256), _scans(sha256, scans), _runs(sha256, runs)
    ):  # fmt: skip
        found += sorted(of_kind, key=lambda part: part.begun, reverse=True)[:_MOST]
    return tuple(found)


def usually_chosen(parts: Sequence[Part], shown: Iterable[str]) -> frozenset[Path]:
    """What goes in unless the user says otherwise: of each kind what is on show, or the newest.

    Parameters
    ----------
    shown
        Folders of the run and the scan on show.
    """
    chosen: set[Path] = set()
    wanted = {Path(one) for one in shown if one}
    groups: dict[tuple[str, str], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.kind, part.role), []).append(part)
    for group in groups.values():
        ready = [part for part in group if not part.later] or group
        chosen.add(next((one.folder for one in ready if one.folder in wanted), ready[0].folder))
    return frozenset(chosen)


def _measurements(sha256: str) -> Iterator[Part]:
    for folder in _folders(measurements_dir(sha256)):
        try:
            kept = read_facts(folder)
        except InputError:
            continue
        role: Literal["suspect", "reference"] = (
            "reference" if kept.when == "reference" else "suspect"
        )
        what = "Reference" if role == "reference" else "Measured"
        trigger = "without trigger" if kept.trigger is None else kept.trigger.name or "a trigger"
        title = f"{what}: {plain(kept.checkpoint.name, 60)}, {plain(trigger, 60)}"
        yield Part(
            "measurement", folder, title, _changed(folder / MEASUREMENT_FILE), role,
            with_trigger=kept.trigger is not None,
        )  # fmt: skip


def _scans(sha256: str, scans: Sequence[PastScan]) -> Iterator[Part]:
    titles = {str(verdict): title for verdict, title in TITLES.items()}
    for scan in scans:
        folder = Path(scan.folder)
        if scan.sha256 != sha256 or not (folder / SCAN_FILE).is_file():
            continue
        target = f": {plain(scan.target, 60)}" if scan.target else ""
        title = f"{titles.get(scan.verdict, 'Scan')}{target}"
        yield Part("scan", folder, title, scan.made)


def _runs(sha256: str, others: Iterable[Path]) -> Iterator[Part]:
    for folder in dict.fromkeys((*others, *_folders(runs_dir()))):
        result = read_json(folder / RESULT_FILE)
        if result.get("source_sha256") != sha256 or not (folder / SPEC_FILE).is_file():
            continue
        title = run_title(str(result.get("method", "")), str(result.get("preset") or ""))
        kept = all(
            (folder / MEASUREMENTS_FOLDER / side / MEASUREMENT_FILE).is_file()
            for side in ("before", "after")
        )
        proofs = tuple(name for name in (REBOUND_FILE, HOLDOUTS_FILE) if (folder / name).is_file())
        part = Part("run", folder, plain(title, 100), _changed(folder / RESULT_FILE))
        yield replace(part, proofs=proofs, later="" if kept else OLDER)


def _folders(parent: Path) -> tuple[Path, ...]:
    try:
        return tuple(entry for entry in parent.iterdir() if entry.is_dir())
    except OSError:
        return ()


def _changed(path: Path) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
