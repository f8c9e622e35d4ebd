"""What a bundle is made of, read from run, scan and measurement folders: facts, files, records."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.inspection_record import assess, inspection_record
from ml_core.checkpoints.open import Checkpoint
from ml_core.detection.scan.records import PREFIX, SCAN_FILE, ModelFacts, Scan, read_scan
from ml_core.events import Done, Event, Progress, to_json
from ml_core.jobs.journal import read_events, read_json
from ml_core.jobs.proofs import HOLDOUTS_FILE, REBOUND_FILE, read_proof
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.scan import PATCHES_FILE, SCAN_SPEC, ScanSpec
from ml_core.jobs.specs import (
    EVENTS_FILE,
    RESULT_FILE,
    SAVED_FILE,
    SPEC_FILE,
    CleanSpec,
    read_spec,
    read_spec_file,
)
from ml_core.paths import cache_dir, data_dir
from ml_core.plugins import named_in
from ml_core.reading.errors import InputError, plain
from ml_core.reading.inspect import is_there
from ml_core.reading.regular_file import read_file
from ml_core.reports.derive import scan_facts, side_of
from ml_core.reports.measurement_files import (
    CLASSIFIER_FILE,
    INSPECTION_FILE,
    MEASUREMENT_FILE,
    MEASUREMENTS_FOLDER,
    PER_CLASS_FILE,
    PER_IMAGE_FILE,
    PICTURES_FILE,
    PROMPTS_FILE,
    TRIGGER_STEM,
    LocalCheckpoint,
    MeasurementFolder,
    json_bytes,
    read_measurement,
)
from ml_core.reports.record import (
    ROLE_OF,
    BundlePath,
    CheckpointFacts,
    DataFacts,
    JobFacts,
    MeasuredCheckpoint,
    MeasurementFacts,
    Role,
    ScanFacts,
    TriggerFacts,
)
from ml_core.reports.without_paths import WithoutPaths

_RUN_FOLDERS = (
    "before", "after", "after-linear", "heldout-before", "heldout-after", "heldout-after-linear",
)  # fmt: skip
_LARGEST_TABLE = 200 << 20
_OF_RECIPE = ("method", "preset", "seed")
_JOURNAL = "journal.jsonl"
_TRIGGER_SUFFIXES = (".json", ".png", ".safetensors")


@dataclass(frozen=True)
class CheckpointFiles:
    """Where a checkpoint's files are on this machine; None for files that are gone."""

    weights: Path | None
    donor: Path | None


@dataclass(eq=False)
class Sources:
    """Everything that was read, by the ids of `Evidence`.

    Attributes
    ----------
    files
        Files of the bundle.
    folders
        Measurement folders.
    places
        Files of each checkpoint.
    notes
        Sentences for the report.
    """

    files: dict[BundlePath, bytes | Path] = field(default_factory=dict)
    checkpoints: dict[str, CheckpointFacts] = field(default_factory=dict)
    data: dict[str, DataFacts] = field(default_factory=dict)
    triggers: dict[str, TriggerFacts] = field(default_factory=dict)
    measurements: dict[str, MeasurementFacts] = field(default_factory=dict)
    jobs: dict[str, JobFacts] = field(default_factory=dict)
    scans: dict[str, ScanFacts] = field(default_factory=dict)
    folders: dict[str, MeasurementFolder] = field(default_factory=dict)
    places: dict[str, CheckpointFiles] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _identities: dict[tuple[object, ...], str] = field(default_factory=dict)
    _data_keys: dict[tuple[str, str], str] = field(default_factory=dict)


def read_sources(spec: ReportSpec) -> Generator[Event, None, Sources]:
    """Read all folders of a report.

    Yields
    ------
    Event
        Progress of the stage ``open``.

    Raises
    ------
    InputError
        If a folder is not what it was named as, or is not finished.
    """
    given = [*spec.runs, *spec.scans, *spec.measurements]
    if not given:
        raise InputError("There is nothing to report: name a run, a scan or a measurement.")
    total = len(given)
    yield Progress("open", 0, total)
    runs = [_run(Path(run)) for run in spec.runs]  # what is none is told before anything is done
    measured = [read_measurement(Path(folder)) for folder in spec.measurements]
    reading = _Reading(spec, [*runs, *measured])
    for run in runs:
        reading.add_run(run)
        yield Progress("open", len(reading.sources.jobs), total)
    for measurement in measured:
        reading.add_evaluation(measurement)
    for folder in spec.scans:
        reading.add_scan(Path(folder.removeprefix(PREFIX)))
    yield Progress("open", total, total)
    return reading.sources


@dataclass(frozen=True, eq=False)
class _Run:
    """A finished run's folder."""

    folder: Path
    spec: CleanSpec
    result: dict[str, Any]


def _run(folder: Path) -> _Run:
    """A run's job and result.

    Raises
    ------
    InputError
        If it is no run, is not finished, or measured nothing.
    """
    name = plain(folder.name or str(folder))
    if not (folder / SPEC_FILE).is_file():
        if (folder / SCAN_FILE).is_file():
            raise InputError(f"{name} is a scan and no run: give it with --scan.")
        if (folder / MEASUREMENT_FILE).is_file():
            raise InputError(f"{name} is a measurement and no run: give it with --measurement.")
        raise InputError(
            f"{name} is no run: it has no {SPEC_FILE}. Name the folder that `cleanclip clean -o` "
            "wrote."
        )
    result = read_json(folder / RESULT_FILE)
    if not result:
        raise InputError(
            f"The run {name} is not finished: it has no {RESULT_FILE}. Let it finish, or go on "
            "with it, and report then."
        )
    spec = read_spec(folder / SPEC_FILE)
    if spec.images is None and spec.test_images is None:
        raise InputError(
            f"The run {name} measured nothing, as it was given no images: measure its checkpoints "
            "with “Measure and keep”, or with `cleanclip evaluate --keep` and --measurement."
        )
    for when in ("before", "after"):
        if not (folder / MEASUREMENTS_FOLDER / when / MEASUREMENT_FILE).is_file():
            raise InputError(
                f"The run {name} kept no answers of its pictures: run it again, or measure its "
                "checkpoints with “Measure and keep”, or with `cleanclip evaluate --keep` and "
                "--measurement."
            )
    # It may have been moved here.
    return _Run(folder, spec.model_copy(update={"output_dir": str(folder.resolve())}), result)


class _Reading:
    """Turns folders into facts and files, and gives the ids."""

    def __init__(self, spec: ReportSpec, parts: list[_Run | MeasurementFolder]) -> None:
        self.sources = Sources()
        self._clean = WithoutPaths(_known_paths(spec, parts))

    def add_run(self, run: _Run) -> None:
        """A run with its measurements and proofs."""
        sources = self.sources
        id_ = f"job-{len(sources.jobs) + 1}"
        result: dict[str, Any] = self._clean.json(run.result)
        ends: dict[str, str] = {}
        for name in _RUN_FOLDERS:
            folder = run.folder / MEASUREMENTS_FOLDER / name
            if not (folder / MEASUREMENT_FILE).is_file():
                continue
            measurement = read_measurement(folder)
            self._check_same(run, measurement)
            when = measurement.facts.when
            ends[when] = self._checkpoint(measurement, ROLE_OF[when], run.folder)
            evaluation = self._clean.json(measurement.evaluation)
            own = evaluation == side_of(result, measurement.facts)[1]
            self._measurement(f"{id_}-{name}", measurement, ends[when], id_ if own else None)
        recipe = run.spec.recipe
        stated: dict[str, Any] = {name: getattr(recipe, name) for name in _OF_RECIPE}
        stated |= dict.fromkeys(("status", "training_data", "precision", "device"), "")
        names = (*stated, "steps", "seconds")
        stated |= {"steps": 0} | {name: result[name] for name in names if name in result}
        sources.jobs[id_] = JobFacts(
            **stated, title=recipe.facts.title, source=ends["before"], result=ends["after"],
            files=self._run_files(id_, run, result),
        )  # fmt: skip

    def add_evaluation(self, measurement: MeasurementFolder) -> None:
        """A measurement of no run."""
        number = sum(key.startswith("evaluation-") for key in self.sources.measurements) + 1
        checkpoint = self._checkpoint(measurement, ROLE_OF[measurement.facts.when], None)
        self._measurement(f"evaluation-{number}", measurement, checkpoint, None)

    def add_scan(self, folder: Path) -> None:
        """A finished scan with the trigger that it ends with."""
        path = folder / SCAN_FILE
        if not path.is_file():
            raise InputError(
                f"There is no finished scan in {plain(folder.name)}: it has no {SCAN_FILE}."
            )
        sources = self.sources
        id_ = f"scan-{len(sources.scans) + 1}"
        record = self._clean.json(read_scan(path).model_dump(mode="json"))
        scan = Scan.model_validate(record)
        at = f"scan/{id_}"
        files = {"scan": self._json(f"{at}/scan.json", record)}
        named = {
            f"trigger_{k}" if k > 1 else "trigger": each.file
            for k, each in enumerate(scan.triggers, 1)
        }
        for what, name in (named | {"patches": PATCHES_FILE}).items():
            stem = Path(name).stem
            for suffix in _TRIGGER_SUFFIXES:
                copy = self._copy(folder / f"{stem}{suffix}", f"{at}/{stem}{suffix}")
                if copy is not None:
                    files[what if f"{stem}{suffix}" == name else f"{what}_{suffix[1:]}"] = copy
        self._name_plugins(scan.versions)
        spec = _scan_spec(folder)
        asked: dict[Role, str | None] = {}
        if spec is not None:
            asked = {"suspect": spec.checkpoint, "reference": spec.reference}
        sources.scans[id_] = ScanFacts(
            suspect=self._scanned(scan.suspect, "suspect", asked, spec.donor if spec else None),
            reference=None if scan.reference is None else self._scanned(
                scan.reference, "reference", asked
            ),
            data=scan.images, **scan_facts(scan.judgement), files=files,
        )  # fmt: skip

    def _check_same(self, run: _Run, measurement: MeasurementFolder) -> None:
        """Refuse measurements of other weights than a run's result names."""
        name = "source_sha256" if measurement.facts.when == "before" else "checkpoint_sha256"
        if measurement.facts.checkpoint.sha256 != run.result.get(name):
            raise InputError(
                f"{plain(measurement.folder.name)} of the run {plain(run.folder.name)} was "
                "measured with other weights than its result names: run it again.",
                "damaged",
            )

    def _checkpoint(self, measurement: MeasurementFolder, role: Role, run: Path | None) -> str:
        """The id of what was measured; a new one gets its facts, inspection and place."""
        sources, checkpoint = self.sources, measurement.facts.checkpoint
        key = _identity(checkpoint)
        known = sources._identities.get(key)
        if known is not None:
            self._promote(known, role)
            return known
        id_ = self._new_id(role)
        sources._identities[key] = id_
        inspection = self._clean.json(read_json(measurement.folder / INSPECTION_FILE))
        name = checkpoint.name
        if role == "cleaned" and run is not None:  # as whoever has the file knows it
            later = read_json(run / SAVED_FILE).get("name")
            name = later[:200] if isinstance(later, str) and later.strip() else name
            inspection |= {"name": self._clean.text(name)} if inspection else {}
        file = self._json(f"inspections/{id_}.json", inspection) if inspection else None
        if checkpoint.adapter_path is not None:
            name = f"{name} with {Path(checkpoint.adapter_path).name}"
        shared = checkpoint.model_dump(include=MeasuredCheckpoint.model_fields.keys() - {"name"})
        sources.checkpoints[id_] = CheckpointFacts(
            **self._clean.json(shared), name=self._clean.text(name), role=role, inspection=file
        )
        sources.places[id_] = _place(checkpoint, run)
        return id_

    def _promote(self, id_: str, role: Role) -> None:
        """Call a suspect that a run made a cleaned checkpoint, whichever was named first."""
        facts = self.sources.checkpoints[id_]
        if role == "cleaned" and facts.role == "suspect":
            self.sources.checkpoints[id_] = facts.model_copy(update={"role": role})

    def _scanned(
        self, model: ModelFacts, role: Role, asked: Mapping[Role, str | None],
        donor: str | None = None,
    ) -> str:  # fmt: skip
        """The id of a scan's model; an otherwise unknown one is looked at where it was scanned."""
        name, sha256, path = model.name, model.sha256, asked.get(role)
        for id_, facts in self.sources.checkpoints.items():
            if sha256 is not None and facts.sha256 == sha256 and facts.adapter is None:
                return id_
        id_ = self._new_id(role)
        with suppress(InputError):  # then it is known from its scan alone
            opened = None if path is None else open_checkpoint(path, donor)
            if opened is not None and opened.inspection.sha256 == sha256:
                assessed = assess(opened.inspection, opened.donor)
                record = self._clean.json(dict(inspection_record(assessed)))
                own = ("name", "sha256", "format", "parameters")
                chosen = opened.remembered
                self.sources.checkpoints[id_] = CheckpointFacts(
                    **{field: record[field] for field in own}, role=role, bytes=record["size"],
                    architecture=opened.architecture.name, safety=record["verdict"],
                    safety_reasons=record["reasons"],
                    choice=None if chosen is None else self._clean.json(chosen.choice.to_dict()),
                    inspection=self._json(f"inspections/{id_}.json", record),
                    donor=None if opened.donor is None else opened.donor.inspection.sha256,
                )  # fmt: skip
                place = CheckpointFiles(opened.path, None if donor is None else Path(donor))
                self.sources.places[id_] = place
                return id_
        self.sources.checkpoints[id_] = CheckpointFacts(
            name=name, sha256=sha256, bytes=0, role=role, format="not inspected",
            architecture="not opened", parameters=0, safety="not inspected",
        )  # fmt: skip
        self.sources.places[id_] = CheckpointFiles(None, None)
        self.sources.notes.append(
            f"{name} is known from its scan alone: size, architecture and file safety are not "
            "known, as nobody opened the file for this report."
        )
        return id_

    def _name_plugins(self, versions: Mapping[str, str]) -> None:
        """Name the plug-ins that something was measured with."""
        for plugin in named_in(versions):
            note = f"Measured with the plug-in {plugin}, which is no part of this program."
            if note not in self.sources.notes:
                self.sources.notes.append(note)

    def _new_id(self, role: Role) -> str:
        number = sum(key.rstrip("-0123456789") == role for key in self.sources.checkpoints) + 1
        return role if number == 1 else f"{role}-{number}"

    def _measurement(
        self, id_: str, measurement: MeasurementFolder, checkpoint: str, job: str | None
    ) -> None:
        """Facts and files of a measurement."""
        sources, measured, folder = self.sources, measurement.facts, measurement.folder
        self._name_plugins(measured.versions)
        at = f"measurements/{id_}"
        evaluation: dict[str, Any] = self._clean.json(measurement.evaluation)
        names = {"per_image": PER_IMAGE_FILE, "prompts": PROMPTS_FILE}
        names |= {"classifier": CLASSIFIER_FILE, "per_class": PER_CLASS_FILE}
        sources.folders[id_] = measurement
        sources.measurements[id_] = measured.to(
            MeasurementFacts,
            job=job,
            checkpoint=checkpoint,
            data=self._data(measurement),
            trigger=self._trigger(measurement),
            target_name=evaluation.get("target_name"),
            label_set=self._clean.text(measured.label_set),
            evaluation=self._json(f"{at}/evaluation.json", evaluation),
            **{what: self._copy(folder / name, f"{at}/{name}") for what, name in names.items()},
        )

    def _data(self, measurement: MeasurementFolder) -> str:
        """The id of the pictures of a measurement."""
        data, sources = measurement.facts.data, self.sources
        spec: dict[str, JsonValue] = self._clean.json(
            data.spec.model_dump(mode="json", exclude={"path"})
        )
        key = data.key, json.dumps(spec, sort_keys=True)
        if key in sources._data_keys:
            return sources._data_keys[key]
        id_ = f"images-{len(sources.data) + 1}"
        sources._data_keys[key] = id_
        rows = self._copy(measurement.folder / PICTURES_FILE, f"data/{id_}.csv")
        name = self._clean.text(data.name)
        sources.data[id_] = data.to(DataFacts, name=name, spec=spec, rows=rows)
        return id_

    def _trigger(self, measurement: MeasurementFolder) -> str | None:
        """The digest of a measurement's trigger, whose exact bytes go in."""
        trigger, sources = measurement.facts.trigger, self.sources
        if trigger is None:
            return None
        if trigger.digest not in sources.triggers:
            measurement.trigger()  # it is what it says it is
            stem = measurement.folder / TRIGGER_STEM
            copies = (
                self._copy(stem.with_suffix(suffix), f"triggers/{trigger.digest}{suffix}")
                for suffix in _TRIGGER_SUFFIXES
            )
            name = self._clean.text(trigger.name)
            files = tuple(filter(None, copies))
            sources.triggers[trigger.digest] = trigger.to(TriggerFacts, name=name, files=files)
        return trigger.digest

    def _run_files(self, id_: str, run: _Run, result: dict[str, Any]) -> dict[str, BundlePath]:
        """A job's records, without paths."""
        at, spec = f"jobs/{id_}", run.spec
        files = {
            "spec": self._json(f"{at}/spec.json", self._clean.json(spec.model_dump(mode="json"))),
            "recipe": self._json(f"{at}/recipe.json", spec.recipe.model_dump(mode="json")),
            "result": self._json(f"{at}/result.json", result),
        }
        for what, name in (("rebound", REBOUND_FILE), ("holdouts", HOLDOUTS_FILE)):
            record = read_proof(run.folder, name)
            if record is not None:
                files[what] = self._json(f"{at}/{name}", self._clean.json(record))
        lines = []
        for event in read_events(run.folder / EVENTS_FILE, lambda line: '"progress"' not in line):
            if isinstance(event, Done):  # the result is beside it
                event = Done(event.status, {}, event.error, event.error_code)
            cleaned = self._clean.json(json.loads(to_json(event)))
            lines.append(json.dumps(cleaned, sort_keys=True, ensure_ascii=False) + "\n")
        files["journal"] = f"{at}/{_JOURNAL}"
        self.sources.files[files["journal"]] = "".join(lines).encode("utf-8", "backslashreplace")
        return files

    def _copy(self, path: Path, name: BundlePath) -> BundlePath | None:
        """Take a file of a folder into the bundle, where it is there."""
        if not path.is_file():
            return None
        self.sources.files[name] = _bytes(path)
        return name

    def _json(self, path: BundlePath, record: dict[str, Any]) -> BundlePath:
        """Write a record."""
        self.sources.files[path] = json_bytes(record)
        return path


def open_where_it_is(facts: CheckpointFacts, place: CheckpointFiles) -> Checkpoint | None:
    """The checkpoint if its files are all still there.

    Raises
    ------
    InputError
        If one of them is another file now.
    """
    if place.weights is None or (facts.donor is not None and place.donor is None):
        return None
    opened = open_checkpoint(place.weights, place.donor, use_choice=False)
    if facts.sha256 is not None and opened.inspection.sha256 != facts.sha256:
        raise _changed(place.weights)
    donor = opened.donor
    if donor is not None and donor.inspection.sha256 != facts.donor:
        raise _changed(donor.path)
    return opened


def _changed(path: Path) -> InputError:
    return InputError(
        f"{path.name} changed since it was measured: its SHA-256 is different now. Measure the new "
        "file, or restore the old one."
    )


def _identity(checkpoint: LocalCheckpoint) -> tuple[object, ...]:
    """What makes a checkpoint the same one."""
    choice = json.dumps(checkpoint.choice, sort_keys=True)
    return checkpoint.sha256 or checkpoint.identity, checkpoint.donor, checkpoint.adapter, choice


def _place(checkpoint: LocalCheckpoint, run: Path | None) -> CheckpointFiles:
    """Where the files are now; a run's own may have moved with its folder."""

    def found(path: str | None) -> Path | None:
        if path is None:
            return None
        there = Path(path)
        beside = None if run is None else run / there.name
        moved = beside is not None and not is_there(there) and is_there(beside)
        there = beside if moved and beside is not None else there
        return there if is_there(there) else None

    return CheckpointFiles(found(checkpoint.path), found(checkpoint.donor_path))


def _scan_spec(folder: Path) -> ScanSpec | None:
    """What a scan was asked to do; None where its folder does not say."""
    with suppress(InputError):
        return read_spec_file(folder / SCAN_SPEC, ScanSpec)
    return None


def _known_paths(spec: ReportSpec, parts: list[_Run | MeasurementFolder]) -> Iterator[object]:
    """Paths of this machine that may stand in what is read."""
    yield from (Path.home(), Path.cwd(), cache_dir(), data_dir())
    for given in (*spec.runs, *spec.scans, *spec.measurements, spec.out):
        yield from (Path(given), Path(given).absolute(), Path(given).resolve())
    for folder in spec.scans:
        if scan := _scan_spec(Path(folder.removeprefix(PREFIX))):
            yield from (scan.checkpoint, scan.donor, scan.reference)
    for part in parts:
        if isinstance(part, MeasurementFolder):
            facts = part.facts
            yield from (facts.checkpoint.path, facts.checkpoint.donor_path, facts.data.spec.path)
            yield facts.checkpoint.adapter_path
        else:
            job = part.spec
            for data in job.sets.values():
                yield from data.paths.values()
            yield from (job.checkpoint, job.donor, job.reference, job.trigger, job.output_dir)


def _bytes(path: Path) -> bytes:
    """A file of a folder that is read, of limited size."""
    try:
        raw = read_file(path, _LARGEST_TABLE + 1, inside=path.parent)
    except OSError as error:
        raise InputError(
            f"{plain(path.name)} in {plain(path.parent.name)} cannot be read.", details=str(error)
        ) from None
    if len(raw) > _LARGEST_TABLE:
        raise InputError(f"{plain(path.name)} is too large for a bundle.", "damaged")
    return raw
