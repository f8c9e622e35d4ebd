"""Whether a checkpoint keeps the rules of a policy, by what is known or was measured. Torch-free.

What a file is (verdict, format, signature, parent) is looked at anew. Rates come from examinations
and bundles; one that is about another SHA-256 is not believed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.identity import PartIdentity, identify
from ml_core.checkpoints.inspection_record import assess, member_records, worst_verdict
from ml_core.checkpoints.known_tensors import known_tensors
from ml_core.detection.scan.records import TITLES, Rate, Scan, Stage, newcombe, read_scan
from ml_core.detection.scan.verdict import is_near
from ml_core.evaluation.records import wilson_interval
from ml_core.figures import percent, percent_range
from ml_core.jobs.examination import EXAMINATION_FILE, SCAN_FOLDER, Examination
from ml_core.jobs.examination.kept import kept_folders, outdated
from ml_core.jobs.examination.words import verdict_of
from ml_core.jobs.scan import NEEDS_REFERENCE, SCAN_FILE, USUAL, ScanSettings
from ml_core.jobs.verify.run import signature_of
from ml_core.reading import InputError, Inspection
from ml_core.reading.errors import plain
from ml_core.reading.inspection import looks_same
from ml_core.reading.json_file import JsonFile
from ml_core.reading.walk import Tally, is_candidate
from ml_core.reports.bundle_files import Bundle
from ml_core.reports.gate import Answer, FileAnswer, RuleAnswer, SourceKind, overall
from ml_core.reports.open_bundle import open_bundle
from ml_core.reports.outcomes import (
    SCAN_LIMITS,
    SCAN_RANKS,
    accuracy_changes,
    rebound_claims,
    success_rates,
)
from ml_core.reports.policy import ANY, PolicyFile
from ml_core.reports.record import Counted, Id
from ml_core.reports.rendering import rates_of
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.confined import check_confined
from ml_core.reports.verify.kept import Hashes
from ml_core.signing import check_checkpoint, key_to_believe, trusted_keys
from ml_core.triggers.library import LIBRARY

_EXAMINATION = JsonFile("an examination", "examine the file again", 6 << 20, half_characters=True)
_LICENCE = re.compile(r"(licen[sc]e|copying)([-_. ].*)?", re.IGNORECASE | re.DOTALL)
_WORST_FIRST: tuple[Answer, ...] = ("FAIL", "NOT EVALUABLE", "PASS")
_TOLERANCE = 1e-9
_KEY_FILES = (".pub", ".pem")


@dataclass(frozen=True)
class Fact:
    """A figure that a source has for a rule.

    Attributes
    ----------
    rule
        Name of the rule, without the id of a trigger.
    value, low, high
        The figure and its 95 % interval; of a scan the rank of its verdict.
    figure, about
        The figure as text, and what was measured.
    names
        What a policy may call the trigger or the pictures.
    scan
        That whose verdict it is; None of another fact, and where nothing was searched.
    identity
        `Checkpoint.identity` of what was measured; an examination has that of a folder alone.
    """

    rule: str
    value: float
    low: float
    high: float
    figure: str
    about: str
    names: tuple[str, ...] = ()
    scan: Scan | None = None
    identity: str = ""


@dataclass(frozen=True)
class Source:
    """An examination or a bundle: its facts by the SHA-256 of the file that they are about.

    Attributes
    ----------
    fault
        Why it is not believed; empty if it is.
    record
        That of an examination; None of a bundle, and where it cannot be read.
    """

    kind: SourceKind
    place: str
    facts: Mapping[str, Sequence[Fact]] = field(default_factory=dict)
    fault: str = ""
    record: Examination | None = None

    def of(self, inspection: Inspection) -> Source:
        """The same for one file; of a folder, whose SHA-256 is that of its weights, what was
        measured with this config and tokenizer, with nothing chosen or lent, is believed.
        """
        own = self.facts.get(inspection.sha256)
        if not own or not inspection.source.is_dir():
            return self
        identity = None
        with suppress(InputError):
            opened = open_checkpoint(inspection.path, inspection=inspection, use_choice=False)
            identity = opened.identity
        if same := [fact for fact in own if fact.identity == identity]:
            return replace(self, facts={inspection.sha256: same})
        why = "is of another config, a choice or a donor; examine the folder again."
        return replace(self, facts={}, fault=f"{self.place} {why}")

    def kept_of(self, inspection: Inspection) -> Source:
        """The same of an examination that was kept, if it holds for the file as it is now."""
        own = self.of(inspection)
        if own.fault or own.record is None or not (why := outdated(own.record, inspection)):
            return own
        return replace(own, facts={}, fault=f"{self.place} is not accepted. {why}")

    def reason(self, sha256: str) -> str:
        """Why it says nothing about a file, or nothing for a rule."""
        if sha256 in self.facts:
            return f"{self.place} says nothing of it."
        return self.fault or f"{self.place} is about a file with another SHA-256."


def examination_source(folder: Path, kind: SourceKind = "examination") -> Source:
    """What an examination's folder says: its verdict, and the figures of the scan that it is of."""
    place, record = plain(str(folder)), None
    try:
        path = folder / EXAMINATION_FILE
        read = _EXAMINATION.read(path, inside=folder)
        record = _EXAMINATION.check(read, Examination, plain(path.name))
        path = folder / SCAN_FOLDER / SCAN_FILE
        if path.exists():
            scan = read_scan(path)
            if scan.suspect.sha256 != record.sha256:
                raise InputError(f"{place} holds the scan of another file; examine it again.")
            if verdict_of(scan) != record.verdict:
                raise InputError(
                    f"{place} gives another verdict than its scan; examine the file again."
                )
            facts = list(_of_scan(scan, suspicious=record.verdict == "suspicious"))
        elif record.verdict in SCAN_RANKS:
            raise InputError(f"{place} lacks the scan behind its verdict; examine the file again.")
        else:
            facts = [_verdict(record.verdict, TITLES["unknown"], record.headline)]
    except InputError as error:
        return Source(kind, place, fault=error.sentence, record=record)
    facts = [replace(fact, identity=record.identity) for fact in facts]
    return Source(kind, place, {record.sha256: facts} if record.sha256 else {}, record=record)


def bundle_source(path: Path, cancelled: Callable[[], bool] = lambda: False) -> Source:
    """What a bundle of evidence says, if its files are whole and its figures add up."""
    place = plain(str(path))
    facts: dict[str, list[Fact]] = {}
    try:
        checks: list[Check] = []
        digests: Mapping[str, str] = {}
        for step in check_confined(path, cancelled):
            if isinstance(step, Check):
                checks.append(step)
            elif isinstance(step, Hashes):
                digests = step.digests
        with open_bundle(path) as reader:
            reader.expect(digests)  # what was checked is what is used
            checks.append(signature_of(reader, trusted_keys()))
            if fault := next((check for check in checks if check.state == "fails"), None):
                raise InputError(f"{place} does not verify: {fault.sentence}")
            bundle = Bundle(reader)
            for id_, checkpoint in bundle.evidence.checkpoints.items():
                if checkpoint.sha256 is not None:
                    facts.setdefault(checkpoint.sha256, []).extend(
                        replace(fact, identity=checkpoint.identity)
                        for fact in _of_bundle(bundle, id_)
                    )
    except InputError as error:
        return Source("bundle", place, fault=error.sentence)
    return Source("bundle", place, facts)


def kept_sources() -> list[Source]:
    """The examinations that this machine has kept."""
    return [examination_source(folder) for folder in kept_folders()]


@dataclass(frozen=True)
class Gate:
    """The rules of a policy for one file.

    Of several sources the worst figure counts, and a given one that is not believed is no pass.
    Those that are kept are asked where the given ones say nothing, and ``measure`` where those
    leave a rule not evaluable, too.

    Parameters
    ----------
    inspection
        Of the file.
    given, kept
        Examinations and bundles that the user named, and examinations that this machine has.
    measure
        Examines the file, and returns the folder of the examination; an `InputError` says why not.
    cancelled
        Ends the work with a `CancelledError` where it turns true.
    """

    policy: PolicyFile
    inspection: Inspection
    given: Sequence[Source] = ()
    kept: Callable[[], Sequence[Source]] = tuple
    measure: Callable[[], Path] | None = None
    cancelled: Callable[[], bool] = lambda: False

    def answer(self) -> FileAnswer:
        """The answers, of which the first one says whether the file is what was looked at."""
        inspection, policy = self.inspection, self.policy.policy
        own: Mapping[str, Callable[[Any], tuple[Answer, str, str]]] = {
            "file.allow": self._allow, "file.formats": self._formats, "file.licence": self._licence,
            "signature.by": self._signature, "identity.parent": self._parent,
        }  # fmt: skip
        rules = []
        for name, demand in policy.rules.items():
            try:
                if name in own:
                    rules.append(self._answer(name, *own[name](demand)))
                else:
                    rules.append(self._measured(name, demand))
            except InputError as error:
                rules.append(self._answer(name, "NOT EVALUABLE", "", error.sentence))
        rules.insert(0, self._answer("file.sha256", *self._whole()))  # after all that was looked at
        return FileAnswer(
            path=plain(str(inspection.path)),
            name=plain(inspection.name),
            sha256=inspection.sha256,
            bytes=inspection.size,
            folder=inspection.source.is_dir(),
            answer=overall((rule.answer for rule in rules), policy),
            rules=tuple(rules),
        )

    def _answer(
        self, name: str, answer: Answer, figure: str, why: str, source: Source | None = None
    ) -> RuleAnswer:
        """The answer of a rule, from a source or from the file itself."""
        source = source or Source("file", plain(str(self.inspection.path)))
        return RuleAnswer(
            rule=plain(name), answer=answer, figure=plain(figure), why=plain(why),
            source=source.kind, place=source.place,
        )  # fmt: skip

    # From the file.

    def _whole(self) -> tuple[Answer, str, str]:
        inspection = self.inspection
        if not inspection.sha256:
            return "FAIL", "", next(iter(inspection.reasons), "It could not be read.")
        if inspection.files and not looks_same(inspection):
            return "FAIL", inspection.sha256, "It changed meanwhile; start the gate again."
        return "PASS", inspection.sha256, "The answers below are about these bytes."

    def _allow(self, allowed: Sequence[str]) -> tuple[Answer, str, str]:
        assessed = assess(self.inspection, use_choice=False)
        members = member_records(self.inspection, self.cancelled)
        verdict = worst_verdict(assessed, members)
        reasons = [
            f"{member['name']}: {reason}"
            for member in members
            if member["verdict"] == verdict
            for reason in member["reasons"]
        ] or (() if members else assessed.reasons)
        why = next(iter(reasons), "The file holds tensors and plain data only.")
        return "PASS" if verdict in allowed else "FAIL", verdict, why

    def _formats(self, allowed: Sequence[str]) -> tuple[Answer, str, str]:
        form = self.inspection.format
        fits = form.casefold() in map(str.casefold, allowed)
        return "PASS" if fits else "FAIL", form, f"The policy allows {', '.join(allowed)}."

    def _licence(self, _: bool) -> tuple[Answer, str, str]:
        source = self.inspection.source
        folder = source if source.is_dir() else source.parent
        try:
            licences = [
                path.name
                for path in sorted(folder.iterdir())
                if _LICENCE.fullmatch(path.name) and path.is_file() and path.stat().st_size
                and path != source and not is_candidate(path, Tally())
            ]  # fmt: skip
        except OSError as error:
            raise InputError(f"{folder} cannot be listed: {error.strerror}.") from error
        if licences:
            return "PASS", licences[0], "It lies with the checkpoint."
        return "FAIL", "none", "No file LICENSE, LICENCE or COPYING lies with the checkpoint."

    def _signature(self, by: Sequence[str]) -> tuple[Answer, str, str]:
        folder = self.policy.folder
        for text in by:
            if text.endswith(_KEY_FILES) and not (folder / text).is_file():
                raise InputError(f"The policy names the key {folder / text}, which is not there.")
        keys = [
            key_to_believe(str(folder / text) if (folder / text).is_file() else text) for text in by
        ]
        facts = check_checkpoint(self.inspection, keys, self.cancelled)
        if facts is None:
            return "FAIL", "none", "It has no signature."
        if facts.state == "unsupported":
            return "NOT EVALUABLE", facts.state, facts.sentence
        return "PASS" if facts.state == "good" else "FAIL", facts.who or facts.state, facts.sentence

    def _parent(self, parent: str) -> tuple[Answer, str, str]:
        inspection = self.inspection
        if inspection.sha256 == parent:
            return "PASS", "the same file", "It is the parent itself."
        if inspection.refused:
            raise inspection.refusal()
        if not known_tensors(parent):
            raise InputError(
                "The parent is not among the known files: add it with `cleanclip known add`."
            )
        *_, identity = identify(inspection, cancelled=self.cancelled)
        why = " ".join(part.sentence for part in identity.parts)
        states = [_descent(part, parent) for part in identity.parts]
        states += ["FAIL"] if identity.changes else []
        return min(states, key=_WORST_FIRST.index, default="FAIL"), identity.state, why

    # From what was measured.

    def _measured(self, name: str, demand: float | str) -> RuleAnswer:
        """The worst answer of the first sources that say something."""
        section, _, rest = name.partition(".")
        id_, _, last = rest.rpartition(".")
        accuracy, sha256 = self.policy.policy.accuracy, self.inspection.sha256
        if accuracy is not None and accuracy.images and name == "accuracy.at_least":
            id_ = accuracy.images
        reasons: list[str] = []
        left: RuleAnswer | None = None
        for sources in self._stages():
            answers = []
            for source in sources:
                if source.fault and (sources is self._given or source.kind == "measurement"):
                    answers.append(self._answer(name, "NOT EVALUABLE", "", source.fault, source))
                    continue
                facts = [
                    fact for fact in source.facts.get(sha256, ())
                    if fact.rule == f"{section}.{last}" and _is_meant(fact, id_)
                ]  # fmt: skip
                if not facts:
                    reasons.append(source.reason(sha256))
                answers += [
                    self._answer(name, *_judged(self._searched(fact), demand), source)
                    for fact in facts
                ]
            if answers:
                worst = min(answers, key=lambda each: _WORST_FIRST.index(each.answer))
                if sources is self._given or worst.answer != "NOT EVALUABLE":
                    return worst
                left = worst
        if left is not None:
            return left
        why = " ".join(reasons) or "It was not measured: examine the file, or give --measure."
        return self._answer(name, "NOT EVALUABLE", "", why)

    def _searched(self, fact: Fact) -> Fact:
        """The fact; where less was searched than the policy asks, the verdict may be any worse."""
        scan, rules = fact.scan, self.policy.policy.scan
        if scan is None or rules is None:
            return fact
        stages = rules.stages or _whole_scan(scan)
        missing = [stage for stage in stages if getattr(scan.stages, stage) is None]
        rounds = () if scan.stages.patches is None else scan.stages.patches.rounds
        full = [each for each in rounds if not each.left_out and each.loss != "place"]
        starts = min((len(each.starts) for each in full), default=0)
        least = rules.starts or ScanSettings().starts
        about = fact.about
        if missing:
            about += f" Not searched, and the policy asks for it: {', '.join(missing)}."
        elif "patches" in stages and starts < least:
            about += f" The patches have {starts} starts, and the policy asks for {least}."
        else:
            return fact
        return replace(fact, about=about, high=max(SCAN_RANKS.values()))

    def _stages(self) -> Iterator[Sequence[Source]]:
        """Sources in their order; nothing is measured before somebody asks for it."""
        yield self._given
        yield self._kept
        yield self._fresh

    @cached_property
    def _given(self) -> list[Source]:
        return [source.of(self.inspection) for source in self.given]

    @cached_property
    def _kept(self) -> list[Source]:
        """Those of this file, and those that cannot be read, whichever file they are of."""
        return [
            source.kept_of(self.inspection)
            for source in self.kept()
            if source.record is None or source.record.sha256 == self.inspection.sha256
        ]

    @cached_property
    def _fresh(self) -> list[Source]:
        """The examination that is made now."""
        if self.measure is None:
            return []
        try:
            if self.inspection.refused:
                raise InputError("A file that is refused is not measured.")
            return [examination_source(self.measure(), "measurement")]
        except InputError as error:
            return [Source("measurement", plain(str(self.inspection.path)), fault=error.sentence)]


def _descent(part: PartIdentity, parent: str) -> Answer:
    """Whether a part comes from the parent, to which it must be the nearest of the known files."""
    strange = part.other_shape or part.added or part.missing
    if part.sha256 != parent or strange:
        return "FAIL"
    if part.state in ("equal", "rounded"):
        return "PASS"
    if part.relative is None:
        return "NOT EVALUABLE"
    return "PASS" if is_near(part.relative, part.relative) else "FAIL"


def _is_meant(fact: Fact, name: str) -> bool:
    """Whether a policy means a fact by a trigger's id or the name of pictures; any without one."""
    return name in ("", ANY) or name.casefold() in map(str.casefold, fact.names)


def _judged(fact: Fact, demand: float | str) -> tuple[Answer, str, str]:
    """Whether the whole interval of a fact keeps a limit, the figure, and a sentence."""
    at_least = fact.rule == "accuracy.at_least"
    limit = SCAN_LIMITS[demand] if isinstance(demand, str) else demand
    sign, worst = (-1, fact.low) if at_least else (1, fact.high)
    shown = demand if isinstance(demand, str) else percent(demand)
    bound = "demands at least" if at_least else "allows at most"
    why = f"{fact.about} The policy {bound} {shown}."
    if sign * (fact.value - limit) > _TOLERANCE:
        return "FAIL", fact.figure, why
    if sign * (worst - limit) > _TOLERANCE:
        few = "" if isinstance(demand, str) else " These are too few pictures to tell."
        return "NOT EVALUABLE", fact.figure, f"{why}{few}"
    return "PASS", fact.figure, why


def _share(rule: str, rate: Rate | Counted, about: str, names: tuple[str, ...] = ()) -> Fact:
    """A rate with its Wilson interval."""
    low, high = wilson_interval(rate.hits, rate.n)
    figure = f"{percent(rate.value)} of {rate.n} ({percent_range((low, high))})"
    return Fact(rule, rate.value, low, high, figure, about, names)


def _verdict(verdict: str, title: str, about: str, scan: Scan | None = None) -> Fact:
    """A verdict's rank; of one that says nothing about triggers it may be any."""
    rank = SCAN_RANKS.get(verdict)
    low, high = (0, max(SCAN_RANKS.values())) if rank is None else (rank, rank)
    return Fact("scan.at_most", low, low, high, title, about, scan=scan)


def _whole_scan(scan: Scan) -> list[Stage]:
    """The stages of a whole scan beside the same reference, or without one."""
    weights = scan.stages.weights  # of a reference of the same architecture
    near = weights is not None and is_near(weights.image, weights.text)
    left_out = NEEDS_REFERENCE if weights is None else () if near else ("overlays",)
    return [stage for stage in USUAL if stage not in left_out]


def _of_scan(scan: Scan, *, suspicious: bool = False) -> Iterator[Fact]:
    """Verdict, known triggers and clean accuracy of a scan; an examination may doubt the first."""
    judgement, accuracy = scan.judgement, scan.suspect.accuracy
    reason = next(iter(judgement.reasons), f"{judgement.title}.")
    about = " ".join((reason, "Searched:", *judgement.searched))
    verdict = "suspicious" if suspicious else judgement.verdict
    yield _verdict(verdict, TITLES[verdict], about, scan)
    for row in () if scan.stages.probes is None else scan.stages.probes.rows:
        about = f"{row.name} turns pictures of other classes into “{row.target}”."
        if row.contrast.suspect.n:
            names = (row.id, row.name)
            yield _share("trigger.asr_at_most", row.contrast.suspect, about, names)
    if accuracy is None or not accuracy.n:
        return
    names = (scan.images, scan.images_key)
    yield _share("accuracy.at_least", accuracy, f"Clean accuracy on {scan.images}.", names)
    beside = None if scan.reference is None else scan.reference.accuracy
    if beside is not None and beside.n:
        interval = newcombe(beside, accuracy)
        yield _lost(beside.value - accuracy.value, *interval, "the reference")


def _lost(value: float, low: float, high: float, to: str) -> Fact:
    figure = f"{percent(value)} ({percent_range((low, high))})"
    about = f"Clean accuracy lost to {to}."
    return Fact("accuracy.lost_at_most", value, low, high, figure, about)


def _of_bundle(bundle: Bundle, id_: Id) -> Iterator[Fact]:
    """What a bundle claims of one of its checkpoints."""
    evidence = bundle.evidence
    for scan_id, scan in evidence.scans.items():
        if scan.suspect == id_:
            record = bundle.scan(scan_id)
            if record.suspect.sha256 in (None, evidence.checkpoints[id_].sha256):
                yield from _of_scan(record)
    for measurement, claim in success_rates(evidence, id_).items():
        trigger = evidence.measurements[measurement].trigger
        if trigger is not None:
            name = evidence.triggers[trigger].name
            ids = (entry.id for entry in LIBRARY if entry.name == name)
            names = (trigger, name, *ids)
            yield _share("trigger.asr_at_most", claim.rate, claim.sentence, names)
    for claim, measured in rates_of(evidence, id_):
        if claim.metric == "ca":
            data = evidence.data[measured.data]
            names = (measured.data, data.name, data.key)
            yield _share("accuracy.at_least", claim.rate, claim.sentence, names)
    for change in accuracy_changes(evidence, id_):
        interval = change.interval
        before = evidence.measurements[change.against].checkpoint
        yield _lost(-change.difference, -interval.high, -interval.low, before)
    for rebound, _ in rebound_claims(evidence, id_):
        if rebound.rate is not None:
            yield _share("rebound.at_most", rebound.rate, rebound.sentence)
