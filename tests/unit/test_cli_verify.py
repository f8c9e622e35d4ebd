"""``cleanclip verify`` at the command line: tables, the last line, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ml_core.cli.app import run_command
from tests.bundles import seal, write_bundle, zipped


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("made") / "x.evidence")


def test_a_bundle_alone(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["verify", str(zipped(bundle, tmp_path / "x.evidence.zip"))]) == 0
    out = capsys.readouterr().out
    for level in ("0 intact", "1 arithmetic", "2 identity", "3 inference"):
        assert level in out
    assert out.splitlines()[-1].endswith(
        " hold, 0 do not, 6 not checked (not signed, no checkpoint given, no images given), 2 "
        "recorded only"
    )


def test_json_and_the_code_of_a_claim_that_does_not_hold(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from shutil import copytree

    changed = Path(copytree(bundle, tmp_path / "x.evidence"))
    record = changed / "evidence.json"
    record.write_text(record.read_text().replace('"p_mid": 0.', '"p_mid": 0.1', 1))
    assert run_command(["verify", str(changed), "--json"]) == 2  # not what was written
    capsys.readouterr()
    seal(changed)
    assert run_command(["verify", str(changed), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["exit"] == 1
    assert {one["state"] for one in found["checks"]} >= {"holds", "fails", "not checked"}


def test_strict_takes_nothing_on_trust(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["verify", str(bundle), "--strict", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["exit"] == 1
    assert "fails" not in {one["state"] for one in found["checks"]}


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--checkpoint", "nothing"], "nothing"), (["--key", "nobody"], "key")],
)
def test_what_is_given_must_be_there(
    bundle: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["verify", str(bundle), *options]) == 3
    assert words in capsys.readouterr().err


def test_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK")
    assert run_command(["verify", str(tmp_path / "x.zip")]) == 2
    assert "no bundle that can be read" in capsys.readouterr().err


def test_a_signature_is_asked_for_by_naming_a_key(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from shutil import copytree

    pytest.importorskip("cryptography")
    from ml_core.signing.curve import new_private_key
    from ml_core.signing.sign import sign_path

    ours, theirs = new_private_key("Ada"), new_private_key("Eve")
    for key in (ours, theirs):
        (tmp_path / f"{key.public.name}.pub").write_text(key.public.pem)
    signed = Path(copytree(bundle, tmp_path / "x.evidence"))
    assert run_command(["verify", str(signed), "--key", str(tmp_path / "Ada.pub")]) == 2
    assert "The bundle is not signed at all." in " ".join(capsys.readouterr().out.split())
    sign_path(signed, ours)
    assert run_command(["verify", str(signed), "--key", str(tmp_path / "Ada.pub")]) == 0
    assert run_command(["verify", str(signed), "--key", str(tmp_path / "Eve.pub")]) == 2
    (signed / "README.txt").write_text("other")
    seal(signed)
    assert run_command(["verify", str(signed), "--key", str(tmp_path / "Ada.pub")]) == 2


@pytest.mark.parametrize(
    ("form", "part"),
    [
        ("text", "Not tested"),
        ("json", '"schema_version": "1.1"'),
        ("sarif", '"2.1.0"'),
        ("html", "<!doctype html>"),
        ("cdx", '"CycloneDX"'),
        ("intoto", "https://in-toto.io/attestation/test-result/v0.1"),
        ("model-card", "model-index:"),
    ],
)
def test_the_record_of_a_bundle_in_a_format(
    form: str, part: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = zipped(bundle, tmp_path / "x.zip")
    assert run_command(["report", str(bundle), "--format", form]) == 0
    shown = capsys.readouterr().out
    assert part.lower() in shown.lower()
    file = tmp_path / "record"
    assert run_command(["report", str(packed), "--format", form, "-o", str(file)]) == 0
    assert file.read_text() == shown


def test_what_no_format_and_no_bundle_is(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["report", str(bundle), "--format", "docx"]) == 3
    assert "There is no format 'docx'" in capsys.readouterr().err
    other = tmp_path / "x.zip"
    other.write_bytes(b"PK")
    assert run_command(["report", str(other), "--format", "text"]) == 2
    assert "x.zip" in capsys.readouterr().err
    packed = zipped(bundle, tmp_path / "y.zip")
    assert run_command(["report", str(packed), "--format", "html", "-o", str(packed)]) == 3
