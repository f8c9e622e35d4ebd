"""What a gate answers for each file and rule, and the same for other tools. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from ml_core import __version__
from ml_core.reading.inspection import RULES_VERSION
from ml_core.records import Record
from ml_core.reports.policy import Policy, PolicyFile
from ml_core.reports.record import Count
from ml_core.reports.sarif import ATLAS, POISONED, statement
from ml_core.sarif import PAPER, Artifact, Level, Rule, SarifResult, folders_to, log_of

Answer = Literal["PASS", "FAIL", "NOT EVALUABLE"]
SourceKind = Literal["file", "examination", "bundle", "measurement"]
_TOOL = {"name": "CleanCLIP GUI", "version": __version__}
_TEXTS = {
    "file.sha256": "The file can be read, and does not change meanwhile.",
    "file.allow": "The verdict on the file is one that the policy allows.",
    "file.formats": "The format of the file is one that the policy allows.",
    "file.licence": "A licence file lies with the checkpoint.",
    "signature.by": "The file is signed with a key that the policy names.",
    "identity.parent": "The encoders come from the parent that the policy names.",
    "scan.at_most": "A scan found no more than the policy allows.",
    "trigger.asr_at_most": "A known trigger succeeds no more often than the policy allows.",
    "accuracy.at_least": "Clean accuracy is as high as the policy demands.",
    "accuracy.lost_at_most": "No more clean accuracy is lost than the policy allows.",
    "rebound.at_most": "Ordinary finetuning brings no more of a backdoor back than is allowed.",
}
_BACKDOORS = ("scan", "trigger", "rebound")


class RuleAnswer(Record):
    """The answer of one rule for one file.

    Attributes
    ----------
    rule
        Its name, such as ``scan.at_most``.
    answer, figure, why
        What came of it, the number or word that decided, and a sentence.
    source, place
        What the figure is from, and the path of that.
    """

    rule: str
    answer: Answer
    figure: str
    why: str
    source: SourceKind
    place: str


class FileAnswer(Record):
    """The answers for one file, which is the one of this SHA-256 (empty: it could not be read)."""

    path: str
    name: str
    sha256: str
    bytes: Count
    folder: bool
    answer: Answer
    rules: tuple[RuleAnswer, ...]


class PolicyFacts(Record):
    """Which policy it was."""

    name: str
    version: str
    sha256: str


class GateAnswer(Record):
    """The answer for all files: as bad as that for the worst one; without files NOT EVALUABLE."""

    schema_version: Literal[1] = 1
    policy: PolicyFacts
    answer: Answer
    files: tuple[FileAnswer, ...]


def overall(answers: Iterable[Answer], policy: Policy) -> Answer:
    """The worst answer; one that is not evaluable counts as the policy says."""
    there = set(answers)
    if "FAIL" in there:
        return "FAIL"
    left = "NOT EVALUABLE" in there and policy.policy.not_evaluable == "fail"
    return "NOT EVALUABLE" if left else "PASS"


def gate_answer(policy: PolicyFile, files: Iterable[FileAnswer]) -> GateAnswer:
    """The answer for all files."""
    listed = tuple(files)
    about = policy.policy.policy
    return GateAnswer(
        policy=PolicyFacts(name=about.name, version=about.version, sha256=policy.sha256),
        answer=overall((each.answer for each in listed), policy.policy)
        if listed
        else "NOT EVALUABLE",
        files=listed,
    )


def gate_sarif(gate: GateAnswer, policy: Policy) -> dict[str, Any]:
    """A SARIF log with a result for each rule that does not pass."""
    rules = [
        Rule(
            id_, id_.replace(".", "_").title().replace("_", ""), text, "error",
            ATLAS if backdoor else PAPER, POISONED if backdoor else (),
        )
        for id_, text in _TEXTS.items()
        for backdoor in [id_.startswith(_BACKDOORS)]
    ]  # fmt: skip
    return log_of(
        _TOOL,
        rules,
        [
            Artifact(file.name, file.sha256, file.bytes, file.folder, folders_to(file.path))
            for file in gate.files
        ],
        _results(gate, policy),
        rules_version=RULES_VERSION,
        properties={"policy": gate.policy.model_dump(), "answer": gate.answer},
    )


def _results(gate: GateAnswer, policy: Policy) -> Iterator[SarifResult]:
    unknown: Level = "warning" if policy.policy.not_evaluable == "fail" else "none"
    for number, file in enumerate(gate.files):
        for rule in file.rules:
            if rule.answer == "PASS":
                continue
            level = "error" if rule.answer == "FAIL" else unknown
            section, *_, name = rule.rule.split(".")
            yield SarifResult(
                f"{section}.{name}", f"{rule.answer}: {rule.rule}. {rule.why}", number, level,
                same_as=rule.rule, undecided=level == "none", properties=rule.model_dump(),
            )  # fmt: skip


def gate_statements(gate: GateAnswer, policy: Policy) -> list[dict[str, Any]]:
    """An in-toto statement for each file that has a SHA-256, with its rules as tests.

    What is not evaluable is among the failed tests, or, where the policy lets it pass, the warned.
    """
    facts, lenient = gate.policy, policy.policy.not_evaluable == "pass"
    configuration = [
        {"name": "tool", "uri": "pkg:generic/cleanclip-gui", "annotations": _TOOL},
        {"name": "policy", "digest": {"sha256": facts.sha256},
         "annotations": {"name": facts.name, "version": facts.version}},
    ]  # fmt: skip
    statements = []
    for file in gate.files:
        passed, failed, unknown = (
            [rule.rule for rule in file.rules if rule.answer == answer]
            for answer in ("PASS", "FAIL", "NOT EVALUABLE")
        )
        result = "FAILED" if file.answer != "PASS" else "WARNED" if unknown else "PASSED"
        tests = (passed, unknown, failed) if lenient else (passed, (), failed + unknown)
        if file.sha256:
            statements.append(statement(file.name, file.sha256, result, configuration, *tests))
    return statements
