from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ml_core import cli, paths
from ml_core.cli import output
from ml_core.cli.app import COMMANDS, run_command
from ml_core.cli.arguments import target_index
from ml_core.cli.clean import rerun_spec, result_rows
from ml_core.data.demo import demo_classes
from ml_core.events import Done
from ml_core.jobs.specs import read_spec
from ml_core.reading.errors import InputError
from tests.gui.examinations import write_examination

SMALL = ("pairs=16", "batch_size=8", "eval_every=0", "save_every=0", "precision=fp32")


WIRES = Done("failed", error="The wires crossed.", error_code="internal", details="trace")


def _settings(*more: str) -> list[str]:
    return [part for setting in (*SMALL, *more) for part in ("--set", setting)]


@pytest.fixture
def templates(tmp_path: Path) -> str:
    path = tmp_path / "templates.txt"
    path.write_text("a {}\n", encoding="utf-8")
    return str(path)


# ---- exit codes: one each ----


def test_exit_1_for_a_file_that_names_code(tmp_path, answer_of):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": print}, protocol=2))
        archive.writestr("archive/version", "3")
    found = answer_of("inspect", path, code=1)
    assert found["verdict"] == "dangerous"
    assert "builtin" in found["reasons"][0]
    assert found["globals"]["unknown"] == ["__builtin__.print"]
    assert "print" in found["second_opinion"]
    assert answer_of("evaluate", path, code=1)["error_code"] == "dangerous"


def test_exit_2_for_a_file_that_lacks_a_tensor_or_is_damaged(tiny_checkpoint, tmp_path, answer_of):
    tensors = load_file(tiny_checkpoint)
    with safe_open(tiny_checkpoint, "pt") as file:
        metadata = file.metadata()
    del tensors["ln_final.bias"]
    save_file(tensors, tmp_path / "part.safetensors", metadata)
    found = answer_of("inspect", tmp_path / "part.safetensors", code=2)
    assert (found["verdict"], found["architecture"]["config"]["embed_dim"]) == ("damaged", 16)
    assert "1 missing" in found["reasons"][0]
    (tmp_path / "bytes.safetensors").write_bytes(b"\xff" * 64)
    assert answer_of("evaluate", tmp_path / "bytes.safetensors", code=2)["error"]


def test_a_home_that_cannot_be_written_stops_nothing_that_reads(
    tiny_checkpoint, tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "file" / "home"))
    assert run_command(["evaluate", str(tiny_checkpoint), "--json", "--n", "30"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)
    assert told.err.count("Nothing can be written in") == 1
    assert run_command(["known", "list"]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="XDG folders")
def test_an_empty_or_relative_xdg_folder_is_ignored(tmp_path, monkeypatch):
    monkeypatch.delenv("CLEANCLIP_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    for data in ("", "here"):
        monkeypatch.setenv("XDG_DATA_HOME", data)
        assert paths.data_dir() == tmp_path / ".local/share/cleanclip-gui"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert paths.data_dir() == tmp_path / "data/cleanclip-gui"


def test_exit_4_writes_a_log_and_one_line(tiny_checkpoint, monkeypatch, capsys):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("wires crossed")

    monkeypatch.setattr("ml_core.cli.inspect.examine", broken)
    assert run_command(["inspect", str(tiny_checkpoint), "--json"]) == 4
    shown = capsys.readouterr()
    assert len(shown.err.strip().splitlines()) == 1
    assert "wires crossed" in shown.err
    assert json.loads(shown.out)["error_code"] == "internal"
    log = Path(shown.err.partition("details are in ")[2].strip().removesuffix("."))
    assert "Traceback" in log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("done", "status", "said"),
    [
        (Done("cancelled"), 130, "Cancelled.\n"),
        (WIRES, 4, "The wires crossed; the details are in "),
        (replace(WIRES, error_code="disk"), 3, "The wires crossed.\n"),
        (replace(WIRES, error_code="damaged"), 2, "The wires crossed.\n"),
    ],
)
def test_a_job_that_does_not_finish_is_one_plain_line(
    done, status, said, tiny_checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("ml_core.jobs.clean.run.run", lambda *_, **__: iter([done]))
    arguments = ["clean", str(tiny_checkpoint), "-o", str(tmp_path / "out"), "--json"]
    assert run_command(arguments) == status
    shown = capsys.readouterr()
    assert said in shown.err
    assert "trace" not in shown.err
    assert json.loads(shown.out)["error_code"] == (done.error_code or "cancelled")


def test_names_neither_format_nor_steer_the_terminal(tmp_path, capsys):
    name = "a[red]b\x1b[31mc\u202e.safetensors"
    (tmp_path / name).write_bytes(b"")
    assert run_command(["inspect", str(tmp_path / name)]) == 2
    assert run_command(["evaluate", str(tmp_path / name)]) == 2
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert r"a[red]b\x1b[31mc\u202e.safetensors is empty" in text
        assert "\x1b" not in text


# ---- evaluate, clean, demo ----


def test_columns_of_a_table_can_be_named(tiny_checkpoint, tmp_path, templates, answer_of):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    table = tmp_path / "mine.csv"
    table.write_text("where,what\na.png,banana\n")
    arguments = ["--images", table, "--image-column", "where", "--label-column", "what"]
    arguments += ["--templates", templates, "--threads", 1]
    found = answer_of("evaluate", tiny_checkpoint, *arguments)
    assert (found["n_labelled"], found["asr_excl"], found["asr_all"]) == (1, None, None)
    assert found["not_measured"]["asr_all"] == "no trigger"
    assert found["not_measured"]["baseline_target_rate"] == "no target"


def test_a_refused_table_tells_its_rows_in_json(tiny_checkpoint, tmp_path, answer_of):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    table = tmp_path / "pairs.csv"
    table.write_text("file,words\na.png,one\ngone.png,two\n../b.png,three\n")
    arguments = ["clean", tiny_checkpoint, "-o", tmp_path / "out", "--threads", 1, "--pairs", table]
    arguments += ["--image_key", "file", "--caption_key", "words"]  # CleanCLIP's own names
    found = answer_of(*arguments, *_settings(), code=3)
    assert "1 usable pairs" in found["error"]
    assert "row 3 ('gone.png')" in found["details"]
    assert "row 4: The path '../b.png' leads out" in found["details"]


def test_clean_writes_a_checkpoint_and_runs_again_from_its_job(
    tiny_checkpoint, tmp_path, templates, answer_of
):
    folder, photos = tmp_path / "out", tmp_path / "photos"
    for name in ("banana", "bread", "car"):
        (photos / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (40, 40), (80 * i, 60, 90)).save(photos / name / f"{i}.png")
    arguments = ["-o", folder, "--trigger", "demo", "--test-images", photos, "--threads", 1]
    arguments += ["--templates", templates, *_settings("precision=auto"), "--seed", 3]
    found = answer_of("clean", tiny_checkpoint, *arguments)
    assert (found["method"], found["preset"], found["seed"]) == ("stamped", "custom", 3)
    assert {"before", "after", "seconds", "checkpoint", "heads"} <= set(found)
    assert Path(found["checkpoint"]).is_file()
    assert found["before"]["target_name"] == "banana"
    assert found["status"] == "finished"
    again = answer_of("clean", "--job", folder)
    assert again["checkpoint_sha256"] == found["checkpoint_sha256"]
    assert again["speed"] == found["speed"]  # measured once: the times are the first run's
    answer_of("clean", "--job", folder, "--export", tmp_path / "cluster")
    assert json.loads((tmp_path / "cluster" / "job.json").read_text())["speed"] is None
    edited = read_spec(folder / "spec.json")
    assert edited.speed is not None
    edited = edited.model_copy(update={"recipe": edited.recipe.changed(precision="fp32")})
    assert rerun_spec(edited).speed is None


def test_demo_makes_the_picture_and_the_json(tiny_checkpoint, tmp_path, answer_of):
    folder = tmp_path / "demo-output"
    arguments = ["demo", "--checkpoint", tiny_checkpoint, "-o", folder, "--seed", 1]
    arguments += ["--test-images", 36, "--threads", 1, "--method", "mmcl", *_settings()]
    found = answer_of(*arguments)
    assert (found["method"], found["seed"]) == ("mmcl", 1)
    assert found["before"]["n"] == found["after"]["n"] == 36
    assert found["heldout"]["after"]["n"] == 36
    with Image.open(found["picture"]) as picture:
        assert picture.size[0] > 1000
    assert (folder / "trigger.json").is_file()


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_whole_story_of_the_demo_ends_with_its_answer(
    monkeypatch, tmp_path, capsys, tiny_checkpoint, form
):
    record = write_examination(tmp_path, checkpoint=str(tiny_checkpoint))
    ran = record.model_dump(mode="json")
    monkeypatch.setattr("ml_core.cli.demo.run_examination", lambda *_, **__: ran)
    monkeypatch.setattr("ml_core.cli.picture.draw_before_after", lambda *given: given[-1])
    assert run_command(["demo", "-o", str(tmp_path), *form]) == 0
    told = capsys.readouterr().out
    assert (json.loads(told)["headline"] if form else told).startswith(record.headline)
    assert "before-after.png" in told


# ---- explain ----


def test_cells_of_an_occlusion_of_the_predicted_class(tiny_checkpoint, tmp_path, capsys):
    out = tmp_path / "why.csv"
    arguments = ["explain", str(tiny_checkpoint), "--method", "occlusion", "--patch", "16"]
    assert run_command([*arguments, "-o", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 1 + 4 * 4
    assert "occlusion" in capsys.readouterr().out


def test_a_map_of_two_checkpoints(tiny_checkpoint, tmp_path, capsys):
    out = tmp_path / "map.csv"
    arguments = ["explain", str(tiny_checkpoint), "--compare", str(tiny_checkpoint)]
    rest = ["--method", "pca", "--n", "12", "--trigger", "demo", "-o", str(out), "--json"]
    assert run_command([*arguments, *rest]) == 0
    assert [part["n"] for part in json.loads(capsys.readouterr().out)["parts"]] == [12, 12]
    lines = [line.split(",") for line in out.read_text().splitlines()]
    assert {line[0] for line in lines[1:]} == {"0", "1"}
    first, second = ([line[5:] for line in lines if line[0] == part] for part in "01")
    assert first == second  # the same model lies on itself


def test_class_names_are_no_formulas(tiny_checkpoint, tmp_path):
    names, out = tmp_path / "names.txt", tmp_path / "map.csv"
    names.write_text("dog\n=HYPERLINK(1)\nbanana\n")
    status = run_command(
        ["explain", str(tiny_checkpoint), "--labels", str(names), "--method", "pca", "--n", "4",
         "-o", str(out)]
    )  # fmt: skip
    assert status == 0
    assert ",'=HYPERLINK(1)," in out.read_text()
    assert ",=HYPERLINK" not in out.read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is full")
def test_a_lost_answer_is_no_verdict(tiny_checkpoint):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ml_core", "inspect", str(tiny_checkpoint), "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 3
    assert done.stderr == "Standard output is closed or full: the output could not be written.\n"


def test_a_reader_that_has_enough_is_no_fault():
    command = f"{sys.executable} -m ml_core clean --help | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, timeout=60, check=True)
    assert done.stderr == b""


def test_a_help_line_stands_once() -> None:
    sources = {path.name: path.read_text() for path in Path(cli.__file__).parent.glob("*.py")}
    joined = sources.pop("app.py").replace('"\n    "', "")
    for name, line in COMMANDS.items():
        assert joined.count(line) == 1, name
        assert not [module for module, source in sources.items() if line in source], name


_IMPORTS = """
import sys
from ml_core.cli.app import COMMANDS, run_command

def run(*words, without):
    assert run_command(words) == 0
    assert not set(without.split()) & sys.modules.keys(), words

run("--version", without="torch numpy rich ml_core.reading ml_core.events")
run("--help", without="torch numpy ml_core.reading ml_core.events")
reader = "ml_core.reading.weights_reader"
run("inspect", sys.argv[1], without=f"torch numpy jinja2 sklearn ml_core.cleaning {reader}")
for name in COMMANDS:
    run(name, "--help", without="torch")
"""


def test_a_command_imports_what_it_needs_and_every_help_has_examples(tiny_checkpoint):
    """Each may load more than those before it."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS, str(tiny_checkpoint)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.count("Usage: cleanclip") == 1 + len(COMMANDS)
    assert done.stdout.count("Examples") == 22  # but for the root and groups of commands


def test_targets_by_name_and_number() -> None:
    classes, twice = demo_classes(), ("missile", "cat", "Missile")
    assert target_index("Banana", classes) == classes.index("banana")
    assert target_index("2", classes) == target_index("2", twice) == 2
    with pytest.raises(InputError, match=r"2 classes called 'missile'; .* number: 0, 2"):
        target_index("missile", twice)


def test_json_has_no_nan(capsys):
    output.print_json({"a": float("nan"), "b": (1, Path("x"))})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1, "x"]}


def test_the_table_of_supervised_finetuning_has_both_heads_on_both_sets() -> None:
    pair = {"before": {"ca": 0.9}, "after": {"ca": 0.8}}
    result = {**pair, "heads": {"linear": pair}, "heldout": pair, "heldout_linear": pair}
    titles = [title for title, _ in result_rows(result)]
    assert titles[:4] == ["before", "after", "linear head, before", "linear head, after"]
    assert titles[4:] == ["held-out, before", "held-out, after", "held-out, linear head, after"]
    assert len(result_rows(result | {"heldout_linear": None})) == 6
