"""An examination as a job: what an expert would look at, step by step, and one answer.

Nothing is measured twice: accuracy, known triggers, changed weights and the attack are those of the
scan. Torch is imported once a model is built, so that a kept examination is shown at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Timer

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.identity import Identity, identify
from ml_core.checkpoints.inspection_record import assess
from ml_core.checkpoints.known_tensors import known_tensors
from ml_core.data.specs import ImageSpec
from ml_core.detection.scan.records import (
    ModelFacts,
    Probes,
    Scan,
    Stages,
    Weights,
    answer,
    read_scan,
)
from ml_core.events import Control, Done, Event, Finding, Message, Progress, Saved
from ml_core.figures import percent
from ml_core.jobs.auto import MOST_CHARACTERS, AutoResult
from ml_core.jobs.chain import passed_on
from ml_core.jobs.demo import twin_for
from ml_core.jobs.doctor import DoctorSpec
from ml_core.jobs.examination import (
    CLEAN_FOLDER,
    EXAMINATION_FILE,
    EXAMINATIONS,
    SCAN_FOLDER,
    TITLES,
    UNFINISHED_FILE,
    Advice,
    Examination,
    ExamineSpec,
    ExamineStep,
    Kind,
    State,
    Verdict,
    words,
)
from ml_core.jobs.examination.kept import (
    cleaning_of,
    inputs_of,
    question_of,
    read_examination,
)
from ml_core.jobs.folder_lock import delete_unused, lock_folder
from ml_core.jobs.journal import digest_of, read_json, write_json
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.runner import run_job
from ml_core.jobs.scan import SCAN_FILE, ScanSettings, ScanSpec, Stage
from ml_core.jobs.specs import LOCK_FILE, RESULT_FILE
from ml_core.paths import data_dir
from ml_core.reading import Inspection, examine
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.inspect import is_there
from ml_core.reports.write_bundle import out_of

Step = Generator[Event, None, None]
_BUILT_IN = ImageSpec(kind="demo", split="test")
_REFUSED: dict[str, Advice] = {
    "dangerous": "do not load", "damaged": "get again", "unsupported": "other file",
}  # fmt: skip
_LOOKED: tuple[Kind, ...] = ("identity", "accuracy", "known", "scan", "weights", "attack")
_FEWEST_STARTS = 2
_LEFT_OUT: tuple[Stage, ...] = ("overlays", "words", "swap", "patches", "pull")
"""What a scan with too little time does without, in this order."""


def examination(
    spec: ExamineSpec, control: Control, *, overwrite: bool = False
) -> Generator[Event, None, None]:
    """Look at a checkpoint as an expert would; the last event is Done.

    It ends early where the answer is known: a file that is refused is not opened. Started again on
    the same file, it takes over what is finished.

    Parameters
    ----------
    spec
        What to do.
    control
        Cancel and pause; after a stop a cleaning saves what it has.
    overwrite
        Replace another examination in the folder that the spec names.

    Yields
    ------
    Event
        A Finding ``step`` with an `ExamineStep` as each begins and ends; between them the events of
        the jobs that are run, but their Done; Saved; and Done, whose ``result`` is the
        `Examination` that `EXAMINATION_FILE` holds, with ``folder``.
    """
    yield from _Examining(spec, control, overwrite).run()


class _EndedError(Exception):
    """The answer is known: nothing more is looked at."""


class _FailedError(Exception):
    """A step failed through the machine or the program, or was stopped: there is no answer."""

    def __init__(self, done: Done) -> None:
        super().__init__(done.error)
        self.done = done


class _Examining:
    """One examination and what it knows so far."""

    def __init__(self, spec: ExamineSpec, control: Control, overwrite: bool) -> None:
        self._spec, self._control, self._overwrite = spec, control, overwrite
        self._begin = time.monotonic()
        self._steps: dict[Kind, ExamineStep] = {}
        self._begun: dict[Kind, float] = {}
        self._verdict: Verdict = "unknown"
        self._advice: Advice = "none"
        self._headline = ""
        self._scan: Scan | None = None
        self._chain: AutoResult | None = None
        self._settings: ScanSettings | None = None  # with what the minutes allow
        self._reference: Inspection | None = None
        self._reference_path = spec.reference
        self._failed: Done | None = None  # of the report, without which all else stands
        self._folder = Path()
        self._inputs = self._known_files = ""
        self._look = cache(lambda path: examine(path, self._cancelled))

    def run(self) -> Step:
        """Go through all steps, unless the same examination is kept."""
        spec = self._spec
        if not is_there(spec.checkpoint):
            raise InputError(f"There is no checkpoint at {spec.checkpoint}; choose a file.")
        if spec.report is not None and os.path.lexists(out := out_of(spec.report)):
            raise InputError(f"{out} is there already: name another place for the report.")
        if spec.reference is not None:
            self._check_readable(spec.reference)
        try:
            yield from self._file()
        except _EndedError:  # nothing is kept of what takes a moment to say
            yield from self._close()
            yield self._done(self._record())
            return
        self._inputs = inputs_of(spec, self._inspection, self._look)
        if spec.reference is None:
            with suppress(InputError):  # a damaged list knows nothing
                self._known_files = digest_of(sorted(known_tensors()))
        self._folder = self._place()
        lock = lock_folder(self._folder)
        try:
            kept = self._kept()
            if kept is None:
                yield from self._examine()
            else:
                for step in kept.steps[1:]:
                    yield Finding("step", step.model_dump())
                yield Message("It was examined before: these are the results.")
                yield self._done(kept)
        finally:
            lock.release()
            if spec.output_dir is None and os.listdir(self._folder) == [LOCK_FILE]:
                delete_unused(self._folder)

    def _examine(self) -> Step:
        if not os.access(self._folder, os.W_OK):
            raise InputError(f"Nothing can be written in {self._folder}: name another folder.")
        try:
            for step in (self._identity, self._scanning, self._cleaning, self._report):
                self._go_on()
                yield from step()
        except _EndedError:
            pass
        except _FailedError as error:
            yield error.done
            return
        yield from self._close()
        record = self._record()
        yield Saved(str(self._write(record, EXAMINATION_FILE)), "result")
        (self._folder / UNFINISHED_FILE).unlink(missing_ok=True)
        yield self._failed or self._done(record)

    def _write(self, record: Examination, name: str) -> Path:
        return write_json(record.model_dump(mode="json"), self._folder / name)

    def _close(self) -> Step:
        """What has not ended is not done."""
        for kind in TITLES:
            if kind not in self._steps or self._steps[kind].state == "running":
                yield self._tell(kind, "skipped")

    def _cancelled(self) -> bool:
        return self._control.cancelled

    def _go_on(self, done: Done | None = None) -> None:
        """End here if that was asked for, or a job that is a step was ended by it."""
        if self._control.cancelled:
            raise CancelledError
        if self._control.stopped or (done is not None and done.status == "cancelled"):
            raise _FailedError(Done("stopped"))

    # What is kept.

    def _place(self) -> Path:
        if self._spec.output_dir is not None:
            return Path(self._spec.output_dir).absolute()
        key = digest_of([question_of(self._spec), self._inputs, self._known_files])
        return data_dir() / EXAMINATIONS / key[:24]

    def _kept(self) -> Examination | None:
        """The same examination of the same inputs, if it has ended; it may have cleaned, too.

        Raises
        ------
        InputError
            If the folder holds that of another file, or the answer to another question.
        """
        spec, inspection = self._spec, self._inspection
        asked = question_of(spec)
        if self._overwrite:
            return None
        for name in (EXAMINATION_FILE, UNFINISHED_FILE):
            record = read_examination(self._folder, name)
            if record is None:
                continue
            same, is_finished = question_of(record.spec) == asked, name == EXAMINATION_FILE
            same &= record.sha256 == inspection.sha256
            if is_finished and not same:
                raise InputError(
                    f"{self._folder} holds another examination ({record.name}, as it was asked for "
                    "then): choose another folder, or replace what is there with --overwrite."
                )
            if not same or (record.inputs, record.known) != (self._inputs, self._known_files):
                continue
            self._settings = record.settings
            cleans = spec.auto is not None and cleaning_of(record.spec) != cleaning_of(spec)
            if is_finished and not cleans and spec.report is None and self._is_whole(record):
                here = spec.model_copy(update={"auto": spec.auto or record.spec.auto})
                return record.model_copy(update={"name": inspection.name, "spec": here})
        return None

    def _is_whole(self, record: Examination) -> bool:
        """Whether the scan and the cleaned checkpoint that the record speaks of are there."""
        if record.checkpoint is not None and not is_there(record.checkpoint):
            return False
        if record.verdict == "unknown" and not record.looked_at:
            return True
        with suppress(InputError):
            scan = read_scan(self._folder / SCAN_FOLDER / SCAN_FILE)
            return scan.suspect.sha256 == record.sha256
        return False

    # The steps.

    def _tell(
        self, kind: Kind, state: State = "running", sentences: Iterable[str] = (), figure: str = ""
    ) -> Finding:
        """A step begins, or has ended: then it has taken as long as it says first."""
        begun = self._begun.setdefault(kind, time.monotonic())
        texts = tuple(sentence[:MOST_CHARACTERS] for sentence in sentences)
        seconds = 0.0 if state == "skipped" else round(time.monotonic() - begun, 3)
        if (before := self._steps.get(kind)) is not None and before.state != "running":
            seconds = before.seconds
        step = ExamineStep(
            kind=kind, state=state, figure=figure, sentences=texts, seconds=seconds
        )  # fmt: skip
        self._steps[kind] = step
        return Finding("step", step.model_dump())

    def _end(self, verdict: Verdict, advice: Advice, sentence: str) -> None:
        """Nothing more is looked at.

        Raises
        ------
        _EndedError
            Always.
        """
        self._verdict, self._advice, self._headline = verdict, advice, sentence
        raise _EndedError

    def _file(self) -> Step:
        """What the file is, and whether it is opened."""
        yield self._tell("file")
        spec = self._spec
        inspection = self._inspection = examine(spec.checkpoint, self._cancelled)
        donor = None if spec.donor is None else open_checkpoint(spec.donor, use_choice=False)
        assessed = assess(inspection, donor, use_choice=spec.use_choice)
        architecture = assessed.architecture or {}
        self._architecture = architecture.get("name", "")
        several = "needs_part" in architecture or bool(inspection.members)
        lacks = "needs_donor" in architecture
        refused = assessed.verdict in _REFUSED
        yield self._tell(
            "file", "done", [f"{assessed.words}.", *assessed.reasons], assessed.words
        )  # fmt: skip
        if not (refused or several or lacks):
            return
        if several or lacks:
            sentence = next(iter((*architecture.get("notes", ()), *assessed.reasons)), "")
            advice: Advice = "choose a part" if several else "choose a donor"
            self._end("unknown", advice, f"Cannot say: {sentence}")
        verdict: Verdict = assessed.verdict  # type: ignore[assignment]
        self._end(verdict, _REFUSED[verdict], f"{assessed.words}. {assessed.reasons[0]}")

    def _identity(self) -> Step:
        """Which CLIP it is, beside the files that this machine knows."""
        yield self._tell("identity")
        yield Progress("identity", 0, 0)
        identity: Identity | None = None
        try:
            *_, identity = identify(self._inspection, cancelled=self._cancelled)
        except InputError as error:
            yield self._tell("identity", "unknown", [error.sentence])
        lines = () if identity is None else identity.sentences
        architecture = [f"{self._architecture}."] if self._architecture else []
        named = self._spec.reference
        self._reference_path, why = self._comparison(identity)
        if self._reference_path is not None:
            try:
                self._check_reference(self._reference_path)
            except InputError as error:
                if named is not None:
                    raise
                why = [
                    f"{why[0]} It cannot be used as the reference, and is left out: "
                    f"{error.sentence}"
                ]
                self._reference_path = self._reference = None
        if self._steps["identity"].state == "running":
            lines = (*architecture, *lines, *why)
            yield self._tell("identity", "done", lines, self._architecture)

    def _check_readable(self, path: str) -> None:
        """Refuse a reference that is refused, before anything else is done."""
        self._reference = self._look(path)
        if self._reference.refused:
            why_not = self._reference.reasons[0]
            raise InputError(f"{Path(path).name} cannot be a reference: {why_not}")

    def _check_reference(self, path: str) -> None:
        """Refuse a reference that the checkpoint cannot be compared with."""
        self._check_readable(path)
        spec, reference = self._spec, open_checkpoint(path, inspection=self._reference)
        open_checkpoint(
            spec.checkpoint, spec.donor, self._inspection, use_choice=spec.use_choice
        ).check_reference(reference)

    def _comparison(self, identity: Identity | None) -> tuple[str | None, list[str]]:
        """The reference that is named, the demo's twin, or the known file that is nearest."""
        spec = self._spec
        if spec.reference is not None:
            return spec.reference, []
        twin = twin_for(Path(spec.checkpoint))
        if twin is not None:
            return twin, ["The reference is the demo's clean twin."]
        near = None if identity is None else identity.reference
        if near is None or not near.path or near.sha256 == self._inspection.sha256:
            return None, []
        return near.path, [f"The reference is {near.title}, the known file that is nearest."]

    def _scanning(self) -> Step:
        """Search it, and read off accuracy, known triggers, weights and attack."""
        spec = self._spec
        folder = self._folder / SCAN_FOLDER
        scan = spec.to(
            ScanSpec, images=spec.images or _BUILT_IN, reference=self._reference_path,
            output_dir=str(folder), **(self._settings or spec.scan).model_dump(),
        )  # fmt: skip
        yield self._tell("accuracy")
        if spec.minutes is not None and self._settings is None:
            scan = yield from self._fitted(scan, spec.minutes)
        done = yield from self._told(run_job(scan, self._control, overwrite=True))
        self._go_on(done)
        if done.status == "failed":
            yield from self._unfit(done)
            return
        record = read_scan(folder / SCAN_FILE)
        if record.suspect.sha256 != self._inspection.sha256:
            raise InputError(
                f"{self._inspection.name} changed while it was examined: examine it again."
            )
        self._scan = record
        yield from self._read_off(record)

    def _fitted(self, scan: ScanSpec, minutes: float) -> Generator[Event, None, ScanSpec]:
        """The scan with as few starts and stages as its time allows on this machine."""
        estimated = yield from passed_on(run_job(scan, self._control, estimate=True))
        if estimated.status != "finished":
            return scan  # it meets the same error and tells of it
        seconds = dict(estimated.result["stages"])
        fitted = fitting(scan, seconds, 60 * minutes)
        self._settings = fitted
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write(self._record(), UNFINISHED_FILE)
        return scan.model_copy(update=fitted.model_dump())

    def _told(self, work: Generator[Event, None, None]) -> Generator[Event, None, Done]:
        """The scan's events, and what they say about the steps, as soon as they do."""
        for event in work:
            if isinstance(event, Done):
                return event
            yield event
            if not isinstance(event, Finding):
                continue
            if event.kind == "models":
                suspect = ModelFacts.model_validate(event.values["suspect"])
                beside = event.values["reference"] and ModelFacts(**event.values["reference"])
                yield self._accuracy(suspect, beside, event.values["classes"])
                yield self._tell("known")
            elif event.kind == "scan" and "probes" not in event.values["stages"]:
                yield self._tell("scan")
            elif event.kind == "probes":
                yield self._known(Stages(probes=Probes.model_validate(event.values)))
                yield self._tell("scan")
            elif event.kind == "weights":
                yield self._weights(Weights.model_validate(event.values), has_reference=True)
        raise AssertionError("the last event of every job is its Done")

    def _accuracy(self, suspect: ModelFacts, reference: ModelFacts | None, classes: int) -> Finding:
        rate = suspect.accuracy
        lines = words.accuracy_sentences(suspect, reference, classes)
        figure = "" if rate is None else percent(rate.value)
        return self._tell("accuracy", "unknown" if rate is None else "done", lines, figure)

    def _known(self, stages: Stages) -> Finding:
        if stages.probes is None:
            return self._tell("known", "skipped", ["Known triggers were not tried."])
        figure, *lines = words.about_known(stages, stages.probes)
        if figure:
            return self._tell("known", "done", lines, figure)
        lines = ["Without a reference known triggers cannot be judged.", *lines]
        return self._tell("known", "unknown", lines)

    def _weights(self, moved: Weights | None, *, has_reference: bool) -> Finding:
        if not has_reference:
            return self._tell("weights", "skipped", ["There is no reference to compare with."])
        if moved is None:
            return self._tell("weights", "unknown", ["The reference is of another architecture."])
        return self._tell("weights", "done", [words.weights_sentence(moved)], percent(moved.image))

    def _read_off(self, scan: Scan) -> Step:
        """What the scan says about each of its steps."""
        stages, judgement = scan.stages, scan.judgement
        yield self._accuracy(scan.suspect, scan.reference, len(scan.classes))
        yield self._known(stages)
        verdict, figure = words.verdict_of(scan), words.search_figure(scan)
        state: State = "unknown" if verdict == "unknown" or figure == words.NOT_SEARCHED else "done"
        named = f"{answer(verdict, judgement.target, *judgement.further)}."
        title = words.headline(scan) if verdict == "unknown" else named
        sentences = (title, *words.doubts(scan), *judgement.reasons, *judgement.warnings)
        yield self._tell("scan", state, sentences, figure)
        yield self._weights(stages.weights, has_reference=scan.reference is not None)
        if scan.found is None:
            yield self._tell("attack", "skipped", ["No trigger was found that could be measured."])
        else:
            figure = percent(scan.found.contrast.suspect.value)
            yield self._tell("attack", "done", words.attack_sentences(scan), figure)
        self._verdict, self._advice = verdict, words.advice_of(scan)
        self._headline = words.headline(scan)

    def _unfit(self, done: Done) -> Step:
        """Why it could not be searched: it names hardly any picture, of which the doctor is asked.

        Raises
        ------
        _FailedError
            If the scan failed for another reason.
        """
        if done.error_code != "unfit":
            raise _FailedError(done)
        lines = [done.error]
        spec = self._spec
        doctor = spec.to(DoctorSpec, images=spec.images or _BUILT_IN)
        part, tried = self._control.ended_by_stop().part(), []

        def watched() -> Generator[Event, None, None]:
            for event in run_job(doctor, part):
                if isinstance(event, Finding):
                    tried.append(event.values)
                yield event

        yield Message("The loader doctor tries other settings.")
        begun = time.monotonic() - self._begin
        timer = Timer(max(0.0, 60 * (spec.minutes or 0.0) - begun), part.stop)
        if spec.minutes is not None:
            timer.start()
        try:
            asked = yield from passed_on(watched())
        finally:
            timer.cancel()
        self._go_on(None if part.stopped else asked)
        best = max(tried, key=lambda trial: trial["accuracy"], default=None)
        if asked.status == "finished":
            best = asked.result["best"]
            lines.append("The loader doctor tried other settings.")
        elif part.stopped:
            lines.append(f"The loader doctor cannot say: not finished in {spec.minutes:g} minutes.")
        if best is not None:
            rate = percent(best["accuracy"])
            lines.append(
                f"The best of {len(tried)} settings classifies {rate} of {best['n']} correctly."
            )
        yield self._tell("accuracy", "unknown", lines)
        self._end("unknown", "doctor", f"Cannot say: {done.error}")

    def _cleaning(self) -> Step:
        """Clean it where that was asked for and a trigger was found."""
        auto = self._spec.auto
        called_for = self._verdict in ("found", "suspicious")
        if auto is None or not called_for:
            why = ["Nothing was found that calls for cleaning."] if not called_for else []
            yield self._tell("clean", "skipped", why)
            return
        yield self._tell("clean")
        place = str(self._clean_folder())
        changes = {"output_dir": place, "reference": self._reference_path}
        chain = auto.model_copy(
            update={
                "base": auto.base.model_copy(update=changes),
                "scanned": str(self._folder / SCAN_FOLDER),
            }
        )
        work = run_job(chain, self._control, overwrite=self._overwrite)
        done = yield from passed_on(_renamed(work))
        self._go_on(done)
        if not done.result:
            yield self._tell("clean", "unknown", [done.error])
            return
        result = self._chain = AutoResult.model_validate(done.result)
        if result.best is None:
            yield self._tell("clean", "unknown", result.sentences)
            return
        cleaned = read_json(Path(place, result.best, RESULT_FILE))
        figure = words.cleaned_figure(cleaned.get("before") or {}, cleaned.get("after") or {})
        which = result.reasons[1:]  # the scan before it is told in its own step
        yield self._tell("clean", "done", (*result.sentences, *which), figure)
        self._headline += f" {words.CLEANED[result.outcome]}{figure and f' ({figure})'}."
        self._advice = "report" if result.outcome == "nothing_found" else "clean again"

    def _clean_folder(self) -> Path:
        """Where it is cleaned; among the program's own folders each way to clean has one."""
        if self._spec.output_dir is not None:
            return self._folder / CLEAN_FOLDER
        key = digest_of(cleaning_of(self._spec))
        return self._folder / f"{CLEAN_FOLDER}-{key[:8]}"

    def _report(self) -> Step:
        """Write the evidence where that was asked for."""
        if self._spec.report is None:
            yield self._tell("report", "skipped")
            return
        yield self._tell("report")
        runs, scans = [], [str(self._folder / SCAN_FOLDER)]
        chain = self._chain
        if chain is not None and chain.best is not None:
            place = self._clean_folder()
            runs.append(str(place / chain.best))
            last = place / chain.best.replace("round", "scan").partition("-un")[0]
            scans += [str(last)] if (last / SCAN_FILE).exists() else []
        spec = self._spec.to(
            ReportSpec, runs=tuple(runs), scans=tuple(scans), out=self._spec.report
        )
        done = yield from passed_on(run_job(spec, self._control))
        self._go_on(done)
        if done.status == "failed":
            self._failed = done
            yield self._tell("report", "unknown", [done.error])
            return
        yield self._tell("report", "done", [f"Written: {done.result['path']}."])
        if self._advice == "report":
            self._advice = "none"

    # What comes of it.

    def _record(self) -> Examination:
        """The examination as far as it is."""
        scan, inspection = self._scan, self._inspection
        images, label_set = self._spec.images, self._spec.label_set
        if scan is None:
            done = {kind for kind, step in self._steps.items() if step.state == "done"}
            first, *others = [TITLES[kind] for kind in _LOOKED if kind not in done]
            not_looked_at = [f"{', '.join([first, *map(str.lower, others)])}."]
        else:
            not_looked_at = [*scan.judgement.not_searched]
            if images is None:
                not_looked_at.append(words.BUILT_IN)
            elif label_set == "demo" and images.kind != "demo" and scan.suspect.accuracy is None:
                not_looked_at.append(words.OTHER_CLASSES)
        not_looked_at.append(words.NOT_DEPLOYED)
        return Examination(
            spec=self._spec,
            name=inspection.name,
            sha256=inspection.sha256,
            reference_sha256="" if self._reference is None else self._reference.sha256,
            architecture=self._architecture,
            steps=tuple(self._steps[kind] for kind in TITLES if kind in self._steps),
            verdict=self._verdict,
            target="" if scan is None else scan.judgement.target,
            headline=self._headline[:MOST_CHARACTERS],
            looked_at=() if scan is None else tuple(words.looked_at(scan)),
            not_looked_at=tuple(not_looked_at),
            advice=self._advice,
            advice_sentence=words.ADVICE[self._advice],
            settings=self._settings or self._spec.scan,
            checkpoint=None if self._chain is None else self._chain.checkpoint,
            inputs=self._inputs,
            known=self._known_files,
            identity=self._model_identity(),
            seconds=round(time.monotonic() - self._begin, 3),
        )

    def _model_identity(self) -> str:
        spec, inspection = self._spec, self._inspection
        if inspection.source.is_dir():
            with suppress(InputError):  # which the examination says
                return open_checkpoint(
                    spec.checkpoint, spec.donor, inspection, use_choice=spec.use_choice
                ).identity
        return ""

    def _done(self, record: Examination) -> Done:
        folder = str(self._folder) if self._inputs else ""
        return Done("finished", record.model_dump(mode="json") | {"folder": folder})


def fitting(scan: ScanSpec, seconds: Mapping[str, float], limit: float) -> ScanSettings:
    """Settings whose scan takes at most a time: fewer starts first, then fewer stages.

    What can be judged alone stays, also where it takes longer: known triggers beside a reference,
    patches without one.

    Parameters
    ----------
    scan
        The whole scan.
    seconds
        What its stages take; those of the patches grow with the starts.
    limit
        Seconds.
    """
    per_start = seconds.get("patches", 0.0) / scan.starts
    starts, left = scan.starts, dict(seconds)
    while sum(left.values()) > limit and starts > _FEWEST_STARTS and "patches" in left:
        starts -= 1
        left["patches"] = per_start * starts
    for stage in _LEFT_OUT if scan.reference is not None else ("pull", "words", "probes"):
        if sum(left.values()) > limit:
            left.pop(stage, None)
            if stage == "patches":
                left.pop("refine", None)
    fields = scan.model_dump(include=set(ScanSettings.model_fields))
    stages = tuple(stage for stage in scan.stages if stage in left)
    return ScanSettings.model_validate(fields | {"starts": starts, "stages": stages})


def _renamed(events: Generator[Event, None, None]) -> Generator[Event, None, None]:
    """The events of the chain, whose steps are not those of the examination."""
    for event in events:
        if isinstance(event, Finding) and event.kind == "step":
            yield replace(event, kind="chain")
        else:
            yield event
