"""What a command line is told before it loads a model, and how soon Ctrl-C ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml_core.checkpoints.open import Checkpoint
from ml_core.cli.app import run_command
from ml_core.cli.run import run_to_result
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Control, Done, Event, Progress
from ml_core.jobs.runner import run_job
from ml_core.jobs.specs import BenchSpec, CleanSpec, read_spec
from ml_core.triggers import load_trigger
from ml_core.triggers.published import published
from tests.unit.small_jobs import small_recipe, small_spec


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is built is a defect."""

    def build(*_: object, **__: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr(Checkpoint, "build", build)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    path = tmp_path / "images.csv"
    path.write_text("image,label\n" + "a.png,banana\n" * 40)
    return path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--image-column", "picture"], "picture"),
        (["--labels", "cifar-10"], "cifar-10"),
        (["--trigger", "T5", "--target", "banana"], "one of T5a, T5b"),
        (["--trigger", "no.png", "--target", "banana"], "no.png"),
        (["--trigger", "T4", "--target", "zebra"], "zebra"),
    ],
)
def test_evaluate_tells_what_is_wrong_before_it_loads_a_model(
    given: list[str],
    said: str,
    tiny_checkpoint: Path,
    table: Path,
    no_model: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["evaluate", str(tiny_checkpoint), "--images", str(table), *given]) == 3
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test_images": {"image_column": "picture"}}, "picture"),
        ({"pairs": {"caption_column": "words"}}, "words"),
        ({"label_set": "cifar-10"}, "cifar-10"),
        ({"target": 5000}, "5000"),
    ],
)
def test_a_cleaning_job_tells_it_too(
    changes: dict[str, Any], said: str, tiny_checkpoint: Path, tmp_path: Path, table: Path,
    no_model: None,
) -> None:  # fmt: skip
    images = ImageSpec(kind="csv", path=str(table))
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("image,caption\n" + "a.png,a banana\n" * 60)
    parts: dict[str, Any] = {
        "test_images": images,
        "pairs": PairSpec(kind="csv", path=str(pairs)),
    }
    for name, value in changes.items():
        known = isinstance(value, dict)
        parts[name] = parts[name].model_copy(update=value) if known else value
    spec = small_spec(tiny_checkpoint, tmp_path / "out", small_recipe(), **parts)
    *_, last = run_job(spec, Control())
    assert isinstance(last, Done)
    assert last.status == "failed"
    assert said in last.error, last.error


def test_ids_of_published_triggers_work_where_a_run_is_asked_for(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["clean", str(tiny_checkpoint), "-o", str(tmp_path / "o"), "--target", "banana"]
    exported = ["--export", str(tmp_path / "job")]
    assert run_command([*arguments, *exported, "--trigger", "t4"]) == 0
    spec = read_spec(tmp_path / "job" / "job.json")
    assert spec.trigger is not None
    assert load_trigger(Path(spec.trigger)).digest == published("T4", 32).digest
    assert run_command([*arguments, *exported, "--trigger", "T5"]) == 3
    assert "one of T5a, T5b" in capsys.readouterr().err


def test_bench_takes_a_published_trigger_and_the_steps_of_the_rebound_test(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[BenchSpec] = []

    def bench(spec: BenchSpec, control: Control, *, overwrite: bool) -> Iterator[Event]:
        asked.append(spec)
        yield Done("finished", {"rows": []})

    monkeypatch.setattr("ml_core.jobs.bench.bench", bench)
    arguments = ["bench", "mmcl", "--checkpoint", str(tiny_checkpoint), "-o", str(tmp_path / "b")]
    attack = ["--trigger", "T16", "--target", "banana"]
    assert run_command([*arguments, *attack, "--rebound", "--steps", "7"]) == 0
    (spec,) = asked
    assert spec.rebound_steps == 7
    assert spec.base.trigger is not None
    assert load_trigger(Path(spec.base.trigger)).changes_pictures
    assert spec.recipes[0].preset == "paper"
    assert run_command([*arguments, *attack, "--steps", "7"]) == 3
    assert "--rebound" in capsys.readouterr().err


def test_a_run_without_a_target_says_nothing_of_one(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["clean", str(tiny_checkpoint), "-o", str(tmp_path / "o"), "--export"]
    assert run_command([*given, str(tmp_path / "job")]) == 0
    assert not read_spec(tmp_path / "job" / "job.json").targeted
    assert run_command([*given, str(tmp_path / "named"), "--target", "dog"]) == 0
    assert read_spec(tmp_path / "named" / "job.json").targeted
    spec: CleanSpec = small_spec(
        tiny_checkpoint, tmp_path / "out", small_recipe(pairs=16), targeted=False
    )
    *_, last = run_job(spec, Control())
    assert isinstance(last, Done)
    assert last.status == "finished", last.details
    for row in (last.result["before"], last.result["after"]):
        assert (row["target"], row["target_name"], row["n_excl"]) == (None, None, 0)
        assert row["baseline_target_rate"] is None
        assert row["ca"] is not None
    assert last.result["target"] is None


def test_what_an_optimizer_keeps_is_no_parameter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "epoch.pt"
    torch.save({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
    run_command(["inspect", str(path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == 8
    assert found["totals"]["parameters"] == 8
    assert found["totals"]["optimizer_numbers"] == 18  # two moments, and a step each


def test_ctrl_c_ends_a_job_that_does_not_look(capsys: pytest.CaptureFixture[str]) -> None:
    """And once it has ended, nothing ends the program any more."""

    def job(_: Control) -> Iterator[Event]:
        yield Progress("open", 0, 1)
        signal.raise_signal(signal.SIGINT)
        while True:
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        run_to_result(job)
    assert "Cancelling." in capsys.readouterr().err
    time.sleep(0.6)


def test_ctrl_c_ends_a_step_that_no_exception_reaches() -> None:
    code = """
import hashlib, signal
from ml_core.cli.run import run_to_result
from ml_core.events import Progress

def job(control):
    yield Progress("open", 0, 1)
    signal.raise_signal(signal.SIGINT)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)

run_to_result(job)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, timeout=60
    )
    assert ended.returncode == 130, ended.stderr
    assert b"Cancelled." in ended.stderr


_AT_WORK = """
import hashlib, sys, time
from ml_core.cli import app
def work(_):
    print("ready", flush=True)
    {}
app.run_command = work
app.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize(
    ("number", "work", "status"),
    [
        (signal.SIGTERM, "time.sleep(60)", 143),
        (signal.SIGHUP, "time.sleep(60)", 129),
        # A step of a large model, which no exception reaches.
        (signal.SIGTERM, "hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**9)", 143),
    ],
)
def test_a_command_says_that_it_was_ended(number: int, work: str, status: int) -> None:
    # The tests themselves may run under nohup, which children inherit.
    script = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n{_AT_WORK.format(work)}"
    line = [sys.executable, "-c", script]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        _, told = child.communicate(timeout=120)
    assert child.returncode == status
    name = signal.Signals(number).name
    assert told == f"Ended by {name}. What was saved last is kept.\n"


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_a_command_under_nohup_goes_on() -> None:
    line = ["nohup", sys.executable, "-c", _AT_WORK.format("time.sleep(1)")]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        while child.stdout.readline() != "ready\n":
            pass
        child.send_signal(signal.SIGHUP)
        _, told = child.communicate(timeout=120)
    assert "Ended" not in told
    assert child.returncode != 129
