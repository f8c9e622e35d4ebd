"""`cleanclip gate`: the rules of a policy, what they are answered by, and what is not believed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ml_core.checkpoints import open_checkpoint
from ml_core.cli.app import run_command
from ml_core.detection.scan.records import Stages, Verdict
from ml_core.jobs.examination import EXAMINATION_FILE, EXAMINATIONS, Examination, ExamineSpec
from ml_core.jobs.examination.kept import inputs_of
from ml_core.jobs.gate import Gate, bundle_source
from ml_core.jobs.journal import write_json
from ml_core.jobs.scan import ScanSettings
from ml_core.paths import data_dir, resource
from ml_core.reading import InputError, examine
from ml_core.reports.policy import read_policy
from tests.bundles import bundle_of_kept, write_bundle
from tests.gui.scans import scan, stages, write_scan
from tests.unit.official_schemas import check_intoto, check_sarif

TWIN = resource("demo", "clean_twin.safetensors")
LOADS = '[file]\nallow = ["loads"]\n'
SCAN = '[scan]\nat_most = "nothing found"\n'
EVIL = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."
WHOLE = stages(0.09).model_copy(
    update={name: getattr(stages(), name) for name in ("overlays", "words", "swap")}
)  # fmt: skip


def sha_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def policy(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def examination(
    folder: Path, model: Path, verdict: Verdict = "nothing", of: str = "", searched: Stages = WHOLE
) -> Path:
    """The folder of an examination of a file, or of another one."""
    sha256 = of or sha_of(model)
    spec = ExamineSpec(checkpoint=str(model))
    record = Examination(
        spec=spec, name=model.name, sha256=sha256, steps=(), verdict=verdict, headline="",
        looked_at=(), not_looked_at=(), advice="none", advice_sentence="", settings=ScanSettings(),
        inputs=inputs_of(spec, examine(model)), seconds=1.0,
    )  # fmt: skip
    write_scan(folder / "scan", scan(verdict, sha256=sha256, stages=searched))
    write_json(record.model_dump(mode="json"), folder / EXAMINATION_FILE)
    return folder


def run(capsys: Any, *arguments: object) -> tuple[int, dict[str, Any]]:
    """The exit code, and the rules of the first file by name."""
    capsys.readouterr()
    status = run_command(["gate", *map(os.fspath, map(str, arguments)), "--json"])
    answer = json.loads(capsys.readouterr().out)
    if "files" not in answer:
        return status, answer
    assert answer["schema_version"] == 1
    return status, {rule["rule"]: rule for rule in answer["files"][0]["rules"]}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(TWIN, tmp_path / "model.safetensors"))


def test_a_file_passes_or_fails_by_what_it_is(model, tmp_path, capsys):
    rules = policy(tmp_path, f'{LOADS}formats = ["SafeTensors"]\nlicence = true\n')
    status, answers = run(capsys, model, "--policy", rules)
    assert (status, answers["file.licence"]["answer"]) == (1, "FAIL")
    shutil.copy(model, tmp_path / "license.safetensors")
    (tmp_path / "licensed-models.txt").write_text("MIT")
    (tmp_path / "COPYING").touch()
    assert run(capsys, model, "--policy", rules)[0] == 1  # none of them is a licence
    (tmp_path / "LICENSE.txt").write_text("MIT")
    status, answers = run(capsys, model, "--policy", rules)
    assert status == 0
    assert answers["file.sha256"]["figure"] == sha_of(model)
    model.write_bytes(EVIL)
    status, answers = run(capsys, model, "--policy", rules)
    assert (status, answers["file.allow"]["figure"]) == (1, "dangerous")


def test_an_archive_is_as_bad_as_the_worst_checkpoint_in_it(model, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        archive.write(model, "good.safetensors")
        archive.writestr("evil.pkl", EVIL)
    status, answers = run(capsys, tmp_path / "both.zip", "--policy", policy(tmp_path, LOADS))
    assert (status, answers["file.allow"]["figure"]) == (1, "dangerous")
    assert "evil.pkl" in answers["file.allow"]["why"]


def test_what_lies_beside_a_folders_checkpoint_is_gated_too(tiny_checkpoint, tmp_path, capsys):
    folder = tmp_path / "folder"
    assert run_command(["convert", str(tiny_checkpoint), str(folder)]) == 0
    rules = policy(tmp_path, '[file]\nallow = ["loads", "caution"]\n')
    assert run_command(["gate", str(folder), "--policy", str(rules)]) == 0
    (folder / "evil.pt").write_bytes(EVIL)
    capsys.readouterr()
    assert run_command(["gate", str(folder), "--policy", str(rules), "--json"]) == 1
    files = json.loads(capsys.readouterr().out)["files"]
    assert [(file["name"], file["answer"]) for file in files] == [
        ("folder", "PASS"), ("evil.pt", "FAIL"),
    ]  # fmt: skip


def test_a_gate_over_nothing_does_not_pass(tmp_path, capsys, monkeypatch):
    rules = policy(tmp_path, f'[policy]\nnot_evaluable = "pass"\n{LOADS}')
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link.pt").symlink_to(TWIN)
    (tmp_path / "folder" / "notes.txt").write_text("nothing")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO())))
    for path in (tmp_path / "folder", "-"):
        assert run_command(["gate", str(path), "--policy", str(rules)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("There is no checkpoint. ")
    assert "1 without the name or the first bytes of a checkpoint; 1 not followed" in told[0]
    assert told[1] == "There is no checkpoint."


def test_a_name_where_nothing_lies_fails_beside_the_others(tmp_path, capsys, monkeypatch):
    rules = policy(tmp_path, LOADS)

    def fail(*_: object) -> None:
        raise InputError("The repository nobody/nothing cannot be fetched.")

    monkeypatch.setattr("ml_core.checkpoints.hub.fetch", fail)
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(TWIN, tmp_path / folder / "m.safetensors")
    (tmp_path / "evil.pt").write_bytes(EVIL)
    paths = ["a/m.safetensors", "b/m.safetensors", "evil.pt", "nothere", "hf-hub:nobody/nothing"]
    assert run_command(["gate", *paths, "--policy", str(rules), "--sarif", "-o", "log"]) == 1
    printed = capsys.readouterr().err.splitlines()
    fault = (
        "FAIL  hf-hub:nobody/nothing  file.sha256: The repository nobody/nothing cannot be fetched."
    )
    assert any(line.startswith(fault) for line in printed)
    assert {"PASS  a/m.safetensors", "PASS  b/m.safetensors", "FAIL  evil.pt"} <= set(printed)
    (found,) = json.loads((tmp_path / "log").read_text())["runs"]
    places = [artifact["location"]["uri"] for artifact in found["artifacts"]]
    assert places[:4] == paths[:4]
    failed = {each["ruleId"] for each in found["results"] if "nothere" in each["message"]["text"]}
    assert failed == {"file.sha256", "file.allow"}


def test_a_signature_and_a_parent_are_demanded(model, tmp_path, capsys):
    rules = policy(tmp_path, f'[signature]\nby = ["a.pub"]\n[identity]\nparent = "{"0" * 64}"\n')
    status, answers = run(capsys, model, "--policy", rules)
    assert (status, answers["signature.by"]["answer"]) == (2, "NOT EVALUABLE")
    assert str(tmp_path / "a.pub") in answers["signature.by"]["why"]
    assert "cleanclip known add" in answers["identity.parent"]["why"]
    assert run_command(["key", "new", "--name", "A"]) == run_command(["sign", str(model)]) == 0
    capsys.readouterr()
    run_command(["key", "export"])
    (tmp_path / "a.pub").write_text(capsys.readouterr().out)
    rules = policy(tmp_path, rules.read_text().replace("0" * 64, sha_of(model)))
    assert run(capsys, model, "--policy", rules)[0] == 0
    poisoned = resource("demo", "poisoned.safetensors")
    run_command(["known", "add", str(model)])
    status, answers = run(capsys, poisoned, "--policy", rules)
    assert (status, answers["signature.by"]["figure"]) == (1, "none")
    assert answers["identity.parent"]["answer"] == "PASS"  # finetuned from it, by 8 %


def test_figures_decide_with_their_whole_interval(model, tmp_path, capsys):
    rules = policy(tmp_path, """
[trigger.checker-9-red]
asr_at_most = 0.5
[trigger.checker-5-red]
asr_at_most = 0.02
[trigger.T1]
asr_at_most = 0.02
[accuracy]
at_least = 0.9
images = "Demo, test split"
lost_at_most = 0.0
[rebound]
at_most = 0.05
""")  # fmt: skip
    seen = examination(tmp_path / "seen", model)
    status, answers = run(capsys, model, "--policy", rules, "--examination", seen)
    assert status == 2
    states = {name: answer["answer"] for name, answer in answers.items()}
    assert states == {
        "file.sha256": "PASS", "trigger.checker-9-red.asr_at_most": "PASS",
        "trigger.checker-5-red.asr_at_most": "NOT EVALUABLE",  # 1 of 63 may be 8 %
        "trigger.T1.asr_at_most": "NOT EVALUABLE",  # it was not tried
        "accuracy.at_least": "PASS", "accuracy.lost_at_most": "NOT EVALUABLE",
        "rebound.at_most": "NOT EVALUABLE",
    }  # fmt: skip
    assert answers["accuracy.at_least"]["place"] == str(seen)
    text = rules.read_text().replace("Demo, test", "Other").replace("at_least = 0.9", "at_least=1")
    rules = policy(tmp_path, f'[policy]\nnot_evaluable = "pass"\n{text}')
    status, answers = run(capsys, model, "--policy", rules, "--examination", seen)
    assert (status, answers["accuracy.at_least"]["answer"]) == (0, "NOT EVALUABLE")


@pytest.mark.parametrize(
    ("verdict", "at_most", "expected"),
    [("nothing", "nothing found", 0), ("suspicious", "nothing found", 1),
     ("found", "suspicious", 1), ("suspicious", "suspicious", 0), ("unknown", "suspicious", 2)],
)  # fmt: skip
def test_the_verdict_of_the_kept_examination_decides(
    model, tmp_path, capsys, verdict, at_most, expected
):
    rules = policy(tmp_path, f'[scan]\nat_most = "{at_most}"\n')
    assert run(capsys, model, "--policy", rules)[0] == 2
    examination(data_dir() / EXAMINATIONS / "1", model, verdict)
    status, answers = run(capsys, model, "--policy", rules)
    assert (status, answers["scan.at_most"]["source"]) == (expected, "examination")


def test_an_examination_that_cannot_say_is_no_pass(model, tmp_path, capsys):
    kept = examination(data_dir() / EXAMINATIONS / "1", model, "unknown")
    shutil.rmtree(kept / "scan")
    status, answers = run(capsys, model, "--policy", policy(tmp_path, SCAN))
    answer = answers["scan.at_most"]
    assert (status, answer["figure"], answer["source"]) == (2, "Cannot say", "examination")


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"inputs": "of another version"}, "have changed; examine"),
        ({"verdict": "found"}, "gives another verdict than its scan"),
        ("{", "examine the file again"),
    ],
)
def test_a_kept_examination_that_is_not_believed_says_why(model, tmp_path, capsys, fault, why):
    kept = examination(data_dir() / EXAMINATIONS / "1", model)
    record = json.loads((kept / EXAMINATION_FILE).read_text())
    text = fault if isinstance(fault, str) else json.dumps(record | fault)
    (kept / EXAMINATION_FILE).write_text(text)
    rules = policy(tmp_path, SCAN)
    status, answers = run(capsys, model, "--policy", rules)
    assert (status, why in answers["scan.at_most"]["why"]) == (2, True)
    examination(data_dir() / EXAMINATIONS / "2", model)
    assert run(capsys, model, "--policy", rules)[0] == 0


@pytest.mark.parametrize("fault", ["cut", "another verdict", "no scan", "no scan.json"])
def test_a_given_source_with_a_fault_is_not_passed_over(model, tmp_path, capsys, fault):
    rules = policy(tmp_path, SCAN)
    examination(data_dir() / EXAMINATIONS / "1", model)
    assert run(capsys, model, "--policy", rules)[0] == 0
    given = examination(tmp_path / "given", model)
    if fault == "cut":
        (given / EXAMINATION_FILE).write_text("{")
    elif fault == "another verdict":
        write_scan(given / "scan", scan("found", sha256=sha_of(model), stages=WHOLE))
    elif fault == "no scan":
        shutil.rmtree(given / "scan")
    else:
        (given / "scan" / "scan.json").write_text("[]")
    status, answers = run(capsys, model, "--policy", rules, "--examination", given)
    assert (status, answers["scan.at_most"]["place"]) == (2, str(given))
    for option in ("--examination", "--evidence"):
        status, answer = run(capsys, model, "--policy", rules, option, tmp_path / "typo")
        assert (status, "typo" in answer["error"]) == (3, True)


def test_a_weak_search_is_no_pass_unless_the_policy_asks_for_no_more(model, tmp_path, capsys):
    patches = WHOLE.patches
    assert patches is not None
    few = [each.model_copy(update={"starts": each.starts[:2]}) for each in patches.rounds]
    weak = {"patches": patches.model_copy(update={"rounds": tuple(few)})}
    for number, (searched, words) in enumerate(
        [(Stages(**weak), "probes"), (WHOLE.model_copy(update=weak), "2 starts"),
         (WHOLE.model_copy(update={"overlays": None}), "overlays")]
    ):  # fmt: skip
        seen = examination(tmp_path / str(number), model, searched=searched)
        line = [model, "--examination", seen, "--policy"]
        status, answers = run(capsys, *line, policy(tmp_path, SCAN))
        assert (status, words in answers["scan.at_most"]["why"]) == (2, True)
        less = policy(tmp_path, f'{SCAN}stages = ["patches"]\nstarts = 2\n')
        assert run(capsys, *line, less)[0] == 0
    worse = examination(tmp_path / "worse", model, "found", searched=Stages(**weak))
    assert run(capsys, model, "--examination", worse, "--policy", policy(tmp_path, SCAN))[0] == 1


def test_figures_of_a_folder_are_of_its_config_too(tiny_checkpoint, tmp_path, capsys, monkeypatch):
    folder, rules = tmp_path / "folder", policy(tmp_path, SCAN)
    assert run_command(["convert", str(tiny_checkpoint), str(folder)]) == 0
    found, built = examine(folder), open_checkpoint(folder).build()
    seen = examination(tmp_path / "seen", tiny_checkpoint, of=found.sha256)
    record = json.loads((seen / EXAMINATION_FILE).read_text())
    # Another machine and version made it: what decides is in the weights and beside them.
    changes = {"identity": built.identity, "inputs": "of another machine"}
    write_json(record | changes, seen / EXAMINATION_FILE)
    line = [folder, "--policy", rules, "--examination", seen]
    assert run(capsys, *line)[0] == 0
    kept = tmp_path / "kept"
    assert run_command(["evaluate", str(folder), "--n", "24", "--keep", str(kept)]) == 0
    about = bundle_source(bundle_of_kept(tmp_path / "x.evidence", kept))
    assert about.of(found).facts == about.facts != {}
    config = folder / "open_clip_config.json"
    config.write_text(config.read_text().replace("0.48145466", "0.5"))
    status, answers = run(capsys, *line)
    assert (status, "another config" in answers["scan.at_most"]["why"]) == (2, True)
    assert not about.of(examine(folder)).facts


def test_what_is_about_another_file_is_not_believed(model, tmp_path, capsys):
    rules = policy(tmp_path, SCAN)
    other = examination(tmp_path / "other", model, of="c" * 64)
    status, answers = run(capsys, model, "--policy", rules, "--examination", other)
    assert status == 2
    assert "about a file with another SHA-256" in answers["scan.at_most"]["why"]
    mixed = examination(tmp_path / "mixed", model)
    write_scan(mixed / "scan", scan("nothing", sha256="c" * 64))
    status, answers = run(capsys, model, "--policy", rules, "--examination", mixed)
    assert (status, "another file" in answers["scan.at_most"]["why"]) == (2, True)


def test_a_bundle_counts_where_it_verifies(tmp_path, capsys):
    bundle = write_bundle(tmp_path / "case.evidence")
    cleaned = tmp_path / "cleaned.pt"
    cleaned.write_bytes(b"cleaned")  # of which the bundle has the SHA-256
    rules = policy(
        tmp_path, '[trigger."*"]\nasr_at_most = 0.2\n[accuracy]\nat_least = 0.8\n' + SCAN
    )
    status, answers = run(capsys, cleaned, "--policy", rules, "--evidence", bundle)
    assert status == 2  # the bundle has no scan of it
    states = {name: rule["answer"] for name, rule in answers.items() if rule["source"] == "bundle"}
    assert states == {"trigger.*.asr_at_most": "PASS", "accuracy.at_least": "PASS"}
    suspect = tmp_path / "suspect.pt"
    suspect.write_bytes(b"suspect")
    status, answers = run(capsys, suspect, "--policy", rules, "--evidence", bundle)
    assert (status, answers["trigger.*.asr_at_most"]["answer"]) == (1, "FAIL")
    assert answers["scan.at_most"]["answer"] == "NOT EVALUABLE"  # its scan is of another SHA-256
    rows = bundle / "measurements" / "job-1-after" / "per_image.csv"
    rows.write_bytes(rows.read_bytes().replace(b"0", b"1", 1))
    status, answers = run(capsys, cleaned, "--policy", rules, "--evidence", bundle)
    assert status == 2
    assert "does not verify" in answers["accuracy.at_least"]["why"]


def test_it_is_measured_where_nothing_is_known(model, tmp_path, capsys, monkeypatch):
    asked = []

    def examined(spec: ExamineSpec, **_: Any) -> dict[str, str]:
        asked.append(spec.minutes)
        return {"folder": str(examination(tmp_path / "fresh", model))}

    monkeypatch.setattr("ml_core.cli.gate.run_spec", examined)
    rules = policy(tmp_path, SCAN + "[accuracy]\nat_least = 0.9\n")
    line = [model, "--policy", rules, "--measure", "--minutes", "2"]
    status, answers = run(capsys, *line)
    assert (status, answers["scan.at_most"]["source"], asked) == (0, "measurement", [2.0])
    run(capsys, *line, "--examination", tmp_path / "fresh")
    assert len(asked) == 1
    examination(data_dir() / EXAMINATIONS / "1", model)
    assert run(capsys, *line)[1]["scan.at_most"]["source"] == "examination"
    run(capsys, *line, "--labels", "cifar-10")  # the kept one is of other classes, or may be
    examination(data_dir() / EXAMINATIONS / "1", model, "unknown")
    run(capsys, *line)
    assert len(asked) == 3
    model.write_bytes(EVIL)
    status, answers = run(capsys, *line)
    assert (status, "is refused" in answers["scan.at_most"]["why"]) == (2, True)


def test_a_file_that_changes_meanwhile_fails_even_where_what_is_unknown_passes(model, tmp_path):
    rules = read_policy(policy(tmp_path, f'[policy]\nnot_evaluable = "pass"\n{SCAN}'))

    def spoil() -> Path:
        folder = examination(tmp_path / "fresh", model)
        model.write_bytes(b"another file")
        return folder

    answer = Gate(rules, examine(model), measure=spoil).answer()
    assert (answer.answer, answer.rules[0].rule) == ("FAIL", "file.sha256")

    def fail() -> Path:
        raise InputError("There is too little memory; close other programs.")

    answer = Gate(rules, examine(TWIN), measure=fail).answer()
    assert answer.answer == "PASS"
    assert answer.rules[1].why == "There is too little memory; close other programs."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[scan]\nat_mots = "suspicious"', "no key 'scan.at_mots'; the nearest is 'at_most'"),
        ("[trigger.T1]\nasr = 1", "no key 'trigger.T1.asr'; there are asr_at_most"),
        ("[acuracy]\nat_least = 1", "no key 'acuracy'; the nearest is 'accuracy'"),
        ("[accuracy]\nat_least = nan", "accuracy.at_least should be a finite number"),
        ('[accuracy]\nat_least = "0.5"', "accuracy.at_least should be a valid number"),
        ("[rebound]\nat_most = 5", "rebound.at_most should be less than or equal to 1"),
        ("scan = 1", "'scan' is a section"),
        ('[accuracy]\nimages = "photos"', "images are those of at_least"),
        ("[policy]\nname = 'x'", "holds no rule"),
        ("a = " + "[" * 9000, "is no TOML"),
        ("[file", "is no TOML"),
        ("#" * 70_000, "too large for a policy"),
    ],
)
def test_a_policy_that_cannot_be_used_is_a_sentence(text, words, tmp_path, capsys):
    status, answer = run(capsys, TWIN, "--policy", policy(tmp_path, text))
    assert status == 3
    assert words in answer["error"]
    assert answer["error"].count("\n") == 0


def test_other_tools_read_the_answers(model, tmp_path, capsys):
    named = model.rename(tmp_path / os.fsdecode(b"bad\xff.safetensors"))
    rules = policy(tmp_path, f"{LOADS}licence = true\n{SCAN}")
    line = ["gate", str(named), str(TWIN), "--policy", str(rules)]
    assert run_command([*line, "--sarif", "-o", str(tmp_path / "log")]) == 1
    log = json.loads((tmp_path / "log").read_text())
    check_sarif(log)
    results = [(each["ruleId"], each["level"]) for each in log["runs"][0]["results"]]
    assert results == [("file.licence", "error"), ("scan.at_most", "warning")] * 2
    capsys.readouterr()
    assert run_command([*line, "--format", "intoto"]) == 1
    statements = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    for statement in statements:
        predicate = check_intoto(json.dumps(statement).encode()).predicate
        assert (predicate.result, predicate.passedTests) == (
            "FAILED",
            ["file.sha256", "file.allow"],
        )
        assert predicate.failedTests == ["file.licence", "scan.at_most"]
    assert run_command([*line, "--sarif", "--format", "text"]) == 3
