"""What lies where JSON or a list is expected: one sentence, soon, and little memory.

`python -m tests.hostile.fuzz_json` changes documents for as long as one likes.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from cleanclip_gui.clean.history import list_runs, read_run, run_metrics
from cleanclip_gui.jobs.run_names import read_name, write_name
from ml_core.data.specs import PairSpec
from ml_core.events import Control, Done, Message, from_json, to_json
from ml_core.jobs.journal import journaled, read_json, write_json
from ml_core.jobs.runner import run_job
from ml_core.jobs.specs import EVENTS_FILE, LOCK_FILE, RESULT_FILE, SPEC_FILE, STATE_FILE, read_spec
from ml_core.reading.errors import InputError
from ml_core.reading.strict_json import JsonError, parse_object
from tests.hostile.door_giants import MEGABYTES
from tests.hostile.doors import RUN, Door, check_sentence, doors
from tests.hostile.fuzz_json import fuzz

NAMES = tuple(doors())
PASSED = ("result", "config", "rebound", "holdouts")
"""Doors that return what they have against a document, or nothing, instead of a sentence."""
ON_DISK = tuple(name for name, door in doors().items() if not door.inner)
SEEN = (
    "recipe", "events", "result", "state", "audit", "exclusions", "index", "coco", "signature",
    "classes", "list",
)  # fmt: skip
"""Doors that giants are shown to here; the others read as the first one does."""
IN_A_FOLDER = (
    "job", "exported job", "result", "state", "rebound", "holdouts", "audit", "scan",
    "plant",
    "search", "signature",
)  # fmt: skip
"""What lies in a folder that somebody else may have filled, and the user chose as a whole."""

WHOLE = tuple(name for name in NAMES if doors()[name].file.startswith("x.evidence/"))
"""Doors behind which a whole bundle is verified, which takes a hundred times as long."""
CHANGES = [
    *((name, 6 if name in WHOLE else 60) for name in NAMES),
    *(pytest.param(name, 60, marks=pytest.mark.slow) for name in WHOLE),
]

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


def answers(name: str, folder: Path) -> str:
    """The sentence that a door gives, which must be one; empty where damage is passed over."""
    door = doors()[name]
    try:
        door.read(folder)
    except InputError as error:
        check_sentence(error)
        return error.sentence
    gone = name in ("known", "choices") and not (folder / door.file).exists()
    assert door.quiet or gone or name in PASSED, name
    return ""


def empty(name: str, folder: Path) -> Path:
    """The place of a door's document, with what lies beside it."""
    door = doors()[name]
    door.before(folder)
    path = folder / door.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_valid_document_is_taken(name: str, tmp_path: Path) -> None:
    door = doors()[name]
    for document in door.documents:
        empty(name, tmp_path)
        door.lay(tmp_path, document)
        if name in ("exported job", "result"):  # they name files that are not there
            with pytest.raises(InputError, match=r"no checkpoint at|checkpoint is gone"):
                door.read(tmp_path)
        else:
            door.read(tmp_path)


RAWS = (
    b"", b"\0" * 100, b"\xff\xfe{\0}\0", b"{" * 100_000, b'{"a": ' + b"[" * 100_000,
    b'{"a": 1e999}', b'{"a": NaN, "version": -Infinity}', b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": "\\ud800"}', b'{"a": 1, "a": 2}', b"[]", b"null", b'"text"',
    b'{"event": "metric"}\n' * 3,
)  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ON_DISK)
def test_what_is_no_file_or_has_another_content_is_a_sentence(name, tmp_path):
    """The folder has a line end in its name."""
    folder = tmp_path / "a\nb\u202ec"
    folder.mkdir()
    path = empty(name, folder)
    for raw in RAWS if name != "list" else ():  # any text is a list
        path.write_bytes(doors()[name].wrap(raw))
        answers(name, folder)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    answers(name, folder)
    for to in ("/dev/zero", "/dev/tty", "/proc/self/mem", path.name, "nothing"):
        path.unlink()
        path.symlink_to(to)
        answers(name, folder)
    path.unlink()
    path.mkdir()
    answers(name, folder)


@pytest.mark.parametrize("name", IN_A_FOLDER)
def test_a_link_out_of_a_folder_is_not_followed(name: str, tmp_path: Path) -> None:
    door, folder = doors()[name], tmp_path / "folder"
    path = empty(name, folder)
    door.lay(folder, door.documents[0])
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    if name in ("rebound", "holdouts"):
        assert door.read(folder) is None
    elif name == "result":
        door.read(folder)
        assert not read_run(folder / RUN).result
    else:
        with pytest.raises(InputError, match=r"a link to a file outside|is damaged"):
            door.read(folder)
    path.unlink()
    path.with_name("own").write_bytes((tmp_path / "elsewhere").read_bytes())
    path.symlink_to("own")  # but one that stays inside is
    if name in ("rebound", "holdouts"):
        assert door.read(folder)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "seen", [("recipe", "events", "list"), pytest.param(SEEN, marks=pytest.mark.slow)]
)
def test_giants_are_answered_in_little_memory(seen, tmp_path, warm_torch):
    """Sparse terabytes, a million keys, nests and packs: each in a process that may not grow."""
    with warm_torch.start(
        "tests.hostile.door_giants", str(tmp_path), *seen, stdin=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdout is not None
        rows = [json.loads(line) for line in child.stdout.read().splitlines()]
        assert child.wait(600) == 0
    assert {row["door"] for row in rows} == set(seen)
    taken = {("list", "excluded pairs"), ("list", "many events")}  # short lists, after all
    odd = [
        row
        for row in rows
        if row["outcome"] != "answer"
        and row["door"] not in PASSED
        and (row["door"], row["giant"]) not in taken
    ]
    assert odd == []
    assert [row for row in rows if row["megabytes"] > MEGABYTES] == []


@pytest.mark.parametrize(("name", "cases"), CHANGES)
def test_changed_documents(name: str, cases: int, tmp_path: Path) -> None:
    counts, crashes = fuzz(doors()[name], tmp_path, random.Random(7), cases=cases)
    assert list(crashes) == []
    assert counts["cases"] == cases


# run folders


def run_folder(parent: Path, name: str) -> Path:
    """A run that was not started."""
    door: Door = doors()["result"]
    door.before(parent)
    return (parent / RUN).rename(parent / name)


def test_one_bad_run_does_not_hide_the_others(tmp_path: Path) -> None:
    names = ["good"] + [f"bad{number}" for number in range(6)]
    folders = {name: run_folder(tmp_path, name) for name in names}
    (folders["bad0"] / SPEC_FILE).write_bytes(b"[" * 100_000)
    (folders["bad1"] / SPEC_FILE).unlink()
    os.mkfifo(folders["bad1"] / SPEC_FILE)
    (folders["bad2"] / SPEC_FILE).write_text('{"checkpoint": "a\\u0000b"}')
    (folders["bad3"] / SPEC_FILE).unlink()
    (folders["bad3"] / SPEC_FILE).symlink_to(folders["good"] / SPEC_FILE)
    with (folders["bad4"] / SPEC_FILE).open("wb") as file:
        file.truncate(1 << 40)
    (folders["bad5"] / RESULT_FILE).write_text('{"before": [], "checkpoint": 5}')
    runs = {run.folder.name: run for run in list_runs(tmp_path)}
    assert runs.keys() == {"good", "bad5"}
    assert "is damaged" in runs["bad5"].error


def test_nothing_is_written_through_a_link_of_a_run(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "run-1")
    profile = tmp_path / "profile"
    profile.write_text("export A=1\n")
    for name in (EVENTS_FILE, "note.txt", RESULT_FILE, LOCK_FILE):
        (folder / name).symlink_to(profile)
    assert read_name(folder) == ""
    assert run_metrics(folder) == ()
    assert read_run(folder).status != "running"

    def events():  # type: ignore[no-untyped-def]
        yield Message("rm -rf ~")

    with pytest.raises(OSError, match="link to a file outside"):
        list(journaled(events(), folder / EVENTS_FILE, append=True))
    write_name(folder, "new")
    write_json({"a": 1}, folder / RESULT_FILE)
    assert profile.read_text() == "export A=1\n"
    assert read_name(folder) == "new"
    assert read_json(folder / RESULT_FILE) == {"a": 1}


@pytest.mark.parametrize("name", ["steps", "state"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_run_deletes_nothing_through_a_link(tmp_path: Path, name: str, resume: bool) -> None:
    folder = run_folder(tmp_path, "run-1")
    spec = read_spec(folder / SPEC_FILE)
    (folder / "poisoned.safetensors").touch()
    other = tmp_path / "other"
    other.mkdir()
    (other / "step-000001.safetensors").write_bytes(b"mine")
    (folder / name).symlink_to(other)
    *_, done = run_job(
        spec.model_copy(update={"output_dir": str(folder)}), Control(), resume=resume
    )
    assert isinstance(done, Done)
    assert f"{name} in the folder run-1 is a link to another folder" in done.error
    assert [path.name for path in other.iterdir()] == ["step-000001.safetensors"]


def test_a_journal_of_one_line_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "run-1")
    good = to_json(Message("hello")) + "\n" + '{"event": "metric", "step": 1, "total_steps": 2, '
    with (folder / EVENTS_FILE).open("w") as file:
        file.write(good + '"values": {"ca": 0.5}}\n')
        file.truncate(1 << 40)
    assert [metric.step for metric in run_metrics(folder)] == [1]


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "metric", "step": "1", "total_steps": 2, "values": {}}',
        '{"event": "metric", "step": true, "total_steps": 2, "values": {}}',
        '{"event": "metric", "step": 1, "total_steps": 2, "values": {"ca": []}}',
        '{"event": "metric", "step": 1, "total_steps": 2, "values": {"ca": 1e999}}',
        '{"event": "metric", "step": %s, "total_steps": 2, "values": {}}' % ("9" * 99),
        '{"event": "metric", "step": 1, "total_steps": 2, "values": {"ca": %s}}' % ("9" * 400),
        '{"event": "saved", "path": 5, "what": "step"}',
        '{"event": "done", "status": "unheard of"}', '{"event": ["done"], "status": "finished"}',
        '{"event": "done", "status": "finished", "run": "rm"}',
        '{"event": "message", "text": %s}' % ("[" * 100_000),
    ],
)  # fmt: skip
def test_a_line_of_other_types_is_no_event(line: str) -> None:
    with pytest.raises(ValueError, match="Not a job event"):
        from_json(line)


def test_a_long_key_before_a_number_that_is_too_large_is_quick() -> None:
    """The name of the number was once copied for each of its neighbours."""
    inside = b",".join(b'"%d":0' % number for number in range(50_000))
    raw = b'{"' + b"k" * 4_000_000 + b'":{' + inside + b',"z":1e999}}'
    with pytest.raises(JsonError, match="too large"):
        parse_object(raw)


def test_paths_that_the_system_does_not_take_are_refused() -> None:
    for path in ("a\0b", "x" * 300, "a/" * 3000):
        with pytest.raises(ValueError, match=r"NUL|too long"):
            PairSpec(kind="csv", path=path)


def test_a_state_of_other_types_is_damaged(tmp_path: Path) -> None:
    from ml_core.cleaning.state import read_facts

    door = doors()["state"]
    for change in (
        {"step": -1}, {"step": "3"}, {"step": True}, {"seconds": None}, {"rate_factor": 0},
        {"speed": 5}, {"threads": 10**9}, {"start_ca": [1]},
    ):  # fmt: skip
        facts = json.loads(door.documents[0]) | change
        door.lay(tmp_path, json.dumps(facts).encode())
        with pytest.raises(InputError, match="is damaged"):
            read_facts(tmp_path / RUN / STATE_FILE)
