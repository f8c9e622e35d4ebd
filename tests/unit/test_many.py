"""Many paths at once: which are read, what is said of each, in which order, with what exit code."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ml_core.cli.app import run_command
from ml_core.reading import InputError
from ml_core.reading.errors import printable
from ml_core.reading.walk import Tally, walk
from ml_core.reports import many
from ml_core.reports.many import Ranking, Row, inspect_many
from tests.unit.official_schemas import check_sarif

EVIL = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."


@pytest.fixture
def mixed(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A folder with one of each."""
    folder = tmp_path / "mixed"
    (folder / "deep" / "repo").mkdir(parents=True)
    shutil.copy(tiny_checkpoint, folder / "good.safetensors")
    shutil.copy(tiny_checkpoint, folder / "copy.safetensors")
    shutil.copy(tiny_checkpoint, folder / "renamed.pt")
    os.link(folder / "good.safetensors", folder / "hard.safetensors")
    (folder / "deep" / "evil.pkl").write_bytes(EVIL)
    (folder / "deep" / "cut.safetensors").write_bytes(tiny_checkpoint.read_bytes()[:-1])
    (folder / "deep" / os.fsdecode(b"raw\xff")).write_bytes(EVIL)
    (folder / "README.md").write_text("# Models")
    (folder / "out.pt").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe.pt")
    repo = folder / "deep" / "repo"
    shutil.copy(tiny_checkpoint, repo / "open_clip_model.safetensors")
    (repo / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 4}}')
    (repo / "pytorch_model.bin").write_bytes(EVIL)
    return folder


def test_what_lies_in_a_folder_is_read_and_the_worst_comes_first(mixed: Path) -> None:
    tally, ranking = Tally(), Ranking()
    for row in inspect_many([mixed], tally=tally):
        ranking.add(row)
    rows = {row.path.relative_to(mixed).as_posix(): row for row in ranking.rows}
    verdicts = {name: row.verdict for name, row in rows.items()}
    assert list(verdicts)[:3] == ["deep/evil.pkl", os.fsdecode(b"deep/raw\xff"),
        "deep/repo/pytorch_model.bin"]  # fmt: skip
    assert verdicts["deep/cut.safetensors"] == "damaged"
    assert verdicts["renamed.pt"] == "caution"
    assert verdicts["good.safetensors"] == verdicts["hard.safetensors"] == "loads"
    same = {name for name, row in rows.items() if row.same_as}
    assert len(same & {"good.safetensors", "hard.safetensors", "copy.safetensors"}) == 2
    assert len(rows) == 9  # the folder of open_clip is one of them
    assert (tally.passed_over, tally.not_followed) == (1, 2)
    assert ranking.counts["dangerous"] == 3


def test_a_file_with_two_names_is_read_once(mixed, monkeypatch) -> None:
    read, examine = [], many.examine
    monkeypatch.setattr(many, "examine", lambda path, *how, **more: read.append(path)
        or examine(path, *how, **more))  # fmt: skip
    twice = [mixed / "good.safetensors", mixed / "hard.safetensors", mixed / "good.safetensors"]
    rows = list(inspect_many(twice))
    assert read == twice[:1]
    assert [row.same_as for row in rows] == [None, twice[0], twice[0]]
    assert {row.sha256 for row in rows} == {rows[0].sha256}


def test_nothing_that_goes_wrong_with_one_stops_the_others(mixed, monkeypatch) -> None:
    assess = many.assess

    def fails(inspection, **how):
        if inspection.name == "renamed.pt":
            raise RecursionError("deep")
        return assess(inspection, **how)

    monkeypatch.setattr(many, "assess", fails)
    paths = [mixed / "gone.pt", mixed / "renamed.pt", mixed / "good.safetensors"]
    rows = list(inspect_many(paths, jobs=1))
    assert [row.verdict for row in rows] == ["unknown", "unknown", "loads"]
    assert [row.failing("unknown") for row in rows] == [3, 4, 0]
    assert "gone.pt cannot be opened" in rows[0].reasons[0]


def test_a_large_file_is_hashed_if_asked_for(mixed, monkeypatch) -> None:
    monkeypatch.setattr(many, "HASHED", 10)
    quick, whole = (
        list(inspect_many([mixed / "good.safetensors", mixed / "deep" / "repo"], how))
        for how in (many.QUICK, many.Options(hashed=True))
    )
    assert [row.verdict for row in quick] == [row.verdict for row in whole]
    assert [bool(row.sha256) for row in quick[:2]] == [False, False]
    assert all(len(row.sha256) == 64 for row in whole)


def test_a_walk_begins_before_it_has_seen_everything(monkeypatch) -> None:
    """A million files, of which three are asked for."""
    made = []

    class Entries:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def __iter__(self):
            for number in range(1_000_000):
                made.append(number)
                yield SimpleNamespace(name=f"{number}.pt", path=f"/no/{number}.pt",
                    is_dir=lambda **_: False, is_file=lambda **_: True)  # fmt: skip

    monkeypatch.setattr("ml_core.reading.walk.os.scandir", lambda _: Entries())
    monkeypatch.setattr("ml_core.reading.walk.os.path.isdir", lambda _: True)
    monkeypatch.setattr("ml_core.reading.walk.files_read", lambda _: None)
    found = walk([Path("/no")], Tally())
    assert [next(found).name for _ in range(3)] == ["0.pt", "1.pt", "2.pt"]
    assert len(made) == 3


def test_a_table_holds_the_worst_of_any_number(monkeypatch) -> None:
    monkeypatch.setattr(many, "MOST_SHOWN", 2)
    ranking = Ranking()
    for number, verdict in enumerate(("loads", "dangerous", "loads", "damaged", "caution")):
        ranking.add(Row(Path(str(number)), verdict))
    assert [row.verdict for row in ranking.rows] == ["dangerous", "damaged"]
    assert ranking.counts.total() == 5


@pytest.mark.parametrize(
    ("names", "level", "status"),
    [
        (["good.safetensors", "copy.safetensors"], "unknown", 0),
        (["good.safetensors", "renamed.pt"], "unknown", 0),
        (["good.safetensors", "renamed.pt"], "caution", 1),
        (["renamed.pt"], "caution", 1),
        (["good.safetensors", "deep/cut.safetensors"], "unknown", 2),
        (["deep/cut.safetensors"], "dangerous", 0),
        (["good.safetensors", "gone.pt"], "unknown", 3),
        (["good.safetensors", "gone.pt"], "dangerous", 0),
        (["gone.pt", "deep/cut.safetensors", "deep/evil.pkl"], "dangerous", 1),
        (["deep/*.pkl", "good.safetensors"], "unknown", 1),
        (["good.safetensors", "no*thing"], "unknown", 3),
        (["good.safetensors"], "everything", 3),
    ],
)  # fmt: skip
def test_the_exit_code_is_that_of_the_worst(names, level, status, mixed) -> None:
    paths = [str(mixed / name) for name in names]
    assert run_command(["inspect", *paths, "--fail-on", level]) == status


def test_a_list_comes_on_standard_input(mixed, capsys, monkeypatch) -> None:
    names = [os.fsencode(mixed / name) for name in ("good.safetensors", "deep")]
    names.append(os.fsencode(mixed / "deep") + b"/raw\xff")
    records = []
    for separator, options in ((b"\n", []), (b"\0", ["-0"])):
        raw = io.BytesIO(separator.join(names))
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(raw)))
        assert run_command(["inspect", "-", "--json", *options]) == 1
        printed = capsys.readouterr()
        records.append([json.loads(line) for line in printed.out.splitlines()])
        assert "inspected: 4 refused: dangerous" in printed.err
    first, second = records
    assert first == second
    given = [printable(os.fsdecode(name)) for name in names]
    assert {record["path"] for record in first} >= {*given[::2]}
    assert first[0]["tensors"]  # the record of `inspect --json` of one path
    assert given[2] in [record.get("same_as") for record in first]


def test_a_name_that_is_no_utf8_is_written_out(mixed, capsys) -> None:
    name = mixed / "deep" / os.fsdecode(b"raw\xff")
    for paths in ([name], [name, mixed / "deep" / "evil.pkl"]):
        for form in ("--json", "--sarif"):
            assert run_command(["inspect", *map(str, paths), form]) == 1
            printed = capsys.readouterr().out
            lines = printed.splitlines() if form == "--json" and len(paths) > 1 else [printed]
            records = [json.loads(line) for line in lines]
            assert json.dumps(records, ensure_ascii=False).encode()
            assert form == "--sarif" or records[0]["path"].endswith(r"raw\udcff")


@pytest.mark.parametrize("command", ["inspect", "examine"])
def test_why_a_repository_cannot_be_fetched_is_in_its_row(command, monkeypatch, capsys) -> None:
    why = "The repository nobody/nothing does not exist or is private."

    def fail(*_: object) -> None:
        raise InputError(why)

    monkeypatch.setattr("ml_core.checkpoints.hub.fetch", fail)
    assert run_command([command, "hf-hub:nobody/nothing", "nothere", "--json"]) == 3
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0]["error"] == why
    assert rows[1]["error"].startswith("nothere cannot be opened: ") or command == "examine"


def test_a_list_of_dos_is_read_and_zero_bytes_need_their_option(mixed, capsys, monkeypatch) -> None:
    for text, code in ((b"%s\r\n\r\n", 0), (b"%s\0x\n", 3)):
        raw = io.BytesIO(text % os.fsencode(mixed / "good.safetensors"))
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(raw)))
        assert run_command(["inspect", "-", "--json"]) == code
    assert "zero bytes between: give -0" in capsys.readouterr().out


def test_one_log_holds_the_findings_of_all(mixed, capsys, monkeypatch) -> None:
    monkeypatch.chdir(mixed)
    assert run_command(["inspect", "deep", "gone.pt", "--sarif"]) == 1
    log = json.loads(capsys.readouterr().out)
    check_sarif(log)
    run = log["runs"][0]
    places = [artifact["location"]["uri"] for artifact in run["artifacts"]]
    assert {"deep/evil.pkl", "deep/repo/pytorch_model.bin", "gone.pt"} <= set(places)
    assert {result["level"] for result in run["results"]} == {"error", "note"}


def test_what_is_for_one_checkpoint_is_refused_of_several(mixed, capsys) -> None:
    for option in (["--parts"], ["--format", "html"], ["--part", "a"]):
        assert run_command(["inspect", str(mixed), *option]) == 3
    folder = ["inspect", str(mixed / "deep" / "repo")]
    assert run_command([*folder, "--fail-on", "dangerous", "--format", "cdx"]) == 1
    assert "Beside it lies pytorch_model.bin. Refused: dangerous: " in capsys.readouterr().err
    assert run_command(folder) == 1
