"""``cleanclip verify`` at the command line: tables, the last line, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

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
    assert "fits schema" not in out  # it holds, and is counted
    assert out.splitlines()[-1].endswith(
        " hold, 0 fail, 6 not made (not signed, no checkpoint given, no images given), 2 "
        "recorded only"
    )
    assert run_command(["verify", str(bundle), "--all"]) == 0
    assert "fits schema" in capsys.readouterr().out


def test_json_and_the_code_of_a_claim_that_does_not_hold(bundle, tmp_path, capsys):
    changed = Path(copytree(bundle, tmp_path / "x.evidence"))
    record = changed / "evidence.json"
    record.write_text(record.read_text().replace('"p_mid": 0.', '"p_mid": 0.1', 1))
    for path, *more in ((seal(changed),), (bundle, "--strict")):  # which takes nothing on trust
        assert run_command(["verify", str(path), *more, "--json"]) == 1
        result = json.loads(capsys.readouterr().out)
        assert result["exit"] == 1
        states = {check["state"] for check in result["checks"]}
        assert states >= {"holds", "not checked"}
        assert ("fails" in states) is (not more)


def test_a_signature_is_asked_for_by_naming_a_key(bundle, tmp_path, capsys):
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


def test_the_record_of_a_bundle_in_each_format(bundle, tmp_path, capsys):
    packed, file = zipped(bundle, tmp_path / "x.zip"), tmp_path / "record"
    for form, part in (
        ("text", "Not tested"), ("json", '"schema_version": "1.1"'), ("sarif", '"2.1.0"'),
        ("html", "<!doctype html>"), ("cdx", '"CycloneDX"'), ("model-card", "model-index:"),
        ("intoto", "https://in-toto.io/attestation/test-result/v0.1"),
    ):  # fmt: skip
        assert run_command(["report", str(bundle), "--format", form]) == 0
        shown = capsys.readouterr().out
        assert part.lower() in shown.lower()
        assert run_command(["report", str(packed), "--format", form, "-o", str(file)]) == 0
        assert file.read_text() == shown
        file.unlink()


def test_what_is_none_or_not_there_is_one_sentence(bundle, tmp_path, capsys):
    damaged, packed = tmp_path / "x.zip", zipped(bundle, tmp_path / "y.zip")
    damaged.write_bytes(b"PK")
    for arguments, code, words in (
        (["report", bundle, "--format", "docx"], 3, "There is no format 'docx'"),
        (["report", damaged, "--format", "text"], 2, "x.zip"),
        (["report", packed, "--format", "html", "-o", packed], 3, ""),
        (["verify", damaged], 2, "no bundle that can be read"),
        (["verify", bundle, "--checkpoint", "nothing"], 3, "nothing"),
        (["verify", bundle, "--key", "nobody"], 3, "key"),
    ):
        assert run_command([str(argument) for argument in arguments]) == code
        assert words in capsys.readouterr().err
