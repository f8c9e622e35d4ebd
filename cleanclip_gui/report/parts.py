"""What a report of the open checkpoint can be made of: its runs, scans and measurements, listed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QCheckBox, QSizePolicy, QWidget

from cleanclip_gui import theme
from cleanclip_gui.jobs.run_names import read_name, run_name
from cleanclip_gui.session import Session, ShownCheckpoint
from cleanclip_gui.session.records import Role
from cleanclip_gui.session.settings import PastResult
from cleanclip_gui.widgets.controls import TICK, Label
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.text import day_and_time, plain, tip
from ml_core.jobs.auto import AUTO_FILE
from ml_core.jobs.journal import read_json
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.jobs.proofs import HOLDOUTS_FILE, REBOUND_FILE
from ml_core.jobs.scan import SCAN_FILE
from ml_core.jobs.specs import (
    CLEANED_FILE,
    RESULT_FILE,
    SAVED_FILE,
    SPEC_FILE,
    CleanSpec,
    read_spec,
)
from ml_core.paths import cache_dir, data_dir
from ml_core.reading.errors import InputError
from ml_core.reading.inspect import is_there
from ml_core.reports.measurement_files import MEASUREMENT_FILE, MEASUREMENTS_FOLDER, read_facts
from ml_core.reports.record import ROLE_OF
from ml_core.triggers import save_trigger

Kind = Literal["run", "scan", "measurement"]
_KINDS: tuple[Kind, ...] = ("measurement", "scan", "run")
_MOST = 12  # of a kind
OLDER = "Made by an older version: the bundle measures it again, which takes a while."


@dataclass(frozen=True)
class ReportPart:
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
        Role of what a measurement is about.
    with_trigger
        Whether a trigger was stamped.
    proofs
        For a run: the files of its proofs.
    cleaned
        SHA-256 of what a run made, or of that which a scan or a measurement after it is about.
    later
        A sentence if it is only read when the bundle is written.
    """

    kind: Kind
    folder: Path
    title: str
    begun: float
    role: Literal["", Role] = ""
    with_trigger: bool = False
    proofs: tuple[str, ...] = ()
    cleaned: str = ""
    later: str = ""

    @property
    def when(self) -> str:
        """The day and hour."""
        return day_and_time(self.begun)

    @property
    def has_cleaned(self) -> bool:
        """Whether it is a run whose cleaned checkpoint is there."""
        return self.kind == "run" and is_there(str(self.folder / CLEANED_FILE))

    @property
    def stamp(self) -> tuple[object, ...]:
        """Changes when any file of the part changes."""
        files = {
            "run": (RESULT_FILE, SAVED_FILE, REBOUND_FILE, HOLDOUTS_FILE),
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


def parts_of(
    sha256: str, runs: Iterable[Path], scans: Sequence[PastResult]
) -> tuple[ReportPart, ...]:
    """What there is of a checkpoint, the newest of each kind first.

    A saved copy of what a run made belongs with the checkpoint that was cleaned.

    Parameters
    ----------
    sha256
        SHA-256 of the checkpoint's file.
    runs
        Folders of runs beside those in `runs_dir`.
    scans
        Those that are known; others are left out.
    """
    if not sha256:
        return ()
    every = tuple(_runs(runs))
    own_runs = tuple(part for source, part in every if source == sha256)
    measurements = tuple(_measurements(sha256))
    makers = [(source, part) for source, part in every if part.cleaned == sha256]
    if makers and not own_runs:
        source, maker = max(makers, key=lambda each: (not each[1].later, each[1].begun))
        copies = (
            replace(each, role="cleaned", cleaned=sha256) if each.role == "suspect" else each
            for each in measurements
        )
        measurements, own_runs, sha256 = (*copies, *_measurements(source)), (maker,), source
    cleaned = {part.cleaned for part in own_runs if part.cleaned}
    parts: list[ReportPart] = []
    for of_kind in (measurements, _scans(sha256, cleaned, scans), own_runs):
        parts += sorted(of_kind, key=lambda part: part.begun, reverse=True)[:_MOST]
    return tuple(parts)


def usually_chosen(parts: Sequence[ReportPart], shown: Iterable[str]) -> frozenset[Path]:
    """What goes in unless the user says otherwise: of each kind what is on show, or the newest.

    Parameters
    ----------
    shown
        Folders of the run and the scan on show.
    """
    chosen: set[Path] = set()
    folders = {Path(folder) for folder in shown if folder}
    groups: dict[tuple[str, str], list[ReportPart]] = {}
    for part in parts:
        about = "" if part.kind == "run" else part.cleaned or part.role
        groups.setdefault((part.kind, about), []).append(part)
    for group in groups.values():
        ready = [part for part in group if not part.later] or group
        if group[0].kind == "measurement":
            ready = [part for part in ready if part.with_trigger] or ready
        chosen.add(next((part.folder for part in ready if part.folder in folders), ready[0].folder))
    results = {part.cleaned for part in parts if part.kind == "run" and part.folder in chosen}
    for part in parts:  # what is about the result of a run that does not go in
        if part.kind != "run" and part.cleaned and part.cleaned not in results:
            chosen.discard(part.folder)
    return frozenset(chosen)


def _measurements(sha256: str) -> Iterator[ReportPart]:
    for folder in _folders(measurements_dir(sha256)):
        try:
            facts = read_facts(folder)
        except InputError:
            continue
        role = ROLE_OF[facts.when]
        what = {"suspect": "Measured", "reference": "Reference", "cleaned": "After cleaning"}[role]
        trigger = "without trigger" if facts.trigger is None else facts.trigger.name or "a trigger"
        title = f"{what}: {plain(facts.checkpoint.name, 60)}, {plain(trigger, 60)}"
        yield ReportPart(
            "measurement", folder, title, _changed(folder / MEASUREMENT_FILE), role,
            with_trigger=facts.trigger is not None,
            cleaned=(facts.checkpoint.sha256 or "") * (role == "cleaned"),
        )  # fmt: skip


def _scans(
    sha256: str, cleaned: Container[str], scans: Sequence[PastResult]
) -> Iterator[ReportPart]:
    for scan in scans:
        folder = Path(scan.folder)
        after = scan.sha256 in cleaned
        if not (after or scan.sha256 == sha256) or not (folder / SCAN_FILE).is_file():
            continue
        title = f"{'After cleaning: ' if after else ''}{plain(scan.brief, 90)}"
        yield ReportPart("scan", folder, title, scan.made, cleaned=scan.sha256 if after else "")


def _runs(others: Iterable[Path]) -> Iterator[tuple[str, ReportPart]]:
    """Finished runs, each after the SHA-256 of what it cleaned."""
    chains = (folder for folder in _folders(runs_dir()) if (folder / AUTO_FILE).is_file())
    rounds = (inner for chain in chains for inner in _folders(chain))
    for folder in dict.fromkeys((*others, *_folders(runs_dir()), *rounds)):
        result = read_json(folder / RESULT_FILE)
        source = result.get("source_sha256")
        if not source or not (folder / SPEC_FILE).is_file():
            continue
        recipe = {key: result.get(key) for key in ("method", "preset")}
        if isinstance(of_run := result.get("recipe"), dict):
            recipe |= of_run
        title = run_name(folder, recipe, read_name(folder))
        complete = all(
            (folder / MEASUREMENTS_FOLDER / side / MEASUREMENT_FILE).is_file()
            for side in ("before", "after")
        )
        proofs = tuple(name for name in (REBOUND_FILE, HOLDOUTS_FILE) if (folder / name).is_file())
        part = ReportPart(
            "run", folder, plain(title, 100), _changed(folder / RESULT_FILE),
            with_trigger=read_json(folder / SPEC_FILE).get("trigger") is not None,
            cleaned=str(result.get("checkpoint_sha256") or ""),
        )  # fmt: skip
        yield str(source), replace(part, proofs=proofs, later="" if complete else OLDER)


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


_TICK = 40  # pixels of the tick and what is empty beside it


class PartsList(QWidget):
    """The list of parts; ``picked(Part, bool)``: the user ticked or unticked one."""

    picked = Signal(object, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, accessibleName="What goes into the report")
        self.rows: dict[Path, PartRow] = {}
        self._none = Label("Nothing was measured and kept yet.", "subtle", wrap=True)
        self._layout = column(self._none, of=self, spacing=theme.SPACE_S)

    def show_parts(
        self, parts: Sequence[ReportPart], chosen: Container[Path], *, known: bool = True
    ) -> None:
        """Show what there is; rows that stay keep the focus.

        Parameters
        ----------
        known
            Whether the folders were searched; if not, the list does not say that there is nothing.
        """
        by_folder = {part.folder: part for part in parts}
        for folder in list(self.rows):
            if folder not in by_folder:
                gone = self.rows.pop(folder)
                self._layout.removeWidget(gone)
                gone.hide()
                gone.deleteLater()
        for number, (folder, part) in enumerate(by_folder.items()):
            row = self.rows.get(folder)
            if row is None:
                row = self.rows[folder] = PartRow()
                row.picked.connect(self.picked)
                self._layout.insertWidget(number, row)
            elif self._layout.indexOf(row) != number:
                self._layout.insertWidget(number, row)
            row.show_part(part, folder in chosen)
        self._none.setVisible(known and not by_folder)


class PartRow(QWidget):
    """A tick with a title, and the day below it."""

    picked = Signal(object, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._part: ReportPart | None = None
        self._words = ""
        self.box = QCheckBox()
        self.box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.box.toggled.connect(self._on_toggled)
        self.detail = Label("", "caption", wrap=True)
        column(self.box, self.detail, of=self, spacing=0)
        self.detail.setIndent(theme.px(TICK))

    def show_part(self, part: ReportPart, chosen: bool) -> None:
        """Show another part."""
        self._part = part
        kind = {"run": "Run: ", "scan": "" if part.cleaned else "Scan: ", "measurement": ""}[
            part.kind
        ]
        with QSignalBlocker(self.box):
            self.box.setChecked(chosen)
        self._words = f"{kind}{part.title}"
        self.box.setAccessibleName(self._words)
        self.box.setToolTip(tip(f"{self._words}\n{part.folder}"))
        self._fit()
        self.detail.setText(f"{part.when}. {part.later}" if part.later else part.when)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Show as much of the title as there is room for."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        room = max(self.width() - theme.px(_TICK), 60)
        metrics = self.box.fontMetrics()
        self.box.setText(metrics.elidedText(self._words, Qt.TextElideMode.ElideRight, room))

    def _on_toggled(self, on: bool) -> None:
        if self._part is not None:
            self.picked.emit(self._part, on)


_NOT_OF_RESULT = {"output_dir", "device", "threads", "trigger", "label_set"}


def suspect_spec(session: Session, device: str) -> MeasurementSpec:
    """The open checkpoint on the pictures, with the classes and the trigger in use.

    Raises
    ------
    InputError
        If something is not open, or the folder cannot be written.
    """
    facts = _checkpoint(session)
    return _spec_in_use(session, facts.path, facts.donor or None, "evaluation", facts, device)


def cleaned_spec(session: Session, run: Path, device: str) -> MeasurementSpec:
    """What a run made of the open checkpoint, measured as `suspect_spec` measures that; raises so.

    Parameters
    ----------
    run
        Its folder.
    """
    facts = _checkpoint(session)
    return _spec_in_use(session, str(run / CLEANED_FILE), None, "after", facts, device)


def reference_spec(
    session: Session, reference: str, run: Path | None, device: str
) -> MeasurementSpec:
    """A clean checkpoint, measured as the suspect was, so that the two can be compared.

    Parameters
    ----------
    reference
        Its file.
    run
        A run that goes into the report: its pictures, classes, trigger and target are taken.

    Raises
    ------
    InputError
        As `suspect_spec`, and if the run cannot be read.
    """
    facts = _checkpoint(session)
    spec = None if run is None else read_spec(run / SPEC_FILE)
    images = None if spec is None else spec.test_images or spec.images
    if run is None or spec is None or images is None:
        return _spec_in_use(session, reference, None, "reference", facts, device)
    again = spec.to(
        MeasurementSpec, checkpoint=reference, donor=None, use_choice=True, images=images,
        trigger=_trigger_of(spec, run), when="reference", device=device, output_dir="unknown yet",
    )  # fmt: skip
    return _placed(again, facts, (str(run), str(spec.trigger), spec.label_set))


def known_reference(session: Session) -> str:
    """A clean checkpoint that is known already; empty if none is."""
    facts = session.checkpoint
    compared = "" if session.reference is None else session.reference.path
    for path in (compared, session.trusted, session.scan_reference):
        if path and is_there(path):
            return path
    return "" if facts is None else facts.demo_twin


def _checkpoint(session: Session) -> ShownCheckpoint:
    if session.checkpoint is None:
        raise InputError("No checkpoint is open; open one first.")
    return session.checkpoint


def _spec_in_use(
    session: Session,
    path: str,
    donor: str | None,
    when: Literal["evaluation", "reference", "after"],
    facts: ShownCheckpoint,
    device: str,
) -> MeasurementSpec:
    images, trigger = session.images, session.trigger
    if images is None:
        raise InputError("Choose evaluation images first, in the bar above.")
    inputs = cache_dir() / "report" / "inputs"
    try:
        inputs.mkdir(parents=True, exist_ok=True)
        place = images.label_set_in(inputs)
        stamp = None
        if trigger is not None:
            stamp = str(save_trigger(trigger, inputs / trigger.digest)[1])
    except OSError as error:
        raise InputError(
            f"The folder {inputs.name} cannot be written: {error.strerror or error}."
        ) from error
    spec = MeasurementSpec(
        checkpoint=path,
        donor=donor,
        images=images.spec,
        label_set=place,
        templates=images.templates,
        trigger=stamp,
        target=session.target,
        targeted=trigger is not None,
        when=when,
        output_dir="unknown yet",
        device=device,
    )
    digest = "" if trigger is None else trigger.digest
    return _placed(spec, facts, (digest, *images.class_names))


def _trigger_of(spec: CleanSpec, run: Path) -> str | None:
    """The trigger of a run, also if its folder was moved."""
    if spec.trigger is None:
        return None
    beside = run / Path(spec.trigger).name
    return str(beside) if beside.is_file() else spec.trigger


def _placed(
    spec: MeasurementSpec, facts: ShownCheckpoint, texts: tuple[str, ...]
) -> MeasurementSpec:
    """The spec with its folder: a name by all that decides the result."""
    fields = spec.model_dump(mode="json", exclude=_NOT_OF_RESULT)
    text = json.dumps([fields, *texts], sort_keys=True)
    name = f"{spec.when}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    folder = measurements_dir(facts.inspection.sha256) / name
    return spec.model_copy(update={"output_dir": str(folder)})
