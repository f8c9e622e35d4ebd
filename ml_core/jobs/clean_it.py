"""*Clean it* as a job: it scans, cleans, scans again and proves, each step a job of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ml_core.checkpoints import open_checkpoint
from ml_core.cleaning.catalogue import Method, offered
from ml_core.cleaning.recipes import Recipe
from ml_core.data.labels import load_label_set
from ml_core.detection.scan.records import Scan, read_scan
from ml_core.detection.scan.working import working_triggers
from ml_core.events import Control, Done, Event, Finding, Message, Saved
from ml_core.figures import distinct
from ml_core.jobs.auto import (
    AUTO_FILE,
    MOST_CHARACTERS,
    AutoResult,
    AutoSpec,
    AutoStep,
    StepKind,
    StepStatus,
    scan_of,
    words,
)
from ml_core.jobs.auto.choice import Round, best_round, choice, is_found
from ml_core.jobs.chain import (
    TAKEN_OVER,
    cleaned,
    held_out,
    pairs_there,
    rebounded,
    scanned,
    spared,
    stopped_by_hand,
)
from ml_core.jobs.demo import pretraining_at
from ml_core.jobs.journal import check_result, read_json, write_json
from ml_core.jobs.opening import open_model
from ml_core.jobs.proofs import PROOF_IMAGES
from ml_core.jobs.scan import SCAN_FILE
from ml_core.jobs.specs import CleanSpec, check_spec
from ml_core.reading.errors import CancelledError, InputError
from ml_core.triggers import Trigger, load_trigger, save_trigger

TRIGGERS_FOLDER = "triggers"
_MOST_STAMPS = 64
_NOT_OF_RESULT = {"rounds", "rebound_steps", "proof_images", "keep_stopped"}
_NOT_COMPARED = {"recipe", "device", "threads", "processes", "speed", "keep_steps"}
Step = Generator[Event, None, Done]
_PROOFS: tuple[tuple[StepKind, str, str, Callable[[words.Record], str]], ...] = (
    ("rebound", "Rebound test", "Does the attack come back when the model is trained on?",
     words.about_rebound),
    ("holdouts", "Hold-outs",
     "How do other forms of the trigger, other triggers, captions and classes fare?",
     words.about_holdouts),
)  # fmt: skip


def clean_it(
    spec: AutoSpec, control: Control, *, overwrite: bool = False
) -> Generator[Event, None, None]:
    """Scan a checkpoint, clean it with all that was found, scan it again, and prove the best round.

    Rounds go on until the scan finds nothing. A step that is finished already is taken over, and a
    cleaning that was killed goes on from its last save. A step that fails does not end the chain
    unless nothing could be cleaned. After a stop the step saves what it can, and the chain ends.

    Yields
    ------
    Event
        A Finding ``step`` with an `AutoStep` as each begins and ends; between them the events of
        the step but its Done; Message; Saved; and Done, whose ``result`` is the `AutoResult` that
        `AUTO_FILE` holds.
    """
    chain = _Chain(spec, control, overwrite)
    try:
        last = yield from chain.run()
    except _StoppedError:
        last = Done("stopped")
    yield replace(last, result=chain.record().model_dump(mode="json"))


class _StoppedError(Exception):
    """The chain was asked to save and end."""


class _Chain:
    """One chain and what it knows so far.

    Raises
    ------
    InputError
        If it cannot begin; nothing is written then.
    """

    def __init__(self, spec: AutoSpec, control: Control, overwrite: bool) -> None:
        base = spec.base
        self._spec, self._control = spec, control
        self._folder = Path(base.output_dir).absolute()
        self._begin = time.monotonic()
        self._steps: list[AutoStep] = []
        self._rounds: list[Round] = []
        self._scans: dict[int, tuple[Path, Scan]] = {}  # by round
        self._working: dict[int, list[Trigger]] = {}  # triggers of each scan
        self._proofs: list[str] = []
        self._there: dict[str, int] = {}  # pairs, by what a method learns from
        self._comes_back: bool | None = None
        opened = open_model(base)
        reference = None if base.reference is None else open_checkpoint(base.reference)
        self._sha256 = opened.inspection.sha256
        self._reference_sha256 = None if reference is None else reference.inspection.sha256
        self._files: dict[str, Any] = {
            "checkpoint_sha256": self._sha256, "reference_sha256": self._reference_sha256,
        }  # fmt: skip
        self._pretraining = pretraining_at(opened, reference)
        named = () if base.trigger is None or spec.measure_only else (base.trigger,)
        given = [load_trigger(path) for path in (*named, *base.stamps)]
        self._given = [trigger for trigger in given if trigger.changes_pictures]
        first = self._choice(())
        assert first is not None, "nothing has failed yet"
        check_spec(base.model_copy(update={"recipe": first[0]}))
        self._search = scan_of(spec)  # says now if there are no pictures
        if spec.scanned is not None:
            self._check_scan(Path(spec.scanned))
        if not overwrite:
            own = spec.model_dump(mode="json", exclude=_NOT_OF_RESULT)
            own["base"] = {k: v for k, v in own["base"].items() if k not in _NOT_COMPARED}
            check_result(self._folder / AUTO_FILE, {"spec": own, **self._files})
        # Where its record lies, so do its steps: one that is another job by now is done anew.
        self._overwrite = overwrite or bool(read_json(self._folder / AUTO_FILE))

    def _check_scan(self, folder: Path) -> None:
        """Refuse a scan that was there before, if the next ones could not be made like it."""
        scan = read_scan(folder / SCAN_FILE)
        reference = None if scan.reference is None else scan.reference.sha256
        classes = tuple(distinct(load_label_set(self._spec.base.label_set).class_names))
        for same, what in (
            (scan.suspect.sha256 == self._sha256, "is of another checkpoint"),
            (scan.classes == classes, "has other classes than those that are chosen"),
            (reference == self._reference_sha256, "was made with another reference, or with none"),
        ):
            if not same:
                raise InputError(
                    f"The scan in {folder} {what}: name one that fits, or leave it out to have the "
                    "checkpoint scanned."
                )
        working_triggers(folder, scan)  # says now if its patches are missing

    def saved(self) -> Saved:
        """Write the record as far as it goes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = write_json(self.record().model_dump(mode="json"), self._folder / AUTO_FILE)
        return Saved(str(path), "result")

    def record(self) -> AutoResult:
        """What the chain came to so far."""
        best = self._best()
        first = self._scans[0][1] if 0 in self._scans else None
        named = self._spec.base.trigger is not None
        return AutoResult(
            spec=self._spec,
            steps=tuple(self._steps),
            best=best.folder if best else None,
            checkpoint=best.checkpoint if best else None,
            outcome=best.outcome if best else "worse" if self._rounds else "not_scanned",
            called_for=words.called_for(first, named),
            comes_back=self._comes_back,
            sentences=_short(words.sentences(first, named, self._rounds, best, self._proofs)),
            reasons=_short(words.reasons(first, self._rounds, best)) if self._rounds else (),
            seconds=time.monotonic() - self._begin,
            **self._files,
        )

    def _best(self) -> Round | None:
        return best_round(self._rounds, by_attack=not self._spec.measure_only)

    def run(self) -> Step:
        """Run all steps; a failed Done if nothing could be cleaned.

        Raises
        ------
        CancelledError
            If it was cancelled.
        _StoppedError
            If it was stopped.
        """
        yield from self._scan(0, self._spec.base.checkpoint, self._sha256)
        for number in range(1, self._spec.rounds + 1):
            done = yield from self._clean(number)
            if done.status == "failed":
                if not self._rounds:
                    return done
                break
            result = done.result
            yield from self._scan(number, result["checkpoint"], result["checkpoint_sha256"])
            last = self._rounds[-1]
            if last.outcome != "still_found" and not last.is_costly:
                break
        best = self._best()
        folder = best.folder if best else ""
        for kind, title, why, about in _PROOFS:
            step = AutoStep(kind=kind, round=0, title=title, folder=folder, why=why)
            yield from self._prove(step, about)
        return Done("finished")

    def _step(self, step: AutoStep, work: Step, take: Callable[[dict[str, Any]], str]) -> Step:
        """Run a step and tell of it; ``take`` keeps its result and says what it came to."""
        begin = time.monotonic()
        yield Finding("step", step.model_dump())
        yield Message(f"{step.title}. {step.why}")
        status: StepStatus = "finished"
        try:
            done = yield from work
            if done.status == "failed":
                status = "failed"
            elif stopped_by_hand(done.result):
                status = "stopped"
        except InputError as error:  # it could not even be asked for
            done, status = Done("failed", error=error.sentence, error_code=error.code), "skipped"
        if done.status == "cancelled":
            raise CancelledError if self._control.cancelled else _StoppedError
        sentence = words.STOPPED if status == "stopped" else done.error
        if status == "finished":
            sentence = take(done.result)
        elif status == "stopped" and step.kind == "clean":
            take(done.result)  # what it saved can be used
        ended = {"status": status, "sentence": sentence, "seconds": time.monotonic() - begin}
        self._steps.append(step.model_copy(update=ended))
        yield Finding("step", self._steps[-1].model_dump())
        yield self.saved()
        if self._control.stopped:
            raise _StoppedError
        return done

    def _scan(self, number: int, checkpoint: str, sha256: str | None) -> Step:
        """Scan the checkpoint, or what a round made of it."""
        folder = self._folder / f"scan-{number}"
        name, work = folder.name, self._scanning(folder, checkpoint, sha256)
        why = "Does the same scan still find something?" if number else "What is there to clean?"
        if number == 0 and self._spec.scanned is not None:
            folder = Path(self._spec.scanned).absolute()
            name, work = str(folder), _taken_over()
            why = "The scan that was made before is taken over."

        def take(_result: dict[str, Any]) -> str:
            scan = read_scan(folder / SCAN_FILE)
            self._scans[number] = folder, scan
            self._working[number] = working_triggers(folder, scan)
            if number:
                self._rounds[-1] = replace(self._rounds[-1], scan=scan)
            return words.about_scan(scan)

        title = f"Scan after round {number}" if number else "Scan before cleaning"
        step = AutoStep(kind="scan", round=number, title=title, folder=name, why=why)
        return (yield from self._step(step, work, take))

    def _scanning(self, folder: Path, checkpoint: str, sha256: str | None) -> Step:
        """Run a scan, unless the folder holds its result, of the same files."""
        changes: dict[str, Any] = {"checkpoint": checkpoint, "output_dir": str(folder)}
        if checkpoint != self._spec.base.checkpoint:  # a cleaned one is whole
            changes |= {"donor": None, "use_choice": True}
        spec = self._search.model_copy(update=changes)
        files = sha256, self._reference_sha256
        return (yield from scanned(spec, files, self._control, overwrite=self._overwrite))

    def _clean(self, number: int) -> Step:
        """Clean with the best method that can run; else return the last failure."""
        failed: list[Method] = []
        done = Done("failed")
        while (chosen := self._choice(failed)) is not None:
            recipe, why = chosen
            method, title = recipe.method, recipe.facts.title
            name = f"round-{number}-{method}" if failed else f"round-{number}"
            new = Round(method, title, why, name, checkpoint="")

            def take(result: dict[str, Any], new: Round = new) -> str:
                before, after = result["before"] or {}, result["after"] or {}
                rates: dict[str, Any] = {"ca_before": before.get("ca"), "ca": after.get("ca")}
                rates |= {"asr_before": before.get("asr_excl"), "asr": after.get("asr_excl")}
                rates["trigger"] = before.get("trigger_name") or ""
                rates["stopped_because"] = result.get("stopped_because") or ""
                self._rounds.append(replace(new, checkpoint=result["checkpoint"], **rates))
                return words.about_round(self._rounds[-1])

            job = self._job(recipe, name)
            work = self._cleaning(job)
            title = f"Round {number}: {title}"
            step = AutoStep(kind="clean", round=number, title=title, folder=name, why=why)
            done = yield from self._step(step, work, take)
            if done.status != "failed":
                break
            failed.append(offered(method))
        return done

    def _cleaning(self, job: CleanSpec) -> Step:
        """Clean, with pairs left for the rebound test."""
        data = job.recipe.facts.data
        if data not in self._there:
            self._there[data] = yield from pairs_there(job, self._control)
        job, what = spared(job, self._there[data])
        if what:
            yield Message(what)
        return (
            yield from cleaned(
                job, self._control, overwrite=self._overwrite,
                keep_stopped=self._spec.keep_stopped,
            )
        )  # fmt: skip

    def _choice(self, failed: Collection[Method]) -> tuple[Recipe, str] | None:
        """The recipe of a round by what is known, and why."""
        pairs, minutes = self._spec.base.pairs, self._spec.base.minutes
        chosen = choice(
            pairs=pairs is not None,
            is_known=bool(self._given) or any(is_found(scan) for _, scan in self._scans.values()),
            stamps=len(self._known()),
            pretraining=self._pretraining,
            before=self._rounds,
            fitted=minutes is not None,
            failed=failed,
            preset_name=self._spec.preset,
        )
        return chosen and (chosen[0].changed(seed=self._spec.scan.seed), chosen[1])

    def _known(self) -> list[Trigger]:
        """The triggers to learn from: those that were given, and all that work in any scan."""
        most = max(0, _MOST_STAMPS - len(self._given)) // max(1, len(self._scans))
        working = [trigger for each in self._working.values() for trigger in each[:most]]
        known = {trigger.digest: trigger for trigger in [*self._given, *working]}
        return list(known.values())[:_MOST_STAMPS]

    def _attack(self) -> dict[str, Any]:
        """What is measured: the trigger that somebody named, else the first that a scan found."""
        base = self._spec.base
        for folder, scan in self._scans.values():
            if base.trigger is None and is_found(scan) and scan.found is not None:
                target = scan.classes.index(scan.found.target)
                return {
                    "trigger": str(folder / scan.found.file), "target": target, "targeted": True,
                }  # fmt: skip
        return {"trigger": base.trigger, "target": base.target, "targeted": base.targeted}

    def _job(self, recipe: Recipe, name: str) -> CleanSpec:
        """The cleaning of a round; the triggers that it learns from are written beside it."""
        place = self._folder / TRIGGERS_FOLDER
        place.mkdir(parents=True, exist_ok=True)
        # Named by their content: with others it would be another job.
        paths = [save_trigger(each, place / each.digest[:16])[1] for each in self._known()]
        base = self._spec.base
        changes = {
            "recipe": recipe,
            "output_dir": str(self._folder / name),
            "stamps": tuple(map(str, paths)),
            "minutes": base.minutes if recipe.total_steps else None,
            "speed": None,
        }
        return base.model_copy(update=changes | self._attack())

    def _prove(self, step: AutoStep, about: Callable[[words.Record], str]) -> Step:
        """Run a proof of the round that is kept."""

        def take(record: dict[str, Any]) -> str:
            self._proofs.append(about(record))
            if step.kind == "rebound":
                self._comes_back = not record["stays_clean"]
            return self._proofs[-1]

        done = yield from self._step(step, self._proving(step), take)
        if done.status == "failed" and step.folder and self._attack()["trigger"] is not None:
            self._proofs.append(words.not_tested(step.kind, done.error))
            yield self.saved()
        return done

    def _proving(self, step: AutoStep) -> Step:
        if not step.folder:
            raise InputError("No round is kept: there is nothing to prove.")
        spec, folder = self._spec, self._folder / step.folder
        most = spec.proof_images or PROOF_IMAGES
        if step.kind == "rebound":
            return (yield from rebounded(folder, self._control, spec.rebound_steps, most=most))
        return (yield from held_out(folder, self._control, most=most))


def _short(sentences: Iterable[str]) -> tuple[str, ...]:
    return tuple(sentence[:MOST_CHARACTERS] for sentence in sentences)


def _taken_over() -> Step:
    yield TAKEN_OVER
    return Done("finished")
